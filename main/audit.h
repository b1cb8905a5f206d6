/*
 * audit.h: `flashd audit DIR [--json]`: do the books of a data directory balance?
 *
 * Checks the file's pages, then everything that persist/audit.h says, on a read-only snapshot. Works beside a
 * running server and on read-only media: it takes no lock and changes no data; where it may write,
 * SQLite leaves a flashd.db-shm and an empty WAL. On a terminal, a bar on stderr shows how far it is.
 *
 * Thread: main.
 */
#ifndef FLASHD_MAIN_AUDIT_H
#define FLASHD_MAIN_AUDIT_H

/* argv: what follows "audit". Exit status: 0 the books balance, 1 they do not (or the file can't be read),
 * 2 bad arguments. */
int audit_run(int argc, char **argv);

#endif
