/*
 * worker.c: the decisions: buy, eligible, pay, cancel; and how a round's decisions reach the log.
 *
 * Happy path of a purchase: decide_buy -> buyers_put -> stock swap -> takes -> flush_takes (slot,
 * reply in its ring, publish). The reply is in the ring before its event can be read, so the
 * commit's wake finds it. Failure: refusals carry the last claimed seq, so that they too are sent
 * only when what they saw is durable.
 *
 * Thread: the worker's own (see worker.h for what it may touch).
 */
#include "engine/worker.h"

#include <string.h>

#include "engine/check.h"
#include "engine/engine.h"

/* A round's room: joins, fresh, and this round's takes. */
#define CREDIT_NEEDED (3u * WORKER_BATCH_MAX)
static_assert(3 * WORKER_BATCH_MAX <= LOG_CREDIT_CHUNK, "a round's room is one reservation");

/* What one decision is about; lives for that decision. */
struct ask {
    const struct command *command;
    struct now now;
    uint8_t port;
};

bool worker_init(struct worker *worker, struct engine *engine, uint32_t index)
{
    worker->engine = engine;
    worker->index = index;
    wake_init(&worker->wake);
    return buyers_init(&worker->buyers);
}

void worker_free(struct worker *worker)
{
    buyers_free(&worker->buyers);
}

/* ---- open batches ---- */

static void mark_open(_Atomic uint32_t *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-open");
    /* Visible to whoever meets a later swap of the stock word by this thread (release there). */
    atomic_store_explicit(word, value | 1, memory_order_relaxed);
}

static void mark_flushed(_Atomic uint32_t *word, bool still_open)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-flushed");
    /* Release: who sees the flush sees the claim. Pairs with the acquires in marks_passed() and
     * clock.c. */
    atomic_store_explicit(word, ((value >> 1) + 1) << 1 | still_open, memory_order_release);
}

/* ---- results of a decision ---- */

static struct reply reply_to(const struct ask *ask, struct order *order, enum outcome outcome,
                             enum order_state state)
{
    return (struct reply){.context = ask->command->context,
                          .sale = ask->command->sale,
                          .order = order,
                          .outcome = (uint8_t)outcome,
                          .state = (uint8_t)state,
                          .kind = ask->command->kind};
}

static void refuse(struct worker *w, const struct ask *ask, struct order *order,
                   enum outcome outcome, enum order_state state)
{
    MUST(w->refusal_count < WORKER_BATCH_MAX, "more refusals than commands in a round");
    w->refusals[w->refusal_count++] =
        (struct pending){.reply = reply_to(ask, order, outcome, state), .port = ask->port};
}

static void defer(struct worker *w, const struct ask *ask)
{
    MUST(w->deferred_count < WORKER_BATCH_MAX, "more deferrals than commands in a round");
    w->deferred[w->deferred_count++] = (struct deferred){*ask->command, ask->port};
}

static struct pending pending_of(struct worker *w, const struct ask *ask, struct order *order,
                                 enum event_kind kind, enum outcome outcome)
{
    struct sale *sale = engine_sale_at(w->engine, order->sale);
    struct pending p = {.event = {.sale = sale,
                                  .order = order,
                                  .at_wall_ms = ask->now.wall_ms,
                                  .at_mono_ms = ask->now.mono_ms,
                                  .quantity = order->quantity,
                                  .kind = (uint8_t)kind},
                        .reply = reply_to(ask, order, outcome, event_row(kind)->state_after),
                        .port = ask->port};
    p.reply.sale = sale;
    return p;
}

static void add(struct pending_list *list, struct pending item)
{
    MUST(list->count < WORKER_BATCH_MAX, "more decisions than a round has");
    list->items[list->count++] = item;
}

