/*
 * recovery.h: rebuilds the engine's memory from flashd.db, checking as it goes.
 *
 * Thread: main, between engine_init() and engine_start().
 * Does:   reads sales and orders; replays every event on the baseline (baseline.h; while there is none, from
 *         nothing). The seqs must have no gap, and each order's last state and each sale's counters must be what
 *         the rows say, columns and all; what was made before the baseline must have its digests. Remaining hold times
 *         are clamped.
 * Fails:  with one line that names the check; the caller must not start.
 */
#ifndef FLASHD_PERSIST_RECOVERY_H
#define FLASHD_PERSIST_RECOVERY_H

#include "engine/now.h"
#include "persist/store.h"

struct engine;

struct recovery {
    uint64_t sales, orders;
    uint64_t baseline, events; /* events up to seq `baseline` are removed; so many follow */
    uint64_t waiting, held;    /* orders that are still open */
    uint64_t wrong_seq;        /* the first seq at which a check failed; 0 for none */
};

bool recover(sqlite3 *db, struct engine *engine, struct now now, struct recovery *found,
             char *error, size_t error_bytes);

#endif
