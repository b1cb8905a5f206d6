/*
 * judge.c: the rules of judge.h, a second time beside the engine, as plain as possible.
 *
 * Thread: the owner of the struct. Fails: by the first rule that an event breaks; out of memory
 * ends the test.
 */
#include "tests/support/judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static void *grown(void *old, uint64_t count, size_t bytes)
{
    void *more = realloc(old, count * bytes);
    if (more == NULL)
        abort();
    return more;
}

void judge_free(struct judge *j)
{
    for (uint32_t i = 0; i < j->sale_count; i++)
        free(j->sales[i].queue);
    free(j->sales);
    free(j->orders);
    free(j->at);
    free(j->live);
    *j = (struct judge){0};
}

static bool wrong(struct judge *j, const struct judge_entry *e, const char *rule)
{
    snprintf(j->error, sizeof j->error, "seq %llu %s (order %llu, %u units): %s",
             (unsigned long long)e->seq, event_row(e->kind)->wire_name,
             (unsigned long long)e->order_seq, e->quantity, rule);
    return false;
}

static void remember(struct judge *j, const struct judge_entry *e, uint32_t subject)
{
    if (e->seq >= j->at_room) {
        j->at_room = e->seq < 64 ? 128 : e->seq * 2;
        j->at = grown(j->at, j->at_room, sizeof *j->at);
    }
    j->at[e->seq] = (struct judge_at){(uint8_t)e->kind, subject};
    j->last_seq = e->seq;
}

/* ---- who has a live order ---- */

