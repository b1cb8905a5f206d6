/*
 * race.c: races, each set up so that it is close, and run to its end (see sim.h).
 *
 *   pay-expiry           a payment within a millisecond of the hold's deadline; half of the time
 *                        somebody waits for the unit
 *   cancel-promotion     a waiting buyer cancels while the unit that he waits for is given back
 *   end-buy, pause-buy   a purchase while the sale is closed, by an admin or (end) by the clock;
 *                        half of the time the purchase is a place in the waiting list
 *   equal-requests       64 equal requests at once, half through each port: purchases, payments or
 *                        cancellations
 *
 * Until the race begins, time passes only while everybody sleeps; then each port lets a random
 * number of turns go by and sends its share. All of the simulation's checks apply meanwhile: no unit
 * is sold twice, none is lost, memory equals what is durable. This file only judges who won.
 *
 * A race is contested if both sides stood just before the swap that decides, at the same time; one of
 * equal requests, if all were sent before the first was answered.
 *
 * Thread: the simulation's one. Fails: world_fail(), when there was not exactly one winner.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum {
    ANN,
    BEN,
    CEM, /* indexes of buyers */
    EQUAL_REQUESTS_EACH = 32,
    FIRE_TURNS_MAX = 60,
    HOLD_STEPS_MAX = 400,
    OPEN_MS = 500,
};

/* ---- preparing ---- */

/* Sends, and sleeps until every request is answered. */
static void ask(struct port *port, struct flight flight, struct sale_terms *terms)
{
    if (!client_send(port, flight, terms))
        world_fail("a ring is full before the race");
    port_flush(port);
    for (client_receive(port); sim.in_flight > 0; client_receive(port)) {
        if (port_may_sleep(port))
            world_sleep(NULL, 0, -1);
        port_awake(port);
    }
}

static uint64_t the_sale(void)
{
    return sim.sales[0];
}

static struct flight buying(uint8_t buyer)
{
    return (struct flight){
        .kind = COMMAND_BUY, .sale_seq = the_sale(), .buyer = buyer, .quantity = 1};
}

static struct flight steering(uint8_t kind)
{
    return (struct flight){.kind = kind, .sale_seq = the_sale()};
}

/* kind: COMMAND_PAY or COMMAND_CANCEL; nth: which order made, from 0. */
static struct flight acting(uint8_t kind, uint32_t nth)
{
    return (struct flight){.kind = kind, .order_seq = sim.orders[nth]};
}

static void open_sale(struct port *port, uint32_t units)
{
    struct sale_terms *terms = calloc(1, sizeof *terms);
    if (terms == NULL)
        abort();
    snprintf(terms->name, sizeof terms->name, "race");
    terms->product_qty = units;
    terms->max_per_buyer = 1;
    terms->waitlist_max = 4;
    terms->hold_ms = sim.scale.hold_max_ms;
    terms->starts_at_ms = sim.now.wall_ms;
    terms->ends_at_ms = sim.now.wall_ms + OPEN_MS;
    ask(port, (struct flight){.kind = COMMAND_CREATE}, terms);
}

static void sleep_until(int64_t wall_ms)
{
    while (sim.now.wall_ms < wall_ms) /* an old wake may end a sleep early */
        world_sleep(NULL, 0, wall_ms - sim.now.wall_ms);
}

/* ---- pay-expiry ---- */

static void prepare_pay_expiry(struct port *port)
{
    open_sale(port, 1);
    ask(port, buying(ANN), NULL);
    if (random_chance(&sim.random, 1, 2))
        ask(port, buying(BEN), NULL);
    int64_t deadline_ms = judge_order(&sim.model.judge, sim.orders[0])->expires_at_ms;
    sim.race_until_ms = deadline_ms + 1;
    sleep_until(deadline_ms - random_below(&sim.random, 2));
}

static void fire_pay(struct port *port)
{
    if (port == &sim.engine.ports[0])
        (void)client_send(port, acting(COMMAND_PAY, 0), NULL);
}

/* How many events of this kind the nth order has in the log. */
static uint32_t count(enum event_kind kind, uint32_t nth)
{
    const struct judge *j = &sim.model.judge;
    uint32_t n = 0;
    for (uint64_t seq = 1; seq <= j->last_seq; seq++)
        n += judge_kind(j, seq) == kind && judge_order_of(j, seq)->seq == sim.orders[nth];
    return n;
}

