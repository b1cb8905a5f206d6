/*
 * test_payload.c: what is written into a payload is read out of it again, whatever the names hold.
 *
 * Thread: one.
 */
#include <string.h>

#include "engine/payload.h"
#include "tests/unit/plays.h"

static const char nasty[] = "\",\"quantity\":7,\\\n<\xe2\x80\xa8\x01}";

static struct text write_payload(char *buffer, size_t bytes, enum event_kind kind,
                                 struct order *order)
{
    static struct sale sale = {.id = "0123456789abcdef01234567",
                               .terms = {.name = "a \"sale\", \"sold\":9", .hold_ms = 1000}};
    const struct books books = {.available = 1, .held = 2, .sold = 3, .waiting = 4};
    const struct event event = {.sale = &sale, .order = order, .kind = (uint8_t)kind};
    struct text out = text_in(buffer, bytes);
    payload_write(&out, &event, &books, model_hash);
    assert_false(out.overflow);
    return out;
}

static void says(const struct payload_string *string, const char *json)
{
    assert_non_null(string->data);
    assert_int_equal(string->len, strlen(json));
    assert_memory_equal(string->data, json, string->len);
}

static void an_orders_payload_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct order_arena arena = {0};
    struct order *order = order_new(&arena, nasty, sizeof nasty - 1, 1);
    char buffer[PAYLOAD_BYTES_MAX], name[512];
    order->seq = 5;
    order->quantity = 4000000000u;
    struct text out = write_payload(buffer, sizeof buffer, EVENT_ORDER_RESERVED, order);
    struct text escaped = text_in(name, sizeof name - 1);
    text_json_string(&escaped, nasty, sizeof nasty - 1);
    name[escaped.len] = 0;
    struct payload payload;
    assert_true(payload_read(&payload, out.start, out.len));
    says(&payload.sale_id, "\"0123456789abcdef01234567\"");
    says(&payload.buyer_name, name);
    assert_int_equal(payload.transaction_id.len, ID_CHARS + 2);
    assert_int_equal(payload.quantity, 4000000000u);
    assert_int_equal(payload.available, 1);
    assert_int_equal(payload.held, 2);
    assert_int_equal(payload.sold, 3);
    assert_int_equal(payload.waiting, 4);
    /* Cut anywhere, it is not one. */
    for (size_t len = 0; len < out.len; len++)
        assert_false(payload_read(&payload, out.start, len));
    order_arena_free(&arena);
}

static void a_sales_payload_lacks_what_an_order_has(void **state)
{
    (void)state;
    char buffer[PAYLOAD_BYTES_MAX];
    struct payload payload;
    struct text out = write_payload(buffer, sizeof buffer, EVENT_SALE_STOPPED, NULL);
    assert_true(payload_read(&payload, out.start, out.len));
    assert_non_null(memmem(out.start, out.len, ",\"reason\":\"reconcile-failed\",", 29));
    assert_null(payload.buyer_name.data);
    assert_null(payload.transaction_id.data);
    assert_int_equal(payload.quantity, UINT64_MAX);
    out = write_payload(buffer, sizeof buffer, EVENT_SALE_CREATED, NULL);
    assert_true(payload_read(&payload, out.start, out.len));
    assert_int_equal(payload.sold, 3);
}

static void what_is_not_a_payload_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{",
                                        "{}",
                                        "[1]",
                                        "{\"a\":1",
                                        "{\"a\":1,}",
                                        "{\"a\":{}}",
                                        "{\"a\":-1}",
                                        "{\"a\":1.5}",
                                        "{\"a\":true}",
                                        "{\"a\" :1}",
                                        "{\"a\":1}x",
                                        "{a:1}",
                                        "{\"a\":\"b}",
                                        "{\"a\":\"\\",
                                        "{\"sold\":99999999999999999999}"};
    struct payload payload;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_false(payload_read(&payload, texts[i], strlen(texts[i])));
    static const char others[] = "{\"a\":1,\"sold\":2,\"b\":\"\\\"\"}";
    assert_true(payload_read(&payload, others, strlen(others)));
    assert_int_equal(payload.sold, 2);
    assert_true(payload_read(&payload, "{\"sold\":\"2\"}", 12));
    assert_int_equal(payload.sold, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_orders_payload_is_read_as_it_was_written),
        cmocka_unit_test(a_sales_payload_lacks_what_an_order_has),
        cmocka_unit_test(what_is_not_a_payload_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
