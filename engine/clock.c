/*
 * clock.c: one round: read the log, hear admins, then move every live sale as far as it can go.
 *
 * Order within a sale: finish closing, start, end, sold out, expire, clear, promote. Each step
 * claims its slot and moves the stock word in the order that stock.h demands of givers and takers.
 *
 * Thread: clock. Fails: never; without log room or memory a step stays undone until the next round.
 */
#include "engine/clock.h"

#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "engine/engine.h"

enum { READ_MAX = 4096 /* events a round, so that admins and deadlines get their turn */ };

bool clock_init(struct clock *clock, struct engine *engine)
{
    clock->engine = engine;
    clock->live = calloc(SALES_MAX, sizeof(struct sale *));
    wake_init(&clock->wake);
    return clock->live != NULL;
}

void clock_free(struct clock *clock)
{
    for (uint32_t i = 0; i < engine_sale_count(clock->engine); i++)
        sale_free(engine_sale_at(clock->engine, i));
    free(clock->live);
}

void clock_watch(struct clock *clock, struct sale *sale)
{
    if (sale->watched)
        return;
    sale->watched = true;
    clock->live[clock->live_count++] = sale;
}

/* ---- into the log ---- */

static bool have_room(struct clock *c)
{
    return engine_reserve(c->engine, &c->credit, 1);
}

/* After have_room() has said yes: claims a slot, and returns the event that will go into it. */
static struct event claim(struct clock *c, struct sale *sale, struct order *order,
                          enum event_kind kind, struct now now)
{
    return (struct event){.seq = log_claim(&c->engine->log, &c->credit, 1),
                          .sale = sale,
                          .order = order,
                          .at_wall_ms = now.wall_ms,
                          .at_mono_ms = now.mono_ms,
                          .quantity = order != NULL ? order->quantity : 0,
                          .kind = (uint8_t)kind};
}

/* Called after the swaps that belong to the event, since it carries the tint that they met. */
static void publish(struct clock *c, const struct event *event)
{
    log_publish(&c->engine->log, event->seq, event);
    c->emitted = true;
}

/* claim() and publish(), for an event that swaps no counter. Returns its seq. */
static uint64_t emit(struct clock *c, struct sale *sale, enum event_kind kind, struct now now)
{
    const struct event event = claim(c, sale, NULL, kind, now);
    publish(c, &event);
    return event.seq;
}

/* Changes the word before the event can be read: nobody learns of an open sale that still refuses. */
static void open_sale(struct clock *c, struct sale *sale, enum event_kind kind, struct now now)
{
    const struct event event = claim(c, sale, NULL, kind, now);
    stock_set_state(&sale->stock, SALE_ACTIVE);
    publish(c, &event);
}

/* ---- out of the log ---- */

static bool learn(struct clock *c, const struct event *event)
{
    clock_watch(c, event->sale);
    struct queue *waiting = &event->sale->waiting;
    if (FAULT(FAULT_PROMOTE_OUT_OF_ORDER) && event->kind == EVENT_ORDER_QUEUED &&
        queue_head(waiting) != NULL && queue_push(waiting, *queue_head(waiting)))
        queue_pop(waiting);
    if (event->kind == EVENT_ORDER_QUEUED)
        return queue_push(waiting, (struct queue_entry){event->order, 0});
    if (event->kind == EVENT_ORDER_RESERVED ||
        (event->kind == EVENT_ORDER_PROMOTED && !FAULT(FAULT_FORGET_PROMOTED)))
        return queue_push(
            &event->sale->holds,
            (struct queue_entry){event->order, event->at_mono_ms + event->sale->terms.hold_ms});
    if (event->kind == EVENT_ORDER_PAID)
        event->sale->sold_read += event->quantity;
    return true;
}

