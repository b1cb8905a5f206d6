/*
 * worker.c: a round: takes commands from the rings, has them decided (decide.c), and logs the decisions.
 *
 * Happy path: worker_round -> gather -> decide_batch -> flush_takes (slots; for each the reply in its ring, then the
 * event). The reply is in the ring before its event can be read, so the commit's wake finds it.
 * Failure: refusals carry the last claimed seq, so that they too are sent only when what they saw is durable.
 *
 * Thread: the one on the worker's seat (see worker.h for what it may touch).
 */
#include "engine/worker.h"

#include <string.h>

#include "engine/check.h"
#include "engine/decide.h"
#include "engine/engine.h"

/* The slots that a round may need: for `joins`, `fresh` and the round's takes. */
#define CREDIT_NEEDED (3u * WORKER_BATCH_MAX)
static_assert(3 * WORKER_BATCH_MAX <= LOG_CREDIT_CHUNK, "a round's room is one reservation");

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

/* ---- into the log ---- */

static void note_key(struct worker *w, const struct reply *reply)
{
    keys_note(&w->engine->keys, reply->key, reply->kind, reply->outcome, reply->state);
}

/* With slot seq claimed: numbers the order if this event made it, answers, publishes; in this order. */
void log_one(struct worker *w, struct pending *p, uint64_t seq)
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

/* Units may have been freed for these joins before the clock could read the joins in the log: then it must look again.
 * Checked once the joins are in the log: whoever frees units after that wakes the clock, which then finds them. */
static void nudge_for(struct worker *w, const struct pending *joins, uint32_t count)
{
    for (uint32_t i = 0; i < count && !w->nudge_clock; i++)
        w->nudge_clock = stock_look(&joins[i].event.sale->stock).available > 0;
}

/* Logs the joins if the workers have moved on from their mark; then the fresh joins get a mark, and the same chance. */
static void flush_joins(struct worker *w)
{
    for (int lists = 0; lists < 2; lists++) {
        if (w->joins.count > 0) {
            if (!workers_moved_on(w->engine, &w->join_mark) && !FAULT(FAULT_JOIN_AT_ONCE))
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
        /* A mark of takes only, or joins would wait for each other. This worker's own takes were flushed before. */
        w->join_mark = workers_mark(w->engine);
        memset(w->join_mark.joins, 0, sizeof w->join_mark.joins);
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

/* As flush_joins(), for doubts. */
static void send_doubts(struct worker *w)
{
    for (int lists = 0; lists < 2; lists++) {
        /* This worker's own joins count, too: they may be set aside. */
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

/* ---- a round ---- */

/* Collects this round's commands: first the deferred ones, then new ones, beginning with another port
 * each round. */
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

/* Prefetches the memory that the batch will read, so that the cache misses overlap. */
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

/* Decides the batch, or refuses it while there is no room. COMMAND_ELIGIBLE needs none: streams' snapshots are
 * made with it, and if it were refused, an order would be missing there. */
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
    /* `fresh` counts: what was set aside may have filled the round alone, with commands left in the rings. */
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
