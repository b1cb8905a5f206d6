/*
 * test_journal.c: a batch is committed whole before anything of it is seen or answered; a medium
 * that fails, and books that do not balance, stop the journal for good.
 *
 * Thread: one.
 */
#include <string.h>

#include "tests/unit/plays.h"

static void decide(struct rig *rig, const char *name)
{
    assert_true(rig_send(rig, rig_buy(rig, name, 1)));
    (void)worker_round(&rig->engine.workers[0], rig->now);
}

static void a_failed_commit_answers_nothing_and_shows_nothing(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 5 units 5 each 9 wait 250 ms\n"));
    uint64_t committed = log_committed(&rig.engine.log);
    rig.model.commit_fails_in = 1;
    decide(&rig, "ann");
    struct reply reply;
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_FAILED);
    assert_non_null(strstr(rig.engine.journal.error, "the medium failed"));
    assert_int_equal(log_committed(&rig.engine.log), committed);
    assert_false(rig_receive(&rig, &reply));
    assert_int_equal(view_sale(rig.sale).available, 5);
    assert_null(rig_restart(&rig, 0));
    assert_null(rig_play(&rig, "stock 5 0 0 0\nbuy ann 1 -> created payment\n"));
    rig_close(&rig);
}

static void events_that_do_not_balance_stop_the_journal_before_the_commit(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(
        rig_play(&rig, "sale 1 units 1 each 9 wait 250 ms\nbuy ann 1 -> created payment\n"));
    /* Somebody gives a unit that he does not have. */
    (void)stock_give(&rig.sale->stock, 1, 0);
    decide(&rig, "ben");
    uint64_t durable = rig.model.judge.last_seq;
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_FAILED);
    assert_non_null(strstr(rig.engine.journal.error, "units are held that are not available"));
    assert_int_equal(rig.model.judge.last_seq, durable);
    rig_close(&rig);
}

static void what_came_during_a_commit_is_the_next_batch(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 9 units 1 each 9 wait 250 ms\n"));
    decide(&rig, "ann");
    decide(&rig, "ben");
    decide(&rig, "cem");
    struct reply reply;
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_WROTE);
    for (int i = 0; i < 3; i++)
        assert_true(rig_receive(&rig, &reply));
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_IDLE);
    rig_close(&rig);
}

static void a_gap_in_the_log_holds_the_journal_back(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 9 units 1 each 9 wait 250 ms\n"));
    struct log_credit credit = {0};
    assert_true(log_reserve(&rig.engine.log, &credit, 1));
    uint64_t gap = log_claim(&rig.engine.log, &credit, 1);
    decide(&rig, "ann");
    struct reply reply;
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_IDLE);
    assert_false(rig_receive(&rig, &reply));
    struct event paused = {.sale = rig.sale, .kind = EVENT_SALE_PAUSED};
    log_publish(&rig.engine.log, gap, &paused);
    /* The gap is filled, with something that forbids what was decided: the books see it. */
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_FAILED);
    assert_non_null(strstr(rig.engine.journal.error, "a sale that is not active"));
    rig_close(&rig);
}

static void times_in_the_log_do_not_go_back_by_a_moment(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 9 units 1 each 9 wait 250 ms\nbuy ann 1 -> created\n"));
    int64_t first_ms = rig.model.judge.orders[0].changed_at_ms;
    rig.now.wall_ms -= 3; /* another worker's reading of the time */
    assert_null(rig_play(&rig, "buy ben 1 -> created\n"));
    assert_int_equal(rig.model.judge.orders[1].changed_at_ms, first_ms);
    rig.now.wall_ms -= 60000; /* the clock was set back */
    assert_null(rig_play(&rig, "buy cem 1 -> created\n"));
    assert_int_equal(rig.model.judge.orders[2].changed_at_ms, first_ms - 60003);
    rig_close(&rig);
}

static void storage_that_is_full_or_free_again_is_noticed_each_round(void **state)
{
    (void)state;
    plays("sale 9 units 1 each 9 wait 250 ms\n"
          "storage full\n"
          "buy ann 1 -> storage-full\n"
          "storage free\n"
          "buy ann 1 -> created payment\n"
          "storage full\n"
          "pay ann -> done\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_commit_answers_nothing_and_shows_nothing),
        cmocka_unit_test(events_that_do_not_balance_stop_the_journal_before_the_commit),
        cmocka_unit_test(what_came_during_a_commit_is_the_next_batch),
        cmocka_unit_test(a_gap_in_the_log_holds_the_journal_back),
        cmocka_unit_test(times_in_the_log_do_not_go_back_by_a_moment),
        cmocka_unit_test(storage_that_is_full_or_free_again_is_noticed_each_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
