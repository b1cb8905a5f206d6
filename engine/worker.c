/*
 * worker.c: the decisions: buy, eligible, pay, cancel; and how a round's decisions reach the log.
 *
 * Happy path of a purchase: decide_buy -> join_group -> close_group (stock swap) -> make_order ->
 * flush_takes (slot, reply in its ring, publish). The reply is in the ring before its event can be
 * read, so the commit's wake finds it. Failure: refusals carry the last claimed seq, so that they
 * too are sent only when what they saw is durable.
 *
 * Thread: who sits on the worker's seat (see worker.h for what it may touch).
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
    order_arena_free(&worker->arena);
}

/* ---- open batches ---- */

static void mark_open(_Atomic uint32_t *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-open");
    /* Visible to whoever meets a later swap of the stock word by this worker (release there). Release here, too: the
     * flush before may have been another thread's, and who sees this mark sees its claims. */
    atomic_store_explicit(word, value | 1, memory_order_release);
}

static void mark_flushed(_Atomic uint32_t *word, bool still_open)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-flushed");
    /* Release: who sees the flush sees the claim. Pairs with the acquires in workers_moved_on() and
     * others_moved_on(). */
    atomic_store_explicit(word, ((value >> 1) + 1) << 1 | still_open, memory_order_release);
}

struct worker_mark workers_mark(const struct engine *e)
{
    struct worker_mark mark = {{0}, {0}};
    for (uint32_t i = 0; i < e->options.workers; i++) {
        STEP("workers-mark");
        mark.takes[i] = atomic_load_explicit(&e->workers[i].open_takes, memory_order_acquire);
        mark.joins[i] = atomic_load_explicit(&e->workers[i].open_joins, memory_order_acquire);
    }
    return mark;
}

bool workers_moved_on(const struct engine *e, const struct worker_mark *mark)
{
    for (uint32_t i = 0; i < e->options.workers; i++) {
        STEP("workers-look");
        uint32_t takes = atomic_load_explicit(&e->workers[i].open_takes, memory_order_acquire);
        uint32_t joins = atomic_load_explicit(&e->workers[i].open_joins, memory_order_acquire);
        if (!takes_moved_on(mark->takes[i], takes) || !joins_moved_on(mark->joins[i], joins))
            return false;
    }
    return true;
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
                          .kind = ask->command->kind,
                          .key = ask->command->key};
}

/* Whether it may rest on a decision of another worker that has no slot yet. */
static bool is_doubt(enum outcome outcome)
{
    return outcome == OUTCOME_SOLD_OUT || outcome == OUTCOME_WAITLIST_FULL;
}

static void refuse(struct worker *w, const struct ask *ask, struct order *order,
                   enum outcome outcome, enum order_state state)
{
    struct pending_list *list = is_doubt(outcome) ? &w->fresh_doubts : &w->refusals;
    MUST(list->count < WORKER_BATCH_MAX, "more refusals than commands in a round");
    struct pending *p = &list->items[list->count++];
    *p = (struct pending){.reply = reply_to(ask, order, outcome, state), .port = ask->port};
    if (p->reply.key != 0 && outcome_is_passing(outcome)) {
        keys_forget(&w->engine->keys, p->reply.key);
        p->reply.key = 0;
    }
}

static void note_key(struct worker *w, const struct reply *reply)
{
    keys_note(&w->engine->keys, reply->key, reply->kind, reply->outcome, reply->state);
}

static void defer(struct worker *w, const struct ask *ask)
{
    MUST(w->deferred_count < WORKER_BATCH_MAX, "more deferrals than commands in a round");
    w->deferred[w->deferred_count++] = (struct asked){*ask->command, ask->port};
}

/* Field by field, in the place it stays: a copy of what was just stored byte by byte stalls. */
static void fill(struct pending *p, const struct worker *w, const struct ask *ask,
                 struct order *order, enum event_kind kind, enum outcome outcome)
{
    struct sale *sale = engine_sale_at(w->engine, order->sale);
    p->event.sale = p->reply.sale = sale;
    p->event.order = p->reply.order = order;
    p->event.at_wall_ms = ask->now.wall_ms;
    p->event.at_mono_ms = ask->now.mono_ms;
    p->event.quantity = order->quantity;
    p->event.kind = (uint8_t)kind;
    p->event.key = p->reply.key = ask->command->key;
    p->event.tint = 0;
    p->reply.context = ask->command->context;
    p->reply.outcome = (uint8_t)outcome;
    p->reply.state = (uint8_t)event_row(kind)->state_after;
    p->reply.kind = ask->command->kind;
    p->port = ask->port;
}

