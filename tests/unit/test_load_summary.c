/*
 * test_load_summary.c: the knee is looked for in all of a ramp, its last second too; a share is of all requests.
 *
 * Thread: one.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/clock.h"
#include "load/summary.h"

static struct run run;
static struct summary summary;

/* A ramp of so many seconds at 400 arrivals a second; after stalls_s nothing is served. */
static void ramp(double ramp_s, double came_s, double stalls_s)
{
    static const struct tick like;
    run = (struct run){.options.ramp_s = ramp_s, .came_s = came_s, .start_ns = 1};
    summary = (struct summary){0};
    assert_true(measures_open(&run.buyers) && measures_open(&run.audience));
    for (uint32_t i = 1; i <= (uint32_t)ceil(ramp_s * 4) + 4; i++) {
        uint64_t now_ns = run.start_ns + i * TICK_MS * NS_PER_MS;
        run.buyers.counts[COUNT_ARRIVALS] = (uint64_t)(400 * fmin(i / 4.0, came_s));
        run.buyers.counts[COUNT_PURCHASES] =
            (uint64_t)(400 * fmin(i / 4.0, fmin(came_s, stalls_s)));
        measures_tick(&run.buyers, run.start_ns, now_ns, &like);
        measures_tick(&run.audience, run.start_ns, now_ns, &like);
    }
    assert_true(summary_open(&summary, &run));
}

static void end(void)
{
    summary_close(&summary);
    measures_close(&run.buyers);
    measures_close(&run.audience);
}

static void a_stall_in_the_last_second_is_a_knee(void **state)
{
    (void)state;
    static const double stalls_s[] = {3, 3.2, 4, 4.3};
    for (size_t i = 0; i < sizeof stalls_s / sizeof *stalls_s; i++) {
        ramp(stalls_s[i] + 0.7, stalls_s[i] + 0.7, stalls_s[i]);
        assert_true(summary.knee.reached);
        assert_string_equal(summary.knee.sign, "served less than offered");
        end();
    }
}

static void the_end_of_a_ramp_counts_as_much_as_its_length(void **state)
{
    (void)state;
    static const double came_s[] = {0.6, 1, 1.4, 1.5, 2, 3.25, 5.97};
    static const size_t points[] = {1, 1, 1, 2, 2, 3, 6};
    for (size_t i = 0; i < sizeof came_s / sizeof *came_s; i++) {
        ramp(fmax(1, came_s[i]), came_s[i], 1e9);
        assert_false(summary.knee.reached);
        assert_int_equal(summary.point_count, points[i]);
        assert_true(fabs(summary.knee.offered - 400) < 3);
        end();
    }
}

static double share(const char *name)
{
    return summary_figure(&summary, name, STAT_SHARE, 0);
}

static void a_share_is_of_all_requests(void **state)
{
    (void)state;
    summary = (struct summary){.counts = {[COUNT_ANSWERS] = 8, [COUNT_ERRORS] = 8}};
    assert_true(share("errors") == 1 && share("answers") == 1);
    summary.counts[COUNT_UNANSWERED] = 2;
    summary.counts[COUNT_ERRORS] = 5;
    assert_true(share("errors") == 0.5 && share("answers") == 0.8);
    summary = (struct summary){0};
    assert_true(share("errors") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stall_in_the_last_second_is_a_knee),
        cmocka_unit_test(the_end_of_a_ramp_counts_as_much_as_its_length),
        cmocka_unit_test(a_share_is_of_all_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
