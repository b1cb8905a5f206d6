/*
 * test_text.c: numbers, times and JSON strings, each as a table; and that nothing is ever written
 * past the end of the buffer.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text.h"

static void numbers_are_written_in_decimal(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        const char *text;
    } rows[] = {{0, "0"},
                {7, "7"},
                {10, "10"},
                {4294967296, "4294967296"},
                {UINT64_MAX, "18446744073709551615"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[32] = "";
        struct text text = text_in(buffer, sizeof buffer);
        text_number(&text, rows[i].number);
        assert_int_equal(text.len, strlen(rows[i].text));
        assert_memory_equal(buffer, rows[i].text, text.len);
    }
}

static void times_are_iso_8601_utc_with_milliseconds(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, "1970-01-01T00:00:00.000Z"},
                {-5, "1970-01-01T00:00:00.000Z"},
                {951782400000, "2000-02-29T00:00:00.000Z"},
                {951868799999, "2000-02-29T23:59:59.999Z"},
                {1709164800001, "2024-02-29T00:00:00.001Z"},
                {1767323045678, "2026-01-02T03:04:05.678Z"},
                {4107542400000, "2100-03-01T00:00:00.000Z"},
                {253402300799999, "9999-12-31T23:59:59.999Z"},
                {INT64_MAX, "9999-12-31T23:59:59.999Z"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[32];
        struct text text = text_in(buffer, sizeof buffer);
        text_time(&text, rows[i].ms);
        assert_int_equal(text.len, TEXT_TIME_CHARS);
        assert_memory_equal(buffer, rows[i].text, TEXT_TIME_CHARS);
    }
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } rows[] = {
        {"ann", 3, "\"ann\""},
        {"", 0, "\"\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\n\r\t", 3, "\"\\u000a\\u000d\\u0009\""},
        {"\0x", 2, "\"\\u0000x\""},
        {"</script>", 9, "\"\\u003c/script>\""},
        {"\x7f", 1, "\"\\u007f\""},
        {"\xe2\x80\xa8", 3, "\"\\u2028\""},
        {"\xe2\x80\xa9", 3, "\"\\u2029\""},
        {"\xe2\x82\xac", 3, "\"\xe2\x82\xac\""},
        {"\xe2\x80\xa6z", 4, "\"\xe2\x80\xa6z\""},
        {"\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[64];
        struct text text = text_in(buffer, sizeof buffer);
        text_json_string(&text, rows[i].bytes, rows[i].len);
        if (text.len != strlen(rows[i].text) || memcmp(buffer, rows[i].text, text.len) != 0)
            fail_msg("row %zu: %.*s", i, (int)text.len, buffer);
    }
}

static void pairs_have_commas_between_them_only(void **state)
{
    (void)state;
    char buffer[128];
    struct text text = text_in(buffer, sizeof buffer);
    text_str(&text, "{");
    text_pair_number(&text, "a", 1);
    text_pair_string(&text, "b", "{", 1);
    text_pair_time(&text, "c", 0);
    text_str(&text, "}");
    static const char wanted[] = "{\"a\":1,\"b\":\"{\",\"c\":\"1970-01-01T00:00:00.000Z\"}";
    assert_int_equal(text.len, sizeof wanted - 1);
    assert_memory_equal(buffer, wanted, text.len);
}

static void what_does_not_fit_sets_overflow_and_touches_nothing_beyond(void **state)
{
    (void)state;
    static const char whole[] = "{\"name\":\"a\\u003cb\\\"c\",\"n\":1234567}";
    for (size_t room = 0; room < 40; room++) {
        char buffer[64];
        memset(buffer, '#', sizeof buffer);
        struct text text = text_in(buffer, room);
        text_str(&text, "{");
        text_pair_string(&text, "name", "a<b\"c", 5);
        text_pair_number(&text, "n", 1234567);
        text_str(&text, "}");
        assert_true(text.len <= room);
        assert_int_equal(text.overflow, room < sizeof whole - 1);
        assert_memory_equal(buffer, whole, text.len);
        for (size_t i = room; i < sizeof buffer; i++)
            assert_int_equal(buffer[i], '#');
    }
}

static void times_are_read_back(void **state)
{
    (void)state;
    static const int64_t times[] = {
        0, 1, 951782399999, 951782400000, 1709164800000, 4107542400123, 253402300799999};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char buffer[TEXT_TIME_CHARS];
        struct text text = text_in(buffer, sizeof buffer);
        int64_t read;
        text_time(&text, times[i]);
        assert_true(text_read_time(buffer, &read));
        assert_int_equal(read, times[i]);
        buffer[i * 3] = 'x'; /* a digit of each field */
        assert_false(text_read_time(buffer, &read));
    }
}

static void names_are_utf8_without_control_characters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        bool is_name;
    } rows[] = {
        {"", 0, true},
        {"ann", 3, true},
        {" ~", 2, true},
        {"J\xc3\xbcrgen", 7, true},
        {"\xc2\xa0", 2, true}, /* the first behind C1 */
        {"\xe2\x80\xa8", 3, true},
        {"\xf0\x9f\x98\x80", 4, true},
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\xe2\x82\x80", 3, true}, /* holds 0x82, which is no character of its own */
        {"a\0b", 3, false},
        {"\x1f", 1, false},
        {"a\n", 2, false},
        {"\x7f", 1, false},
        {"\xc2\x80", 2, false},
        {"ab\xc2\x9f", 4, false},
        {"\x85", 1, false},
        {"\xc2", 1, false}, /* cut off, whatever stands behind */
        {"ab\xe2\x82", 4, false},
        {"\xc0\x80", 2, false},
        {"\xed\xa0\x80", 3, false},
        {"\xff", 1, false},
        {"\xf4\x90\x80\x80", 4, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (text_is_name(rows[i].text, rows[i].len) != rows[i].is_name)
            fail_msg("row %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_in_decimal),
        cmocka_unit_test(times_are_iso_8601_utc_with_milliseconds),
        cmocka_unit_test(times_are_read_back),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(names_are_utf8_without_control_characters),
        cmocka_unit_test(pairs_have_commas_between_them_only),
        cmocka_unit_test(what_does_not_fit_sets_overflow_and_touches_nothing_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