/* tint: TINT_… that its changes of the stock met. */
static void add(struct pending_list *list, const struct worker *w, const struct ask *ask,
                struct order *order, enum event_kind kind, enum outcome outcome, uint8_t tint)
{
    MUST(list->count < WORKER_BATCH_MAX, "more decisions than a round has");
    struct pending *p = &list->items[list->count++];
    fill(p, w, ask, order, kind, outcome);
    p->event.tint = tint;
}

static uint8_t tint_of(struct stock met, uint8_t bit)
{
    return met.tint ? bit : 0;
}

/* Slot seq is claimed: number the order if this event made it, answer, publish; in this order. */
static void log_one(struct worker *w, struct pending *p, uint64_t seq)
{
    if (p->event.order->seq == 0) {
        p->event.order->seq = seq;
        seqmap_put_order(&w->engine->seqmap, seq, p->event.order);
    }
    p->reply.seq = seq;
    if (p->reply.key != 0)
        note_key(w, &p->reply);
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
    uint32_t sold = sold_now(&sale->sold).units;
    /* More than will ever be free again: waiting for it would jam the list. */
    return quantity > sale->terms.product_qty - sold ? OUTCOME_SOLD_OUT : OUTCOME_CREATED;
}

/* Closed in the word, and not in the log yet: refused now, it would be told what no reader sees for a
 * while, and what a crash may take back. */
static bool is_closing(const struct sale *sale, enum outcome outcome)
{
    STEP("closing?");
    return outcome == OUTCOME_SALE_NOT_ACTIVE &&
           atomic_load_explicit(&sale->unlogged, memory_order_acquire);
}

static void refuse_purchase(struct worker *w, const struct ask *ask, struct order *previous,
                            enum outcome outcome, enum order_state state)
{
    if (is_closing(ask->command->sale, outcome))
        defer(w, ask);
    else
        refuse(w, ask, previous, outcome, state);
}

/* What a purchase got: units (PAYMENT) or a place in the waiting list (WAITING). */
struct got {
    enum order_state state;
    bool tint;
};

/* One swap takes the units, or a place in the waiting list; *got says which. */
static enum outcome take_or_join(struct worker *w, const struct command *command, struct got *got)
{
    struct sale *sale = command->sale;
    uint64_t seen = stock_load_word(&sale->stock);
    for (;;) {
        struct stock to = stock_unpack(seen);
        enum outcome outcome = check_state(to);
        if (outcome != OUTCOME_CREATED)
            return outcome;
        bool take = (to.waiting == 0 || FAULT(FAULT_OVERTAKE)) && to.available >= command->quantity;
        if (take)
            to.available -= command->quantity;
        else if (to.waiting >= sale->terms.waitlist_max)
            return OUTCOME_WAITLIST_FULL;
        else {
            to.waiting++;
            mark_open(&w->open_joins);
        }
        if (stock_swap(&sale->stock, &seen, to)) {
            /* Joined although units are free: only the clock can sort that out. */
            w->nudge_clock = w->nudge_clock || (!take && to.available > 0);
            *got = (struct got){take ? ORDER_PAYMENT : ORDER_WAITING, to.tint};
            return OUTCOME_CREATED;
        }
    }
}

/* One swap for a whole group: what take_or_join() would do one after the other, if all took units.
 */
static bool take_all(const struct group *group, struct got *got)
{
    uint64_t seen = stock_load_word(&group->sale->stock);
    for (;;) {
        struct stock to = stock_unpack(seen);
        if (check_state(to) != OUTCOME_CREATED || to.waiting != 0 || to.available < group->units)
            return false;
        to.available -= (uint32_t)group->units;
        if (stock_swap(&group->sale->stock, &seen, to)) {
            *got = (struct got){ORDER_PAYMENT, to.tint};
            return true;
        }
    }
}

