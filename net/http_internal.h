/*
 * http_internal.h: what the files behind http.h share; nobody else includes it.
 *
 * A byte's way:  http.c        empty lines, lengths, phases, the buffer, what is handed out
 *                http_scan.c   vets the head's bytes: line ends, control characters, limits
 *                http_head.c   reads whole vetted lines: request line, llhttp, fields, framing
 *                http_chunked.c  undoes the chunked coding
 *                http_text.c   knows characters, tokens and hosts
 *
 * Thread: the net thread that owns the connection.
 * Refusals: every function says with an enum refusal why a message is refused. A refusal belongs to
 * a byte, never to a read: however the bytes were cut on their way, the same one is found. So only
 * whole lines go to llhttp, and each goes there before the refusal of a later line counts.
 * Memory: a parser has one block at most: from a request's first byte on, and after the request if the block has not
 * grown. It may move when it grows, so text in it is named by offset until the request is complete.
 */
#ifndef FLASHD_NET_HTTP_INTERNAL_H
#define FLASHD_NET_HTTP_INTERNAL_H

#include <llhttp.h>

#include "net/http.h"

/* One row each in http.c's table. */
enum refusal {
    REFUSE_NOTHING,
    REFUSE_NO_MEMORY,
    REFUSE_BLANK_LINES,
    REFUSE_BARE_CR,
    REFUSE_BARE_LF,
    REFUSE_CONTROL,
    REFUSE_FOLD,
    REFUSE_REQUEST_LINE_LONG,
    REFUSE_HEAD_LONG,
    REFUSE_FIELD_COUNT,
    REFUSE_REQUEST_LINE,
    REFUSE_VERSION,
    REFUSE_METHOD,
    REFUSE_CONNECT,
    REFUSE_TARGET,
    REFUSE_TARGET_HOST,
    REFUSE_FIELD_NAME,
    REFUSE_FIELD,
    REFUSE_FIELD_REPEATED,
    REFUSE_HOST_MISSING,
    REFUSE_HOST_REPEATED,
    REFUSE_HOST,
    REFUSE_LENGTH,
    REFUSE_LENGTH_REPEATED,
    REFUSE_LENGTH_AND_CODING,
    REFUSE_CODING,
    REFUSE_CODING_UNKNOWN,
    REFUSE_CODING_VERSION,
    REFUSE_EXPECT,
    REFUSE_BODY_LONG,
    REFUSE_CHUNK_OVERHEAD,
    REFUSE_CHUNK_SIZE,
    REFUSE_CHUNK_END,
    REFUSE_TRAILER,
    REFUSAL_COUNT,
};

/* Fields whose values are needed; the others are only checked. */
enum field {
    FIELD_HOST,
    FIELD_CONTENT_LENGTH,
    FIELD_TRANSFER_ENCODING,
    FIELD_EXPECT,
    FIELD_AUTHORIZATION,
    FIELD_CONTENT_TYPE,
    FIELD_COOKIE,
    FIELD_IDEMPOTENCY_KEY,
    FIELD_FLASHD_SIGNATURE,
    FIELD_LAST_EVENT_ID,
    FIELD_COUNT,
};

/* Bytes of the block. Offset 0 is the method's first byte, so at == 0 can mean: absent. */
struct text {
    uint32_t at, len;
};

/* How far the vetting of the head is; zero at the start. */
struct head_scan {
    uint32_t lines_end;          /* bytes of the whole lines so far, with their CRLFs */
    uint32_t line_bytes;         /* of the unfinished line, without CR */
    uint32_t request_line_bytes; /* without CRLF; 0 until it is whole */
    uint32_t field_bytes;        /* of the whole field lines, with their CRLFs */
    uint32_t field_count;
    bool after_cr;
    bool ended; /* the empty line was seen */
};

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED };

enum chunk_state {
    CHUNK_SIZE_START, /* the first digit of a size */
    CHUNK_SIZE,
    CHUNK_SIZE_SPACE, /* white space after the size: only an extension may follow */
    CHUNK_EXTENSION,
    CHUNK_QUOTED,      /* a quoted value in an extension: a line must not end in it */
    CHUNK_QUOTED_PAIR, /* after a backslash in it */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_START, /* a trailer field's name, or the CR of the last empty line */
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
    CHUNK_DONE,
};

struct chunked {
    enum chunk_state state;
    uint32_t size;           /* of the current chunk; in CHUNK_DATA, what is missing of it */
    uint32_t body_bytes;     /* announced so far, this chunk included */
    uint32_t overhead_bytes; /* all that is not data */
};

/* One request. Once its head is accepted, what was read from it stays: only `chunked`, `len`, `room`, the request's
 * slices and the bytes behind the head change. A next request with the same head relies on that. */
struct http_block {
    llhttp_t grammar;
    struct head_scan scan;
    uint32_t parsed; /* bytes of the head that llhttp has seen; always whole lines */
    struct text target_path, target_query;
    struct text name, value; /* of the field that llhttp is in */
    struct text fields[FIELD_COUNT];
    enum refusal field_refusal; /* a callback's; it tells llhttp only to stop */
    bool head_parsed;           /* llhttp has seen the empty line, too */
    bool expects_continue;
    enum framing framing;
    uint32_t body_at;
    uint32_t body_length; /* FRAMING_LENGTH */
    struct chunked chunked;
    struct http_request request;
    uint32_t len, room; /* used and allocated bytes of text */
    char bytes[];       /* the head as received, then the decoded body */
};

/* Appends to the block, which may move. REFUSE_NO_MEMORY leaves it as it was. */
enum refusal http_block_append(struct http_block **block, const char *data, size_t len);

/* Vets head bytes; returns how many were looked at. Stops after the empty line or at a refusal. */
size_t http_scan_head(struct head_scan *scan, const char *data, size_t len, enum refusal *refusal);

/* Readies a fresh block for http_head_parse(). */
void http_head_begin(struct http_block *block);
/* Reads the whole lines that were not read yet. */
enum refusal http_head_parse(struct http_block *block);
/* Once the head is whole and parsed: Host, body framing, Expect. */
enum refusal http_head_accept(struct http_block *block);

/* Decodes; *taken says how many bytes it took. block->chunked.state is CHUNK_DONE after the last one. */
enum refusal http_chunked_take(struct http_block **block, const char *data, size_t len,
                               size_t *taken);

/* ---- http_text.c ---- */

enum char_class {
    CLASS_TOKEN = 1, /* RFC 9110's tchar: what methods and field names are made of */
    CLASS_HOST = 2,  /* RFC 3986's unreserved */
    CLASS_HEX = 4,
    CLASS_DIGIT = 8,
};

extern const uint8_t http_char_classes[256];

static inline bool http_is_class(char c, enum char_class class)
{
    return (http_char_classes[(unsigned char)c] & class) != 0;
}

/* For the parameter pairs (text, len) below. */
#define LITERAL(text) (text), sizeof(text) - 1

bool http_all_of_class(struct slice text, enum char_class class); /* true of an empty one */
bool http_is_token(struct slice text);
/* lower is in lower case. */
bool http_equals_ignoring_case(struct slice text, const char *lower, size_t len);
struct slice http_slice_from(struct slice text, size_t from);
/* Up to the first c, or all of it. */
struct slice http_slice_until(struct slice text, char c);
/* uri-host [":" port], as RFC 9110 wants it in Host; the port may be empty. */
bool http_is_host(struct slice host);

#endif
