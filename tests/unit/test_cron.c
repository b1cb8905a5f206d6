/*
 * test_cron.c: which schedules parse, and when they fire next.
 *
 * Thread: one. Expected times are written as civil dates and turned into ms by timegm(), so the
 * calendar in cron.c is checked against libc's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/cron.h"

static int64_t at(const char *civil)
{
    struct tm parts = {0};
    assert_non_null(strptime(civil, "%Y-%m-%d %H:%M:%S", &parts));
    return (int64_t)timegm(&parts) * 1000;
}

static struct cron parsed(const char *text)
{
    struct cron cron;
    const char *problem = "unset";
    if (!cron_parse(text, &cron, &problem))
        fail_msg("\"%s\" was refused: %s", text, problem);
    assert_null(problem);
    return cron;
}

static void refuses(const char *text, const char *expected_problem)
{
    struct cron cron;
    const char *problem = NULL;
    if (cron_parse(text, &cron, &problem))
        fail_msg("\"%s\" was accepted", text);
    assert_string_equal(problem, expected_problem);
}

static void fires(const char *text, const char *after, const char *expected)
{
    struct cron cron = parsed(text);
    int64_t next_ms = cron_next_ms(&cron, at(after));
    if (next_ms != at(expected))
        fail_msg("\"%s\" after %s: %lld, not %s (%lld)", text, after, (long long)next_ms, expected,
                 (long long)at(expected));
}

static void fields_become_masks(void **state)
{
    (void)state;
    struct cron cron = parsed("0,30 8-10 1 1-12/6 1-5");
    assert_true(cron.minutes == (UINT64_C(1) | UINT64_C(1) << 30));
    assert_int_equal(cron.hours, 7U << 8);
    assert_int_equal(cron.days, 1U << 1);
    assert_int_equal(cron.months, 1U << 1 | 1U << 7);
    assert_int_equal(cron.weekdays, 0x3e);
    assert_false(cron.days_star);
    assert_false(cron.weekdays_star);
}

static void steps_lists_ranges_and_both_sundays_are_accepted(void **state)
{
    (void)state;
    assert_true(parsed("*/15 * * * *").minutes ==
                (UINT64_C(1) | UINT64_C(1) << 15 | UINT64_C(1) << 30 | UINT64_C(1) << 45));
    assert_true(parsed("10-30/10 * * * *").minutes ==
                (UINT64_C(1) << 10 | UINT64_C(1) << 20 | UINT64_C(1) << 30));
    assert_true(parsed("0-59 * * * *").minutes == (UINT64_C(1) << 60) - 1);
    assert_true(parsed("*/60 * * * *").minutes == 1);
    assert_int_equal(parsed("* * * * 7").weekdays, 1);
    assert_int_equal(parsed("* * * * 0").weekdays, 1);
    assert_int_equal(parsed("* * * * 5-7").weekdays, 1 | 1 << 5 | 1 << 6);
    assert_int_equal(parsed("* * * * *").weekdays, 0x7f);
    (void)parsed("  0\t0  1 1 0 ");
    (void)parsed("59 23 31 12 7");
    (void)parsed("00 007 01 01 00");
}

static void a_bad_field_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad_minutes[] = {
        "60",  "-1",  "a",      "1-",   "-",    "5-1",         "1,",   ",1",
        "*/0", "*/",  "*5",     "5/2",  "1.5",  "1-2-3",       "**",   "1-5/0",
        "+5",  "0x1", "@daily", "1000", "0005", "99999999999", "1,,2",
    };
    for (size_t i = 0; i < sizeof bad_minutes / sizeof bad_minutes[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s * * * *", bad_minutes[i]);
        refuses(text, "minute must be 0-59");
    }
    refuses("* 24 * * *", "hour must be 0-23");
    refuses("* * 0 * *", "day of month must be 1-31");
    refuses("* * 32 * *", "day of month must be 1-31");
    refuses("* * * 0 *", "month must be 1-12");
    refuses("* * * 13 *", "month must be 1-12");
    refuses("* * * JAN *", "month must be 1-12");
    refuses("* * * * 8", "day of week must be 0-7");
    refuses("* * * * MON", "day of week must be 0-7");
}

static void too_few_or_too_many_fields_are_refused(void **state)
{
    (void)state;
    refuses("", "fewer than five fields");
    refuses("   ", "fewer than five fields");
    refuses("* * * *", "fewer than five fields");
    refuses("* * * * * *", "more than five fields");
    refuses("* * * * *\n", "day of week must be 0-7");
}

static void it_fires_strictly_after_at_the_whole_minute(void **state)
{
    (void)state;
    fires("* * * * *", "2026-03-01 12:00:00", "2026-03-01 12:01:00");
    fires("* * * * *", "2026-03-01 12:00:59", "2026-03-01 12:01:00");
    fires("*/5 * * * *", "2026-03-01 12:00:00", "2026-03-01 12:05:00");
    fires("*/5 * * * *", "2026-03-01 12:58:30", "2026-03-01 13:00:00");
    struct cron each_minute = parsed("* * * * *");
    assert_true(cron_next_ms(&each_minute, at("2026-03-01 12:00:00") - 1) ==
                at("2026-03-01 12:00:00"));
    assert_true(cron_next_ms(&each_minute, at("2026-03-01 12:00:00") + 1) ==
                at("2026-03-01 12:01:00"));
}