/* The units or the place are taken, memory is reserved: nothing may fail. */
static void make_order(struct worker *w, const struct ask *ask, struct got got)
{
    const struct command *command = ask->command;
    struct order *order =
        order_new(&w->arena, command->name, command->name_bytes, command->name_hash);
    MUST(order != NULL, "memory for the order was reserved");
    order->sale = command->sale->index;
    order->quantity = command->quantity;
    order->owner = (uint8_t)w->index;
    atomic_store_explicit(&order->state, (uint8_t)got.state, memory_order_relaxed);
    MUST(buyers_put(&w->buyers, order), "room for the buyer was reserved");
    if (got.state == ORDER_PAYMENT)
        add(&w->takes, w, ask, order, EVENT_ORDER_RESERVED, OUTCOME_CREATED,
            got.tint ? TINT_UNITS : 0);
    else
        add(&w->fresh, w, ask, order, EVENT_ORDER_QUEUED, OUTCOME_CREATED,
            got.tint ? TINT_PLACE : 0);
}

/* The group's purchases take what they want, in their order, and are decided. */
static void close_group(struct worker *w, struct now now)
{
    struct group *group = &w->group;
    struct got got = {ORDER_PAYMENT, false};
    bool all = group->count > 1 && take_all(group, &got);
    for (uint32_t i = 0; i < group->count; i++) {
        const struct candidate *c = &group->items[i];
        const struct ask ask = {c->command, now, c->port};
        enum outcome outcome = all ? OUTCOME_CREATED : take_or_join(w, c->command, &got);
        if (outcome == OUTCOME_CREATED)
            make_order(w, &ask, got);
        else
            refuse_purchase(w, &ask, c->previous, outcome, (enum order_state)c->previous_state);
    }
    group->count = 0;
}

static uint64_t *filter_word(struct group *group, uint64_t hash)
{
    return &group->filter[hash / 64 % GROUP_FILTER_WORDS];
}

/* Another sale, or perhaps a buyer of the group: then the group has to be decided before. */
static bool must_follow_group(struct group *group, const struct command *command, uint64_t hash)
{
    return group->count > 0 &&
           (group->sale != command->sale || (*filter_word(group, hash) >> hash % 64 & 1) != 0);
}

static void join_group(struct group *group, struct candidate candidate, uint64_t hash)
{
    if (group->count == 0) {
        group->sale = candidate.command->sale;
        group->units = 0;
        memset(group->filter, 0, sizeof group->filter);
    }
    group->items[group->count++] = candidate;
    group->units += candidate.command->quantity;
    *filter_word(group, hash) |= 1ULL << hash % 64;
}

/* The state is read once, by the caller: between two looks the clock may have made it BUSY. */
static bool is_unsettled(const struct order *order, unsigned state)
{
    return order != NULL && (order->seq == 0 || (state & ORDER_BUSY) != 0);
}

/* What refuses a purchase whoever the buyer is. Within a group the state was looked at for the
 * first; the swap looks again. */
static enum outcome check_sale(const struct worker *w, const struct command *command)
{
    enum outcome outcome =
        w->group.count > 0 ? OUTCOME_CREATED : check_state(stock_load(&command->sale->stock));
    if (outcome != OUTCOME_CREATED)
        return outcome;
    if (atomic_load_explicit(&w->engine->storage_full, memory_order_relaxed))
        return OUTCOME_STORAGE_FULL;
    return w->order_room ? OUTCOME_CREATED : OUTCOME_OVERLOAD;
}

static struct buyer buyer_in(const struct command *command)
{
    return (struct buyer){command->name, command->name_hash, command->sale->index,
                          command->name_bytes};
}

/* Everything is checked and reserved here, before the swap; the swap decides (close_group); after
 * it nothing may fail. */
