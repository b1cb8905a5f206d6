/*
 * audit.c: see audit.h. First the events are replayed (replay.h); then every answer, every row of the buyers
 * lists, every sale as it was read and the public stream are compared with the result.
 *
 * Thread: main.
 */
#include "load/audit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "load/replay.h"

/* ---- answers against the replay ---- */

static void check_joined(struct audit *a, uint32_t buyer, const struct ledger_order *l)
{
    const struct replay_buyer *b = &a->buyers[buyer];
    const struct span id = {l->id, l->id_bytes};
    if (b->joined_seq == 0)
        FOUND(a, LOST,
              "buyer %" PRIu32 " was answered %s (seq %" PRIu64 "), and no event tells of it",
              buyer, l->joined == JOINED_WAITING ? "waiting" : "payment", l->joined_seq);
    else if (b->joined_seq != l->joined_seq || b->joined_waiting != (l->joined == JOINED_WAITING))
        FOUND(a, MISSING_EVENT,
              "buyer %" PRIu32 " was answered seq %" PRIu64 "; the event has seq %" PRIu64
              " or another state",
              buyer, l->joined_seq, b->joined_seq);
    else if (b->orders[0].id_hash != ledger_hash(id))
        FOUND(a, LOST, "buyer %" PRIu32 ": the event of seq %" PRIu64 " has another transactionId",
              buyer, l->joined_seq);
}

static void check_later_answers(struct audit *a, uint32_t buyer, const struct ledger_order *l)
{
    const struct replay_buyer *b = &a->buyers[buyer];
    bool event_lacks = (l->flags & ORDER_PAID) != 0 && b->paid_seq != l->paid_seq;
    if (event_lacks && b->listed)
        FOUND(a, MISSING_EVENT,
              "buyer %" PRIu32 " has paid (seq %" PRIu64 ") and is listed; the event is missing",
              buyer, l->paid_seq);
    else if (event_lacks)
        FOUND(a, LOST, "buyer %" PRIu32 " has paid (seq %" PRIu64 "), and no such event came",
              buyer, l->paid_seq);
    if ((l->flags & ORDER_CANCELLED) != 0 && b->cancelled_seq != l->cancelled_seq)
        FOUND(a, LOST, "buyer %" PRIu32 " has cancelled (seq %" PRIu64 "), and no such event came",
              buyer, l->cancelled_seq);
    if ((l->flags & (ORDER_PAID | ORDER_PAY_UNKNOWN)) == 0 && b->paid_seq != 0)
        FOUND(a, DOUBLED, "seq %" PRIu64 ": buyer %" PRIu32 " paid without having done so",
              b->paid_seq, buyer);
    if ((l->flags & ORDER_PAY_REFUSED) != 0 && !b->expired && b->cancelled_seq == 0)
        FOUND(a, LOST, "the payment of buyer %" PRIu32 " was refused, and the hold never expired",
              buyer);
    if ((l->flags & ORDER_REFUND_DUE) != 0 && !b->refund_due)
        FOUND(a, MISSING_EVENT,
              "the payment of buyer %" PRIu32 " came too late, and no refund is due", buyer);
}

static void check_answers(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->ledger->buyer_count; i++) {
        const struct ledger_order *l = chunks_get(&a->books->ledger->orders, i);
        if (l == NULL)
            continue;
        struct replay_sale *s = &a->sales[l->sale];
        s->paid_answers += (l->flags & ORDER_PAID) != 0;
        s->unknown_answers += (l->flags & ORDER_PAY_UNKNOWN) != 0;
        a->verdict->answers += (uint64_t)(l->joined != JOINED_NOT) +
                               ((l->flags & ORDER_PAID) != 0) + ((l->flags & ORDER_CANCELLED) != 0);
        if ((l->flags & ORDER_TWICE) != 0)
            FOUND(a, DOUBLED, "buyer %" PRIu32 " pressed twice and got two orders", i);
        if (!a->books->events_held)
            continue;
        if (l->joined != JOINED_NOT)
            check_joined(a, i, l);
        else if (a->buyers[i].joined_seq != 0 && (l->flags & ORDER_BUY_UNKNOWN) == 0)
            FOUND(a, DOUBLED, "seq %" PRIu64 ": an order of buyer %" PRIu32 ", who was refused",
                  a->buyers[i].joined_seq, i);
        check_later_answers(a, i, l);
    }
}

