/*
 * buyers.h: which order each buyer made last in each sale: the rule of one live order (G3).
 *
 * A set of orders keyed by (sale, name), on Concurrency Kit's ck_hs. It is cut into SHARDS small
 * sets so that growing one (a rehash) stalls its worker for microseconds, not for the whole
 * population.
 *
 * Thread: the worker that owns these buyers.
 */
#ifndef FLASHD_ENGINE_BUYERS_H
#define FLASHD_ENGINE_BUYERS_H

#include <ck_hs.h>
#include <stdbool.h>

#include "engine/order.h"

enum { BUYERS_SHARDS = 256 };

struct buyers {
    ck_hs_t shards[BUYERS_SHARDS];
};

bool buyers_init(struct buyers *buyers);
void buyers_free(struct buyers *buyers);
/* The order of the same sale and name as key (only key's sale and name are read), or NULL. */
struct order *buyers_find(struct buyers *buyers, const struct order *key);
/* Makes `order` the latest of its sale and name. False when out of memory: nothing changed. */
bool buyers_put(struct buyers *buyers, struct order *order);
/* Takes an order out that buyers_put() put in when there was none before. */
void buyers_remove(struct buyers *buyers, struct order *order);

#endif
