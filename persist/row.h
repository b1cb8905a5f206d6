/*
 * row.h: what every reader and writer of rows needs on top of SQLite's own calls.
 *
 * Thread: the statement's. Nothing is kept.
 */
#ifndef FLASHD_PERSIST_ROW_H
#define FLASHD_PERSIST_ROW_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* The 64 bits as they were stored; a negative seq or count, which flashd never writes, is beyond all bounds. */
static inline uint64_t number_at(sqlite3_stmt *row, int column)
{
    return (uint64_t)sqlite3_column_int64(row, column);
}

/* A number that does not fit becomes the largest, which no number of flashd equals. */
static inline uint64_t at_most(uint64_t number, uint64_t most)
{
    return number < most ? number : most;
}
static inline uint32_t count_at(sqlite3_stmt *row, int column)
{
    return (uint32_t)at_most(number_at(row, column), UINT32_MAX);
}

/* Whether columns from … to hold integers, not values that SQLite would convert to one. */
static inline bool are_numbers(sqlite3_stmt *row, int from, int to)
{
    for (int i = from; i <= to; i++)
        if (sqlite3_column_type(row, i) != SQLITE_INTEGER)
            return false;
    return true;
}

/* An order's expires_at_ms: NULL until it may be paid for. What flashd never writes there equals nothing that it does. */
enum { NO_EXPIRY = -1, BAD_EXPIRY = -2 };
static inline int64_t expiry_at(sqlite3_stmt *row, int column)
{
    if (sqlite3_column_type(row, column) == SQLITE_NULL)
        return NO_EXPIRY;
    int64_t at_ms = sqlite3_column_int64(row, column);
    return sqlite3_column_type(row, column) == SQLITE_INTEGER && at_ms > 0 ? at_ms : BAD_EXPIRY;
}

/* Runs a statement that gives no rows, and readies it for the next time. */
static inline bool statement_run(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    (void)sqlite3_reset(statement);
    return rc == SQLITE_DONE;
}

#endif