static uint64_t live_hash(uint32_t sale, const char *name, uint8_t name_bytes)
{
    uint64_t hash = 0xcbf29ce484222325ULL ^ sale;
    for (uint8_t i = 0; i < name_bytes; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3ULL;
    return hash ^ hash >> 29;
}

static struct judge_live *live_find(const struct judge *j, uint32_t sale, const char *name,
                                    uint8_t name_bytes)
{
    uint64_t at = live_hash(sale, name, name_bytes);
    for (;; at++) {
        struct judge_live *entry = &j->live[at & (j->live_room - 1)];
        if (entry->order == 0)
            return entry;
        const struct judge_order *o = &j->orders[entry->order - 1];
        if (o->sale == sale && o->name_bytes == name_bytes &&
            memcmp(o->name, name, name_bytes) == 0)
            return entry;
    }
}

static void live_grow(struct judge *j)
{
    if (j->live_count * 2 < j->live_room)
        return;
    struct judge_live *old = j->live;
    uint32_t old_room = j->live_room;
    j->live_room = old_room == 0 ? 64 : old_room * 2;
    j->live = calloc(j->live_room, sizeof *j->live);
    if (j->live == NULL)
        abort();
    for (uint32_t i = 0; i < old_room; i++) {
        if (old[i].order == 0)
            continue;
        const struct judge_order *o = &j->orders[old[i].order - 1];
        *live_find(j, o->sale, o->name, o->name_bytes) = old[i];
    }
    free(old);
}

static struct judge_live *live_of(struct judge *j, const struct judge_order *order)
{
    return live_find(j, order->sale, order->name, order->name_bytes);
}

static void becomes_live(struct judge *j, const struct judge_order *order, uint64_t seq)
{
    struct judge_live *entry = live_of(j, order);
    j->live_count += entry->order == 0;
    *entry = (struct judge_live){(uint32_t)(order - j->orders) + 1, true, seq, UINT64_MAX};
}

static void leaves_life(struct judge *j, const struct judge_order *order, uint64_t seq)
{
    struct judge_live *entry = live_of(j, order);
    entry->live = false;
    entry->until_seq = seq;
}

bool judge_was_live_since(const struct judge *j, uint32_t sale, const char *name,
                          uint8_t name_bytes, uint64_t seq)
{
    if (j->live_room == 0)
        return false;
    const struct judge_live *entry = live_find(j, sale, name, name_bytes);
    return entry->order != 0 && entry->until_seq > seq;
}

bool judge_was_free_since(const struct judge *j, uint32_t sale, const char *name,
                          uint8_t name_bytes, uint64_t seq)
{
    if (j->live_room == 0)
        return true;
    const struct judge_live *entry = live_find(j, sale, name, name_bytes);
    return entry->order == 0 || !entry->live || entry->since_seq > seq;
}

bool judge_was_closed_since(const struct judge_sale *s, uint64_t seq)
{
    return s->state != SALE_ACTIVE || s->opened_seq > seq;
}

/* ---- a sale's events ---- */

static bool create_sale(struct judge *j, const struct judge_entry *e)
{
    if (j->sale_count == j->sale_room) {
        j->sale_room = j->sale_room == 0 ? 8 : j->sale_room * 2;
        j->sales = grown(j->sales, j->sale_room, sizeof *j->sales);
    }
    j->sales[j->sale_count++] = (struct judge_sale){.seq = e->seq,
                                                    .last_seq = e->seq,
                                                    .terms = *e->terms,
                                                    .state = SALE_UPCOMING,
                                                    .available = e->terms->product_qty};
    remember(j, e, j->sale_count - 1);
    return true;
}

static bool move_sale(struct judge *j, struct judge_sale *s, const struct judge_entry *e)
{
    enum sale_state to = s->state;
    bool allowed = false;
    switch (e->kind) {
    case EVENT_SALE_STARTED:
        allowed = s->state == SALE_UPCOMING && e->at_wall_ms >= s->terms.starts_at_ms;
        to = SALE_ACTIVE;
        break;
    case EVENT_SALE_PAUSED:
        allowed = s->state == SALE_ACTIVE;
        to = SALE_PAUSED;
        break;
    case EVENT_SALE_STOPPED:
        allowed = s->state == SALE_ACTIVE || s->state == SALE_PAUSED;
        to = SALE_STOPPED;
        break;
    case EVENT_SALE_RESUMED:
        allowed = s->state == SALE_PAUSED || s->state == SALE_STOPPED;
        to = SALE_ACTIVE;
        break;
    case EVENT_SALE_ENDED:
        allowed = s->state != SALE_ENDED;
        to = SALE_ENDED;
        break;
    case EVENT_SALE_SOLD_OUT:
        allowed = !s->sold_out && s->sold == s->terms.product_qty;
        s->sold_out = allowed;
        break;
    default:
        break;
    }
    if (to == SALE_ACTIVE && s->state != SALE_ACTIVE)
        s->opened_seq = e->seq;
    s->state = to;
    s->last_seq = e->seq;
    remember(j, e, (uint32_t)(s - j->sales));
    return allowed || wrong(j, e, "a move that the sale's states do not have");
}

/* ---- an order's events ---- */

static const struct judge_order *head_of(const struct judge *j, const struct judge_sale *s)
{
    for (uint32_t i = s->queue_head; i < s->queue_count; i++)
        if (j->orders[s->queue[i]].state == ORDER_WAITING)
            return &j->orders[s->queue[i]];
    return NULL;
}

const struct judge_order *judge_head(const struct judge *j, const struct judge_sale *sale)
{
    return head_of(j, sale);
}

static void queue_up(struct judge *j, struct judge_sale *s, const struct judge_order *o)
{
    if (s->queue_count == s->queue_room) {
        s->queue_room = s->queue_room == 0 ? 16 : s->queue_room * 2;
        s->queue = grown(s->queue, s->queue_room, sizeof *s->queue);
    }
    s->queue[s->queue_count++] = (uint32_t)(o - j->orders);
    s->waiting++;
}

static void leave_queue(struct judge *j, struct judge_sale *s)
{
    s->waiting--;
    while (s->queue_head < s->queue_count &&
           j->orders[s->queue[s->queue_head]].state != ORDER_WAITING)
        s->queue_head++;
}

static struct judge_order *new_order(struct judge *j, const struct judge_entry *e, uint32_t sale)
{
    if (j->order_count == j->order_room) {
        j->order_room = j->order_room == 0 ? 64 : j->order_room * 2;
        j->orders = grown(j->orders, j->order_room, sizeof *j->orders);
    }
    struct judge_order *o = &j->orders[j->order_count++];
    *o = (struct judge_order){.seq = e->seq,
                              .sale = sale,
                              .quantity = e->quantity,
                              .deadline_mono_ms = INT64_MIN,
                              .name_bytes = e->name_bytes};
    memcpy(o->name, e->name, e->name_bytes);
    live_grow(j);
    return o;
}

static bool enter(struct judge *j, struct judge_sale *s, struct judge_order *o,
                  const struct judge_entry *e)
{
    struct judge_live *live = live_of(j, o);
    if (e->order_seq != e->seq || e->from != ORDER_NONE)
        return wrong(j, e, "an order is made by its first event");
    if (live->order != 0 && live->live)
        return wrong(j, e, "a second live order of one buyer (G3)");
    if (s->state != SALE_ACTIVE || s->sold_out)
        return wrong(j, e, "a new order in a sale that takes none");
    if (o->quantity == 0 || o->quantity > s->terms.max_per_buyer)
        return wrong(j, e, "more units than one buyer may take");
    becomes_live(j, o, e->seq);
    if (e->kind == EVENT_ORDER_QUEUED) {
        o->state = ORDER_WAITING;
        queue_up(j, s, o);
        return s->waiting <= s->terms.waitlist_max || wrong(j, e, "the waiting list is too long");
    }
    if (s->waiting != 0)
        return wrong(j, e, "overtakes the waiting list");
    if (s->available < o->quantity)
        return wrong(j, e, "units sold twice (G1)");
    s->available -= o->quantity;
    s->held += o->quantity;
    return true;
}

static bool promote(struct judge *j, struct judge_sale *s, struct judge_order *o,
                    const struct judge_entry *e)
{
    if (o->state != ORDER_WAITING || head_of(j, s) != o)
        return wrong(j, e, "not the order that waits longest");
    if (s->state != SALE_ACTIVE || s->sold_out)
        return wrong(j, e, "a promotion in a sale that takes none");
    if (s->available < o->quantity)
        return wrong(j, e, "units sold twice (G1)");
    o->state = ORDER_PAYMENT;
    leave_queue(j, s);
    s->available -= o->quantity;
    s->held += o->quantity;
    return true;
}

static bool pay(struct judge *j, struct judge_sale *s, struct judge_order *o,
                const struct judge_entry *e)
{
    if (o->state == ORDER_PAYMENT) {
        s->held -= o->quantity;
    } else if (o->state == ORDER_EXPIRED) {
        if (s->waiting != 0)
            return wrong(j, e, "a late payment overtakes the waiting list");
        if (s->available < o->quantity)
            return wrong(j, e, "a late payment takes units that are not there (G1)");
        if (live_of(j, o)->live)
            return wrong(j, e, "a late payment beside another live order (G3)");
        if (o->refund_due)
            return wrong(j, e, "a late payment of an order that is due a refund (G7)");
        s->available -= o->quantity;
        becomes_live(j, o, e->seq);
    } else {
        return wrong(j, e, "paid without a hold");
    }
    s->sold += o->quantity;
    return true;
}

/* Cancelled, expired or cleared. */
static bool leave(struct judge *j, struct judge_sale *s, struct judge_order *o,
                  const struct judge_entry *e)
{
    enum order_state from = o->state;
    bool hopeless = o->quantity > s->terms.product_qty - s->sold;
    if (e->kind == EVENT_ORDER_CLEARED && !hopeless && !s->sold_out && s->state != SALE_ENDED)
        return wrong(j, e, "cleared although the sale goes on");
    if (e->kind == EVENT_ORDER_EXPIRED && e->at_mono_ms < o->deadline_mono_ms)
        return wrong(j, e, "expired before its time");
    o->state = event_row(e->kind)->state_after;
    leaves_life(j, o, e->seq);
    if (from == ORDER_WAITING && e->kind != EVENT_ORDER_EXPIRED) {
        leave_queue(j, s);
    } else if (from == ORDER_PAYMENT && e->kind != EVENT_ORDER_CLEARED) {
        s->held -= o->quantity;
        s->available += o->quantity;
    } else {
        return wrong(j, e, "left a state that it was not in");
    }
    return true;
}

static bool move_order(struct judge *j, struct judge_sale *s, struct judge_order *o,
                       const struct judge_entry *e)
{
    switch (e->kind) {
    case EVENT_ORDER_RESERVED:
    case EVENT_ORDER_QUEUED:
        return enter(j, s, o, e);
    case EVENT_ORDER_PROMOTED:
        return promote(j, s, o, e);
    case EVENT_ORDER_PAID:
        return pay(j, s, o, e);
    case EVENT_ORDER_REFUND_DUE:
        if (o->state != ORDER_EXPIRED || o->refund_due)
            return wrong(j, e, "a refund is due once, for an expired order");
        o->refund_due = true;
        return true;
    default:
        return leave(j, s, o, e);
    }
}

static bool judge_order_event(struct judge *j, struct judge_sale *s, const struct judge_entry *e)
{
    bool makes = e->kind == EVENT_ORDER_RESERVED || e->kind == EVENT_ORDER_QUEUED;
    struct judge_order *o = makes ? new_order(j, e, (uint32_t)(s - j->sales))
                                  : (struct judge_order *)(uintptr_t)judge_order(j, e->order_seq);
    if (o == NULL)
        return wrong(j, e, "an order that no event made");
    if (o->state != e->from)
        return wrong(j, e, "starts from another state than the last event left (G4)");
    if (o->quantity != e->quantity || &j->sales[o->sale] != s)
        return wrong(j, e, "another quantity or sale than at first");
    remember(j, e, (uint32_t)(o - j->orders));
    if (!move_order(j, s, o, e))
        return false;
    enum order_state after = event_row(e->kind)->state_after;
    o->state = after;
    o->last_seq = s->last_seq = e->seq;
    o->changed_at_ms = e->at_wall_ms;
    if (after == ORDER_PAYMENT) {
        o->expires_at_ms = e->at_wall_ms + s->terms.hold_ms;
        o->deadline_mono_ms = e->at_mono_ms + s->terms.hold_ms;
    }
    return true;
}

bool judge_event(struct judge *j, const struct judge_entry *e)
{
    if (e->seq != j->last_seq + 1)
        return wrong(j, e, "a gap in seq");
    if (e->kind == EVENT_SALE_CREATED)
        return create_sale(j, e);
    struct judge_sale *s = (struct judge_sale *)(uintptr_t)judge_sale(j, e->sale_seq);
    if (s == NULL)
        return wrong(j, e, "before its sale");
    bool ok = e->order_seq != 0 ? judge_order_event(j, s, e) : move_sale(j, s, e);
    if (ok && (uint64_t)s->sold + s->held + s->available != s->terms.product_qty)
        return wrong(j, e, "sold + held + available is not the stock (G1)");
    return ok;
}

void judge_new_life(struct judge *j)
{
    for (uint32_t i = 0; i < j->order_count; i++)
        j->orders[i].deadline_mono_ms = INT64_MIN;
}

/* ---- questions ---- */

enum event_kind judge_kind(const struct judge *j, uint64_t seq)
{
    return seq == 0 || seq > j->last_seq ? EVENT_KIND_COUNT : (enum event_kind)j->at[seq].kind;
}

const struct judge_order *judge_order_of(const struct judge *j, uint64_t seq)
{
    enum event_kind kind = judge_kind(j, seq);
    if (kind == EVENT_KIND_COUNT || !event_is_of_order(kind))
        return NULL;
    return &j->orders[j->at[seq].subject];
}

const struct judge_order *judge_order(const struct judge *j, uint64_t seq)
{
    const struct judge_order *order = judge_order_of(j, seq);
    return order != NULL && order->seq == seq ? order : NULL;
}

const struct judge_sale *judge_sale(const struct judge *j, uint64_t seq)
{
    return judge_kind(j, seq) == EVENT_SALE_CREATED ? &j->sales[j->at[seq].subject] : NULL;
}
