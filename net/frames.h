/*
 * frames.h: encoded SSE frames in a ring of bytes, found by seq: encoded once, read by every stream.
 *
 * Appending to a full ring drops the oldest frames, up to the seq `floor`. A reader's cursor is a seq; the ring has
 * all that comes after it while cursor >= floor.
 *
 * Thread: the broadcaster.
 */
#ifndef FLASHD_NET_FRAMES_H
#define FLASHD_NET_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct order;
struct sale;

enum { FRAMES_COUNT = 1 << 14, FRAMES_BYTES = 8 << 20, FRAME_BYTES_MAX = 4096 };

/* A frame's place in the ring, and what filters look at. */
struct frame {
    uint64_t seq; /* rises */
    uint64_t offset;
    uint32_t bytes;
    uint8_t kind;  /* enum event_kind */
    uint8_t count; /* 2: with the other frame of its event */
    const struct sale *sale;
    const struct order *order; /* NULL for a sale's event */
};

struct frames {
    struct frame *index; /* FRAMES_COUNT, by number */
    char *memory;        /* FRAMES_BYTES; a frame never wraps */
    uint64_t first, end; /* numbers of the oldest frame and of the next */
    uint64_t next_offset;
    uint64_t floor; /* frames up to this seq are not here any more (or never were) */
};

/* False when out of memory. */
bool frames_init(struct frames *frames);
void frames_free(struct frames *frames);
/* Empties the ring: frames up to `seq` are not here any more. */
void frames_clear(struct frames *frames, uint64_t seq);
/* Copies a frame in; sets its offset. frame.bytes <= FRAME_BYTES_MAX. */
void frames_append(struct frames *frames, struct frame frame, const char *bytes);
/* The number of the first frame after `seq`, which must be >= floor; frames->end when there is none. */
uint64_t frames_after(const struct frames *frames, uint64_t seq);
static inline const struct frame *frames_at(const struct frames *frames, uint64_t number)
{
    return &frames->index[number % FRAMES_COUNT];
}
static inline const char *frames_bytes(const struct frames *frames, const struct frame *frame)
{
    return frames->memory + frame->offset % FRAMES_BYTES;
}

#endif
