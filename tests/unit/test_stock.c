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
}

static void every_field_survives_packing_at_its_bounds(void **state)
{
    (void)state;
    static const uint32_t units[] = {0, 1, PRODUCT_QTY_MAX}, orders[] = {0, 1, WAITLIST_MAX};
    for (int s = 0; s < SALE_STATE_COUNT; s++)
        for (int out = 0; out < 2; out++)
            for (int u = 0; u < 3; u++)
                for (int o = 0; o < 3; o++) {
                    struct stock stock = {.state = (enum sale_state)s,
                                          .sold_out = out != 0,
                                          .waiting = orders[o],
                                          .available = units[u]};
                    assert_same(stock_unpack(stock_pack(stock)), stock);
                }
}

static void giving_adds_units_and_takes_places(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_PAUSED, true, 5, 7});
    struct stock after = stock_give(&word, 3, 2);
    assert_same(after, (struct stock){SALE_PAUSED, true, 3, 10});
    assert_same(stock_load(&word), after);
}

static void promised_units_are_taken_in_any_state(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_ACTIVE, false, 1, 3});
    stock_take_promised(&word, 3);
    assert_same(stock_load(&word), (struct stock){SALE_ACTIVE, false, 1, 0});
}

static void state_and_sold_out_leave_the_counts_alone(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_UPCOMING, false, 4, 9});
    assert_same(stock_set_state(&word, SALE_ACTIVE), (struct stock){SALE_ACTIVE, false, 4, 9});
    stock_set_sold_out(&word);
    assert_same(stock_set_state(&word, SALE_ENDED), (struct stock){SALE_ENDED, true, 4, 9});
}

static void a_swap_against_a_changed_word_fails_and_shows_it(void **state)
{
    (void)state;
    stock_word word = stock_pack((struct stock){SALE_ACTIVE, false, 0, 1});
    uint64_t seen = stock_load_word(&word);
    stock_set_sold_out(&word);
    assert_false(stock_swap(&word, &seen, (struct stock){SALE_ACTIVE, false, 0, 0}));
    assert_same(stock_unpack(seen), (struct stock){SALE_ACTIVE, true, 0, 1});
    assert_same(stock_load(&word), (struct stock){SALE_ACTIVE, true, 0, 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives_packing_at_its_bounds),
        cmocka_unit_test(giving_adds_units_and_takes_places),
        cmocka_unit_test(promised_units_are_taken_in_any_state),
        cmocka_unit_test(state_and_sold_out_leave_the_counts_alone),
        cmocka_unit_test(a_swap_against_a_changed_word_fails_and_shows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
