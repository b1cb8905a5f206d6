/*
 * frames.c: see frames.h.
 *
 * Thread: the broadcaster. Fails: frames_init() when out of memory; nothing else can.
 */
#include "net/frames.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"

static const size_t index_bytes = FRAMES_COUNT * sizeof(struct frame);

/* Pages are allocated on first use: a server without streams does not pay for them. */
static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

bool frames_init(struct frames *f)
{
    *f = (struct frames){.index = reserve(index_bytes), .memory = reserve(FRAMES_BYTES)};
    return f->index != NULL && f->memory != NULL;
}

void frames_free(struct frames *f)
{
    if (f->index != NULL)
        (void)munmap(f->index, index_bytes);
    if (f->memory != NULL)
        (void)munmap(f->memory, FRAMES_BYTES);
}

void frames_clear(struct frames *f, uint64_t seq)
{
    f->first = f->end;
    f->floor = seq;
}

static void drop_oldest(struct frames *f)
{
    f->floor = frames_at(f, f->first)->seq;
    f->first++;
}

void frames_append(struct frames *f, struct frame frame, const char *bytes)
{
    MUST(frame.bytes <= FRAME_BYTES_MAX, "a frame longer than the longest");
    uint64_t left = FRAMES_BYTES - f->next_offset % FRAMES_BYTES;
    frame.offset = frame.bytes <= left ? f->next_offset : f->next_offset + left;
    uint64_t end = frame.offset + frame.bytes;
    while (f->first < f->end && (f->end - f->first == FRAMES_COUNT ||
                                 frames_at(f, f->first)->offset + FRAMES_BYTES < end))
        drop_oldest(f);
    memcpy(f->memory + frame.offset % FRAMES_BYTES, bytes, frame.bytes);
    f->index[f->end % FRAMES_COUNT] = frame;
    f->next_offset = end;
    f->end++;
}

uint64_t frames_after(const struct frames *f, uint64_t seq)
{
    uint64_t low = f->first, high = f->end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (frames_at(f, middle)->seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
