/*
 * hdr.h: a histogram of durations with a bounded relative error (HDR: high dynamic range).
 *
 * Values fall into cells that double in width with each power of two, 2^(bits-1) cells a power: with 11 bits
 * a percentile is at most 0.1 % above the true one, from 1 ns to an hour, in 261 KiB. Adding is a few
 * instructions and never allocates.
 *
 * Thread: one at a time. In: nanoseconds. Out: percentiles: the highest value of the cell in question, but
 * never above the largest value seen. Fails: hdr_open() when there is no memory.
 */
#ifndef FLASHLOAD_HDR_H
#define FLASHLOAD_HDR_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HDR_BITS = 11,       /* three digits */
    HDR_BITS_COARSE = 7, /* 1.6 %: for one tick of a plot */
};

struct hdr {
    uint32_t bits, cells;
    uint64_t count, sum, min, max;
    uint64_t *counts; /* owned */
};

bool hdr_open(struct hdr *hdr, uint32_t bits);
void hdr_close(struct hdr *hdr);
void hdr_reset(struct hdr *hdr);
/* Durations above an hour count as one hour. */
void hdr_add(struct hdr *hdr, uint64_t value_ns);
/* percent 0..100; 0 when nothing was added. */
uint64_t hdr_percentile(const struct hdr *hdr, double percent);
double hdr_mean(const struct hdr *hdr);

#endif
