/*
 * test_books.c: each rule of books.c is broken once, in the order in which they stand there, by a
 * table: the books before, the event, the sentence. Then what the events that are right do.
 *
 * Thread: one; books are pure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/books.h"

/* Ten units: three free, five held, two paid, one order waits. */
#define OPEN(...)                                                                                  \
    {                                                                                              \
        .seq = 5, .product_qty = 10, .available = 3, .held = 5, .sold = 2, .waiting = 1,           \
        .state = SALE_ACTIVE, __VA_ARGS__                                                          \
    }
#define NO_WAIT .waiting = 0

struct row {
    struct books before;
    enum event_kind kind;
    enum order_state from;
    uint32_t units;
    const char *wrong;  /* NULL: allowed */
    struct books after; /* seq is not compared */
};

/* clang-format off */
static const char new_order_closed[] = "a new order in a sale that is not active";
static const char bad_move[] = "an order makes a move that its states do not have";
static const char first_event[] = "a sale's first event, and only that, is sale.created";

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static const struct row rows[] = {
    /* --- what is wrong --- */
    {{0}, EVENT_SALE_STARTED, ORDER_NONE, 0, first_event, {0}},
    {OPEN(), EVENT_SALE_CREATED, ORDER_NONE, 0, first_event, {0}},
    {OPEN(), EVENT_SALE_STARTED, ORDER_NONE, 0, "only an upcoming sale starts", {0}},
    {OPEN(.state = SALE_PAUSED), EVENT_SALE_PAUSED, ORDER_NONE, 0, "only an active sale is paused", {0}},
    {OPEN(.state = SALE_STOPPED), EVENT_SALE_STOPPED, ORDER_NONE, 0, "only an active or paused sale is stopped", {0}},
    {OPEN(.state = SALE_STOPPED), EVENT_ORDER_RESERVED, ORDER_NONE, 1, new_order_closed, {0}},
    {OPEN(), EVENT_SALE_RESUMED, ORDER_NONE, 0, "only a paused sale is resumed", {0}},
    {OPEN(.state = SALE_ENDED), EVENT_SALE_ENDED, ORDER_NONE, 0, "a sale ends once", {0}},
    {OPEN(), EVENT_SALE_SOLD_OUT, ORDER_NONE, 0, "a sale is sold out once, when every unit is paid", {0}},
    {{0}, EVENT_ORDER_RESERVED, ORDER_NONE, 1, "an order stands before its sale", {0}},
    {OPEN(), EVENT_ORDER_PAID, ORDER_WAITING, 1, bad_move, {0}},
    {OPEN(), EVENT_ORDER_PAID, ORDER_PAID, 1, bad_move, {0}},
    {OPEN(), EVENT_ORDER_RESERVED, ORDER_PAYMENT, 1, bad_move, {0}},
    {OPEN(), EVENT_ORDER_CANCELLED, ORDER_PAID, 1, bad_move, {0}},
    {OPEN(.state = SALE_PAUSED), EVENT_ORDER_RESERVED, ORDER_NONE, 1, new_order_closed, {0}},
    {OPEN(.state = SALE_ENDED), EVENT_ORDER_QUEUED, ORDER_NONE, 1, new_order_closed, {0}},
    {OPEN(), EVENT_ORDER_RESERVED, ORDER_NONE, 1, "a new order overtakes the waiting list", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_RESERVED, ORDER_NONE, 4, "units are held that are not available", {0}},
    {OPEN(.state = SALE_PAUSED), EVENT_ORDER_PROMOTED, ORDER_WAITING, 1, "a promotion in a sale that is not active", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_PROMOTED, ORDER_WAITING, 1, "an order leaves an empty waiting list", {0}},
    {OPEN(), EVENT_ORDER_PROMOTED, ORDER_WAITING, 4, "units are held that are not available", {0}},
    {OPEN(), EVENT_ORDER_PAID, ORDER_PAYMENT, 6, "units are paid that nobody holds", {0}},
    {OPEN(), EVENT_ORDER_PAID, ORDER_EXPIRED, 1, "a late payment takes units past the waiting list", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_PAID, ORDER_EXPIRED, 4, "units are held that are not available", {0}},
    {OPEN(), EVENT_ORDER_EXPIRED, ORDER_PAYMENT, 6, "units are freed that nobody holds", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_CANCELLED, ORDER_WAITING, 1, "an order leaves an empty waiting list", {0}},
    {OPEN(), EVENT_ORDER_CANCELLED, ORDER_PAYMENT, 6, "units are freed that nobody holds", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_CLEARED, ORDER_WAITING, 1, "an order leaves an empty waiting list", {0}},
    {OPEN(), EVENT_ORDER_REFUND_DUE, ORDER_PAYMENT, 1, "a refund for an order that has not expired", {0}},
    {OPEN(), EVENT_ORDER_EXPIRED, ORDER_EXPIRED, 1, "an expiry of an order that holds nothing", {0}},
    {OPEN(NO_WAIT), EVENT_ORDER_RESERVED, ORDER_WAITING, 1, "a new order that is not new", {0}},
    {OPEN(), EVENT_ORDER_PROMOTED, ORDER_NONE, 1, "a promotion of an order that does not wait", {0}},
    {OPEN(.sold = 3), EVENT_ORDER_QUEUED, ORDER_NONE, 1, "sold + held + available is not the sale's stock", {0}},
    /* --- what is right --- */
    {OPEN(.state = SALE_UPCOMING), EVENT_SALE_STARTED, ORDER_NONE, 0, NULL, OPEN()},
    {OPEN(), EVENT_SALE_PAUSED, ORDER_NONE, 0, NULL, OPEN(.state = SALE_PAUSED)},
    {OPEN(.state = SALE_PAUSED), EVENT_SALE_RESUMED, ORDER_NONE, 0, NULL, OPEN()},
    {OPEN(), EVENT_SALE_STOPPED, ORDER_NONE, 0, NULL, OPEN(.state = SALE_STOPPED)},
    {OPEN(.state = SALE_PAUSED), EVENT_SALE_STOPPED, ORDER_NONE, 0, NULL, OPEN(.state = SALE_STOPPED)},
    {OPEN(.state = SALE_STOPPED), EVENT_SALE_RESUMED, ORDER_NONE, 0, NULL, OPEN()},
    {OPEN(.state = SALE_STOPPED), EVENT_SALE_ENDED, ORDER_NONE, 0, NULL, OPEN(.state = SALE_ENDED)},
    {OPEN(.state = SALE_PAUSED), EVENT_SALE_ENDED, ORDER_NONE, 0, NULL, OPEN(.state = SALE_ENDED)},
    {OPEN(.available = 0, .held = 0, .sold = 10), EVENT_SALE_SOLD_OUT, ORDER_NONE, 0, NULL,
     OPEN(.available = 0, .held = 0, .sold = 10, .sold_out = true)},
    {OPEN(NO_WAIT), EVENT_ORDER_RESERVED, ORDER_NONE, 3, NULL, OPEN(NO_WAIT, .available = 0, .held = 8)},
    {OPEN(), EVENT_ORDER_QUEUED, ORDER_NONE, 9, NULL, OPEN(.waiting = 2)},
    {OPEN(), EVENT_ORDER_PROMOTED, ORDER_WAITING, 2, NULL, OPEN(.available = 1, .held = 7, .waiting = 0)},
    {OPEN(), EVENT_ORDER_PAID, ORDER_PAYMENT, 5, NULL, OPEN(.held = 0, .sold = 7)},
    {OPEN(.state = SALE_ENDED), EVENT_ORDER_PAID, ORDER_PAYMENT, 1, NULL, OPEN(.state = SALE_ENDED, .held = 4, .sold = 3)},
    {OPEN(NO_WAIT), EVENT_ORDER_PAID, ORDER_EXPIRED, 3, NULL, OPEN(NO_WAIT, .available = 0, .sold = 5)},
    {OPEN(), EVENT_ORDER_EXPIRED, ORDER_PAYMENT, 5, NULL, OPEN(.available = 8, .held = 0)},
    {OPEN(), EVENT_ORDER_CANCELLED, ORDER_PAYMENT, 1, NULL, OPEN(.available = 4, .held = 4)},
    {OPEN(), EVENT_ORDER_CANCELLED, ORDER_WAITING, 9, NULL, OPEN(.waiting = 0)},
    {OPEN(), EVENT_ORDER_CLEARED, ORDER_WAITING, 9, NULL, OPEN(.waiting = 0)},
    {OPEN(), EVENT_ORDER_REFUND_DUE, ORDER_EXPIRED, 9, NULL, OPEN()},
};
#pragma GCC diagnostic pop
/* clang-format on */

