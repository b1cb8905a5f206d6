/*
 * test_clock.c: what the clock does by time and for admins: start, end, expire, promote, clear,
 * pause, resume; and that all of it goes on after a restart.
 *
 * Thread: one; time is in the text (see tests/support/rig.h).
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/plays.h"

/* ---- by the wall clock ---- */

static void a_sale_starts_and_ends_by_its_times(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms starts 200 ends 300\n"
          "state UPCOMING\n"
          "pass 199\n"
          "state UPCOMING\n"
          "pass 1\n"
          "state ACTIVE\n"
          "pass 99\n"
          "state ACTIVE\n"
          "pass 1\n"
          "state ENDED\n"
          "log started ended\n");
}

static void a_sale_that_lies_in_the_past_starts_and_ends(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms starts 50 ends 60\n"
          "pass 1000\n"
          "log started ended\n"
          "buy ann 1 -> sale-not-active\n");
}

/* ---- holds ---- */

static void a_hold_expires_at_its_time_and_not_before(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 99\n"
          "log reserved:ann\n"
          "pass 1\n"
          "log expired:ann\n"
          "stock 1 0 0 0\n");
}

static void freed_units_go_to_who_waited_longest(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "pass 100\n"
          "log reserved:ann queued:ben queued:cem expired:ann promoted:ben\n"
          "position cem 1\n"
          "pass 100\n"
          "log expired:ben promoted:cem\n"
          "pay cem -> done\n"
          "log paid:cem sold_out\n");
}

static void a_promoted_hold_lasts_as_long_as_any(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "pass 60\n"
          "cancel ann -> done\n"
          "log reserved:ann queued:ben cancelled:ann promoted:ben\n"
          "pass 99\n"
          "log\n"
          "pass 1\n"
          "log expired:ben\n");
}

static void a_paid_hold_does_not_expire(void **state)
{
    (void)state;
    plays("sale 2 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pay ann -> done\n"
          "pass 1000\n"
          "log reserved:ann paid:ann\n");
}

/* ---- sold out ---- */

static void when_every_unit_is_paid_the_waiting_list_is_cleared(void **state)
{
    (void)state;
    plays("sale 2 units 2 each 9 wait 100 ms\n"
          "buy ann 2 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "pay ann -> done\n"
          "log reserved:ann queued:ben queued:cem paid:ann sold_out cleared:ben cleared:cem\n"
          "eligible ben -> done\n"
          "buy ben 1 -> sold-out\n"
          "stock 0 0 2 0\n");
}

static void a_head_that_wants_more_than_will_ever_be_free_is_cleared(void **state)
{
    (void)state;
    plays("sale 3 units 3 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 2 -> created payment\n"
          "buy cem 3 -> created waiting\n"
          "buy dan 1 -> created waiting\n"
          "pay ann -> done\n"
          "log reserved:ann reserved:ben queued:cem queued:dan paid:ann cleared:cem\n"
          "cancel ben -> done\n"
          "log cancelled:ben promoted:dan\n"
          "stock 1 1 1 0\n");
}

/* ---- admins ---- */

static void while_paused_nobody_buys_or_is_promoted_but_holds_are_paid_and_expire(void **state)
{
    (void)state;
    plays("sale 2 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created payment\n"
          "buy cem 1 -> created waiting\n"
          "pause -> done\n"
          "state PAUSED\n"
          "buy dan 1 -> sale-not-active\n"
          "pay ann -> done\n"
          "pass 100\n"
          "log reserved:ann reserved:ben queued:cem paused paid:ann expired:ben\n"
          "stock 1 0 1 1\n"
          "cancel cem -> done\n"
          "resume -> done\n"
          "buy dan 1 -> created payment\n"
          "log cancelled:cem resumed reserved:dan\n");
}

static void resuming_serves_who_waits_first(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "pause -> done\n"
          "cancel ann -> done\n"
          "log reserved:ann queued:ben paused cancelled:ann\n"
          "resume -> done\n"
          "log resumed promoted:ben\n"
          "buy cem 1 -> created waiting\n");
}

static void pausing_twice_or_resuming_twice_changes_nothing(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "resume -> done\n"
          "pause -> done\n"
          "pause -> done\n"
          "resume -> done\n"
          "resume -> done\n"
          "log paused resumed\n");
}

static void only_a_sale_that_runs_is_paused_or_resumed(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms starts 50 ends 100\n"
          "pause -> sale-not-active\n"
          "resume -> sale-not-active\n"
          "pass 100\n"
          "pause -> sale-not-active\n"
          "resume -> sale-not-active\n"
          "end -> done\n"
          "log started ended\n");
}

