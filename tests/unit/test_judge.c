/*
 * test_judge.c: the judge of tests/support sees what it must: each of its rules is broken once, by
 * a history that is right up to its last event. A judge that has never said no proves nothing.
 *
 * A history is a row of steps: kind, order (the seq of the event that made it), buyer, units, and
 * the state that the event claims to start from.
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/judge.h"

enum { N = ORDER_NONE, W = ORDER_WAITING, P = ORDER_PAYMENT, D = ORDER_PAID, E = ORDER_EXPIRED };

struct step {
    enum event_kind kind;
    uint64_t order; /* 0: of the sale; SELF: made by this event */
    const char *name;
    uint32_t units;
    int from;
};
enum { SELF = 999, STEPS_MAX = 8, STEP_MS = 60 };

#define RESERVED EVENT_ORDER_RESERVED
#define QUEUED   EVENT_ORDER_QUEUED

/* Seq 1 and 2 are sale.created and sale.started: 3 units, 2 each, 2 may wait, holds of 100 ms; a step takes 60. */
static const struct {
    const char *wrong;
    struct step steps[STEPS_MAX];
} histories[] = {
    {"units sold twice", {{RESERVED, SELF, "ann", 2, N}, {RESERVED, SELF, "ben", 2, N}}},
    {"a second live order", {{RESERVED, SELF, "ann", 1, N}, {RESERVED, SELF, "ann", 1, N}}},
    {"more units than one buyer", {{RESERVED, SELF, "ann", 3, N}}},
    {"overtakes the waiting list", {{QUEUED, SELF, "ann", 1, N}, {RESERVED, SELF, "ben", 1, N}}},
    {"the waiting list is too long",
     {{QUEUED, SELF, "ann", 1, N}, {QUEUED, SELF, "ben", 1, N}, {QUEUED, SELF, "cem", 1, N}}},
    {"takes none", {{EVENT_SALE_PAUSED, 0, "", 0, N}, {QUEUED, SELF, "ann", 1, N}}},
    {"takes none",
     {{QUEUED, SELF, "ann", 1, N},
      {EVENT_SALE_PAUSED, 0, "", 0, N},
      {EVENT_ORDER_PROMOTED, 3, "ann", 1, W}}},
    {"not the order that waits longest",
     {{QUEUED, SELF, "ann", 1, N},
      {QUEUED, SELF, "ben", 1, N},
      {EVENT_ORDER_PROMOTED, 4, "ben", 1, W}}},
    {"cleared although the sale goes on",
     {{QUEUED, SELF, "ann", 1, N}, {EVENT_ORDER_CLEARED, 3, "ann", 1, W}}},
    {"expired before its time",
     {{RESERVED, SELF, "ann", 1, N}, {EVENT_ORDER_EXPIRED, 3, "ann", 1, P}}},
    {"starts from another state",
     {{RESERVED, SELF, "ann", 1, N}, {EVENT_ORDER_PAID, 3, "ann", 1, W}}},
    {"starts from another state",
     {{RESERVED, SELF, "ann", 1, N},
      {EVENT_ORDER_PAID, 3, "ann", 1, P},
      {EVENT_ORDER_PAID, 3, "ann", 1, P}}},
    {"paid without a hold", {{QUEUED, SELF, "ann", 1, N}, {EVENT_ORDER_PAID, 3, "ann", 1, W}}},
    {"another quantity", {{RESERVED, SELF, "ann", 1, N}, {EVENT_ORDER_PAID, 3, "ann", 2, P}}},
    {"an order that no event made", {{EVENT_ORDER_PAID, 3, "ann", 1, P}}},
    {"a refund is due once",
     {{RESERVED, SELF, "ann", 1, N}, {EVENT_ORDER_REFUND_DUE, 3, "ann", 1, P}}},
    {"an order that is due a refund",
     {{RESERVED, SELF, "ann", 1, N},
      {RESERVED, SELF, "ben", 1, N},
      {EVENT_ORDER_EXPIRED, 3, "ann", 1, P},
      {EVENT_ORDER_REFUND_DUE, 3, "ann", 1, E},
      {EVENT_ORDER_PAID, 3, "ann", 1, E}}},
    {"a move that the sale's states", {{EVENT_SALE_RESUMED, 0, "", 0, N}}},
    {"a move that the sale's states", {{EVENT_SALE_SOLD_OUT, 0, "", 0, N}}},
};

static bool judge_step(struct judge *judge, const struct step *step, const struct sale_terms *terms)
{
    uint64_t seq = judge->last_seq + 1;
    const struct judge_entry entry = {.seq = seq,
                                      .sale_seq = 1,
                                      .order_seq = step->order == SELF ? seq : step->order,
                                      .kind = step->kind,
                                      .from = (enum order_state)step->from,
                                      .quantity = step->units,
                                      .at_mono_ms = (int64_t)seq * STEP_MS,
                                      .terms = terms,
                                      .name = step->name,
                                      .name_bytes = (uint8_t)strlen(step->name)};
    return judge_event(judge, &entry);
}

static void open_sale(struct judge *judge, const struct sale_terms *terms)
{
    const struct step created = {EVENT_SALE_CREATED, 0, "", 0, N};
    const struct step started = {EVENT_SALE_STARTED, 0, "", 0, N};
    assert_true(judge_step(judge, &created, terms));
    assert_true(judge_step(judge, &started, terms));
}

static const struct sale_terms terms = {
    .product_qty = 3, .max_per_buyer = 2, .waitlist_max = 2, .hold_ms = 100};

static void every_rule_can_be_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof histories / sizeof histories[0]; i++) {
        struct judge judge = {0};
        open_sale(&judge, &terms);
        const struct step *step = histories[i].steps;
        while (step[1].name != NULL) {
            assert_true(judge_step(&judge, step, &terms));
            step++;
        }
        if (judge_step(&judge, step, &terms) || strstr(judge.error, histories[i].wrong) == NULL)
            fail_msg("history %zu (%s): %s", i, histories[i].wrong, judge.error);
        judge_free(&judge);
    }
}

static void a_gap_is_seen(void **state)
{
    (void)state;
    struct judge judge = {0};
    open_sale(&judge, &terms);
    judge.last_seq++;
    struct judge_entry entry = {.seq = 3, .sale_seq = 1, .kind = EVENT_SALE_PAUSED};
    assert_false(judge_event(&judge, &entry));
    assert_non_null(strstr(judge.error, "a gap in seq"));
    judge_free(&judge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_can_be_broken),
        cmocka_unit_test(a_gap_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
