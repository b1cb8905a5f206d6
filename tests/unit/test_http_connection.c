/*
 * test_http_connection.c: what a sequence of requests on one connection is: pipelining, the phases,
 * what is taken until the reset, a head that comes again and is compared instead of parsed, and the
 * memory that is held before, between and after requests.
 *
 * The last tests mutate valid messages at random and compare ways of cutting them, one on a
 * connection and several in turn. They print their seed; HTTP_TEST_SEED repeats one.
 *
 * Thread: one. malloc() and its like are wrapped (CMakeLists.txt): their bytes are counted.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/random.h"
#include "tests/unit/http_feed.h"

/* ---- requests, one after the other ---- */

static void test_pipelined_requests_are_left_for_later(void **state)
{
    (void)state;
    static const char pipeline[] = POST("Content-Length: 2\r\n", "hi")
        GET("") "\r\n" CHUNKED("2;x\r\nho\r\n0\r\nT: u\r\n\r\n") GET("Connection: close\r\n");
    static const char *const expected[] = {"POST / body=hi keep", "GET / keep",
                                           "POST / body=ho keep", "GET / close"};
    for (size_t piece = 1; piece < sizeof pipeline; piece++) {
        struct connection c = connect_one();
        size_t count = 0;
        size_t at = 0;
        while (at < sizeof pipeline - 1) {
            size_t len = sizeof pipeline - 1 - at < piece ? sizeof pipeline - 1 - at : piece;
            enum http_fed fed = http_parser_feed(c.parser, pipeline + at, len, &c.taken);
            at += c.taken;
            if (fed == HTTP_FED_REQUEST) {
                describe_request(&cut, http_parser_request(c.parser));
                assert_string_equal(cut.text, expected[count++]);
                http_parser_reset(c.parser);
            } else {
                assert_int_equal(fed, HTTP_FED_MORE);
                assert_int_equal(c.taken, len);
            }
        }
        assert_int_equal(count, 4);
        http_parser_free(c.parser);
    }
}

static void test_a_complete_request_takes_nothing_until_the_reset(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_int_equal(feed(&c, GET("") "GET /next"), HTTP_FED_REQUEST);
    assert_int_equal(c.taken, strlen(GET("")));
    assert_int_equal(feed(&c, GET("")), HTTP_FED_REQUEST);
    assert_int_equal(c.taken, 0);
    assert_int_equal(feed(&c, ""), HTTP_FED_REQUEST);
    assert_memory_equal(http_parser_request(c.parser)->path.data, "/", 1);
    http_parser_free(c.parser);
}

static void test_an_error_takes_nothing_until_the_reset(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_null(http_parser_error(c.parser));
    assert_int_equal(feed(&c, "GET / HTTP/3.0\r\n"), HTTP_FED_ERROR);
    assert_int_equal(feed(&c, GET("")), HTTP_FED_ERROR);
    assert_int_equal(c.taken, 0);
    const struct http_error *error = http_parser_error(c.parser);
    http_parser_reset(c.parser);
    assert_null(http_parser_error(c.parser));
    assert_int_equal(feed(&c, GET("")), HTTP_FED_REQUEST);
    http_parser_free(c.parser);
    assert_int_equal(error->status, 505);
}

static void test_phases_follow_the_bytes(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_IDLE);
    assert_int_equal(feed(&c, "\r\n\r"), HTTP_FED_MORE);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_IDLE);
    assert_int_equal(feed(&c, "\nP"), HTTP_FED_MORE);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_HEAD);
    assert_int_equal(feed(&c, "OST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r"), HTTP_FED_MORE);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_HEAD);
    assert_int_equal(feed(&c, "\n"), HTTP_FED_MORE);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_BODY);
    assert_int_equal(feed(&c, ""), HTTP_FED_MORE);
    assert_int_equal(feed(&c, "h"), HTTP_FED_MORE);
    assert_int_equal(feed(&c, "i"), HTTP_FED_REQUEST);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_COMPLETE);
    http_parser_reset(c.parser);
    assert_int_equal(http_parser_phase(c.parser), HTTP_PHASE_IDLE);
    http_parser_free(c.parser);
}

/* ---- a head that comes again ---- */

/* What is asked on a connection that was used before is as on a connection of its own. */
static void ask_again(struct http_parser *used, const char *bytes, size_t len, size_t first,
                      size_t rest)
{
    feed_cut(bytes, len, first, rest, &whole);
    feed_to(used, bytes, len, first, rest, &cut);
    assert_same_outcome("asked again", "in pieces of", rest);
    assert_int_equal(cut.continues, whole.continues);
    assert_int_equal(cut.http_1_0, whole.http_1_0);
    http_parser_reset(used);
}

