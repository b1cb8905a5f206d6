/*
 * baseline.h: what retention leaves in the place of the events that it removes.
 *
 * The baseline at seq B says what every sale and order was after event B; events up to B are gone, those after
 * it are all there. So recovery and audit replay the rest as always, but begin with the baseline, not with nothing:
 *
 *   baseline         B; 0 while nothing has been removed. Its one row is made with the file, and always there
 *   baseline_sales   a row per sale made up to B: its counters after B, a digest of its terms, and one of its
 *                    orders as of B
 *   baseline_orders  a row per order whose row may not be, or may not stay, what it was at B: open orders (waiting,
 *                    or in payment), and expired ones that have events after B (a payment came late)
 *
 * The rows of sales and orders stay, so nothing else is kept of them: an order is at B what baseline_orders says
 * of it, else what its row says. Who moves an order after B overwrites what its row said at B, hence the second
 * kind: retention lists an expired order when it meets its expiry and the row says that more has happened; and the
 * store lists one before it moves it on, when its last event is gone (the only move of an order that is not open,
 * and a rare one: a purchase writes nothing here). Buyer, sale, quantity and created_at_ms never change,
 * and expires_at_ms changes only when an order leaves the waiting list, so these are always the row's.
 *
 * The digests let an audit, a start and a reconciliation see that a row whose events are gone was changed or
 * removed; they cover every column but those that can be checked without events (tag). That of the orders is the
 * sum of a keyed hash of each as of B, since a sum can be moved on event by event, by what the event says.
 *
 * Thread: any; pure but for reading. Fails: as said below.
 */
#ifndef FLASHD_PERSIST_BASELINE_H
#define FLASHD_PERSIST_BASELINE_H

#include <sqlite3.h>

#include "engine/books.h"
#include "engine/id.h"
#include "engine/sale.h"
#include "persist/order_row.h"

/* Rows for baseline_sale_of(), by seq. */
extern const char baseline_sales_sql[];
/* Rows of seq, state, refund_due, updated_at_ms, last_seq, by seq. */
extern const char baseline_orders_sql[];
/* The seqs that baseline_orders should not have: there is no such order, or it was made after B. */
extern const char baseline_strays_sql[];
/* Rows for baseline_order_of(); a WHERE and an ORDER BY may follow. */
#define BASELINE_ORDER_ROWS                                                                        \
    "SELECT " ORDER_ROW_COLUMNS ", b.state, b.refund_due, b.updated_at_ms, b.last_seq"             \
    " FROM order_rows o LEFT JOIN baseline_orders b ON b.seq = o.seq"

struct baseline_sale {
    uint64_t seq;
    struct books books;
    uint64_t terms;  /* baseline_terms() of it */
    uint64_t digest; /* of its orders */
};

/* False: *wrong, a static sentence, says what is wrong with it; or is NULL, and SQLite failed. */
bool baseline_seq(sqlite3 *db, uint64_t *seq, const char **wrong);
struct baseline_sale baseline_sale_of(sqlite3_stmt *row);
/* *order, made up to b, which is the baseline's seq, is as order_row_of() has read it from this row, well-formed; it
 * becomes what it was at b. NULL; or what is wrong, a static sentence. */
const char *baseline_order_of(sqlite3_stmt *row, uint64_t b, struct order_row *order);

/* Of an order as of B. */
uint64_t baseline_digest(keyed_hash *hash, const struct order_row *order);
/* A digest of what never changes of a sale. */
uint64_t baseline_terms(keyed_hash *hash, uint64_t sale_seq, const struct sale_terms *terms);

static inline bool baseline_is_open(enum order_state state)
{
    return state == ORDER_WAITING || state == ORDER_PAYMENT;
}

#endif
