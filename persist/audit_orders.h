/*
 * audit_orders.h: what an audit remembers of orders while it streams through the events.
 *
 *   states   the state that the events so far have led each order to: one byte per seq, in chunks that are
 *            allocated when the first order in them comes
 *   live     who has a live order in which sale (G3): a set of (hash of sale and name, seq of the order), eight
 *            bytes a slot, at most three quarters full
 *
 * That is 1 byte per event and 11 to 21 bytes per live order; the rows themselves are never kept.
 *
 * Thread: the audit's. Fails: by false, when out of memory.
 */
#ifndef FLASHD_PERSIST_AUDIT_ORDERS_H
#define FLASHD_PERSIST_AUDIT_ORDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AUDIT_SEQ_BITS = 35, /* as many events as the engine numbers (SEQMAP_CHUNKS) */
    AUDIT_HASH_BITS = 64 - AUDIT_SEQ_BITS,
    AUDIT_CHUNK_BYTES = 1 << 18,
};

struct audit_states {
    uint8_t **chunks;
    size_t chunk_count;
};

struct audit_live {
    uint64_t *slots; /* mask + 1 of them; 0: empty; else hash << AUDIT_SEQ_BITS | seq */
    uint64_t mask, count;
};

void audit_states_free(struct audit_states *states);
/* 0 for an order that was never put. */
uint8_t audit_state(const struct audit_states *states, uint64_t seq);
bool audit_state_put(struct audit_states *states, uint64_t seq, uint8_t state);

void audit_live_free(struct audit_live *live);
bool audit_live_add(struct audit_live *live, uint64_t hash, uint64_t seq);
void audit_live_remove(struct audit_live *live, uint64_t hash, uint64_t seq);
/* The next order whose buyer may have this hash (the caller compares names), 0 when there is none left. *at: 0
 * to begin with; void after an add or a remove. */
uint64_t audit_live_find(const struct audit_live *live, uint64_t hash, uint64_t *at);

#endif
