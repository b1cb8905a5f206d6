/*
 * engine.c: puts the parts together, runs their threads, finds things by id.
 *
 * Thread: init, start, stop and free on main; the rest as engine.h says.
 * Fails: out of memory at init, no thread at start; a failed commit ends the process here, in one
 * place.
 */
#include "engine/engine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/lines.h"

enum { EXIT_COMMIT_FAILED = 70 };

static bool init_ports(struct engine *e)
{
    struct port_target targets[TARGETS_MAX];
    for (uint32_t i = 0; i < e->options.workers; i++)
        targets[i] = (struct port_target){&e->workers[i].wake, worker_stand_in, &e->workers[i]};
    targets[e->options.workers] = (struct port_target){.wake = &e->clock.wake};
    targets[e->options.workers + 1] = (struct port_target){.wake = &e->reconciler.wake};
    for (uint32_t i = 0; i < e->options.ports; i++)
        if (!port_init(&e->ports[i], &e->log, &e->keys, targets, e->options.workers + 2))
            return false;
    return true;
}

bool engine_init(struct engine *e, struct engine_options options, struct journal_store store)
{
    MUST(options.workers >= 1 && options.workers <= WORKERS_MAX,
         "a number of workers out of range");
    MUST(options.ports >= 1 && options.ports <= PORTS_MAX, "a number of ports out of range");
    memset(e, 0, sizeof *e);
    e->options = options;
    atomic_init(&e->sole_active, SOLE_ACTIVE_NONE);
    atomic_init(&e->published, options.published);
    e->workers = lines_new(options.workers * sizeof *e->workers);
    e->ports = lines_new(options.ports * sizeof *e->ports);
    e->sales = calloc(SALES_MAX, sizeof *e->sales);
    if (e->workers == NULL || e->ports == NULL || e->sales == NULL)
        return false;
    bool ok = log_init(&e->log, options.last_seq) && keys_init(&e->keys, options.keys) &&
              seqmap_init(&e->seqmap) && clock_init(&e->clock, e) &&
              journal_init(&e->journal, e, store, options.published);
    for (uint32_t i = 0; ok && i < options.workers; i++)
        ok = worker_init(&e->workers[i], e, i);
    reconcile_init(&e->reconciler, e, options.reconcile);
    return ok && init_ports(e);
}

void engine_free(struct engine *e)
{
    for (uint32_t i = 0; e->workers != NULL && i < e->options.workers; i++)
        worker_free(&e->workers[i]);
    for (uint32_t i = 0; e->ports != NULL && i < e->options.ports; i++)
        port_free(&e->ports[i]);
    if (e->clock.engine != NULL)
        clock_free(&e->clock);
    journal_free(&e->journal);
    seqmap_free(&e->seqmap);
    keys_free(&e->keys);
    log_free(&e->log);
    free((void *)e->sales);
    free(e->workers);
    free(e->ports);
}

/* ---- threads ---- */

static bool must_stop(const _Atomic bool *flag)
{
    return atomic_load_explicit(flag, memory_order_acquire);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", w->index);
    (void)pthread_setname_np(pthread_self(), name);
    wake_for_batches();
    for (;;) {
        uint32_t seen = wake_seen(&w->wake);
        bool stop =
            must_stop(&w->engine->stopping); /* before the round: once set, no command comes */
        enum play play = worker_play(w, now_read());
        if (play == PLAY_WAITS)
            (void)sched_yield(); /* another thread has to move first */
        else if (play == PLAY_REST && stop)
            return NULL;
        else if (play == PLAY_REST)
            wake_wait(&w->wake, seen, -1);
    }
}

static void *clock_main(void *arg)
{
    struct engine *e = arg;
    (void)pthread_setname_np(pthread_self(), "clock");
    wake_for_batches();
    for (;;) {
        uint32_t seen = wake_seen(&e->clock.wake);
        bool stop = must_stop(&e->stopping);
        int64_t sleep_ms;
        bool busy = clock_round(&e->clock, now_read(), &sleep_ms);
        if (busy)
            (void)sched_yield();
        else if (stop && sleep_ms > 0)
            return NULL; /* nothing is due: workers may wait for a sale that is closing */
        else
            wake_wait(&e->clock.wake, seen, sleep_ms);
    }
}

static void *reconciler_main(void *arg)
{
    struct engine *e = arg;
    (void)pthread_setname_np(pthread_self(), "reconciler");
    reconcile_stand_back();
    for (;;) {
        uint32_t seen =
            wake_seen(&e->reconciler.wake); /* before the flag: a stop sets the flag, then wakes */
        if (must_stop(&e->stopping))
            return NULL;
        int64_t sleep_ms;
        if (!reconcile_round(&e->reconciler, now_read(), &sleep_ms))
            wake_wait(&e->reconciler.wake, seen, sleep_ms);
    }
}

