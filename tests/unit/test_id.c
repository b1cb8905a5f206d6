/*
 * test_id.c: public ids: 24 lower-case hex digits, sorted by seq, recognised only when the tag is
 * right.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/id.h"
#include "tests/support/model.h"

static void write_id(char out[ID_CHARS + 1], uint64_t seq)
{
    id_write(out, seq, id_tag(model_hash, seq));
    out[ID_CHARS] = 0;
}

static void an_id_is_24_lower_case_hex_digits(void **state)
{
    (void)state;
    char id[ID_CHARS + 1];
    write_id(id, 0xabcdef);
    assert_int_equal(strlen(id), 24);
    assert_int_equal(strspn(id, "0123456789abcdef"), 24);
    assert_memory_equal(id, "000000abcdef", 12);
    assert_true(id_well_formed(id, 24));
}

static void ids_sort_by_seq(void **state)
{
    (void)state;
    static const uint64_t seqs[] = {1, 9, 10, 255, 256, 65535, 1ULL << 32, (1ULL << 48) - 1};
    char before[ID_CHARS + 1] = "", id[ID_CHARS + 1];
    for (size_t i = 0; i < sizeof seqs / sizeof seqs[0]; i++) {
        write_id(id, seqs[i]);
        assert_true(strcmp(before, id) < 0);
        memcpy(before, id, sizeof id);
    }
}

static void an_id_gives_its_seq_back(void **state)
{
    (void)state;
    static const uint64_t seqs[] = {1, 77, 1ULL << 40, (1ULL << 48) - 1};
    char id[ID_CHARS + 1];
    for (size_t i = 0; i < sizeof seqs / sizeof seqs[0]; i++) {
        write_id(id, seqs[i]);
        assert_int_equal(id_parse(model_hash, id, ID_CHARS), seqs[i]);
    }
}

static void an_id_with_any_digit_changed_is_not_ours(void **state)
{
    (void)state;
    char id[ID_CHARS + 1];
    write_id(id, 4711);
    for (int i = 0; i < ID_CHARS; i++) {
        char kept = id[i];
        id[i] = kept == '0' ? '1' : '0';
        assert_int_equal(id_parse(model_hash, id, ID_CHARS), 0);
        id[i] = kept;
    }
    assert_int_equal(id_parse(model_hash, id, ID_CHARS), 4711);
}

static void what_is_not_an_id_is_refused(void **state)
{
    (void)state;
    char id[ID_CHARS + 1];
    write_id(id, 0xabc);
    assert_int_equal(id_parse(model_hash, id, ID_CHARS - 1), 0);
    assert_int_equal(id_parse(model_hash, "", 0), 0);
    static const char odd[] = {'A', 'g', '/', ':', '`', ' ', 0, (char)0xff};
    for (size_t i = 0; i < sizeof odd; i++) {
        char kept = id[11];
        id[11] = odd[i];
        assert_false(id_well_formed(id, ID_CHARS));
        assert_int_equal(id_parse(model_hash, id, ID_CHARS), 0);
        id[11] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_24_lower_case_hex_digits),
        cmocka_unit_test(ids_sort_by_seq),
        cmocka_unit_test(an_id_gives_its_seq_back),
        cmocka_unit_test(an_id_with_any_digit_changed_is_not_ours),
        cmocka_unit_test(what_is_not_an_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
