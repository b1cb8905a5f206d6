/*
 * hdr.c: see hdr.h.
 *
 * A value below 2^bits has a cell of its own. A larger one is shifted right until it has `bits` bits: each shift
 * has a row of 2^(bits-1) cells, and what is left of the value selects the cell in it.
 */
#include "load/hdr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HDR_VALUE_MAX UINT64_C(3600000000000) /* an hour, in ns */

static uint32_t shift_of(const struct hdr *hdr, uint64_t value)
{
    uint32_t width = 64 - (uint32_t)__builtin_clzll(value | 1);
    return width > hdr->bits ? width - hdr->bits : 0;
}

static uint32_t cell_of(const struct hdr *hdr, uint64_t value)
{
    uint32_t shift = shift_of(hdr, value);
    return (shift << (hdr->bits - 1)) + (uint32_t)(value >> shift);
}

static uint64_t highest_of(const struct hdr *hdr, uint32_t cell)
{
    uint32_t half = 1u << (hdr->bits - 1);
    uint32_t shift = cell < 2 * half ? 0 : cell / half - 1;
    return ((uint64_t)(cell - shift * half + 1) << shift) - 1;
}

bool hdr_open(struct hdr *hdr, uint32_t bits)
{
    *hdr = (struct hdr){.bits = bits, .min = UINT64_MAX};
    hdr->cells = cell_of(hdr, HDR_VALUE_MAX) + 1;
    hdr->counts = calloc(hdr->cells, sizeof *hdr->counts);
    return hdr->counts != NULL;
}

void hdr_close(struct hdr *hdr)
{
    free(hdr->counts);
    hdr->counts = NULL;
}

void hdr_reset(struct hdr *hdr)
{
    if (hdr->count == 0)
        return;
    uint32_t first = cell_of(hdr, hdr->min), last = cell_of(hdr, hdr->max);
    memset(hdr->counts + first, 0, (last - first + 1) * sizeof *hdr->counts);
    hdr->count = hdr->sum = hdr->max = 0;
    hdr->min = UINT64_MAX;
}

void hdr_add(struct hdr *hdr, uint64_t value_ns)
{
    uint64_t value = value_ns < HDR_VALUE_MAX ? value_ns : HDR_VALUE_MAX;
    hdr->counts[cell_of(hdr, value)]++;
    hdr->count++;
    hdr->sum += value;
    hdr->min = value < hdr->min ? value : hdr->min;
    hdr->max = value > hdr->max ? value : hdr->max;
}

uint64_t hdr_percentile(const struct hdr *hdr, double percent)
{
    if (hdr->count == 0)
        return 0;
    /* The smallest value that this share of all values does not exceed. */
    double wanted = ceil(percent / 100 * (double)hdr->count - 1e-9);
    uint64_t rank = wanted < 1 ? 1 : (uint64_t)wanted, seen = 0;
    for (uint32_t i = cell_of(hdr, hdr->min); i < hdr->cells; i++) {
        seen += hdr->counts[i];
        if (seen >= rank) {
            uint64_t value = highest_of(hdr, i);
            return value < hdr->max ? value : hdr->max;
        }
    }
    return hdr->max;
}

double hdr_mean(const struct hdr *hdr)
{
    return hdr->count == 0 ? 0 : (double)hdr->sum / (double)hdr->count;
}
