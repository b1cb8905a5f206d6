/*
 * draw.h: seeded chance. What a buyer will do is a function of (seed, buyer, question), so in a run
 * with the same seed buyers decide the same, whatever the order in which answers come.
 *
 * Thread: any; no state but the caller's.
 */
#ifndef FLASHLOAD_DRAW_H
#define FLASHLOAD_DRAW_H

#include <math.h>
#include <stdint.h>

/* splitmix64's finaliser: every bit of the result depends on every bit of the argument. */
static inline uint64_t draw_mix(uint64_t bits)
{
    bits += 0x9e3779b97f4a7c15;
    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111eb;
    return bits ^ bits >> 31;
}

/* Uniform in (0, 1]. */
static inline double draw(uint64_t seed, uint64_t buyer, uint32_t question)
{
    uint64_t bits = draw_mix(draw_mix(seed ^ draw_mix(buyer)) + question);
    return (double)((bits >> 11) + 1) / 9007199254740992.0;
}

/* Exponential with this mean, at most four times it. */
static inline double draw_span(double mean, uint64_t seed, uint64_t buyer, uint32_t question)
{
    return fmin(-log(draw(seed, buyer, question)) * mean, 4 * mean);
}

#endif