static void decide_buy(struct worker *w, const struct ask *ask)
{
    const struct command *command = ask->command;
    const struct buyer buyer = buyer_in(command);
    uint64_t hash = buyers_hash(buyer.name_hash, buyer.sale);
    if (must_follow_group(&w->group, command, hash))
        close_group(w, ask->now);
    enum outcome outcome = check_sale(w, command);
    if (outcome != OUTCOME_CREATED) {
        refuse_purchase(w, ask, NULL, outcome, ORDER_NONE);
        return;
    }
    struct order *previous = buyers_find_name(&w->buyers, &buyer);
    unsigned live = previous != NULL ? order_state_now(previous) : ORDER_NONE;
    if (is_unsettled(previous, live)) {
        defer(w, ask);
        return;
    }
    outcome = order_state_is_live((enum order_state)live) && !FAULT(FAULT_SECOND_ORDER)
                  ? OUTCOME_ALREADY_JOINED
                  : check_quantity(command->sale, command->quantity);
    if (outcome == OUTCOME_CREATED && !buyers_reserve(&w->buyers, hash, w->group.count + 1))
        outcome = OUTCOME_OVERLOAD;
    if (outcome == OUTCOME_CREATED)
        join_group(&w->group, (struct candidate){command, previous, (uint8_t)live, ask->port},
                   hash);
    else
        refuse(w, ask, previous, outcome, (enum order_state)live);
}

static void decide_eligible(struct worker *w, const struct ask *ask)
{
    const struct buyer buyer = buyer_in(ask->command);
    struct order *order = buyers_find_name(&w->buyers, &buyer);
    unsigned state = order != NULL ? order_state_now(order) : ORDER_NONE;
    if (is_unsettled(order, state)) {
        defer(w, ask);
        return;
    }
    bool live = order_state_is_live((enum order_state)state);
    refuse(w, ask, order, live ? OUTCOME_ALREADY_JOINED : OUTCOME_DONE, (enum order_state)state);
}

/* ---- pay ---- */

/* Units were paid: the last one closes the sale for new orders at once; the clock logs it. Returns the
 * tint that the payment met. */
static uint8_t count_sold(struct worker *w, struct sale *sale, uint32_t units)
{
    struct sold sold = sold_add(&sale->sold, units);
    MUST(sold.units <= sale->terms.product_qty, "more units paid than there are (G1)");
    if (sold.units == sale->terms.product_qty) {
        stock_set_sold_out(&sale->stock);
        w->nudge_clock = true;
    }
    return sold.tint ? TINT_SOLD : 0;
}

/* A late payment takes its units again if they are free and nobody waits. */
static bool take_again(stock_word *word, uint32_t units, uint8_t *tint)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        if (to.waiting != 0 || to.available < units)
            return false;
        to.available -= units;
        if (stock_swap(word, &seen, to)) {
            *tint = tint_of(to, TINT_UNITS);
            return true;
        }
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
    uint8_t tint = 0;
    if (!has_other_live_order(w, order) && take_again(&sale->stock, order->quantity, &tint)) {
        order_settle(order, FAULT(FAULT_PAY_EXPIRED_TWICE) ? ORDER_EXPIRED : ORDER_PAID);
        tint |= count_sold(w, sale, order->quantity);
        MUST(buyers_put(&w->buyers, order), "replacing an entry takes no memory");
        add(&w->takes, w, ask, order, EVENT_ORDER_PAID, OUTCOME_DONE, tint);
        return;
    }
    if (order->refund_due) {
        refuse(w, ask, order, OUTCOME_HOLD_EXPIRED, ORDER_EXPIRED);
        return;
    }
    order->refund_due = true;
    add(&w->takes, w, ask, order, EVENT_ORDER_REFUND_DUE, OUTCOME_HOLD_EXPIRED, 0);
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
        if (!order_move(order, ORDER_PAYMENT, ORDER_PAID) && !FAULT(FAULT_PAY_OVER_EXPIRY)) {
            defer(w, ask);
            return;
        }
        uint8_t tint = count_sold(w, sale, order->quantity);
        add(&w->takes, w, ask, order, EVENT_ORDER_PAID, OUTCOME_DONE, tint);
    } else if (state == ORDER_EXPIRED) {
        decide_late_payment(w, ask, sale, order);
    } else {
        refuse(w, ask, order, OUTCOME_NOT_IN_PAYMENT, (enum order_state)state);
    }
}

/* ---- cancel ---- */

