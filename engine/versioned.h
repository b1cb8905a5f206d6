/*
 * versioned.h: a sequence lock whose data are atomic words: one thread writes them together, and any thread reads them
 * as of one moment, without locks.
 *
 * The version is odd while the words change. A reader that saw the same even version before and after has the words of
 * one moment; until then it reads again. The writer never waits.
 */
#ifndef FLASHD_ENGINE_VERSIONED_H
#define FLASHD_ENGINE_VERSIONED_H

#include <stdatomic.h>
#include <stdint.h>

/* The one writer. */
static inline void versioned_write(_Atomic uint64_t *version, _Atomic uint64_t *words,
                                   const uint64_t *from, int count)
{
    uint64_t before = atomic_load_explicit(version, memory_order_relaxed);
    atomic_store_explicit(version, before + 1, memory_order_relaxed);
    /* Release: the odd version is seen before any new word. Pairs with the acquires of versioned_read(). */
    for (int i = 0; i < count; i++)
        atomic_store_explicit(&words[i], from[i], memory_order_release);
    atomic_store_explicit(version, before + 2, memory_order_release);
}

/* Any thread: the first `count` words. */
static inline void versioned_read(const _Atomic uint64_t *version, const _Atomic uint64_t *words,
                                  uint64_t *into, int count)
{
    uint64_t before, after;
    do {
        before = atomic_load_explicit(version, memory_order_acquire);
        for (int i = 0; i < count; i++)
            into[i] = atomic_load_explicit(&words[i], memory_order_acquire);
        after = atomic_load_explicit(version, memory_order_relaxed);
    } while (before != after || (before & 1) != 0);
}

#endif
