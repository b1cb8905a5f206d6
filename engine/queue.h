/*
 * queue.h: a first-in, first-out queue of orders with a deadline each, for one thread.
 *
 * The clock keeps two per sale: waiting orders, in log order, and holds, in the order of their
 * deadlines (a sale has one hold length, so log order is deadline order, to within the difference
 * between the threads' readings of the time).
 *
 * Thread: its owner only. Chunks are freed as the head moves past them.
 */
#ifndef FLASHD_ENGINE_QUEUE_H
#define FLASHD_ENGINE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct order;

struct queue_entry {
    struct order *order;
    int64_t deadline_mono_ms;
};

struct queue_chunk;

struct queue {
    struct queue_chunk *first, *last;
    uint32_t head, tail; /* within first and last */
};

/* A zeroed struct queue is empty. */
void queue_free(struct queue *queue);
/* False when out of memory: nothing changed. */
bool queue_push(struct queue *queue, struct queue_entry entry);
/* The oldest entry, or NULL. Borrowed until the next call. */
const struct queue_entry *queue_head(const struct queue *queue);
void queue_pop(struct queue *queue);

#endif