/* Slot seq is claimed: number the order if this event made it, answer, publish; in this order. */
static void log_one(struct worker *w, struct pending *p, uint64_t seq)
{
    if (p->event.order->seq == 0) {
        p->event.order->seq = seq;
        seqmap_put_order(&w->engine->seqmap, seq, p->event.order);
    }
    p->reply.seq = seq;
    port_answer(&w->engine->ports[p->port], w->index, &p->reply);
    log_publish(&w->engine->log, seq, &p->event);
    w->published = true;
}

/* ---- buy ---- */

static enum outcome check_state(struct stock stock)
{
    if (stock.state != SALE_ACTIVE)
        return OUTCOME_SALE_NOT_ACTIVE;
    return stock.sold_out ? OUTCOME_SOLD_OUT : OUTCOME_CREATED;
}

static enum outcome check_quantity(const struct sale *sale, uint32_t quantity)
{
    if (quantity > sale->terms.max_per_buyer || quantity > sale->terms.product_qty)
        return OUTCOME_QUANTITY_OVER_LIMIT;
    uint32_t sold = atomic_load_explicit(&sale->sold, memory_order_relaxed);
    /* More than will ever be free again: waiting for it would jam the list. */
    return quantity > sale->terms.product_qty - sold ? OUTCOME_SOLD_OUT : OUTCOME_CREATED;
}

/* One swap takes the units, or a place in the waiting list. */
static enum outcome take_or_join(struct worker *w, const struct ask *ask, struct order *order)
{
    struct sale *sale = ask->command->sale;
    uint64_t seen = stock_load_word(&sale->stock);
    for (;;) {
        struct stock to = stock_unpack(seen);
        enum outcome outcome = check_state(to);
        if (outcome != OUTCOME_CREATED)
            return outcome;
        bool take = to.waiting == 0 && to.available >= order->quantity;
        if (take)
            to.available -= order->quantity;
        else if (to.waiting >= sale->terms.waitlist_max)
            return OUTCOME_WAITLIST_FULL;
        else {
            to.waiting++;
            mark_open(&w->open_joins);
        }
        enum order_state state = take ? ORDER_PAYMENT : ORDER_WAITING;
        atomic_store_explicit(&order->state, (uint8_t)state, memory_order_relaxed);
        if (stock_swap(&sale->stock, &seen, to)) {
            /* Joined although units are free: only the clock can sort that out. */
            w->nudge_clock = w->nudge_clock || (!take && to.available > 0);
            return OUTCOME_CREATED;
        }
    }
}

static struct order *order_for(struct worker *w, const struct command *command)
{
    struct order *order =
        order_new(&w->arena, command->name, command->name_bytes, command->name_hash);
    if (order != NULL) {
        order->sale = command->sale->index;
        order->quantity = command->quantity;
        order->owner = (uint8_t)w->index;
    }
    return order;
}

static bool is_unsettled(const struct order *order)
{
    return order->seq == 0 || (order_state_now(order) & ORDER_BUSY) != 0;
}

/* Everything is checked and allocated before the swap; the swap decides; after it nothing may fail.
 */
