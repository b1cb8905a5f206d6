/*
 * test_load_text.c: how flashload reads: flat JSON objects, and Server-Sent Events cut at every place.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/fields.h"
#include "load/sse.h"

static struct span named(const char *json, const char *key)
{
    return field_named(json, strlen(json), key);
}

static void members_are_found(void **state)
{
    (void)state;
    static const char json[] =
        " {\"a\":1, \"b\" : \"x\\\"},{y\" ,\"deep\":{\"a\":[2,\"}\"]},\"c\":true,\"seq\":18}";
    assert_int_equal(span_number(named(json, "a"), 7), 1);
    assert_true(span_is(named(json, "b"), "x\\\"},{y"));
    assert_true(span_is(named(json, "deep"), "{\"a\":[2,\"}\"]}"));
    assert_true(span_is(named(json, "c"), "true"));
    assert_int_equal(span_number(named(json, "seq"), 0), 18);
    assert_null(named(json, "d").data);
    assert_int_equal(span_number(named(json, "c"), 7), 7);
}

static void what_is_no_object_has_no_members(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "[1]",
                                        "{",
                                        "{\"a\"",
                                        "{\"a\":",
                                        "{\"a\":\"x",
                                        "{\"a\" 1}",
                                        "{a:1}",
                                        "{\"b\":[1,\"a\":2}",
                                        "{\"b\":,\"a\":1}",
                                        "nonsense"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t len = strlen(texts[i]);
        char *exact = malloc(len + 1); /* so that a sanitiser sees a byte too far */
        memcpy(exact, texts[i], len);
        if (field_named(exact, len, "a").data != NULL)
            fail_msg("found in %s", texts[i]);
        free(exact);
    }
}

/* ---- events ---- */

struct record {
    char text[512];
    size_t len;
};

static void note(void *context, const struct sse_event *event)
{
    struct record *record = context;
    record->len += (size_t)snprintf(
        record->text + record->len, sizeof record->text - record->len, "%.*s|%.*s|%.*s;",
        (int)event->id.len, event->id.data == NULL ? "" : event->id.data, (int)event->type.len,
        event->type.data == NULL ? "" : event->type.data, (int)event->data.len, event->data.data);
}

static void events_are_whole_wherever_the_bytes_are_cut(void **state)
{
    (void)state;
    static const char stream[] =
        ": connected\nretry: 10\n\nid: 5\nevent: sale_update\ndata: {\"a\":1}\n\n"
        ": ping\n\nevent: reset\r\ndata:{}\r\n\r\nid:6\ndata: x: y\n\nid: 7\ndata: half";
    static const char expected[] = "5|sale_update|{\"a\":1};|reset|{};6||x: y;";
    for (size_t first = 0; first < sizeof stream; first++) {
        for (size_t second = first; second < sizeof stream; second += 7) {
            struct record record = {.len = 0};
            struct sse sse = {0};
            assert_true(sse_feed(&sse, stream, first, note, &record));
            assert_true(sse_feed(&sse, stream + first, second - first, note, &record));
            assert_true(sse_feed(&sse, stream + second, sizeof stream - 1 - second, note, &record));
            assert_string_equal(record.text, expected);
            sse_close(&sse);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found),
        cmocka_unit_test(what_is_no_object_has_no_members),
        cmocka_unit_test(events_are_whole_wherever_the_bytes_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
