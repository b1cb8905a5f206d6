/*
 * client.c: the clients: they send random commands and check every reply (see sim.h).
 *
 * A reply is compared with what is durable at that moment, which is all that a client may rely on:
 * its seq is committed, the event that it tells of has that seq, a refusal's reason was true at
 * some moment since the command was sent. What was answered must be found again, by its public id,
 * after each crash.
 *
 * Thread: the simulation's one; client_body() runs as one actor per port.
 * Fails: world_fail() with the command and what was wrong about its reply.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

static const char *const names[SIM_BUYERS_MAX] = {
    "ann",  "ben",  "cem",  "dan", "eva",  "fay",  "gus", "hana", "ivan",  "jana", "kofi", "lena",
    "milo", "nora", "omar", "pia", "quin", "rosa", "sam", "tara", "ursel", "vera", "wim",  "xenia"};
static const char *const kinds[] = {"buy",    "eligible", "pay",    "cancel", "refuse",
                                    "create", "pause",    "resume", "end"};

/* ---- sending ---- */

static struct sale *sale_of(uint64_t seq)
{
    char id[ID_CHARS];
    id_write(id, seq, id_tag(model_hash, seq));
    struct sale *sale = engine_find_sale(&sim.engine, id, sizeof id);
    if (sale == NULL)
        world_fail("sale %llu, which was answered, is lost", (unsigned long long)seq);
    return sale;
}

static struct order *order_of(uint64_t seq)
{
    char id[ID_CHARS];
    id_write(id, seq, id_tag(model_hash, seq));
    struct order *order = engine_find_order(&sim.engine, id, sizeof id);
    if (order == NULL)
        world_fail("order %llu, which was answered, is lost", (unsigned long long)seq);
    return order;
}

void client_check_known(void)
{
    for (uint32_t i = 0; i < sim.sales_known && sim.ending == ENDING_NONE; i++)
        (void)sale_of(sim.sales[i]);
    for (uint32_t i = 0; i < sim.orders_known && sim.ending == ENDING_NONE; i++)
        (void)order_of(sim.orders[i]);
}

static struct sale_terms *random_terms(void)
{
    struct random *r = &sim.random;
    const struct scale *s = &sim.scale;
    struct sale_terms *terms = calloc(1, sizeof *terms);
    if (terms == NULL)
        abort();
    snprintf(terms->name, sizeof terms->name, "sale");
    terms->product_qty = random_between(r, 1, s->stock_max);
    terms->max_per_buyer = random_between(r, 1, s->quantity_max);
    terms->waitlist_max = random_chance(r, 1, 4) ? random_below(r, 3) : s->waitlist_max;
    terms->hold_ms = random_between(r, 1, s->hold_max_ms);
    terms->starts_at_ms = sim.now.wall_ms + random_below(r, 20) - 5;
    terms->ends_at_ms = terms->starts_at_ms + random_between(r, 5, s->open_max_ms);
    return terms;
}

static bool newest_sale_is_over(void)
{
    const struct sale *newest = sale_of(sim.sales[sim.sales_known - 1]);
    return sim.sales_known < SALES_MAX && view_sale(newest).state == SALE_ENDED;
}

static uint8_t random_kind(void)
{
    struct random *r = &sim.random;
    if (sim.sales_known == 0 || (newest_sale_is_over() && random_chance(r, 1, 4)))
        return COMMAND_CREATE;
    if (random_chance(r, sim.scale.admin_in_1000, 1000)) {
        static const uint8_t admin[] = {COMMAND_CREATE, COMMAND_PAUSE,  COMMAND_PAUSE,
                                        COMMAND_RESUME, COMMAND_RESUME, COMMAND_END};
        return admin[random_below(r, sizeof admin)];
    }
    static const uint8_t often[] = {COMMAND_BUY, COMMAND_BUY,    COMMAND_BUY,      COMMAND_PAY,
                                    COMMAND_PAY, COMMAND_CANCEL, COMMAND_ELIGIBLE, COMMAND_REFUSE};
    uint8_t kind = often[random_below(r, sizeof often)];
    bool of_order = kind == COMMAND_PAY || kind == COMMAND_CANCEL;
    return of_order && sim.orders_known == 0 ? COMMAND_BUY : kind;
}

