/*
 * test_worker.c: what a worker decides: buy, eligible, pay, cancel. The texts of one decision stand
 * in the order of the precedence of its refusals; each states a rule of README.md.
 *
 * Thread: one; time is in the text (see tests/support/rig.h).
 */
#include <stdio.h>

#include "tests/unit/plays.h"

/* ---- buy, in order of precedence ---- */

static void buying_in_a_sale_that_has_not_started_is_refused_first(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 0 wait 100 ms starts 500 ends 1000\n"
          "storage full\n"
          "buy ann 9 -> sale-not-active\n"
          "pass 499\n"
          "buy ann 9 -> sale-not-active\n"
          "pass 1\n"
          "buy ann 9 -> storage-full\n"
          "storage free\n"
          "buy ann 1 -> created payment\n"
          "log started reserved:ann\n");
}

static void sold_out_comes_before_storage_full(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pay ann -> done\n"
          "storage full\n"
          "buy ben 1 -> sold-out\n"
          "buy ann 1 -> sold-out\n");
}

static void storage_full_comes_before_already_joined(void **state)
{
    (void)state;
    plays("sale 3 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "storage full\n"
          "buy ann 1 -> storage-full\n"
          "pay ann -> done\n"
          "storage free\n"
          "buy ann 1 -> already-joined paid\n");
}

static void already_joined_comes_before_quantity_and_tells_the_live_orders_state(void **state)
{
    (void)state;
    plays("sale 2 units 2 each 9 wait 100 ms\n"
          "buy ann 2 -> created payment\n"
          "buy ann 7 -> already-joined payment\n"
          "buy ben 1 -> created waiting\n"
          "buy ben 7 -> already-joined waiting\n");
}

static void a_quantity_over_the_limit_is_refused_also_when_units_are_free(void **state)
{
    (void)state;
    plays("sale 9 units 2 each 0 wait 100 ms\n"
          "buy ann 3 -> quantity-over-limit\n"
          "buy ann 2 -> created payment\n"
          "stock 7 2 0 0\n");
}

static void a_quantity_over_the_whole_stock_is_over_the_limit(void **state)
{
    (void)state;
    plays("sale 2 units 5 each 9 wait 100 ms\n"
          "buy ann 3 -> quantity-over-limit\n");
}

static void more_than_will_ever_be_free_is_sold_out_before_waitlist_full(void **state)
{
    (void)state;
    plays("sale 3 units 3 each 0 wait 100 ms\n"
          "buy ann 2 -> created payment\n"
          "buy ben 2 -> waitlist-full\n"
          "pay ann -> done\n"
          "buy ben 2 -> sold-out\n"
          "buy ben 1 -> created payment\n");
}

static void who_finds_the_waiting_list_full_is_refused_and_may_ask_again(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 1 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> waitlist-full\n"
          "eligible cem -> done\n"
          "cancel ben -> done\n"
          "buy cem 1 -> created waiting\n"
          "log reserved:ann queued:ben cancelled:ben queued:cem\n");
}

static void nobody_overtakes_a_head_that_wants_more(void **state)
{
    (void)state;
    plays("sale 3 units 3 each 9 wait 100 ms\n"
          "buy ann 2 -> created payment\n"
          "buy ben 2 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "stock 1 2 0 2\n"
          "cancel ann -> done\n"
          "log reserved:ann queued:ben queued:cem cancelled:ann promoted:ben promoted:cem\n"
          "stock 0 3 0 0\n");
}

static void after_expiry_or_cancellation_a_buyer_may_buy_again(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "cancel ann -> done\n"
          "eligible ann -> done\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "eligible ann -> done\n"
          "buy ann 1 -> created payment\n"
          "eligible ann -> already-joined payment\n"
          "log reserved:ann cancelled:ann reserved:ann expired:ann reserved:ann\n");
}

/* ---- pay ---- */

static void a_hold_is_paid_once(void **state)
{
    (void)state;
    plays("sale 2 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pay ann -> done paid\n"
          "pay ann -> not-in-payment paid\n"
          "stock 1 0 1 0\n"
          "log reserved:ann paid:ann\n");
}

static void only_a_hold_is_paid(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "pay ben -> not-in-payment waiting\n"
          "cancel ben -> done\n"
          "pay ben -> not-in-payment cancelled\n"
          "end -> done\n"
          "pay ann -> done\n");
}

static void a_late_payment_is_taken_when_units_are_free_and_nobody_waits(void **state)
{
    (void)state;
    plays("sale 2 units 2 each 9 wait 100 ms\n"
          "buy ann 2 -> created payment\n"
          "pass 100\n"
          "log reserved:ann expired:ann\n"
          "pay ann -> done paid\n"
          "stock 0 0 2 0\n"
          "log paid:ann sold_out\n");
}

