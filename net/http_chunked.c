/*
 * http_chunked.c: undoes the chunked transfer coding, strictly.
 *
 * Thread: the net thread that owns the connection.
 * In:     body bytes in any fragmentation. Data is copied in runs, framing is read byte by byte.
 * Out:    the data, appended to the request's block. Extensions and trailers are checked for form
 *         and thrown away: a trailer never becomes a header.
 * Fails:  with a refusal: a size that is not plain hex, anything but CRLF as a line's end, control
 *         characters, a body or a framing beyond its limit.
 *
 * This is not left to llhttp: version 8 skips a chunk extension's bytes unread, even a bare LF, and
 * bounds neither extensions nor the number of tiny chunks.
 *
 *   a chunk:        SIZE_START > SIZE [[> SIZE_SPACE] > EXTENSION [> QUOTED]] > SIZE_LF
 *                   > DATA > DATA_CR > DATA_LF > SIZE_START
 *   after size 0:   SIZE_LF > TRAILER_START [> TRAILER_NAME > TRAILER_VALUE > TRAILER_LF > TRAILER_START]*
 *                   > LAST_LF > DONE
 */
#include "net/http_internal.h"

/* Its value; -1 if c is none. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool is_field_char(char c)
{
    unsigned char byte = (unsigned char)c;
    return c == '\t' || (byte >= 0x20 && byte != 0x7f);
}

static enum refusal add_size_digit(struct chunked *chunked, int digit)
{
    chunked->size = chunked->size * 16 + (uint32_t)digit;
    if (chunked->size > HTTP_BODY_BYTES_MAX - chunked->body_bytes) {
        return REFUSE_BODY_LONG;
    }
    chunked->state = CHUNK_SIZE;
    return REFUSE_NOTHING;
}

static enum refusal size_line_over(struct chunked *chunked)
{
    chunked->body_bytes += chunked->size;
    chunked->state = chunked->size > 0 ? CHUNK_DATA : CHUNK_TRAILER_START;
    return REFUSE_NOTHING;
}

static enum refusal go(struct chunked *chunked, enum chunk_state state)
{
    chunked->state = state;
    return REFUSE_NOTHING;
}

/* A byte of an extension, but not the CR that ends the line. Outside quotes, any field characters will
 * do. */
static enum refusal take_extension_byte(struct chunked *chunked, char c)
{
    if (!is_field_char(c)) {
        return REFUSE_CHUNK_SIZE;
    }
    if (chunked->state == CHUNK_QUOTED_PAIR) {
        return go(chunked, CHUNK_QUOTED);
    }
    if (c == '"') {
        return go(chunked, chunked->state == CHUNK_QUOTED ? CHUNK_EXTENSION : CHUNK_QUOTED);
    }
    return c == '\\' && chunked->state == CHUNK_QUOTED ? go(chunked, CHUNK_QUOTED_PAIR)
                                                       : REFUSE_NOTHING;
}

/* A byte of the size line before its LF. */
static enum refusal take_size_byte(struct chunked *chunked, char c)
{
    enum chunk_state state = chunked->state;
    int digit = hex_digit(c);
    if (digit >= 0 && (state == CHUNK_SIZE_START || state == CHUNK_SIZE)) {
        return add_size_digit(chunked, digit);
    }
    if (c == '\r' && (state == CHUNK_SIZE || state == CHUNK_EXTENSION)) {
        return go(chunked, CHUNK_SIZE_LF);
    }
    if (c == ';' && (state == CHUNK_SIZE || state == CHUNK_SIZE_SPACE)) {
        return go(chunked, CHUNK_EXTENSION);
    }
    if ((c == ' ' || c == '\t') && (state == CHUNK_SIZE || state == CHUNK_SIZE_SPACE)) {
        return go(chunked, CHUNK_SIZE_SPACE);
    }
    bool extension =
        state == CHUNK_EXTENSION || state == CHUNK_QUOTED || state == CHUNK_QUOTED_PAIR;
    return extension ? take_extension_byte(chunked, c) : REFUSE_CHUNK_SIZE;
}

