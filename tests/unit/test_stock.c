/*
 * test_stock.c: the stock word: what is packed comes out again, at every bound, and each swap
 * changes its own field only.
 *
 * Thread: one; the races on the word belong to tests/sim and tests/stress.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/bounds.h"
#include "engine/stock.h"

static void assert_same(struct stock a, struct stock b)
{
    assert_int_equal(a.state, b.state);
    assert_int_equal(a.sold_out, b.sold_out);
    assert_int_equal(a.waiting, b.waiting);
    assert_int_equal(a.available, b.available);
    assert_int_equal(a.tint, b.tint);
}

static void every_field_survives_packing_at_its_bounds(void **state)
{
    (void)state;
    static const uint32_t units[] = {0, 1, PRODUCT_QTY_MAX}, orders[] = {0, 1, WAITLIST_MAX};
    for (int s = 0; s < SALE_STOPPED; s++)
        for (int out = 0; out < 4; out++)
            for (int u = 0; u < 3; u++)
                for (int o = 0; o < 3; o++) {
                    struct stock stock = {.state = (enum sale_state)s,
                                          .sold_out = (out & 1) != 0,
                                          .tint = (out & 2) != 0,
                                          .waiting = orders[o],
                                          .available = units[u]};
                    assert_same(stock_unpack(stock_pack(stock)), stock);
                }
}

static void giving_adds_units_and_takes_places(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_PAUSED, true, 5, 7, true});
    struct stock after = stock_give(&word, 3, 2);
    assert_same(after, (struct stock){SALE_PAUSED, true, 3, 10, true});
    assert_same(stock_load(&word), after);
}

static void promised_units_are_taken_in_any_state(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_ACTIVE, false, 1, 3, true});
    stock_take_promised(&word, 3);
    assert_same(stock_load(&word), (struct stock){SALE_ACTIVE, false, 1, 0, true});
}

static void state_and_sold_out_leave_the_counts_alone(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_UPCOMING, false, 4, 9, true});
    stock_set_state(&word, SALE_ACTIVE);
    assert_same(stock_load(&word), (struct stock){SALE_ACTIVE, false, 4, 9, true});
    stock_set_sold_out(&word);
    stock_set_state(&word, SALE_ENDED);
    assert_same(stock_load(&word), (struct stock){SALE_ENDED, true, 4, 9, true});
}

static void a_swap_against_a_changed_word_fails_and_shows_it(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_ACTIVE, false, 0, 1, true});
    uint64_t seen = stock_load_word(&word);
    stock_set_sold_out(&word);
    assert_false(stock_swap(&word, &seen, (struct stock){SALE_ACTIVE, false, 0, 0, true}));
    assert_same(stock_unpack(seen), (struct stock){SALE_ACTIVE, true, 0, 1, true});
    assert_same(stock_load(&word), (struct stock){SALE_ACTIVE, true, 0, 1, true});
}

static void a_turn_shows_the_word_and_changes_only_the_tint(void **state)
{
    (void)state;
    stock_word word =
        stock_pack((struct stock){SALE_ACTIVE, true, WAITLIST_MAX, PRODUCT_QTY_MAX, false});
    assert_same(stock_turn(&word),
                (struct stock){SALE_ACTIVE, true, WAITLIST_MAX, PRODUCT_QTY_MAX, false});
    assert_same(stock_turn(&word),
                (struct stock){SALE_ACTIVE, true, WAITLIST_MAX, PRODUCT_QTY_MAX, true});
    assert_false(stock_load(&word).tint);
}

static void sold_counts_under_either_tint(void **state)
{
    (void)state;
    sold_word word = 0;
    assert_int_equal(sold_add(&word, 3).units, 3);
    assert_false(sold_turn(&word).tint);
    assert_int_equal(sold_add(&word, PRODUCT_QTY_MAX - 3).units, PRODUCT_QTY_MAX);
    assert_true(sold_now(&word).tint);
    assert_int_equal(sold_turn(&word).units, PRODUCT_QTY_MAX);
    assert_int_equal(sold_now(&word).units, PRODUCT_QTY_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives_packing_at_its_bounds),
        cmocka_unit_test(giving_adds_units_and_takes_places),
        cmocka_unit_test(promised_units_are_taken_in_any_state),
        cmocka_unit_test(state_and_sold_out_leave_the_counts_alone),
        cmocka_unit_test(a_turn_shows_the_word_and_changes_only_the_tint),
        cmocka_unit_test(sold_counts_under_either_tint),
        cmocka_unit_test(a_swap_against_a_changed_word_fails_and_shows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
