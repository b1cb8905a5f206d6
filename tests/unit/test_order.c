/*
 * test_order.c: the states of an order, the moves between them as one table, and the arena that
 * orders come from.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/order.h"

/* Row: from; column: to; in the order of enum order_state. */
static const char *const allowed[ORDER_STATE_COUNT] = {
    /*               none wait paym paid expi canc clea */
    [ORDER_NONE] = "     .    x    x    .    .    .    .",
    [ORDER_WAITING] = "  .    .    x    .    .    x    x",
    [ORDER_PAYMENT] = "  .    .    .    x    x    x    .",
    [ORDER_PAID] = "     .    .    .    .    .    .    .",
    [ORDER_EXPIRED] = "  .    .    .    x    x    .    .",
    [ORDER_CANCELLED] = ".    .    .    .    .    .    .",
    [ORDER_CLEARED] = "  .    .    .    .    .    .    .",
};

static void an_order_moves_along_the_arrows_and_nowhere_else(void **state)
{
    (void)state;
    for (int from = 0; from < ORDER_STATE_COUNT; from++) {
        const char *row = allowed[from] + strspn(allowed[from], " ");
        for (int to = 0; to < ORDER_STATE_COUNT; to++) {
            bool is = order_move_allowed((enum order_state)from, (enum order_state)to);
            if (is != (row[5 * to] == 'x'))
                fail_msg("%s -> %s", order_state_name((enum order_state)from),
                         order_state_name((enum order_state)to));
        }
    }
    assert_false(order_move_allowed(ORDER_STATE_COUNT, ORDER_PAID));
    assert_false(order_move_allowed(ORDER_WAITING, ORDER_STATE_COUNT));
}

static void waiting_held_and_paid_orders_are_live(void **state)
{
    (void)state;
    static const bool live[ORDER_STATE_COUNT] = {
        [ORDER_WAITING] = true, [ORDER_PAYMENT] = true, [ORDER_PAID] = true};
    for (int i = 0; i < ORDER_STATE_COUNT; i++)
        assert_int_equal(order_state_is_live((enum order_state)i), live[i]);
}

static void states_have_the_names_of_the_contract(void **state)
{
    (void)state;
    assert_string_equal(order_state_name(ORDER_PAYMENT), "payment");
    assert_string_equal(order_state_name(ORDER_WAITING), "waiting");
    assert_string_equal(order_state_name(ORDER_PAID), "paid");
    assert_string_equal(order_state_name(ORDER_EXPIRED), "expired");
    assert_string_equal(order_state_name(ORDER_CANCELLED), "cancelled");
    assert_string_equal(order_state_name(ORDER_CLEARED), "cleared");
}

static void seq_and_state_survive_packing(void **state)
{
    (void)state;
    uint64_t seq = (1ULL << 48) - 1, packed = order_committed_pack(seq, ORDER_CLEARED);
    assert_int_equal(order_committed_seq(packed), seq);
    assert_int_equal(order_committed_state(packed), ORDER_CLEARED);
}

static void of_two_movers_one_wins(void **state)
{
    (void)state;
    struct order_arena arena = {0};
    struct order *order = order_new(&arena, "ann", 3, 1);
    order_settle(order, ORDER_PAYMENT);
    assert_true(order_move(order, ORDER_PAYMENT, ORDER_PAYMENT | ORDER_BUSY));
    assert_false(order_move(order, ORDER_PAYMENT, ORDER_PAID));
    assert_int_equal(order_state_now(order), ORDER_PAYMENT | ORDER_BUSY);
    order_settle(order, ORDER_EXPIRED);
    assert_int_equal(order_state_now(order), ORDER_EXPIRED);
    order_arena_free(&arena);
}

static void orders_do_not_overlap_also_across_blocks(void **state)
{
    (void)state;
    enum { ORDERS = 20000 }; /* some MiB: several blocks */
    static struct order *orders[ORDERS];
    struct order_arena arena = {0};
    char name[BUYER_NAME_BYTES_MAX];
    for (uint32_t i = 0; i < ORDERS; i++) {
        uint8_t bytes = (uint8_t)(1 + i % BUYER_NAME_BYTES_MAX);
        memset(name, (int)('a' + i % 26), bytes);
        orders[i] = order_new(&arena, name, bytes, i);
        assert_non_null(orders[i]);
        assert_int_equal((uintptr_t)orders[i] % _Alignof(struct order), 0);
        assert_int_equal(orders[i]->seq, 0);
    }
    for (uint32_t i = 0; i < ORDERS; i++) {
        assert_int_equal(orders[i]->name_hash, i);
        assert_int_equal(orders[i]->name_bytes, 1 + i % BUYER_NAME_BYTES_MAX);
        assert_int_equal(orders[i]->name[orders[i]->name_bytes - 1], 'a' + i % 26);
    }
    order_arena_free(&arena);
}

static void reserved_orders_come_from_one_block_without_asking_for_memory(void **state)
{
    (void)state;
    enum { RESERVED = 64 };
    struct order_arena arena = {0};
    char name[BUYER_NAME_BYTES_MAX];
    memset(name, 'x', sizeof name);
    for (int round = 0; round < 1000; round++) {
        assert_true(order_reserve(&arena, RESERVED));
        const struct order_block *block = arena.blocks;
        for (int i = 0; i < RESERVED; i++)
            assert_non_null(order_new(&arena, name, sizeof name, 1));
        assert_ptr_equal(arena.blocks, block);
    }
    order_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_moves_along_the_arrows_and_nowhere_else),
        cmocka_unit_test(waiting_held_and_paid_orders_are_live),
        cmocka_unit_test(states_have_the_names_of_the_contract),
        cmocka_unit_test(seq_and_state_survive_packing),
        cmocka_unit_test(of_two_movers_one_wins),
        cmocka_unit_test(orders_do_not_overlap_also_across_blocks),
        cmocka_unit_test(reserved_orders_come_from_one_block_without_asking_for_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