/* A byte of the trailer section before a line's LF. */
static enum refusal take_trailer_byte(struct chunked *chunked, char c)
{
    switch (chunked->state) {
    case CHUNK_TRAILER_START:
        if (c == '\r') {
            return go(chunked, CHUNK_LAST_LF);
        }
        return http_is_class(c, CLASS_TOKEN) ? go(chunked, CHUNK_TRAILER_NAME) : REFUSE_TRAILER;
    case CHUNK_TRAILER_NAME:
        if (c == ':') {
            return go(chunked, CHUNK_TRAILER_VALUE);
        }
        return http_is_class(c, CLASS_TOKEN) ? REFUSE_NOTHING : REFUSE_TRAILER;
    default:
        if (c == '\r') {
            return go(chunked, CHUNK_TRAILER_LF);
        }
        return is_field_char(c) ? REFUSE_NOTHING : REFUSE_TRAILER;
    }
}

/* A byte that has only one right value: CR after the data, or LF after any CR. */
static enum refusal take_line_end(struct chunked *chunked, char c)
{
    if (c != (chunked->state == CHUNK_DATA_CR ? '\r' : '\n')) {
        return REFUSE_CHUNK_END;
    }
    switch (chunked->state) {
    case CHUNK_SIZE_LF:
        return size_line_over(chunked);
    case CHUNK_DATA_CR:
        return go(chunked, CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        return go(chunked, CHUNK_SIZE_START);
    case CHUNK_TRAILER_LF:
        return go(chunked, CHUNK_TRAILER_START);
    default:
        return go(chunked, CHUNK_DONE);
    }
}

static enum refusal take_framing_byte(struct chunked *chunked, char c)
{
    if (++chunked->overhead_bytes > HTTP_CHUNK_OVERHEAD_BYTES_MAX) {
        return REFUSE_CHUNK_OVERHEAD;
    }
    switch (chunked->state) {
    case CHUNK_SIZE_START:
    case CHUNK_SIZE:
    case CHUNK_SIZE_SPACE:
    case CHUNK_EXTENSION:
    case CHUNK_QUOTED:
    case CHUNK_QUOTED_PAIR:
        return take_size_byte(chunked, c);
    case CHUNK_TRAILER_START:
    case CHUNK_TRAILER_NAME:
    case CHUNK_TRAILER_VALUE:
        return take_trailer_byte(chunked, c);
    default:
        return take_line_end(chunked, c);
    }
}

/* len > 0. Counts the size down, so that it is 0 again when the next chunk's size begins. */
static enum refusal take_data(struct http_block **block, const char *data, size_t len, size_t *run)
{
    uint32_t size = (*block)->chunked.size;
    *run = len < size ? len : size;
    enum refusal refusal = http_block_append(block, data, *run);
    if (refusal != REFUSE_NOTHING) {
        return refusal;
    }
    struct chunked *chunked = &(*block)->chunked;
    chunked->size -= (uint32_t)*run;
    if (chunked->size == 0) {
        chunked->state = CHUNK_DATA_CR;
    }
    return REFUSE_NOTHING;
}

enum refusal http_chunked_take(struct http_block **block, const char *data, size_t len,
                               size_t *taken)
{
    enum refusal refusal = REFUSE_NOTHING;
    size_t at = 0;
    while (at < len && refusal == REFUSE_NOTHING && (*block)->chunked.state != CHUNK_DONE) {
        size_t run = 1;
        if ((*block)->chunked.state == CHUNK_DATA) {
            refusal = take_data(block, data + at, len - at, &run);
        } else {
            refusal = take_framing_byte(&(*block)->chunked, data[at]);
        }
        at += run;
    }
    *taken = at;
    return refusal;
}
