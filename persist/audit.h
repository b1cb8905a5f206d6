/*
 * audit.h: rebuilds every sale and order from the events alone and compares them with the tables.
 *
 * One pass over the events in order of seq, on a snapshot (database_open_snapshot(), which has checked the file's
 * pages). It shares with the server only the rules of an event (engine/books.h) and the text of a payload
 * (engine/payload.h), not the server's memory: nothing is kept of an event, and little of an order
 * (audit_orders.h), so it runs in bounded memory beside a server of any size. For each event:
 *
 *   the run of seqs has no gap and no duplicate; the event's sale and order have rows
 *   the move is allowed and no unit is taken that is not there (G1, G4); one live order a buyer (G3)
 *   the payload is, byte for byte, what the rows and the books give: ids, buyer, quantity, counters
 *   at the last event of an order or a sale, its row is as the event left it
 *
 * At the end, the last event that each row names must have come. Where retention has removed events, all of this
 * holds from the baseline on, and sales and orders from before are compared with its digests (baseline.h).
 *
 * An event's time is the one in its payload; its created_at_ms, which retention goes by, must be the same.
 *
 * Thread: any, one. Memory: 1 byte an event, 11 to 21 bytes a live order, 1.5 KiB a sale, SQLite's page cache.
 * Fails:  with findings; the first lies at the first seq that diverges.
 */
#ifndef FLASHD_PERSIST_AUDIT_H
#define FLASHD_PERSIST_AUDIT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/id.h"

enum { AUDIT_FINDINGS_MAX = 8, AUDIT_DETAIL_BYTES = 512 };

struct audit_finding {
    const char *check; /* static: "missing-event", "changed-order", …; README.md has them all */
    uint64_t seq;      /* where; 0 when it has no place among the events */
    char detail[AUDIT_DETAIL_BYTES];
};

struct audit_report {
    uint64_t sales, orders, held, waiting; /* rows read */
    uint64_t baseline;                     /* events up to this seq have been removed */
    uint64_t events, last_seq;             /* read, from the baseline on */
    uint32_t finding_count;                /* 0: the books balance */
    struct audit_finding findings[AUDIT_FINDINGS_MAX];
};

/* Called now and then: done, of total events (and orders from before the baseline). */
typedef void audit_progress(void *arg, uint64_t done, uint64_t total);

/* hash: keyed with the database's key. progress may be NULL. */
void audit(sqlite3 *db, keyed_hash *hash, audit_progress *progress, void *arg,
           struct audit_report *report);

void audit_find(struct audit_report *report, const char *check, uint64_t seq, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

#endif
