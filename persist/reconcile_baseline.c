/*
 * reconcile_baseline.c: begins the replay at the baseline, which retention has left in place of removed events.
 *
 * Every sale's books as of then are taken from the baseline, and so are the states of the orders that it lists; those
 * of the other orders from their rows, as baseline.h says. A digest per sale shows whether the rows were changed.
 *
 * Thread: reconciler. Out: the replay as of the baseline; what differs, by reconcile_differs(). Fails: as
 * reconcile_pass.h says.
 */
#include "persist/baseline.h"
#include "persist/reconcile_pass.h"

static void take_baseline_sale(struct replay *r, sqlite3_stmt *row)
{
    const struct baseline_sale base = baseline_sale_of(row);
    const struct sale *sale = seqmap_sale(&r->engine->seqmap, base.seq);
    if (sale == NULL || base.books.seq > r->baseline) {
        replay_break(r, sale, base.seq, "a baseline of a sale", NULL, NULL);
        return;
    }
    replay_told(r, sale)->books = base.books;
    replay_told(r, sale)->digest = 0 - base.digest;
    replay_meet(r, sale);
}

/* The baseline does not have an order's last seq: 0 until its row gives it. */
static void take_baseline_order(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), state = number_at(row, 1);
    if (seq > r->baseline || !baseline_lists((enum order_state)state))
        replay_break(r, replay_sale_of(r, seq), seq, "a baseline of an order", NULL, NULL);
    else
        r->orders[seq] = order_word(0, (uint8_t)state);
}

static void add_digest(struct replay *r, struct told *told, sqlite3_stmt *row)
{
    const struct baseline_order order = {.seq = number_at(row, 0),
                                         .sale_seq = number_at(row, 1),
                                         .quantity = (uint32_t)number_at(row, 3),
                                         .state = state_in(r->orders[number_at(row, 0)]),
                                         .created_at_ms = sqlite3_column_int64(row, 7),
                                         .name = (const char *)sqlite3_column_text(row, 2),
                                         .name_bytes = (size_t)sqlite3_column_bytes(row, 2)};
    if (order.name != NULL)
        told->digest += baseline_digest(r->engine->options.hash, &order);
}

/* An order as of the baseline: as listed there, else as its row and baseline.h say. */
static void take_old_order(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), last_seq = number_at(row, 6), word = r->orders[seq];
    enum order_state state = (enum order_state)(number_at(row, 4) & 0xf);
    const struct sale *sale = replay_sale_of(r, seq);
    r->row_seq = seq;
    if (sale == NULL || replay_told(r, sale)->broken)
        return; /* compare_order() reports an order without a sale */
    bool settled = last_seq <= r->baseline;
    if (word == 0 && settled && baseline_lists(state))
        reconcile_differs(r->run, sale, r->baseline, "an order that the baseline does not list",
                          NULL, order_state_name(state), NULL);
    if (word == 0)
        word = order_word(0, (uint8_t)baseline_unlisted(state, last_seq, r->baseline));
    if (settled)
        word = order_word(last_seq, (uint8_t)word | (number_at(row, 5) != 0 ? REFUND_BIT : 0));
    r->orders[seq] = word;
    add_digest(r, replay_told(r, sale), row);
}

static void compare_digests(struct replay *r)
{
    for (uint32_t i = 0; i < r->run->sale_count; i++)
        if (r->sales[i].digest != 0 && !r->sales[i].broken)
            reconcile_differs(r->run, r->run->sales[i].sale, r->baseline,
                              "the digest of the orders whose events are gone", NULL, "another",
                              NULL);
}

bool replay_baseline(struct replay *r)
{
    uint32_t count;
    if (!baseline_seq(r->ledger->db, &r->baseline))
        replay_fail_reading(r);
    else if (r->baseline > log_committed(&r->engine->log))
        r->failure = "the baseline is ahead of the events";
    r->next_seq = r->baseline + 1;
    r->run->seq = r->baseline;
    if (r->failure != NULL || r->baseline == 0 || !replay_make_room(r, r->baseline))
        return r->failure == NULL;
    (void)replay_page(r, STMT_BASELINE_SALES, 0, take_baseline_sale);
    (void)replay_page(r, STMT_BASELINE_ORDERS, 0, take_baseline_order);
    do {
        count = replay_page(r, STMT_ORDERS, r->row_seq, take_old_order);
    } while (count == PAGE_ROWS && r->failure == NULL);
    r->row_seq = 0;
    if (r->failure == NULL)
        compare_digests(r);
    return r->failure == NULL;
}