/* True when it stopped at READ_MAX: there may be more events. */
static bool read_log(struct clock *c)
{
    const struct event *event;
    uint32_t n = 0;
    while (n < READ_MAX && (event = log_read(&c->engine->log, LOG_READER_CLOCK, n)) != NULL &&
           learn(c, event))
        n++;
    log_advance(&c->engine->log, LOG_READER_CLOCK, n);
    return n == READ_MAX;
}

static bool has_read(const struct clock *c, uint64_t seq)
{
    const struct log *log = &c->engine->log;
    return atomic_load_explicit(&log->cursors[LOG_READER_CLOCK].next, memory_order_relaxed) > seq;
}

/* ---- closing ---- */

static void begin_closing(struct clock *c, struct sale *sale, enum sale_closing closing)
{
    if (closing != CLOSING_SOLD_OUT) {
        /* Visible to every thread that sees the swap below. */
        atomic_store_explicit(&sale->unlogged, true, memory_order_relaxed);
        stock_set_state(&sale->stock, closing == CLOSING_END ? SALE_ENDED : SALE_PAUSED);
    }
    sale->closing = closing;
    sale->mark = workers_mark(c->engine);
}

static void finish_closing(struct clock *c, struct sale *sale, struct now now)
{
    static const enum event_kind kinds[] = {[CLOSING_PAUSE] = EVENT_SALE_PAUSED,
                                            [CLOSING_STOP] = EVENT_SALE_STOPPED,
                                            [CLOSING_END] = EVENT_SALE_ENDED,
                                            [CLOSING_SOLD_OUT] = EVENT_SALE_SOLD_OUT};
    if (!(workers_moved_on(c->engine, &sale->mark) || FAULT(FAULT_CLOSE_AT_ONCE)) || !have_room(c))
        return;
    uint64_t seq = emit(c, sale, kinds[sale->closing], now);
    /* Release: a thread that sees this sees the claim. Pairs with is_closing() in decide.c. */
    STEP("closing-logged");
    atomic_store_explicit(&sale->unlogged, false, memory_order_release);
    sale->stopped = sale->stopped || sale->closing == CLOSING_STOP;
    sale->sold_out_logged = sale->sold_out_logged || sale->closing == CLOSING_SOLD_OUT;
    if (sale->closing == CLOSING_END || sale->closing == CLOSING_SOLD_OUT) {
        sale->clearing = !FAULT(FAULT_FORGET_CLEARING);
        sale->clear_up_to = seq;
    }
    sale->closing = CLOSING_NOT;
}

/* ---- by the wall clock ---- */

static void start_when_due(struct clock *c, struct sale *sale, struct now now)
{
    if (stock_load(&sale->stock).state != SALE_UPCOMING || now.wall_ms < sale->terms.starts_at_ms ||
        !have_room(c))
        return;
    open_sale(c, sale, EVENT_SALE_STARTED, now);
}

static void close_when_due(struct clock *c, struct sale *sale, struct now now)
{
    struct stock stock = stock_load(&sale->stock);
    if (sale->closing != CLOSING_NOT)
        return;
    if (stock.state != SALE_ENDED && now.wall_ms >= sale->terms.ends_at_ms)
        begin_closing(c, sale, CLOSING_END);
    else if (stock.sold_out && !sale->sold_out_logged)
        begin_closing(c, sale, CLOSING_SOLD_OUT);
    if (sale->closing != CLOSING_NOT)
        finish_closing(c, sale, now);
}

/* ---- orders ---- */

static void expire_holds(struct clock *c, struct sale *sale, struct now now)
{
    const struct queue_entry *head;
    while ((head = queue_head(&sale->holds)) != NULL && head->deadline_mono_ms <= now.mono_ms) {
        struct order *order = head->order;
        unsigned state = order_state_now(order);
        if ((state & ORDER_BUSY) != 0 || !have_room(c))
            return;
        STEP("expire");
        if (state == ORDER_PAYMENT) {
            if (!order_move(order, ORDER_PAYMENT, ORDER_PAYMENT | ORDER_BUSY))
                continue; /* paid or cancelled this moment: look again */
            struct event event = claim(c, sale, order, EVENT_ORDER_EXPIRED, now);
            order_settle(order, ORDER_EXPIRED);
            event.tint = stock_tint(stock_give(&sale->stock, order->quantity, 0), TINT_UNITS);
            if (FAULT(FAULT_DOUBLE_RELEASE))
                (void)stock_give(&sale->stock, order->quantity, 0);
            publish(c, &event);
        }
        queue_pop(&sale->holds);
    }
}

