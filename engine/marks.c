/*
 * marks.c: see marks.h.
 *
 * Thread: the one on a worker's seat writes that worker's words; any thread reads them.
 */
#include "engine/marks.h"

#include "engine/engine.h"

void mark_open(_Atomic uint32_t *word)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-open");
    /* Visible to every thread that sees a later swap of the stock word by this worker (release there). Release here,
     * too: the flush before may have been another thread's, and a thread that sees this mark must see its claims. */
    atomic_store_explicit(word, value | 1, memory_order_release);
}

void mark_flushed(_Atomic uint32_t *word, bool still_open)
{
    uint32_t value = atomic_load_explicit(word, memory_order_relaxed);
    STEP("mark-flushed");
    /* Release: a thread that sees the flush sees the claim. Pairs with the acquire in workers_moved_on(). */
    atomic_store_explicit(word, ((value >> 1) + 1) << 1 | still_open, memory_order_release);
}

struct worker_mark workers_mark(const struct engine *e)
{
    struct worker_mark mark = {{0}, {0}};
    for (uint32_t i = 0; i < e->options.workers; i++) {
        STEP("workers-mark");
        mark.takes[i] = atomic_load_explicit(&e->workers[i].open_takes, memory_order_acquire);
        mark.joins[i] = atomic_load_explicit(&e->workers[i].open_joins, memory_order_acquire);
    }
    return mark;
}

bool workers_moved_on(const struct engine *e, const struct worker_mark *mark)
{
    for (uint32_t i = 0; i < e->options.workers; i++) {
        STEP("workers-look");
        uint32_t takes = atomic_load_explicit(&e->workers[i].open_takes, memory_order_acquire);
        uint32_t joins = atomic_load_explicit(&e->workers[i].open_joins, memory_order_acquire);
        if (!takes_moved_on(mark->takes[i], takes) || !joins_moved_on(mark->joins[i], joins))
            return false;
    }
    return true;
}
