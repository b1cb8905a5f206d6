/*
 * summary.h: a finished run in figures, for the three reports and the thresholds.
 *
 * Thread: main, after the load threads have ended. In: struct run, CPU times, the audit's verdict. Out: plain
 * figures. Fails: summary_open() without memory.
 */
#ifndef FLASHLOAD_SUMMARY_H
#define FLASHLOAD_SUMMARY_H

#include "load/run.h"
#include "load/thresholds.h"

struct summary {
    const struct run *run;
    double seconds; /* from the start to the last answer */
    uint64_t counts[COUNT_COUNT];
    double peaks[COUNT_COUNT]; /* a second, in the best second */
    struct tick *ticks;        /* owned: of both threads, joined; frame: of own streams */
    struct brief *publics;     /* owned: frames of the public stream, by tick */
    uint32_t tick_count;
    uint64_t own_cpu_ns, server_cpu_ns; /* during the load; 0: not known */
    bool interrupted, events_held;
    char url[HOST_BYTES_MAX + PREFIX_BYTES_MAX + 16];
    char audit_error[768]; /* why there is no audit; empty: there is one */
    struct verdict verdict;
    struct threshold thresholds[ASSERTS_MAX];
    uint32_t threshold_count;
    struct ramp_point *points; /* owned: of the ramp, about one a second; NULL without one */
    size_t point_count;
    struct knee knee;
};

bool summary_open(struct summary *summary, const struct run *run);
void summary_close(struct summary *summary);

const struct hdr *summary_latency(const struct summary *summary, enum latency latency);
bool summary_balances(const struct summary *summary);
/* 0, 1 or 99 (options.h, help). */
int summary_exit_status(const struct summary *summary);

/* For thresholds.h. */
double summary_figure(const void *summary, const char *name, enum statistic statistic,
                      double percent);
bool summary_knows(const char *name, enum statistic statistic);

#endif
