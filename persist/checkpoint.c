/*
 * checkpoint.c: see checkpoint.h.
 *
 * Happy path: copy_piece: copy up to the pin, move the pin; … checkpoint_all: let go of the pin, copy the rest, sync.
 *
 * Failure modes: pages that could not be written, or a pin that could not be set, are left to the next piece: SQLite
 * counts a piece only when all of it was written, and reuses the WAL only once the database is synced. A sync that
 * failed is the end (CHECKPOINT_LOST).
 *
 * Thread: the store's (checkpoint.h).
 */
#include "persist/checkpoint.h"

#include "engine/diag.h"
#include "engine/now.h"
#include "engine/step.h"
#include "persist/database.h"

#ifdef FLASHD_SMALL /* see engine/bounds.h */
enum { PIECE_PAGES = 8 };
#else
enum { PIECE_PAGES = 100 };
#endif

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct checkpointer *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

bool checkpoint_open(struct checkpointer *c, sqlite3 *db, const char *data_dir, char *error,
                     size_t error_bytes)
{
    *c = (struct checkpointer){.db = db, .pin = database_open_reader(data_dir, error, error_bytes)};
    if (c->pin == NULL)
        return false;
    if (sqlite3_prepare_v3(c->pin, "SELECT seq FROM baseline", -1, SQLITE_PREPARE_PERSISTENT,
                           &c->hold, NULL) != SQLITE_OK)
        return database_fail(c->pin, "schema", error, error_bytes);
    sqlite3_wal_hook(db, on_wal, c);
    return true;
}

void checkpoint_close(struct checkpointer *c)
{
    sqlite3_finalize(c->hold);
    (void)sqlite3_close(c->pin);
}

static void unpin(struct checkpointer *c)
{
    (void)sqlite3_reset(c->hold);
    c->pinned_pages = 0;
}

/* Also when the transaction cannot begin: then the next piece goes as far as it may. */
static void pin(struct checkpointer *c)
{
    (void)sqlite3_step(c->hold);
    c->pinned_pages = c->wal_pages;
}

/* Neither waits for readers nor keeps them out. */
static enum checkpointed copy_pages(const struct checkpointer *c)
{
    int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc == SQLITE_OK || rc == SQLITE_BUSY)
        return CHECKPOINT_DONE;
    diag(DIAG_ERROR, "checkpoint failed: %s", sqlite3_errmsg(c->db));
    bool lost =
        sqlite3_extended_errcode(c->db) == SQLITE_IOERR_FSYNC && !FAULT(FAULT_FORGET_LOST_PIECE);
    return lost ? CHECKPOINT_LOST : CHECKPOINT_AGAIN;
}

static enum checkpointed copy_piece(struct checkpointer *c)
{
    enum checkpointed copied = CHECKPOINT_DONE;
    if (c->pinned_pages > 0) {
        copied = copy_pages(c);
        unpin(c);
    }
    pin(c);
    return copied;
}

enum checkpointed checkpoint_all(struct checkpointer *c)
{
    int pages = c->wal_pages;
    int64_t began_mono_ms = now_read().mono_ms;
    unpin(c);
    enum checkpointed copied = copy_pages(c);
    c->wal_pages = 0;
    diag(DIAG_DEBUG, "checkpoint of %d pages took %lld ms", pages,
         (long long)(now_read().mono_ms - began_mono_ms));
    return copied;
}

enum checkpointed checkpoint_some(struct checkpointer *c, int all_at_pages)
{
    if (c->wal_pages >= all_at_pages)
        return checkpoint_all(c);
    return c->wal_pages >= c->pinned_pages + PIECE_PAGES ? copy_piece(c) : CHECKPOINT_NONE;
}
