/*
 * crowd.h: the virtual buyers, on one thread: when they come, whose turn it is, and what they do.
 *
 *   crowd.c     the thread: arrivals, tasks that are due, connections that are free
 *   buyer.c     one buyer's way from arrival to done, answer by answer
 *   request.c   the bytes of each step's request
 *   watcher.c   buyers' own streams
 *
 * A task is one step of one buyer, and the time when it is due. Future tasks wait in a heap; those that are due
 * wait in line for a free connection. In the closed loop the next buyer comes when a connection is free and
 * nobody is in line; in the open loop buyers come by the schedule, and a latency counts from the time the
 * task was due.
 *
 * Thread: "buyers" (crowd_run); all of struct crowd is its own. In: struct run. Out: run->buyers, the
 * ledger's orders, findings, refusals by code. Fails: by run_fail().
 */
#ifndef FLASHLOAD_CROWD_H
#define FLASHLOAD_CROWD_H

#include "load/run.h"
#include "load/sse.h"

enum { BODY_BYTES_MAX = 2048, STREAM_LIVES_MAX = 6 };

enum step { STEP_LOOK, STEP_BUY, STEP_TWICE, STEP_PAY, STEP_CANCEL, STEP_CHECK, STEP_COUNT };

struct task {
    uint64_t due_ns;
    uint32_t buyer;
    uint8_t step; /* enum step */
};

/*
 *   LOOKING --> BUYING --201 payment--> HELD ----paid, cancelled, walks away--> DONE
 *                  |                     ^
 *                  +--201 waiting--> WAITING --cleared, gives up--> DONE
 *                  +--refused--> DONE
 */
enum buyer_state { BUYER_LOOKING, BUYER_BUYING, BUYER_WAITING, BUYER_HELD, BUYER_DONE };

struct buyer {
    uint8_t state; /* enum buyer_state */
    uint8_t looks_left;
    bool watched;        /* has a stream of their own */
    bool promoted_early; /* the stream told of the promotion before the purchase's reply came */
    bool over_early;     /* the same, of the end of the wait */
};

/* A connection's request under way. */
struct visit {
    struct task task;
    uint64_t sent_ns;
    bool busy;
    bool opening; /* counted in `connecting` until the first answer comes */
    bool met;  /* the server has answered: the kernel connects even if the server never accepts */
    bool open; /* ready for requests; in on_closed: it was */
    bool lost_once; /* it could not connect; a second time in a row gives it up */
    uint32_t body_bytes;
    char body[BODY_BYTES_MAX];
};

struct watcher {
    struct sse sse;
    uint64_t last_id;
    uint32_t buyer;
    uint8_t lives;
    bool ready;   /* its snapshot has come */
    bool opening; /* counted in `connecting` until its first bytes come */
};

struct crowd {
    struct run *run;
    struct loop loop; /* links: connections first, then watchers */
    struct visit *visits;
    struct watcher *watchers;
    uint32_t *idle;
    uint32_t idle_count, in_flight, connecting, to_connect, dead;
    struct chunks buyers; /* struct buyer */
    struct task *heap, *line;
    uint32_t heap_count, heap_room, line_first, line_count, line_room;
    struct arrivals arrivals;
    uint64_t arrivals_end_ns; /* closed loop; 0: no end. A schedule has its own */
    uint64_t give_up_ns;
    uint32_t arrived, active;
    bool arrivals_over, stopping;
};

/* The thread's body; argument: struct run. */
void *crowd_run(void *run);

/* ---- what the files offer each other ---- */

/* crowd.c: plans this step for that time, or as soon after it as a connection is free. */
void crowd_plan(struct crowd *crowd, uint32_t buyer, enum step step, uint64_t due_ns);
/* A link that was being opened is now open, or has failed. */
void crowd_not_opening(struct crowd *crowd, bool *opening);
struct buyer *crowd_buyer(struct crowd *crowd, uint32_t index);
struct ledger_order *crowd_order(struct crowd *crowd, uint32_t index);

/* buyer.c */
void buyer_arrives(struct crowd *crowd, uint32_t index, uint64_t due_ns);
/* Whether the step still makes sense. */
bool buyer_still_wants(struct crowd *crowd, const struct task *task);
void buyer_asks(struct crowd *crowd, const struct task *task, uint64_t at_ns);
void buyer_answered(struct crowd *crowd, const struct visit *visit, unsigned status);
/* No answer came in time, or by the end; buyer_unanswered() follows. */
void buyer_waited_in_vain(struct crowd *crowd, const struct visit *visit);
/* The connection was lost, or no answer came in time. */
void buyer_unanswered(struct crowd *crowd, const struct visit *visit);
/* The buyer's own stream carried an event of this kind. */
void buyer_hears(struct crowd *crowd, uint32_t index, enum seen_kind kind);

/* request.c */
const char *step_name(enum step step);
/* Fills link->request. */
void request_step(struct crowd *crowd, struct link *link, const struct task *task);
/* A look at the sale before the start, which is not measured. */
void request_greeting(struct crowd *crowd, struct link *link);
/* Opens a stream; it resumes after this id if that is not 0. */
void request_stream(const struct site *site, struct link *link, const char *path, bool with_token,
                    uint64_t after_id);

/* watcher.c */
void watcher_opens(struct crowd *crowd, struct link *link);
void watcher_body(struct crowd *crowd, struct link *link, const char *bytes, size_t len);
void watcher_closed(struct crowd *crowd, struct link *link);

#endif
