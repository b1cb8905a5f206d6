/*
 * test_http_request.c: what one request is: the heads, bodies and chunks that are read and those
 * that are refused, the limits of each, what is asked to continue, and what the request then says.
 *
 * Every message of the tables is fed in one piece, byte by byte, and cut in two at every position
 * (long ones: at many). The outcome must be the same each time, and a request's end, too.
 *
 * Thread: one.
 */
#include <string.h>

#include "tests/unit/http_feed.h"

/* Leaves the outcome in whole. */
static void feed_all_ways(const char *title, const char *data, size_t len)
{
    feed_cut(data, len, len, 1, &whole);
    feed_cut(data, len, 1, 1, &cut);
    assert_same_outcome(title, "byte by byte", 0);
    size_t step = len > 2048 ? 499 : 1;
    for (size_t at = 1; at < len; at += at < 64 || len - at < 64 + step ? 1 : step) {
        feed_cut(data, len, at, len, &cut);
        assert_same_outcome(title, "cut at", at);
    }
}

/* ---- tables ---- */

struct message {
    const char *title;
    const char *bytes;
    size_t len;
    uint16_t status;      /* 0: accepted */
    const char *expected; /* the whole text if accepted, else part of the detail */
};

#define ACCEPT(title, bytes, text)                                                                 \
    {                                                                                              \
        title, bytes, sizeof(bytes) - 1, 0, text                                                   \
    }
#define REFUSE(title, bytes, status, word)                                                         \
    {                                                                                              \
        title, bytes, sizeof(bytes) - 1, status, word                                              \
    }

static void assert_outcome(const struct message *row)
{
    feed_all_ways(row->title, row->bytes, row->len);
    if (row->status == 0) {
        if (whole.fed != HTTP_FED_REQUEST || strcmp(whole.text, row->expected) != 0) {
            fail_msg("%s: expected \"%s\", got \"%s\"", row->title, row->expected, whole.text);
        }
        assert_int_equal(whole.taken, row->len);
    } else if (whole.status != row->status || strstr(whole.text, row->expected) == NULL) {
        fail_msg("%s: expected %d and \"%s\", got \"%s\"", row->title, row->status, row->expected,
                 whole.text);
    }
}

static void assert_outcomes(const struct message *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_outcome(&rows[i]);
    }
}

#define ASSERT_OUTCOMES(rows) assert_outcomes(rows, sizeof(rows) / sizeof((rows)[0]))

/* clang-format off */
static const struct message requests[] = {
    ACCEPT("the smallest request", GET(""), "GET / keep"),
    ACCEPT("a purchase",
           "POST /api/v1/buy HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"
           "Idempotency-Key: k1\r\nUser-Agent: wrk\r\nContent-Length: 13\r\n\r\n{\"buyer\":\"b\"}",
           "POST /api/v1/buy type=application/json key=k1 body={\"buyer\":\"b\"} keep"),
    ACCEPT("every field that is kept",
           "GET /x?token=t&u HTTP/1.1\r\nhost: a\r\nAUTHORIZATION: Bearer a.b.c\r\ncookie: a=b; c=d\r\n"
           "content-TYPE:text/plain\r\nIDEMPOTENCY-key: \t k\r\nx-flashd-signature: sha256=00  \t\r\n"
           "Last-Event-ID: 42\r\n\r\n",
           "GET /x?token=t&u authorization=Bearer a.b.c type=text/plain cookie=a=b; c=d key=k "
           "signature=sha256=00 last=42 keep"),
    ACCEPT("a field that is kept may be empty", GET("Cookie:\r\nAuthorization: \t \r\n"),
           "GET / authorization= cookie= keep"),
    ACCEPT("an unknown field may be empty, long-named, odd or full of bytes above 127",
           GET("X:\r\n!#$%&'*+-.^_`|~09azAZ-and-much-longer: y\r\nZ: \xff\xc3\xa4\t\"\\\r\n"),
           "GET / keep"),
    ACCEPT("an empty query is a query", "GET /a? HTTP/1.1\r\n" HOST "\r\n", "GET /a? keep"),
    ACCEPT("the first question mark counts", "GET /a?b?c/d HTTP/1.1\r\n" HOST "\r\n",
           "GET /a?b?c/d keep"),
    ACCEPT("the path is handed out as sent", "GET //a/%2e%2E/../%zz;x=\"{}|\\^` HTTP/1.1\r\n" HOST "\r\n",
           "GET //a/%2e%2E/../%zz;x=\"{}|\\^` keep"),
    ACCEPT("empty lines before the request line are skipped", "\r\n\r\n" GET(""), "GET / keep"),
    ACCEPT("a GET may have a body", "GET / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi",
           "GET / body=hi keep"),
    ACCEPT("a body may hold anything",
           POST("Content-Length: 7\r\n", "\r\n\r\n\x01\x7f\xff"), "POST / body=\r\n\r\n\x01\x7f\xff keep"),
    ACCEPT("Content-Length 0", POST("Content-Length: 0\r\n", ""), "POST / keep"),
    ACCEPT("no Content-Length and no coding is no body", POST("", ""), "POST / keep"),
    ACCEPT("zeros and white space around a length", POST("Content-Length:   0000000000000000000000002  \r\n", "hi"),
           "POST / body=hi keep"),
};

