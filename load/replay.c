/*
 * replay.c: see replay.h.
 *
 * A promotion may pass over only an order that has been cancelled, with the event still to come: until it comes,
 * the buyer is `overtaken`.
 *
 * Thread: main.
 */
#include "load/replay.h"

#include <inttypes.h>

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

/* Everybody before this buyer has been passed over. Stops at one who was already: so were all before that one. */
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

/* A buyer who asks after another was told to wait must not be served first. */
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

/* The states that an order may be in before an event of this kind, as bits. */
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
    if (b->joined_seq == 0) { /* answers are compared with the first order */
        b->joined_seq = e->seq;
        b->joined_waiting = e->kind == SEEN_QUEUED;
    }
    *o = (struct replay_order){e->id_hash, e->quantity,
                               (uint8_t)state_after((enum seen_kind)e->kind)};
    move_units(s, (enum replay_state)o->state, e->quantity);
    if (e->kind == SEEN_QUEUED)
        queue_up(a, s, e->buyer);
}

/* A step that the order's state does not allow: it is a repetition, or the event before it is missing. */
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
    b->refund_due |= kind == SEEN_REFUND_DUE;
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

/* Goes on from the event's counters, so that one fault is one finding; but not if they are impossible and better ones
 * are known. */
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

/* The sale as it was read is compared with the counters of that moment: a hold may expire later. */
void replay_keep_counters(struct replay_sale *s)
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

/* The own stream must have carried this event, and since the one before nothing else. */
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

void replay_find_own_streams(struct audit *a)
{
    for (uint32_t i = 0; i < a->books->ledger->own_count; i++) {
        const struct own_stream *own = chunks_get(&a->books->ledger->owns, i);
        if (own->buyer < a->books->ledger->buyer_count)
            a->buyers[own->buyer].own_plus_1 = i + 1;
    }
}

/* Events left over are findings, except newer ones than the last of the stream of all, which was closed first. */
void replay_check_own_streams(struct audit *a)
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
        s->known = false; /* a stranger's, whose state is not kept: take the event's counters */
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
        replay_keep_counters(s);
        s->past = true;
    }
    s->last_seq = e->seq;
    s->sold_out |= e->kind == SEEN_SALE_SOLD_OUT;
    s->ended |= e->kind == SEEN_SALE_ENDED;
    if (seen_is_of_order((enum seen_kind)e->kind))
        replay_order_event(a, s, e);
    check_counters(a, s, e);
}

void replay_events(struct audit *a)
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
