/*
 * marks.h: open batches: decisions of workers that have no slot in the log yet.
 *
 * Between its swap of the stock word and its slot, a decision is known to its worker only. Two words of each worker
 * tell the others: bit 0 says that there may be such decisions, the rest counts the flushes, modulo 2^31.
 *   open_takes  units taken, payments
 *   open_joins  places taken in a waiting list
 * Whoever has to wait for such decisions takes a mark, which is a copy of every worker's words, and goes on when all of
 * them have moved on from it. Joins wait for open_takes only; closing a sale (clock.h), doubts (worker.h) and a
 * reconciliation wait for both.
 *
 * Threads: a worker's words are written by the thread on its seat, and read by any.
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
 * may be on the younger of its worker's two lists, so joins take two flushes. */
static inline bool takes_moved_on(uint32_t mark, uint32_t now)
{
    return (mark & 1) == 0 || now != mark;
}
static inline bool joins_moved_on(uint32_t mark, uint32_t now)
{
    return (mark & 1) == 0 || (now & 1) == 0 || (now >> 1) - (mark >> 1) >= 2;
}

/* On the seat: before the first swap of a batch; and once the batch has its slots (still_open: the
 * next batch has swapped already). */
void mark_open(_Atomic uint32_t *word);
void mark_flushed(_Atomic uint32_t *word, bool still_open);

/* Any thread: takes a mark; tells whether everything that may have been open then has its slot. */
struct worker_mark workers_mark(const struct engine *engine);
bool workers_moved_on(const struct engine *engine, const struct worker_mark *mark);

#endif
