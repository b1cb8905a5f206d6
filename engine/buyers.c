/*
 * buyers.c: open addressing with linear probing; orders are their own keys (see buyers.h).
 *
 *   slot:  bits 63..45  tag: the low 19 bits of the order's hash
 *          bits 44..0   the order's address / 8
 *
 * The home of an order is its hash modulo the table's size, so as long as a table has at most 2^19
 * slots, growing it does not read the orders. The top byte of the hash selects the shard. The name's
 * hash is keyed (id.h) and stored in the order: nothing here hashes text. Nothing is ever removed.
 *
 * Thread: the one on the worker's seat. Fails: when malloc() does.
 */
#include "engine/buyers.h"

#include <stdlib.h>
#include <string.h>

#include "engine/check.h"

enum { FIRST_CAPACITY = 8, TAG_BITS = 19, ADDRESS_BITS = 45, LOAD_MAX_EIGHTHS = 5 };
static_assert(TAG_BITS + ADDRESS_BITS == 64, "a slot is one word");
static_assert(ADDRESS_BITS + 3 >= 48, "arm64 maps just below 2^48, x86-64 below 2^47");
static_assert(_Alignof(struct order) >= 8, "an order's address has three zero bits");

static const uint64_t TAG_MASK = (1ULL << TAG_BITS) - 1;

uint64_t buyers_hash(uint64_t name_hash, uint32_t sale)
{
    /* Spreads one buyer's orders in many sales; the multiplier is 2^64 / golden ratio, odd. */
    uint64_t mixed = name_hash ^ (sale + 1ULL) * 0x9e3779b97f4a7c15ULL;
    return mixed ^ mixed >> 29;
}

static uint64_t order_hash(const struct order *order)
{
    return buyers_hash(order->name_hash, order->sale);
}

static struct buyer buyer_of(const struct order *order)
{
    return (struct buyer){order->name, order->name_hash, order->sale, order->name_bytes};
}

static bool is_of(const struct order *order, const struct buyer *buyer)
{
    return order->name_hash == buyer->name_hash && order->sale == buyer->sale &&
           order->name_bytes == buyer->name_bytes &&
           memcmp(order->name, buyer->name, order->name_bytes) == 0;
}

static uint64_t slot_of(const struct order *order, uint64_t hash)
{
    uint64_t address = (uint64_t)(uintptr_t)order >> 3;
    MUST(address >> ADDRESS_BITS == 0, "an order's address above 2^48");
    return hash << ADDRESS_BITS | address;
}

static struct order *order_in(uint64_t slot)
{
    uint64_t address = slot << TAG_BITS >> TAG_BITS;
    return (struct order *)(uintptr_t)(address << 3);
}

static const struct buyers_shard *shard_of(const struct buyers *buyers, uint64_t hash)
{
    return &buyers->shards[hash >> 56];
}

bool buyers_init(struct buyers *buyers)
{
    bool ok = true;
    for (int i = 0; i < BUYERS_SHARDS; i++) {
        uint64_t *slots = calloc(FIRST_CAPACITY, sizeof *slots);
        buyers->shards[i] = (struct buyers_shard){.slots = slots, .mask = FIRST_CAPACITY - 1};
        ok = ok && slots != NULL;
    }
    return ok;
}

void buyers_free(struct buyers *buyers)
{
    for (int i = 0; i < BUYERS_SHARDS; i++)
        free(buyers->shards[i].slots);
}

void buyers_prefetch(const struct buyers *buyers, uint64_t hash)
{
    const struct buyers_shard *shard = shard_of(buyers, hash);
    __builtin_prefetch(&shard->slots[hash & shard->mask], 1);
}

/* The slot of the buyer's order, or the empty slot where it belongs. */
static uint64_t *probe(const struct buyers_shard *shard, const struct buyer *buyer, uint64_t hash)
{
    for (uint64_t at = hash;; at++) {
        uint64_t *slot = &shard->slots[at & shard->mask];
        if (*slot == 0 ||
            (*slot >> ADDRESS_BITS == (hash & TAG_MASK) && is_of(order_in(*slot), buyer)))
            return slot;
    }
}

struct order *buyers_find_name(const struct buyers *buyers, const struct buyer *buyer)
{
    uint64_t hash = buyers_hash(buyer->name_hash, buyer->sale);
    return order_in(*probe(shard_of(buyers, hash), buyer, hash));
}

struct order *buyers_find(const struct buyers *buyers, const struct order *like)
{
    const struct buyer buyer = buyer_of(like);
    return buyers_find_name(buyers, &buyer);
}

static void move_slot(struct buyers_shard *to, uint64_t slot)
{
    uint64_t at = slot >> ADDRESS_BITS;
    if (to->mask > TAG_MASK)
        at = order_hash(order_in(slot));
    while (to->slots[at & to->mask] != 0)
        at++;
    to->slots[at & to->mask] = slot;
}

static bool grow(struct buyers_shard *shard)
{
    struct buyers_shard larger = {.mask = shard->mask * 2 + 1, .count = shard->count};
    size_t bytes = (larger.mask + 1) * sizeof *larger.slots;
    larger.slots = malloc(bytes);
    if (larger.slots == NULL)
        return false;
    /* Not calloc(): every page is about to be written, and a page that is read first faults twice. */
    memset(larger.slots, 0, bytes);
    for (uint64_t i = 0; i <= shard->mask; i++)
        if (shard->slots[i] != 0)
            move_slot(&larger, shard->slots[i]);
    free(shard->slots);
    *shard = larger;
    return true;
}

/* Makes room for `more` orders within LOAD_MAX_EIGHTHS; a table grows by doubling. */
static bool reserve(struct buyers_shard *shard, uint64_t more)
{
    bool ok = true;
    while (ok && (shard->count + more) * 8 > (shard->mask + 1) * LOAD_MAX_EIGHTHS)
        ok = grow(shard);
    return ok;
}

bool buyers_reserve(struct buyers *buyers, uint64_t hash, uint32_t more)
{
    return reserve(&buyers->shards[hash >> 56], more);
}

bool buyers_put(struct buyers *buyers, struct order *order)
{
    const struct buyer buyer = buyer_of(order);
    uint64_t hash = order_hash(order);
    struct buyers_shard *shard = &buyers->shards[hash >> 56];
    uint64_t *slot = probe(shard, &buyer, hash);
    if (*slot == 0) {
        const uint64_t *before = shard->slots;
        if (!reserve(shard, 1))
            return false;
        if (shard->slots != before)
            slot = probe(shard, &buyer, hash);
        shard->count++;
    }
    *slot = slot_of(order, hash);
    return true;
}
