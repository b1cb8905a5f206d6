/*
 * seat.h: who plays a worker just now. What a worker owns is touched only by the thread that sits on its seat.
 *
 * After flat combining (Hendler, Incze, Shavit, Tzafrir, SPAA 2010): who has commands for a worker decides them itself
 * if the seat is free, and nobody has to be woken for that. Who finds it taken leaves a call, and goes; who sits there
 * learns of the call when it leaves, and sees to it that somebody sits down once more. So nobody waits for a seat, and
 * no call is lost: a call and the leaving are both exchanges on one word, and one of them comes first.
 *
 * Threads: any. Taking it acquires what was released by leaving it, and leaving it acquires what callers released.
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

/* False: it is taken, and now who sits there is called. */
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

/* True: somebody has called meanwhile. */
static inline bool seat_leave(struct seat *seat)
{
    STEP("seat-leave");
    uint32_t seen = atomic_exchange_explicit(&seat->state, SEAT_FREE, memory_order_acq_rel);
    return seen == SEAT_CALLED && !FAULT(FAULT_LOST_CALL);
}

#endif
