/*
 * decide.h: the interface between decide.c, which decides single commands, and worker.c, which makes rounds of them
 * and logs the decisions. For these two only.
 *
 * Thread: the one on the worker's seat.
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
/* Decides one command. Its result is then on one of the worker's lists, or in the log already; a purchase may stay in
 * the worker's group until that is closed. */
void decide(struct worker *worker, const struct ask *ask);
/* Decides the group's purchases, in their order. */
void close_group(struct worker *worker, struct now now);
/* Answers without an event. order: the one that the reply shows, or NULL. */
void refuse(struct worker *worker, const struct ask *ask, struct order *order, enum outcome outcome,
            enum order_state state);

/* --- worker.c --- */
/* Answers the decision and publishes it in slot seq, which has been claimed for it. */
void log_one(struct worker *worker, struct pending *decision, uint64_t seq);

#endif
