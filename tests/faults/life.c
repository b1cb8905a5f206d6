/*
 * life.c: opening, rounds, and the script (see life.h).
 *
 * Thread: one. In: a seed. Out: commands to the engine, answers and events on the tape.
 */
#include "tests/faults/life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "engine/view.h"
#include "main/hash.h"

enum {
    WORKERS = 2,
    GROUP_MAX = 6,
    BURST = 40,
    ROUNDS_MAX = 100000,
    EVENTS_A_PAGE = 64,
    LOOKS_FOR_AN_ORDER = 8,
};

uint64_t payload_hash(const char *payload, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)payload[i]) * 0x100000001b3ULL;
    return hash;
}

/* ---- opening ---- */

static bool read_events(struct life *life);

bool life_open(struct life *life, const char *dir, struct tape *tape, uint64_t seed,
               uint32_t number)
{
    memset(life, 0, sizeof *life);
    life->tape = tape;
    life->dice = random_from(seed);
    /* The wall clock goes on over a restart, the monotonic one begins again. */
    life->now = (struct now){.mono_ms = 5000, .wall_ms = 1700000000000 + (int64_t)number * 3600000};
    life->store = store_open(dir, 0, life->error, sizeof life->error);
    if (life->store == NULL)
        return false;
    hash_set_key(store_key(life->store));
    const struct engine_options options = {.workers = WORKERS,
                                           .ports = 1,
                                           .state_interval_ms = 100,
                                           .hash = keyed_siphash,
                                           .last_seq = store_last_seq(life->store),
                                           .published = store_published(life->store)};
    life->engine_made = true;
    MUST(engine_init(&life->engine, options, store_journal(life->store, keyed_siphash)),
         "memory for an engine");
    if (!recover(store_db(life->store), &life->engine, life->now, &life->found, life->error,
                 sizeof life->error))
        return false;
    life->archive = archive_open(dir, life->error, sizeof life->error);
    return life->archive != NULL && read_events(life);
}

void life_close(struct life *life)
{
    archive_close(life->archive);
    if (life->engine_made)
        engine_free(&life->engine);
    store_close(life->store);
}

/* ---- what readers see ---- */

static void take_event(void *arg, const struct archived_event *event)
{
    struct life *life = arg;
    life->read_seq = event->seq;
    if (life->tape == NULL)
        return;
    MUST(event->seq < TAPE_EVENTS_MAX, "a tape too short for its events");
    life->tape->events[event->seq] =
        (struct seen_event){.kind = event->kind,
                            .sale_seq = event->sale_seq,
                            .order_seq = event->order_seq,
                            .payload_hash = payload_hash(event->payload, event->payload_bytes)};
    life->tape->event_count = event->seq;
}

/* Reads what is committed page by page, as the broadcaster does. */
static bool read_events(struct life *life)
{
    struct event_archive archive = archive_reader(life->archive);
    int count;
    do
        count = archive.read(archive.self, life->read_seq, EVENTS_A_PAGE, take_event, life);
    while (count == EVENTS_A_PAGE);
    if (count < 0)
        snprintf(life->error, sizeof life->error, "the archive cannot be read");
    else if (life->tape != NULL)
        tape_answer(life->tape, (struct answer){.seq = life->read_seq});
    return count >= 0;
}

void life_begin_tape(struct life *life, struct tape *tape)
{
    tape_new_life(tape);
    life->tape = tape;
    life->read_seq = 0;
    MUST(read_events(life), "an archive that can be read");
}

/* ---- rounds ---- */

static void note_reply(struct life *life, const struct reply *reply)
{
    struct answer answer = {.seq = reply->seq};
    bool done = reply->outcome == OUTCOME_DONE || reply->outcome == OUTCOME_CREATED;
    if (reply->kind == COMMAND_BUY && done) {
        life->orders++;
        answer.kind = reply->state == ORDER_PAYMENT ? EVENT_ORDER_RESERVED : EVENT_ORDER_QUEUED;
        answer.own = true;
    } else if ((reply->kind == COMMAND_PAY || reply->kind == COMMAND_CANCEL) && done) {
        answer.kind = reply->kind == COMMAND_PAY ? EVENT_ORDER_PAID : EVENT_ORDER_CANCELLED;
        answer.own = true;
    }
    answer.order_seq = answer.own ? reply->order->seq : 0;
    if (life->tape != NULL)
        tape_answer(life->tape, answer);
}

static void take_replies(struct life *life)
{
    struct reply reply;
    while (port_receive(&life->engine.ports[0], &reply))
        note_reply(life, &reply);
}

/* Every thread takes rounds until none has anything to do. False when the journal failed. */
static bool settle(struct life *life)
{
    struct engine *e = &life->engine;
    bool busy = true;
    for (int i = 0; busy; i++) {
        MUST(i < ROUNDS_MAX, "an engine that never comes to rest");
        int64_t sleep_ms;
        busy = false;
        for (uint32_t w = 0; w < WORKERS; w++)
            busy = worker_round(&e->workers[w], life->now) || busy;
        take_replies(life);
        busy = clock_round(&e->clock, life->now, &sleep_ms) || busy;
        take_replies(life);
        enum journal_result result = journal_round(&e->journal);
        if (result == JOURNAL_FAILED) {
            snprintf(life->error, sizeof life->error, "%s", e->journal.error);
            return false;
        }
        take_replies(life);
        busy = busy || result == JOURNAL_WROTE || sleep_ms == 0;
    }
    return log_committed(&e->log) == life->read_seq || read_events(life);
}

