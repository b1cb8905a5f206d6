/*
 * audit.c: see audit.h. First a replay of the events, sale by sale and order by order; then every answer,
 * every row of the buyers lists and every own stream is held against what the replay came to.
 *
 * An order that a promotion passed over may only turn out cancelled (its event still under way): until then
 * it is `overtaken`.
 *
 * Thread: main.
 */
#include "load/audit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum replay_state {
    STATE_NONE,
    STATE_WAITING,
    STATE_HELD,
    STATE_PAID,
    STATE_EXPIRED,
    STATE_CANCELLED,
    STATE_CLEARED,
    STATE_COUNT
};

struct replay_order {
    uint64_t id_hash; /* 0: there is none */
    uint32_t quantity;
    uint8_t state; /* enum replay_state */
};

/* One buyer, as the events told. There can be a second order: who presses twice may get one after the first
 * has expired. Only one of them is live, so the place in the queue is the buyer's. */
struct replay_buyer {
    struct replay_order orders[2];
    uint64_t joined_seq; /* of the first order */
    uint64_t paid_seq, cancelled_seq;
    uint32_t own_plus_1;     /* the stream of their own in the ledger; 0: none */
    uint32_t own_next;       /* the first of its events that no event of all has met yet */
    uint32_t before, behind; /* in the queue: buyers, NO_BUYER at its ends */
    bool joined_waiting, expired, overtaken, listed;
};

struct replay_sale {
    int64_t available, held, sold, waiting;
    uint32_t head, tail; /* of the queue */
    uint64_t last_seq;
    uint64_t paid_answers, unknown_answers;
    uint64_t listed_quantity;
    bool known; /* the counters */
    bool past;  /* events came that are newer than the sale as it was read; before them: */
    int64_t read_available, read_held, read_sold, read_waiting;
};

struct audit {
    const struct books *books;
    struct verdict *verdict;
    struct replay_buyer *buyers;
    struct replay_sale *sales;
    uint64_t last_seq;
};

/* ---- findings ---- */

static const char *const names[FINDING_COUNT] = {
#define X(name, text) text,
    FINDINGS(X)
#undef X
};

const char *finding_name(enum finding_kind kind)
{
    return names[kind];
}