static void decide_buy(struct worker *w, const struct ask *ask)
{
    const struct command *command = ask->command;
    enum outcome outcome = check_state(stock_load(&command->sale->stock));
    if (outcome == OUTCOME_CREATED &&
        atomic_load_explicit(&w->engine->storage_full, memory_order_relaxed))
        outcome = OUTCOME_STORAGE_FULL;
    if (outcome != OUTCOME_CREATED) {
        refuse(w, ask, NULL, outcome, ORDER_NONE);
        return;
    }
    struct order *order = order_for(w, command);
    if (order == NULL) {
        refuse(w, ask, NULL, OUTCOME_OVERLOAD, ORDER_NONE);
        return;
    }
    struct order *previous = buyers_find(&w->buyers, order);
    if (previous != NULL && is_unsettled(previous)) {
        order_undo_new(&w->arena, order);
        defer(w, ask);
        return;
    }
    unsigned live = previous != NULL ? order_state_now(previous) : ORDER_NONE;
    outcome = order_state_is_live((enum order_state)live)
                  ? OUTCOME_ALREADY_JOINED
                  : check_quantity(command->sale, order->quantity);
    if (outcome == OUTCOME_CREATED && !buyers_put(&w->buyers, order))
        outcome = OUTCOME_OVERLOAD;
    else if (outcome == OUTCOME_CREATED) {
        outcome = take_or_join(w, ask, order);
        if (outcome != OUTCOME_CREATED && previous != NULL)
            MUST(buyers_put(&w->buyers, previous), "replacing an entry takes no memory");
        else if (outcome != OUTCOME_CREATED)
            buyers_remove(&w->buyers, order);
    }
    if (outcome != OUTCOME_CREATED) {
        order_undo_new(&w->arena, order);
        refuse(w, ask, previous, outcome, (enum order_state)live);
        return;
    }
    if (atomic_load_explicit(&order->state, memory_order_relaxed) == ORDER_PAYMENT)
        add(&w->takes, pending_of(w, ask, order, EVENT_ORDER_RESERVED, OUTCOME_CREATED));
    else
        add(&w->fresh, pending_of(w, ask, order, EVENT_ORDER_QUEUED, OUTCOME_CREATED));
}

static void decide_eligible(struct worker *w, const struct ask *ask)
{
    struct order *key = order_for(w, ask->command);
    if (key == NULL) {
        refuse(w, ask, NULL, OUTCOME_OVERLOAD, ORDER_NONE);
        return;
    }
    struct order *order = buyers_find(&w->buyers, key);
    order_undo_new(&w->arena, key);
    if (order != NULL && is_unsettled(order)) {
        defer(w, ask);
        return;
    }
    unsigned state = order != NULL ? order_state_now(order) : ORDER_NONE;
    bool live = order_state_is_live((enum order_state)state);
    refuse(w, ask, order, live ? OUTCOME_ALREADY_JOINED : OUTCOME_DONE, (enum order_state)state);
}

/* ---- pay ---- */

/* Units were paid: the last one closes the sale for new orders at once; the clock logs it. */
static void count_sold(struct worker *w, struct sale *sale, uint32_t units)
{
    STEP("count-sold");
    uint32_t sold = atomic_fetch_add_explicit(&sale->sold, units, memory_order_acq_rel) + units;
    MUST(sold <= sale->terms.product_qty, "more units paid than there are (G1)");
    if (sold == sale->terms.product_qty) {
        stock_set_sold_out(&sale->stock);
        w->nudge_clock = true;
    }
}

/* A late payment takes its units again if they are free and nobody waits. */
static bool take_again(stock_word *word, uint32_t units)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        if (to.waiting != 0 || to.available < units)
            return false;
        to.available -= units;
        if (stock_swap(word, &seen, to))
            return true;
    }
}

static bool has_other_live_order(struct worker *w, struct order *order)
{
    struct order *latest = buyers_find(&w->buyers, order);
    if (latest == order)
        return false;
    return order_state_is_live((enum order_state)(order_state_now(latest) & ~(unsigned)ORDER_BUSY));
}

/* Only this worker moves an order on from EXPIRED, so plain stores of the state will do. */
static void decide_late_payment(struct worker *w, const struct ask *ask, struct sale *sale,
                                struct order *order)
{
    if (!has_other_live_order(w, order) && take_again(&sale->stock, order->quantity)) {
        order_settle(order, ORDER_PAID);
        count_sold(w, sale, order->quantity);
        MUST(buyers_put(&w->buyers, order), "replacing an entry takes no memory");
        add(&w->takes, pending_of(w, ask, order, EVENT_ORDER_PAID, OUTCOME_DONE));
        return;
    }
    if (order->refund_due) {
        refuse(w, ask, order, OUTCOME_HOLD_EXPIRED, ORDER_EXPIRED);
        return;
    }
    order->refund_due = true;
    add(&w->takes, pending_of(w, ask, order, EVENT_ORDER_REFUND_DUE, OUTCOME_HOLD_EXPIRED));
}