/* Mostly one of the last few, which are likely to be live still. */
static uint64_t random_known(const uint64_t *list, uint32_t count, uint32_t few)
{
    uint32_t among = count > few && !random_chance(&sim.random, 1, 8) ? few : count;
    return list[count - 1 - random_below(&sim.random, among)];
}

/* Chooses a command, and its order, or its sale, buyer and quantity. */
static struct flight random_flight(void)
{
    struct flight flight = {.kind = random_kind()};
    if (flight.kind == COMMAND_CREATE || flight.kind == COMMAND_REFUSE)
        return flight;
    if (flight.kind == COMMAND_PAY || flight.kind == COMMAND_CANCEL) {
        flight.order_seq = random_known(sim.orders, sim.orders_known, 6);
        return flight;
    }
    flight.sale_seq = random_known(sim.sales, sim.sales_known, 2);
    if (flight.kind != COMMAND_BUY && flight.kind != COMMAND_ELIGIBLE)
        return flight;
    bool sensible = !random_chance(&sim.random, 1, 8);
    flight.quantity = random_between(&sim.random, 1,
                                     sensible ? sale_of(flight.sale_seq)->terms.max_per_buyer
                                              : sim.scale.quantity_max);
    flight.buyer = (uint8_t)random_below(&sim.random, sim.scale.buyers);
    return flight;
}

static void put_buyer(struct command *command, const struct flight *flight)
{
    const char *name = names[flight->buyer];
    command->quantity = flight->quantity;
    command->name_bytes = (uint8_t)strlen(name);
    memcpy(command->name, name, command->name_bytes);
    command->name_hash = model_hash(name, command->name_bytes);
}

/* Fills in the command of a flight; returns the target. */
static uint32_t make_command(struct command *command, const struct flight *flight)
{
    const struct engine *e = &sim.engine;
    if (command->kind == COMMAND_CREATE)
        return engine_clock_target(e);
    if (command->kind == COMMAND_REFUSE) {
        command->outcome = OUTCOME_NO_SUCH_SALE;
        return random_below(&sim.random, sim.scale.workers);
    }
    if (command->kind == COMMAND_PAY || command->kind == COMMAND_CANCEL) {
        command->order = order_of(flight->order_seq);
        return command->order->owner;
    }
    command->sale = sale_of(flight->sale_seq);
    if (command->kind != COMMAND_BUY && command->kind != COMMAND_ELIGIBLE)
        return engine_clock_target(e);
    put_buyer(command, flight);
    return engine_worker_of(e, command->name_hash);
}

static bool sent(struct port *port, struct command *command, uint32_t target)
{
    if (port_send(port, target, command))
        return true;
    if (command->kind != COMMAND_CREATE && command->key != 0) /* the ring is full: 503 */
        keys_forget(&sim.engine.keys, command->key);
    return false;
}

static uint32_t left_by_now(const struct judge_sale *s)
{
    return s->queue_count - s->waiting;
}

bool client_send(struct port *port, struct flight wanted, struct sale_terms *terms)
{
    uint32_t at = 0;
    while (sim.flights[at].used)
        at++;
    struct flight *flight = &sim.flights[at];
    struct command command = {.context = at, .kind = wanted.kind, .terms = terms};
    *flight = wanted;
    flight->used = true;
    flight->port = (uint8_t)(port - sim.engine.ports);
    flight->sent_seq = sim.model.judge.last_seq;
    if (wanted.kind == COMMAND_BUY)
        flight->left = left_by_now(judge_sale(&sim.model.judge, wanted.sale_seq));
    uint32_t target = make_command(&command, flight);
    if (!keyed_begin(&command, flight) || !sent(port, &command, target)) {
        free(terms);
        flight->used = false;
        return false;
    }
    sim.in_flight++;
    world_trace("send %u %s sale %llu order %llu %s x%u -> %u", at, kinds[command.kind],
                (unsigned long long)flight->sale_seq, (unsigned long long)flight->order_seq,
                command.name_bytes > 0 ? names[flight->buyer] : "-", flight->quantity, target);
    return true;
}

static void send_one(struct port *port)
{
    struct flight flight = keyed_wants_again() ? keyed_again() : random_flight();
    sim.budget--;
    (void)client_send(port, flight, flight.kind == COMMAND_CREATE ? random_terms() : NULL);
}

