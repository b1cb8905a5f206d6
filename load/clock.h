/*
 * clock.h: the one clock of the load generator: monotonic nanoseconds.
 *
 * Thread: any. In: nothing. Out: a time that never goes back. It is not the wall clock, whose steps would
 * distort latencies. Cannot fail.
 */
#ifndef FLASHLOAD_CLOCK_H
#define FLASHLOAD_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

static inline uint64_t clock_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

static inline void clock_sleep_ms(uint32_t sleep_ms)
{
    const struct timespec span = {sleep_ms / 1000, (long)(sleep_ms % 1000) * 1000000};
    (void)nanosleep(&span, NULL);
}

#endif
