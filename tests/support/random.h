/*
 * random.h: a seeded source of random numbers for tests: the same seed gives the same run.
 *
 * Usage: struct random r = random_from(seed); if (random_chance(&r, 1, 10)) …
 *
 * splitmix64 (S. Vigna, public domain): one 64-bit word of state, any seed is a good seed.
 * Thread: the owner of the struct. Not for secrets.
 */
#ifndef FLASHD_TESTS_SUPPORT_RANDOM_H
#define FLASHD_TESTS_SUPPORT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static inline struct random random_from(uint64_t seed)
{
    return (struct random){random_mix(seed + 0x9e3779b97f4a7c15ULL)};
}

static inline uint64_t random_next(struct random *r)
{
    r->state += 0x9e3779b97f4a7c15ULL;
    return random_mix(r->state);
}

/* 0..n-1; n from 1 to 2^32. */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
    return (uint32_t)((random_next(r) >> 32) * n >> 32);
}

/* low..high, both included. */
static inline uint32_t random_between(struct random *r, uint32_t low, uint32_t high)
{
    return low + random_below(r, high - low + 1);
}

static inline bool random_chance(struct random *r, uint32_t times, uint32_t of)
{
    return random_below(r, of) < times;
}

#endif
