/*
 * arrivals.c: see arrivals.h.
 *
 * Thread: as there. Cannot fail.
 */
#include "load/arrivals.h"

#include <math.h>
#include <stdlib.h>

#include "load/draw.h"

enum { BAD_TOGETHER = 3, CALM_MAX = 64 };

double arrivals_rate_at(const struct arrivals *a, double at_s)
{
    return a->rate_from + (a->rate_to - a->rate_from) * at_s / a->span_s;
}

struct arrivals arrivals_at(double rate_from, double rate_to, double span_s, uint64_t seed)
{
    struct arrivals a = {
        .rate_from = rate_from, .rate_to = rate_to, .span_s = span_s, .seed = seed};
    arrivals_advance(&a);
    return a;
}

uint64_t arrivals_next_ns(const struct arrivals *a)
{
    return a->next_s < a->span_s ? (uint64_t)(a->next_s * 1e9) : UINT64_MAX;
}

void arrivals_advance(struct arrivals *a)
{
    a->next_s += -log(draw(a->seed, a->drawn++, 0xa441)) / arrivals_rate_at(a, a->next_s);
}

/* ---- the knee ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median p99 of the first quarter. */
static double calm_p99_ms(const struct ramp_point *points, size_t count)
{
    double p99_ms[CALM_MAX];
    size_t used = (count + 3) / 4;
    used = used < CALM_MAX ? used : CALM_MAX;
    for (size_t i = 0; i < used; i++)
        p99_ms[i] = points[i].p99_ms;
    qsort(p99_ms, used, sizeof *p99_ms, by_size);
    return p99_ms[used / 2];
}

static const char *what_gave_way(const struct ramp_point *point, double calm_ms)
{
    if (point->served < 0.95 * point->offered)
        return "served less than offered";
    return point->p99_ms > 5 * calm_ms + 5 ? "p99 above five times its calm" : NULL;
}

struct knee knee_find(const struct ramp_point *points, size_t count)
{
    struct knee knee = {0};
    if (count == 0)
        return knee;
    double calm_ms = calm_p99_ms(points, count);
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        const char *sign = what_gave_way(&points[i], calm_ms);
        if (sign == NULL) {
            bad = 0;
            knee.offered = points[i].offered;
            knee.p99_ms = points[i].p99_ms;
            continue;
        }
        if (bad++ == 0)
            knee.sign = sign;
        if (bad == BAD_TOGETHER || i + 1 == count) {
            knee.reached = true;
            return knee;
        }
    }
    knee.sign = NULL;
    return knee;
}