void finding(struct findings *findings, enum finding_kind kind, const char *format, ...)
{
    if (findings->of[kind].count++ != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(findings->of[kind].first, FINDING_TEXT_BYTES, format, arguments);
    va_end(arguments);
}

void findings_merge(struct findings *into, const struct findings *from)
{
    for (int kind = 0; kind < FINDING_COUNT; kind++) {
        if (into->of[kind].count == 0)
            memcpy(into->of[kind].first, from->of[kind].first, FINDING_TEXT_BYTES);
        into->of[kind].count += from->of[kind].count;
    }
}

uint64_t findings_total(const struct findings *findings)
{
    uint64_t total = 0;
    for (int kind = 0; kind < FINDING_COUNT; kind++)
        total += findings->of[kind].count;
    return total;
}

#define FOUND(a, kind, ...) finding(&(a)->verdict->findings, FINDING_##kind, __VA_ARGS__)

/* ---- the queue ---- */

static void queue_up(struct audit *a, struct replay_sale *s, uint32_t buyer)
{
    struct replay_buyer *b = &a->buyers[buyer];
    b->before = s->tail;
    b->behind = NO_BUYER;
    if (s->tail != NO_BUYER)
        a->buyers[s->tail].behind = buyer;
    else
        s->head = buyer;
    s->tail = buyer;
}

static void leave_queue(struct audit *a, struct replay_sale *s, const struct replay_buyer *b)
{
    if (b->before != NO_BUYER)
        a->buyers[b->before].behind = b->behind;
    else
        s->head = b->behind;
    if (b->behind != NO_BUYER)
        a->buyers[b->behind].before = b->before;
    else
        s->tail = b->before;
}

/* Everybody before this one has been passed. Who was passed earlier has only such before them. */
static void overtake(struct audit *a, const struct replay_buyer *b)
{
    for (uint32_t at = b->before; at != NO_BUYER && !a->buyers[at].overtaken;
         at = a->buyers[at].before)
        a->buyers[at].overtaken = true;
}

static void overtaken_and_not_cancelled(struct audit *a, uint32_t buyer, uint64_t seq)
{
    FOUND(a, OUT_OF_FIFO,
          "buyer %" PRIu32 " was waiting when somebody behind was promoted (seq %" PRIu64 ")",
          buyer, seq);
    a->buyers[buyer].overtaken = false;
}

/* Who asks after somebody was told to wait may not be served before them. */
static void check_nobody_overtaken_at_once(struct audit *a, const struct replay_sale *s,
                                           const struct seen_event *e)
{
    if (s->head == NO_BUYER || a->buyers[s->head].overtaken)
        return;
    const struct ledger_order *first = chunks_get(&a->books->ledger->orders, s->head);
    const struct ledger_order *served = chunks_get(&a->books->ledger->orders, e->buyer);
    if (first != NULL && served != NULL && first->replied_ns != 0 && served->sent_ns != 0 &&
        first->replied_ns < served->sent_ns)
        FOUND(a, OUT_OF_FIFO,
              "seq %" PRIu64 ": buyer %" PRIu32 " got a unit at once while buyer %" PRIu32
              " waited",
              e->seq, e->buyer, s->head);
}

/* ---- replay of one order's event ---- */

/* From which states a kind of event may come, as bits. */
static uint32_t allowed_before(enum seen_kind kind)
{
    static const uint32_t allowed[SEEN_KIND_COUNT] = {
        [SEEN_PROMOTED] = 1u << STATE_WAITING,
        [SEEN_PAID] = 1u << STATE_HELD | 1u << STATE_EXPIRED,
        [SEEN_EXPIRED] = 1u << STATE_HELD,
        [SEEN_CANCELLED] = 1u << STATE_HELD | 1u << STATE_WAITING,
        [SEEN_CLEARED] = 1u << STATE_WAITING,
        [SEEN_REFUND_DUE] = 1u << STATE_EXPIRED,
    };
    return allowed[kind];
}

static enum replay_state state_after(enum seen_kind kind)
{
    static const uint8_t after[SEEN_KIND_COUNT] = {
        [SEEN_RESERVED] = STATE_HELD,   [SEEN_QUEUED] = STATE_WAITING,
        [SEEN_PROMOTED] = STATE_HELD,   [SEEN_PAID] = STATE_PAID,
        [SEEN_EXPIRED] = STATE_EXPIRED, [SEEN_CANCELLED] = STATE_CANCELLED,
        [SEEN_CLEARED] = STATE_CLEARED, [SEEN_REFUND_DUE] = STATE_EXPIRED,
    };
    return (enum replay_state)after[kind];
}

static void move_units(struct replay_sale *s, enum replay_state state, int64_t quantity)
{
    switch (state) {
    case STATE_WAITING:
        s->waiting += quantity > 0 ? 1 : -1;
        return;
    case STATE_HELD:
        s->held += quantity;
        s->available -= quantity;
        return;
    case STATE_PAID:
        s->sold += quantity;
        s->available -= quantity;
        return;
    default:
        return;
    }
}

static bool is_live(const struct replay_order *o)
{
    return o->state == STATE_WAITING || o->state == STATE_HELD || o->state == STATE_PAID;
}

/* The buyer's order of this id, or NULL. */
static struct replay_order *order_of(struct replay_buyer *b, uint64_t id_hash)
{
    for (int i = 0; i < 2; i++)
        if (b->orders[i].id_hash != 0 && b->orders[i].id_hash == id_hash)
            return &b->orders[i];
    return NULL;
}

static void join(struct audit *a, struct replay_sale *s, const struct seen_event *e)
{
    struct replay_buyer *b = &a->buyers[e->buyer];
    struct replay_order *o = &b->orders[b->joined_seq != 0];
    if (order_of(b, e->id_hash) != NULL) {
        FOUND(a, REPEATED_EVENT,
              "seq %" PRIu64 ": buyer %" PRIu32 " joins again with the same order", e->seq,
              e->buyer);
        return;
    }
    if (is_live(&b->orders[0]) || is_live(&b->orders[1])) {
        FOUND(a, DOUBLED, "seq %" PRIu64 ": a second live order of buyer %" PRIu32, e->seq,
              e->buyer);
        return;
    }
    if (e->kind == SEEN_RESERVED)
        check_nobody_overtaken_at_once(a, s, e);
    if (b->joined_seq == 0) { /* answers are held against the first order */
        b->joined_seq = e->seq;
        b->joined_waiting = e->kind == SEEN_QUEUED;
    }
    *o = (struct replay_order){e->id_hash, e->quantity,
                               (uint8_t)state_after((enum seen_kind)e->kind)};
    move_units(s, (enum replay_state)o->state, e->quantity);
    if (e->kind == SEEN_QUEUED)
        queue_up(a, s, e->buyer);
}

/* A step that its state does not allow: it was made already, or what led to it was not told. */
static void illegal_step(struct audit *a, const struct seen_event *e, const struct replay_order *o)
{
    enum seen_kind kind = (enum seen_kind)e->kind;
    if (o->state == state_after(kind) || o->state == STATE_PAID)
        FOUND(a, REPEATED_EVENT,
              "seq %" PRIu64 ": %s of buyer %" PRIu32 ", whose order had ended so", e->seq,
              seen_kind_name(kind), e->buyer);
    else
        FOUND(a, MISSING_EVENT,
              "seq %" PRIu64 ": %s of buyer %" PRIu32 " without the event before it", e->seq,
              seen_kind_name(kind), e->buyer);
}

static void step_from_waiting(struct audit *a, struct replay_sale *s, const struct seen_event *e)
{
    struct replay_buyer *b = &a->buyers[e->buyer];
    if (b->overtaken && e->kind != SEEN_CANCELLED)
        overtaken_and_not_cancelled(a, e->buyer, e->seq);
    if (e->kind == SEEN_PROMOTED)
        overtake(a, b);
    b->overtaken = false;
    leave_queue(a, s, b);
}

static void step(struct audit *a, struct replay_sale *s, const struct seen_event *e)
{
    struct replay_buyer *b = &a->buyers[e->buyer];
    struct replay_order *o = order_of(b, e->id_hash);
    enum seen_kind kind = (enum seen_kind)e->kind;
    if (o == NULL) {
        FOUND(a, MISSING_EVENT,
              "seq %" PRIu64 ": %s of an order of buyer %" PRIu32 " that no event began", e->seq,
              seen_kind_name(kind), e->buyer);
        s->known = false;
        return;
    }
    if ((allowed_before(kind) & 1u << o->state) == 0)
        illegal_step(a, e, o);
    if (o->state == STATE_WAITING)
        step_from_waiting(a, s, e);
    b->expired |= kind == SEEN_EXPIRED;
    if (kind == SEEN_PAID)
        b->paid_seq = e->seq;
    if (kind == SEEN_CANCELLED)
        b->cancelled_seq = e->seq;
    move_units(s, (enum replay_state)o->state, -(int64_t)o->quantity);
    o->state = (uint8_t)state_after(kind);
    move_units(s, (enum replay_state)o->state, o->quantity);
}

/* ---- replay of the counters ---- */

static bool counters_agree(const struct replay_sale *s, const struct seen_event *e)
{
    return s->available == e->available && s->held == e->held && s->sold == e->sold &&
           s->waiting == e->waiting;
}

/* Goes on with what the event says if that is possible at all, so that one fault is one finding. */
static void check_counters(struct audit *a, struct replay_sale *s, const struct seen_event *e)
{
    uint64_t stock = a->books->sales[e->sale].stock;
    uint64_t units = (uint64_t)e->available + e->held + e->sold;
    if ((uint64_t)e->held + e->sold > stock)
        FOUND(a, OVERSOLD, "seq %" PRIu64 ": %" PRIu32 " held and %" PRIu32 " sold of %" PRIu64,
              e->seq, e->held, e->sold, stock);
    else if (units != stock)
        FOUND(a, WRONG_COUNTER,
              "seq %" PRIu64 ": available, held and sold are %" PRIu64 " of %" PRIu64, e->seq,
              units, stock);
    else if (s->known && !counters_agree(s, e))
        FOUND(a, WRONG_COUNTER,
              "seq %" PRIu64 ": available %" PRIu32 ", held %" PRIu32 ", sold %" PRIu32
              ", waiting %" PRIu32 " do not follow from the event before",
              e->seq, e->available, e->held, e->sold, e->waiting);
    if (units != stock && s->known)
        return;
    s->available = e->available;
    s->held = e->held;
    s->sold = e->sold;
    s->waiting = e->waiting;
    s->known = true;
}

static void check_order_of_events(struct audit *a, const struct seen_event *e)
{
    if (e->seq <= a->last_seq)
        FOUND(a, REPEATED_EVENT, "seq %" PRIu64 " came after seq %" PRIu64, e->seq, a->last_seq);
    else if (a->books->gapless && a->last_seq != 0 && e->seq != a->last_seq + 1)
        FOUND(a, MISSING_EVENT, "seq %" PRIu64 " came right after seq %" PRIu64, e->seq,
              a->last_seq);
    a->last_seq = e->seq > a->last_seq ? e->seq : a->last_seq;
}

/* The sale as it was read is compared with the counters of that moment; a hold may expire after it. */
static void keep_counters(struct replay_sale *s)
{
    s->read_available = s->available;
    s->read_held = s->held;
    s->read_sold = s->sold;
    s->read_waiting = s->waiting;
}

/* ---- buyers' own streams ---- */

static uint32_t events_kept(const struct own_stream *own)
{
    return own->count < OWN_EVENTS_MAX ? own->count : OWN_EVENTS_MAX;
}

/* The own stream must have carried this event, and in between nothing that is not an event. */
static void meet_own_event(struct audit *a, struct replay_buyer *b, const struct seen_event *e)
{
    const struct own_stream *own = chunks_get(&a->books->ledger->owns, b->own_plus_1 - 1);
    while (b->own_next < events_kept(own) && own->events[b->own_next].seq < e->seq)
        FOUND(a, REPEATED_EVENT,
              "the own stream of buyer %" PRIu32 " carried seq %" PRIu64 " out of its place",
              own->buyer, own->events[b->own_next++].seq);
    if (b->own_next == events_kept(own) || own->events[b->own_next].seq != e->seq)
        FOUND(a, MISSING_EVENT, "the own stream of buyer %" PRIu32 " did not carry seq %" PRIu64,
              own->buyer, e->seq);
    else if (own->events[b->own_next++].kind != e->kind)
        FOUND(a, MISSING_EVENT,
              "the own stream of buyer %" PRIu32 " calls seq %" PRIu64 " another event", own->buyer,
              e->seq);
}

static void find_own_streams(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->ledger->own_count; i++) {
        const struct own_stream *own = chunks_get(&a->books->ledger->owns, i);
        if (own->buyer < a->books->ledger->buyer_count)
            a->buyers[own->buyer].own_plus_1 = i + 1;
    }
}