/* Before the first sale is there, only one command may be in flight. */
static bool may_send(void)
{
    return sim.budget > 0 && sim.in_flight < (sim.sales_known == 0 ? 1 : sim.scale.flights_max);
}

static void send_some(struct port *port)
{
    uint32_t n = random_between(&sim.random, 1, 8);
    while (n-- > 0 && may_send())
        send_one(port);
}

/* ---- receiving ---- */

static void learn(uint64_t *list, uint32_t *count, uint32_t room, uint64_t seq)
{
    if (*count < room)
        list[(*count)++] = seq;
}

static const char *check_bought(const struct flight *f, const struct reply *reply)
{
    const struct judge *j = &sim.model.judge;
    const struct judge_order *o = judge_order(j, reply->seq);
    const char *name = names[f->buyer];
    if (o == NULL || reply->order == NULL || reply->order->seq != reply->seq)
        return "there is no such order";
    if (j->sales[o->sale].seq != f->sale_seq || o->quantity != f->quantity ||
        o->name_bytes != strlen(name) || memcmp(o->name, name, o->name_bytes) != 0)
        return "the order is another one";
    bool queued = judge_kind(j, reply->seq) == EVENT_ORDER_QUEUED;
    if (reply->state != (queued ? ORDER_WAITING : ORDER_PAYMENT))
        return "the order is not in that state";
    learn(sim.orders, &sim.orders_known, SIM_KNOWN_MAX, reply->seq);
    return NULL;
}

static const char *check_refused(const struct flight *f, const struct reply *reply,
                                 const struct judge_sale *s)
{
    switch (reply->outcome) {
    case OUTCOME_SALE_NOT_ACTIVE:
        return judge_was_closed_since(s, f->sent_seq) ? NULL : "it was active";
    case OUTCOME_SOLD_OUT:
        return f->quantity > s->terms.product_qty - s->sold ? NULL : "enough was left unsold";
    case OUTCOME_WAITLIST_FULL: /* at worst it saw every join and no leaving */
        return s->queue_count - f->left >= s->terms.waitlist_max ? NULL : "it was not full";
    case OUTCOME_QUANTITY_OVER_LIMIT:
    case OUTCOME_STORAGE_FULL:
    case OUTCOME_OVERLOAD:
        return NULL;
    default:
        return "no answer to this command";
    }
}

static const char *check_buyer(const struct flight *f, const struct reply *reply)
{
    const struct judge *j = &sim.model.judge;
    const char *name = names[f->buyer];
    uint8_t bytes = (uint8_t)strlen(name);
    uint32_t sale = (uint32_t)(judge_sale(j, f->sale_seq) - j->sales);
    if (reply->outcome == OUTCOME_ALREADY_JOINED)
        return judge_was_live_since(j, sale, name, bytes, f->sent_seq) ? NULL : "had no live order";
    if (f->kind == COMMAND_BUY && reply->outcome == OUTCOME_CREATED)
        return check_bought(f, reply);
    if (f->kind == COMMAND_ELIGIBLE && reply->outcome == OUTCOME_DONE)
        return judge_was_free_since(j, sale, name, bytes, f->sent_seq) ? NULL : "had a live order";
    return check_refused(f, reply, &j->sales[sale]);
}

static const char *check_order(const struct flight *f, const struct reply *reply)
{
    const struct judge *j = &sim.model.judge;
    const struct judge_order *o = judge_order(j, f->order_seq);
    bool moved = o->last_seq > f->sent_seq;
    bool pays = f->kind == COMMAND_PAY;
    switch (reply->outcome) {
    case OUTCOME_DONE:
        if (judge_order_of(j, reply->seq) != o ||
            judge_kind(j, reply->seq) != (pays ? EVENT_ORDER_PAID : EVENT_ORDER_CANCELLED))
            return "no such event stands there";
        return NULL;
    case OUTCOME_HOLD_EXPIRED:
        if (!pays || !(o->state == ORDER_EXPIRED || moved))
            return "it has not expired";
        return o->refund_due ? NULL : "no refund is due";
    case OUTCOME_NOT_IN_PAYMENT:
        return pays && (moved || (o->state != ORDER_PAYMENT && o->state != ORDER_EXPIRED))
                   ? NULL
                   : "it could be paid";
    case OUTCOME_NOT_CANCELLABLE:
        return !pays && (moved || (o->state != ORDER_PAYMENT && o->state != ORDER_WAITING))
                   ? NULL
                   : "it could be cancelled";
    case OUTCOME_OVERLOAD:
        return NULL;
    default:
        return "no answer to this command";
    }
}

