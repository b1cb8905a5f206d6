/*
 * reconcile.h: the running server's tables and events, compared with each other and with memory.
 *
 * Thread: opened and closed on main; used by the reconciler alone (engine/reconcile.h calls it).
 * Does:   replays every event, from nothing or from the baseline that retention left (baseline.h), and checks
 *         each payload; meets what readers saw of each sale at the very seq at which they saw it; then compares
 *         every sale's row with the replay as of one seq S, and of every order that was made by then its row and
 *         committed memory. What has moved on since S is compared at the seq to which it has moved, with the
 *         events up to there.
 * Reads:  a page at a time, each in a read transaction of its own, of some milliseconds, so that the
 *         write-ahead log can be reset; only the last events before S and the sales' rows share one. Retention
 *         stands still while it runs.
 * Memory: 8 bytes an event while it runs; nothing that grows between runs.
 * Fails:  ledger_open() with a line; a run with a static sentence, and SQLite's in the log.
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
