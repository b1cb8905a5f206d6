/*
 * chunks.h: an array that grows and whose elements never move; one thread writes, another may read.
 *
 * Elements begin as zero bytes. The table of chunks has a fixed size, so growing touches nothing that a
 * reader holds.
 *
 * Threads: chunks_make() by one thread; chunks_get() by any (a chunk is published with release and read with
 * acquire; ordering accesses to the elements is up to the users). Fails: NULL when there is no memory.
 */
#ifndef FLASHLOAD_CHUNKS_H
#define FLASHLOAD_CHUNKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNK_ELEMENTS = 1 << 14, CHUNKS_MAX = 1 << 14 };

struct chunks {
    size_t element_bytes;
    _Atomic(char *) *table; /* owned */
};

bool chunks_open(struct chunks *chunks, size_t element_bytes);
void chunks_close(struct chunks *chunks);
/* The element; makes its chunk if there is none yet. NULL without memory or above the bound. */
void *chunks_make(struct chunks *chunks, uint64_t index);
/* The element, or NULL if its chunk was never made. */
void *chunks_get(const struct chunks *chunks, uint64_t index);

#endif