static void a_late_payment_without_free_units_is_due_a_refund_once(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "buy ben 1 -> created payment\n"
          "pay ann -> hold-expired expired\n"
          "log reserved:ann expired:ann reserved:ben refund_due:ann\n"
          "pay ann -> hold-expired expired\n"
          "log\n"
          "stock 0 1 0 0\n"
          "pass 100\n"
          "stock 1 0 0 0\n"
          "pay ann -> hold-expired expired\n"
          "log expired:ben\n"
          "stock 1 0 0 0\n");
}

static void a_late_payment_does_not_overtake_who_waits(void **state)
{
    (void)state;
    plays("sale 3 units 3 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 50\n"
          "buy ben 2 -> created payment\n"
          "buy cem 2 -> created waiting\n"
          "pass 50\n"
          "stock 1 2 0 1\n"
          "pay ann -> hold-expired\n"
          "log reserved:ann reserved:ben queued:cem expired:ann refund_due:ann\n");
}

static void a_late_payment_beside_a_newer_live_order_is_due_a_refund(void **state)
{
    (void)state;
    plays("sale 5 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "buy ann 1 -> created payment\n"
          "pay ann#1 -> hold-expired\n"
          "pay ann#2 -> done\n"
          "pay ann#1 -> hold-expired\n"
          "log reserved:ann expired:ann reserved:ann refund_due:ann paid:ann\n");
}

static void who_paid_late_has_a_live_order_again(void **state)
{
    (void)state;
    plays("sale 5 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "pass 100\n"
          "pay ann -> done\n"
          "buy ann 1 -> already-joined paid\n"
          "eligible ann -> already-joined paid\n");
}

/* ---- cancel ---- */

static void only_a_waiting_order_or_a_hold_is_cancelled(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "cancel ben -> done cancelled\n"
          "cancel ben -> not-cancellable cancelled\n"
          "cancel ann -> done\n"
          "log reserved:ann queued:ben queued:cem cancelled:ben cancelled:ann promoted:cem\n"
          "pay cem -> done\n"
          "cancel cem -> not-cancellable paid\n");
}

/* ---- a round ---- */

/* Found by the simulation: a worker slept on a full ring when old commands had filled its round. */
static void more_commands_than_one_round_takes_are_all_answered(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1000000 units 1 each 9 wait 100 ms\n"));
    uint32_t sent = 0, created = 0, joined = 0;
    char name[BUYER_NAME_BYTES_MAX];
    for (; sent < 5 * WORKER_BATCH_MAX; sent++) {
        snprintf(name, sizeof name, "b%u", sent / 2); /* each asks twice in a row */
        assert_true(rig_send(&rig, rig_buy(&rig, name, 1)));
    }
    assert_true(rig_settle(&rig));
    struct reply reply;
    while (rig_receive(&rig, &reply)) {
        created += reply.outcome == OUTCOME_CREATED;
        joined += reply.outcome == OUTCOME_ALREADY_JOINED;
    }
    rig_close(&rig);
    assert_int_equal(created, sent / 2);
    assert_int_equal(joined, sent / 2);
}

static void a_full_ring_pushes_back_and_drops_nothing(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1000000 units 1 each 9 wait 100 ms\n"));
    uint32_t sent = 0, answered = 0;
    char name[BUYER_NAME_BYTES_MAX];
    do
        snprintf(name, sizeof name, "b%u", sent);
    while (rig_send(&rig, rig_buy(&rig, name, 1)) && ++sent > 0);
    assert_int_equal(sent, COMMAND_RING_SLOTS - 1);
    assert_true(rig_settle(&rig));
    struct reply reply;
    while (rig_receive(&rig, &reply))
        answered++;
    assert_int_equal(answered, sent);
    assert_true(rig_send(&rig, rig_buy(&rig, name, 1)));
    rig_close(&rig);
}

/* Without it they would lie there until the clock looks by itself, an interval later. */
static void units_given_back_while_somebody_waits_wake_the_clock_at_once(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 250 ms\n"
                               "buy ann 1 -> created payment\n"
                               "buy ben 1 -> created waiting\n"));
    struct order *ann = seqmap_order(&rig.engine.seqmap, rig.orders[0].seq);
    uint32_t seen = wake_seen(&rig.engine.clock.wake);
    assert_true(rig_send(&rig, (struct command){.kind = COMMAND_CANCEL, .order = ann}));
    assert_int_equal(wake_seen(&rig.engine.clock.wake), seen);
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_int_not_equal(wake_seen(&rig.engine.clock.wake), seen);
    rig_close(&rig);
}

