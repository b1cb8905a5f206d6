/*
 * database.h: the data directory and flashd.db in it: locked, checked, opened; to write, or as a snapshot to read.
 *
 * Thread: to write: main at start and at the end; a snapshot: whoever opened it.
 * In:     a directory's path.
 * Out:    an open SQLite connection whose file has been checked.
 * Fails:  with one line that names the file, the check and what was wrong (no newline).
 */
#ifndef FLASHD_PERSIST_DATABASE_H
#define FLASHD_PERSIST_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DATABASE_KEY_BYTES = 16, DATA_DIR_BYTES_MAX = 1024 };

/* The one connection that writes, and the lock that keeps a second process out. */
struct database {
    sqlite3 *db;
    int lock_fd;                           /* the locked data directory; -1 while closed */
    unsigned char key[DATABASE_KEY_BYTES]; /* for ids and names; random, made with the database */
    char dir[DATA_DIR_BYTES_MAX];
};

/* Creates directory and database where they are missing, locks them against a second process, checks the file, and
 * makes sure that all of what it shows is on the disk. False: nothing is open. */
bool database_open(struct database *database, const char *data_dir, char *error,
                   size_t error_bytes);
/* Checkpoints, closes, unlocks. It may be closed already. */
void database_close(struct database *database);

/* A read-only connection beside the server's own, for short reads. NULL and a line in error on failure. */
sqlite3 *database_open_reader(const char *data_dir, char *error, size_t error_bytes);
/* A read-only connection inside one read transaction, its file checked: for audits, beside a running server or without
 * one. NULL and a line in error on failure; *damaged: it failed because of what the file holds, not because the file
 * cannot be read. */
sqlite3 *database_open_snapshot(const char *data_dir, bool *damaged, char *error,
                                size_t error_bytes);
void database_close_snapshot(sqlite3 *db);

/* --- what a file says of itself, on any connection --- */
/* seq of the last event that was ever in the file; 0 for none. */
uint64_t database_last_seq(sqlite3 *db);
/* seq of the last event that had been handed to the streams. */
uint64_t database_published(sqlite3 *db);
/* False: there is no key, or it cannot be read. */
bool database_key(sqlite3 *db, unsigned char key[DATABASE_KEY_BYTES]);

/* Writes into error that this check of the file failed, and what SQLite says. Always false. */
bool database_fail(sqlite3 *db, const char *check, char *error, size_t error_bytes);

#endif