/* What is left on them; what is newer than the stream of all came after that was ended. */
static void check_own_streams(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->ledger->own_count; i++) {
        const struct own_stream *own = chunks_get(&a->books->ledger->owns, i);
        uint32_t met =
            own->buyer < a->books->ledger->buyer_count ? a->buyers[own->buyer].own_next : 0;
        a->verdict->own_streams++;
        if ((met < events_kept(own) && own->events[met].seq <= a->last_seq) ||
            own->count > OWN_EVENTS_MAX)
            FOUND(a, REPEATED_EVENT,
                  "the own stream of buyer %" PRIu32 " carried events that nothing else tells of",
                  own->buyer);
    }
}

/* ---- replay ---- */

static void replay_order_event(struct audit *a, struct replay_sale *s, const struct seen_event *e)
{
    if (e->buyer >= a->books->ledger->buyer_count) {
        s->known = false; /* a stranger's, whose state is not kept: take what the event says */
        return;
    }
    struct replay_buyer *b = &a->buyers[e->buyer];
    if (e->kind == SEEN_RESERVED || e->kind == SEEN_QUEUED)
        join(a, s, e);
    else
        step(a, s, e);
    if (b->own_plus_1 != 0)
        meet_own_event(a, b, e);
}

static void replay_one(struct audit *a, const struct seen_event *e)
{
    uint64_t last_seq = a->last_seq;
    check_order_of_events(a, e);
    if (e->sale == NO_SALE || e->seq <= last_seq)
        return;
    struct replay_sale *s = &a->sales[e->sale];
    if (e->seq > a->books->sales[e->sale].seq && !s->past) {
        keep_counters(s);
        s->past = true;
    }
    s->last_seq = e->seq;
    if (seen_is_of_order((enum seen_kind)e->kind))
        replay_order_event(a, s, e);
    check_counters(a, s, e);
}

