/*
 * order_row.c: see order_row.h.
 *
 * Thread: the statement's. In: a row. Out: plain data.
 */
#include "persist/order_row.h"

#include "engine/bounds.h"
#include "persist/row.h"

bool order_row_of(sqlite3_stmt *row, struct order_row *order)
{
    *order = (struct order_row){.seq = number_at(row, 0),
                                .tag = number_at(row, 1),
                                .sale_seq = number_at(row, 2),
                                .name = (const char *)sqlite3_column_text(row, 3),
                                .name_bytes = (size_t)sqlite3_column_bytes(row, 3),
                                .quantity = number_at(row, 4),
                                .state = (enum order_state)number_at(row, 5),
                                .refund_due = number_at(row, 6) != 0,
                                .created_at_ms = sqlite3_column_int64(row, 7),
                                .updated_at_ms = sqlite3_column_int64(row, 8),
                                .expires_at_ms = expiry_at(row, 9),
                                .last_seq = number_at(row, 10)};
    bool numbers = are_numbers(row, 0, 2) && are_numbers(row, 4, 8) && are_numbers(row, 10, 10);
    return numbers && sqlite3_column_type(row, 3) == SQLITE_TEXT && order->name != NULL &&
           order->name_bytes >= 1 && order->name_bytes <= BUYER_NAME_BYTES_MAX &&
           order->quantity <= PRODUCT_QTY_MAX && number_at(row, 5) != ORDER_NONE &&
           number_at(row, 5) < ORDER_STATE_COUNT && number_at(row, 6) <= 1 &&
           order->expires_at_ms != BAD_EXPIRY;
}