static void it_goes_on_past_the_end_of_an_hour_a_day_a_month_and_a_year(void **state)
{
    (void)state;
    fires("15 * * * *", "2026-03-01 12:15:00", "2026-03-01 13:15:00");
    fires("0 4 * * *", "2026-03-01 04:00:00", "2026-03-02 04:00:00");
    fires("0 0 1 * *", "2026-03-01 00:00:00", "2026-04-01 00:00:00");
    fires("59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00");
    fires("0 0 31 * *", "2026-03-31 00:00:00", "2026-05-31 00:00:00");
    fires("30 2 28 2 *", "2026-02-28 02:30:00", "2027-02-28 02:30:00");
}

static void leap_days_come_every_four_years_but_not_in_2100(void **state)
{
    (void)state;
    fires("0 0 29 2 *", "2026-03-01 00:00:00", "2028-02-29 00:00:00");
    fires("0 0 29 2 *", "2028-02-29 00:00:00", "2032-02-29 00:00:00");
    fires("0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00");
    /* `*` + step leaves the day of week a star, so both must match: a Sunday. */
    fires("0 0 29 2 */7", "2096-02-29 00:00:00", "2128-02-29 00:00:00");
}

static void either_day_matches_when_both_are_restricted(void **state)
{
    (void)state;
    /* 2026-03-01 is a Sunday; Fridays are 6, 13, 20, 27. */
    fires("0 0 13 * 5", "2026-03-01 00:00:00", "2026-03-06 00:00:00");
    fires("0 0 10 * 5", "2026-03-06 00:00:00", "2026-03-10 00:00:00");
    fires("0 0 10 * 5", "2026-03-10 00:00:00", "2026-03-13 00:00:00");
}

static void both_days_must_match_when_one_is_a_star(void **state)
{
    (void)state;
    fires("0 0 * * 5", "2026-03-01 00:00:00", "2026-03-06 00:00:00");
    fires("0 0 10 * *", "2026-03-01 00:00:00", "2026-03-10 00:00:00");
    fires("0 0 */2 * 5", "2026-03-01 00:00:00", "2026-03-13 00:00:00");
    fires("0 0 * * 7", "2026-03-01 00:00:00", "2026-03-08 00:00:00");
}

static void a_date_that_never_comes_gives_minus_one(void **state)
{
    (void)state;
    static const char *const never[] = {"0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        struct cron cron = parsed(never[i]);
        assert_int_equal(cron_next_ms(&cron, at("2026-03-01 00:00:00")), -1);
    }
    /* Either day matches: the Mondays of February do come. */
    fires("0 0 31 2 1", "2026-03-01 00:00:00", "2027-02-01 00:00:00");
}

static void times_out_of_range_are_answered_not_computed(void **state)
{
    (void)state;
    struct cron cron = parsed("* * * * *");
    assert_int_equal(cron_next_ms(&cron, INT64_MAX), -1);
    assert_int_equal(cron_next_ms(&cron, INT64_MIN), 0);
    assert_int_equal(cron_next_ms(&cron, -1), 0);
    assert_int_equal(cron_next_ms(&cron, 0), 60000);
    cron = parsed("0 0 1 1 *");
    assert_true(cron_next_ms(&cron, INT64_C(253402300799999)) == INT64_C(253402300800000));
}

/* Every firing of a week found by asking each minute of it whether the fields match. */
static void it_agrees_with_a_naive_search(void **state)
{
    (void)state;
    static const char *const schedules[] = {
        "*/7 3,5-20/4 * * *", "13 * 1-7 * 1",    "*/20 */6 */3 2,3 *",
        "0 12 * 2 0,6",       "59 23 28-31 * *",
    };
    for (size_t i = 0; i < sizeof schedules / sizeof schedules[0]; i++) {
        struct cron cron = parsed(schedules[i]);
        int64_t next_ms = cron_next_ms(&cron, at("2028-02-20 00:00:00") - 1);
        for (int64_t ms = at("2028-02-20 00:00:00"); ms < at("2028-03-10 00:00:00"); ms += 60000) {
            struct tm utc;
            time_t seconds = (time_t)(ms / 1000);
            assert_non_null(gmtime_r(&seconds, &utc));
            bool day = (cron.days & 1U << utc.tm_mday) != 0;
            bool weekday = (cron.weekdays & 1U << utc.tm_wday) != 0;
            bool star = cron.days_star || cron.weekdays_star;
            bool matches = (cron.minutes & UINT64_C(1) << utc.tm_min) != 0 &&
                           (cron.hours & 1U << utc.tm_hour) != 0 &&
                           (cron.months & 1U << (utc.tm_mon + 1)) != 0 &&
                           (star ? day && weekday : day || weekday);
            assert_int_equal(matches, next_ms == ms);
            if (matches)
                next_ms = cron_next_ms(&cron, ms);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_become_masks),
        cmocka_unit_test(steps_lists_ranges_and_both_sundays_are_accepted),
        cmocka_unit_test(a_bad_field_is_refused_by_name),
        cmocka_unit_test(too_few_or_too_many_fields_are_refused),
        cmocka_unit_test(it_fires_strictly_after_at_the_whole_minute),
        cmocka_unit_test(it_goes_on_past_the_end_of_an_hour_a_day_a_month_and_a_year),
        cmocka_unit_test(leap_days_come_every_four_years_but_not_in_2100),
        cmocka_unit_test(either_day_matches_when_both_are_restricted),
        cmocka_unit_test(both_days_must_match_when_one_is_a_star),
        cmocka_unit_test(a_date_that_never_comes_gives_minus_one),
        cmocka_unit_test(times_out_of_range_are_answered_not_computed),
        cmocka_unit_test(it_agrees_with_a_naive_search),
    };
    return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}
