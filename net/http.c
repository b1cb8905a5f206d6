/*
 * http.c: one request at a time, from a connection's first byte to a complete request.
 *
 *   IDLE   empty lines are skipped; the first other byte begins a request. If the bytes at hand begin with the whole
 *          head of the last request, they go on to BODY at once, in the block that still has that head: the same
 *          bytes mean the same. Else the block begins anew
 *   HEAD   bytes are vetted and kept (http_scan.c), whole lines are read (http_head.c)
 *   BODY   Content-Length is counted down here, chunks are undone (http_chunked.c)
 *   COMPLETE  nothing more is taken until http_parser_reset()
 *
 * Thread: the net thread that owns the connection.
 * In:     bytes as they arrive; each is copied at most once, into the block, and looked at once, or twice if a head
 *         was first compared with the last one and differed.
 * Out:    struct http_request, whose slices lie in the block.
 * Fails:  with a row of the table of refusals, which then stays until the parser is reset or freed.
 *
 * Only a connection's first request, and one after a request whose block grew, costs a malloc: otherwise the last
 * block is used again. A block's first size fits glibc's per-thread cache. A head that comes in one piece is vetted,
 * copied and parsed in one go.
 */
#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "net/http_internal.h"

enum {
    BLOCK_BYTES_FIRST = 1024, /* glibc's per-thread cache, without locks, takes up to 1032 */
    TEXT_BYTES_MAX =
        HTTP_REQUEST_LINE_BYTES_MAX + 2 + HTTP_HEAD_BYTES_MAX + 2 + HTTP_BODY_BYTES_MAX,
};

static_assert(sizeof(struct http_block) + 400 <= BLOCK_BYTES_FIRST, "a usual request must fit");
static_assert(HTTP_REQUEST_LINE_BYTES_MAX == 4096, "said in the table");
static_assert(HTTP_HEAD_BYTES_MAX == 16384, "said in the table");
static_assert(HTTP_HEADER_COUNT_MAX == 64, "said in the table");
static_assert(HTTP_BODY_BYTES_MAX == 16384, "said in the table");
static_assert(HTTP_CHUNK_OVERHEAD_BYTES_MAX == 98304, "said in the table");
static_assert(HTTP_CHUNK_OVERHEAD_BYTES_MAX >= HTTP_BODY_BYTES_MAX * sizeof "1\r\n\r\n",
              "the longest body fits in chunks of one byte");
static_assert(HTTP_BLANK_LINES_MAX == 16, "said in the table");

struct http_parser {
    struct http_block *block; /* owned; while idle NULL, or the last request's */
    const struct http_error *error;
    enum http_phase phase;
    uint16_t blank_lines;
    bool blank_after_cr;
    bool continued; /* HTTP_FED_CONTINUE was returned for this request */
};

/* The bytes of one call that were not taken yet. */
struct input {
    const char *at;
    size_t left;
};

/* clang-format off */
#define BAD(detail) {400, "bad-request", detail}
/* clang-format on */

