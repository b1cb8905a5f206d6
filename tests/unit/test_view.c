/*
 * test_view.c: what readers see: positions in the waiting list while people leave it anywhere, the
 * list of who paid, and the sole active sale; all of it only after the commit.
 *
 * Thread: one; the view's races belong to tests/stress.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/support/random.h"
#include "tests/unit/plays.h"

static void positions_count_who_still_waits_ahead(void **state)
{
    (void)state;
    plays("sale 1 units 1 each 9 wait 100 ms\n"
          "buy ann 1 -> created payment\n"
          "buy ben 1 -> created waiting\n"
          "buy cem 1 -> created waiting\n"
          "buy dan 1 -> created waiting\n"
          "position ann 0\n"
          "position ben 1\n"
          "position cem 2\n"
          "position dan 3\n"
          "cancel cem -> done\n"
          "position cem 0\n"
          "position dan 2\n"
          "cancel ann -> done\n"
          "position ben 0\n"
          "position dan 1\n"
          "buy cem 1 -> created waiting\n"
          "position cem 2\n");
}

/* The history's own waiting list says what each position must be (model_compare). */
static void positions_hold_over_many_words_of_the_bitmap(void **state)
{
    (void)state;
    enum { BUYERS = 500 };
    static struct rig rig;
    rig_open(&rig, 2);
    assert_null(
        rig_play(&rig, "sale 1 units 1 each 1000 wait 3600000 ms\nbuy first 1 -> created\n"));
    struct random random = random_from(7);
    static struct order *orders[BUYERS];
    for (uint32_t i = 0; i < BUYERS; i++) {
        char name[JUDGE_NAME_BYTES];
        snprintf(name, sizeof name, "b%u", i);
        struct reply reply = rig_ask(&rig, rig_buy(&rig, name, 1));
        assert_int_equal(reply.state, ORDER_WAITING);
        orders[i] = reply.order;
        assert_int_equal(view_position(rig.sale, reply.order), i + 1);
        assert_int_equal(reply.order->position, i + 1);
    }
    for (uint32_t left = BUYERS; left > 0; left--) {
        uint32_t at = random_below(&random, left);
        struct command cancel = {.kind = COMMAND_CANCEL, .order = orders[at]};
        assert_int_equal(rig_ask(&rig, cancel).outcome, OUTCOME_DONE);
        orders[at] = orders[left - 1];
        assert_null(model_compare(&rig.model, &rig.engine));
    }
    assert_int_equal(atomic_load(&rig.sale->waiting_first), BUYERS);
    rig_close(&rig);
}

static void an_expiry_time_is_shown_with_the_hold(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 250 ms\n"
                               "buy ann 1 -> created payment\n"
                               "buy ben 1 -> created waiting\n"));
    int64_t bought_at_ms = rig.now.wall_ms;
    struct order *ann = seqmap_order(&rig.engine.seqmap, rig.orders[0].seq);
    struct order *ben = seqmap_order(&rig.engine.seqmap, rig.orders[1].seq);
    assert_int_equal(atomic_load(&ann->expires_at_ms), bought_at_ms + 250);
    assert_null(rig_play(&rig, "pass 250\n"));
    assert_int_equal(atomic_load(&ben->expires_at_ms), bought_at_ms + 500);
    assert_int_equal(atomic_load(&ben->changed_at_ms), bought_at_ms + 250);
    rig_close(&rig);
}

static void nothing_is_seen_before_the_commit(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 5 units 5 each 9 wait 250 ms\n"));
    assert_true(rig_send(&rig, rig_buy(&rig, "ann", 2)));
    (void)worker_round(&rig.engine.workers[0], rig.now);
    uint64_t seq = log_last_claimed(&rig.engine.log);
    char id[ID_CHARS];
    id_write(id, seq, id_tag(model_hash, seq));
    struct reply reply;
    assert_int_equal(view_sale(rig.sale).available, 5);
    assert_null(engine_find_order(&rig.engine, id, sizeof id));
    assert_false(rig_receive(&rig, &reply));
    assert_int_equal(journal_round(&rig.engine.journal), JOURNAL_WROTE);
    assert_int_equal(view_sale(rig.sale).available, 3);
    assert_non_null(engine_find_order(&rig.engine, id, sizeof id));
    assert_true(rig_receive(&rig, &reply));
    assert_int_equal(reply.seq, seq);
    rig_close(&rig);
}

static void an_order_is_no_sale_and_a_sale_no_order(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_null(rig_play(&rig, "sale 5 units 5 each 9 wait 250 ms\nbuy ann 1 -> created\n"));
    char id[ID_CHARS];
    engine_order_id(&rig.engine, seqmap_order(&rig.engine.seqmap, rig.orders[0].seq), id);
    assert_null(engine_find_sale(&rig.engine, id, sizeof id));
    assert_null(engine_find_order(&rig.engine, rig.sale->id, ID_CHARS));
    assert_ptr_equal(engine_find_sale(&rig.engine, rig.sale->id, ID_CHARS), rig.sale);
    rig_close(&rig);
}

static void the_sole_active_sale_is_known(void **state)
{
    (void)state;
    static struct rig rig;
    rig_open(&rig, 1);
    assert_int_equal(atomic_load(&rig.engine.sole_active), SOLE_ACTIVE_NONE);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms starts 50 ends 300\n"));
    assert_int_equal(atomic_load(&rig.engine.sole_active), SOLE_ACTIVE_NONE);
    assert_null(rig_play(&rig, "pass 50\n"));
    assert_int_equal(atomic_load(&rig.engine.sole_active), 0);
    assert_null(rig_play(&rig, "sale 1 units 1 each 9 wait 100 ms\n"));
    assert_int_equal(atomic_load(&rig.engine.sole_active), SOLE_ACTIVE_SEVERAL);
    assert_null(rig_play(&rig, "pass 250\n"));
    assert_int_equal(atomic_load(&rig.engine.sole_active), 1);
    assert_null(rig_play(&rig, "restart 10\n"));
    assert_int_equal(atomic_load(&rig.engine.sole_active), 1);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_count_who_still_waits_ahead),
        cmocka_unit_test(positions_hold_over_many_words_of_the_bitmap),
        cmocka_unit_test(an_expiry_time_is_shown_with_the_hold),
        cmocka_unit_test(nothing_is_seen_before_the_commit),
        cmocka_unit_test(an_order_is_no_sale_and_a_sale_no_order),
        cmocka_unit_test(the_sole_active_sale_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