/* The journal stands still and somebody else holds nearly all room; then it is given back. */
static void a_full_log_is_overload_and_nothing_decided_is_lost(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1000000 units 1 each 9 wait 3600000 ms\n"));
    struct log *log = &rig.engine.log;
    struct log_credit held = {0};
    for (uint32_t chunk = 0; chunk + 2 < LOG_SLOTS / LOG_CREDIT_CHUNK; chunk++, held.slots = 0)
        assert_true(log_reserve(log, &held, LOG_CREDIT_CHUNK));
    uint32_t sent = 0, created = 0, overloaded = 0;
    char name[BUYER_NAME_BYTES_MAX];
    for (; sent < 3 * LOG_CREDIT_CHUNK; sent++) {
        snprintf(name, sizeof name, "b%u", sent);
        assert_true(rig_send(&rig, rig_buy(&rig, name, 1)));
        (void)worker_round(&rig.engine.workers[0], rig.now);
    }
    assert_true(rig_settle(&rig));
    struct reply reply;
    while (rig_receive(&rig, &reply)) {
        created += reply.outcome == OUTCOME_CREATED;
        overloaded += reply.outcome == OUTCOME_OVERLOAD;
    }
    assert_int_equal(created + overloaded, sent);
    assert_in_range(created, 1, 2 * LOG_CREDIT_CHUNK);
    assert_null(model_compare(&rig.model, &rig.engine));
    assert_int_equal(view_sale(rig.sale).held, created);
    assert_null(rig_play(&rig, "buy late 1 -> created payment\n"));
    rig_close(&rig);
}

static void a_full_log_does_not_hide_an_order_from_who_asks_for_it(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 3600000 ms\n"
                               "buy ann 1 -> created payment\n"));
    struct log_credit held = {0};
    for (rig.engine.workers[0].credit.slots = 0;
         log_reserve(&rig.engine.log, &held, LOG_CREDIT_CHUNK);)
        held.slots = 0;
    struct command command = rig_buy(&rig, "ben", 1);
    struct reply reply;
    assert_true(rig_send(&rig, command));
    command = rig_buy(&rig, "ann", 1);
    command.kind = COMMAND_ELIGIBLE;
    assert_true(rig_send(&rig, command));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.outcome, OUTCOME_OVERLOAD);
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.outcome, OUTCOME_ALREADY_JOINED);
    assert_ptr_equal(reply.order, seqmap_order(&rig.engine.seqmap, rig.orders[0].seq));
    rig_close(&rig);
}

static void two_workers_hear_the_same_buyer_on_one_of_them(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 2);
    uint32_t seen[2] = {0};
    char name[BUYER_NAME_BYTES_MAX];
    for (int i = 0; i < 1000; i++) {
        int bytes = snprintf(name, sizeof name, "b%d", i);
        uint64_t hash = model_hash(name, (size_t)bytes);
        seen[engine_worker_of(&rig.engine, hash)]++;
        assert_int_equal(engine_worker_of(&rig.engine, hash), engine_worker_of(&rig.engine, hash));
    }
    rig_close(&rig);
    assert_in_range(seen[0], 400, 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buying_in_a_sale_that_has_not_started_is_refused_first),
        cmocka_unit_test(sold_out_comes_before_storage_full),
        cmocka_unit_test(storage_full_comes_before_already_joined),
        cmocka_unit_test(already_joined_comes_before_quantity_and_tells_the_live_orders_state),
        cmocka_unit_test(a_quantity_over_the_limit_is_refused_also_when_units_are_free),
        cmocka_unit_test(a_quantity_over_the_whole_stock_is_over_the_limit),
        cmocka_unit_test(more_than_will_ever_be_free_is_sold_out_before_waitlist_full),
        cmocka_unit_test(who_finds_the_waiting_list_full_is_refused_and_may_ask_again),
        cmocka_unit_test(nobody_overtakes_a_head_that_wants_more),
        cmocka_unit_test(after_expiry_or_cancellation_a_buyer_may_buy_again),
        cmocka_unit_test(a_hold_is_paid_once),
        cmocka_unit_test(only_a_hold_is_paid),
        cmocka_unit_test(a_late_payment_is_taken_when_units_are_free_and_nobody_waits),
        cmocka_unit_test(a_late_payment_without_free_units_is_due_a_refund_once),
        cmocka_unit_test(a_late_payment_does_not_overtake_who_waits),
        cmocka_unit_test(a_late_payment_beside_a_newer_live_order_is_due_a_refund),
        cmocka_unit_test(who_paid_late_has_a_live_order_again),
        cmocka_unit_test(only_a_waiting_order_or_a_hold_is_cancelled),
        cmocka_unit_test(more_commands_than_one_round_takes_are_all_answered),
        cmocka_unit_test(a_full_ring_pushes_back_and_drops_nothing),
        cmocka_unit_test(units_given_back_while_somebody_waits_wake_the_clock_at_once),
        cmocka_unit_test(a_full_log_is_overload_and_nothing_decided_is_lost),
        cmocka_unit_test(a_full_log_does_not_hide_an_order_from_who_asks_for_it),
        cmocka_unit_test(two_workers_hear_the_same_buyer_on_one_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
