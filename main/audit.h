/*
 * audit.h: `flashd audit DIR [--json]`: do the books of a data directory balance?
 *
 * Checks the file, then does what recovery does, on a read-only snapshot: replays every event on fresh
 * books (G1, G4, G5), compares each order and each sale with its row, and looks for buyers with two live
 * orders (G3). Works beside a running server: it takes no lock and writes nothing.
 *
 * Thread: main. Memory: as much as the server itself needs for the same data.
 */
#ifndef FLASHD_MAIN_AUDIT_H
#define FLASHD_MAIN_AUDIT_H

/* argv: what follows "audit". Exit status: 0 the books balance, 1 they do not (or the file can't be read),
 * 2 bad arguments. */
int audit_run(int argc, char **argv);

#endif
