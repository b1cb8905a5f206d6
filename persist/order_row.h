/*
 * order_row.h: an order as its row in order_rows has it, read in one place: for the audit, the start, and the baseline.
 *
 * Thread: the statement's. Fails: as said below.
 */
#ifndef FLASHD_PERSIST_ORDER_ROW_H
#define FLASHD_PERSIST_ORDER_ROW_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/order.h"

/* Of order_rows o, in the order in which order_row_of() takes them; others may follow. */
#define ORDER_ROW_COLUMNS                                                                          \
    "o.seq, o.tag, o.sale, o.buyer, o.quantity, o.state, o.refund_due, o.created_at_ms,"           \
    " o.updated_at_ms, o.expires_at_ms, o.last_seq"
enum { ORDER_ROW_COLUMN_COUNT = 11 };

struct order_row {
    uint64_t seq, tag, sale_seq, quantity, last_seq;
    enum order_state state;
    bool refund_due;
    int64_t created_at_ms, updated_at_ms, expires_at_ms; /* the last one may be NO_EXPIRY (row.h) */
    const char *name; /* borrowed from the statement until its next step */
    size_t name_bytes;
};

/* False: it is malformed; what it has stands in *order all the same. */
bool order_row_of(sqlite3_stmt *row, struct order_row *order);

#endif
