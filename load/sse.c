/*
 * sse.c: see sse.h.
 *
 * Thread: the stream's. In: bytes. Out: events. Fails: by false.
 */
#include "load/sse.h"

#include <stdlib.h>
#include <string.h>

static void take_line(struct sse_event *event, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon != NULL ? (size_t)(colon - line) : len;
    struct span value = {line + len, 0};
    if (colon != NULL) {
        value = (struct span){colon + 1, len - name_len - 1};
        if (value.len > 0 && *value.data == ' ')
            value = (struct span){value.data + 1, value.len - 1};
    }
    const struct span name = {line, name_len};
    if (span_is(name, "data"))
        event->data = value;
    else if (span_is(name, "event"))
        event->type = value;
    else if (span_is(name, "id"))
        event->id = value;
}

/* Hands on every complete block; returns how many bytes they took. */
static size_t take_blocks(const char *bytes, size_t len, sse_handler *handler, void *context)
{
    struct sse_event event = {0};
    size_t taken = 0, at = 0;
    const char *line_end;
    while ((line_end = memchr(bytes + at, '\n', len - at)) != NULL) {
        const char *line = bytes + at;
        size_t line_len = (size_t)(line_end - line);
        at += line_len + 1;
        if (line_len > 0 && line[line_len - 1] == '\r')
            line_len--;
        if (line_len > 0) {
            take_line(&event, line, line_len);
            continue;
        }
        if (event.data.data != NULL)
            handler(context, &event);
        event = (struct sse_event){0};
        taken = at;
    }
    return taken;
}

static bool keep(struct sse *sse, const char *bytes, size_t len)
{
    size_t wanted = sse->carry_len + len;
    if (wanted > SSE_BLOCK_BYTES_MAX)
        return false;
    if (wanted > sse->carry_room) {
        size_t room = wanted < 512 ? 512 : wanted * 2;
        char *grown = realloc(sse->carry, room);
        if (grown == NULL)
            return false;
        sse->carry = grown;
        sse->carry_room = room;
    }
    memcpy(sse->carry + sse->carry_len, bytes, len);
    sse->carry_len = wanted;
    return true;
}

bool sse_feed(struct sse *sse, const char *bytes, size_t len, sse_handler *handler, void *context)
{
    if (sse->carry_len == 0) {
        size_t taken = take_blocks(bytes, len, handler, context);
        return taken == len || keep(sse, bytes + taken, len - taken);
    }
    if (!keep(sse, bytes, len))
        return false;
    size_t taken = take_blocks(sse->carry, sse->carry_len, handler, context);
    memmove(sse->carry, sse->carry + taken, sse->carry_len - taken);
    sse->carry_len -= taken;
    return true;
}

void sse_close(struct sse *sse)
{
    free(sse->carry);
    *sse = (struct sse){0};
}
