/*
 * reconcile.h: compares memory, tables and events with each other while the sales go on.
 *
 * Thread: reconciler. It sleeps until its schedule or a COMMAND_RECONCILE calls, then makes one run:
 *   1. reconcile_words()    every sale's words, which run ahead of the log, against the committed books
 *   2. store.compare()      persist/: replays the events, compares tables and committed memory with them,
 *                           and shows every order to reconcile_order()
 *   3. reconcile_orders()   looks again at orders whose own state was ahead of the log: is it committed by now?
 *   4. stops each sale that differs: COMMAND_STOP, which the clock logs as sale.paused, reconcile-failed
 *
 * Why 1 has no false alarm: while no closing is under way, the clock turns the tint of a sale's words and
 * thereby reads each word at one instant (COMMAND_LOOK). Every swap before that met the old tint, every later
 * one the new tint, and each event says which tint its own swaps met. When all that was decided before is
 * committed (marks, then committed_seq), a word must equal the books less what the new tint has done to them:
 *     word = books - (tide of the new tint now - the same before the look)
 * That holds at any load, and nobody waits for it. One look at a sale ends (marks, commit) before the next
 * begins, so two tints are enough.
 * Why 3 has no false alarm: an order's state differs from the committed one only between a decision and its
 * commit. If the same difference is seen twice, and everything in flight at the first look was committed by the
 * second, no decision explains it.
 *
 * Not compared: what only its owner may read (a worker's set of buyers, the clock's queues).
 *
 * Fails: a run that cannot be made (SQLite, memory) says why and stops nothing.
 */
#ifndef FLASHD_ENGINE_RECONCILE_H
#define FLASHD_ENGINE_RECONCILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/cron.h"
#include "engine/id.h"
#include "engine/now.h"
#include "engine/sale.h"
#include "engine/wake.h"

struct engine;
struct port;
struct reconcile_run;

enum { DIVERGENCE_VALUE_BYTES = 24 };

/* One thing that differs. A side that has no such value at that seq is "-". */
struct divergence {
    uint64_t seq;      /* of the event at which, or up to which, it differs */
    const char *field; /* static */
    char memory[DIVERGENCE_VALUE_BYTES], tables[DIVERGENCE_VALUE_BYTES],
        events[DIVERGENCE_VALUE_BYTES];
};

/* What a run found. Plain words: copied whole between threads. */
struct reconcile_result {
    uint64_t runs, runs_failed; /* since the start, this one included */
    int64_t began_wall_ms;      /* 0: there was no run yet */
    int64_t took_us;
    uint64_t seq;                         /* up to which events and tables were compared */
    uint64_t checked, skipped, divergent; /* sales; divergent ones are among the checked */
    uint64_t first_divergent_seq;         /* 0: none */
    char first_sale[ID_CHARS];            /* where; "-": no sale can be named */
    struct divergence first;
    const char *failure; /* why there is no result; static. NULL: there is one */
};

/* persist/'s half. compare() returns NULL, or why it could not compare; static. */
struct reconcile_store {
    void *self;
    const char *(*compare)(void *self, struct reconcile_run *run);
};

struct reconcile_options {
    struct cron schedule;
    struct reconcile_store store; /* compare NULL: there is no reconciler */
    uint32_t port;                /* index of the reconciler's own port, to ask the clock */
};

/* What a run knows of a sale. */
struct reconcile_sale {
    struct sale *sale;
    bool looked;         /* its words were compared; not when it is UPCOMING */
    struct books seen;   /* what readers saw after the look: the replay must pass through it */
    struct books before; /* what they saw before the look, and the tide then */
    struct tide tide;
    uint32_t count; /* things that differ */
    struct divergence first;
};

struct suspect {
    const struct order *order;
    uint64_t committed;
    unsigned state;
};

struct reconcile_run {
    struct engine *engine;
    struct port *port;
    void (*pause)(void); /* lets a moment pass, while others go on */
    const _Atomic bool *leaving;
    struct reconcile_sale *sales; /* by index; SALES_MAX, sale_count in use */
    uint32_t sale_count;
    uint64_t seq; /* the store sets it */
    struct suspect *suspects;
    uint32_t suspect_count, suspect_room;
    bool out_of_memory;
    uint32_t stray_count; /* divergences that no sale can be blamed for */
    struct divergence stray;
};

enum { RECONCILE_RESULT_WORDS = sizeof(struct reconcile_result) / 8 };

struct reconciler {
    /* --- reconciler only --- */
    struct engine *engine;
    struct reconcile_options options;
    struct reconcile_result result;
    /* --- reconciler writes, any thread reads --- */
    _Atomic uint64_t version; /* of the words: versioned.h */
    _Atomic uint64_t words[RECONCILE_RESULT_WORDS];
    _Atomic int64_t next_wall_ms; /* -1: never */
    _Atomic bool running;
    /* --- main --- */
    _Atomic bool leaving;
    /* --- anyone wakes --- */
    _Alignas(CACHE_LINE_BYTES) struct wake wake;
};

/* --- main --- */
void reconcile_init(struct reconciler *r, struct engine *engine, struct reconcile_options options);
/* Sets the time of the first run, before the thread starts, so that it can be asked for at once. */
void reconcile_plan(struct reconciler *r, struct now now);
/* Makes a run that goes on give up; whoever waits for a run is answered. */
void reconcile_leave(struct reconciler *r);

/* --- reconciler's thread --- */

/* Gives the calling thread a lower priority than the threads that serve. */
void reconcile_stand_back(void);
/* Makes a run if one is due or asked for, and returns true. Else *sleep_ms is how long to sleep at most. */
bool reconcile_round(struct reconciler *r, struct now now, int64_t *sleep_ms);

/* --- any thread --- */
struct reconcile_result reconcile_result(const struct reconciler *r);

/* --- parts of a run: the store, and tests --- */

/* False when out of memory. */
bool reconcile_begin(struct reconcile_run *run, struct engine *engine, struct port *port,
                     void (*pause)(void), const _Atomic bool *leaving);
void reconcile_end(struct reconcile_run *run);
/* Compares every started sale's words. False: leaving. */
bool reconcile_words(struct reconcile_run *run);
/* Looks at an order's own state; if it differs, reconcile_orders() looks at it again. */
void reconcile_order(struct reconcile_run *run, const struct order *order);
bool reconcile_orders(struct reconcile_run *run);
/* Waits until everything up to seq is committed and seen by readers. False: leaving. */
bool reconcile_committed(struct reconcile_run *run, uint64_t seq);
/* Called after a little work: lets others have the core. False: leaving. */
bool reconcile_breathe(struct reconcile_run *run);
/* Notes what differs; sale NULL: no sale can be named. field is static; values are copied, NULL is "-". */
void reconcile_differs(struct reconcile_run *run, const struct sale *sale, uint64_t seq,
                       const char *field, const char *memory, const char *tables,
                       const char *events);
/* How many sales differ; stray divergences together count as one. */
uint32_t reconcile_divergent(const struct reconcile_run *run);

#endif
