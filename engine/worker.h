/*
 * worker.h: a worker decides: it owns a shard of the buyers, and sells from every sale's stock word.
 *
 * Thread: the one on its seat (seat.h): mostly the net thread that has just sent commands; the worker's own thread
 *         while there is more than a round of them, something waits for another thread, the seat was called
 *         meanwhile, or a sender only woke it. That thread touches the worker's buyers, its orders' states (by
 *         swap, against the clock), the stock words, and the worker's ends of the ports' rings.
 * In:     commands from all ports.
 * Out:    events in the log, replies in the rings.
 * Fails:  with an outcome per command; a full log or no memory gives OVERLOAD, nothing is dropped.
 *
 * A round (worker_round) takes up to WORKER_BATCH_MAX commands. Neighbouring purchases in one sale by
 * different buyers form a group, whose units one swap of the stock word takes; then one run of log slots
 * is claimed for all that took something. A cancellation, which gives something back, claims its slot at once.
 *
 * A join (order.queued) claims its slot only when the takes to which it lost have theirs, or the log would
 * show somebody overtaken. Meanwhile it is set aside, and the worker carries on. A refusal for lack of units or
 * places (a doubt) is set aside likewise: until the orders that took them are in the log, the refusal would rest
 * on something that readers cannot see. See marks.h.
 */
#ifndef FLASHD_ENGINE_WORKER_H
#define FLASHD_ENGINE_WORKER_H

#include "engine/buyers.h"
#include "engine/marks.h"
#include "engine/now.h"
#include "engine/port.h"
#include "engine/seat.h"
#include "engine/seqmap.h"

/* A decision whose slot is not claimed yet, with the reply that goes with it. */
struct pending {
    struct event event;
    struct reply reply;
    uint8_t port;
};

struct pending_list {
    uint32_t count;
    struct pending items[WORKER_BATCH_MAX];
};

/* A command, and who asked. */
struct asked {
    struct command command;
    uint8_t port;
};

/* A purchase that has passed every check but for the stock word. */
struct candidate {
    const struct command *command; /* in the worker's batch */
    struct order *previous;        /* the buyer's order before, or NULL */
    uint8_t previous_state;        /* enum order_state */
    uint8_t port;
};

/* Purchases in one sale, each by another buyer, about to take their units together. */
enum { GROUP_FILTER_WORDS = 16 };
struct group {
    struct sale *sale;
    uint32_t count;
    uint64_t units;
    uint64_t filter[GROUP_FILTER_WORDS]; /* a bit per buyer, by hash; 0: not in the group */
    struct candidate items[WORKER_BATCH_MAX];
};

struct worker {
    /* --- the thread on the seat only --- */
    uint32_t index;
    struct engine *engine;
    struct buyers buyers;
    struct order_arena arena;
    struct log_credit credit;
    struct pending_list takes; /* this round's */
    struct pending_list joins,
        fresh; /* joins: wait for join_mark; fresh: joins decided after that was taken */
    struct worker_mark join_mark;             /* takes only; taken after the last of `joins` */
    struct pending_list refusals;             /* this round's */
    struct pending_list doubts, fresh_doubts; /* as joins, fresh */
    struct worker_mark doubt_mark;            /* takes and joins; after the last of `doubts` */
    uint32_t deferred_count;
    struct asked deferred[WORKER_BATCH_MAX]; /* met a busy order or a closing sale: try again */
    struct asked batch[WORKER_BATCH_MAX];    /* this round's commands */
    struct group group;                      /* of this round */
    bool order_room;                         /* this round: orders for a whole batch have memory */
    bool round_full;             /* this round: commands may have been left in the rings */
    uint32_t next_port;          /* where the next round begins, so that no port starves */
    bool nudge_clock, published; /* this round: wake the clock, wake the journal */
    /* --- the thread on the seat writes, any thread reads: marks.h --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t open_takes;
    _Atomic uint32_t open_joins;
    /* --- any thread --- */
    _Alignas(CACHE_LINE_BYTES) struct seat seat;
    struct wake wake; /* its own thread sleeps here */
};

bool worker_init(struct worker *worker, struct engine *engine, uint32_t index);
void worker_free(struct worker *worker);
/* Whether something waits for another thread to move on. */
static inline bool worker_waits(const struct worker *w)
{
    return w->deferred_count > 0 || w->joins.count > 0 || w->doubts.count > 0;
}
/* One round, by the thread on the seat. True when something was done or waits for another thread: do not sleep. */
bool worker_round(struct worker *worker, struct now now);

/* What the worker's own thread does next. */
enum play {
    PLAY_REST,  /* sleep: nothing is left to do, or the seat is taken and its thread will wake it */
    PLAY_ON,    /* another round: there may be more */
    PLAY_WAITS, /* … once another thread has moved */
};
/* The worker's own thread: takes the seat for a round. */
enum play worker_play(struct worker *worker, struct now now);
/* Any other thread, after sending commands: takes the seat for a round of them, and wakes the worker's own thread if
 * that was not all. arg: struct worker. */
void worker_stand_in(void *arg, struct now now);

#endif