/* Takes the head off the waiting list without a unit. False when that must wait for a later round. */
static bool clear_head(struct clock *c, struct sale *sale, struct now now)
{
    struct order *order = queue_head(&sale->waiting)->order;
    if (!have_room(c) || !order_move(order, ORDER_WAITING, ORDER_WAITING | ORDER_BUSY))
        return false;
    struct event event = claim(c, sale, order, EVENT_ORDER_CLEARED, now);
    order_settle(order, ORDER_CLEARED);
    event.tint = stock_tint(stock_give(&sale->stock, 0, 1), TINT_PLACE);
    publish(c, &event);
    queue_pop(&sale->waiting);
    return true;
}

/* Drops entries whose orders no longer wait. Returns the first order that does, or NULL: the list
 * is empty, or its head is busy. */
static struct order *waiting_head(struct sale *sale)
{
    const struct queue_entry *head;
    while ((head = queue_head(&sale->waiting)) != NULL) {
        unsigned state = order_state_now(head->order);
        if (state == ORDER_WAITING)
            return head->order;
        if ((state & ORDER_BUSY) != 0)
            return NULL;
        queue_pop(&sale->waiting);
    }
    return NULL;
}

static void clear_waiting(struct clock *c, struct sale *sale, struct now now)
{
    if (!sale->clearing || !has_read(c, sale->clear_up_to))
        return;
    while (waiting_head(sale) != NULL)
        if (!clear_head(c, sale, now))
            return;
    sale->clearing = queue_head(&sale->waiting) != NULL;
}

/* Takes the units, then claims the slot, then gives up the place: as long as the log shows the order
 * waiting, nobody overtakes it. */
static bool promote_head(struct clock *c, struct sale *sale, struct order *order, struct now now)
{
    if (!have_room(c) || !order_move(order, ORDER_WAITING, ORDER_WAITING | ORDER_BUSY))
        return false;
    struct stock taken = stock_take_promised(&sale->stock, order->quantity), given = {0};
    STEP("promote");
    if (FAULT(FAULT_PLACE_BEFORE_SLOT))
        given = stock_give(&sale->stock, 0, 1);
    struct event event = claim(c, sale, order, EVENT_ORDER_PROMOTED, now);
    order_settle(order, ORDER_PAYMENT);
    if (!FAULT(FAULT_PLACE_BEFORE_SLOT))
        given = stock_give(&sale->stock, 0, 1);
    event.tint = stock_tint(taken, TINT_UNITS) | stock_tint(given, TINT_PLACE);
    publish(c, &event);
    queue_pop(&sale->waiting);
    return true;
}

static void promote(struct clock *c, struct sale *sale, struct now now)
{
    struct order *head;
    while ((head = waiting_head(sale)) != NULL) {
        struct stock stock = stock_load(&sale->stock);
        if ((stock.state != SALE_ACTIVE && !FAULT(FAULT_PROMOTE_WHILE_PAUSED)) || stock.sold_out)
            return;
        /* Judged by sold_read (the log), not by sale->sold: a payment counted there may have no slot
         * yet, and a crash must not keep the clearing and lose the payment that was its reason. */
        bool hopeless = head->quantity > sale->terms.product_qty - sale->sold_read;
        if (!hopeless && head->quantity > stock.available)
            return; /* nobody overtakes a head that wants more than is available */
        if (!(hopeless ? clear_head(c, sale, now) : promote_head(c, sale, head, now)))
            return;
    }
}

