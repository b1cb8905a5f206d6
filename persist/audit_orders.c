/*
 * audit_orders.c: see audit_orders.h.
 *
 * The set uses linear probing from the slot (home) that the hash's upper bits give, and closes the hole when an
 * entry is removed, so that it needs no tombstones. Different buyers with equal hashes have an entry each.
 *
 * Thread: the audit's. Fails: when out of memory.
 */
#include "persist/audit_orders.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 1024 };

/* ---- states ---- */

void audit_states_free(struct audit_states *states)
{
    for (size_t i = 0; i < states->chunk_count; i++)
        free(states->chunks[i]);
    free((void *)states->chunks);
}

uint8_t audit_state(const struct audit_states *states, uint64_t seq)
{
    uint64_t chunk = seq / AUDIT_CHUNK_BYTES;
    if (chunk >= states->chunk_count || states->chunks[chunk] == NULL)
        return 0;
    return states->chunks[chunk][seq % AUDIT_CHUNK_BYTES];
}

static bool have_chunk(struct audit_states *states, size_t chunk)
{
    if (chunk >= states->chunk_count) {
        size_t count = (chunk + 1) * 2;
        uint8_t **grown = realloc((void *)states->chunks, count * sizeof(uint8_t *));
        if (grown == NULL)
            return false;
        memset((void *)(grown + states->chunk_count), 0,
               (count - states->chunk_count) * sizeof(uint8_t *));
        states->chunks = grown;
        states->chunk_count = count;
    }
    if (states->chunks[chunk] == NULL)
        states->chunks[chunk] = calloc(1, AUDIT_CHUNK_BYTES);
    return states->chunks[chunk] != NULL;
}

bool audit_state_put(struct audit_states *states, uint64_t seq, uint8_t state)
{
    if (seq >> AUDIT_SEQ_BITS != 0 || !have_chunk(states, seq / AUDIT_CHUNK_BYTES))
        return false;
    states->chunks[seq / AUDIT_CHUNK_BYTES][seq % AUDIT_CHUNK_BYTES] = state;
    return true;
}

/* ---- who is live ---- */

void audit_live_free(struct audit_live *live)
{
    free(live->slots);
}

static uint64_t pack(uint64_t hash, uint64_t seq)
{
    return hash >> AUDIT_SEQ_BITS << AUDIT_SEQ_BITS | seq;
}

static uint64_t home_of(const struct audit_live *live, uint64_t slot)
{
    return (slot >> AUDIT_SEQ_BITS) * (live->mask + 1) >> AUDIT_HASH_BITS;
}

static void insert(struct audit_live *live, uint64_t slot)
{
    uint64_t i = home_of(live, slot);
    while (live->slots[i] != 0)
        i = (i + 1) & live->mask;
    live->slots[i] = slot;
    live->count++;
}

static bool grow(struct audit_live *live)
{
    uint64_t slots = live->slots == NULL ? FIRST_SLOTS : (live->mask + 1) * 2;
    struct audit_live more = {.slots = calloc(slots, sizeof *more.slots), .mask = slots - 1};
    if (more.slots == NULL)
        return false;
    for (uint64_t i = 0; live->slots != NULL && i <= live->mask; i++)
        if (live->slots[i] != 0)
            insert(&more, live->slots[i]);
    free(live->slots);
    *live = more;
    return true;
}

bool audit_live_add(struct audit_live *live, uint64_t hash, uint64_t seq)
{
    if ((live->slots == NULL || live->count >= (live->mask + 1) / 4 * 3) && !grow(live))
        return false;
    insert(live, pack(hash, seq));
    return true;
}

/* Moves into the hole what it would cut off from its home. */
static void close_hole(struct audit_live *live, uint64_t hole)
{
    uint64_t i = hole;
    for (;;) {
        i = (i + 1) & live->mask;
        if (live->slots[i] == 0)
            break;
        uint64_t from_home = (i - home_of(live, live->slots[i])) & live->mask;
        if (from_home >= ((i - hole) & live->mask)) {
            live->slots[hole] = live->slots[i];
            hole = i;
        }
    }
    live->slots[hole] = 0;
}

void audit_live_remove(struct audit_live *live, uint64_t hash, uint64_t seq)
{
    uint64_t slot = pack(hash, seq);
    if (live->slots == NULL)
        return;
    for (uint64_t i = home_of(live, slot); live->slots[i] != 0; i = (i + 1) & live->mask)
        if (live->slots[i] == slot) {
            close_hole(live, i);
            live->count--;
            return;
        }
}

uint64_t audit_live_find(const struct audit_live *live, uint64_t hash, uint64_t *at)
{
    const uint64_t seqs = (1ULL << AUDIT_SEQ_BITS) - 1;
    if (live->slots == NULL)
        return 0;
    uint64_t i = home_of(live, pack(hash, 0));
    for (i = (i + *at) & live->mask; live->slots[i] != 0; i = (i + 1) & live->mask) {
        ++*at;
        if (live->slots[i] >> AUDIT_SEQ_BITS == hash >> AUDIT_SEQ_BITS)
            return live->slots[i] & seqs;
    }
    return 0;
}
