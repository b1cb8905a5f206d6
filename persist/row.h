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

/* Runs a statement that gives no rows, and readies it for the next time. */
static inline bool statement_run(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    (void)sqlite3_reset(statement);
    return rc == SQLITE_DONE;
}

#endif