static void move_sale(struct clock *c, struct sale *sale, struct now now)
{
    if (sale->closing != CLOSING_NOT)
        finish_closing(c, sale, now);
    start_when_due(c, sale, now);
    close_when_due(c, sale, now);
    expire_holds(c, sale, now);
    clear_waiting(c, sale, now);
    promote(c, sale, now);
}

/* ---- admins ---- */

static void answer(struct clock *c, uint32_t port, const struct command *command, struct sale *sale,
                   enum outcome outcome)
{
    struct reply reply = {.context = command->context,
                          .seq = log_last_claimed(&c->engine->log),
                          .sale = sale,
                          .outcome = (uint8_t)outcome,
                          .kind = command->kind};
    port_answer(&c->engine->ports[port], c->engine->options.workers, &reply);
    port_notify(&c->engine->ports[port]);
}

static enum outcome create_sale(struct clock *c, struct sale_terms *terms, struct now now,
                                struct sale **made)
{
    struct engine *e = c->engine;
    uint32_t index = engine_sale_count(e);
    bool full = atomic_load_explicit(&e->storage_full, memory_order_relaxed);
    if (full || index == SALES_MAX)
        return full ? OUTCOME_STORAGE_FULL : OUTCOME_TOO_MANY_SALES;
    struct sale *sale = have_room(c) ? sale_new() : NULL;
    if (sale == NULL)
        return OUTCOME_OVERLOAD;
    sale->index = index;
    sale->terms = *terms;
    atomic_init(&sale->stock, stock_pack((struct stock){.state = SALE_UPCOMING,
                                                        .available = terms->product_qty}));
    /* The sale's id is made from its seq, hence this order: claim the slot, publish the sale under
     * the seq, fill the slot. */
    const struct event event = {.sale = sale,
                                .at_wall_ms = now.wall_ms,
                                .at_mono_ms = now.mono_ms,
                                .kind = EVENT_SALE_CREATED};
    sale->seq = log_claim(&e->log, &c->credit, 1);
    engine_publish_sale(e, sale);
    log_publish(&e->log, sale->seq, &event);
    c->emitted = true;
    clock_watch(c, sale);
    move_sale(c, sale, now);
    *made = sale;
    return OUTCOME_CREATED;
}

static enum outcome begin_command(struct clock *c, const struct command *command, struct now now)
{
    struct sale *sale = command->sale;
    enum sale_state state = stock_load(&sale->stock).state;
    switch ((enum command_kind)command->kind) {
    case COMMAND_PAUSE:
        if (state == SALE_ACTIVE)
            begin_closing(c, sale, CLOSING_PAUSE);
        return state == SALE_ACTIVE || state == SALE_PAUSED ? OUTCOME_DONE
                                                            : OUTCOME_SALE_NOT_ACTIVE;
    case COMMAND_RESUME:
        if (state == SALE_PAUSED) {
            open_sale(c, sale, EVENT_SALE_RESUMED, now);
            sale->stopped = false;
        }
        return state == SALE_ACTIVE || state == SALE_PAUSED ? OUTCOME_DONE
                                                            : OUTCOME_SALE_NOT_ACTIVE;
    case COMMAND_STOP:
        if (state == SALE_ACTIVE)
            begin_closing(c, sale, CLOSING_STOP);
        else if (state == SALE_PAUSED && !sale->stopped) {
            (void)emit(c, sale, EVENT_SALE_STOPPED, now);
            sale->stopped = true;
        }
        return OUTCOME_DONE;
    case COMMAND_LOOK: /* nothing is closing, so the state is what the log says */
        /* The stock word first: its sold-out bit is set after `sold` is full. */
        sale->look.stock = stock_turn(&sale->stock);
        sale->look.sold = sold_turn(&sale->sold);
        return OUTCOME_DONE;
    default: /* COMMAND_END */
        if (state != SALE_ENDED)
            begin_closing(c, sale, CLOSING_END);
        return OUTCOME_DONE;
    }
}

