/*
 * rows.c: the doubling chunks of rows.h.
 *
 * Chunk k holds ROWS_FIRST_CHUNK << k words, so the highest set bit of index + ROWS_FIRST_CHUNK is
 * the size of its chunk. Fails only when out of memory.
 */
#include "engine/rows.h"

#include <stdlib.h>

#include "engine/check.h"

static uint32_t chunk_index(uint64_t index, uint64_t *offset)
{
    uint64_t moved = index + ROWS_FIRST_CHUNK;
    uint32_t top = 63 - (uint32_t)__builtin_clzll(moved);
    *offset = moved - (1ULL << top);
    return top - (uint32_t)__builtin_ctz(ROWS_FIRST_CHUNK);
}

void rows_free(struct rows *rows)
{
    for (int i = 0; i < ROWS_CHUNKS; i++)
        free((void *)atomic_load_explicit(&rows->chunks[i], memory_order_relaxed));
}

bool rows_append(struct rows *rows, uint64_t word)
{
    uint64_t index = atomic_load_explicit(&rows->count, memory_order_relaxed), offset;
    uint32_t k = chunk_index(index, &offset);
    if (k >= ROWS_CHUNKS)
        return false;
    _Atomic(uint64_t) *chunk = atomic_load_explicit(&rows->chunks[k], memory_order_relaxed);
    if (chunk == NULL) {
        chunk = calloc((size_t)ROWS_FIRST_CHUNK << k, sizeof *chunk);
        if (chunk == NULL)
            return false;
        atomic_store_explicit(&rows->chunks[k], chunk, memory_order_release);
    }
    atomic_store_explicit(&chunk[offset], word, memory_order_relaxed);
    atomic_store_explicit(&rows->count, index + 1, memory_order_release);
    return true;
}

_Atomic(uint64_t) *rows_at(const struct rows *rows, uint64_t index)
{
    MUST(index < rows_count(rows), "a row past the end");
    uint64_t offset;
    uint32_t k = chunk_index(index, &offset);
    return atomic_load_explicit(&rows->chunks[k], memory_order_acquire) + offset;
}
