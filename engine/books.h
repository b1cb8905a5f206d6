/*
 * books.h: a sale's counters according to the log: its events replayed one at a time.
 *
 * The only place that knows what an event does to the counters. The journal replays here as it
 * writes (and stops the process before the commit if the books do not balance: G1 on every event),
 * recovery replays here to check the tables, tests replay here to judge a history.
 *
 * Thread: whoever owns the struct. Pure: no I/O, no time.
 */
#ifndef FLASHD_ENGINE_BOOKS_H
#define FLASHD_ENGINE_BOOKS_H

#include <stdint.h>

#include "engine/event.h"
#include "engine/stock.h"

struct books {
    uint64_t seq; /* of the last event */
    uint32_t product_qty;
    uint32_t available; /* units */
    uint32_t held;      /* units */
    uint32_t sold;      /* units */
    uint32_t waiting;   /* orders */
    uint8_t state;      /* enum sale_state */
    bool sold_out;      /* sale.sold_out has been logged */
};

struct books_entry {
    uint64_t seq;
    enum event_kind kind;
    enum order_state from; /* the order's state before, in the log; ORDER_NONE for a sale's event */
    uint32_t quantity;     /* the order's units */
    uint32_t product_qty;  /* sale.created only */
};

/* Applies one event. Returns NULL; or, with the books unchanged, a static sentence that names the
 * rule it breaks. */
const char *books_apply(struct books *books, struct books_entry entry);

#endif
