/*
 * decide.h: what decide.c and worker.c know of each other: one decides a command, the other makes rounds of them and
 * logs what was decided. For these two only.
 *
 * Thread: who sits on the worker's seat.
 */
#ifndef FLASHD_ENGINE_DECIDE_H
#define FLASHD_ENGINE_DECIDE_H

#include "engine/worker.h"

/* What one decision is about; lives for that decision. */
struct ask {
    const struct command *command;
    struct now now;
    uint8_t port;
};

/* --- decide.c --- */
/* Decides about one command: its result stands in one of the worker's lists then, or is in the log already. A purchase
 * may stay in the worker's group until that is closed. */
void decide(struct worker *worker, const struct ask *ask);
/* The group's purchases take what they want, in their order. */
void close_group(struct worker *worker, struct now now);
/* An answer without an event; order: the one that it shows, or NULL. */
void refuse(struct worker *worker, const struct ask *ask, struct order *order, enum outcome outcome,
            enum order_state state);

/* --- worker.c --- */
/* Slot seq is claimed for the decision: it is answered and published there. */
void log_one(struct worker *worker, struct pending *decision, uint64_t seq);

#endif
