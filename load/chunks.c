/*
 * chunks.c: see chunks.h.
 *
 * Thread: as there. Fails: by NULL.
 */
#include "load/chunks.h"

#include <stdlib.h>

bool chunks_open(struct chunks *chunks, size_t element_bytes)
{
    chunks->element_bytes = element_bytes;
    chunks->table = calloc(CHUNKS_MAX, sizeof *chunks->table);
    return chunks->table != NULL;
}

void chunks_close(struct chunks *chunks)
{
    for (size_t i = 0; chunks->table != NULL && i < CHUNKS_MAX; i++)
        free(atomic_load_explicit(&chunks->table[i], memory_order_relaxed));
    free(chunks->table);
    chunks->table = NULL;
}

void *chunks_make(struct chunks *chunks, uint64_t index)
{
    uint64_t chunk = index / CHUNK_ELEMENTS;
    if (chunk >= CHUNKS_MAX)
        return NULL;
    char *elements = atomic_load_explicit(&chunks->table[chunk], memory_order_relaxed);
    if (elements == NULL) {
        elements = calloc(CHUNK_ELEMENTS, chunks->element_bytes);
        /* Pairs with the acquire in chunks_get(). */
        atomic_store_explicit(&chunks->table[chunk], elements, memory_order_release);
    }
    return elements == NULL ? NULL : elements + index % CHUNK_ELEMENTS * chunks->element_bytes;
}

void *chunks_get(const struct chunks *chunks, uint64_t index)
{
    uint64_t chunk = index / CHUNK_ELEMENTS;
    if (chunk >= CHUNKS_MAX)
        return NULL;
    char *elements = atomic_load_explicit(&chunks->table[chunk], memory_order_acquire);
    return elements == NULL ? NULL : elements + index % CHUNK_ELEMENTS * chunks->element_bytes;
}