/* The sale is resumed between the two rounds in which the clock makes the pause and answers it. */
static void a_pause_that_meets_a_resume_is_made_once(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms\n"));
    struct port *another = &rig.engine.ports[1];
    struct command pause = {.kind = COMMAND_PAUSE, .sale = rig.sale};
    struct reply reply;
    int64_t sleep_ms;
    assert_true(port_send(another, engine_clock_target(&rig.engine), &pause));
    (void)clock_round(&rig.engine.clock, rig.now, &sleep_ms);
    assert_null(rig_play(&rig, "resume -> done\n"
                               "log paused resumed\n"
                               "state ACTIVE\n"));
    assert_true(port_receive(another, &reply));
    assert_int_equal(reply.outcome, OUTCOME_DONE);
    rig_close(&rig);
}

static void ending_clears_the_waiting_list_and_leaves_holds_payable(void **state)
{
    (void)state;
    plays("sale 2 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created payment\n"
          "buy cem 1 -> created waiting\n"
          "end -> done\n"
          "log reserved:ann reserved:ben queued:cem ended cleared:cem\n"
          "pay ann -> done\n"
          "pass 100\n"
          "log paid:ann expired:ben\n"
          "stock 1 0 1 0\n");
}

static void a_paused_sale_ends_by_its_time(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms starts 0 ends 500\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "pause -> done\n"
          "pass 500\n"
          "log reserved:ann queued:ben paused ended expired:ann cleared:ben\n");
}

static void a_sale_ended_before_its_start_never_starts(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms starts 500 ends 900\n"
          "end -> done\n"
          "pass 1000\n"
          "log ended\n");
}

/* Found by the simulation: a worker's mark of open joins stayed, and the sale never closed. */
static void a_sale_closes_after_a_join_that_became_a_take(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 2);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms\n"));
    /* As take_or_join() leaves it when its swap for a place fails and the next finds units. */
    atomic_store(&rig.engine.workers[1].open_joins, 1);
    const char *wrong = rig_play(&rig, "end -> done\nlog ended\n");
    if (wrong != NULL)
        fail_msg("%s", wrong);
    rig_close(&rig);
}

static void no_more_sales_are_made_than_the_table_holds(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms\n"));
    /* The table is full but for its count; nothing else is looked at before the refusal. */
    atomic_store(&rig.engine.sale_count, SALES_MAX);
    struct sale_terms terms = rig.sale->terms;
    struct sale_terms *owned = malloc(sizeof *owned);
    assert_non_null(owned);
    *owned = terms;
    struct reply reply = rig_ask(&rig, (struct command){.kind = COMMAND_CREATE, .terms = owned});
    atomic_store(&rig.engine.sale_count, 1);
    assert_int_equal(reply.outcome, OUTCOME_TOO_MANY_SALES);
    rig_close(&rig);
}

/* ---- after a restart ---- */

static void after_a_restart_holds_go_on_with_what_was_left_of_them(void **state)
{
    (void)state;
    plays("sale 2 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 40\n"
          "buy ben 1 -> created payment\n"
          "restart 30\n"
          "log reserved:ann reserved:ben\n"
          "pass 29\n"
          "log\n"
          "pass 1\n"
          "log expired:ann\n"
          "pass 39\n"
          "log\n"
          "pass 1\n"
          "log expired:ben\n");
}

static void a_hold_that_ran_out_while_down_expires_at_once(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "restart 5000\n"
          "log reserved:ann queued:ben expired:ann promoted:ben\n"
          "pay ben -> done\n");
}

static void a_wall_clock_that_went_back_does_not_lengthen_a_hold(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 2);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms\n"
                               "buy ann 1 -> created payment\n"));
    assert_null(rig_restart(&rig, -60000)); /* a minute back */
    const char *wrong = rig_play(&rig, "pass 99\n"
                                       "log reserved:ann\n"
                                       "pass 1\n"
                                       "log expired:ann\n");
    if (wrong != NULL)
        fail_msg("%s", wrong);
    rig_close(&rig);
}

static void after_a_restart_the_waiting_list_has_its_order(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "buy dan 1 -> created waiting\n"
          "cancel ben -> done\n"
          "restart 10\n"
          "position cem 1\n"
          "position dan 2\n"
          "buy cem 1 -> already-joined waiting\n"
          "cancel ann -> done\n"
          "log reserved:ann queued:ben queued:cem queued:dan cancelled:ben cancelled:ann "
          "promoted:cem\n");
}