static void *journal_main(void *arg)
{
    struct engine *e = arg;
    (void)pthread_setname_np(pthread_self(), "writer");
    wake_for_batches();
    for (;;) {
        uint32_t seen = wake_seen(&e->log.news);
        bool stop = must_stop(&e->journal_stopping);
        /* Lets threads that are about to decide or to read more go first, for a bigger batch. Costs nothing
         * when there are none; measured under load, it saves 5 to 10 % of a purchase's CPU. */
        (void)sched_yield();
        enum journal_result result = journal_round(&e->journal);
        if (result == JOURNAL_FAILED) {
            /* The outcome of the commit is unknown: nothing may be answered any more. */
            diag(DIAG_ERROR, "stopping: %s", e->journal.error);
            _exit(EXIT_COMMIT_FAILED);
        }
        if (result == JOURNAL_IDLE && stop)
            return NULL;
        if (result == JOURNAL_IDLE)
            wake_wait(&e->log.news, seen, e->journal.sleep_ms);
    }
}

bool engine_start(struct engine *e)
{
    journal_refresh_sole_active(e);
    if (pthread_create(&e->journal_thread, NULL, journal_main, e) != 0 ||
        pthread_create(&e->clock_thread, NULL, clock_main, e) != 0)
        return false;
    for (uint32_t i = 0; i < e->options.workers; i++)
        if (pthread_create(&e->worker_threads[i], NULL, worker_main, &e->workers[i]) != 0)
            return false;
    if (e->options.reconcile.store.compare == NULL)
        return true;
    reconcile_plan(&e->reconciler, now_read());
    return pthread_create(&e->reconciler_thread, NULL, reconciler_main, e) == 0;
}

void engine_stop(struct engine *e)
{
    atomic_store_explicit(&e->stopping, true, memory_order_release);
    reconcile_leave(&e->reconciler);
    if (e->options.reconcile.store.compare != NULL)
        (void)pthread_join(e->reconciler_thread, NULL);
    for (uint32_t i = 0; i < e->options.workers; i++)
        wake_up(&e->workers[i].wake);
    for (uint32_t i = 0; i < e->options.workers; i++)
        (void)pthread_join(e->worker_threads[i], NULL);
    engine_nudge_clock(e);
    (void)pthread_join(e->clock_thread, NULL);
    atomic_store_explicit(&e->journal_stopping, true, memory_order_release);
    wake_up(&e->log.news);
    (void)pthread_join(e->journal_thread, NULL);
}

/* ---- lookups ---- */

uint32_t engine_worker_of(const struct engine *e, uint64_t name_hash)
{
    /* The high half spreads buyers over workers; in a worker's set (buyers.c) the low bits find a slot. */
    return (uint32_t)((name_hash >> 32) % e->options.workers);
}

struct sale *engine_sale_at(const struct engine *e, uint32_t index)
{
    return atomic_load_explicit(&e->sales[index], memory_order_acquire);
}

void engine_await_view(const struct engine *e)
{
    /* Acquire: pairs with the journal's second increment, made when everything is visible. */
    while ((atomic_load_explicit(&e->view_generation, memory_order_acquire) & 1) != 0) {
        STEP("await-view");
        (void)sched_yield();
    }
}

/* Waits for a commit that is just being made visible: the list of sales, say, may have shown the id already. */
static bool is_committed(const struct engine *e, uint64_t seq)
{
    if (seq > log_committed(&e->log))
        engine_await_view(e);
    return seq <= log_committed(&e->log);
}

struct sale *engine_find_sale(const struct engine *e, const char *id, size_t len)
{
    uint64_t seq = id_parse(e->options.hash, id, len);
    if (seq == 0 || !is_committed(e, seq))
        return NULL;
    return seqmap_sale(&e->seqmap, seq);
}

struct order *engine_find_order(const struct engine *e, const char *id, size_t len)
{
    uint64_t seq = id_parse(e->options.hash, id, len);
    if (seq == 0 || !is_committed(e, seq))
        return NULL;
    return seqmap_order(&e->seqmap, seq);
}

void engine_order_id(const struct engine *e, const struct order *order, char out[ID_CHARS])
{
    id_write(out, order->seq, id_tag(e->options.hash, order->seq));
}

/* ---- for the engine's own threads ---- */

bool engine_reserve(struct engine *e, struct log_credit *credit, uint32_t n)
{
    if (credit->slots >= n)
        return true;
    uint64_t next = log_last_claimed(&e->log) + 1;
    /* No reserved seq lies more than LOG_SLOTS after it. */
    for (uint64_t seq = next; seq <= next + LOG_SLOTS; seq += SEQMAP_CHUNK_ENTRIES)
        if (!seqmap_reserve(&e->seqmap, seq))
            return false;
    return log_reserve(&e->log, credit, n);
}

void engine_publish_sale(struct engine *e, struct sale *sale)
{
    id_write(sale->id, sale->seq, id_tag(e->options.hash, sale->seq));
    atomic_store_explicit(&e->sales[sale->index], sale, memory_order_release);
    seqmap_put_sale(&e->seqmap, sale->seq, sale);
    atomic_store_explicit(&e->sale_count, sale->index + 1, memory_order_release);
}

void engine_nudge_clock(struct engine *e)
{
    wake_up(&e->clock.wake);
}