/* Gives back: the slot first, the units or the place after; then the event, which says what tint the
 * give met. */
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
    if (!order_move(order, (enum order_state)state, state | ORDER_BUSY) &&
        !FAULT(FAULT_CANCEL_OVER_PROMOTION)) {
        defer(w, ask);
        return;
    }
    bool held = state == ORDER_PAYMENT;
    uint32_t units = held ? order->quantity : 0;
    struct stock stock = {0};
    if (FAULT(FAULT_RELEASE_BEFORE_CLAIM))
        stock = stock_give(&sale->stock, units, !held);
    struct pending p;
    fill(&p, w, ask, order, EVENT_ORDER_CANCELLED, OUTCOME_DONE);
    uint64_t seq = log_claim(&w->engine->log, &w->credit, 1);
    order_settle(order, ORDER_CANCELLED);
    if (!FAULT(FAULT_RELEASE_BEFORE_CLAIM) && !(FAULT(FAULT_LOST_UPDATE) && sale->index == 0))
        stock = stock_give(&sale->stock, units, !held);
    p.event.tint = tint_of(stock, held ? TINT_UNITS : TINT_PLACE);
    log_one(w, &p, seq);
    w->nudge_clock = w->nudge_clock || (stock.waiting > 0 && stock.available > 0);
}

/* ---- a round ---- */

/* What is no purchase follows the group: a late payment must meet its buyer's new order. */
static void decide(struct worker *w, const struct ask *ask)
{
    if (ask->command->kind != COMMAND_BUY)
        close_group(w, ask->now);
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
    case COMMAND_REFUSE:
        refuse(w, ask, NULL, (enum outcome)ask->command->outcome, ORDER_NONE);
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

/* Units may have been freed for these joins before the clock could read of them: it looks again. Asked when they
 * are in the log: who frees units from then on wakes the clock, and it finds them. */
static void nudge_for(struct worker *w, const struct pending *joins, uint32_t count)
{
    for (uint32_t i = 0; i < count && !w->nudge_clock; i++)
        w->nudge_clock = stock_look(&joins[i].event.sale->stock).available > 0;
}

/* Joins whose marks have passed are logged; then the fresh ones get theirs, and their chance. */
static void flush_joins(struct worker *w)
{
    for (int lists = 0; lists < 2; lists++) {
        if (w->joins.count > 0) {
            if (!others_moved_on(w) && !FAULT(FAULT_JOIN_AT_ONCE))
                return;
            uint32_t count = w->joins.count;
            flush(w, &w->joins);
            nudge_for(w, w->joins.items, count);
            mark_flushed(&w->open_joins, w->fresh.count > 0);
        }
        if (w->fresh.count == 0) {
            /* A join that lost its swap and took units instead has left the mark open. */
            if ((atomic_load_explicit(&w->open_joins, memory_order_relaxed) & 1) != 0)
                mark_flushed(&w->open_joins, false);
            return;
        }
        w->joins = w->fresh;
        w->fresh.count = 0;
        for (uint32_t i = 0; i < w->engine->options.workers; i++) {
            STEP("mark-take");
            w->join_marks[i] =
                atomic_load_explicit(&w->engine->workers[i].open_takes, memory_order_acquire);
        }
    }
}

static void send_refusals(struct worker *w, struct pending_list *list)
{
    if (list->count == 0)
        return;
    STEP("refusals");
    uint64_t seq = log_last_claimed(&w->engine->log);
    bool answered[PORTS_MAX] = {false};
    for (uint32_t i = 0; i < list->count; i++) {
        struct pending *p = &list->items[i];
        p->reply.seq = seq;
        if (p->reply.key != 0) {
            note_key(w, &p->reply);
            keys_hand_over(&w->engine->keys, p->reply.key, seq);
            w->published = true; /* wakes the journal */
        }
        port_answer(&w->engine->ports[p->port], w->index, &p->reply);
        answered[p->port] = true;
    }
    list->count = 0;
    for (uint32_t i = 0; i < w->engine->options.ports; i++)
        if (answered[i])
            port_notify(&w->engine->ports[i]);
}

/* As flush_joins(). */
static void send_doubts(struct worker *w)
{
    for (int lists = 0; lists < 2; lists++) {
        /* Its own joins count, too: they may wait aside. */
        if (w->doubts.count > 0 && !workers_moved_on(w->engine, &w->doubt_mark))
            return;
        send_refusals(w, &w->doubts);
        if (w->fresh_doubts.count == 0)
            return;
        w->doubts = w->fresh_doubts;
        w->fresh_doubts.count = 0;
        w->doubt_mark = workers_mark(w->engine);
    }
}

/* This round's commands: those that met a busy order before, then new ones, beginning with another
 * port each round. */
static uint32_t gather(struct worker *w)
{
    uint32_t ports = w->engine->options.ports, count = w->deferred_count;
    uint32_t old = w->fresh.count > w->fresh_doubts.count ? w->fresh.count : w->fresh_doubts.count;
    uint32_t limit = WORKER_BATCH_MAX - old;
    MUST(count <= limit, "more commands wait than a round has");
    memcpy(w->batch, w->deferred, count * sizeof *w->batch);
    w->deferred_count = 0;
    for (uint32_t i = 0; i < ports && count < limit; i++) {
        uint32_t port = (w->next_port + i) % ports;
        struct command_ring *ring = &w->engine->ports[port].channels[w->index].commands;
        while (count < limit && command_ring_pop(ring, &w->batch[count].command))
            w->batch[count++].port = (uint8_t)port;
    }
    w->next_port = (w->next_port + 1) % ports;
    w->round_full = count == limit;
    return count;
}

/* Asks for all the memory that the batch will look at: the waits pass side by side. */
static void prefetch(const struct worker *w, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct command *command = &w->batch[i].command;
        if (command->kind == COMMAND_BUY || command->kind == COMMAND_ELIGIBLE)
            buyers_prefetch(&w->buyers, buyers_hash(command->name_hash, command->sale->index));
        else
            __builtin_prefetch(command->order, 1);
    }
}

