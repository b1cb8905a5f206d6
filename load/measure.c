/*
 * measure.c: see measure.h.
 *
 * Thread: the owner's of the measures. Fails: measures_open() without memory.
 */
#include "load/measure.h"

#include <stdlib.h>
#include <string.h>

#include "load/clock.h"

static const char *const latency_names[LATENCY_COUNT] = {
#define X(name, text, about) text,
    LATENCIES(X)
#undef X
};

static const char *const latency_abouts[LATENCY_COUNT] = {
#define X(name, text, about) about,
    LATENCIES(X)
#undef X
};

static const char *const count_names[COUNT_COUNT] = {
#define X(name, text) text,
    COUNTS(X)
#undef X
};

const char *latency_name(enum latency latency)
{
    return latency_names[latency];
}

const char *latency_about(enum latency latency)
{
    return latency_abouts[latency];
}

const char *count_name(enum count count)
{
    return count_names[count];
}

bool measures_open(struct measures *m)
{
    memset(m, 0, sizeof *m);
    bool good = true;
    for (int i = 0; i < LATENCY_COUNT; i++)
        good &= hdr_open(&m->latencies[i], HDR_BITS);
    good &= hdr_open(&m->tick_buy, HDR_BITS_COARSE) && hdr_open(&m->tick_paid, HDR_BITS_COARSE) &&
            hdr_open(&m->tick_frame, HDR_BITS_COARSE);
    m->ticks = calloc(TICKS_MAX + TICKS_LATE, sizeof *m->ticks);
    return good && m->ticks != NULL;
}

void measures_close(struct measures *m)
{
    for (int i = 0; i < LATENCY_COUNT; i++)
        hdr_close(&m->latencies[i]);
    hdr_close(&m->tick_buy);
    hdr_close(&m->tick_paid);
    hdr_close(&m->tick_frame);
    free(m->ticks);
}

void measure(struct measures *m, enum latency latency, uint64_t span_ns)
{
    hdr_add(&m->latencies[latency], span_ns);
    if (latency == LATENCY_BUY)
        hdr_add(&m->tick_buy, span_ns);
    else if (latency == LATENCY_PAID)
        hdr_add(&m->tick_paid, span_ns);
    else if (latency == LATENCY_FRAME || latency == LATENCY_FRAME_PUBLIC)
        hdr_add(&m->tick_frame, span_ns);
}

static struct brief brief_of(struct hdr *hdr)
{
    const struct brief brief = {(uint32_t)hdr->count, (uint32_t)(hdr_percentile(hdr, 50) / 1000),
                                (uint32_t)(hdr_percentile(hdr, 99) / 1000),
                                (uint32_t)(hdr->max / 1000)};
    hdr_reset(hdr);
    return brief;
}

void measures_tick(struct measures *m, uint64_t start_ns, uint64_t now_ns, const struct tick *like)
{
    uint32_t done = atomic_load_explicit(&m->ticks_done, memory_order_relaxed);
    while (now_ns >= start_ns + (uint64_t)(done + 1) * TICK_MS * NS_PER_MS) {
        struct tick *tick = measures_tick_at(m, done++);
        *tick = *like;
        memcpy(tick->counts, m->counts, sizeof tick->counts);
        tick->buy = brief_of(&m->tick_buy);
        tick->paid = brief_of(&m->tick_paid);
        tick->frame = brief_of(&m->tick_frame);
        /* Pairs with main's acquire. */
        atomic_store_explicit(&m->ticks_done, done, memory_order_release);
    }
}

void measures_end(struct measures *m, uint64_t start_ns, uint64_t now_ns, const struct tick *like)
{
    measures_tick(m, start_ns, now_ns + TICK_MS * NS_PER_MS, like);
    m->over = true;
}
