/*
 * keys.h: answers of idempotency keys in flashd.db (table key_rows), and the way back into memory.
 *
 * A row is written in the transaction of the event that it answers with; a refusal's in one that holds all that
 * the refusal saw, or in a later one. Rows are appended, and every 64 new ones remove, at the other end, up to 128
 * that are older than KEY_KEEP_MS: nothing is done for keys while none comes. The table holds as many rows as the
 * engine's table has slots for keys (KEY_SLOTS per bucket), some 60 bytes each, and at most as many again that are
 * old.
 *
 * A row's seal is a keyed hash of what it says, but for when the key was asked: no event knows of the key or the
 * body, so nothing else could tell that a row was changed to name, say, another buyer's order.
 *
 * Thread: main at start, then the writer; one connection, the store's.
 * Fails:  with SQLite's message; keys_recover() with one line that says what to do.
 */
#ifndef FLASHD_PERSIST_KEYS_H
#define FLASHD_PERSIST_KEYS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/id.h"
#include "engine/keys.h"

struct engine;

struct key_rows {
    sqlite3_stmt *add, *remove_old;
    uint64_t added;
};

/* False: sqlite3_errmsg() says why. */
bool key_rows_prepare(struct key_rows *rows, sqlite3 *db);
void key_rows_finalize(struct key_rows *rows);
/* Call it within a transaction. */
bool key_rows_add(struct key_rows *rows, const struct kept *kept, struct now now, keyed_hash *hash);

/* After recover(): puts the keys of the last KEY_KEEP_MS into the engine's table; *count: how many. */
bool keys_recover(sqlite3 *db, struct engine *engine, struct now now, uint64_t *count, char *error,
                  size_t error_bytes);

/* For an audit, on a snapshot: every row's answer can be repeated, every kept success has its event, no key has two
 * answers within KEY_KEEP_MS, and every row is as it was written. False: *wrong_seq, and a line in error. */
bool keys_audit(sqlite3 *db, keyed_hash *hash, uint64_t *wrong_seq, char *error,
                size_t error_bytes);

#endif