static void a_paused_or_sold_out_sale_is_that_after_a_restart(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pause -> done\n"
          "restart 10\n"
          "state PAUSED\n"
          "pay ann -> done\n"
          "restart 10\n"
          "resume -> done\n"
          "buy ben 1 -> sold-out\n"
          "log reserved:ann paused paid:ann sold_out resumed\n");
}

static void what_was_paid_before_a_restart_still_makes_a_head_hopeless(void **state)
{
    (void)state;
    plays("sale 3 units 3 each 9 wait 10000 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 2 -> created payment\n"
          "buy cem 3 -> created waiting\n"
          "pause -> done\n"
          "pay ann -> done\n"
          "restart 10\n"
          "resume -> done\n"
          "log reserved:ann reserved:ben queued:cem paused paid:ann resumed cleared:cem\n");
}

static void a_refund_is_due_once_also_across_a_restart(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "buy ben 1 -> created payment\n"
          "pay ann -> hold-expired\n"
          "restart 10\n"
          "pay ann -> hold-expired\n"
          "log reserved:ann expired:ann reserved:ben refund_due:ann\n");
}

static void a_late_payer_stays_the_live_order_after_a_restart(void **state)
{
    (void)state;
    plays("sale 3 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "pay ann#1 -> done\n"
          "restart 10\n"
          "buy ann 1 -> already-joined paid\n"
          "pay ann#2 -> hold-expired\n");
}

static void recovery_refuses_rows_that_lie(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 2 units 1 each 9 wait 100 ms\n"
                               "buy ann 1 -> created payment\n"));
    rig.model.judge.sales[0].available++;
    assert_string_equal(rig_restart(&rig, 0), "a sale's counters are not those of its orders");
    rig.model.judge.sales[0].available--;
    rig.model.judge.orders[0].quantity = 3;
    assert_string_equal(rig_restart(&rig, 0),
                        "more units are held and paid than the sale has (G1)");
    rig.model.judge.orders[0].quantity = 1;
    rig.model.judge.orders[0].sale = 0;
    assert_null(rig_restart(&rig, 0));
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sale_starts_and_ends_by_its_times),
        cmocka_unit_test(a_sale_that_lies_in_the_past_starts_and_ends),
        cmocka_unit_test(a_hold_expires_at_its_time_and_not_before),
        cmocka_unit_test(freed_units_go_to_who_waited_longest),
        cmocka_unit_test(a_promoted_hold_lasts_as_long_as_any),
        cmocka_unit_test(a_paid_hold_does_not_expire),
        cmocka_unit_test(when_every_unit_is_paid_the_waiting_list_is_cleared),
        cmocka_unit_test(a_head_that_wants_more_than_will_ever_be_free_is_cleared),
        cmocka_unit_test(while_paused_nobody_buys_or_is_promoted_but_holds_are_paid_and_expire),
        cmocka_unit_test(resuming_serves_who_waits_first),
        cmocka_unit_test(pausing_twice_or_resuming_twice_changes_nothing),
        cmocka_unit_test(only_a_sale_that_runs_is_paused_or_resumed),
        cmocka_unit_test(a_pause_that_meets_a_resume_is_made_once),
        cmocka_unit_test(ending_clears_the_waiting_list_and_leaves_holds_payable),
        cmocka_unit_test(a_paused_sale_ends_by_its_time),
        cmocka_unit_test(a_sale_ended_before_its_start_never_starts),
        cmocka_unit_test(a_sale_closes_after_a_join_that_became_a_take),
        cmocka_unit_test(no_more_sales_are_made_than_the_table_holds),
        cmocka_unit_test(after_a_restart_holds_go_on_with_what_was_left_of_them),
        cmocka_unit_test(a_hold_that_ran_out_while_down_expires_at_once),
        cmocka_unit_test(a_wall_clock_that_went_back_does_not_lengthen_a_hold),
        cmocka_unit_test(after_a_restart_the_waiting_list_has_its_order),
        cmocka_unit_test(a_paused_or_sold_out_sale_is_that_after_a_restart),
        cmocka_unit_test(what_was_paid_before_a_restart_still_makes_a_head_hopeless),
        cmocka_unit_test(a_refund_is_due_once_also_across_a_restart),
        cmocka_unit_test(a_late_payer_stays_the_live_order_after_a_restart),
        cmocka_unit_test(recovery_refuses_rows_that_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
