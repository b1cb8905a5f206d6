/*
 * queue.c: linked chunks of entries (see queue.h).
 *
 * Thread: the queue's owner. Fails: queue_push() when out of memory.
 */
#include "engine/queue.h"

#include <stdlib.h>

#include "engine/check.h"

enum { CHUNK_ENTRIES = 255 };

struct queue_chunk {
    struct queue_chunk *next;
    struct queue_entry entries[CHUNK_ENTRIES];
};

void queue_free(struct queue *queue)
{
    while (queue->first != NULL) {
        struct queue_chunk *next = queue->first->next;
        free(queue->first);
        queue->first = next;
    }
    *queue = (struct queue){0};
}

bool queue_push(struct queue *queue, struct queue_entry entry)
{
    if (queue->last == NULL || queue->tail == CHUNK_ENTRIES) {
        struct queue_chunk *chunk = malloc(sizeof *chunk);
        if (chunk == NULL)
            return false;
        chunk->next = NULL;
        if (queue->last == NULL)
            queue->first = chunk;
        else
            queue->last->next = chunk;
        queue->last = chunk;
        queue->tail = 0;
    }
    queue->last->entries[queue->tail++] = entry;
    return true;
}

const struct queue_entry *queue_head(const struct queue *queue)
{
    if (queue->first == NULL || (queue->first == queue->last && queue->head == queue->tail))
        return NULL;
    return &queue->first->entries[queue->head];
}

void queue_pop(struct queue *queue)
{
    MUST(queue_head(queue) != NULL, "popping an empty queue");
    queue->head++;
    bool drained = queue->first == queue->last && queue->head == queue->tail;
    if (!drained && queue->head < CHUNK_ENTRIES)
        return;
    struct queue_chunk *done = queue->first;
    queue->first = done->next;
    queue->head = 0;
    if (queue->first == NULL)
        *queue = (struct queue){0};
    free(done);
}