static uint32_t judge_pay_expiry(void)
{
    enum { IN_TIME, LATE, EXPIRED };
    uint32_t paid = count(EVENT_ORDER_PAID, 0), expired = count(EVENT_ORDER_EXPIRED, 0);
    uint32_t refunds = count(EVENT_ORDER_REFUND_DUE, 0);
    if (paid + refunds != 1 || expired > 1 || (refunds == 1 && expired == 0))
        world_fail("paid %u times, expired %u times, %u refunds due", paid, expired, refunds);
    const struct judge_order *o = judge_order(&sim.model.judge, sim.orders[0]);
    int64_t after_ms = o->changed_at_ms - o->expires_at_ms;
    if (after_ms < -1 || after_ms > 1)
        world_fail("decided %lld ms from the deadline: that is no race", (long long)after_ms);
    return paid == 0 ? EXPIRED : expired == 0 ? IN_TIME : LATE;
}

/* ---- cancel-promotion ---- */

static void prepare_cancel_promotion(struct port *port)
{
    open_sale(port, 1);
    ask(port, buying(ANN), NULL);
    ask(port, buying(BEN), NULL);
    if (random_chance(&sim.random, 1, 2))
        ask(port, buying(CEM), NULL);
}

static void fire_cancels(struct port *port)
{
    (void)client_send(port, acting(COMMAND_CANCEL, port == &sim.engine.ports[0] ? 0 : 1), NULL);
}

static uint32_t judge_cancel_promotion(void)
{
    enum { CANCEL_FIRST, PROMOTION_FIRST };
    uint32_t cancelled = count(EVENT_ORDER_CANCELLED, 1), promoted = count(EVENT_ORDER_PROMOTED, 1);
    if (cancelled != 1 || promoted > 1)
        world_fail("cancelled %u times, promoted %u times", cancelled, promoted);
    return promoted == 1 ? PROMOTION_FIRST : CANCEL_FIRST;
}

/* ---- end-buy, pause-buy ---- */

/* The one unit is free; or ann holds it, and ben's purchase gets a place in the waiting list. */
static void prepare_closing(struct port *port)
{
    open_sale(port, 1);
    if (random_chance(&sim.random, 1, 2))
        ask(port, buying(ANN), NULL);
}

static void prepare_end(struct port *port)
{
    prepare_closing(port);
    if (random_chance(&sim.random, 1, 2))
        sleep_until(judge_sale(&sim.model.judge, the_sale())->terms.ends_at_ms -
                    random_below(&sim.random, 2));
}

static void fire_end(struct port *port)
{
    bool closes = port == &sim.engine.ports[0];
    (void)client_send(port, closes ? steering(COMMAND_END) : buying(BEN), NULL);
}

static void fire_pause(struct port *port)
{
    bool closes = port == &sim.engine.ports[0];
    (void)client_send(port, closes ? steering(COMMAND_PAUSE) : buying(BEN), NULL);
}

/* The judge of histories has checked that a purchase counts before the close, and never after it. */
static uint32_t judge_closing(void)
{
    enum { PURCHASE, CLOSE };
    return sim.race_successes[1] > 0 ? PURCHASE : CLOSE;
}

/* ---- equal-requests ---- */

static void prepare_equal(struct port *port)
{
    open_sale(port, 2);
    if (random_chance(&sim.random, 2, 3))
        ask(port, buying(ANN), NULL);
}

/* Both ports send what the seed and the preparation have chosen. */
static void fire_equal(struct port *port)
{
    if (sim.race_asked == 0)
        sim.race_buys = sim.orders_known == 0;
    struct flight request =
        sim.race_buys ? buying(ANN) : acting(sim.seed % 2 == 0 ? COMMAND_PAY : COMMAND_CANCEL, 0);
    for (int i = 0; i < EQUAL_REQUESTS_EACH; i++) {
        if (!client_send(port, request, NULL))
            world_fail("a ring is full during the race");
        sim.race_asked++;
    }
}

static uint32_t judge_equal(void)
{
    enum { FIRST_PORT, SECOND_PORT };
    uint32_t successes = sim.race_successes[0] + sim.race_successes[1];
    if (successes != 1 || sim.race_told != 2 * EQUAL_REQUESTS_EACH)
        world_fail("of %u equal requests %u succeeded", sim.race_told, successes);
    sim.contested = sim.race_asked_when_told == 2 * EQUAL_REQUESTS_EACH;
    return sim.race_successes[0] == 1 ? FIRST_PORT : SECOND_PORT;
}