static void decide_pay(struct worker *w, const struct ask *ask)
{
    struct order *order = ask->command->order;
    struct sale *sale = engine_sale_at(w->engine, order->sale);
    unsigned state = order_state_now(order);
    if ((state & ORDER_BUSY) != 0) {
        defer(w, ask);
    } else if (state == ORDER_PAYMENT) {
        STEP("pay");
        if (!order_move(order, ORDER_PAYMENT, ORDER_PAID)) {
            defer(w, ask);
            return;
        }
        count_sold(w, sale, order->quantity);
        add(&w->takes, pending_of(w, ask, order, EVENT_ORDER_PAID, OUTCOME_DONE));
    } else if (state == ORDER_EXPIRED) {
        decide_late_payment(w, ask, sale, order);
    } else {
        refuse(w, ask, order, OUTCOME_NOT_IN_PAYMENT, (enum order_state)state);
    }
}

/* ---- cancel ---- */

/* Gives back: the slot first, the units or the place after. */
static void decide_cancel(struct worker *w, const struct ask *ask)
{
    struct order *order = ask->command->order;
    struct sale *sale = engine_sale_at(w->engine, order->sale);
    unsigned state = order_state_now(order);
    if ((state & ORDER_BUSY) != 0) {
        defer(w, ask);
        return;
    }
    if (state != ORDER_WAITING && state != ORDER_PAYMENT) {
        refuse(w, ask, order, OUTCOME_NOT_CANCELLABLE, (enum order_state)state);
        return;
    }
    STEP("cancel");
    if (!order_move(order, (enum order_state)state, state | ORDER_BUSY)) {
        defer(w, ask);
        return;
    }
    bool held = state == ORDER_PAYMENT;
    uint32_t units = held ? order->quantity : 0;
    struct stock stock = {0};
    if (FAULT(FAULT_RELEASE_BEFORE_CLAIM))
        stock = stock_give(&sale->stock, units, !held);
    struct pending p = pending_of(w, ask, order, EVENT_ORDER_CANCELLED, OUTCOME_DONE);
    log_one(w, &p, log_claim(&w->engine->log, &w->credit, 1));
    order_settle(order, ORDER_CANCELLED);
    if (!FAULT(FAULT_RELEASE_BEFORE_CLAIM))
        stock = stock_give(&sale->stock, units, !held);
    w->nudge_clock = w->nudge_clock || (stock.waiting > 0 && stock.available > 0);
}

/* ---- a round ---- */

static void decide(struct worker *w, const struct ask *ask)
{
    switch ((enum command_kind)ask->command->kind) {
    case COMMAND_BUY:
        decide_buy(w, ask);
        return;
    case COMMAND_ELIGIBLE:
        decide_eligible(w, ask);
        return;
    case COMMAND_PAY:
        decide_pay(w, ask);
        return;
    case COMMAND_CANCEL:
        decide_cancel(w, ask);
        return;
    default:
        MUST(false, "an admin's command at a worker");
    }
}

