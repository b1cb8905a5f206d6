/*
 * test_reconcile.c: a run is made when the schedule or somebody asks; each word and each order's state that
 * is changed in memory is found, and what is merely ahead of the log is not.
 *
 * Thread: one: whenever a run waits, the engine's threads take a round.
 */
#include <string.h>

#include "engine/check.h"
#include "tests/unit/plays.h"

static struct rig rig;
static const _Atomic bool stays = false;

/* ---- when ---- */

static uint32_t compared;
static const char *failure;

static const char *compare_nothing(void *self, struct reconcile_run *run)
{
    (void)self;
    (void)run;
    compared++;
    return failure;
}

static struct reconciler open_reconciler(const char *schedule)
{
    struct reconciler r;
    struct reconcile_options options = {.store = {.compare = compare_nothing}};
    rig_open(&rig, 1);
    compared = 0;
    failure = NULL;
    assert_true(cron_parse(schedule, &options.schedule, NULL));
    reconcile_init(&r, &rig.engine, options);
    return r;
}

static struct now at_ms(int64_t wall_ms)
{
    return (struct now){.mono_ms = wall_ms / 7, .wall_ms = wall_ms};
}

/* The time of 2026-03-01 12:00:00. */
static const int64_t noon = 1772366400000;

static void the_schedule_calls_at_its_minutes(void **state)
{
    (void)state;
    static struct reconciler r;
    r = open_reconciler("*/5 * * * *");
    int64_t sleep_ms = 0;
    assert_false(reconcile_round(&r, at_ms(noon + 270000), &sleep_ms));
    assert_int_equal(sleep_ms, 30000);
    assert_false(reconcile_round(&r, at_ms(noon + 299999), &sleep_ms));
    assert_int_equal(sleep_ms, 1);
    assert_int_equal(compared, 0);
    assert_true(reconcile_round(&r, at_ms(noon + 300001), &sleep_ms));
    assert_int_equal(compared, 1);
    assert_int_equal(atomic_load(&r.next_wall_ms), noon + 600000);
    assert_false(reconcile_round(&r, at_ms(noon + 300010), &sleep_ms));
    assert_int_equal(sleep_ms, 60000); /* looks at the wall clock now and then */
    assert_int_equal(reconcile_result(&r).runs, 1);
    rig_close(&rig);
}

static void a_wall_clock_that_is_set_back_does_not_put_it_off(void **state)
{
    (void)state;
    static struct reconciler r;
    r = open_reconciler("*/5 * * * *");
    int64_t sleep_ms = 0, day_ms = 24 * 3600 * 1000;
    assert_false(reconcile_round(&r, at_ms(noon + 1), &sleep_ms));
    assert_false(reconcile_round(&r, at_ms(noon - day_ms + 299000), &sleep_ms));
    assert_int_equal(sleep_ms, 1000);
    assert_true(reconcile_round(&r, at_ms(noon - day_ms + 300000), &sleep_ms));
    /* Set forward, it is late: one run makes up for all that were left out. */
    assert_true(reconcile_round(&r, at_ms(noon + day_ms), &sleep_ms));
    assert_false(reconcile_round(&r, at_ms(noon + day_ms + 1), &sleep_ms));
    assert_int_equal(compared, 2);
    rig_close(&rig);
}

static void a_date_that_never_comes_never_calls(void **state)
{
    (void)state;
    static struct reconciler r;
    r = open_reconciler("0 0 31 2 *");
    int64_t sleep_ms = 0;
    assert_false(reconcile_round(&r, at_ms(noon), &sleep_ms));
    assert_int_equal(sleep_ms, 60000);
    assert_int_equal(atomic_load(&r.next_wall_ms), -1);
    rig_close(&rig);
}

static void ask(uint64_t context)
{
    struct command command = {.kind = COMMAND_RECONCILE, .context = context};
    assert_true(port_send(&rig.engine.ports[0], engine_reconciler_target(&rig.engine), &command));
}

