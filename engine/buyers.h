/*
 * buyers.h: which order each buyer made last in each sale: the rule of one live order (G3).
 *
 * A set of orders keyed by (sale, name), cut into BUYERS_SHARDS small tables so that growing one
 * stalls who plays its worker for microseconds, not for the whole population.
 *
 * Usage, a purchase:  buyers_prefetch() for commands that come soon; then buyers_find(); when the
 * purchase may go on, buyers_reserve(); when it has its units, buyers_put(), which cannot fail
 * then.
 *
 * Own code and not ck_hs, which is made for concurrent readers that nobody needs here: it compares
 * by following each pointer it meets (without pointer packing, as Debian builds it), so a new buyer
 * costs cache misses on other buyers' orders, and growing one on each order. Here a slot carries
 * nineteen bits of the hash beside the pointer: a new buyer costs one miss, which buyers_prefetch()
 * hides.
 *
 * Thread: who sits on the seat of the worker that owns these buyers. Fails: when out of memory, as said below.
 */
#ifndef FLASHD_ENGINE_BUYERS_H
#define FLASHD_ENGINE_BUYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/order.h"

enum { BUYERS_SHARDS = 256 };

/* Who asks, and where: the key. */
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
/* A number for the key: equal for equal keys, and hardly ever for others. */
uint64_t buyers_hash(uint64_t name_hash, uint32_t sale);
/* Brings the memory that a find will look at into the cache. Changes nothing. */
void buyers_prefetch(const struct buyers *buyers, uint64_t hash);
/* The order of this sale and name, or NULL; the second takes only sale and name from `like`. */
struct order *buyers_find_name(const struct buyers *buyers, const struct buyer *buyer);
struct order *buyers_find(const struct buyers *buyers, const struct order *like);
/* Makes room, so that the next `more` puts of keys with such a hash cannot fail. False when out of
 * memory: nothing changed. */
bool buyers_reserve(struct buyers *buyers, uint64_t hash, uint32_t more);
/* Makes `order` the latest of its sale and name. False when out of memory (never when it replaces
 * another, or after buyers_reserve()): nothing changed. */
bool buyers_put(struct buyers *buyers, struct order *order);

#endif