/* Claims one run of slots for a list of decisions and logs each. */
static void flush(struct worker *w, struct pending_list *list)
{
    uint64_t seq = log_claim(&w->engine->log, &w->credit, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        log_one(w, &list->items[i], seq + i);
    list->count = 0;
}

static void flush_takes(struct worker *w)
{
    if (w->takes.count > 0)
        flush(w, &w->takes);
    mark_flushed(&w->open_takes, false);
}

static bool others_moved_on(const struct worker *w)
{
    for (uint32_t i = 0; i < w->engine->options.workers; i++) {
        STEP("mark-look");
        uint32_t now =
            atomic_load_explicit(&w->engine->workers[i].open_takes, memory_order_acquire);
        if (i != w->index && !takes_moved_on(w->join_marks[i], now))
            return false;
    }
    return true;
}

/* Joins whose marks have passed are logged; then the fresh ones get theirs, and their chance. */
static void flush_joins(struct worker *w)
{
    for (int lists = 0; lists < 2; lists++) {
        if (w->joins.count > 0) {
            if (!others_moved_on(w) && !FAULT(FAULT_JOIN_AT_ONCE))
                return;
            flush(w, &w->joins);
            mark_flushed(&w->open_joins, w->fresh.count > 0);
        }
        if (w->fresh.count == 0)
            return;
        w->joins = w->fresh;
        w->fresh.count = 0;
        for (uint32_t i = 0; i < w->engine->options.workers; i++) {
            STEP("mark-take");
            w->join_marks[i] =
                atomic_load_explicit(&w->engine->workers[i].open_takes, memory_order_acquire);
        }
    }
}

static void send_refusals(struct worker *w)
{
    if (w->refusal_count == 0)
        return;
    STEP("refusals");
    uint64_t seq = log_last_claimed(&w->engine->log);
    bool answered[PORTS_MAX] = {false};
    for (uint32_t i = 0; i < w->refusal_count; i++) {
        struct pending *p = &w->refusals[i];
        p->reply.seq = seq;
        port_answer(&w->engine->ports[p->port], w->index, &p->reply);
        answered[p->port] = true;
    }
    w->refusal_count = 0;
    for (uint32_t i = 0; i < w->engine->options.ports; i++)
        if (answered[i])
            port_notify(&w->engine->ports[i]);
}

/* Decides about `command`, or refuses everything while the log is full. */
static void take_command(struct worker *w, const struct command *command, uint8_t port,
                         struct now now, bool room)
{
    const struct ask ask = {command, now, port};
    if (room)
        decide(w, &ask);
    else
        refuse(w, &ask, NULL, OUTCOME_OVERLOAD, ORDER_NONE);
}

static uint32_t take_deferred(struct worker *w, struct now now, bool room)
{
    uint32_t count = w->deferred_count;
    struct deferred again[WORKER_BATCH_MAX];
    memcpy(again, w->deferred, count * sizeof *again);
    w->deferred_count = 0;
    for (uint32_t i = 0; i < count; i++)
        take_command(w, &again[i].command, again[i].port, now, room);
    return count;
}

/* Takes up to `limit` commands, starting with another port each round. */
static uint32_t take_new(struct worker *w, struct now now, bool room, uint32_t limit)
{
    uint32_t ports = w->engine->options.ports, taken = 0;
    for (uint32_t i = 0; i < ports && taken < limit; i++) {
        uint32_t port = (w->next_port + i) % ports;
        struct command_ring *ring = &w->engine->ports[port].channels[w->index].commands;
        struct command command;
        while (taken < limit && command_ring_pop(ring, &command)) {
            take_command(w, &command, (uint8_t)port, now, room);
            taken++;
        }
    }
    w->next_port = (w->next_port + 1) % ports;
    return taken;
}

bool worker_round(struct worker *w, struct now now)
{
    bool room = engine_reserve(w->engine, &w->credit, CREDIT_NEEDED);
    mark_open(&w->open_takes);
    uint32_t deferred = take_deferred(w, now, room);
    uint32_t used = deferred + w->fresh.count;
    uint32_t taken = used < WORKER_BATCH_MAX ? take_new(w, now, room, WORKER_BATCH_MAX - used) : 0;
    flush_takes(w);
    flush_joins(w);
    send_refusals(w);
    STEP("worker-wake");
    if (w->published)
        wake_up(&w->engine->log.news);
    w->published = false;
    if (w->nudge_clock || log_lag(&w->engine->log, LOG_READER_CLOCK) > LOG_SLOTS / 4)
        engine_nudge_clock(w->engine);
    w->nudge_clock = false;
    return taken > 0 || w->deferred_count > 0 || w->joins.count > 0;
}