static void replay_all(struct audit *a)
{
    for (uint64_t i = 0; i < a->books->ledger->event_count; i++) {
        const struct seen_event *e = chunks_get(&a->books->ledger->events, i);
        replay_one(a, e);
        a->verdict->events++;
    }
    for (uint32_t i = 0; i < a->books->ledger->buyer_count; i++)
        if (a->buyers[i].overtaken)
            overtaken_and_not_cancelled(a, i, a->last_seq);
}

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
    /* The list was read after the sale: others may have paid in between. */
    if (s->listed_quantity < f->sold || (a->books->ours_alone && s->listed_quantity != f->sold))
        FOUND(a, WRONG_COUNTER,
              "sale %s: %" PRIu64 " sold, and the buyers list has %" PRIu64 " units", f->id,
              f->sold, s->listed_quantity);
    if (a->books->ours_alone &&
        (f->sold < s->paid_answers || f->sold > s->paid_answers + s->unknown_answers))
        FOUND(a, WRONG_COUNTER, "sale %s: %" PRIu64 " sold, and %" PRIu64 " payments were answered",
              f->id, f->sold, s->paid_answers);
}

static void check_sales(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->sale_count; i++) {
        const struct final_sale *f = &a->books->sales[i];
        struct replay_sale *s = &a->sales[i];
        if (!s->past)
            keep_counters(s);
        check_units(a, f, s);
        if (!a->books->events_held || f->seq <= a->books->ledger->base_seq)
            continue; /* nothing to hear, or nothing has happened */
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
        find_own_streams(&a);
        if (books->events_held)
            replay_all(&a);
        check_lists(&a); /* first: an answer may show there alone */
        check_answers(&a);
        check_sales(&a);
        if (books->events_held) {
            check_own_streams(&a);
            check_public_stream(&a);
        }
    }
    free(a.buyers);
    free(a.sales);
    return room;
}