static void ask(struct life *life, struct command command)
{
    uint32_t target = engine_clock_target(&life->engine);
    if (command.kind == COMMAND_BUY)
        target = engine_worker_of(&life->engine, command.name_hash);
    else if (command.kind == COMMAND_PAY || command.kind == COMMAND_CANCEL)
        target = command.order->owner;
    MUST(port_send(&life->engine.ports[0], target, &command), "a ring with room");
}

/* ---- the script ---- */

static struct sale *newest_sale(const struct life *life)
{
    uint32_t count = engine_sale_count(&life->engine);
    return count > 0 ? engine_sale_at(&life->engine, count - 1) : NULL;
}

/* The last sale that fits has room for everybody, and stays open. */
static void open_sale(struct life *life)
{
    bool last = engine_sale_count(&life->engine) == SALES_MAX - 1;
    struct sale_terms *terms = calloc(1, sizeof *terms);
    MUST(terms != NULL, "memory for a sale");
    *terms = (struct sale_terms){.name = "sale",
                                 .product_qty = last ? 100000 : random_between(&life->dice, 8, 24),
                                 .max_per_buyer = random_between(&life->dice, 1, 3),
                                 .waitlist_max = random_between(&life->dice, 4, 40),
                                 .hold_ms = random_between(&life->dice, 40, 200),
                                 .starts_at_ms = life->now.wall_ms,
                                 .ends_at_ms = life->now.wall_ms + 100 * 3600000LL};
    ask(life, (struct command){.kind = COMMAND_CREATE, .terms = terms});
}

static bool is_last(const struct sale *sale)
{
    return sale->index == SALES_MAX - 1;
}

static void buy(struct life *life, struct sale *sale)
{
    struct command command = {.kind = COMMAND_BUY, .sale = sale};
    command.quantity = random_between(&life->dice, 1, sale->terms.max_per_buyer);
    /* Mostly a new buyer; sometimes one of a few, who may have an order already. */
    uint32_t who = random_chance(&life->dice, 1, 6) ? random_below(&life->dice, 10)
                                                    : 10 + random_below(&life->dice, 1u << 30);
    command.name_bytes = (uint8_t)snprintf(command.name, sizeof command.name, "buyer %u", who);
    command.name_hash = keyed_siphash(command.name, command.name_bytes);
    ask(life, command);
}

/* Any order, mostly a late one; NULL when the dice find none. */
static struct order *some_order(struct life *life)
{
    uint64_t last = log_committed(&life->engine.log);
    for (int i = 0; i < LOOKS_FOR_AN_ORDER && last > 0; i++) {
        uint64_t back = random_below(&life->dice, last < 40 ? (uint32_t)last : 40);
        struct order *order = seqmap_order(&life->engine.seqmap, last - back);
        if (order != NULL)
            return order;
    }
    return NULL;
}

static void change_orders(struct life *life, uint8_t kind)
{
    for (uint32_t i = random_between(&life->dice, 1, 4); i > 0; i--) {
        struct order *order = some_order(life);
        if (order != NULL)
            ask(life, (struct command){.kind = kind, .order = order});
    }
}

static void administer(struct life *life, struct sale *sale)
{
    uint32_t throw = random_below(&life->dice, 8);
    if (!is_last(sale))
        ask(life, (struct command){.kind = throw == 0  ? COMMAND_END
                                           : throw < 5 ? COMMAND_RESUME
                                                       : COMMAND_PAUSE,
                                   .sale = sale});
}

static void pass_time(struct life *life)
{
    int64_t ms = random_between(&life->dice, 5, 120);
    life->now.mono_ms += ms;
    life->now.wall_ms += ms;
}

/* Whether nobody can buy in it any more. */
static bool is_over(const struct sale *sale)
{
    struct books view = view_sale(sale);
    return view.state == SALE_ENDED || view.sold_out;
}

static void step(struct life *life)
{
    struct sale *sale = newest_sale(life);
    if (sale == NULL || (is_over(sale) && !is_last(sale))) {
        open_sale(life);
        return;
    }
    if (view_sale(sale).state == SALE_PAUSED && random_chance(&life->dice, 1, 2)) {
        ask(life, (struct command){.kind = COMMAND_RESUME, .sale = sale});
        return;
    }
    uint32_t throw = random_below(&life->dice, 40);
    if (throw < 16) {
        for (uint32_t i = random_between(&life->dice, 1, GROUP_MAX); i > 0; i--)
            buy(life, sale);
    } else if (throw < 26) {
        change_orders(life, COMMAND_PAY);
    } else if (throw < 31) {
        change_orders(life, COMMAND_CANCEL);
    } else if (throw < 36) {
        pass_time(life);
    } else if (throw < 38) {
        administer(life, sale);
    } else if (throw == 38) {
        /* The streams have the events: this watermark is saved with the next batch, or alone. */
        atomic_store(&life->engine.published, life->read_seq);
    } else {
        for (uint32_t i = 0; i < BURST; i++)
            buy(life, sale);
    }
}

bool life_play(struct life *life, uint32_t orders)
{
    while (life->orders < orders) {
        step(life);
        if (!settle(life))
            return false;
    }
    return true;
}