static void who_asks_is_answered_by_one_run_whatever_it_finds(void **state)
{
    (void)state;
    static struct reconciler r;
    struct reply reply;
    int64_t sleep_ms = 0;
    r = open_reconciler("0 0 31 2 *");
    ask(7);
    ask(8);
    assert_true(reconcile_round(&r, at_ms(noon), &sleep_ms));
    assert_int_equal(compared, 1);
    for (uint64_t context = 7; context <= 8; context++) {
        assert_true(rig_receive(&rig, &reply));
        assert_int_equal(reply.context, context);
        assert_int_equal(reply.outcome, OUTCOME_DONE);
    }
    assert_false(reconcile_round(&r, at_ms(noon), &sleep_ms));
    failure = "the disk is gone";
    ask(9);
    assert_true(reconcile_round(&r, at_ms(noon), &sleep_ms));
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.outcome, OUTCOME_DONE);
    const struct reconcile_result result = reconcile_result(&r);
    assert_string_equal(result.failure, "the disk is gone");
    assert_int_equal(result.runs, 2);
    assert_int_equal(result.runs_failed, 1);
    assert_int_equal(result.began_wall_ms, noon);
    reconcile_leave(&r);
    ask(10);
    assert_true(reconcile_round(&r, at_ms(noon), &sleep_ms));
    assert_int_equal(compared, 2); /* no more runs, and nobody is left waiting */
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.outcome, OUTCOME_OVERLOAD);
    rig_close(&rig);
}

/* ---- what ---- */

static void let_others_go_on(void)
{
    MUST(rig_settle(&rig), "a journal that works");
}

/* The engine's part of a run. What it found, or NULL; borrowed until the next call. */
static const struct divergence *look(void)
{
    static struct divergence found;
    struct reconcile_run run;
    MUST(reconcile_begin(&run, &rig.engine, &rig.engine.ports[1], let_others_go_on, &stays),
         "memory for a run");
    assert_true(reconcile_words(&run));
    for (uint64_t seq = 1; seq <= log_committed(&rig.engine.log); seq++)
        if (seqmap_order(&rig.engine.seqmap, seq) != NULL)
            reconcile_order(&run, seqmap_order(&rig.engine.seqmap, seq));
    assert_true(reconcile_orders(&run));
    bool differs = run.sale_count > 0 && run.sales[0].count > 0;
    found = run.sales[0].first;
    reconcile_end(&run);
    return differs ? &found : NULL;
}

static void open_sale(void)
{
    rig_open(&rig, 2);
    assert_null(rig_play(&rig, "sale 9 units 9 each 9 wait 1000 ms\n"
                               "buy ann 2 -> created payment\n"
                               "buy ben 3 -> created payment\n"
                               "buy cem 5 -> created waiting\n"
                               "pay ann -> done\n"));
    assert_null(look());
    assert_null(look()); /* with the other tint */
}

static void finds(const char *field, const char *memory, const char *events)
{
    const struct divergence *d = look();
    assert_non_null(d);
    assert_string_equal(d->field, field);
    assert_string_equal(d->memory, memory);
    assert_string_equal(d->events, events);
    assert_non_null(look()); /* it does not go away by being looked at */
}

static void change_word(struct stock by)
{
    atomic_store(&rig.sale->stock, atomic_load(&rig.sale->stock) ^ stock_pack(by));
}

static void each_changed_word_is_found(void **state)
{
    (void)state;
    open_sale();
    change_word((struct stock){.available = 4});
    finds("available in the stock word", "0", "4");
    change_word((struct stock){.available = 4});
    assert_null(look());
    change_word((struct stock){.waiting = 1 << 29});
    finds("waiting in the stock word", "536870913", "1");
    change_word((struct stock){.waiting = 1 << 29});
    change_word((struct stock){.state = SALE_ENDED ^ SALE_ACTIVE});
    finds("state in the stock word", "ENDED", "ACTIVE");
    change_word((struct stock){.state = SALE_ENDED ^ SALE_ACTIVE});
    atomic_fetch_add(&rig.sale->sold, 1);
    finds("sold in the counter of payments", "3", "2");
    atomic_fetch_sub(&rig.sale->sold, 1);
    change_word((struct stock){.tint = true});
    assert_null(look()); /* nothing has come since: the tint means nothing */
    rig_close(&rig);
}

