/*
 * seat.h: which thread plays a worker just now. What a worker owns is touched only by the thread on its seat.
 *
 * After flat combining (Hendler, Incze, Shavit, Tzafrir, SPAA 2010): a thread that has commands for a worker decides
 * them itself if the seat is free, so that no other thread has to be woken. A thread that finds the seat taken marks it
 * as called and moves on; the thread on the seat sees the mark on leaving, and makes sure that the seat is taken once
 * more. So no thread waits for a seat, and no call is lost: calling and leaving are atomic on one word, so one of them
 * comes first.
 *
 * Threads: any. Taking the seat acquires what leaving it released, and leaving it acquires what callers released.
 */
#ifndef FLASHD_ENGINE_SEAT_H
#define FLASHD_ENGINE_SEAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/step.h"

enum { SEAT_FREE, SEAT_TAKEN, SEAT_CALLED };

struct seat {
    _Atomic uint32_t state;
};

/* False: it was taken, and is marked as called now. */
static inline bool seat_take(struct seat *seat)
{
    uint32_t seen = SEAT_FREE, next;
    STEP("seat-take");
    do
        next = seen == SEAT_FREE ? SEAT_TAKEN : SEAT_CALLED;
    while (!atomic_compare_exchange_weak_explicit(&seat->state, &seen, next, memory_order_acq_rel,
                                                  memory_order_relaxed));
    return seen == SEAT_FREE || FAULT(FAULT_SHARED_SEAT);
}

/* True: another thread has called meanwhile. */
static inline bool seat_leave(struct seat *seat)
{
    STEP("seat-leave");
    uint32_t seen = atomic_exchange_explicit(&seat->state, SEAT_FREE, memory_order_acq_rel);
    return seen == SEAT_CALLED && !FAULT(FAULT_LOST_CALL);
}

#endif
