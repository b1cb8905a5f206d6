/*
 * lines.h: memory for what threads share: zeroed, and aligned to cache lines as its _Alignas fields ask.
 *
 * Thread: any. Fails: NULL when out of memory. Owned by the caller; free() gives it back.
 */
#ifndef FLASHD_ENGINE_LINES_H
#define FLASHD_ENGINE_LINES_H

#include <stdlib.h>
#include <string.h>

#include "engine/bounds.h"

static inline void *lines_new(size_t bytes)
{
    size_t whole = (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    void *lines = aligned_alloc(CACHE_LINE_BYTES, whole);
    return lines != NULL ? memset(lines, 0, whole) : NULL;
}

#endif
