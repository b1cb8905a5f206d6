/*
 * reconcile.h: the running server's tables and events, compared with each other and with memory.
 *
 * Thread: opened and closed on main; used by the reconciler alone (engine/reconcile.h calls it).
 * Does:   replays every event, from nothing or from the baseline that retention left (baseline.h), and checks
 *         each payload; compares what readers saw of each sale with the replay at the very seq at which they saw
 *         it; then, with the replay as of one seq S, every sale's row, and the row and the committed memory of
 *         every order made by then. What has moved on since S is compared at the seq to which it has moved, with
 *         the events up to there.
 * Reads:  a page at a time, each in a read transaction of its own, of some milliseconds, so that the WAL can be
 *         reset; only the last events before S and the sales' rows share one. Retention stands still while a run
 *         goes on.
 * Memory: 8 bytes per event during a run; nothing that grows between runs.
 * Fails:  ledger_open() with a line; a run with a static sentence, and with SQLite's message on stderr.
 */
#ifndef FLASHD_PERSIST_RECONCILE_H
#define FLASHD_PERSIST_RECONCILE_H

#include "engine/reconcile.h"

struct ledger;

struct retention_gate;

/* A read-only connection of its own; borrows the gate, which a run holds. NULL and a line in error (no newline) on
 * failure. */
struct ledger *ledger_open(const char *data_dir, struct retention_gate *gate, char *error,
                           size_t error_bytes);
void ledger_close(struct ledger *ledger);
/* Borrows the ledger. */
struct reconcile_store ledger_store(struct ledger *ledger);

#endif
