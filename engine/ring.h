/*
 * ring.h: Concurrency Kit's single-producer single-consumer rings, by value, for two record types.
 *
 * RING(name), for a struct name, gives: name_ring_init/free, name_ring_push (producer),
 * name_ring_pop (consumer). Threads: exactly one pushes, exactly one pops. Release in push pairs
 * with acquire in pop. Fails: push is false when the ring is full; nothing is overwritten.
 *
 * ThreadSanitizer does not follow the fences inside ck_ring, so the pair is named to it here.
 */
#ifndef FLASHD_ENGINE_RING_H
#define FLASHD_ENGINE_RING_H

#include <ck_ring.h>
#include <stdbool.h>
#include <stdlib.h>

#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define RING_PUBLISHED(ring) __tsan_release(ring)
#define RING_OBSERVED(ring)  __tsan_acquire(ring)
#else
#define RING_PUBLISHED(ring) ((void)0)
#define RING_OBSERVED(ring)  ((void)0)
#endif

#define RING(name)                                                                                 \
    CK_RING_PROTOTYPE(name, name)                                                                  \
    struct name##_ring {                                                                           \
        ck_ring_t ring;                                                                            \
        struct name *slots;                                                                        \
        char released; /* for ThreadSanitizer: what the producer published */                      \
        char consumed; /* for ThreadSanitizer: what the consumer gave back */                      \
    };                                                                                             \
    static inline bool name##_ring_init(struct name##_ring *r, unsigned slots)                     \
    {                                                                                              \
        r->slots = malloc(slots * sizeof(struct name));                                            \
        ck_ring_init(&r->ring, slots);                                                             \
        return r->slots != NULL;                                                                   \
    }                                                                                              \
    static inline void name##_ring_free(struct name##_ring *r)                                     \
    {                                                                                              \
        free(r->slots);                                                                            \
    }                                                                                              \
    static inline bool name##_ring_push(struct name##_ring *r, struct name *record)                \
    {                                                                                              \
        RING_OBSERVED(&r->consumed);                                                               \
        RING_PUBLISHED(&r->released);                                                              \
        return ck_ring_enqueue_spsc_##name(&r->ring, r->slots, record);                            \
    }                                                                                              \
    static inline bool name##_ring_pop(struct name##_ring *r, struct name *record)                 \
    {                                                                                              \
        if (ck_ring_size(&r->ring) == 0)                                                           \
            return false;                                                                          \
        RING_OBSERVED(&r->released);                                                               \
        bool popped = ck_ring_dequeue_spsc_##name(&r->ring, r->slots, record);                     \
        RING_PUBLISHED(&r->consumed);                                                              \
        return popped;                                                                             \
    }

#endif
