/*
 * seqmap.c: the two-level table (see seqmap.h).
 *
 * An entry is a pointer with its lowest bit set for a sale. Chunks are allocated by whoever needs
 * one first; the loser of that race frees its own.
 */
#include "engine/seqmap.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "engine/check.h"

static const uintptr_t SALE_BIT = 1;

bool seqmap_init(struct seqmap *map)
{
    void *chunks = mmap(NULL, sizeof *map->chunks * SEQMAP_CHUNKS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    map->chunks = chunks != MAP_FAILED ? chunks : NULL;
    return map->chunks != NULL;
}

void seqmap_free(struct seqmap *map)
{
    if (map->chunks == NULL)
        return;
    for (uint32_t i = 0; i < SEQMAP_CHUNKS; i++)
        free((void *)atomic_load_explicit(&map->chunks[i], memory_order_relaxed));
    munmap((void *)map->chunks, sizeof *map->chunks * SEQMAP_CHUNKS);
}

static _Atomic(uintptr_t) *chunk_of(const struct seqmap *map, uint64_t seq)
{
    uint64_t index = seq / SEQMAP_CHUNK_ENTRIES;
    if (index >= SEQMAP_CHUNKS)
        return NULL;
    return atomic_load_explicit(&map->chunks[index], memory_order_acquire);
}

bool seqmap_reserve(struct seqmap *map, uint64_t seq)
{
    if (chunk_of(map, seq) != NULL)
        return true;
    uint64_t index = seq / SEQMAP_CHUNK_ENTRIES;
    if (index >= SEQMAP_CHUNKS)
        return false;
    _Atomic(uintptr_t) *fresh = calloc(SEQMAP_CHUNK_ENTRIES, sizeof *fresh);
    if (fresh == NULL)
        return false;
    _Atomic(uintptr_t) *none = NULL;
    if (!atomic_compare_exchange_strong_explicit(&map->chunks[index], &none, fresh,
                                                 memory_order_acq_rel, memory_order_acquire))
        free((void *)fresh);
    return true;
}

static void put(struct seqmap *map, uint64_t seq, uintptr_t entry)
{
    _Atomic(uintptr_t) *chunk = chunk_of(map, seq);
    MUST(chunk != NULL, "a seq without room in the map");
    atomic_store_explicit(&chunk[seq % SEQMAP_CHUNK_ENTRIES], entry, memory_order_release);
}

void seqmap_put_order(struct seqmap *map, uint64_t seq, struct order *order)
{
    put(map, seq, (uintptr_t)order);
}

void seqmap_put_sale(struct seqmap *map, uint64_t seq, struct sale *sale)
{
    put(map, seq, (uintptr_t)sale | SALE_BIT);
}

static uintptr_t get(const struct seqmap *map, uint64_t seq)
{
    _Atomic(uintptr_t) *chunk = chunk_of(map, seq);
    if (chunk == NULL)
        return 0;
    return atomic_load_explicit(&chunk[seq % SEQMAP_CHUNK_ENTRIES], memory_order_acquire);
}

struct order *seqmap_order(const struct seqmap *map, uint64_t seq)
{
    uintptr_t entry = get(map, seq);
    return (entry & SALE_BIT) == 0 ? (struct order *)entry : NULL;
}

struct sale *seqmap_sale(const struct seqmap *map, uint64_t seq)
{
    uintptr_t entry = get(map, seq);
    return (entry & SALE_BIT) != 0 ? (struct sale *)(entry & ~SALE_BIT) : NULL;
}
