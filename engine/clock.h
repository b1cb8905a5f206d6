/*
 * clock.h: the thread that moves sales through time: starts, ends, pauses, expiries, promotions, clearing.
 *
 * Thread: its own. It alone owns every sale's waiting list and expiry queue, and alone changes a sale's
 *         state. It reads the log (log order is queue order), and writes into it like a worker.
 * In:     events from the log, admin commands from the ports, the time.
 * Out:    events, replies to admins, stock given back.
 * Fails:  a full log or no memory makes it wait; it never skips.
 *
 * Closing a sale: swap the state in the stock word, so that no purchase is accepted any more (at sold out, the
 * worker of the last payment has set the bit); take a mark of every worker's open batches; when all have moved
 * on, every decision made before has its slot, and sale.paused, sale.ended or sale.sold_out claims one after
 * them. While a paused or ended sale waits for that (sale->unlogged), workers refuse no purchase for it: they
 * put it off to their next round.
 */
#ifndef FLASHD_ENGINE_CLOCK_H
#define FLASHD_ENGINE_CLOCK_H

#include "engine/now.h"
#include "engine/port.h"

struct engine;

struct clock {
    /* --- clock only --- */
    struct engine *engine;
    struct log_credit credit;
    struct sale **live; /* SALES_MAX: sales that may still need the clock */
    uint32_t live_count;
    struct command held[PORTS_MAX]; /* a command to try again: hear() */
    bool holds_command[PORTS_MAX];
    bool begun[PORTS_MAX]; /* that command has begun to close its sale: not to be begun twice */
    bool emitted;          /* this round: wake the journal */
    /* --- clock writes, reconciler reads --- */
    _Atomic uint32_t round; /* odd during a round: a slot may be claimed whose swap is to come */
    /* --- anyone wakes --- */
    _Alignas(CACHE_LINE_BYTES) struct wake wake;
};

bool clock_init(struct clock *clock, struct engine *engine);
void clock_free(struct clock *clock);
/* One round. True when there is more to do at once; else *sleep_ms is how long until something is
 * due. */
bool clock_round(struct clock *clock, struct now now, int64_t *sleep_ms);
/* Puts a sale on the clock's list. Called by the clock and by recovery. */
void clock_watch(struct clock *clock, struct sale *sale);

#endif