/* ---- buyers lists ---- */

static bool has_paid(const struct audit *a, uint32_t buyer)
{
    const struct ledger_order *l = chunks_get(&a->books->ledger->orders, buyer);
    return l != NULL && (l->flags & (ORDER_PAID | ORDER_PAY_UNKNOWN)) != 0;
}

static void check_row(struct audit *a, const struct listed_buyer *row, uint64_t *before_seq)
{
    a->sales[row->sale].listed_quantity += row->quantity;
    if (row->buyer >= a->books->ledger->buyer_count) {
        if (a->books->ours_alone && !a->books->names_hidden)
            FOUND(a, DOUBLED, "a row of sale %s is nobody's", a->books->sales[row->sale].id);
        return;
    }
    struct replay_buyer *b = &a->buyers[row->buyer];
    const struct ledger_order *l = chunks_get(&a->books->ledger->orders, row->buyer);
    if (b->listed)
        FOUND(a, DOUBLED, "buyer %" PRIu32 " stands twice in the buyers list", row->buyer);
    b->listed = true;
    if (!has_paid(a, row->buyer))
        FOUND(a, DOUBLED, "buyer %" PRIu32 " stands in the buyers list and has not paid",
              row->buyer);
    const struct span id = {l->id, l->id_bytes};
    if (row->id_hash != 0 && l->joined != JOINED_NOT && row->id_hash != ledger_hash(id))
        FOUND(a, LOST, "the buyers list has another transactionId for buyer %" PRIu32, row->buyer);
    uint64_t paid_seq = a->books->events_held ? b->paid_seq : l->paid_seq;
    if (paid_seq != 0 && paid_seq < *before_seq)
        FOUND(a, OUT_OF_FIFO,
              "the buyers list has buyer %" PRIu32 " behind somebody who paid later", row->buyer);
    *before_seq = paid_seq != 0 ? paid_seq : *before_seq;
}

static void check_lists(struct audit *a)
{
    uint64_t before_seq = 0;
    for (uint64_t i = 0; i < a->books->listed_count; i++) {
        const struct listed_buyer *row = &a->books->listed[i];
        if (i > 0 && row->sale != row[-1].sale)
            before_seq = 0;
        check_row(a, row, &before_seq);
        a->verdict->rows++;
    }
    if (a->books->names_hidden)
        return;
    for (uint32_t i = 0; i < a->books->ledger->buyer_count; i++) {
        const struct ledger_order *l = chunks_get(&a->books->ledger->orders, i);
        if (l != NULL && (l->flags & ORDER_PAID) != 0 && !a->buyers[i].listed)
            FOUND(a, LOST, "buyer %" PRIu32 " has paid and does not stand in the buyers list", i);
    }
}

/* ---- sales ---- */

static void check_units(struct audit *a, const struct final_sale *f, const struct replay_sale *s)
{
    if (f->sold > f->stock || f->held + f->sold > f->stock || s->paid_answers > f->stock ||
        s->listed_quantity > f->stock)
        FOUND(a, OVERSOLD,
              "sale %s: %" PRIu64 " sold, %" PRIu64 " held, %" PRIu64 " payments answered, %" PRIu64
              " units listed, of %" PRIu64,
              f->id, f->sold, f->held, s->paid_answers, s->listed_quantity, f->stock);
    else if (f->available + f->held + f->sold != f->stock)
        FOUND(a, WRONG_COUNTER, "sale %s: available, held and sold are not %" PRIu64, f->id,
              f->stock);
    if (f->remaining != f->stock - f->sold)
        FOUND(a, WRONG_COUNTER,
              "sale %s: remainingQty is %" PRIu64 " with %" PRIu64 " sold of %" PRIu64, f->id,
              f->remaining, f->sold, f->stock);
    /* The list was read after the sale: other buyers may have paid in between. */
    if (s->listed_quantity < f->sold || (a->books->ours_alone && s->listed_quantity != f->sold))
        FOUND(a, WRONG_COUNTER,
              "sale %s: %" PRIu64 " sold, and the buyers list has %" PRIu64 " units", f->id,
              f->sold, s->listed_quantity);
    if (a->books->ours_alone &&
        (f->sold < s->paid_answers || f->sold > s->paid_answers + s->unknown_answers))
        FOUND(a, WRONG_COUNTER, "sale %s: %" PRIu64 " sold, and %" PRIu64 " payments were answered",
              f->id, f->sold, s->paid_answers);
}

