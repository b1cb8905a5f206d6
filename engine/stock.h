/*
 * stock.h: a sale's stock as one 64-bit word that all workers and the clock swap.
 *
 *   bit 63..62  state      UPCOMING, ACTIVE, PAUSED, ENDED
 *   bit 61      sold out   every unit is paid
 *   bit 60      tint       turned by a reconciliation; see below
 *   bit 59..30  waiting    orders in the waiting list
 *   bit 29..0   available  units that nobody holds
 *
 * The sale's state is part of the word, so a purchase whose swap succeeded was made while the sale was active.
 *
 * The order of word and log, which makes every prefix of the log a possible history:
 *   - a thread that takes (units, or a place in the waiting list) swaps the word first and claims the slot
 *     after;
 *   - a thread that gives (units, or a place) claims the slot first and swaps the word after;
 *   - to close a sale, the clock swaps the word first, waits until every decision made before is in the log,
 *     and then claims the slot of sale.paused, sale.ended or sale.sold_out; to open one, it claims first.
 * A promotion gives its place back only after its slot is claimed: as long as the log shows somebody waiting,
 * waiting > 0 and nobody overtakes.
 *
 * The tint: the word runs ahead of the log, and nobody can stop it to compare the two. So a look at the word
 * turns its tint in the same instant, and every event carries the tint that its own swaps met. What came after
 * the look can thus be told exactly from what came before, while everybody goes on (reconcile.h).
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

/* SALE_STOPPED: paused by a reconciliation that found a divergence. The log and the tables have it; in the
 * stock word and to the outside it is PAUSED. */
enum sale_state {
    SALE_UPCOMING,
    SALE_ACTIVE,
    SALE_PAUSED,
    SALE_ENDED,
    SALE_STOPPED,
    SALE_STATE_COUNT
};

/* Bits of struct event's tint: which of a decision's changes met the turned tint. */
enum { TINT_UNITS = 1, TINT_PLACE = 2, TINT_SOLD = 4 };

typedef _Atomic uint64_t stock_word;

struct stock {
    enum sale_state state;
    bool sold_out;
    uint32_t waiting;
    uint32_t available;
    bool tint;
};

/* The bit, a TINT_…, if the tint was turned in the word that a change met; else 0. */
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

/* The word now, read as one of its swaps: a thread that swaps it later sees what the caller did before. */
static inline struct stock stock_look(stock_word *word)
{
    STEP("stock-look");
    return stock_unpack(atomic_fetch_or_explicit(word, 0, memory_order_acq_rel));
}

/* One attempt; on failure *seen becomes the current word. */
static inline bool stock_swap(stock_word *word, uint64_t *seen, struct stock to)
{
    STEP("stock-swap");
    return atomic_compare_exchange_weak_explicit(word, seen, stock_pack(to), memory_order_acq_rel,
                                                 memory_order_acquire);
}

/* Gives back units, places or both; returns the word after. Call it after claiming the slot. */
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

/* Takes units whatever the state; the caller knows that they are available. Returns the word after. */
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