static const char *check_admin(const struct flight *f, const struct reply *reply)
{
    if (f->kind == COMMAND_CREATE && reply->outcome == OUTCOME_CREATED) {
        if (judge_sale(&sim.model.judge, reply->sale->seq) == NULL)
            return "there is no such sale";
        learn(sim.sales, &sim.sales_known, SALES_MAX, reply->sale->seq);
        return NULL;
    }
    if (f->kind == COMMAND_CREATE)
        return reply->outcome == OUTCOME_TOO_MANY_SALES || reply->outcome == OUTCOME_STORAGE_FULL ||
                       reply->outcome == OUTCOME_OVERLOAD
                   ? NULL
                   : "no answer to this command";
    const struct judge_sale *s = judge_sale(&sim.model.judge, f->sale_seq);
    if (reply->outcome == OUTCOME_DONE && s->last_seq <= f->sent_seq)
        return (f->kind == COMMAND_PAUSE && s->state != SALE_PAUSED && s->state != SALE_STOPPED) ||
                       (f->kind == COMMAND_RESUME && s->state != SALE_ACTIVE) ||
                       (f->kind == COMMAND_END && s->state != SALE_ENDED)
                   ? "it was not done"
                   : NULL;
    return NULL;
}

static void check_reply(const struct port *port, const struct reply *reply)
{
    struct flight *f = &sim.flights[reply->context];
    sim.in_flight--;
    sim.replies[reply->outcome]++;
    sim.rests = 0;
    world_trace("reply %llu %s %s seq %llu", (unsigned long long)reply->context, kinds[reply->kind],
                outcome_row(reply->outcome)->http_status < 300 ? "done"
                                                               : outcome_row(reply->outcome)->code,
                (unsigned long long)reply->seq);
    const char *wrong;
    if (!f->used || f->kind != reply->kind || f->port != (uint8_t)(port - sim.engine.ports))
        wrong = "an answer to nothing that was asked";
    else if (reply->seq > sim.model.judge.last_seq)
        wrong = "answered before it is durable";
    else if (f->kind == COMMAND_BUY || f->kind == COMMAND_ELIGIBLE)
        wrong = check_buyer(f, reply);
    else if (f->kind == COMMAND_PAY || f->kind == COMMAND_CANCEL)
        wrong = check_order(f, reply);
    else if (f->kind == COMMAND_REFUSE)
        wrong = reply->outcome == OUTCOME_NO_SUCH_SALE || reply->outcome == OUTCOME_OVERLOAD
                    ? NULL
                    : "no answer to this command";
    else
        wrong = check_admin(f, reply);
    if (wrong == NULL)
        wrong = keyed_check(f, reply);
    if (wrong != NULL)
        world_fail("%s (%s, sale %llu, order %llu) answered with seq %llu and \"%s\": %s",
                   kinds[reply->kind], names[f->buyer], (unsigned long long)f->sale_seq,
                   (unsigned long long)f->order_seq, (unsigned long long)reply->seq,
                   outcome_row(reply->outcome)->code, wrong);
    f->used = false;
    if (sim.race != NULL)
        race_heard(f, reply);
}

void client_receive(struct port *port)
{
    struct reply reply;
    while (port_receive(port, &reply))
        check_reply(port, &reply);
}

void client_flush(struct port *port)
{
    if (random_chance(&sim.random, 1, 4))
        port_flush(port);
    else
        port_play(port, sim.now);
}

void client_body(void *arg)
{
    struct port *port = arg;
    for (;;) {
        client_receive(port);
        if (may_send())
            send_some(port);
        sim_step("port-flush");
        client_flush(port);
        if (random_chance(&sim.random, 1, 50))
            sim.model.full = !sim.model.full && random_chance(&sim.random, 1, 10);
        sim_step("port-sleep");
        if (!port_may_sleep(port))
            continue;
        int64_t pause_ms = random_between(&sim.random, 0, sim.scale.pause_ms_max);
        world_sleep(NULL, 0, sim.budget > 0 ? pause_ms : -1);
        port_awake(port);
    }
}