static void ask_in_turn(const char *const *rows, size_t count, size_t piece)
{
    struct connection c = connect_one();
    for (size_t i = 0; i < count; i++) {
        ask_again(c.parser, rows[i], strlen(rows[i]), piece, piece);
    }
    http_parser_free(c.parser);
}

static void test_a_head_that_comes_again_means_the_same_again(void **state)
{
    (void)state;
    static const char *const rows[] = {
        GET(""),
        GET(""),
        "\r\n" GET(""),
        POST("Content-Length: 2\r\n", "hi"),
        POST("Content-Length: 2\r\n", "ho"),
        POST("Content-Length: 3\r\n", "hey"), /* as long as the last head, another meaning */
        POST("Content-Length: 0\r\n", ""),
        POST("Content-Length: 0\r\n", ""),
        CHUNKED("2;x\r\nhi\r\n0\r\nT: u\r\n\r\n"),
        CHUNKED("1\r\nh\r\n2\r\ney\r\n0\r\n\r\n"),
        EXPECTING("Content-Length: 2\r\n") "hi",
        EXPECTING("Content-Length: 2\r\n") "ho",
        POST("Content-Length: 2\r\n", "hi"), /* does not expect */
        "GET /A HTTP/1.1\r\n" HOST "\r\n",
        "GET /a HTTP/1.1\r\n" HOST "\r\n", /* letter case counts */
        "GET /a HTTP/1.1\r\n" HOST "\r\r", /* and so does the last byte */
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n", /* refused again */
        "GET /a?b HTTP/1.1\r\n" HOST "Authorization: Bearer x\r\nCookie: y\r\n\r\n",
        "GET /a?c HTTP/1.1\r\n" HOST "Authorization: Bearer x\r\nCookie: y\r\n\r\n",
        "GET /a?c HTTP/1.1\r\n" HOST "Authorization: Bearer x\r\nCookie: y\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        GET("Connection: close\r\n"),
        GET("Connection: close\r\n"),
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    for (size_t piece = 1; piece <= 200; piece++) {
        ask_in_turn(rows, ROWS, piece);
    }
    for (size_t first = 0; first < ROWS; first++) { /* any after any other */
        for (size_t next = 0; next < ROWS; next++) {
            ask_in_turn((const char *const[]){rows[first], rows[next], rows[next]}, 3, 1000);
        }
    }
}

static void test_a_head_that_comes_again_may_be_refused_for_its_body(void **state)
{
    (void)state;
    struct connection c = connect_one();
    assert_int_equal(feed(&c, CHUNKED("1\r\nh\r\n0\r\n\r\n")), HTTP_FED_REQUEST);
    http_parser_reset(c.parser);
    assert_int_equal(feed(&c, CHUNKED("1\r\nhe\r\n0\r\n\r\n")), HTTP_FED_ERROR);
    assert_int_equal(http_parser_error(c.parser)->status, 400);
    http_parser_free(c.parser);
}

static void test_limits_are_a_requests_not_a_connections(void **state)
{
    (void)state;
    struct connection c = connect_one();
    begin("\r\n\r\n" CHUNKED("190;"));
    fill('x', 500);
    more("\r\n");
    fill('b', 0x190);
    more("\r\n0\r\n\r\n");
    for (int i = 0; i < 50; i++) {
        ask_again(c.parser, message, message_len, message_len, 1);
        assert_int_equal(cut.fed, HTTP_FED_REQUEST);
    }
    http_parser_free(c.parser);
}

/* ---- memory: what this program and the parser hold, counted (CMakeLists.txt wraps the calls) ---- */

static size_t held_bytes;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void __wrap_free(void *memory);

static void *hold(void *memory)
{
    held_bytes += malloc_usable_size(memory);
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return hold(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return hold(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    held_bytes -= malloc_usable_size(memory);
    return hold(__real_realloc(memory, bytes));
}

void __wrap_free(void *memory)
{
    held_bytes -= malloc_usable_size(memory);
    __real_free(memory);
}

enum { BUFFER_BYTES = 1032 /* as malloc() rounds 1024 up */ };

static void test_a_connection_keeps_a_small_buffer_once_it_has_asked(void **state)
{
    (void)state;
    struct connection c = connect_one();
    const size_t before = held_bytes;
    assert_int_equal(held_bytes - before, 0);
    feed(&c, "\r\n");
    assert_int_equal(held_bytes - before, 0);
    feed(&c, "G");
    assert_true(held_bytes - before > 0);
    assert_true(held_bytes - before <= BUFFER_BYTES);
    http_parser_reset(c.parser); /* given up before it was whole */
    assert_int_equal(held_bytes - before, 0);
    assert_int_equal(
        feed(&c, POST("Content-Length: 40\r\n", "{\"buyerName\":\"buyer-00000001\",\"qty\":10}\n")),
        HTTP_FED_REQUEST);
    http_parser_reset(c.parser);
    assert_in_range(held_bytes - before, 1, BUFFER_BYTES);
    begin("POST / HTTP/1.1\r\n" HOST "Content-Length: 2000\r\n\r\n");
    fill('x', 2000);
    size_t taken;
    assert_int_equal(http_parser_feed(c.parser, message, message_len, &taken), HTTP_FED_REQUEST);
    assert_true(held_bytes - before > 2000);
    http_parser_reset(c.parser);
    assert_int_equal(held_bytes - before, 0);
    http_parser_free(c.parser);
    http_parser_free(NULL);
}

static void test_a_promised_body_costs_nothing_before_it_comes(void **state)
{
    (void)state;
    struct connection c = connect_one();
    const size_t before = held_bytes;
    assert_int_equal(feed(&c, POST("Content-Length: 16384\r\n", "x")), HTTP_FED_MORE);
    assert_true(held_bytes - before <= BUFFER_BYTES);
    http_parser_free(c.parser);
}

/* ---- at random ---- */

static struct random seeded(void)
{
    const char *given = getenv("HTTP_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("HTTP_TEST_SEED=%llu\n", (unsigned long long)seed);
    return random_from(seed);
}

/* 1..bytes. */
static size_t some_of(struct random *random, size_t bytes)
{
    return random_between(random, 1, (uint32_t)bytes);
}

/* Changes, repeats or drops a few bytes; bytes that mean something to HTTP are preferred. */
static void mutate(struct random *random)
{
    static const char telling[] = "\r\n\r\n \t:;,0a1/?*\"\x7f\x80";
    size_t changes = random_below(random, 4);
    for (size_t i = 0; i < changes && message_len > 8; i++) {
        size_t at = some_of(random, message_len - 8) - 1;
        size_t len = random_between(random, 1, 7);
        switch (random_below(random, 4)) {
        case 0:
            message[at] = telling[random_below(random, sizeof telling)];
            break;
        case 1:
            message[at] = (char)random_below(random, 256);
            break;
        case 2:
            memmove(message + at, message + at + len, message_len - at - len);
            message_len -= len;
            break;
        default:
            memmove(message + at + len, message + at, message_len - at);
            message_len += len;
            break;
        }
    }
}

static void test_mutated_messages_end_the_same_however_they_are_cut(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        POST("Content-Type: application/json\r\nContent-Length: 5\r\n", "hello") GET(""),
        CHUNKED("2;x=y\r\nhi\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n") GET(""),
        "GET http://a.b:80/c?d HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
        POST("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 03\r\n", "abc"),
    };
    struct random random = seeded();
    for (int i = 0; i < 20000; i++) {
        begin(seeds[random_below(&random, 4)]);
        mutate(&random);
        feed_cut(message, message_len, message_len, 1, &whole);
        feed_cut(message, message_len, 1, 1, &cut);
        assert_same_outcome("mutated", "byte by byte", 0);
        size_t first = some_of(&random, message_len);
        feed_cut(message, message_len, first, random_between(&random, 1, 20), &cut);
        assert_same_outcome("mutated", "cut at", first);
    }
}

static void test_mutated_messages_in_turn_are_as_on_connections_of_their_own(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        POST("Content-Length: 5\r\n", "hello"),
        CHUNKED("2;x=y\r\nhi\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n"),
        EXPECTING("Content-Length: 2\r\n") "hi",
        "GET /c?d HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    };
    struct random random = seeded();
    for (int i = 0; i < 5000; i++) {
        struct connection c = connect_one();
        const char *seed = seeds[random_below(&random, 4)];
        for (int turn = 0; turn < 6; turn++) {
            begin(seed);
            if (random_chance(&random, 1, 2)) {
                mutate(&random);
            }
            size_t first = some_of(&random, message_len);
            ask_again(c.parser, message, message_len,
                      random_chance(&random, 1, 2) ? message_len : first, 20);
        }
        http_parser_free(c.parser);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined_requests_are_left_for_later),
        cmocka_unit_test(test_a_complete_request_takes_nothing_until_the_reset),
        cmocka_unit_test(test_an_error_takes_nothing_until_the_reset),
        cmocka_unit_test(test_phases_follow_the_bytes),
        cmocka_unit_test(test_a_head_that_comes_again_means_the_same_again),
        cmocka_unit_test(test_a_head_that_comes_again_may_be_refused_for_its_body),
        cmocka_unit_test(test_limits_are_a_requests_not_a_connections),
        cmocka_unit_test(test_a_connection_keeps_a_small_buffer_once_it_has_asked),
        cmocka_unit_test(test_a_promised_body_costs_nothing_before_it_comes),
        cmocka_unit_test(test_mutated_messages_end_the_same_however_they_are_cut),
        cmocka_unit_test(test_mutated_messages_in_turn_are_as_on_connections_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
