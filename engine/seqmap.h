/*
 * seqmap.h: finds an order or sale by the seq of the event that made it, as in its id.
 *
 * A two-level table of atomic words, grown a chunk at a time and never shrunk: addresses stay, so
 * readers need no lock. 8 bytes an event.
 *
 * Threads: workers and the clock put; any thread gets. Release on put pairs with acquire on get: a
 * thread that finds an order sees its immutable fields.
 */
#ifndef FLASHD_ENGINE_SEQMAP_H
#define FLASHD_ENGINE_SEQMAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"

struct order;
struct sale;

struct seqmap {
    _Atomic(_Atomic(uintptr_t) *) *chunks;
};

bool seqmap_init(struct seqmap *map);
void seqmap_free(struct seqmap *map);
/* Makes room for seq; false when out of memory. Called before a decision, so that its put cannot
 * fail. */
bool seqmap_reserve(struct seqmap *map, uint64_t seq);
void seqmap_put_order(struct seqmap *map, uint64_t seq, struct order *order);
void seqmap_put_sale(struct seqmap *map, uint64_t seq, struct sale *sale);
/* NULL when that event made no order (no sale). Borrowed; orders and sales are never freed. */
struct order *seqmap_order(const struct seqmap *map, uint64_t seq);
struct sale *seqmap_sale(const struct seqmap *map, uint64_t seq);

#endif
