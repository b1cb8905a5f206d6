/*
 * sse.h: reads Server-Sent Events from a byte stream that may be cut anywhere.
 *
 * Thread: the one that owns the stream. In: bytes as they come. Out: one call per event that has data, with
 * spans that last for the call. Lines end with LF or CRLF. A block that is complete in the bytes given is
 * read in place; only one that is cut is copied. Fails: false when there is no memory, or an event is above
 * SSE_BLOCK_BYTES_MAX.
 */
#ifndef FLASHLOAD_SSE_H
#define FLASHLOAD_SSE_H

#include "load/fields.h"

enum { SSE_BLOCK_BYTES_MAX = 64 << 20 };

struct sse {
    char *carry; /* owned: the beginning of a block whose end has not come */
    size_t carry_len, carry_room;
};

struct sse_event {
    struct span id, type, data; /* absent if the block has none; of several data lines, the last */
};

typedef void sse_handler(void *context, const struct sse_event *event);

bool sse_feed(struct sse *sse, const char *bytes, size_t len, sse_handler *handler, void *context);
void sse_close(struct sse *sse);

#endif
