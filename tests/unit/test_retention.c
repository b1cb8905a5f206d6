/*
 * test_retention.c: what retention removes and leaves, step by step, while the sale goes on.
 *
 * The past is made by the engine in its own time (tests/history/past.h); retention works on it through the
 * store's own connection, as the writer would.
 *
 * Thread: main. Fails: by cmocka's asserts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "main/hash.h"
#include "persist/audit.h"
#include "persist/recovery.h"
#include "persist/retention.h"
#include "tests/history/past.h"
#include "tests/support/data_dir.h"

enum { DAY_MS = 24 * 3600 * 1000, EVENTS = 6000 };

struct place {
    char dir[64];
    struct past *past;
    struct retention *retention;
    struct retention_gate gate;
    struct now now;
};

static struct engine second; /* what a restart would make of it */

/* EVENTS events will lie 10 to 5 days back; `made` of them are there. keep_days: of the retention. */
static void open_place(struct place *p, uint64_t made, double keep_days)
{
    *p = (struct place){.now = now_read()};
    snprintf(p->dir, sizeof p->dir, "/tmp/flashd-retention-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->past = past_open(p->dir, EVENTS, 10, 5, 7);
    past_make(p->past, made);
    p->retention = retention_new(store_db(past_store(p->past)), keyed_siphash,
                                 (int64_t)(keep_days * DAY_MS), &p->gate);
    assert_non_null(p->retention);
}

static void close_place(struct place *p)
{
    retention_free(p->retention);
    past_close(p->past);
    data_dir_remove(p->dir);
}

static int count_commit(void *commits)
{
    ++*(int *)commits;
    return 0;
}

/* One look of the writer's, when its pause is over. Returns the pause after it. A crash could come between any
 * two transactions, so there must be one at most. */
static int64_t look(struct place *p, uint64_t published, bool busy)
{
    int commits = 0;
    p->now.mono_ms += RETENTION_LOOK_MS;
    (void)sqlite3_commit_hook(store_db(past_store(p->past)), count_commit, &commits);
    int64_t pause_ms = retention_step(p->retention, published, p->now, busy);
    (void)sqlite3_commit_hook(store_db(past_store(p->past)), NULL, NULL);
    assert_true(pause_ms >= 0);
    assert_in_range(commits, 0, 1);
    return pause_ms;
}

static uint64_t number(const struct place *p, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(store_db(past_store(p->past)), sql, -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    uint64_t value = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static uint64_t baseline(const struct place *p)
{
    return number(p, "SELECT seq FROM baseline");
}

static void must_balance(const struct place *p)
{
    static struct audit_report report;
    audit(store_db(past_store(p->past)), keyed_siphash, NULL, NULL, &report);
    if (report.finding_count > 0)
        fail_msg("%s at seq %llu: %s", report.findings[0].check,
                 (unsigned long long)report.findings[0].seq, report.findings[0].detail);
    assert_int_equal(report.baseline, baseline(p));
    assert_int_equal(report.baseline + report.events, past_events(p->past));
}

static void must_recover(const struct place *p)
{
    char error[512] = "";
    struct recovery found;
    const struct engine_options options = {.workers = 2,
                                           .ports = 1,
                                           .state_interval_ms = 100,
                                           .hash = keyed_siphash,
                                           .last_seq = store_last_seq(past_store(p->past))};
    assert_true(engine_init(&second, options, (struct journal_store){.self = NULL}));
    bool ok = recover(store_db(past_store(p->past)), &second, p->now, &found, error, sizeof error);
    engine_free(&second);
    if (!ok)
        fail_msg("%s", error);
    assert_int_equal(found.baseline, baseline(p));
    assert_int_equal(found.orders, number(p, "SELECT count(*) FROM order_rows"));
}

static void every_baseline_balances_and_recovers_while_the_sale_goes_on(void **state)
{
    struct place p;
    uint64_t before = 0, steps = 0;
    (void)state;
    open_place(&p, 2000, 1);
    while (before < past_events(p.past)) {
        (void)look(&p, past_events(p.past), false);
        assert_true(baseline(&p) > before);
        assert_true(baseline(&p) <= before + RETENTION_STEP_EVENTS);
        before = baseline(&p);
        must_balance(&p);
        if (steps++ % 4 == 0)
            must_recover(&p);
        if (past_events(p.past) < EVENTS)
            past_make(p.past, past_events(p.past) + 100);
    }
    assert_int_equal(number(&p, "SELECT count(*) FROM event_rows"), 0);
    assert_int_equal(store_last_seq(past_store(p.past)), past_events(p.past));
    /* Holds that were open when the last event went: they are all that the baseline lists. */
    assert_int_equal(number(&p, "SELECT count(*) FROM baseline_orders"),
                     number(&p, "SELECT count(*) FROM order_rows WHERE state IN (1, 2)"));
    past_make(p.past, past_events(p.past) + 500);
    must_balance(&p);
    must_recover(&p);
    close_place(&p);
}

static void what_was_not_handed_to_the_streams_stays(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, 1500, 1);
    for (int i = 0; i < 20; i++)
        (void)look(&p, 700, false);
    assert_int_equal(baseline(&p), 700);
    assert_int_equal(number(&p, "SELECT min(seq) FROM event_rows"), 701);
    must_balance(&p);
    close_place(&p);
}

static void what_is_young_enough_stays(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, EVENTS, 8); /* of the five days since the tenth, two are too old */
    while (look(&p, EVENTS, false) < RETENTION_LOOK_MS)
        ;
    int64_t cutoff_ms = p.now.wall_ms - 8LL * DAY_MS;
    assert_true((int64_t)number(&p, "SELECT min(created_at_ms) FROM event_rows") >= cutoff_ms);
    assert_in_range(baseline(&p), EVENTS * 35 / 100, EVENTS * 45 / 100);
    must_balance(&p);
    close_place(&p);
}

static void steps_keep_their_distance_and_a_longer_one_beside_commits(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, EVENTS, 1);
    assert_int_equal(look(&p, EVENTS, true), RETENTION_BUSY_MS);
    uint64_t before = baseline(&p);
    p.now.mono_ms += RETENTION_IDLE_MS - 1;
    assert_int_equal(retention_step(p.retention, EVENTS, p.now, false), 1);
    assert_int_equal(baseline(&p), before);
    p.now.mono_ms += 1;
    assert_int_equal(retention_step(p.retention, EVENTS, p.now, true),
                     RETENTION_BUSY_MS - RETENTION_IDLE_MS);
    assert_int_equal(baseline(&p), before);
    assert_int_equal(retention_step(p.retention, EVENTS, p.now, false), RETENTION_IDLE_MS);
    assert_true(baseline(&p) > before);
    close_place(&p);
}

