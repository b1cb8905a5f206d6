/*
 * baseline.h: what retention leaves in the place of the events that it removes.
 *
 * The baseline at seq B says what every sale and order was after event B; events up to B are gone, those after
 * it are all there. So recovery and audit replay the rest as always, but begin with the baseline, not with nothing:
 *
 *   baseline         B; 0 while nothing has been removed
 *   baseline_sales   a row per sale made up to B: its counters after B, and a digest of its orders as of B
 *   baseline_orders  a row per order that was open after B: waiting, or in payment
 *
 * Nothing more is kept of orders, since their rows stay: what a row says of buyer, sale and quantity never
 * changes, and of the orders that were not open at B only an expired one still moves (a late payment). Hence,
 * for an order made up to B that the baseline does not list:
 *
 *   its last event lies up to B    its state at B is its row's, and must not be an open one
 *   it has events after B          it was expired at B
 *
 * baseline_orders is thus as small as the number of open orders, and a purchase writes nothing to it. The digest
 * lets an audit see that a row whose events are gone was changed or removed. It is the sum, over the sale's
 * orders, of a keyed hash of each as of B, since a sum can be moved on event by event.
 *
 * Thread: any; pure but for reading. Fails: as said below.
 */
#ifndef FLASHD_PERSIST_BASELINE_H
#define FLASHD_PERSIST_BASELINE_H

#include <sqlite3.h>

#include "engine/books.h"
#include "engine/id.h"

/* Rows for baseline_sale_of(), by seq. */
extern const char baseline_sales_sql[];
/* Rows of seq, state, by seq. */
extern const char baseline_orders_sql[];

struct baseline_sale {
    uint64_t seq;
    struct books books;
    uint64_t digest;
};

/* The part of an order that goes into its sale's digest. */
struct baseline_order {
    uint64_t seq, sale_seq;
    uint32_t quantity;
    enum order_state state; /* as of B */
    int64_t created_at_ms;
    const char *name; /* borrowed */
    size_t name_bytes;
};

/* False: SQLite failed. */
bool baseline_seq(sqlite3 *db, uint64_t *seq);
struct baseline_sale baseline_sale_of(sqlite3_stmt *row);
uint64_t baseline_digest(keyed_hash *hash, const struct baseline_order *order);

static inline bool baseline_lists(enum order_state state)
{
    return state == ORDER_WAITING || state == ORDER_PAYMENT;
}
/* The state at B of an order made up to B that the baseline does not list. row: the state in its row; last_seq:
 * of its last event. */
static inline enum order_state baseline_unlisted(enum order_state row, uint64_t last_seq,
                                                 uint64_t b)
{
    return last_seq <= b ? row : ORDER_EXPIRED;
}

#endif