/* Decides about the batch, or refuses it while the log is full. Questions need no room, and the snapshots of
 * streams are made of them: refused, an order would be missing there. */
static void decide_batch(struct worker *w, uint32_t count, struct now now, bool room)
{
    prefetch(w, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct ask ask = {&w->batch[i].command, now, w->batch[i].port};
        if (room || ask.command->kind == COMMAND_ELIGIBLE)
            decide(w, &ask);
        else
            refuse(w, &ask, NULL, OUTCOME_OVERLOAD, ORDER_NONE);
    }
    close_group(w, now);
}

bool worker_round(struct worker *w, struct now now)
{
    bool room = engine_reserve(w->engine, &w->credit, CREDIT_NEEDED);
    w->order_room = order_reserve(&w->arena, WORKER_BATCH_MAX);
    mark_open(&w->open_takes);
    uint32_t fresh = w->fresh.count + w->fresh_doubts.count, count = gather(w);
    decide_batch(w, count, now, room);
    flush_takes(w);
    flush_joins(w);
    send_refusals(w, &w->refusals);
    send_doubts(w);
    STEP("worker-wake");
    if (w->published && !FAULT(FAULT_LOST_WAKE))
        wake_up(&w->engine->log.news);
    w->published = false;
    if (w->nudge_clock || log_lag(&w->engine->log, LOG_READER_CLOCK) > LOG_SLOTS / 4)
        engine_nudge_clock(w->engine);
    w->nudge_clock = false;
    /* Old ones may have filled the round by themselves: then new ones still stand in the rings. */
    return fresh + count > 0 || worker_waits(w);
}

enum play worker_play(struct worker *w, struct now now)
{
    if (!seat_take(&w->seat))
        return PLAY_REST;
    bool busy = worker_round(w, now);
    bool waits = worker_waits(w);
    bool called = seat_leave(&w->seat);
    return waits ? PLAY_WAITS : busy || called ? PLAY_ON : PLAY_REST;
}

void worker_stand_in(void *arg, struct now now)
{
    struct worker *w = arg;
    if (!seat_take(&w->seat))
        return;
    (void)worker_round(w, now);
    bool left = w->round_full || worker_waits(w);
    if (seat_leave(&w->seat) || left)
        wake_up(&w->wake);
}
