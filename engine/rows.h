/*
 * rows.h: an append-only array of 64-bit words that one thread appends to while others read.
 *
 * Chunks double in size (64, 128, 256, …), so nothing is ever moved and an index finds its chunk by
 * counting leading zeros. Words may be changed in place (bitmaps).
 *
 * Threads: one appends and sets; any reads what is below rows_count(). The release of the count
 * pairs with its acquire.
 */
#ifndef FLASHD_ENGINE_ROWS_H
#define FLASHD_ENGINE_ROWS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { ROWS_CHUNKS = 32, ROWS_FIRST_CHUNK = 64 };

struct rows {
    _Atomic(_Atomic(uint64_t) *) chunks[ROWS_CHUNKS];
    _Atomic uint64_t count;
};

/* A zeroed struct rows is empty. */
void rows_free(struct rows *rows);
/* False when out of memory: nothing changed. */
bool rows_append(struct rows *rows, uint64_t word);
/* index < rows_count(). */
_Atomic(uint64_t) *rows_at(const struct rows *rows, uint64_t index);

static inline uint64_t rows_count(const struct rows *rows)
{
    return atomic_load_explicit(&rows->count, memory_order_acquire);
}
static inline uint64_t rows_get(const struct rows *rows, uint64_t index)
{
    return atomic_load_explicit(rows_at(rows, index), memory_order_acquire);
}

#endif
