/*
 * past.c: see past.h.
 *
 * Commands go in as clients would send them, batch by batch; worker, clock and journal take rounds in turns until
 * nobody has anything to do. Two of three sales are too small for all their buyers, so that some wait.
 *
 * Thread: the caller's. Fails: by MUST.
 */
#include "tests/history/past.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/check.h"
#include "main/hash.h"
#include "tests/support/random.h"

enum {
    BATCH = 48,
    KNOWN_MAX = 4096, /* orders that somebody may still pay or cancel */
    SALES = 8,
    HOLD_BATCHES = 60,
    DAY_MS = 24 * 3600 * 1000,
    WAITLIST = 300,
};

static struct engine engine; /* too large for a stack */

struct past {
    struct store *store;
    struct random random;
    uint32_t sales_made;
    struct now now;
    int64_t begin_wall_ms, span_ms;
    int64_t step_ms; /* about how much time passes per batch */
    uint64_t events_wanted;
    struct sale *sale;
    struct order *known[KNOWN_MAX];
    uint32_t known_count;
    uint64_t buyers;
};

static uint64_t events_made(void)
{
    return log_committed(&engine.log);
}

static void keep(struct past *p, struct order *order)
{
    uint32_t at =
        p->known_count < KNOWN_MAX ? p->known_count++ : random_below(&p->random, KNOWN_MAX);
    p->known[at] = order;
}

/* Everybody takes rounds until nobody has anything to do. */
static void settle(struct past *p)
{
    struct reply reply;
    int64_t sleep_ms;
    bool busy = true;
    while (busy) {
        busy = worker_round(&engine.workers[0], p->now);
        busy = clock_round(&engine.clock, p->now, &sleep_ms) || busy;
        enum journal_result result = journal_round(&engine.journal);
        MUST(result != JOURNAL_FAILED, engine.journal.error);
        busy = busy || result == JOURNAL_WROTE;
        while (port_receive(&engine.ports[0], &reply)) {
            if (reply.outcome == OUTCOME_CREATED && reply.order != NULL)
                keep(p, reply.order);
            else if (reply.outcome == OUTCOME_CREATED)
                p->sale = reply.sale;
        }
    }
}

static void send(uint32_t target, struct command command)
{
    MUST(port_send(&engine.ports[0], target, &command), "a full ring");
}

static void steer(struct past *p, enum command_kind kind)
{
    send(engine_clock_target(&engine), (struct command){.sale = p->sale, .kind = (uint8_t)kind});
    settle(p);
}

/* Two of three are too small for all their buyers: some wait, and the sale sells out. */
static void open_sale(struct past *p, uint32_t number)
{
    struct sale_terms *terms = calloc(1, sizeof *terms);
    MUST(terms != NULL, "out of memory");
    uint32_t units = (uint32_t)(p->events_wanted / SALES / (number % 3 == 0 ? 2 : 6)) + 10;
    int64_t hold_ms = p->step_ms * HOLD_BATCHES;
    *terms =
        (struct sale_terms){.product_qty = units,
                            .max_per_buyer = 3,
                            .waitlist_max = WAITLIST,
                            .hold_ms = (uint32_t)(hold_ms < HOLD_MS_MAX ? hold_ms : HOLD_MS_MAX),
                            .starts_at_ms = p->now.wall_ms,
                            .ends_at_ms = p->now.wall_ms + 36500LL * DAY_MS};
    snprintf(terms->name, sizeof terms->name, "Sale %u \"<\xc3\xa9>\"", number);
    if (p->sale != NULL && number % 2 == 0)
        steer(p, COMMAND_END);
    send(engine_clock_target(&engine), (struct command){.terms = terms, .kind = COMMAND_CREATE});
    settle(p);
}

static void buy(struct past *p)
{
    struct command command = {
        .sale = p->sale, .quantity = random_between(&p->random, 1, 2), .kind = COMMAND_BUY};
    bool again = p->buyers > 0 && random_chance(&p->random, 1, 5);
    uint64_t who = again ? random_next(&p->random) % p->buyers : p->buyers++;
    command.name_bytes = (uint8_t)snprintf(command.name, sizeof command.name, "buyer \"%llu\"",
                                           (unsigned long long)who);
    command.name_hash = keyed_siphash(command.name, command.name_bytes);
    send(0, command);
}

static void change(struct past *p, enum command_kind kind)
{
    struct order *order = p->known[random_below(&p->random, p->known_count)];
    struct sale *sale = engine_sale_at(&engine, order->sale);
    send(0,
         (struct command){
             .sale = sale, .order = order, .name_hash = order->name_hash, .kind = (uint8_t)kind});
}

/* Moves the time to where this many events should be. */
static void pass_time(struct past *p)
{
    double done = (double)events_made() / (double)p->events_wanted;
    int64_t due = p->begin_wall_ms + (int64_t)((double)p->span_ms * (done < 1 ? done : 1));
    int64_t ms = due > p->now.wall_ms ? due - p->now.wall_ms : 1;
    p->now.mono_ms += ms;
    p->now.wall_ms += ms;
}

static void one_batch(struct past *p)
{
    pass_time(p);
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t what = random_below(&p->random, 100);
        if (what < 55 || p->known_count == 0)
            buy(p);
        else
            change(p, what < 88 ? COMMAND_PAY : COMMAND_CANCEL);
    }
    settle(p);
    if (random_chance(&p->random, 1, 200)) {
        steer(p, COMMAND_PAUSE);
        steer(p, COMMAND_RESUME);
    }
}

void past_make(struct past *p, uint64_t events)
{
    while (events_made() < events) {
        if (p->sales_made < SALES && events_made() >= p->sales_made * (p->events_wanted / SALES))
            open_sale(p, p->sales_made++);
        one_batch(p);
    }
}

void past_publish(struct past *p)
{
    /* As the broadcaster would; the journal notes it. */
    atomic_store_explicit(&engine.published, events_made(), memory_order_release);
    settle(p);
}

struct past *past_open(const char *dir, uint64_t events, double from_days, double to_days,
                       uint64_t seed)
{
    char error[512];
    struct past *p = calloc(1, sizeof *p);
    MUST(p != NULL, "out of memory");
    p->random = random_from(seed);
    p->events_wanted = events;
    p->now = now_read();
    p->now.wall_ms -= (int64_t)(from_days * DAY_MS);
    p->begin_wall_ms = p->now.wall_ms;
    p->span_ms = (int64_t)((from_days - to_days) * DAY_MS);
    p->step_ms =
        p->span_ms / (int64_t)(events / (BATCH / 3) + 1) + 1; /* one event in three commands */
    p->store = store_open(dir, 0, error, sizeof error);
    MUST(p->store != NULL, error);
    hash_set_key(store_key(p->store));
    MUST(store_last_seq(p->store) == 0, "there is a past already");
    const struct engine_options options = {
        .workers = 1, .ports = 1, .state_interval_ms = 100, .hash = keyed_siphash};
    MUST(engine_init(&engine, options, store_journal(p->store, keyed_siphash)), "out of memory");
    return p;
}

void past_close(struct past *p)
{
    engine_free(&engine);
    store_close(p->store);
    free(p);
}

struct store *past_store(const struct past *p)
{
    return p->store;
}

uint64_t past_events(const struct past *p)
{
    (void)p;
    return events_made();
}