/* False when the command must be tried again: its sale is closing, or the log is full. */
static bool hear(struct clock *c, uint32_t port, struct command *command, struct now now)
{
    if (command->kind == COMMAND_CREATE) {
        struct sale *sale = NULL;
        enum outcome outcome = create_sale(c, command->terms, now, &sale);
        free(command->terms);
        answer(c, port, command, sale, outcome);
        return true;
    }
    struct sale *sale = command->sale;
    if (sale->closing != CLOSING_NOT)
        finish_closing(c, sale, now);
    if (sale->closing != CLOSING_NOT || !have_room(c))
        return false;
    clock_watch(c, sale);
    /* A command that began to close the sale is done once it is closed, whatever has happened since. */
    enum outcome outcome = c->begun[port] ? OUTCOME_DONE : begin_command(c, command, now);
    c->begun[port] = sale->closing != CLOSING_NOT;
    if (!c->begun[port])
        answer(c, port, command, sale, outcome);
    return !c->begun[port];
}

/* True when a command is held back. */
static bool hear_admins(struct clock *c, struct now now)
{
    bool held = false;
    for (uint32_t i = 0; i < c->engine->options.ports; i++) {
        struct command_ring *ring =
            &c->engine->ports[i].channels[c->engine->options.workers].commands;
        struct command *command = &c->held[i];
        while (c->holds_command[i] || command_ring_pop(ring, command)) {
            c->holds_command[i] = !hear(c, i, command, now);
            if (c->holds_command[i])
                break;
        }
        held = held || c->holds_command[i];
    }
    return held;
}

/* ---- a round ---- */

static void sooner(int64_t *sleep_ms, int64_t due_in_ms)
{
    int64_t at_least_0 = due_in_ms > 0 ? due_in_ms : 0;
    if (at_least_0 < *sleep_ms)
        *sleep_ms = at_least_0;
}

/* Shortens the sleep to what the sale needs next; true while the sale needs the clock at all. */
static bool plan(const struct sale *sale, struct now now, int64_t *sleep_ms)
{
    struct stock stock = stock_load(&sale->stock);
    const struct queue_entry *hold = queue_head(&sale->holds);
    if (hold != NULL)
        sooner(sleep_ms, hold->deadline_mono_ms - now.mono_ms);
    if (stock.state == SALE_UPCOMING)
        sooner(sleep_ms, sale->terms.starts_at_ms - now.wall_ms);
    if (stock.state != SALE_ENDED)
        sooner(sleep_ms, sale->terms.ends_at_ms - now.wall_ms);
    if (sale->closing != CLOSING_NOT || sale->clearing)
        sooner(sleep_ms, 0);
    return stock.state != SALE_ENDED || sale->closing != CLOSING_NOT || sale->clearing ||
           hold != NULL || (stock.sold_out && !sale->sold_out_logged);
}

/* Marks the beginning and the end of a round. A thread that sees a swap of the round sees its beginning; a
 * thread that sees its end sees all its swaps (release). */
static void mark_round(struct clock *c)
{
    uint32_t round = atomic_load_explicit(&c->round, memory_order_relaxed);
    STEP("clock-mark");
    atomic_store_explicit(&c->round, round + 1, memory_order_release);
}

bool clock_round(struct clock *c, struct now now, int64_t *sleep_ms)
{
    mark_round(c);
    bool busy = read_log(c);
    busy = hear_admins(c, now) || busy;
    *sleep_ms = c->engine->options.state_interval_ms;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->live_count; i++) {
        struct sale *sale = c->live[i];
        move_sale(c, sale, now);
        sale->watched = plan(sale, now, sleep_ms);
        if (sale->watched)
            c->live[kept++] = sale;
    }
    c->live_count = kept;
    mark_round(c);
    if (c->emitted)
        wake_up(&c->engine->log.news);
    busy = c->emitted || busy; /* the clock must read its own events: the holds it promoted */
    c->emitted = false;
    return busy;
}
