/*
 * buyers.c: ck_hs with orders as their own keys (see buyers.h).
 *
 * The name's hash is keyed (id.h) and stored in the order, so neither a lookup nor a rehash hashes
 * text.
 */
#include "engine/buyers.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 8 };

static uint64_t order_hash(const struct order *order)
{
    /* Spreads one buyer's orders in many sales; the multiplier is 2^64 / golden ratio, odd. */
    uint64_t mixed = order->name_hash ^ (order->sale + 1ULL) * 0x9e3779b97f4a7c15ULL;
    return mixed ^ mixed >> 29;
}

static unsigned long hash_of(const void *object, unsigned long seed)
{
    (void)seed;
    return order_hash(object);
}

static bool same_key(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    return x->name_hash == y->name_hash && x->sale == y->sale && x->name_bytes == y->name_bytes &&
           memcmp(x->name, y->name, x->name_bytes) == 0;
}

static void *map_malloc(size_t bytes)
{
    return malloc(bytes);
}
static void *map_realloc(void *old, size_t old_bytes, size_t bytes, bool defer)
{
    (void)old_bytes;
    (void)defer;
    return realloc(old, bytes);
}
static void map_free(void *old, size_t bytes, bool defer)
{
    (void)bytes;
    (void)defer;
    free(old);
}
static struct ck_malloc memory = {.malloc = map_malloc, .realloc = map_realloc, .free = map_free};

static ck_hs_t *shard_of(struct buyers *buyers, uint64_t hash)
{
    return &buyers->shards[hash >> 56];
}

bool buyers_init(struct buyers *buyers)
{
    for (int i = 0; i < BUYERS_SHARDS; i++)
        if (!ck_hs_init(&buyers->shards[i], CK_HS_MODE_SPMC | CK_HS_MODE_OBJECT, hash_of, same_key,
                        &memory, FIRST_CAPACITY, 0))
            return false;
    return true;
}

void buyers_free(struct buyers *buyers)
{
    for (int i = 0; i < BUYERS_SHARDS; i++)
        ck_hs_destroy(&buyers->shards[i]);
}

struct order *buyers_find(struct buyers *buyers, const struct order *key)
{
    uint64_t hash = order_hash(key);
    return ck_hs_get(shard_of(buyers, hash), hash, key);
}

bool buyers_put(struct buyers *buyers, struct order *order)
{
    uint64_t hash = order_hash(order);
    void *previous;
    return ck_hs_set(shard_of(buyers, hash), hash, order, &previous);
}

void buyers_remove(struct buyers *buyers, struct order *order)
{
    uint64_t hash = order_hash(order);
    (void)ck_hs_remove(shard_of(buyers, hash), hash, order);
}
