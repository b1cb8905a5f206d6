/*
 * http_feed.h: messages for net/http.h, and the ways of cutting them.
 *
 * A message is a literal (GET(), POST(), CHUNKED(), EXPECTING()) or is put together in `message` by
 * begin(), more() and fill(). Fed to a parser in pieces, it has an outcome: what became of it, as
 * text. Two ways of cutting it are compared by assert_same_outcome().
 *
 * Usage: feed_cut(bytes, len, len, 1, &whole);
 *        feed_cut(bytes, len, 1, 1, &cut);
 *        assert_same_outcome("a purchase", "byte by byte", 0);
 *
 * Pieces are fed from blocks of exactly their size, freed right after, so that the sanitizers see a
 * read beyond a piece and a pointer kept into it.
 *
 * Thread: the test's.
 */
#ifndef FLASHD_TESTS_UNIT_HTTP_FEED_H
#define FLASHD_TESTS_UNIT_HTTP_FEED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/http.h"

/* ---- messages ---- */

/* clang-format off */
#define HOST "Host: a\r\n"
#define GET(fields) "GET / HTTP/1.1\r\n" HOST fields "\r\n"
#define POST(fields, body) "POST / HTTP/1.1\r\n" HOST fields "\r\n" body
#define CHUNKED(body) POST("Transfer-Encoding: chunked\r\n", body)
#define EXPECTING(fields) POST("Expect: 100-Continue\r\n" fields, "")
/* clang-format on */

enum { MESSAGE_BYTES_MAX = 160 * 1024 };

extern char message[MESSAGE_BYTES_MAX];
extern size_t message_len;

void begin(const char *text);
void more(const char *text);
void fill(char c, size_t count);

/* ---- what becomes of them ---- */

/* What became of a message, as text: "GET /a?b keep", "400 bad-request: ...", "more HEAD". */
struct outcome {
    enum http_fed fed;
    size_t taken;
    int continues;
    uint16_t status;
    bool http_1_0;
    char text[HTTP_BODY_BYTES_MAX + HTTP_REQUEST_LINE_BYTES_MAX + HTTP_HEAD_BYTES_MAX + 256];
};

extern struct outcome whole, cut; /* large: not on the stack */

/* Only the text. */
void describe_request(struct outcome *outcome, const struct http_request *request);

/* Pieces of first bytes, then of rest bytes each, until the message is over. */
void feed_to(struct http_parser *parser, const char *data, size_t len, size_t first, size_t rest,
             struct outcome *outcome);
/* The same, to a parser of its own. */
void feed_cut(const char *data, size_t len, size_t first, size_t rest, struct outcome *outcome);

/* whole and cut: the same outcome, and a request's end, too. */
void assert_same_outcome(const char *title, const char *how, size_t position);

/* ---- one connection, several calls ---- */

struct connection {
    struct http_parser *parser;
    size_t taken;
};

struct connection connect_one(void);
enum http_fed feed(struct connection *connection, const char *text);

#endif
