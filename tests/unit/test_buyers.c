/*
 * test_buyers.c: the set of buyers: found by sale and name, also while a table grows, also where
 * hashes collide.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/buyers.h"

/* More than the 2^19 slots up to which a table grows without a look at its orders. */
enum { MANY = 700000 };

static struct {
    struct buyers buyers;
    struct order_arena arena;
} set;

static int fresh(void **state)
{
    (void)state;
    memset(&set, 0, sizeof set);
    return buyers_init(&set.buyers) ? 0 : -1;
}

static int gone(void **state)
{
    (void)state;
    buyers_free(&set.buyers);
    order_arena_free(&set.arena);
    return 0;
}

static struct order *order_of(const char *name, uint64_t hash, uint32_t sale)
{
    struct order *order = order_new(&set.arena, name, (uint8_t)strlen(name), hash);
    assert_non_null(order);
    order->sale = sale;
    return order;
}

static struct order *find(const char *name, uint64_t hash, uint32_t sale)
{
    const struct buyer buyer = {name, hash, sale, (uint8_t)strlen(name)};
    return buyers_find_name(&set.buyers, &buyer);
}

static void a_buyer_is_found_by_sale_and_whole_name(void **state)
{
    (void)state;
    struct order *order = order_of("ann", 7, 3);
    assert_null(buyers_find(&set.buyers, order));
    assert_true(buyers_put(&set.buyers, order));
    assert_ptr_equal(buyers_find(&set.buyers, order), order);
    assert_ptr_equal(find("ann", 7, 3), order);
    assert_null(find("ann", 7, 4));
    assert_null(find("anna", 7, 3));
    assert_null(find("bob", 7, 3)); /* the same hash, another name */
}

static void names_of_one_hash_stand_side_by_side(void **state)
{
    (void)state;
    struct order *ann = order_of("ann", 7, 3), *bob = order_of("bob", 7, 3);
    assert_true(buyers_put(&set.buyers, ann));
    assert_true(buyers_put(&set.buyers, bob));
    assert_ptr_equal(find("ann", 7, 3), ann);
    assert_ptr_equal(find("bob", 7, 3), bob);
}

static void the_latest_order_replaces_the_one_before(void **state)
{
    (void)state;
    struct order *first = order_of("ann", 7, 3), *second = order_of("ann", 7, 3);
    assert_true(buyers_put(&set.buyers, first));
    assert_true(buyers_put(&set.buyers, second));
    assert_ptr_equal(buyers_find(&set.buyers, first), second);
}

/* What a reservation promises: that many puts move nothing. */
static void after_a_reservation_no_table_grows(void **state)
{
    (void)state;
    uint64_t hash = buyers_hash(1ULL << 40, 0);
    assert_true(buyers_reserve(&set.buyers, hash, 50));
    const struct buyers_shard *shard = &set.buyers.shards[hash >> 56];
    const uint64_t *slots = shard->slots;
    for (uint64_t i = 0; i < 50; i++)
        assert_true(buyers_put(&set.buyers, order_of("x", 1ULL << 40 | i << 3, 0)));
    assert_ptr_equal(shard->slots, slots);
    assert_int_equal(shard->count, 50);
}

static uint64_t spread(uint64_t n)
{
    return n * 0xd1342543de82ef95ULL;
}

/* All in one shard: the top byte of every hash is the same. */
static void everybody_is_found_after_a_table_has_outgrown_its_tags(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < MANY; i++)
        assert_true(buyers_put(&set.buyers, order_of("x", spread(i) >> 8, 0)));
    for (uint64_t i = 0; i < MANY; i++) {
        const struct order *order = find("x", spread(i) >> 8, 0);
        assert_non_null(order);
        assert_int_equal(order->name_hash, spread(i) >> 8);
        assert_null(find("y", spread(i) >> 8, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_buyer_is_found_by_sale_and_whole_name, fresh, gone),
        cmocka_unit_test_setup_teardown(names_of_one_hash_stand_side_by_side, fresh, gone),
        cmocka_unit_test_setup_teardown(the_latest_order_replaces_the_one_before, fresh, gone),
        cmocka_unit_test_setup_teardown(after_a_reservation_no_table_grows, fresh, gone),
        cmocka_unit_test_setup_teardown(everybody_is_found_after_a_table_has_outgrown_its_tags,
                                        fresh, gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
