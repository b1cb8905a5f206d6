/*
 * test_rows.c: the append-only array: every word is where it was put, at each edge of a chunk, and
 * addresses stay.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/rows.h"

static void a_zeroed_struct_is_empty(void **state)
{
    (void)state;
    struct rows rows;
    memset(&rows, 0, sizeof rows);
    assert_int_equal(rows_count(&rows), 0);
    rows_free(&rows);
}

static void every_word_is_found_again_across_chunks(void **state)
{
    (void)state;
    enum { WORDS = 100000 };
    struct rows rows;
    memset(&rows, 0, sizeof rows);
    for (uint64_t i = 0; i < WORDS; i++) {
        assert_true(rows_append(&rows, i * 3));
        assert_int_equal(rows_count(&rows), i + 1);
    }
    for (uint64_t i = 0; i < WORDS; i++)
        assert_int_equal(rows_get(&rows, i), i * 3);
    rows_free(&rows);
}

static void addresses_stay_while_the_array_grows(void **state)
{
    (void)state;
    struct rows rows;
    memset(&rows, 0, sizeof rows);
    assert_true(rows_append(&rows, 5));
    _Atomic(uint64_t) *first = rows_at(&rows, 0);
    for (int i = 0; i < 10000; i++)
        assert_true(rows_append(&rows, 1));
    assert_ptr_equal(rows_at(&rows, 0), first);
    atomic_store(first, 6);
    assert_int_equal(rows_get(&rows, 0), 6);
    rows_free(&rows);
}

static void chunks_double(void **state)
{
    (void)state;
    struct rows rows;
    memset(&rows, 0, sizeof rows);
    for (int i = 0; i < ROWS_FIRST_CHUNK + 1; i++)
        assert_true(rows_append(&rows, 0));
    assert_non_null(atomic_load(&rows.chunks[1]));
    assert_null(atomic_load(&rows.chunks[2]));
    for (int i = 0; i < 2 * ROWS_FIRST_CHUNK; i++)
        assert_true(rows_append(&rows, 0));
    assert_non_null(atomic_load(&rows.chunks[2]));
    rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_struct_is_empty),
        cmocka_unit_test(every_word_is_found_again_across_chunks),
        cmocka_unit_test(addresses_stay_while_the_array_grows),
        cmocka_unit_test(chunks_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