static void nothing_goes_while_somebody_reads(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, EVENTS, 1);
    (void)look(&p, EVENTS, false);
    uint64_t before = baseline(&p);
    assert_true(retention_gate_take(&p.gate));
    assert_int_equal(look(&p, EVENTS, false), RETENTION_IDLE_MS); /* it asks again soon */
    assert_int_equal(baseline(&p), before);
    retention_gate_give_back(&p.gate);
    (void)look(&p, EVENTS, false);
    assert_true(baseline(&p) > before);
    assert_true(retention_gate_take(&p.gate)); /* a step gives it back */
    close_place(&p);
}

static void purchases_are_synced_again_after_a_step(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, EVENTS, 1);
    for (int i = 0; i < 3; i++) {
        (void)look(&p, EVENTS, false);
        assert_int_equal(number(&p, "PRAGMA synchronous"), 2); /* FULL */
    }
    close_place(&p);
}

static void an_event_that_does_not_replay_is_kept_with_all_that_follow(void **state)
{
    struct place p;
    (void)state;
    open_place(&p, EVENTS, 1);
    (void)look(&p, EVENTS, false);
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE event_rows SET kind = %d WHERE seq = %llu",
             EVENT_SALE_CREATED, (unsigned long long)baseline(&p) + 20);
    assert_int_equal(sqlite3_exec(store_db(past_store(p.past)), sql, NULL, NULL, NULL), SQLITE_OK);
    uint64_t before = baseline(&p), events = number(&p, "SELECT count(*) FROM event_rows");
    for (int i = 0; i < 3; i++)
        (void)look(&p, EVENTS, false);
    assert_int_equal(baseline(&p), before);
    assert_int_equal(number(&p, "SELECT count(*) FROM event_rows"), events);
    close_place(&p);
}

