/*
 * measure.h: what is measured: latencies by name, counts by name, and one tick of both for the plots.
 *
 * Adding a latency or a count touches one row here and the place that adds to it.
 *
 * Threads: each of the two load threads has its own struct measures with its own ticks. Storing ticks_done
 * (release) hands the ticks below it to main, which loads it (acquire) for the view. All else is read after
 * the threads have ended.
 */
#ifndef FLASHLOAD_MEASURE_H
#define FLASHLOAD_MEASURE_H

#include <stdatomic.h>

#include "load/hdr.h"

/*    latency        name */
#define LATENCIES(X)                                                                               \
    X(LOOK, "look", "the sale, before buying")                                                     \
    X(BUY, "buy", "purchases that were decided; unanswered ones by how long they waited")          \
    X(ACCEPTED, "accepted", "purchases that got a unit to pay")                                    \
    X(WAITING, "waiting", "purchases that got a place in the waiting list")                        \
    X(REFUSED, "refused", "purchases that were refused")                                           \
    X(FAILED, "failed", "purchases that were answered with an error, which count in no other row") \
    X(PAID, "paid", "payments that were taken")                                                    \
    X(CANCELLED, "cancelled", "cancellations that were taken")                                     \
    X(ORDER, "order", "a waiting buyer's look at their order")                                     \
    X(FRAME, "frame", "from the reply to the frame on the buyer's own stream")                     \
    X(FRAME_PUBLIC, "frame_public", "from the reply to the frame on a spectator's stream")         \
    X(FRAME_EVENTS, "frame_events", "from the reply to the frame on the stream of all events")     \
    X(LAG, "lag", "how late flashload itself was with arrivals that were due")

/*    count          name */
#define COUNTS(X)                                                                                  \
    X(ARRIVALS, "arrivals")                                                                        \
    X(ANSWERS, "answers")                                                                          \
    X(PURCHASES, "purchases")                                                                      \
    X(ACCEPTED, "accepted")                                                                        \
    X(WAITING, "waiting")                                                                          \
    X(REFUSED, "refused")                                                                          \
    X(TWICE_REFUSED, "twice_refused")                                                              \
    X(PAID, "paid")                                                                                \
    X(PAY_REFUSED, "pay_refused")                                                                  \
    X(CANCELLED, "cancelled")                                                                      \
    X(CANCEL_REFUSED, "cancel_refused")                                                            \
    X(UNSERVED, "unserved")                                                                        \
    X(UNANSWERED, "unanswered") /* requests; each is an error, too */                              \
    X(ERRORS, "errors")                                                                            \
    X(DURABLE, "durable")                                                                          \
    X(FRAMES, "frames")                                                                            \
    X(STREAMS_LOST, "streams_lost")

enum latency {
#define X(name, text, about) LATENCY_##name,
    LATENCIES(X)
#undef X
        LATENCY_COUNT
};

enum count {
#define X(name, text) COUNT_##name,
    COUNTS(X)
#undef X
        COUNT_COUNT
};

enum {
    TICK_MS = 250,
    TICKS_MAX = 4 * 3600, /* the first hour is kept, for the plots */
    TICKS_LATE = 8,       /* of later ticks only the newest, for the view */
};

/* A latency within one tick. */
struct brief {
    uint32_t count, p50_us, p99_us, max_us;
};

struct tick {
    uint64_t counts[COUNT_COUNT]; /* since the start */
    struct brief buy, paid;
    struct brief frame; /* on own streams; in the audience's ticks on the public stream */
    double offered;     /* arrivals a second, as scheduled; open loop */
    uint32_t active;    /* buyers who have come and are not done */
    uint64_t available, held, sold, waiting; /* all sales together, as the last event said */
};

struct measures {
    struct hdr latencies[LATENCY_COUNT];
    struct hdr tick_buy, tick_paid, tick_frame;
    uint64_t counts[COUNT_COUNT];
    struct tick *ticks; /* owned; by measures_tick_at() */
    _Atomic uint32_t ticks_done;
    uint64_t cpu_ns; /* of the thread, from the start to the end of the load */
    bool over;       /* the load is: what streams carry from now on, it did not cause */
};

bool measures_open(struct measures *measures);
void measures_close(struct measures *measures);
/* Also adds to the current tick, if that keeps this latency. */
void measure(struct measures *measures, enum latency latency, uint64_t span_ns);
/* The tick of that number; below TICKS_MAX or among the newest TICKS_LATE. */
static inline struct tick *measures_tick_at(const struct measures *measures, uint32_t number)
{
    return &measures->ticks[number < TICKS_MAX ? number : TICKS_MAX + number % TICKS_LATE];
}
/* Closes ticks until now_ns lies in the current one; fields that are not measured here are taken from `like`. */
void measures_tick(struct measures *measures, uint64_t start_ns, uint64_t now_ns,
                   const struct tick *like);

/* Closes also the tick in which now_ns lies, the last one. */
void measures_end(struct measures *measures, uint64_t start_ns, uint64_t now_ns,
                  const struct tick *like);
/* Counts what a stream carried, until the load is over. */
static inline void measures_count_carried(struct measures *measures, enum count count)
{
    measures->counts[count] += !measures->over;
}

const char *latency_name(enum latency latency);
const char *latency_about(enum latency latency);
const char *count_name(enum count count);

#endif
