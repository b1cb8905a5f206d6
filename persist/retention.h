/*
 * retention.h: removes published events that are older than asked, in small steps, leaving a baseline.
 *
 * Usage: retention_new() once; retention_step() whenever the writer has a moment: it knows by itself when a step is
 *        due, and mostly returns at once.
 *
 * A step is one transaction: it replays the oldest events onto the baseline (baseline.h) and removes them. So
 * a crash finds the file before a step or after it, never within. A step ends after RETENTION_STEP_EVENTS or
 * RETENTION_STEP_US, whichever is first, and the next one keeps its distance, so that a large backlog is worked
 * off while the sales go on:
 *
 *   nothing to commit   a step every RETENTION_IDLE_MS
 *   commits go on       a step every RETENTION_BUSY_MS, after a batch's replies are out
 *
 * A step's commit is not synced: that would make a purchase wait for two syncs of the disk. The next purchase's
 * commit syncs it too, since both are in the one WAL, in order; a power loss before that takes the step back, and
 * nothing else.
 *
 * The file does not shrink; freed pages are used again for new events.
 *
 * Thread: main until the engine starts, then the writer.
 * Fails:  events that do not replay, or that made a row which says otherwise by now, are kept, with one line on
 *         stderr, and retention stops until the next start;
 *         a failed transaction makes retention_step() return -1, and the caller acts on it.
 */
#ifndef FLASHD_PERSIST_RETENTION_H
#define FLASHD_PERSIST_RETENTION_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/id.h"
#include "engine/now.h"

enum {
    RETENTION_STEP_EVENTS = 256,
    RETENTION_STEP_US = 500,
    RETENTION_IDLE_MS = 5,
    RETENTION_BUSY_MS = 100,
    RETENTION_LOOK_MS = 1000, /* when nothing was old enough */
};

/* A thread that reads events page by page holds the gate meanwhile, so that none is removed while it reads. The writer
 * never waits for the gate: a step that finds it taken is left out. Any thread may take it. */
struct retention_gate {
    _Atomic bool taken;
};
/* False: it is taken; by a step, for a millisecond, or by a reader, for as long as that reads. */
static inline bool retention_gate_take(struct retention_gate *gate)
{
    return !atomic_exchange_explicit(&gate->taken, true, memory_order_acquire);
}
static inline void retention_gate_give_back(struct retention_gate *gate)
{
    atomic_store_explicit(&gate->taken, false, memory_order_release);
}

struct retention;

/* keep_ms: how old an event may become. Borrows the connection and the gate. NULL when out of memory or when SQLite
 * fails. */
struct retention *retention_new(sqlite3 *db, keyed_hash *hash, int64_t keep_ms,
                                struct retention_gate *gate);
void retention_free(struct retention *retention);

/* Call it outside any transaction. published: no event after this one is removed. busy: a batch was just written.
 * Returns ms until it wants to be called again, -1 when SQLite failed. */
int64_t retention_step(struct retention *retention, uint64_t published, struct now now, bool busy);
/* Whether the last look left something to remove. */
bool retention_is_behind(const struct retention *retention);

#endif
