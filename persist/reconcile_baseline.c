/*
 * reconcile_baseline.c: begins the replay at the baseline, which retention has left in place of removed events.
 *
 * Every sale's books as of then are taken from the baseline, and so are the orders that it lists; the other orders
 * from their rows, as baseline.h says. Its digests show whether the rows were changed. Retention holds still meanwhile,
 * but the store may list orders that move on while their rows are read.
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
    if (base.terms != baseline_terms(r->engine->options.hash, sale->seq, &sale->terms))
        reconcile_differs(r->run, sale, sale->seq, "the terms of a sale", NULL, NULL, "others");
    replay_told(r, sale)->books = base.books;
    replay_told(r, sale)->digest = 0 - base.digest;
    replay_meet(r, sale);
}

static void take_baseline_order(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), state = number_at(row, 1), last_seq = number_at(row, 4);
    if (seq > r->baseline || state >= ORDER_STATE_COUNT || last_seq > r->baseline)
        replay_break(r, replay_sale_of(r, seq), seq, "a baseline of an order", NULL, NULL);
    else
        r->orders[seq] =
            order_word(last_seq, order_flags((enum order_state)state, number_at(row, 2) != 0));
}

/* An order as of the baseline. It may have been listed only since the list was read: what counts stands in the row. */
static void take_old_order(struct replay *r, sqlite3_stmt *row)
{
    struct order_row old;
    const char *wrong = order_row_of(row, &old) ? baseline_order_of(row, r->baseline, &old)
                                                : "an order's row is malformed";
    const struct sale *sale = replay_sale_of(r, old.seq);
    r->row_seq = old.seq;
    if (sale == NULL || replay_told(r, sale)->broken)
        return; /* compare_order() reports an order without a sale */
    if (wrong != NULL)
        reconcile_differs(r->run, sale, r->baseline, wrong, NULL, order_state_text(old.state),
                          NULL);
    if (wrong == NULL || r->orders[old.seq] == 0)
        r->orders[old.seq] = order_word(old.last_seq, order_flags(old.state, old.refund_due));
    if (old.name != NULL)
        replay_told(r, sale)->digest += baseline_digest(r->engine->options.hash, &old);
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
    if (!baseline_seq(r->ledger->db, &r->baseline, &r->failure) && r->failure == NULL)
        replay_fail_reading(r);
    else if (r->failure == NULL && r->baseline > log_committed(&r->engine->log))
        r->failure = "the baseline is ahead of the events";
    r->next_seq = r->baseline + 1;
    r->run->seq = r->baseline;
    if (r->failure != NULL || r->baseline == 0 || !replay_make_room(r, r->baseline))
        return r->failure == NULL;
    (void)replay_page(r, STMT_BASELINE_SALES, 0, take_baseline_sale);
    (void)replay_page(r, STMT_BASELINE_ORDERS, 0, take_baseline_order);
    do {
        count = replay_page(r, STMT_OLD_ORDERS, r->row_seq, take_old_order);
    } while (count == PAGE_ROWS && r->failure == NULL);
    r->row_seq = 0;
    if (r->failure == NULL)
        compare_digests(r);
    return r->failure == NULL;
}
