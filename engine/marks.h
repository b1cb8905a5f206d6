/*
 * marks.h: open batches: what workers have decided that has no slot in the log yet.
 *
 * Between its swap of the stock word and its slot, a decision is known to its worker only. Two words of each worker
 * tell the others: bit 0 says that there may be such decisions, the rest counts the flushes, modulo 2^31.
 *   open_takes  units taken, payments           the clock, before it closes a sale, and the joins of
 *                                               other workers wait for it to move on
 *   open_joins  places taken in a waiting list  the clock waits for it
 * Who has to wait takes a mark, which is a copy of the words, and goes on when they have moved on from it.
 *
 * Threads: a worker's words are written by who sits on its seat, and read by any.
 */
#ifndef FLASHD_ENGINE_MARKS_H
#define FLASHD_ENGINE_MARKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"

struct engine;

/* The words of every worker, as somebody saw them. */
struct worker_mark {
    uint32_t takes[WORKERS_MAX], joins[WORKERS_MAX];
};

/* Whether every decision that may have been open when `mark` was taken has its slot by now. A join
 * may stand in the younger of two lists, so it takes two flushes. */
static inline bool takes_moved_on(uint32_t mark, uint32_t now)
{
    return (mark & 1) == 0 || now != mark;
}
static inline bool joins_moved_on(uint32_t mark, uint32_t now)
{
    return (mark & 1) == 0 || (now & 1) == 0 || (now >> 1) - (mark >> 1) >= 2;
}

/* On the seat: before the first swap of a batch; and once the batch has its slots. */
void mark_open(_Atomic uint32_t *word);
void mark_flushed(_Atomic uint32_t *word, bool still_open);

/* Any thread: what every worker may have open by now, and whether all of it has its slots. */
struct worker_mark workers_mark(const struct engine *engine);
bool workers_moved_on(const struct engine *engine, const struct worker_mark *mark);

#endif