static void check_row(size_t at)
{
    const struct row *row = &rows[at];
    struct books books = row->before;
    const char *wrong = books_apply(&books, (struct books_entry){.seq = 6,
                                                                 .kind = row->kind,
                                                                 .from = row->from,
                                                                 .quantity = row->units,
                                                                 .product_qty = 10});
    if ((wrong == NULL) != (row->wrong == NULL) ||
        (wrong != NULL && strcmp(wrong, row->wrong) != 0))
        fail_msg("row %zu (%s): %s", at, event_row(row->kind)->wire_name,
                 wrong != NULL ? wrong : "allowed");
    struct books after = row->wrong != NULL ? row->before : row->after;
    after.seq = row->wrong != NULL ? row->before.seq : 6;
    if (books.seq != after.seq || books.available != after.available || books.held != after.held ||
        books.sold != after.sold || books.waiting != after.waiting || books.state != after.state ||
        books.sold_out != after.sold_out)
        fail_msg("row %zu (%s): the books after are wrong", at, event_row(row->kind)->wire_name);
}

static void every_rule_holds_and_every_right_event_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(i);
}

static void a_sale_begins_with_all_its_units_free(void **state)
{
    (void)state;
    struct books books = {0};
    const struct books_entry created = {.seq = 1, .kind = EVENT_SALE_CREATED, .product_qty = 7};
    assert_null(books_apply(&books, created));
    assert_int_equal(books.available, 7);
    assert_int_equal(books.state, SALE_UPCOMING);
    assert_int_equal(books.seq, 1);
}

static void a_seq_that_does_not_rise_is_refused(void **state)
{
    (void)state;
    struct books books = OPEN();
    const struct books_entry again = {.seq = 5, .kind = EVENT_SALE_PAUSED};
    assert_string_equal(books_apply(&books, again), "a seq that does not rise");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_holds_and_every_right_event_counts),
        cmocka_unit_test(a_sale_begins_with_all_its_units_free),
        cmocka_unit_test(a_seq_that_does_not_rise_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
