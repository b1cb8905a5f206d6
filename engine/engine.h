/*
 * engine.h: the engine as a whole, as the folders around it use it.
 *
 * Start order (main):  engine_init, recovery (restore.h), engine_start, then the threads of net/, each
 *                      with its port.
 * Stop order (main):   reconcile_leave; end those threads (they play workers, so they go first); engine_stop,
 *                      which ends the reconciler, the workers, the clock, and last the journal, which writes
 *                      what is left; engine_free when nobody reads any more.
 *
 * Threads: fields are grouped by who writes them. Everything here lives until engine_free().
 */
#ifndef FLASHD_ENGINE_ENGINE_H
#define FLASHD_ENGINE_ENGINE_H

#include <pthread.h>

#include "engine/clock.h"
#include "engine/journal.h"
#include "engine/keys.h"
#include "engine/port.h"
#include "engine/reconcile.h"
#include "engine/view.h"
#include "engine/worker.h"

enum { SOLE_ACTIVE_NONE = -1, SOLE_ACTIVE_SEVERAL = -2 };

struct engine_options {
    uint32_t workers; /* 1..WORKERS_MAX */
    uint32_t ports;   /* 1..PORTS_MAX */
    uint32_t keys;    /* idempotency keys that fit, 0..KEYS_MAX */
    uint32_t state_interval_ms;
    keyed_hash *hash;
    uint64_t last_seq;  /* of the last durable event; 0 for none */
    uint64_t published; /* of the last event that was handed to the streams */
    struct reconcile_options reconcile;
};

struct engine {
    /* --- set once --- */
    struct engine_options options;
    struct worker *workers; /* options.workers of them */
    struct port *ports;     /* options.ports of them */
    /* --- see their headers --- */
    struct log log;
    struct keys keys;
    struct seqmap seqmap;
    struct clock clock;
    struct journal journal;
    struct reconciler reconciler;
    /* --- clock writes, any thread reads --- */
    _Atomic(struct sale *) *sales; /* SALES_MAX */
    _Atomic uint32_t sale_count;
    /* --- journal writes, any thread reads --- */
    _Atomic int32_t sole_active; /* index of the only ACTIVE sale, or SOLE_ACTIVE_… */
    _Atomic bool storage_full;
    _Atomic uint64_t view_generation; /* odd while a commit is being made visible */
    /* --- broadcaster writes, journal reads --- */
    _Atomic uint64_t published; /* every event up to here has been handed to the streams */
    /* --- main --- */
    _Atomic bool stopping;         /* workers and clock leave when they find nothing to do */
    _Atomic bool journal_stopping; /* then the journal does */
    pthread_t worker_threads[WORKERS_MAX], clock_thread, journal_thread, reconciler_thread;
};

/* False when out of memory; engine_free() is safe then. */
bool engine_init(struct engine *engine, struct engine_options options, struct journal_store store);
void engine_free(struct engine *engine);
/* Starts the threads worker-N, clock, writer and reconciler. False when the system gives no thread. */
bool engine_start(struct engine *engine);
void engine_stop(struct engine *engine);

/* --- for net threads and recovery --- */

/* The target of a port that decides about this buyer. */
uint32_t engine_worker_of(const struct engine *engine, uint64_t name_hash);
static inline uint32_t engine_clock_target(const struct engine *engine)
{
    return engine->options.workers;
}
static inline uint32_t engine_reconciler_target(const struct engine *engine)
{
    return engine->options.workers + 1;
}
/* Find committed sales and orders only; NULL for any other id. */
struct sale *engine_find_sale(const struct engine *engine, const char *id, size_t len);
struct order *engine_find_order(const struct engine *engine, const char *id, size_t len);
struct sale *engine_sale_at(const struct engine *engine, uint32_t index);
static inline uint32_t engine_sale_count(const struct engine *engine)
{
    return atomic_load_explicit(&engine->sale_count, memory_order_acquire);
}
/* A commit is made visible piece by piece. A reader calls this before it reads, and waits here until a commit that is
 * just being made visible is so as a whole: whoever has seen a piece of it then sees the rest as well. */
void engine_await_view(const struct engine *engine);
void engine_order_id(const struct engine *engine, const struct order *order, char out[ID_CHARS]);

/* --- for the engine's own threads --- */

/* Makes room for n events in the log and in the map. False: there is none now. */
bool engine_reserve(struct engine *engine, struct log_credit *credit, uint32_t n);
/* Publishes a sale in the table and the map. Called by the clock and by recovery. */
void engine_publish_sale(struct engine *engine, struct sale *sale);
void engine_nudge_clock(struct engine *engine);

#endif
