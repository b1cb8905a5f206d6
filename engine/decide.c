/*
 * decide.c: the decisions: buy, eligible, pay, cancel.
 *
 * Happy path of a purchase: decide_buy -> group_add -> close_group (one swap of the stock word for the whole
 * group) -> make_order, which puts the decision on one of the round's lists; worker.c logs it.
 * Failure: an outcome for the command. A command that meets an order or a sale which another thread is just
 * moving is put off to the next round (defer).
 *
 * Thread: the one on the worker's seat (see worker.h for what it may touch).
 */
#include "engine/decide.h"

#include <string.h>

#include "engine/check.h"
#include "engine/engine.h"

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

/* Whether the outcome may rest on some worker's decision that has no slot yet. */
static bool is_doubt(enum outcome outcome)
{
    return outcome == OUTCOME_SOLD_OUT || outcome == OUTCOME_WAITLIST_FULL;
}

void refuse(struct worker *w, const struct ask *ask, struct order *order, enum outcome outcome,
            enum order_state state)
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

static void defer(struct worker *w, const struct ask *ask)
{
    MUST(w->deferred_count < WORKER_BATCH_MAX, "more deferrals than commands in a round");
    w->deferred[w->deferred_count++] = (struct asked){*ask->command, ask->port};
}

/* Fills *p field by field, in place: copying a struct that was just stored byte by byte stalls. */
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

/* tint: which of the decision's changes of the stock met the turned tint, as in struct event. */
static void add(struct pending_list *list, const struct worker *w, const struct ask *ask,
                struct order *order, enum event_kind kind, enum outcome outcome, uint8_t tint)
{
    MUST(list->count < WORKER_BATCH_MAX, "more decisions than a round has");
    struct pending *p = &list->items[list->count++];
    fill(p, w, ask, order, kind, outcome);
    p->event.tint = tint;
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

/* Whether the sale is closed in the word but not in the log yet. A refusal now would tell the buyer what no
 * reader can see for a while, and what a crash may take back. */
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
            /* Joined although units are free: only the clock can resolve that. */
            w->nudge_clock = w->nudge_clock || (!take && to.available > 0);
            *got = (struct got){take ? ORDER_PAYMENT : ORDER_WAITING, to.tint};
            return OUTCOME_CREATED;
        }
    }
}

/* One swap for a whole group, with the same result as take_or_join() for one after the other. False,
 * with nothing changed, unless all of them can take units. */
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

/* The units or the place are taken and memory is reserved: from here on nothing may fail. */
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

/* Decides the group's purchases, in their order. */
void close_group(struct worker *w, struct now now)
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

/* Whether the group must be decided before this purchase, which is in another sale, or whose buyer
 * may be in the group. */
static bool must_follow_group(struct group *group, const struct command *command, uint64_t hash)
{
    return group->count > 0 &&
           (group->sale != command->sale || (*filter_word(group, hash) >> hash % 64 & 1) != 0);
}

static void group_add(struct group *group, struct candidate candidate, uint64_t hash)
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

/* The caller reads the state, once: between two reads the clock may set BUSY. */
static bool is_unsettled(const struct order *order, unsigned state)
{
    return order != NULL && (order->seq == 0 || (state & ORDER_BUSY) != 0);
}

/* The refusals that do not depend on the buyer. In a group, the sale's state was checked for the
 * first purchase; the swap checks it again. */
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
        group_add(&w->group, (struct candidate){command, previous, (uint8_t)live, ask->port}, hash);
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

/* Counts paid units. The last one closes the sale for new orders at once, and the clock logs that. Returns
 * TINT_SOLD if the payment met the turned tint, else 0. */
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
            *tint = stock_tint(to, TINT_UNITS);
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

/* Only this worker moves an order on from EXPIRED, so the state is stored without a swap. */
static void decide_late_payment(struct worker *w, const struct ask *ask, struct sale *sale,
                                struct order *order)
{
    uint8_t tint = 0;
    /* Then this may be the same payment, asked for again, and its money goes back. */
    if (order->refund_due) {
        refuse(w, ask, order, OUTCOME_HOLD_EXPIRED, ORDER_EXPIRED);
        return;
    }
    if (!has_other_live_order(w, order) && take_again(&sale->stock, order->quantity, &tint)) {
        order_settle(order, FAULT(FAULT_PAY_EXPIRED_TWICE) ? ORDER_EXPIRED : ORDER_PAID);
        tint |= count_sold(w, sale, order->quantity);
        MUST(buyers_put(&w->buyers, order), "replacing an entry takes no memory");
        add(&w->takes, w, ask, order, EVENT_ORDER_PAID, OUTCOME_DONE, tint);
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

/* A giver: claims the slot first, gives the units or the place back after; then publishes the event, which
 * carries the tint that the give met. */
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
    p.event.tint = stock_tint(stock, held ? TINT_UNITS : TINT_PLACE);
    log_one(w, &p, seq);
    w->nudge_clock = w->nudge_clock || (stock.waiting > 0 && stock.available > 0);
}

/* ---- any command ---- */

/* Anything but a purchase closes the group first: a late payment, say, must see its buyer's new order. */
void decide(struct worker *w, const struct ask *ask)
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
