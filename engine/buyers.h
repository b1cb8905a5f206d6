/*
 * buyers.h: each buyer's latest order in each sale, for the rule of one live order (G3).
 *
 * A set of orders keyed by (sale, name), cut into BUYERS_SHARDS small tables so that growing one
 * stalls the worker for microseconds, not for as long as moving all its buyers would take.
 *
 * Usage, a purchase:  buyers_prefetch() for the commands of a batch; then buyers_find_name(); if the
 * purchase may go on, buyers_reserve(); once it has its units, buyers_put(), which then cannot fail.
 *
 * Not ck_hs: that is made for concurrent readers, of which there are none here, and (without pointer
 * packing, as Debian builds it) compares by following each pointer it meets. A new buyer would cost
 * cache misses on other buyers' orders, and growing a table one miss on each order. Here a slot
 * carries nineteen bits of the hash beside the pointer: a new buyer costs one miss, which
 * buyers_prefetch() hides.
 *
 * Thread: the one on the seat of the worker that owns these buyers. Fails: when out of memory, as said below.
 */
#ifndef FLASHD_ENGINE_BUYERS_H
#define FLASHD_ENGINE_BUYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/order.h"

enum { BUYERS_SHARDS = 256 };

/* The key: a buyer's name, and the sale. */
struct buyer {
    const char *name;   /* borrowed */
    uint64_t name_hash; /* keyed (id.h) */
    uint32_t sale;      /* index */
    uint8_t name_bytes;
};

struct buyers_shard {
    uint64_t *slots; /* mask + 1 of them; 0: empty */
    uint64_t mask;
    uint64_t count;
};

struct buyers {
    struct buyers_shard shards[BUYERS_SHARDS];
};

bool buyers_init(struct buyers *buyers);
void buyers_free(struct buyers *buyers);
/* The hash of a key. */
uint64_t buyers_hash(uint64_t name_hash, uint32_t sale);
/* Brings the memory that a find will read into the cache. */
void buyers_prefetch(const struct buyers *buyers, uint64_t hash);
/* The order of this sale and name, or NULL; buyers_find() uses only the sale and name of `like`. */
struct order *buyers_find_name(const struct buyers *buyers, const struct buyer *buyer);
struct order *buyers_find(const struct buyers *buyers, const struct order *like);
/* Makes room, so that the next `more` puts into the shard of this hash cannot fail. False when out
 * of memory: nothing changed. */
bool buyers_reserve(struct buyers *buyers, uint64_t hash, uint32_t more);
/* Makes `order` the latest of its sale and name. False when out of memory: nothing changed. Cannot
 * fail when it replaces another order, or after buyers_reserve(). */
bool buyers_put(struct buyers *buyers, struct order *order);

#endif
