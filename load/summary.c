/*
 * summary.c: see summary.h.
 *
 * Thread: main.
 */
#include "load/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TICKS_A_SECOND = 1000 / TICK_MS };

static uint32_t ticks_of(const struct measures *m)
{
    uint32_t done = atomic_load_explicit(&m->ticks_done, memory_order_acquire);
    return done < TICKS_MAX ? done : TICKS_MAX;
}

/* The buyers' ticks, joined with the audience's. */
static bool join_ticks(struct summary *s)
{
    const struct run *run = s->run;
    uint32_t buyers = ticks_of(&run->buyers), audience = ticks_of(&run->audience);
    s->tick_count = buyers < audience ? buyers : audience;
    s->ticks = calloc((size_t)s->tick_count + 1, sizeof *s->ticks);
    s->publics = calloc((size_t)s->tick_count + 1, sizeof *s->publics);
    if (s->ticks == NULL || s->publics == NULL)
        return false;
    for (uint32_t i = 0; i < s->tick_count; i++) {
        const struct tick *seen = &run->audience.ticks[i];
        s->ticks[i] = run->buyers.ticks[i];
        for (int k = 0; k < COUNT_COUNT; k++)
            s->ticks[i].counts[k] += seen->counts[k];
        s->publics[i] = seen->frame;
        s->ticks[i].available = seen->available;
        s->ticks[i].held = seen->held;
        s->ticks[i].sold = seen->sold;
        s->ticks[i].waiting = seen->waiting;
    }
    return true;
}

static double peak_of(const struct summary *s, int counted)
{
    uint64_t best = 0;
    for (uint32_t i = 0; i < s->tick_count; i++) {
        uint64_t before = i >= TICKS_A_SECOND ? s->ticks[i - TICKS_A_SECOND].counts[counted] : 0;
        uint64_t gained = s->ticks[i].counts[counted] - before;
        best = gained > best ? gained : best;
    }
    /* Without a tick there is only the mean. */
    return s->tick_count > 0 ? (double)best : (double)s->counts[counted] / fmax(s->seconds, 1e-9);
}

/* The point of ticks `from` to `to` - 1, in which buyers came for for_s seconds. */
static struct ramp_point point_of(const struct summary *s, uint32_t from, uint32_t to, double for_s)
{
    static const struct tick none;
    const struct tick *now = &s->ticks[to - 1], *before = from > 0 ? &s->ticks[from - 1] : &none;
    uint32_t p99_us = 0;
    for (uint32_t i = from; i < to; i++)
        p99_us = s->ticks[i].buy.p99_us > p99_us ? s->ticks[i].buy.p99_us : p99_us;
    return (struct ramp_point){
        .offered = (double)(now->counts[COUNT_ARRIVALS] - before->counts[COUNT_ARRIVALS]) / for_s,
        .served = (double)(now->counts[COUNT_PURCHASES] - before->counts[COUNT_PURCHASES]) / for_s,
        .p99_ms = p99_us / 1000.0};
}

/* A point a second: the p99 of a tick with few answers says little. The last point has the rest, half a second to one
 * and a half. */
static bool find_knee(struct summary *s)
{
    double came_s = s->run->came_s;
    size_t count = came_s < 1.5 ? 1 : (size_t)round(came_s);
    s->points = calloc(count, sizeof *s->points);
    for (size_t i = 0; s->points != NULL && i < count; i++) {
        double to_s = i + 1 < count ? (double)(i + 1) : came_s;
        uint32_t from = (uint32_t)i * TICKS_A_SECOND, to = (uint32_t)ceil(to_s * TICKS_A_SECOND);
        to = to < s->tick_count ? to : s->tick_count;
        if (from >= to)
            break;
        s->points[s->point_count++] = point_of(s, from, to, to_s - (double)i);
    }
    s->knee = knee_find(s->points, s->point_count);
    return s->points != NULL;
}

bool summary_open(struct summary *s, const struct run *run)
{
    s->run = run;
    s->seconds = (double)(run->loaded_ns - run->start_ns) / 1e9;
    for (int i = 0; i < COUNT_COUNT; i++)
        s->counts[i] = run->buyers.counts[i] + run->audience.counts[i];
    if (!join_ticks(s))
        return false;
    for (int i = 0; i < COUNT_COUNT; i++)
        s->peaks[i] = peak_of(s, i);
    return run->options.ramp_s <= 0 || find_knee(s);
}

void summary_close(struct summary *s)
{
    free(s->ticks);
    free(s->publics);
    free(s->points);
    s->ticks = NULL;
    s->publics = NULL;
    s->points = NULL;
}

const struct hdr *summary_latency(const struct summary *s, enum latency latency)
{
    bool watched = latency == LATENCY_FRAME_PUBLIC || latency == LATENCY_FRAME_EVENTS;
    return &(watched ? &s->run->audience : &s->run->buyers)->latencies[latency];
}

bool summary_balances(const struct summary *s)
{
    return s->audit_error[0] == '\0' && findings_total(&s->verdict.findings) == 0;
}

int summary_exit_status(const struct summary *s)
{
    if (!summary_balances(s))
        return 1;
    for (uint32_t i = 0; i < s->threshold_count; i++)
        if (!s->thresholds[i].holds)
            return 99;
    return 0;
}

/* ---- thresholds ---- */

static int latency_named(const char *name)
{
    for (int i = 0; i < LATENCY_COUNT; i++)
        if (strcmp(name, latency_name((enum latency)i)) == 0)
            return i;
    return -1;
}

static int count_named(const char *name)
{
    for (int i = 0; i < COUNT_COUNT; i++)
        if (strcmp(name, count_name((enum count)i)) == 0)
            return i;
    return -1;
}

bool summary_knows(const char *name, enum statistic statistic)
{
    return latency_named(name) >= 0 || (!statistic_is_latency(statistic) && count_named(name) >= 0);
}

static double counted(const struct summary *s, const char *name)
{
    int count = count_named(name);
    return count >= 0 ? (double)s->counts[count]
                      : (double)summary_latency(s, (enum latency)latency_named(name))->count;
}

double summary_figure(const void *context, const char *name, enum statistic statistic,
                      double percent)
{
    const struct summary *s = context;
    if (statistic == STAT_COUNT)
        return counted(s, name);
    if (statistic == STAT_RATE)
        return counted(s, name) / fmax(s->seconds, 1e-9);
    if (statistic == STAT_SHARE) /* of all requests */
        return counted(s, name) /
               fmax((double)(s->counts[COUNT_ANSWERS] + s->counts[COUNT_UNANSWERED]), 1);
    const struct hdr *hdr = summary_latency(s, (enum latency)latency_named(name));
    if (hdr->count == 0)
        return NAN;
    return statistic == STAT_MIN   ? (double)hdr->min
           : statistic == STAT_MAX ? (double)hdr->max
           : statistic == STAT_AVG ? hdr_mean(hdr)
                                   : (double)hdr_percentile(hdr, percent);
}