static void a_changed_order_is_found(void **state)
{
    (void)state;
    open_sale();
    struct order *ben = seqmap_order(&rig.engine.seqmap, rig.orders[1].seq);
    atomic_store(&ben->state, ORDER_PAID);
    finds("an order's own state", "paid", "payment");
    atomic_store(&ben->state, ORDER_PAYMENT | ORDER_BUSY); /* for ever, with nobody busy */
    finds("an order's own state", "payment", "payment");
    atomic_store(&ben->state, ORDER_PAYMENT);
    assert_null(look());
    rig_close(&rig);
}

static void what_is_only_ahead_of_the_log_is_no_divergence(void **state)
{
    (void)state;
    open_sale();
    for (int n = 0; n < 6; n++) {
        struct order *ben = seqmap_order(&rig.engine.seqmap, rig.orders[1].seq);
        struct order *cem = seqmap_order(&rig.engine.seqmap, rig.orders[2].seq);
        const struct command commands[] = {
            rig_buy(&rig, "dan", 1), {.kind = COMMAND_PAY, .order = ben},
            rig_buy(&rig, "eva", 2), {.kind = COMMAND_CANCEL, .order = cem},
            rig_buy(&rig, "fay", 1), {.kind = COMMAND_CANCEL, .order = ben}};
        assert_true(rig_send(&rig, commands[n]));
        for (uint32_t w = 0; w < 2; w++)
            (void)worker_round(&rig.engine.workers[w], rig.now);
        assert_null(look()); /* decided, and nothing of it committed when it began */
    }
    rig_close(&rig);
}

static void a_stopped_sale_is_paused_until_an_admin_resumes_it(void **state)
{
    (void)state;
    open_sale();
    struct command stop = {.kind = COMMAND_STOP, .sale = rig.sale};
    assert_true(port_send(&rig.engine.ports[0], engine_clock_target(&rig.engine), &stop));
    struct reply reply;
    assert_true(rig_settle(&rig) && rig_receive(&rig, &reply));
    assert_null(look());
    assert_int_equal(view_sale(rig.sale).state, SALE_STOPPED);
    assert_int_equal(stock_load(&rig.sale->stock).state, SALE_PAUSED);
    assert_null(rig_play(
        &rig,
        "restart 1\nstate STOPPED\npause -> done\nbuy dan 1 -> sale-not-active\nstate STOPPED\n"));
    assert_null(rig_play(
        &rig, "resume -> done\nstate ACTIVE\nbuy dan 1 -> created\npause -> done\nstate PAUSED\n"));
    assert_null(look());
    stop.sale = rig.sale;
    assert_true(port_send(&rig.engine.ports[0], engine_clock_target(&rig.engine), &stop));
    assert_true(rig_settle(&rig) && rig_receive(&rig, &reply));
    assert_int_equal(view_sale(rig.sale).state, SALE_STOPPED);
    assert_null(rig_play(&rig, "end -> done\nstate ENDED\n"));
    assert_null(look());
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_schedule_calls_at_its_minutes),
        cmocka_unit_test(a_wall_clock_that_is_set_back_does_not_put_it_off),
        cmocka_unit_test(a_date_that_never_comes_never_calls),
        cmocka_unit_test(who_asks_is_answered_by_one_run_whatever_it_finds),
        cmocka_unit_test(each_changed_word_is_found),
        cmocka_unit_test(a_changed_order_is_found),
        cmocka_unit_test(what_is_only_ahead_of_the_log_is_no_divergence),
        cmocka_unit_test(a_stopped_sale_is_paused_until_an_admin_resumes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