static const struct message methods[] = {
    ACCEPT("HEAD", "HEAD / HTTP/1.1\r\n" HOST "\r\n", "HEAD / keep"),
    ACCEPT("PUT", "PUT / HTTP/1.1\r\n" HOST "\r\n", "PUT / keep"),
    ACCEPT("PATCH", "PATCH / HTTP/1.1\r\n" HOST "\r\n", "PATCH / keep"),
    ACCEPT("DELETE", "DELETE / HTTP/1.1\r\n" HOST "\r\n", "DELETE / keep"),
    ACCEPT("OPTIONS", "OPTIONS / HTTP/1.1\r\n" HOST "\r\n", "OPTIONS / keep"),
    ACCEPT("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS * keep"),
    ACCEPT("TRACE is left to the router", "TRACE / HTTP/1.1\r\n" HOST "\r\n", "OTHER / keep"),
    ACCEPT("M-SEARCH is left to the router", "M-SEARCH / HTTP/1.1\r\n" HOST "\r\n", "OTHER / keep"),
    REFUSE("a method in lower case", "get / HTTP/1.1\r\n" HOST "\r\n", 501, "method is not known"),
    REFUSE("an unknown method", "BREW /pot HTTP/1.1\r\n" HOST "\r\n", 501, "method is not known"),
    REFUSE("a known method with more letters", "POSTS / HTTP/1.1\r\n" HOST "\r\n", 501, "method"),
    REFUSE("a method that is only RTSP's", "DESCRIBE / HTTP/1.1\r\n" HOST "\r\n", 501, "method"),
    REFUSE("HTTP/2's preface as HTTP/1.1", "PRI / HTTP/1.1\r\n" HOST "\r\n", 501, "method"),
    REFUSE("CONNECT", "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 501, "CONNECT"),
    REFUSE("CONNECT without an authority", "CONNECT / HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a method that is no token", "GE(T / HTTP/1.1\r\n" HOST "\r\n", 400, "request line"),
    REFUSE("a method beyond ASCII", "G\xc3\x84T / HTTP/1.1\r\n" HOST "\r\n", 400, "request line"),
};

static const struct message request_lines[] = {
    REFUSE("one word", "HELLO\r\n", 400, "request line"),
    REFUSE("HTTP/0.9", "GET /\r\n", 400, "request line"),
    REFUSE("no target", "GET HTTP/1.1\r\n", 400, "request line"),
    REFUSE("an empty target", "GET  HTTP/1.1\r\n", 400, "request line"),
    REFUSE("two spaces before the target", "GET  / HTTP/1.1\r\n", 400, "request line"),
    REFUSE("two spaces after the target", "GET /  HTTP/1.1\r\n", 400, "request line"),
    REFUSE("a space at the start", " GET / HTTP/1.1\r\n", 400, "request line"),
    REFUSE("a space at the end", "GET / HTTP/1.1 \r\n", 400, "request line"),
    REFUSE("a tab for a space", "GET\t/ HTTP/1.1\r\n", 400, "control"),
    REFUSE("a space in the target", "GET /a b HTTP/1.1\r\n", 400, "request line"),
    REFUSE("HTTP in lower case", "GET / http/1.1\r\n", 400, "request line"),
    REFUSE("another protocol", "GET / ICE/1.0\r\n", 400, "request line"),
    REFUSE("a version without minor", "GET / HTTP/1\r\n", 400, "request line"),
    REFUSE("a version with two digits", "GET / HTTP/1.10\r\n", 400, "request line"),
    REFUSE("HTTP/1.2", "GET / HTTP/1.2\r\n", 505, "neither 1.0 nor 1.1"),
    REFUSE("HTTP/0.9 by name", "GET / HTTP/0.9\r\n", 505, "neither 1.0 nor 1.1"),
    REFUSE("HTTP/2.0", "GET / HTTP/2.0\r\n", 505, "neither 1.0 nor 1.1"),
    REFUSE("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "neither 1.0 nor 1.1"),
    REFUSE("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "control"),
};

static const struct message targets[] = {
    ACCEPT("absolute-form", "GET http://a.example:80/b?c HTTP/1.1\r\n" HOST "\r\n", "GET /b?c keep"),
    ACCEPT("absolute-form, https, upper case", "GET HTTPS://A/b HTTP/1.1\r\n" HOST "\r\n", "GET /b keep"),
    ACCEPT("absolute-form without a path", "GET http://a HTTP/1.1\r\n" HOST "\r\n", "GET / keep"),
    ACCEPT("absolute-form with only a query", "GET http://a?b/c HTTP/1.1\r\n" HOST "\r\n", "GET /?b/c keep"),
    ACCEPT("absolute-form, IPv6", "GET http://[::1]:80/ HTTP/1.1\r\n" HOST "\r\n", "GET / keep"),
    REFUSE("absolute-form with user", "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n", 400, "host in the request target"),
    REFUSE("absolute-form without host", "GET http:///a HTTP/1.1\r\n" HOST "\r\n", 400, "host in the request target"),
    REFUSE("absolute-form with a bad port", "GET http://a:x/ HTTP/1.1\r\n" HOST "\r\n", 400, "host in the request target"),
    REFUSE("another scheme", "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a scheme without slashes", "GET http:a HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("authority-form", "GET a:80 HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("asterisk-form with GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("asterisk and more", "OPTIONS *x HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a relative path", "GET a/b HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("only a query", "GET ?a HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a fragment in the query", "GET /a?b#c HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("a byte beyond ASCII", "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400, "target"),
    REFUSE("NUL in the target", "GET /a\0b HTTP/1.1\r\n" HOST "\r\n", 400, "control"),
    REFUSE("DEL in the target", "GET /a\x7f HTTP/1.1\r\n" HOST "\r\n", 400, "control"),
};

static const struct message head_bytes[] = {
    REFUSE("LF ends the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "LF without CR"),
    REFUSE("LF ends a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "LF without CR"),
    REFUSE("LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "LF without CR"),
    REFUSE("LF before the request line", "\n" GET(""), 400, "LF without CR"),
    REFUSE("CR before the request line", "\r" GET(""), 400, "CR without LF"),
    REFUSE("CR CR LF before the request line", "\r\r\n" GET(""), 400, "CR without LF"),
    REFUSE("CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400, "CR without LF"),
    REFUSE("CR in a name", "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", 400, "CR without LF"),
    REFUSE("CR in a value", "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400, "CR without LF"),
    REFUSE("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400, "CR without LF"),
    REFUSE("CR at the end of the head", "GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, "CR without LF"),
    REFUSE("a folded value", GET("X: a\r\n b\r\n"), 400, "folding"),
    REFUSE("a value folded by a tab", GET("X: a\r\n\tb\r\n"), 400, "folding"),
    REFUSE("a fold after the request line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folding"),
    REFUSE("a fold of nothing", GET("X: a\r\n \r\n"), 400, "folding"),
    REFUSE("NUL in a name", GET("X\0Y: a\r\n"), 400, "control"),
    REFUSE("NUL in a value", GET("X: a\0b\r\n"), 400, "control"),
    REFUSE("ESC in a value", GET("X: \x1b[0m\r\n"), 400, "control"),
    REFUSE("DEL in a value", GET("X: abcdefg\x7f\r\n"), 400, "control"),
    REFUSE("space before the colon", GET("X : a\r\n"), 400, "A header "),
    REFUSE("tab before the colon", GET("X\t: a\r\n"), 400, "A header "),
    REFUSE("space before the colon of Content-Length", POST("Content-Length : 2\r\n", "hi"), 400, "A header "),
    REFUSE("space before the colon of Transfer-Encoding", POST("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400, "A header "),
    REFUSE("a name with a space", GET("X Y: a\r\n"), 400, "A header "),
    REFUSE("an empty name", GET(": a\r\n"), 400, "A header "),
    REFUSE("a name with a bracket", GET("X(Y: a\r\n"), 400, "A header "),
    REFUSE("a name beyond ASCII", GET("\xc3\xa4: a\r\n"), 400, "A header "),
    REFUSE("no colon", GET("X\r\n"), 400, "A header "),
    REFUSE("a second Authorization", GET("Authorization: a\r\nauthorization: a\r\n"), 400, "only once"),
    REFUSE("a second Cookie, the first one empty", GET("Cookie:\r\nCookie: a\r\n"), 400, "only once"),
    REFUSE("a second Content-Type", GET("Content-Type: a\r\nContent-Type: b\r\n"), 400, "only once"),
    REFUSE("a second Idempotency-Key", GET("Idempotency-Key: a\r\nIdempotency-Key: b\r\n"), 400, "only once"),
    REFUSE("a second signature", GET("X-Flashd-Signature: a\r\nX-Flashd-Signature: b\r\n"), 400, "only once"),
    REFUSE("a second Last-Event-ID", GET("Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n"), 400, "only once"),
};

#define WITH_HOST(host) "GET / HTTP/1.1\r\nHost:" host "\r\n\r\n"

static const struct message hosts[] = {
    ACCEPT("a name", WITH_HOST(" shop.example.com"), "GET / keep"),
    ACCEPT("a name and port", WITH_HOST("localhost:8080"), "GET / keep"),
    ACCEPT("an empty port", WITH_HOST(" a:"), "GET / keep"),
    ACCEPT("the last port", WITH_HOST(" a:65535"), "GET / keep"),
    ACCEPT("an IPv4 address", WITH_HOST(" 127.0.0.1:1"), "GET / keep"),
    ACCEPT("an IPv6 address", WITH_HOST(" [fe80::1:2.3.4.5]:443"), "GET / keep"),
    ACCEPT("an escaped name", WITH_HOST(" a%C3%A4_b~c-d"), "GET / keep"),
    ACCEPT("none in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET / close"),
    REFUSE("none in HTTP/1.1", "GET / HTTP/1.1\r\n\r\n", 400, "Host header is missing"),
    REFUSE("two", GET("Host: b\r\n"), 400, "Host header is repeated"),
    REFUSE("two equal ones", GET("Host: a\r\n"), 400, "Host header is repeated"),
    REFUSE("two in HTTP/1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400, "Host header is repeated"),
    REFUSE("a bad one in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "not a host"),
    REFUSE("empty", WITH_HOST(""), 400, "not a host"),
    REFUSE("white space", WITH_HOST(" \t "), 400, "not a host"),
    REFUSE("only a port", WITH_HOST(" :80"), 400, "not a host"),
    REFUSE("a user", WITH_HOST(" u@a"), 400, "not a host"),
    REFUSE("two in a list", WITH_HOST(" a, b"), 400, "not a host"),
    REFUSE("two in a list without space", WITH_HOST(" a,b"), 400, "not a host"),
    REFUSE("a path", WITH_HOST(" a/b"), 400, "not a host"),
    REFUSE("a scheme", WITH_HOST(" http://a"), 400, "not a host"),
    REFUSE("a backslash", WITH_HOST(" a\\b"), 400, "not a host"),
    REFUSE("a port of letters", WITH_HOST(" a:http"), 400, "not a host"),
    REFUSE("two ports", WITH_HOST(" a:1:2"), 400, "not a host"),
    REFUSE("a port too high", WITH_HOST(" a:65536"), 400, "not a host"),
    REFUSE("a port too long", WITH_HOST(" a:000080"), 400, "not a host"),
    REFUSE("a negative port", WITH_HOST(" a:-1"), 400, "not a host"),
    REFUSE("an open bracket", WITH_HOST(" [::1"), 400, "not a host"),
    REFUSE("empty brackets", WITH_HOST(" []"), 400, "not a host"),
    REFUSE("a name in brackets", WITH_HOST(" [host]"), 400, "not a host"),
    ACCEPT("the longest IPv6 address", WITH_HOST(" [FFFF:ffff:ffff:ffff:ffff:ffff:255.255.255.255]"), "GET / keep"),
    ACCEPT("no address, as an IPv6 address", WITH_HOST(" [::]:"), "GET / keep"),
    REFUSE("only colons in brackets", WITH_HOST(" [:::::::]"), 400, "not a host"),
    REFUSE("five digits in brackets", WITH_HOST(" [12345::1]"), 400, "not a host"),
    REFUSE("an IPv6 address that ends in five bytes", WITH_HOST(" [::ffff:1.2.3.4.5]"), 400, "not a host"),
    REFUSE("nine groups in brackets", WITH_HOST(" [1:2:3:4:5:6:7:8:9]"), 400, "not a host"),
    REFUSE("an IPv4 address in brackets", WITH_HOST(" [127.0.0.1]"), 400, "not a host"),
    REFUSE("longer than any address", WITH_HOST(" [0000000000000000000000000000000000000000000000::1]"), 400, "not a host"),
    REFUSE("brackets in brackets", WITH_HOST(" [[::1]]"), 400, "not a host"),
    REFUSE("bytes after the bracket", WITH_HOST(" [::1]x"), 400, "not a host"),
    REFUSE("a broken escape", WITH_HOST(" a%4"), 400, "not a host"),
    REFUSE("bytes beyond ASCII", WITH_HOST(" \xc3\xa4"), 400, "not a host"),
};

static const struct message lengths[] = {
    REFUSE("two", POST("Content-Length: 2\r\nContent-Length: 3\r\n", "hi"), 400, "Content-Length is repeated"),
    REFUSE("two equal ones", POST("Content-Length: 2\r\ncontent-length: 2\r\n", "hi"), 400, "Content-Length is repeated"),
    REFUSE("two zeros", POST("Content-Length: 0\r\nContent-Length: 0\r\n", ""), 400, "Content-Length is repeated"),
    REFUSE("a list", POST("Content-Length: 2, 2\r\n", "hi"), 400, "plain decimal"),
    REFUSE("a plus", POST("Content-Length: +2\r\n", "hi"), 400, "plain decimal"),
    REFUSE("a minus", POST("Content-Length: -2\r\n", "hi"), 400, "plain decimal"),
    REFUSE("hex", POST("Content-Length: 0x2\r\n", "hi"), 400, "plain decimal"),
    REFUSE("a fraction", POST("Content-Length: 2.0\r\n", "hi"), 400, "plain decimal"),
    REFUSE("an inner space", POST("Content-Length: 1 2\r\n", "hi"), 400, "plain decimal"),
    REFUSE("empty", POST("Content-Length:\r\n", ""), 400, "plain decimal"),
    REFUSE("white space", POST("Content-Length:  \r\n", ""), 400, "plain decimal"),
    REFUSE("empty after a good one", POST("Content-Length: 2\r\nContent-Length:\r\n", "hi"), 400, "Content-Length"),
    REFUSE("64 bits and one more", POST("Content-Length: 18446744073709551616\r\n", ""), 400, "plain decimal"),
    REFUSE("more than the limit, far", POST("Content-Length: 18446744073709551615\r\n", ""), 413, "16384"),
    REFUSE("more than the limit by 2^32", POST("Content-Length: 4294967298\r\n", "hi"), 413, "16384"),
    REFUSE("more than the limit by one, before any body", POST("Content-Length: 16385\r\n", ""), 413, "16384"),
    REFUSE("length and coding", POST("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "Both"),
    REFUSE("coding and length", POST("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "0\r\n\r\n"), 400, "Both"),
    REFUSE("an unknown coding and length", POST("Transfer-Encoding: x\r\nContent-Length: 2\r\n", "hi"), 400, "Both"),
    REFUSE("an empty coding and length", POST("Transfer-Encoding:\r\nContent-Length: 2\r\n", "hi"), 400, "Both"),
    REFUSE("a length of 0 and an empty coding", POST("Content-Length: 0\r\nTransfer-Encoding:\r\n", ""), 400, "Both"),
};

static const struct message codings[] = {
    ACCEPT("chunked", CHUNKED("2\r\nhi\r\n0\r\n\r\n"), "POST / body=hi keep"),
    ACCEPT("chunked in other letters", POST("TRANSFER-ENCODING: \t CHUNked  \r\n", "2\r\nhi\r\n0\r\n\r\n"), "POST / body=hi keep"),
    REFUSE("gzip", POST("Transfer-Encoding: gzip\r\n", ""), 400, "exactly one"),
    REFUSE("identity", POST("Transfer-Encoding: identity\r\n", ""), 400, "exactly one"),
    REFUSE("a longer name", POST("Transfer-Encoding: chunkedx\r\n", ""), 400, "exactly one"),
    REFUSE("a prefix", POST("Transfer-Encoding: xchunked\r\n", ""), 400, "exactly one"),
    REFUSE("in quotes", POST("Transfer-Encoding: \"chunked\"\r\n", ""), 400, "exactly one"),
    REFUSE("gzip, chunked", POST("Transfer-Encoding: gzip, chunked\r\n", ""), 501, "only transfer coding"),
    REFUSE("two unknown ones", POST("Transfer-Encoding: gzip, br\r\n", ""), 400, "exactly one"),
    REFUSE("a tab after it, which not everybody reads as chunked", POST("Transfer-Encoding: chunked\t\r\n", ""), 400, "exactly one"),
    REFUSE("a vertical tab after it", POST("Transfer-Encoding: chunked\x0b\r\n", ""), 400, "control"),
    REFUSE("chunked, gzip", POST("Transfer-Encoding: chunked, gzip\r\n", ""), 400, "exactly one"),
    REFUSE("chunked, chunked", POST("Transfer-Encoding: chunked, chunked\r\n", ""), 400, "exactly one"),
    REFUSE("chunked twice", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 400, "exactly one"),
    REFUSE("gzip, then chunked", POST("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", ""), 400, "exactly one"),
    REFUSE("chunked, then nothing", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", ""), 400, "exactly one"),
    REFUSE("a comma after", POST("Transfer-Encoding: chunked,\r\n", ""), 400, "exactly one"),
    REFUSE("a comma before", POST("Transfer-Encoding: ,chunked\r\n", ""), 400, "exactly one"),
    REFUSE("empty", POST("Transfer-Encoding:\r\n", ""), 400, "exactly one"),
    REFUSE("in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0"),
};

static const struct message chunks[] = {
    ACCEPT("none", CHUNKED("0\r\n\r\n"), "POST / keep"),
    ACCEPT("several", CHUNKED("5\r\nhello\r\n1\r\n \r\n00a\r\n0123456789\r\n000\r\n\r\n"), "POST / body=hello 0123456789 keep"),
    ACCEPT("hex digits in both cases", CHUNKED("A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"), "POST / body=01234567890123456789a keep"),
    ACCEPT("data that looks like framing", CHUNKED("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), "POST / body=\r\n0\r\n\r\n keep"),
    ACCEPT("extensions", CHUNKED("2;a\r\nhi\r\n1 ; b=\"c;d\"\t\r\n!\r\n0;x=\xff\r\n\r\n"), "POST / body=hi! keep"),
    ACCEPT("a quoted extension with an escaped quote", CHUNKED("2;a=\"\\\";\\\\\"\r\nhi\r\n0\r\n\r\n"), "POST / body=hi keep"),
    ACCEPT("trailers are dropped", CHUNKED("2\r\nhi\r\n0\r\nX: y\r\nCookie: a\r\nContent-Length: 9\r\nEmpty:\r\n\r\n"), "POST / body=hi keep"),
    REFUSE("no size", CHUNKED("\r\nhi"), 400, "size line"),
    REFUSE("a size of letters", CHUNKED("x\r\nhi"), 400, "size line"),
    REFUSE("0x", CHUNKED("0x2\r\nhi\r\n"), 400, "size line"),
    REFUSE("a minus", CHUNKED("-2\r\nhi\r\n"), 400, "size line"),
    REFUSE("a space before the size", CHUNKED(" 2\r\nhi\r\n"), 400, "size line"),
    REFUSE("a space after the size", CHUNKED("2 \r\nhi\r\n"), 400, "size line"),
    REFUSE("a space in the size", CHUNKED("1 0\r\nhi\r\n"), 400, "size line"),
    REFUSE("an extension without size", CHUNKED(";a\r\nhi\r\n"), 400, "size line"),
    REFUSE("LF after the size", CHUNKED("2\nhi\r\n0\r\n\r\n"), 400, "size line"),
    REFUSE("LF after an extension", CHUNKED("2;a\nhi\r\n0\r\n\r\n"), 400, "size line"),
    REFUSE("CR in an extension", CHUNKED("2;a\rb\r\nhi\r\n"), 400, "CRLF"),
    REFUSE("CR after the size", CHUNKED("2\rhi\r\n"), 400, "CRLF"),
    REFUSE("a line that ends inside quotes", CHUNKED("2;a=\"\r\nhi\r\n0;\"\r\n\r\n"), 400, "size line"),
    REFUSE("a line that ends after a backslash", CHUNKED("2;a=\"\\\r\nhi\r\n0\r\n\r\n"), 400, "size line"),
    REFUSE("NUL in an extension", CHUNKED("2;a\0\r\nhi\r\n"), 400, "size line"),
    REFUSE("LF after the data", CHUNKED("2\r\nhi\n0\r\n\r\n"), 400, "CRLF"),
    REFUSE("CR after the data", CHUNKED("2\r\nhi\r0\r\n\r\n"), 400, "CRLF"),
    REFUSE("more data than the size", CHUNKED("2\r\nhi!\r\n0\r\n\r\n"), 400, "CRLF"),
    REFUSE("LF at the end", CHUNKED("0\r\n\n"), 400, "trailer"),
    REFUSE("CR at the end", CHUNKED("0\r\n\rX"), 400, "CRLF"),
    REFUSE("a size of 2^32", CHUNKED("100000000\r\n"), 413, "16384"),
    REFUSE("a size of 2^64", CHUNKED("10000000000000000\r\n"), 413, "16384"),
    REFUSE("sizes that add up to more than the limit", CHUNKED("1\r\na\r\n4000\r\n"), 413, "16384"),
    REFUSE("a trailer without colon", CHUNKED("0\r\nX\r\n\r\n"), 400, "trailer"),
    REFUSE("a trailer without name", CHUNKED("0\r\n: y\r\n\r\n"), 400, "trailer"),
    REFUSE("a trailer with space before the colon", CHUNKED("0\r\nX : y\r\n\r\n"), 400, "trailer"),
    REFUSE("a folded trailer", CHUNKED("0\r\nX: y\r\n z\r\n\r\n"), 400, "trailer"),
    REFUSE("LF ends a trailer", CHUNKED("0\r\nX: y\n\r\n"), 400, "trailer"),
    REFUSE("CR in a trailer", CHUNKED("0\r\nX: y\rz\r\n\r\n"), 400, "CRLF"),
    REFUSE("NUL in a trailer", CHUNKED("0\r\nX: \0\r\n\r\n"), 400, "trailer"),
};

#define HTTP_1_0(fields) "GET / HTTP/1.0\r\n" fields "\r\n"

static const struct message connections[] = {
    ACCEPT("close", GET("Connection: close\r\n"), "GET / close"),
    ACCEPT("close in capitals", GET("connection: CLOSE\r\n"), "GET / close"),
    ACCEPT("close in a list", GET("Connection: x, close ,y\r\n"), "GET / close"),
    ACCEPT("keep-alive", GET("Connection: keep-alive\r\n"), "GET / keep"),
    ACCEPT("both", GET("Connection: close\r\nConnection: keep-alive\r\n"), "GET / close"),
    ACCEPT("another word", GET("Connection: closed\r\n"), "GET / keep"),
    ACCEPT("HTTP/1.0", HTTP_1_0(""), "GET / close"),
    ACCEPT("HTTP/1.0 keep-alive", HTTP_1_0("Connection: Keep-Alive\r\n"), "GET / keep"),
    ACCEPT("HTTP/1.0 close", HTTP_1_0("Connection: close\r\n"), "GET / close"),
    ACCEPT("HTTP/1.0 both", HTTP_1_0("Connection: keep-alive, close\r\n"), "GET / close"),
    ACCEPT("HTTP/1.0 with a body", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "POST / body=hi close"),
    ACCEPT("Upgrade is ignored", GET("Connection: Upgrade\r\nUpgrade: h2c\r\n"), "GET / keep"),
    ACCEPT("a WebSocket, too", GET("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), "GET / keep"),
    ACCEPT("Upgrade with a body", POST("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", "hi"), "POST / body=hi keep"),
    ACCEPT("Upgrade with chunks", POST("Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"), "POST / body=hi keep"),
    ACCEPT("Upgrade and close", POST("Connection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", "hi"), "POST / body=hi close"),
};

static const struct message expectations[] = {
    REFUSE("another one", POST("Expect: a-pony\r\nContent-Length: 2\r\n", ""), 417, "100-continue"),
    REFUSE("another one without a body", GET("Expect: a-pony\r\n"), 417, "100-continue"),
    REFUSE("an empty one", GET("Expect:\r\n"), 417, "100-continue"),
    REFUSE("two", POST("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 2\r\n", ""), 417, "100-continue"),
    REFUSE("too long a body is no reason to continue", POST("Expect: 100-continue\r\nContent-Length: 16385\r\n", ""), 413, "16384"),
    ACCEPT("without a body there is nothing to continue", GET("Expect: 100-continue\r\n"), "GET / keep"),
};

/* clang-format on */

static void test_requests_are_read(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(requests);
}

static void test_methods_are_known_left_to_the_router_or_refused(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(methods);
}

static void test_a_malformed_request_line_is_refused(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(request_lines);
}

static void test_targets_are_reduced_to_path_and_query(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(targets);
}

static void test_ambiguous_head_bytes_are_refused(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(head_bytes);
}

static void test_a_host_is_required_once_and_well_formed(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(hosts);
}

static void test_an_uncertain_content_length_is_refused(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(lengths);
}

static void test_only_chunked_is_a_transfer_coding(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(codings);
}

static void test_chunks_are_undone_strictly(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(chunks);
}

static void test_connection_and_version_decide_keep_alive(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(connections);
}

static void test_only_100_continue_may_be_expected(void **state)
{
    (void)state;
    ASSERT_OUTCOMES(expectations);
}

/* ---- limits: at exactly the limit, and one beyond ---- */

static void assert_message(const char *title, uint16_t status, const char *word)
{
    feed_all_ways(title, message, message_len);
    if (whole.status != status || strstr(whole.text, word) == NULL) {
        fail_msg("%s: expected %d and \"%s\", got \"%.80s\"", title, status, word, whole.text);
    }
    if (status == 0) {
        assert_int_equal(whole.fed, HTTP_FED_REQUEST);
        assert_int_equal(whole.taken, message_len);
    }
}

static void make_request_line(size_t len)
{
    begin("GET /");
    fill('a', len - strlen("GET / HTTP/1.1"));
    more(" HTTP/1.1\r\n" HOST "\r\n");
}

static void test_a_request_line_of_4096_bytes_is_the_longest(void **state)
{
    (void)state;
    make_request_line(HTTP_REQUEST_LINE_BYTES_MAX);
    assert_message("at the limit", 0, "GET /aaa");
    make_request_line(HTTP_REQUEST_LINE_BYTES_MAX + 1);
    assert_message("one beyond", 414, "4096");
    assert_int_equal(whole.taken,
                     HTTP_REQUEST_LINE_BYTES_MAX + 1); /* refused without waiting for its end */
    begin("GET /");
    fill('a', 100000);
    assert_message("far beyond, and no end", 414, "4096");
}

/* One long field, the last of so many bytes of fields. */
static void make_head(size_t field_bytes, char filler)
{
    begin("GET / HTTP/1.1\r\n" HOST "X: ");
    fill(filler, field_bytes - strlen(HOST "X: \r\n"));
    more("\r\n\r\n");
}

static void test_a_header_section_of_16384_bytes_is_the_longest(void **state)
{
    (void)state;
    make_head(HTTP_HEAD_BYTES_MAX, 'x');
    assert_message("at the limit", 0, "GET / keep");
    make_head(HTTP_HEAD_BYTES_MAX + 1, 'x');
    assert_message("one beyond", 431, "16384");
    make_head(100000, 'x');
    assert_message("far beyond", 431, "16384");
    make_head(HTTP_HEAD_BYTES_MAX, '\t');
    assert_message("tabs, at the limit", 0, "GET / keep");
    make_head(HTTP_HEAD_BYTES_MAX + 1, '\t');
    assert_message("tabs, one beyond", 431, "16384");
    make_head(HTTP_HEAD_BYTES_MAX, 'x');
    message_len -= 2;
    more("Y:\r\n\r\n");
    assert_message("one field more than fits", 431, "16384");
    make_head(HTTP_HEAD_BYTES_MAX - 5, 'x');
    message_len -= 2;
    more("Y: \r\n\r\n");
    assert_message("a last field that just fits", 0, "GET / keep");
}

static void test_the_longest_request_of_all_fits(void **state)
{
    (void)state;
    begin("POST /");
    fill('a', HTTP_REQUEST_LINE_BYTES_MAX - strlen("POST / HTTP/1.1"));
    more(" HTTP/1.1\r\n" HOST "Content-Length: 16384\r\nCookie: ");
    fill('c', HTTP_HEAD_BYTES_MAX - strlen(HOST "Content-Length: 16384\r\nCookie: \r\n"));
    more("\r\n\r\n");
    fill('b', HTTP_BODY_BYTES_MAX);
    assert_message("all at their limits", 0, "bbbb keep");
}

static void make_fields(int count)
{
    begin("GET / HTTP/1.1\r\n" HOST);
    for (int i = 1; i < count; i++) {
        more("X: y\r\n");
    }
    more("\r\n");
}

static void test_64_fields_are_the_most(void **state)
{
    (void)state;
    make_fields(HTTP_HEADER_COUNT_MAX);
    assert_message("at the limit", 0, "GET / keep");
    make_fields(HTTP_HEADER_COUNT_MAX + 1);
    assert_message("one beyond", 431, "64");
}

static void test_a_body_of_16384_bytes_is_the_longest(void **state)
{
    (void)state;
    begin(POST("Content-Length: 16384\r\n", ""));
    fill('b', HTTP_BODY_BYTES_MAX);
    assert_message("at the limit", 0, "bbbb keep");
    begin(CHUNKED("4000\r\n"));
    fill('b', HTTP_BODY_BYTES_MAX);
    more("\r\n0\r\n\r\n");
    assert_message("chunked, at the limit", 0, "bbbb keep");
    begin(CHUNKED("4000\r\n"));
    fill('b', HTTP_BODY_BYTES_MAX);
    more("\r\n1\r\n");
    assert_message("chunked, one beyond", 413, "16384");
    begin(CHUNKED("4001\r\n"));
    assert_message("one chunk, one beyond", 413, "16384");
}

static void make_extension(size_t overhead_bytes)
{
    begin(CHUNKED("2;"));
    fill('e', overhead_bytes - strlen("2;\r\n\r\n0\r\n\r\n"));
    more("\r\nhi\r\n0\r\n\r\n");
}

static void test_chunk_framing_is_bounded(void **state)
{
    (void)state;
    make_extension(HTTP_CHUNK_OVERHEAD_BYTES_MAX);
    assert_message("an extension, at the limit", 0, "body=hi keep");
    make_extension(HTTP_CHUNK_OVERHEAD_BYTES_MAX + 1);
    assert_message("an extension, one beyond", 413, "framing");
    begin(CHUNKED(""));
    for (int i = 0; i < HTTP_BODY_BYTES_MAX; i++) {
        more("1\r\nb\r\n");
    }
    more("0\r\n\r\n");
    assert_message("the longest body, byte by byte", 0, "bbbb keep");
    begin(CHUNKED(""));
    for (int i = 0; i < HTTP_BODY_BYTES_MAX; i++) {
        more("1;x\r\nb\r\n");
    }
    assert_message("tiny chunks with extensions", 413, "framing");
    begin(CHUNKED("0\r\n"));
    for (int i = 0; i < HTTP_CHUNK_OVERHEAD_BYTES_MAX / 6; i++) {
        more("X: y\r\n");
    }
    assert_message("trailers without end", 413, "framing");
    begin(CHUNKED(""));
    fill('0', HTTP_CHUNK_OVERHEAD_BYTES_MAX + 1);
    assert_message("zeros without end", 413, "framing");
}

static void test_16_empty_lines_are_the_most(void **state)
{
    (void)state;
    begin("");
    for (int i = 0; i < HTTP_BLANK_LINES_MAX; i++) {
        more("\r\n");
    }
    more(GET(""));
    assert_message("at the limit", 0, "GET / keep");
    begin("\r\n");
    for (int i = 0; i < HTTP_BLANK_LINES_MAX; i++) {
        more("\r\n");
    }
    assert_message("one beyond", 400, "empty lines");
}

/* ---- 100 Continue ---- */

static void test_continue_is_asked_for_once_however_the_bytes_are_cut(void **state)
{
    (void)state;
    static const char *const rows[] = {
        EXPECTING("Content-Length: 2\r\n") "hi",
        EXPECTING("Transfer-Encoding: chunked\r\n") "2\r\nhi\r\n0\r\n\r\n"};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(rows[i]);
        for (size_t at = 1; at <= len; at++) {
            feed_cut(rows[i], len, at, len, &cut);
            assert_string_equal(cut.text, "POST / body=hi keep");
            assert_int_equal(cut.continues, 1);
        }
        feed_cut(rows[i], len, 1, 1, &cut);
        assert_int_equal(cut.continues, 1);
    }
}

static void test_a_head_that_asks_to_continue_is_shown_before_its_body_is_read(void **state)
{
    (void)state;
    static const char head[] =
        EXPECTING("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n");
    struct connection c = connect_one();
    assert_int_equal(
        feed(&c,
             EXPECTING("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n") "no chunk"),
        HTTP_FED_CONTINUE);
    assert_int_equal(c.taken, sizeof head - 1);
    const struct http_request *request = http_parser_request(c.parser);
    assert_int_equal(request->method, HTTP_POST_);
    assert_memory_equal(request->path.data, "/", request->path.len);
    assert_memory_equal(request->content_type.data, "text/plain", request->content_type.len);
    assert_int_equal(request->body.len, 0);
    assert_int_equal(feed(&c, "no chunk"), HTTP_FED_ERROR);
    http_parser_free(c.parser);
}

static void test_continue_is_not_asked_for_without_need(void **state)
{
    (void)state;
    static const char *const rows[] = {
        GET("Expect: 100-continue\r\n"), EXPECTING("Content-Length: 0\r\n"),
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        feed_cut(rows[i], strlen(rows[i]), 1, 1, &cut);
        assert_int_equal(cut.fed, HTTP_FED_REQUEST);
        assert_int_equal(cut.continues, 0);
    }
}

/* ---- what a request says of itself ---- */

static void test_http_1_0_is_told_apart(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_int_equal(feed(&c, HTTP_1_0("")), HTTP_FED_REQUEST);
    assert_true(http_parser_request(c.parser)->is_http_1_0);
    http_parser_reset(c.parser);
    assert_int_equal(feed(&c, GET("")), HTTP_FED_REQUEST);
    assert_false(http_parser_request(c.parser)->is_http_1_0);
    http_parser_free(c.parser);
}

static void test_absent_fields_are_null_and_empty_ones_are_not(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_int_equal(feed(&c, GET("Cookie:\r\n")), HTTP_FED_REQUEST);
    const struct http_request *request = http_parser_request(c.parser);
    assert_non_null(request->cookie.data);
    assert_int_equal(request->cookie.len, 0);
    assert_null(request->authorization.data);
    assert_null(request->query.data);
    assert_int_equal(request->body.len, 0);
    http_parser_free(c.parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_read),
        cmocka_unit_test(test_methods_are_known_left_to_the_router_or_refused),
        cmocka_unit_test(test_a_malformed_request_line_is_refused),
        cmocka_unit_test(test_targets_are_reduced_to_path_and_query),
        cmocka_unit_test(test_ambiguous_head_bytes_are_refused),
        cmocka_unit_test(test_a_host_is_required_once_and_well_formed),
        cmocka_unit_test(test_an_uncertain_content_length_is_refused),
        cmocka_unit_test(test_only_chunked_is_a_transfer_coding),
        cmocka_unit_test(test_chunks_are_undone_strictly),
        cmocka_unit_test(test_connection_and_version_decide_keep_alive),
        cmocka_unit_test(test_only_100_continue_may_be_expected),
        cmocka_unit_test(test_a_request_line_of_4096_bytes_is_the_longest),
        cmocka_unit_test(test_a_header_section_of_16384_bytes_is_the_longest),
        cmocka_unit_test(test_the_longest_request_of_all_fits),
        cmocka_unit_test(test_64_fields_are_the_most),
        cmocka_unit_test(test_a_body_of_16384_bytes_is_the_longest),
        cmocka_unit_test(test_chunk_framing_is_bounded),
        cmocka_unit_test(test_16_empty_lines_are_the_most),
        cmocka_unit_test(test_continue_is_asked_for_once_however_the_bytes_are_cut),
        cmocka_unit_test(test_a_head_that_asks_to_continue_is_shown_before_its_body_is_read),
        cmocka_unit_test(test_continue_is_not_asked_for_without_need),
        cmocka_unit_test(test_http_1_0_is_told_apart),
        cmocka_unit_test(test_absent_fields_are_null_and_empty_ones_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
