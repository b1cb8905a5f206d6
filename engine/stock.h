/*
 * stock.h: a sale's stock as one 64-bit word that all workers and the clock swap.
 *
 *   bit 63..62  state      UPCOMING, ACTIVE, PAUSED, ENDED
 *   bit 61      sold out   every unit is paid
 *   bit 60      tint       turned by a reconciliation; see below
 *   bit 59..30  waiting    orders in the waiting list
 *   bit 29..0   available  units that nobody holds
 *
 * The sale's state stands in the word itself: a take that succeeded, succeeded while it was active.
 *
 * The order of word and log, which makes every prefix of the log a possible history:
 *   - who takes (units, or a place in the waiting list) swaps the word first and claims the slot after;
 *   - who gives (units, or a place) claims the slot first and swaps the word after;
 *   - who closes a sale swaps the word first, waits until every decision made before is in the log,
 *     and claims the slot of sale.paused, sale.ended or sale.sold_out after; who opens claims first.
 * A place in the list counts as given only after the slot: as long as the log shows somebody waiting,
 * waiting > 0 and nobody overtakes.
 *
 * The tint: nobody can stop the word to compare it with the log, of which it runs ahead. So a look at it
 * turns its tint in the same instant, every event carries the tint that its own swaps met, and what came
 * after the look can be told from what came before, exactly, while everybody goes on (reconcile.h).
 *
 * Threads: any; every swap is acquire-release and so pairs with every other swap of the same word.
 */
#ifndef FLASHD_ENGINE_STOCK_H
#define FLASHD_ENGINE_STOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/check.h"
#include "engine/step.h"

/* SALE_STOPPED: paused by a reconciliation that found a divergence. The log and the tables know it; in the
 * stock word it is PAUSED, and so it is to the outside. */
enum sale_state {
    SALE_UPCOMING,
    SALE_ACTIVE,
    SALE_PAUSED,
    SALE_ENDED,
    SALE_STOPPED,
    SALE_STATE_COUNT
};

/* Which of a decision's changes met the turned tint (struct event). */
enum { TINT_UNITS = 1, TINT_PLACE = 2, TINT_SOLD = 4 };

typedef _Atomic uint64_t stock_word;

struct stock {
    enum sale_state state;
    bool sold_out;
    uint32_t waiting;
    uint32_t available;
    bool tint;
};

/* The bit, a TINT_… of struct event, if the word that a change met had its tint turned. */
static inline uint8_t stock_tint(struct stock met, uint8_t bit)
{
    return met.tint ? bit : 0;
}

static inline uint64_t stock_pack(struct stock s)
{
    return (uint64_t)s.state << 62 | (uint64_t)s.sold_out << 61 | (uint64_t)s.tint << 60 |
           (uint64_t)s.waiting << 30 | s.available;
}

static inline struct stock stock_unpack(uint64_t word)
{
    return (struct stock){.state = (enum sale_state)(word >> 62),
                          .sold_out = (word >> 61 & 1) != 0,
                          .tint = (word >> 60 & 1) != 0,
                          .waiting = (uint32_t)(word >> 30 & 0x3fffffff),
                          .available = (uint32_t)(word & 0x3fffffff)};
}

static inline uint64_t stock_load_word(const stock_word *word)
{
    STEP("stock-load");
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline struct stock stock_load(const stock_word *word)
{
    return stock_unpack(stock_load_word(word));
}

/* The word now, in its place among the swaps: whoever swaps it after this sees what we did before. */
static inline struct stock stock_look(stock_word *word)
{
    STEP("stock-look");
    return stock_unpack(atomic_fetch_or_explicit(word, 0, memory_order_acq_rel));
}

/* One attempt; on failure *seen becomes what stands there. */
static inline bool stock_swap(stock_word *word, uint64_t *seen, struct stock to)
{
    STEP("stock-swap");
    return atomic_compare_exchange_weak_explicit(word, seen, stock_pack(to), memory_order_acq_rel,
                                                 memory_order_acquire);
}

/* Adds units and/or takes places away; returns the word after. Giver: after claiming its slot. */
static inline struct stock stock_give(stock_word *word, uint32_t units, uint32_t places)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        MUST(to.waiting >= places, "more places given back than taken");
        to.available += units;
        to.waiting -= places;
        if (stock_swap(word, &seen, to))
            return to;
    }
}

/* Takes units whatever the state; the caller knows that they are there. Returns the word after. */
static inline struct stock stock_take_promised(stock_word *word, uint32_t units)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        MUST(to.available >= units, "promised units are gone");
        to.available -= units;
        if (stock_swap(word, &seen, to))
            return to;
    }
}

/* Turns the tint; returns the word before. */
static inline struct stock stock_turn(stock_word *word)
{
    STEP("stock-turn");
    return stock_unpack(atomic_fetch_xor_explicit(word, stock_pack((struct stock){.tint = true}),
                                                  memory_order_acq_rel));
}

/* Clock: moves the sale's state; worker: sets sold_out. */
static inline void stock_set_state(stock_word *word, enum sale_state state)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        to.state = state;
        if (stock_swap(word, &seen, to))
            return;
    }
}

static inline void stock_set_sold_out(stock_word *word)
{
    uint64_t seen = stock_load_word(word);
    for (;;) {
        struct stock to = stock_unpack(seen);
        to.sold_out = true;
        if (stock_swap(word, &seen, to))
            return;
    }
}

/*
 * Units paid: a word of its own, with a tint of its own in its highest bit.
 */
typedef _Atomic uint32_t sold_word;

struct sold {
    uint32_t units;
    bool tint;
};

static inline struct sold sold_unpack(uint32_t word)
{
    return (struct sold){.units = word & 0x7fffffff, .tint = word >> 31 != 0};
}
static inline struct sold sold_now(const sold_word *word)
{
    return sold_unpack(atomic_load_explicit(word, memory_order_acquire));
}
/* Returns the word after. */
static inline struct sold sold_add(sold_word *word, uint32_t units)
{
    STEP("sold-add");
    return sold_unpack(atomic_fetch_add_explicit(word, units, memory_order_acq_rel) + units);
}
/* Turns the tint; returns the word before. */
static inline struct sold sold_turn(sold_word *word)
{
    STEP("sold-turn");
    return sold_unpack(atomic_fetch_xor_explicit(word, 1u << 31, memory_order_acq_rel));
}

#endif
