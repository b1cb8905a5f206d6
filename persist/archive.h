/*
 * archive.h: the event archive (engine/archive.h) on flashd.db: a read-only connection of its own.
 *
 * Thread: opened and closed on main; read by the broadcaster alone. A page is one short read transaction, so
 *         that it never keeps the WAL from being reset.
 * Fails:  archive_open() with a line in error; a failed read with a line on stderr and -1.
 */
#ifndef FLASHD_PERSIST_ARCHIVE_H
#define FLASHD_PERSIST_ARCHIVE_H

#include "engine/archive.h"

struct archive;

/* NULL and a line in error (no newline) on failure. */
struct archive *archive_open(const char *data_dir, char *error, size_t error_bytes);
void archive_close(struct archive *archive);
/* Borrows the archive. */
struct event_archive archive_reader(struct archive *archive);

#endif
