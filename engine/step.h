/*
 * step.h: the two seams that tests use, both empty in the product.
 *
 * STEP(name)    a point between two shared-memory operations. With FLASHD_SIM the simulation runs every
 *               thread as a coroutine and may switch to another, or crash, at each such point.
 * FAULT(which)  true when the test build (FLASHD_FAULTS) was told to commit that deliberate fault, by
 *               fault_set() or the environment variable FLASHD_FAULT. Constant false in the product.
 */
#ifndef FLASHD_ENGINE_STEP_H
#define FLASHD_ENGINE_STEP_H

#include <stdbool.h>

enum fault {
    FAULT_NONE,
    FAULT_ACK_BEFORE_COMMIT,    /* replies go out before their event is durable */
    FAULT_RELEASE_BEFORE_CLAIM, /* units are given back before the log slot is claimed */
    FAULT_SKIP_SEQ,             /* one event gets no row */
    FAULT_FORGET_HOLD,          /* recovery forgets the holds it finds */
    FAULT_JOIN_AT_ONCE,         /* a queued event does not wait for the takes it lost to */
    FAULT_DOUBLE_RELEASE,       /* an expiry gives its units back twice */
    FAULT_CLOSE_AT_ONCE,     /* a sale closes before the decisions made before have their slots */
    FAULT_PLACE_BEFORE_SLOT, /* a promotion gives its place in the list before its slot */
    FAULT_FORGET_BUYER,      /* recovery forgets who has an order */
    FAULT_FORGET_DIRECTORY,    /* the names of data directory and files are not synced */
    FAULT_COMMIT_WITHOUT_SYNC, /* synchronous=NORMAL: a commit returns before the disk has it */
    FAULT_IGNORE_SYNC_ERROR,   /* a commit whose sync failed counts as one */
    FAULT_TRUST_CACHE,         /* a start takes what the kernel shows for what the disk has */
    FAULT_COUNT
};

#ifdef FLASHD_SIM
void sim_step(const char *point);
#define STEP(point) sim_step(point)
#else
#define STEP(point) ((void)0)
#endif

#ifdef FLASHD_FAULTS
bool fault_active(enum fault fault);
void fault_set(enum fault fault);
/* The environment's and the tests' name of a fault; NULL past the last. */
const char *fault_name(enum fault fault);
#define FAULT(which) fault_active(which)
#else
#define FAULT(which) false
#endif

#endif
