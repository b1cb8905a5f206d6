/*
 * test_audit_orders.c: the audit's memory of orders against a plain list.
 *
 * Thread: main. Fails: by cmocka's asserts.
 *
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "persist/audit_orders.h"
#include "tests/support/random.h"

enum { MEMBERS_MAX = 5000, TURNS = 60000, HASHES = 3000 };

static uint64_t hash_of(uint32_t number)
{
    return random_mix(number % HASHES); /* several orders with one hash */
}

static bool finds(const struct audit_live *live, uint64_t hash, uint64_t seq)
{
    uint64_t at = 0, found;
    while ((found = audit_live_find(live, hash, &at)) != 0)
        if (found == seq)
            return true;
    return false;
}

static void the_live_set_is_a_list_of_pairs(void **state)
{
    static uint32_t members[MEMBERS_MAX];
    struct audit_live live = {0};
    struct random random = random_from(3);
    uint32_t count = 0, next = 0;
    (void)state;
    for (int turn = 0; turn < TURNS; turn++) {
        if (count == 0 || (count < MEMBERS_MAX && random_chance(&random, 52, 100))) {
            members[count++] = ++next;
            assert_true(audit_live_add(&live, hash_of(next), next));
        } else {
            uint32_t which = random_below(&random, count), gone = members[which];
            members[which] = members[--count];
            audit_live_remove(&live, hash_of(gone), gone);
            assert_false(finds(&live, hash_of(gone), gone));
        }
        assert_int_equal(live.count, count);
        if (count > 0) {
            uint32_t some = members[random_below(&random, count)];
            assert_true(finds(&live, hash_of(some), some));
        }
    }
    for (uint32_t i = 0; i < count; i++)
        assert_true(finds(&live, hash_of(members[i]), members[i]));
    assert_true(count > 1000);
    audit_live_free(&live);
}

static void what_was_never_added_is_not_found_and_not_removed(void **state)
{
    struct audit_live live = {0};
    uint64_t at = 0;
    (void)state;
    assert_int_equal(audit_live_find(&live, 5, &at), 0);
    audit_live_remove(&live, 5, 5);
    assert_true(audit_live_add(&live, hash_of(1), 1));
    audit_live_remove(&live, hash_of(2), 2);
    assert_true(finds(&live, hash_of(1), 1));
    assert_false(finds(&live, hash_of(2), 1));
    audit_live_free(&live);
}

static void states_are_kept_by_seq_and_are_0_at_first(void **state)
{
    struct audit_states states = {0};
    const uint64_t far = 5 * (uint64_t)AUDIT_CHUNK_BYTES + 7;
    (void)state;
    assert_int_equal(audit_state(&states, 1), 0);
    assert_int_equal(audit_state(&states, UINT64_MAX), 0);
    assert_true(audit_state_put(&states, far, 3));
    assert_true(audit_state_put(&states, 1, 0x82));
    assert_int_equal(audit_state(&states, far), 3);
    assert_int_equal(audit_state(&states, 1), 0x82);
    assert_int_equal(audit_state(&states, far - 1), 0);
    assert_int_equal(audit_state(&states, AUDIT_CHUNK_BYTES), 0);
    assert_false(audit_state_put(&states, 1ULL << AUDIT_SEQ_BITS, 1));
    audit_states_free(&states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_live_set_is_a_list_of_pairs),
        cmocka_unit_test(what_was_never_added_is_not_found_and_not_removed),
        cmocka_unit_test(states_are_kept_by_seq_and_are_0_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
