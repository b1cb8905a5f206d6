/*
 * order.h: one buyer's order, its states and the moves between them.
 *
 *             buy                      buy
 *              |                        |
 *              v                        v
 *           WAITING ---- promote --> PAYMENT ---- pay ----> PAID
 *            |    |                   |    |                  ^
 *         cancel  clear           cancel  expire              |
 *            |    |                   |    |        late payment: units free,
 *            v    v                   v    v               nobody waits
 *   CANCELLED    CLEARED     CANCELLED    EXPIRED ------------+
 *
 * Threads: orders are made by the worker that owns the buyer and are never freed while the engine
 *          lives. That worker and the clock move `state`, by swap. If one of them must claim a log
 *          slot before its move may be seen, it first sets BUSY, which keeps the other out: the
 *          other comes back to the order in its next round, nobody spins.
 *          What readers see (committed, expires_at_ms, changed_at_ms, position) is written by the
 *          journal alone.
 */
#ifndef FLASHD_ENGINE_ORDER_H
#define FLASHD_ENGINE_ORDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/step.h"

enum order_state {
    ORDER_NONE, /* not in the log yet */
    ORDER_WAITING,
    ORDER_PAYMENT,
    ORDER_PAID,
    ORDER_EXPIRED,
    ORDER_CANCELLED,
    ORDER_CLEARED,
    ORDER_STATE_COUNT,
    ORDER_BUSY = 0x80, /* or-ed to WAITING or PAYMENT while a slot is being claimed */
};

struct order {
    /* --- worker that owns the buyer, and clock: by swap --- */
    _Atomic uint8_t state;
    /* --- worker that owns the buyer --- */
    bool refund_due; /* a payment came too late, and order.refund_due has been decided */
    /* --- journal only --- */
    uint8_t logged; /* state after the last event that the journal has read */
    /* --- set once, before the order is published in the log --- */
    uint8_t owner; /* index of the worker that owns the buyer */
    uint8_t name_bytes;
    uint32_t quantity;
    uint32_t sale; /* index */
    uint64_t name_hash;
    uint64_t seq; /* of the event that made it; gives the order's id (id.h). 0: not claimed yet */
    /* --- journal writes, before committed_seq passes the event; any thread reads --- */
    uint32_t position; /* in the waiting list when it joined, from 1 */
    uint32_t ticket;   /* its place among all orders that ever queued in this sale, from 0 */
    _Atomic uint64_t committed; /* order_committed_pack(): state, seq of its last committed event */
    _Atomic int64_t expires_at_ms; /* wall clock, while in PAYMENT */
    _Atomic int64_t changed_at_ms; /* wall clock, of its last committed event */
    char name[];                   /* name_bytes of UTF-8, not terminated */
};

static inline uint64_t order_committed_pack(uint64_t seq, enum order_state state)
{
    return seq << 8 | (uint64_t)state;
}
static inline enum order_state order_committed_state(uint64_t packed)
{
    return (enum order_state)(packed & 0xff);
}
static inline uint64_t order_committed_seq(uint64_t packed)
{
    return packed >> 8;
}

/* "waiting", "payment", "paid", "expired", "cancelled", "cleared"; static. */
const char *order_state_name(enum order_state state);
/* Whether a buyer with an order in this state may not have another (G3). */
static inline bool order_state_is_live(enum order_state state)
{
    return state == ORDER_WAITING || state == ORDER_PAYMENT || state == ORDER_PAID;
}
/* Whether the picture above has an arrow between the two. */
bool order_move_allowed(enum order_state from, enum order_state to);

/* Swaps from -> to; false when another thread moved it first. Acquire and release: a thread that
 * sees the new state sees what the mover wrote before. */
static inline bool order_move(struct order *order, enum order_state from, unsigned to)
{
    uint8_t expected = (uint8_t)from;
    STEP("order-move");
    return atomic_compare_exchange_strong_explicit(&order->state, &expected, (uint8_t)to,
                                                   memory_order_acq_rel, memory_order_acquire);
}
/* Ends BUSY. Release: pairs with the acquire of order_state_now(). */
static inline void order_settle(struct order *order, enum order_state to)
{
    STEP("order-settle");
    atomic_store_explicit(&order->state, (uint8_t)to, memory_order_release);
}
/* The state, BUSY bit included. */
static inline unsigned order_state_now(const struct order *order)
{
    STEP("order-load");
    return atomic_load_explicit(&order->state, memory_order_acquire);
}

/*
 * Memory for orders: bump allocation from large blocks. One arena per worker, used by the thread on its seat; orders
 * live as long as their arena.
 */
struct order_arena {
    char *next, *end;
    struct order_block *blocks; /* the last one first */
};

/* Unmaps all blocks; call it when nobody reads any order of this arena any more. */
void order_arena_free(struct order_arena *arena);
/* Makes room for `count` orders with names of any length, so that as many calls of order_new() cannot
 * fail. False when out of memory. */
bool order_reserve(struct order_arena *arena, uint32_t count);
/* Zeroed but for name, name_bytes and name_hash; NULL when out of memory. */
struct order *order_new(struct order_arena *arena, const char *name, uint8_t name_bytes,
                        uint64_t name_hash);

#endif