/* ---- any race ---- */

static const struct race races[] = {
    {"pay-expiry",
     {"paid in time", "paid late", "expired"},
     "order-move",
     prepare_pay_expiry,
     fire_pay,
     judge_pay_expiry},
    {"cancel-promotion",
     {"cancelled first", "promoted first"},
     "order-move",
     prepare_cancel_promotion,
     fire_cancels,
     judge_cancel_promotion},
    {"end-buy", {"bought", "ended"}, "stock-swap", prepare_end, fire_end, judge_closing},
    {"pause-buy", {"bought", "paused"}, "stock-swap", prepare_closing, fire_pause, judge_closing},
    {"equal-requests",
     {"one of the first port", "one of the second port"},
     NULL,
     prepare_equal,
     fire_equal,
     judge_equal},
};

const struct race *race_called(const char *name)
{
    for (size_t i = 0; i < sizeof races / sizeof *races; i++)
        if (strcmp(races[i].name, name) == 0)
            return &races[i];
    fprintf(stderr, "sim: no race is called %s; there are:", name);
    for (size_t i = 0; i < sizeof races / sizeof *races; i++)
        fprintf(stderr, " %s", races[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

void race_choose_scale(void)
{
    struct random *r = &sim.random;
    static const uint32_t strides[] = {1, 1, 2, 4};
    sim.scale = (struct scale){.workers = random_between(r, 1, WORKERS_MAX),
                               .ports = 2,
                               .stride = strides[random_below(r, 4)],
                               .hold_max_ms = random_between(r, 200, 300),
                               .open_max_ms = OPEN_MS,
                               .sync_max_ms = random_chance(r, 3, 4) ? 0 : 4,
                               .interval_ms = random_between(r, 1, 20)};
    sim.race_until_ms = INT64_MAX;
    sim.budget = 1; /* until both sides have sent their share */
    sim.now = (struct now){.mono_ms = random_below(r, 1000), .wall_ms = 1700000000000};
}

static void begin_race(struct port *port)
{
    sim.race->prepare(port);
    sim.race_on = true;
    for (uint32_t i = 0; i < sim.actor_count; i++)
        sim.actors[i].woken =
            true; /* this wakes the other port; threads that are woken for nothing sleep on */
}

void race_body(void *arg)
{
    struct port *port = arg;
    if (port == &sim.engine.ports[0])
        begin_race(port);
    while (!sim.race_on)
        world_sleep(NULL, 0, -1);
    for (uint32_t turns = random_below(&sim.random, FIRE_TURNS_MAX); turns > 0; turns--)
        sim_step("race-wait");
    sim.race->fire(port);
    sim.budget = 0;
    client_flush(port);
    for (;;) {
        client_receive(port);
        if (port_may_sleep(port))
            world_sleep(NULL, 0, -1);
        port_awake(port);
    }
}

void race_heard(const struct flight *flight, const struct reply *reply)
{
    if (!sim.race_on)
        return;
    if (sim.race_told++ == 0)
        sim.race_asked_when_told = sim.race_asked;
    sim.race_successes[flight->port] += outcome_row(reply->outcome)->http_status < 300;
}

static bool stands_at_point(const struct actor *actor)
{
    return !actor->asleep && actor->point != NULL && strcmp(actor->point, sim.race->point) == 0;
}

struct actor *race_let_go(void)
{
    struct actor *held = sim.held;
    sim.held = NULL;
    return held;
}

/* Left to chance, both sides stand before their swaps together in one seed of thirty. So half of the
 * time the first to come waits a while for the other; then both go on as the dice fall. */
void race_watch(struct actor *actor)
{
    if (sim.held != NULL && sim.steps > sim.held_until)
        (void)race_let_go();
    if (!sim.race_on || sim.race->point == NULL || !stands_at_point(actor))
        return;
    bool together = false;
    for (uint32_t i = 0; i < sim.actor_count; i++)
        together = together || (&sim.actors[i] != actor && stands_at_point(&sim.actors[i]));
    sim.contested = sim.contested || together;
    if (together) {
        (void)race_let_go();
    } else if (sim.held == NULL && random_chance(&sim.random, 1, 2)) {
        sim.held = actor;
        sim.held_until = sim.steps + HOLD_STEPS_MAX;
    }
}

void race_verdict(void)
{
    sim.winner = sim.race->judge();
}