/* These events change no counter: one that is missing shows nowhere else. */
static void check_turns(struct audit *a, const struct final_sale *f, const struct replay_sale *s)
{
    if (a->books->ours_alone && f->sold == f->stock && !s->sold_out)
        FOUND(a, MISSING_EVENT, "sale %s is sold out, and no event says so", f->id);
    if (a->books->ours_alone && f->ended && !s->ended)
        FOUND(a, MISSING_EVENT, "sale %s has ended, and no event says so", f->id);
}

static void check_sales(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->sale_count; i++) {
        const struct final_sale *f = &a->books->sales[i];
        struct replay_sale *s = &a->sales[i];
        if (!s->past)
            replay_keep_counters(s);
        check_units(a, f, s);
        if (!a->books->events_held || f->seq <= a->books->ledger->base_seq)
            continue; /* there is no event stream, or the sale has no event */
        check_turns(a, f, s);
        if (s->last_seq < f->seq)
            FOUND(a, MISSING_EVENT, "sale %s is at seq %" PRIu64 ", the stream ended at %" PRIu64,
                  f->id, f->seq, s->last_seq);
        else if (s->read_available != (int64_t)f->available || s->read_held != (int64_t)f->held ||
                 s->read_sold != (int64_t)f->sold || s->read_waiting != (int64_t)f->waiting)
            FOUND(a, WRONG_COUNTER,
                  "sale %s: available %" PRIu64 ", held %" PRIu64 ", sold %" PRIu64
                  ", waiting %" PRIu64 "; its events come to %" PRId64 ", %" PRId64 ", %" PRId64
                  ", %" PRId64,
                  f->id, f->available, f->held, f->sold, f->waiting, s->read_available,
                  s->read_held, s->read_sold, s->read_waiting);
    }
}

/* ---- the public stream ---- */

static void check_public_stream(struct audit *a)
{
    const struct ledger *ledger = a->books->ledger;
    for (uint64_t i = 0; i < ledger->event_count; i++) {
        const struct seen_event *e = chunks_get(&ledger->events, i);
        const struct public_state *p = e->seq > ledger->base_seq
                                           ? chunks_get(&ledger->publics, e->seq - ledger->base_seq)
                                           : NULL;
        if (p == NULL || p->sale_plus_1 == 0 || e->sale == NO_SALE)
            continue;
        if (p->sale_plus_1 != e->sale + 1 || p->available != e->available ||
            p->remaining != a->books->sales[e->sale].stock - e->sold)
            FOUND(a, WRONG_COUNTER,
                  "seq %" PRIu64 ": the public stream says remainingQty %" PRIu32
                  ", available %" PRIu32 ", the event says %" PRIu64 ", %" PRIu32,
                  e->seq, p->remaining, p->available, a->books->sales[e->sale].stock - e->sold,
                  e->available);
    }
}

bool audit_books(const struct books *books, struct verdict *verdict)
{
    struct audit a = {.books = books, .verdict = verdict};
    a.buyers = calloc((size_t)books->ledger->buyer_count + 1, sizeof *a.buyers);
    a.sales = calloc(books->sale_count, sizeof *a.sales);
    bool room = a.buyers != NULL && a.sales != NULL;
    for (uint32_t i = 0; room && i < books->sale_count; i++)
        a.sales[i] = (struct replay_sale){.available = (int64_t)books->sales[i].stock,
                                          .head = NO_BUYER,
                                          .tail = NO_BUYER,
                                          .known = books->ours_alone};
    if (room) {
        replay_find_own_streams(&a);
        if (books->events_held)
            replay_events(&a);
        check_lists(&a); /* first: check_answers() asks which buyers are listed */
        check_answers(&a);
        check_sales(&a);
        if (books->events_held) {
            replay_check_own_streams(&a);
            check_public_stream(&a);
        }
    }
    free(a.buyers);
    free(a.sales);
    return room;
}
