/*
 * test_diag.c: what diag() writes on stderr, byte for byte, and in how many writes.
 *
 * Thread: one. stderr is swapped for a datagram socket pair: one write is one
 * datagram, so a line torn into two writes would show. JSON lines go through jansson.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "engine/diag.h"

enum { LINE_BYTES = 2048 };

static int real_stderr, listener;
static char line[LINE_BYTES * 2];
static size_t line_len;

static int swap_stderr(void **state)
{
    (void)state;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0)
        return -1;
    real_stderr = dup(STDERR_FILENO);
    if (real_stderr < 0 || dup2(pair[1], STDERR_FILENO) < 0)
        return -1;
    (void)close(pair[1]);
    listener = pair[0];
    return 0;
}

static int restore_stderr(void **state)
{
    (void)state;
    (void)close(listener);
    (void)dup2(real_stderr, STDERR_FILENO);
    return close(real_stderr);
}

/* The one datagram that waits, or nothing (false). */
static bool receive(void)
{
    ssize_t got = recv(listener, line, sizeof line - 1, MSG_DONTWAIT);
    line_len = got < 0 ? 0 : (size_t)got;
    line[line_len] = '\0';
    return got >= 0;
}

/* One line came in one write and ends in its only newline. */
static void expect_line(void)
{
    assert_true(receive());
    assert_true(line_len >= 1 && line_len <= LINE_BYTES);
    assert_ptr_equal(strchr(line, '\n'), line + line_len - 1);
}

static void expect_text(const char *level_and_message)
{
    expect_line();
    assert_true(line_len > 25);
    line[line_len - 1] = '\0';
    assert_string_equal(line + 25, level_and_message);
}

/* Parses the line strictly and compares its message. */
static void expect_json(const char *level, const char *message)
{
    expect_line();
    json_error_t error;
    json_t *object = json_loadb(line, line_len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL)
        fail_msg("%s: %s", error.text, line);
    assert_int_equal(json_object_size(object), 3);
    assert_int_equal(json_string_length(json_object_get(object, "time")), 24);
    assert_string_equal(json_string_value(json_object_get(object, "level")), level);
    assert_string_equal(json_string_value(json_object_get(object, "message")), message);
    json_decref(object);
}

static void a_text_line_has_time_level_and_message(void **state)
{
    (void)state;
    diag_configure(DIAG_INFO, false);
    diag(DIAG_INFO, "recovered sales=%d ms=%d", 1, 13);
    expect_text("info  recovered sales=1 ms=13");
    diag(DIAG_WARN, "w");
    expect_text("warn  w");
    diag(DIAG_ERROR, "%s", "e");
    expect_text("error e");
    assert_false(receive());
}

static void the_time_is_now_in_utc_with_milliseconds(void **state)
{
    (void)state;
    diag_configure(DIAG_INFO, false);
    time_t before = time(NULL);
    diag(DIAG_INFO, "x");
    time_t after = time(NULL);
    expect_line();
    struct tm utc = {0};
    const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S", &utc);
    assert_non_null(rest);
    assert_true(timegm(&utc) >= before && timegm(&utc) <= after);
    assert_int_equal(rest[0], '.');
    assert_int_equal(strspn(rest + 1, "0123456789"), 3);
    assert_int_equal(rest[4], 'Z');
    assert_int_equal(rest[5], ' ');
}

static void a_level_below_the_minimum_is_not_written(void **state)
{
    (void)state;
    diag_configure(DIAG_WARN, false);
    diag(DIAG_DEBUG, "no");
    diag(DIAG_INFO, "no");
    assert_false(receive());
    diag(DIAG_WARN, "yes");
    expect_text("warn  yes");
    diag_configure(DIAG_DEBUG, false);
    diag(DIAG_DEBUG, "yes");
    expect_text("debug yes");
}

static void a_message_cannot_break_a_text_line(void **state)
{
    (void)state;
    diag_configure(DIAG_INFO, false);
    diag(DIAG_INFO, "a\nb\r\tc\x1b[31m\x7f \"q\" \\ caf\xc3\xa9");
    expect_text("info  a\\nb\\r\\tc\\x1b[31m\\x7f \"q\" \\ caf\xc3\xa9");
}

static void json_escapes_quotes_backslashes_and_control_characters(void **state)
{
    (void)state;
    diag_configure(DIAG_INFO, true);
    diag(DIAG_INFO, "a\nb\r\tc\x01\x1f\x7f \"q\" \\ / caf\xc3\xa9 \xf0\x9f\x98\x80");
    expect_json("info", "a\nb\r\tc\x01\x1f\x7f \"q\" \\ / caf\xc3\xa9 \xf0\x9f\x98\x80");
    diag(DIAG_ERROR, "%s", "");
    expect_json("error", "");
}