/* The event is the last that tells what the row said: once it is gone, a digest would vouch for the change. */
static void an_event_that_its_row_contradicts_is_kept(void **state)
{
    static const char *const changes[] = {
        "UPDATE order_rows SET buyer = buyer || '!' WHERE seq > 300",
        "UPDATE order_rows SET quantity = quantity + 1 WHERE seq > 300",
        "UPDATE sale_rows SET name = name || '!' WHERE seq > 300",
        "UPDATE sale_rows SET waitlist_max = waitlist_max + 1 WHERE seq > 300",
        "UPDATE sale_rows SET ends_at_ms = ends_at_ms + 1 WHERE seq > 300"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct place p;
        (void)state;
        open_place(&p, EVENTS, 1);
        const char *table = strstr(changes[i], "sale_rows") != NULL
                                ? "SELECT min(seq) FROM sale_rows WHERE seq > 300"
                                : "SELECT min(seq) FROM order_rows WHERE seq > 300";
        uint64_t changed = number(&p, table);
        assert_int_equal(sqlite3_exec(store_db(past_store(p.past)), changes[i], NULL, NULL, NULL),
                         SQLITE_OK);
        for (int look_count = 0; look_count < 40; look_count++)
            (void)look(&p, EVENTS, false);
        assert_true(baseline(&p) < changed);
        assert_int_equal(number(&p, "SELECT min(seq) FROM event_rows"), baseline(&p) + 1);
        close_place(&p);
    }
}

/* … or says otherwise from before its last event: the digest goes by the event, so that the row differs from it. */
static void a_row_that_was_changed_before_its_events_went_is_found(void **state)
{
    static const char *const columns[] = {"created_at_ms", "updated_at_ms", "expires_at_ms",
                                          "refund_due", "state"};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        static struct audit_report report;
        struct place p;
        char sql[160];
        (void)state;
        open_place(&p, EVENTS, 1);
        snprintf(sql, sizeof sql,
                 "UPDATE order_rows SET %s = %s + 1 WHERE seq = (SELECT min(seq) FROM order_rows"
                 " WHERE state = 3 AND last_seq < 300)",
                 columns[i], columns[i]);
        assert_int_equal(sqlite3_exec(store_db(past_store(p.past)), sql, NULL, NULL, NULL),
                         SQLITE_OK);
        assert_int_equal(sqlite3_changes(store_db(past_store(p.past))), 1);
        for (int look_count = 0; look_count < 20; look_count++)
            (void)look(&p, EVENTS, false);
        assert_true(baseline(&p) > 1000);
        audit(store_db(past_store(p.past)), keyed_siphash, NULL, NULL, &report);
        assert_true(report.finding_count > 0);
        assert_string_equal(report.findings[0].check, "changed-order");
        close_place(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_baseline_balances_and_recovers_while_the_sale_goes_on),
        cmocka_unit_test(what_was_not_handed_to_the_streams_stays),
        cmocka_unit_test(what_is_young_enough_stays),
        cmocka_unit_test(steps_keep_their_distance_and_a_longer_one_beside_commits),
        cmocka_unit_test(nothing_goes_while_somebody_reads),
        cmocka_unit_test(purchases_are_synced_again_after_a_step),
        cmocka_unit_test(an_event_that_does_not_replay_is_kept_with_all_that_follow),
        cmocka_unit_test(an_event_that_its_row_contradicts_is_kept),
        cmocka_unit_test(a_row_that_was_changed_before_its_events_went_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
