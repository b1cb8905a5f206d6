/*
 * thresholds.h: expressions such as `p99(buy)<5ms`: read before the run, compared with its results after it.
 *
 * Thread: main. In: an expression; later, figures through a lookup. Out: whether it holds, and the figure.
 * Fails: threshold_parse() with a line that says what was expected.
 */
#ifndef FLASHLOAD_THRESHOLDS_H
#define FLASHLOAD_THRESHOLDS_H

#include <stdbool.h>
#include <stddef.h>

enum statistic { STAT_PERCENTILE, STAT_MIN, STAT_AVG, STAT_MAX, STAT_RATE, STAT_COUNT, STAT_SHARE };

struct threshold {
    const char *text; /* borrowed: as it was given */
    char name[24];
    enum statistic statistic;
    double percent; /* of STAT_PERCENTILE */
    char compare[3];
    double bound; /* ns for latencies, else as it was given */
    double found; /* of threshold_holds() */
    bool holds;
};

/* The figure of a name, in ns for latencies; NAN when nothing was measured. */
typedef double figure_of(const void *context, const char *name, enum statistic statistic,
                         double percent);
/* Whether a name has such a figure. */
typedef bool figure_known(const char *name, enum statistic statistic);

bool threshold_parse(const char *text, figure_known *known, struct threshold *threshold,
                     char *error, size_t error_bytes);
/* False for a latency that was never measured. */
bool threshold_holds(struct threshold *threshold, figure_of *figure, const void *context);
static inline bool statistic_is_latency(enum statistic statistic)
{
    return statistic <= STAT_MAX;
}

#endif
