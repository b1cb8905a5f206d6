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
    " b.last_seq, b.digest FROM baseline_sales b LEFT JOIN sale_rows s USING (seq) ORDER BY b.seq";
const char baseline_orders_sql[] = "SELECT seq, state FROM baseline_orders ORDER BY seq";

bool baseline_seq(sqlite3 *db, uint64_t *seq)
{
    sqlite3_stmt *find = NULL;
    bool found = sqlite3_prepare_v2(db, "SELECT seq FROM baseline", -1, &find, NULL) == SQLITE_OK &&
                 sqlite3_step(find) == SQLITE_ROW;
    if (found) /* a value that is no integer counts as beyond all events */
        *seq = sqlite3_column_type(find, 0) == SQLITE_INTEGER ? number_at(find, 0) : INT64_MAX;
    sqlite3_finalize(find);
    return found;
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
                                  .digest = number_at(row, 9)};
}

uint64_t baseline_digest(keyed_hash *hash, const struct baseline_order *order)
{
    struct {
        uint64_t seq, sale_seq, quantity, state;
        int64_t created_at_ms;
        char name[BUYER_NAME_BYTES_MAX];
    } message = {order->seq,           order->sale_seq,
                 order->quantity,      (uint64_t)order->state,
                 order->created_at_ms, ""};
    size_t bytes =
        order->name_bytes < sizeof message.name ? order->name_bytes : sizeof message.name;
    memcpy(message.name, order->name, bytes);
    return hash(&message, offsetof(__typeof__(message), name) + bytes);
}
