/*
 * now.h: the time, as an argument. No decision reads a clock; a thread reads it once per round.
 *
 * Thread: any.
 * mono_ms: CLOCK_MONOTONIC, for holds: it does not jump. Epoch arbitrary.
 * wall_ms: CLOCK_REALTIME, ms since 1970-01-01 UTC, for sale times and for people.
 */
#ifndef FLASHD_ENGINE_NOW_H
#define FLASHD_ENGINE_NOW_H

#include <stdint.h>
#include <time.h>

/* The last moment of the year 9999, the last year that four digits can hold. */
#define WALL_MS_MAX INT64_C(253402300799999)

struct now {
    int64_t mono_ms;
    int64_t wall_ms;
};

static inline int64_t now_clock_ms(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static inline struct now now_read(void)
{
    return (struct now){now_clock_ms(CLOCK_MONOTONIC), now_clock_ms(CLOCK_REALTIME)};
}

#endif