static const struct http_error refusals[REFUSAL_COUNT] = {
    [REFUSE_NO_MEMORY] = {503, "out-of-memory", "The server has no memory for this request."},
    [REFUSE_BLANK_LINES] = BAD("More than 16 empty lines stand before the request line."),
    [REFUSE_BARE_CR] = BAD("A CR without LF stands in the head."),
    [REFUSE_BARE_LF] = BAD("An LF without CR stands in the head."),
    [REFUSE_CONTROL] = BAD("A control character stands in the head."),
    [REFUSE_FOLD] = BAD("A header line starts with white space (obsolete line folding)."),
    [REFUSE_REQUEST_LINE_LONG] = {414, "uri-too-long", "The request line is over 4096 bytes."},
    [REFUSE_HEAD_LONG] = {431, "headers-too-large", "The header section is over 16384 bytes."},
    [REFUSE_FIELD_COUNT] = {431, "headers-too-large", "There are more than 64 header fields."},
    [REFUSE_REQUEST_LINE] =
        BAD("The request line is not: method, space, target, space, HTTP version."),
    [REFUSE_VERSION] = {505, "http-version-not-supported",
                        "The HTTP version is neither 1.0 nor 1.1."},
    [REFUSE_METHOD] = {501, "not-implemented", "The method is not known."},
    [REFUSE_CONNECT] = {501, "not-implemented", "CONNECT is not supported: this is no proxy."},
    [REFUSE_TARGET] =
        BAD("The request target is malformed or of a form that the method does not take."),
    [REFUSE_TARGET_HOST] = BAD("The host in the request target is malformed."),
    [REFUSE_FIELD_NAME] = BAD("A header name is malformed or followed by white space."),
    [REFUSE_FIELD] = BAD("A header line is malformed."),
    [REFUSE_FIELD_REPEATED] = BAD("A header that may appear only once is repeated."),
    [REFUSE_HOST_MISSING] = BAD("The Host header is missing."),
    [REFUSE_HOST_REPEATED] = BAD("The Host header is repeated."),
    [REFUSE_HOST] = BAD("The Host header is not a host with an optional port."),
    [REFUSE_LENGTH] = BAD("Content-Length is not a plain decimal number."),
    [REFUSE_LENGTH_REPEATED] = BAD("Content-Length is repeated."),
    [REFUSE_LENGTH_AND_CODING] = BAD("Both Content-Length and Transfer-Encoding are given."),
    [REFUSE_CODING] = BAD("Transfer-Encoding is not exactly one \"chunked\"."),
    [REFUSE_CODING_UNKNOWN] = {501, "not-implemented",
                               "The only transfer coding known is \"chunked\"."},
    [REFUSE_CODING_VERSION] = BAD("HTTP/1.0 has no Transfer-Encoding."),
    [REFUSE_EXPECT] = {417, "expectation-failed", "The only expectation known is 100-continue."},
    [REFUSE_BODY_LONG] = {413, "payload-too-large", "The body is over 16384 bytes."},
    [REFUSE_CHUNK_OVERHEAD] = {413, "payload-too-large",
                               "The chunked framing around the body is over 98304 bytes."},
    [REFUSE_CHUNK_SIZE] = BAD("A chunk's size line is malformed."),
    [REFUSE_CHUNK_END] = BAD("A line of the chunked framing does not end with CRLF."),
    [REFUSE_TRAILER] = BAD("A trailer line is malformed."),
};
#undef BAD

/* ---- the block ---- */

enum { BLOCK_ROOM_FIRST = BLOCK_BYTES_FIRST - sizeof(struct http_block) };

/* last: a block of the first size, which is used again; or NULL. */
static struct http_block *block_begin(struct http_block *last)
{
    struct http_block *block = last != NULL ? last : malloc(BLOCK_BYTES_FIRST);
    if (block == NULL) {
        return NULL;
    }
    memset(block, 0, sizeof *block);
    block->room = BLOCK_ROOM_FIRST;
    http_head_begin(block);
    return block;
}

/* Doubles the block, or more if needed, but not beyond the longest request that the limits allow. */
static enum refusal block_grow(struct http_block **block, size_t room_needed)
{
    MUST(room_needed <= TEXT_BYTES_MAX, "a request's text is over its limits");
    size_t room = 2 * (sizeof **block + (*block)->room) - sizeof **block;
    room = room > room_needed ? room : room_needed;
    room = room < TEXT_BYTES_MAX ? room : TEXT_BYTES_MAX;
    struct http_block *grown = realloc(*block, sizeof **block + room);
    if (grown == NULL) {
        return REFUSE_NO_MEMORY;
    }
    grown->room = (uint32_t)room;
    *block = grown;
    return REFUSE_NOTHING;
}

enum refusal http_block_append(struct http_block **block, const char *data, size_t len)
{
    if (len > (*block)->room - (*block)->len) {
        enum refusal refusal = block_grow(block, (*block)->len + len);
        if (refusal != REFUSE_NOTHING) {
            return refusal;
        }
    }
    memcpy((*block)->bytes + (*block)->len, data, len);
    (*block)->len += (uint32_t)len;
    return REFUSE_NOTHING;
}

/* ---- the phases ---- */

/* Whether the input begins with the whole head of the last request. */
static bool is_last_head(const struct http_block *last, const struct input *in)
{
    return last != NULL && in->left >= last->body_at &&
           memcmp(in->at, last->bytes, last->body_at) == 0;
}

