/*
 * ring.h: Concurrency Kit's single-producer single-consumer rings, by value.
 *
 * RING(name), for a struct name, gives: name_ring_init/free, name_ring_push (producer),
 * name_ring_pop (consumer). Threads: exactly one pushes, exactly one pops. Release in push pairs
 * with acquire in pop. Fails: push is false when the ring is full; nothing is overwritten.
 *
 * Under ThreadSanitizer the code is the same, and annotations say what ck_ring does. It accesses its
 * indexes as volatile between fences, which TSan takes for plain accesses: they are hidden
 * (RING_HIDE). Instead the hand-over is named: what the producer did before a push happens before
 * what the consumer does after the pop (RING_GIVE, RING_TAKE). And each end touches a plain word of
 * its own, so that a second producer or consumer is still reported (RING_ALONE).
 */
#ifndef FLASHD_ENGINE_RING_H
#define FLASHD_ENGINE_RING_H

#include <ck_ring.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature) /* clang */
#if __has_feature(thread_sanitizer)
#define RING_ANNOTATED 1
#endif
#elif defined(__SANITIZE_THREAD__) /* gcc */
#define RING_ANNOTATED 1
#endif

#ifdef RING_ANNOTATED
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define RING_GIVE(ring) __tsan_release(&(ring)->handed_over)
#define RING_TAKE(ring) __tsan_acquire(&(ring)->handed_over)
#define RING_ALONE(end) (++(end))
#define RING_HIDE(expression)                                                                      \
    do {                                                                                           \
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);                                              \
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);                                             \
        expression;                                                                                \
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);                                               \
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);                                                \
    } while (0)
#else
#define RING_GIVE(ring)       ((void)0)
#define RING_TAKE(ring)       ((void)0)
#define RING_ALONE(end)       ((void)0)
#define RING_HIDE(expression) expression
#endif

#define RING(name)                                                                                 \
    CK_RING_PROTOTYPE(name, name)                                                                  \
    struct name##_ring {                                                                           \
        /* ck_ring keeps its two ends a line apart; aligned, they share theirs with nobody. */     \
        _Alignas(CK_MD_CACHELINE) ck_ring_t ring;                                                  \
        struct name *slots;                                                                        \
        char handed_over;            /* for ThreadSanitizer */                                     \
        unsigned producer, consumer; /* for ThreadSanitizer: plain words, one writer each */       \
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
        bool pushed;                                                                               \
        RING_ALONE(r->producer);                                                                   \
        RING_GIVE(r);                                                                              \
        RING_HIDE(pushed = ck_ring_enqueue_spsc_##name(&r->ring, r->slots, record));               \
        return pushed;                                                                             \
    }                                                                                              \
    static inline bool name##_ring_pop(struct name##_ring *r, struct name *record)                 \
    {                                                                                              \
        bool popped;                                                                               \
        RING_ALONE(r->consumer);                                                                   \
        RING_HIDE(popped = ck_ring_dequeue_spsc_##name(&r->ring, r->slots, record));               \
        if (popped)                                                                                \
            RING_TAKE(r);                                                                          \
        return popped;                                                                             \
    }

#endif
