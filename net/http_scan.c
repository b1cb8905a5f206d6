/*
 * http_scan.c: vets the bytes of a request's head before anything else reads them.
 *
 * Thread: the net thread that owns the connection.
 * In:     the head in any fragmentation. Every byte is looked at once, most of them eight at a time.
 * Out:    how many bytes were looked at, where the last whole line ends, whether the head ended.
 * Fails:  with a refusal: CR without LF, LF without CR, a control character, a line that starts with white
 *         space, or a limit (request line, header section, number of fields).
 *
 *   line --CR--> after_cr --LF--> next line, or the end of the head if the line was empty
 *
 * The limits count what http.h says: the request line without its CRLF, the fields with theirs. The empty
 * line that ends the head is not counted.
 */
#include <assert.h>
#include <string.h>

#include "net/http_internal.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "plain_run takes the lowest byte first");

#define EVERY_BYTE(value) (0x0101010101010101u * (uint64_t)(value))

static bool is_plain(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 0x20 && byte != 0x7f;
}

/*
 * How many bytes come before the first control character. Eight at a time: where a byte is too
 * small, the subtraction borrows and sets its high bit. A borrow can also mark bytes above falsely,
 * but never the lowest marked one, and only that one is used.
 */
static size_t plain_run(const char *data, size_t len)
{
    size_t at = 0;
    for (; len - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, data + at, sizeof word);
        uint64_t no_del = word ^ EVERY_BYTE(0x7f);
        uint64_t control = (word - EVERY_BYTE(0x20)) & ~word;
        uint64_t del = (no_del - EVERY_BYTE(0x01)) & ~no_del;
        uint64_t marked = (control | del) & EVERY_BYTE(0x80);
        if (marked != 0) {
            return at + (size_t)__builtin_ctzll(marked) / 8;
        }
    }
    while (at < len && is_plain(data[at])) {
        at++;
    }
    return at;
}

static bool in_request_line(const struct head_scan *scan)
{
    return scan->request_line_bytes == 0;
}

/* The most bytes that the current line may have. */
static uint32_t line_bytes_max(const struct head_scan *scan)
{
    if (in_request_line(scan)) {
        return HTTP_REQUEST_LINE_BYTES_MAX;
    }
    uint32_t used = scan->field_bytes + 2; /* the line's own CRLF */
    return used < HTTP_HEAD_BYTES_MAX ? HTTP_HEAD_BYTES_MAX - used : 0;
}

static enum refusal line_too_long(const struct head_scan *scan)
{
    return in_request_line(scan) ? REFUSE_REQUEST_LINE_LONG : REFUSE_HEAD_LONG;
}

/* Takes the byte after a CR. */
static enum refusal end_line(struct head_scan *scan, char c)
{
    if (c != '\n') {
        return REFUSE_BARE_CR;
    }
    uint32_t whole_bytes = scan->line_bytes + 2;
    if (in_request_line(scan)) {
        scan->request_line_bytes = scan->line_bytes;
    } else if (scan->line_bytes == 0) {
        scan->ended = true;
    } else if (scan->field_count == HTTP_HEADER_COUNT_MAX) {
        return REFUSE_FIELD_COUNT;
    } else {
        scan->field_count++;
        scan->field_bytes += whole_bytes;
    }
    scan->lines_end += whole_bytes;
    scan->line_bytes = 0;
    scan->after_cr = false;
    return REFUSE_NOTHING;
}

/* Takes a control character in a line: its end, a tab in a field, or not allowed. */
static enum refusal take_control(struct head_scan *scan, char c)
{
    switch (c) {
    case '\r':
        scan->after_cr = true;
        return REFUSE_NOTHING;
    case '\n':
        return REFUSE_BARE_LF;
    case '\t':
        if (in_request_line(scan)) {
            return REFUSE_CONTROL;
        }
        scan->line_bytes++;
        return scan->line_bytes > line_bytes_max(scan) ? REFUSE_HEAD_LONG : REFUSE_NOTHING;
    default:
        return REFUSE_CONTROL;
    }
}

/* Takes plain bytes, and then one control character if there is one. len > 0. */
static size_t take_line(struct head_scan *scan, const char *data, size_t len, enum refusal *refusal)
{
    if (scan->line_bytes == 0 && (data[0] == ' ' || data[0] == '\t')) {
        *refusal = in_request_line(scan) ? REFUSE_REQUEST_LINE : REFUSE_FOLD;
        return 0;
    }
    uint32_t room = line_bytes_max(scan) - scan->line_bytes;
    size_t window = len <= room ? len : (size_t)room + 1;
    size_t run = plain_run(data, window);
    scan->line_bytes += (uint32_t)run;
    if (run > room) {
        *refusal = line_too_long(scan);
        return run;
    }
    if (run == window) {
        return run;
    }
    *refusal = take_control(scan, data[run]);
    return run + 1;
}

size_t http_scan_head(struct head_scan *scan, const char *data, size_t len, enum refusal *refusal)
{
    size_t at = 0;
    *refusal = REFUSE_NOTHING;
    while (at < len && !scan->ended && *refusal == REFUSE_NOTHING) {
        if (scan->after_cr) {
            *refusal = end_line(scan, data[at]);
            at++;
        } else {
            at += take_line(scan, data + at, len - at, refusal);
        }
    }
    return at;
}