static enum refusal start_request(struct http_parser *parser, struct input *in)
{
    if (parser->block != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(parser->block->bytes, parser->block->room);
    }
    if (is_last_head(parser->block, in)) {
        parser->block->len = parser->block->body_at;
        parser->block->chunked = (struct chunked){.state = CHUNK_SIZE_START};
        parser->phase = HTTP_PHASE_BODY;
        in->at += parser->block->body_at;
        in->left -= parser->block->body_at;
        return REFUSE_NOTHING;
    }
    parser->block = block_begin(parser->block);
    parser->phase = HTTP_PHASE_HEAD;
    return parser->block == NULL ? REFUSE_NO_MEMORY : REFUSE_NOTHING;
}

/* Skips CRLFs; the first byte of anything else starts a request. */
static enum refusal take_blank_lines(struct http_parser *parser, struct input *in)
{
    while (in->left > 0) {
        char c = *in->at;
        if (parser->blank_after_cr && c != '\n') {
            return REFUSE_BARE_CR;
        }
        if (!parser->blank_after_cr && c == '\n') {
            return REFUSE_BARE_LF;
        }
        if (c != '\r' && c != '\n') {
            return start_request(parser, in);
        }
        parser->blank_after_cr = c == '\r';
        if (c == '\r' && ++parser->blank_lines > HTTP_BLANK_LINES_MAX) {
            return REFUSE_BLANK_LINES;
        }
        in->at++;
        in->left--;
    }
    return REFUSE_NOTHING;
}

/* A refusal of an earlier line takes precedence over what the scan found in a later one. */
static enum refusal take_head(struct http_parser *parser, struct input *in)
{
    enum refusal scanned;
    size_t seen = http_scan_head(&parser->block->scan, in->at, in->left, &scanned);
    enum refusal refusal = http_block_append(&parser->block, in->at, seen);
    in->at += seen;
    in->left -= seen;
    if (refusal == REFUSE_NOTHING) {
        refusal = http_head_parse(parser->block);
    }
    if (refusal == REFUSE_NOTHING) {
        refusal = scanned;
    }
    if (refusal == REFUSE_NOTHING && parser->block->scan.ended) {
        refusal = http_head_accept(parser->block);
        parser->phase = HTTP_PHASE_BODY;
    }
    return refusal;
}

/* FRAMING_LENGTH: how many body bytes are missing. */
static size_t length_left(const struct http_block *block)
{
    return block->body_at + block->body_length - block->len;
}

static enum refusal take_counted(struct http_parser *parser, struct input *in)
{
    size_t left = length_left(parser->block);
    size_t run = in->left < left ? in->left : left;
    enum refusal refusal = http_block_append(&parser->block, in->at, run);
    if (refusal == REFUSE_NOTHING) {
        in->at += run;
        in->left -= run;
    }
    return refusal;
}

static bool body_is_whole(const struct http_block *block)
{
    switch (block->framing) {
    case FRAMING_LENGTH:
        return length_left(block) == 0;
    case FRAMING_CHUNKED:
        return block->chunked.state == CHUNK_DONE;
    default:
        return true;
    }
}

static struct slice slice_or_absent(const struct http_block *block, struct text text)
{
    return text.at == 0 ? (struct slice){NULL, 0}
                        : (struct slice){block->bytes + text.at, text.len};
}

/* Offsets become pointers, which hold until the block moves: until more is appended. */
static void hand_out(struct http_block *block)
{
    struct http_request *request = &block->request;
    bool has_path = block->target_path.at != 0;
    request->path = has_path ? slice_or_absent(block, block->target_path) : (struct slice){"/", 1};
    request->query = slice_or_absent(block, block->target_query);
    request->authorization = slice_or_absent(block, block->fields[FIELD_AUTHORIZATION]);
    request->content_type = slice_or_absent(block, block->fields[FIELD_CONTENT_TYPE]);
    request->cookie = slice_or_absent(block, block->fields[FIELD_COOKIE]);
    request->idempotency_key = slice_or_absent(block, block->fields[FIELD_IDEMPOTENCY_KEY]);
    request->flashd_signature = slice_or_absent(block, block->fields[FIELD_FLASHD_SIGNATURE]);
    request->last_event_id = slice_or_absent(block, block->fields[FIELD_LAST_EVENT_ID]);
    request->body = (struct slice){block->bytes + block->body_at, block->len - block->body_at};
}

