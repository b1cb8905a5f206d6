/*
 * checkpoint.h: copies what the write-ahead log (WAL) has into the database, in pieces between commits.
 *
 * A checkpoint of the whole WAL copies its pages and syncs the database, and commits wait for one to two milliseconds
 * meanwhile. In pieces nobody waits that long: a read transaction of our own, the pin, marks how far the next piece
 * goes, because SQLite copies no further than the snapshot of its oldest reader. It does not sync the database after
 * such a piece either. The last piece, without a pin, copies the few pages that are left, syncs, and lets SQLite begin
 * the WAL anew.
 *
 * Until then the WAL keeps every page, so a power loss between two pieces costs nothing: recovery copies them again.
 * A sync that fails is another matter: SQLite counts what a piece has copied as done, and would not copy it again.
 * Source: walCheckpoint() in SQLite's wal.c; "Checkpointing" in https://sqlite.org/wal.html.
 *
 * Thread: the store's: main until the engine starts, then the writer. The pin only reads, in the same thread: still one
 *         connection writes and checkpoints.
 */
#ifndef FLASHD_PERSIST_CHECKPOINT_H
#define FLASHD_PERSIST_CHECKPOINT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

struct checkpointer {
    sqlite3 *db; /* the connection that writes; borrowed */
    sqlite3 *pin;
    sqlite3_stmt *hold; /* the pin's read transaction, while it stands at a row */
    int wal_pages;      /* in the WAL after the last commit */
    int pinned_pages;   /* of those, up to the pin */
};

/* After the database was opened. False: a line in error; checkpoint_close() is safe then. */
bool checkpoint_open(struct checkpointer *checkpointer, sqlite3 *db, const char *data_dir,
                     char *error, size_t error_bytes);
/* Before the connection that writes is closed, so that this is the last one: its close checkpoints. */
void checkpoint_close(struct checkpointer *checkpointer);

enum checkpointed {
    CHECKPOINT_NONE, /* it was not time */
    CHECKPOINT_DONE, /* as far as others' readers allow */
    /* It failed, with a line on stderr, and may be tried again: the WAL still has its pages. */
    CHECKPOINT_AGAIN,
    /* A sync failed: what had been written before it may never reach the disk, and pieces are not copied twice. Only a
     * restart is safe: it reads the WAL from the disk and copies all of it. */
    CHECKPOINT_LOST
};
/* In a quiet moment: all of the WAL if it has so many pages, else a piece if it has grown by one since the last. */
enum checkpointed checkpoint_some(struct checkpointer *checkpointer, int all_at_pages);
enum checkpointed checkpoint_all(struct checkpointer *checkpointer);

#endif