static void invalid_utf8_becomes_the_replacement_character(void **state)
{
    (void)state;
    static const struct {
        const char *given, *expected;
    } rows[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},                                                                    /* never valid */
        {"\xc3", "\xef\xbf\xbd"},                                                 /* cut short */
        {"\xc3(", "\xef\xbf\xbd("},                                               /* cut short */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong */
        {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"\xf0\x80\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* surrogate */
        {"\xf4\x90\x80\x80",
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},     /* past U+10FFFF */
        {"\xf0\x9f\x98", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* cut short */
        {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
    };
    diag_configure(DIAG_INFO, true);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        diag(DIAG_INFO, "%s", rows[i].given);
        expect_json("info", rows[i].expected);
    }
}

/* A message of count copies of unit, at every length around the limit. */
static void expect_cut(const char *unit, bool json)
{
    static char message[LINE_BYTES * 2 + 16];
    const size_t unit_len = strlen(unit);
    diag_configure(DIAG_INFO, json);
    for (size_t pad = 0; pad < 8; pad++) {
        size_t len = pad;
        memset(message, 'x', pad);
        for (; len + unit_len <= LINE_BYTES + 100; len += unit_len)
            memcpy(message + len, unit, unit_len);
        message[len] = '\0';
        diag(DIAG_INFO, "%s", message);
        expect_line();
        assert_true(line_len > LINE_BYTES - 16);
        const char *end = json ? "...\"}\n" : "...\n";
        assert_string_equal(line + line_len - strlen(end), end);
        assert_null(strstr(line, "\xef\xbf\xbd")); /* no character was cut in two */
        json_t *object = json ? json_loadb(line, line_len, 0, NULL) : json_null();
        assert_non_null(object);
        json_decref(object);
    }
}

static void a_long_message_is_cut_between_characters_at_2048_bytes(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a", "\n", "\x01", "\"", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "ab\xc3\xa9\n"};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        expect_cut(units[i], false);
        expect_cut(units[i], true);
    }
}

static void a_message_that_just_fits_is_whole(void **state)
{
    (void)state;
    char message[LINE_BYTES];
    const size_t room = LINE_BYTES - 25 - 6 - 1; /* time, level, newline */
    diag_configure(DIAG_INFO, false);
    memset(message, 'x', sizeof message);
    message[room] = '\0';
    diag(DIAG_INFO, "%s", message);
    expect_line();
    assert_int_equal(line_len, LINE_BYTES);
    assert_int_equal(line[line_len - 2], 'x');
    message[room] = 'x';
    message[room + 1] = '\0';
    diag(DIAG_INFO, "%s", message);
    expect_line();
    assert_int_equal(line_len, LINE_BYTES);
    assert_int_equal(line[line_len - 2], '.');
}

static void errno_survives_even_a_closed_stderr(void **state)
{
    (void)state;
    diag_configure(DIAG_INFO, false);
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0);
    (void)close(STDERR_FILENO);
    errno = ENOSPC;
    diag(DIAG_ERROR, "nobody hears this");
    int seen = errno;
    assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    (void)close(kept);
    assert_int_equal(seen, ENOSPC);
    assert_false(receive());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_and_message),
        cmocka_unit_test(the_time_is_now_in_utc_with_milliseconds),
        cmocka_unit_test(a_level_below_the_minimum_is_not_written),
        cmocka_unit_test(a_message_cannot_break_a_text_line),
        cmocka_unit_test(json_escapes_quotes_backslashes_and_control_characters),
        cmocka_unit_test(invalid_utf8_becomes_the_replacement_character),
        cmocka_unit_test(a_long_message_is_cut_between_characters_at_2048_bytes),
        cmocka_unit_test(a_message_that_just_fits_is_whole),
        cmocka_unit_test(errno_survives_even_a_closed_stderr),
    };
    struct CMUnitTest wrapped[sizeof tests / sizeof tests[0]];
    memcpy(wrapped, tests, sizeof tests);
    for (size_t i = 0; i < sizeof wrapped / sizeof wrapped[0]; i++) {
        wrapped[i].setup_func = swap_stderr;
        wrapped[i].teardown_func = restore_stderr;
    }
    return cmocka_run_group_tests_name("diag", wrapped, NULL, NULL);
}
