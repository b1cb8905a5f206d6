/*
 * http.h: from bytes on a socket to one complete HTTP/1.1 request, or to the reason why not.
 *
 * Thread: whichever net thread owns the connection; a parser belongs to one connection.
 * In:     bytes in any fragmentation, as they arrive. Nothing is parsed twice.
 * Out:    a struct http_request whose slices point into the parser's own buffer, valid until
 *         http_parser_reset(); or an error with the HTTP status to answer before closing.
 * Fails:  only by refusing a message. After an error the connection must be closed: where the
 *         next message starts is unknown. Out of memory is an error too (503).
 *
 * llhttp does the head's grammar. What it lets through and RFC 9112 does not is refused here:
 * bare CR or LF in the head, obs-fold, white space before the colon, NUL, a missing, repeated or
 * malformed Host, Content-Length together with Transfer-Encoding, repeated Content-Length, any
 * transfer coding but a single "chunked", HTTP versions other than 1.0 and 1.1. Upgrade is ignored.
 * CONNECT and methods that llhttp does not know are refused with 501. The body's framing is read
 * without llhttp (http_chunked.c says why).
 *
 * A message gets the same answer, or the same refusal, however its bytes were cut on their way.
 *
 * A parser that has seen no request holds no buffer. After a request of some hundred bytes (head and decoded body) it
 * keeps that request's 1 KiB: the next request mostly has the same head, which is then compared instead of parsed, with
 * the same outcome. A larger buffer is freed by http_parser_reset().
 */
#ifndef FLASHD_NET_HTTP_H
#define FLASHD_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_REQUEST_LINE_BYTES_MAX = 4096,    /* method, target, version, no CRLF; beyond: 414 */
    HTTP_HEAD_BYTES_MAX = 16384,           /* fields with CRLFs, no empty line; beyond: 431 */
    HTTP_HEADER_COUNT_MAX = 64,            /* fields; beyond: 431 */
    HTTP_BODY_BYTES_MAX = 16384,           /* after chunked decoding; beyond: 413 */
    HTTP_CHUNK_OVERHEAD_BYTES_MAX = 98304, /* sizes, extensions, line ends, trailers; beyond: 413 */
    HTTP_BLANK_LINES_MAX = 16,             /* skipped before a request line; beyond: 400 */
};

/* Bytes borrowed from the parser. data is NULL for an absent field, and never for a present one. */
struct slice {
    const char *data;
    size_t len;
};

enum http_method {
    HTTP_GET_,
    HTTP_HEAD_,
    HTTP_POST_,
    HTTP_PUT_,
    HTTP_PATCH_,
    HTTP_DELETE_,
    HTTP_OPTIONS_,
    HTTP_OTHER_
};

struct http_request {
    enum http_method method;
    struct slice path;  /* target up to '?', as sent (not percent-decoded); of an absolute-form
                           target its path, or "/"; "*" only with OPTIONS */
    struct slice query; /* after '?', may be absent */
    struct slice authorization, content_type, cookie, idempotency_key, flashd_signature,
        last_event_id; /* value without surrounding white space; a repeated one of these: 400 */
    struct slice body; /* decoded; len 0 when there is none */
    bool keep_alive;
    bool is_http_1_0; /* knows no chunked reply, and keep-alive only by a Connection header */
};

struct http_error {
    uint16_t status;    /* 400, 413, 414, 417, 431, 501, 503, 505 */
    const char *code;   /* problem code, static: bad-request, payload-too-large, uri-too-long,
                           expectation-failed, headers-too-large, not-implemented, out-of-memory,
                           http-version-not-supported */
    const char *detail; /* one static sentence: what was wrong, and the limit if there is one */
};

enum http_phase { HTTP_PHASE_IDLE, HTTP_PHASE_HEAD, HTTP_PHASE_BODY, HTTP_PHASE_COMPLETE };

enum http_fed {
    HTTP_FED_MORE,     /* all bytes taken, the request is not complete yet */
    HTTP_FED_CONTINUE, /* the head is taken, and asks whether to send the body. Once a request */
    HTTP_FED_REQUEST,  /* a request is complete; *taken may be < len (pipelining) */
    HTTP_FED_ERROR,    /* http_parser_error() says why; answer, then close */
};

struct http_parser; /* opaque; make one per connection */

/* NULL when out of memory. Owned by the caller until http_parser_free(). */
struct http_parser *http_parser_new(void);
void http_parser_free(struct http_parser *parser);

/*
 * Takes up to len bytes; *taken says how many. CRLFs before a request line are skipped. After
 * HTTP_FED_REQUEST and HTTP_FED_ERROR it takes nothing and returns the same again, until the reset.
 * In the call that finds the error, *taken depends on how the bytes were cut: the rest is lost anyway.
 */
enum http_fed http_parser_feed(struct http_parser *parser, const char *data, size_t len,
                               size_t *taken);

/* After HTTP_FED_REQUEST, until http_parser_reset(); after HTTP_FED_CONTINUE, without its body, until the next call. */
const struct http_request *http_parser_request(const struct http_parser *parser);
/* After HTTP_FED_ERROR, else NULL. Static: it outlives the parser. */
const struct http_error *http_parser_error(const struct http_parser *parser);
enum http_phase http_parser_phase(const struct http_parser *parser);
/* Forgets the request, whose slices are not valid any more; the next byte starts a new one. */
void http_parser_reset(struct http_parser *parser);

#endif
