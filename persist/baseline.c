/*
 * baseline.c: see baseline.h.
 *
 * Thread: any. In: rows. Out: plain data. Fails: when SQLite does.
 */
#include "persist/baseline.h"

#include <string.h>

#include "engine/bounds.h"
#include "persist/row.h"

const char baseline_sales_sql[] =
    "SELECT b.seq, s.product_qty, b.state, b.sold_out, b.available, b.held, b.sold, b.waiting,"
    " b.last_seq, b.terms, b.digest"
    " FROM baseline_sales b LEFT JOIN sale_rows s USING (seq) ORDER BY b.seq";
const char baseline_orders_sql[] =
    "SELECT seq, state, refund_due, updated_at_ms, last_seq FROM baseline_orders ORDER BY seq";
const char baseline_strays_sql[] =
    "SELECT b.seq FROM baseline_orders b LEFT JOIN order_rows o ON o.seq = b.seq"
    " WHERE o.seq IS NULL OR b.seq > (SELECT seq FROM baseline) ORDER BY b.seq";

bool baseline_seq(sqlite3 *db, uint64_t *seq, const char **wrong)
{
    sqlite3_stmt *find = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT seq FROM baseline", -1, &find, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(find);
    *wrong = NULL;
    if (rc == SQLITE_ROW && are_numbers(find, 0, 0) && sqlite3_column_int64(find, 0) >= 0)
        *seq = number_at(find, 0);
    else if (rc == SQLITE_ROW)
        *wrong = "the baseline's seq is not one";
    else if (rc == SQLITE_DONE)
        *wrong = "the baseline has no row: it is unknown up to which seq events were removed";
    sqlite3_finalize(find);
    return rc == SQLITE_ROW && *wrong == NULL;
}

struct baseline_sale baseline_sale_of(sqlite3_stmt *row)
{
    return (struct baseline_sale){.seq = number_at(row, 0),
                                  .books = {.seq = number_at(row, 8),
                                            .product_qty = count_at(row, 1),
                                            .available = count_at(row, 4),
                                            .held = count_at(row, 5),
                                            .sold = count_at(row, 6),
                                            .waiting = count_at(row, 7),
                                            .state = (uint8_t)count_at(row, 2),
                                            .sold_out = count_at(row, 3) != 0},
                                  .terms = number_at(row, 9),
                                  .digest = number_at(row, 10)};
}

/* ---- an order as of B ---- */

enum { LISTED = ORDER_ROW_COLUMN_COUNT, COLUMNS = LISTED + 4 }; /* of BASELINE_ORDER_ROWS */

/* An order that has not moved since must still be as it is listed. */
static const char *take_listed(sqlite3_stmt *row, uint64_t b, struct order_row *order)
{
    const struct order_row stays = *order;
    uint64_t state = number_at(row, LISTED);
    order->state = (enum order_state)state;
    order->refund_due = number_at(row, LISTED + 1) != 0;
    order->updated_at_ms = sqlite3_column_int64(row, LISTED + 2);
    order->last_seq = number_at(row, LISTED + 3);
    if (order->state == ORDER_WAITING)
        order->expires_at_ms = NO_EXPIRY;
    if (!are_numbers(row, LISTED, COLUMNS - 1) || state >= ORDER_STATE_COUNT ||
        !(baseline_is_open(order->state) || order->state == ORDER_EXPIRED) || order->last_seq > b)
        return "the baseline lists an order that was not open";
    bool same = stays.state == order->state && stays.refund_due == order->refund_due &&
                stays.updated_at_ms == order->updated_at_ms &&
                stays.expires_at_ms == order->expires_at_ms && stays.last_seq == order->last_seq;
    return stays.last_seq > b || same ? NULL : "an order's row is not what the baseline says (G4)";
}

const char *baseline_order_of(sqlite3_stmt *row, uint64_t b, struct order_row *order)
{
    if (sqlite3_column_type(row, LISTED) != SQLITE_NULL)
        return take_listed(row, b, order);
    if (order->last_seq > b)
        return "an order's row is not what it was, and the baseline does not list it (G4)";
    return baseline_is_open(order->state)
               ? "an order's row is open, and the baseline does not list it (G4)"
               : NULL;
}

/* ---- digests ---- */

uint64_t baseline_digest(keyed_hash *hash, const struct order_row *order)
{
    struct {
        uint64_t seq, sale_seq, quantity, state, refund_due, last_seq;
        int64_t created_at_ms, updated_at_ms, expires_at_ms;
        char name[BUYER_NAME_BYTES_MAX];
    } message = {.seq = order->seq,
                 .sale_seq = order->sale_seq,
                 .quantity = order->quantity,
                 .state = (uint64_t)order->state,
                 .refund_due = order->refund_due,
                 .last_seq = order->last_seq,
                 .created_at_ms = order->created_at_ms,
                 .updated_at_ms = order->updated_at_ms,
                 .expires_at_ms = order->expires_at_ms};
    size_t bytes =
        order->name_bytes < sizeof message.name ? order->name_bytes : sizeof message.name;
    memcpy(message.name, order->name, bytes);
    return hash(&message, offsetof(__typeof__(message), name) + bytes);
}

uint64_t baseline_terms(keyed_hash *hash, uint64_t sale_seq, const struct sale_terms *terms)
{
    struct {
        uint64_t seq, product_qty, max_per_buyer, waitlist_max, hold_ms;
        int64_t starts_at_ms, ends_at_ms;
        char name[SALE_NAME_BYTES_MAX + 1];
    } message = {.seq = sale_seq,
                 .product_qty = terms->product_qty,
                 .max_per_buyer = terms->max_per_buyer,
                 .waitlist_max = terms->waitlist_max,
                 .hold_ms = terms->hold_ms,
                 .starts_at_ms = terms->starts_at_ms,
                 .ends_at_ms = terms->ends_at_ms};
    size_t bytes = strnlen(terms->name, SALE_NAME_BYTES_MAX);
    memcpy(message.name, terms->name, bytes);
    return hash(&message, offsetof(__typeof__(message), name) + bytes);
}