static enum refusal take_body(struct http_parser *parser, struct input *in)
{
    enum refusal refusal = REFUSE_NOTHING;
    if (parser->block->framing == FRAMING_LENGTH) {
        refusal = take_counted(parser, in);
    } else if (parser->block->framing == FRAMING_CHUNKED) {
        size_t taken;
        refusal = http_chunked_take(&parser->block, in->at, in->left, &taken);
        in->at += taken;
        in->left -= taken;
    }
    if (refusal == REFUSE_NOTHING && body_is_whole(parser->block)) {
        hand_out(parser->block);
        parser->phase = HTTP_PHASE_COMPLETE;
    }
    return refusal;
}

/* Whether the client asks for leave to send its body. It is told before any of the body is looked at: the answer must
 * not depend on how the bytes were cut. */
static bool asks_to_continue(const struct http_parser *parser)
{
    return parser->phase == HTTP_PHASE_BODY && parser->block->expects_continue &&
           !parser->continued;
}

static enum refusal take(struct http_parser *parser, struct input *in)
{
    enum refusal refusal = REFUSE_NOTHING;
    if (parser->phase == HTTP_PHASE_IDLE) {
        refusal = take_blank_lines(parser, in);
    }
    if (refusal == REFUSE_NOTHING && parser->phase == HTTP_PHASE_HEAD) {
        refusal = take_head(parser, in);
    }
    if (refusal == REFUSE_NOTHING && parser->phase == HTTP_PHASE_BODY &&
        !asks_to_continue(parser)) {
        refusal = take_body(parser, in);
    }
    return refusal;
}

/* ---- the interface ---- */

struct http_parser *http_parser_new(void)
{
    return calloc(1, sizeof(struct http_parser));
}

void http_parser_free(struct http_parser *parser)
{
    if (parser != NULL) {
        free(parser->block);
        free(parser);
    }
}

void http_parser_reset(struct http_parser *parser)
{
    struct http_block *last = parser->block;
    bool kept = parser->phase == HTTP_PHASE_COMPLETE && last->room == BLOCK_ROOM_FIRST;
    if (kept) {
        /* Nobody looks at the last request any more. */
        ASAN_POISON_MEMORY_REGION(last->bytes, last->room);
    } else {
        free(last);
    }
    *parser = (struct http_parser){.phase = HTTP_PHASE_IDLE, .block = kept ? last : NULL};
}

enum http_fed http_parser_feed(struct http_parser *parser, const char *data, size_t len,
                               size_t *taken)
{
    *taken = 0;
    if (parser->error != NULL) {
        return HTTP_FED_ERROR;
    }
    if (parser->phase == HTTP_PHASE_COMPLETE) {
        return HTTP_FED_REQUEST;
    }
    if (len == 0) {
        return HTTP_FED_MORE;
    }
    struct input in = {data, len};
    enum refusal refusal = take(parser, &in);
    *taken = len - in.left;
    if (refusal != REFUSE_NOTHING) {
        parser->error = &refusals[refusal];
        return HTTP_FED_ERROR;
    }
    if (parser->phase == HTTP_PHASE_COMPLETE) {
        return HTTP_FED_REQUEST;
    }
    if (asks_to_continue(parser)) {
        hand_out(parser->block);
        parser->continued = true;
        return HTTP_FED_CONTINUE;
    }
    return HTTP_FED_MORE;
}

const struct http_request *http_parser_request(const struct http_parser *parser)
{
    MUST(parser->phase == HTTP_PHASE_COMPLETE ||
             (parser->phase == HTTP_PHASE_BODY && parser->continued),
         "a request was asked for before it was handed out");
    return &parser->block->request;
}

const struct http_error *http_parser_error(const struct http_parser *parser)
{
    return parser->error;
}

enum http_phase http_parser_phase(const struct http_parser *parser)
{
    return parser->phase;
}
