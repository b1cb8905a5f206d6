/*
 * store.h: flashd.db: one SQLite connection that does all writes and all checkpoints.
 *
 * Usage, main: store_open -> store_key -> (engine_init with store_last_seq and store_journal) ->
 *              recover(), keys_recover() -> store_retain -> engine_start … engine_stop -> store_close
 *
 * Thread: main until engine_start(), then the writer alone (SQLite before 3.51.3 can lose commits when two
 *         connections write or checkpoint at once), then main again.
 * In:     batches of events through struct journal_store.
 * Out:    one transaction per batch, WAL with synchronous=FULL: a commit returns when it is on the disk.
 * Fails:  store_open() with one line that names what and why; a failed write through the journal, which
 *         stops the process.
 */
#ifndef FLASHD_PERSIST_STORE_H
#define FLASHD_PERSIST_STORE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/id.h"
#include "engine/journal.h"

struct store;

/* database_open(), to write. min_free_bytes: with less free space, storage_full() of the journal's store is true. NULL
 * and a line in error (no newline) on failure. */
struct store *store_open(const char *data_dir, uint64_t min_free_bytes, char *error,
                         size_t error_bytes);
/* database_close(). NULL is fine. */
void store_close(struct store *store);

/* As its database has them (database.h). The key is borrowed. */
const unsigned char *store_key(const struct store *store);
uint64_t store_last_seq(const struct store *store);
uint64_t store_published(const struct store *store);
/* The connection that writes: for recovery. */
sqlite3 *store_db(struct store *store);
/* The store as the journal uses it; hash is the keyed hash made with store_key(). */
struct journal_store store_journal(struct store *store, keyed_hash *hash);
/* From now on, published events older than keep_ms are removed whenever the writer has a moment (retention.h);
 * 0 keeps all. After store_journal(). False when out of memory or when SQLite fails. */
bool store_retain(struct store *store, int64_t keep_ms);
/* The gate that holds removal up while another thread reads events (retention.h). Borrowed. */
struct retention_gate *store_retention_gate(struct store *store);

#endif
