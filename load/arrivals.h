/*
 * arrivals.h: when buyers come in the open loop, and where a server's knee lies.
 *
 * The schedule is fixed beforehand by (rate or ramp, seed), whatever the server does: gaps are exponential
 * around the rate of the moment. Latency counts from the scheduled time.
 *
 * Thread: the buyers' (schedule), main (knee). In: rates, seed; points of a ramp. Out: times; the knee.
 */
#ifndef FLASHLOAD_ARRIVALS_H
#define FLASHLOAD_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arrivals {
    double rate_from, rate_to; /* a second; equal without a ramp */
    double span_s;             /* arrivals end after it */
    uint64_t seed, drawn;
    double next_s; /* since the start */
};

struct arrivals arrivals_at(double rate_from, double rate_to, double span_s, uint64_t seed);
/* The next arrival in ns since the start, or UINT64_MAX when there is none. Does not move on. */
uint64_t arrivals_next_ns(const struct arrivals *arrivals);
void arrivals_advance(struct arrivals *arrivals);
double arrivals_rate_at(const struct arrivals *arrivals, double at_s);

/* One stretch of a ramp. */
struct ramp_point {
    double offered, served; /* a second */
    double p99_ms;
};

struct knee {
    bool reached;     /* the server fell behind within the ramp */
    double offered;   /* the highest rate it kept up with */
    double p99_ms;    /* at that rate */
    const char *sign; /* what gave way; static */
};

/* The last point before the server falls behind: for three points in a row, or for the last ones of the ramp, it
 * answers less than 95 % of what is offered, or its p99 is more than 5 ms above five times that of a calm start. */
struct knee knee_find(const struct ramp_point *points, size_t count);

#endif
