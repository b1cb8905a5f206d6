/*
 * http_feed.c: feeding messages to a parser, piece by piece (see http_feed.h).
 *
 * Thread: the test's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/http_feed.h"

/* ---- messages ---- */

char message[MESSAGE_BYTES_MAX];
size_t message_len;

void begin(const char *text)
{
    message_len = strlen(text);
    memcpy(message, text, message_len);
}

void more(const char *text)
{
    memcpy(message + message_len, text, strlen(text));
    message_len += strlen(text);
}

void fill(char c, size_t count)
{
    memset(message + message_len, c, count);
    message_len += count;
}

/* ---- what becomes of them ---- */

struct outcome whole, cut;

static const char *const method_names[] = {"GET",   "HEAD",   "POST",    "PUT",
                                           "PATCH", "DELETE", "OPTIONS", "OTHER"};
static const char *const phase_names[] = {"IDLE", "HEAD", "BODY", "COMPLETE"};

static void add(struct outcome *outcome, const char *label, struct slice slice)
{
    if (slice.data != NULL) {
        size_t at = strlen(outcome->text);
        snprintf(outcome->text + at, sizeof outcome->text - at, "%s%.*s", label, (int)slice.len,
                 slice.data);
    }
}

void describe_request(struct outcome *outcome, const struct http_request *request)
{
    snprintf(outcome->text, sizeof outcome->text, "%s ", method_names[request->method]);
    add(outcome, "", request->path);
    add(outcome, "?", request->query);
    add(outcome, " authorization=", request->authorization);
    add(outcome, " type=", request->content_type);
    add(outcome, " cookie=", request->cookie);
    add(outcome, " key=", request->idempotency_key);
    add(outcome, " signature=", request->flashd_signature);
    add(outcome, " last=", request->last_event_id);
    add(outcome, request->body.len > 0 ? " body=" : "", request->body);
    add(outcome, " ",
        (struct slice){request->keep_alive ? "keep" : "close", request->keep_alive ? 4 : 5});
}

static void describe(struct outcome *outcome, const struct http_parser *parser)
{
    outcome->text[0] = '\0';
    outcome->status = 0;
    outcome->http_1_0 = false;
    if (outcome->fed == HTTP_FED_REQUEST) {
        outcome->http_1_0 = http_parser_request(parser)->is_http_1_0;
        assert_int_equal(http_parser_phase(parser), HTTP_PHASE_COMPLETE);
        describe_request(outcome, http_parser_request(parser));
    } else if (outcome->fed == HTTP_FED_ERROR) {
        const struct http_error *error = http_parser_error(parser);
        assert_non_null(error);
        assert_non_null(error->code);
        assert_non_null(error->detail);
        outcome->status = error->status;
        snprintf(outcome->text, sizeof outcome->text, "%d %s: %s", error->status, error->code,
                 error->detail);
    } else {
        snprintf(outcome->text, sizeof outcome->text, "more %s",
                 phase_names[http_parser_phase(parser)]);
    }
}

/* Feeds one piece, again after each "continue"; false once the message is over. */
static bool feed_piece(struct http_parser *parser, const char *data, size_t len,
                       struct outcome *outcome)
{
    char *piece = malloc(len);
    memcpy(piece, data, len);
    size_t at = 0;
    do {
        size_t taken = SIZE_MAX;
        outcome->fed = http_parser_feed(parser, piece + at, len - at, &taken);
        assert_true(taken <= len - at);
        at += taken;
        outcome->continues += outcome->fed == HTTP_FED_CONTINUE;
    } while (at < len && outcome->fed == HTTP_FED_CONTINUE);
    free(piece);
    outcome->taken += at;
    bool over = outcome->fed == HTTP_FED_REQUEST || outcome->fed == HTTP_FED_ERROR;
    assert_true(over || at == len);
    return !over;
}

void feed_to(struct http_parser *parser, const char *data, size_t len, size_t first, size_t rest,
             struct outcome *outcome)
{
    outcome->taken = 0;
    outcome->continues = 0;
    outcome->fed = HTTP_FED_MORE;
    size_t piece = first;
    for (size_t at = 0; at < len; at += piece, piece = rest) {
        piece = piece < len - at ? piece : len - at;
        if (!feed_piece(parser, data + at, piece, outcome)) {
            break;
        }
    }
    describe(outcome, parser);
}

void feed_cut(const char *data, size_t len, size_t first, size_t rest, struct outcome *outcome)
{
    struct http_parser *parser = http_parser_new();
    feed_to(parser, data, len, first, rest, outcome);
    http_parser_free(parser);
}

void assert_same_outcome(const char *title, const char *how, size_t position)
{
    bool same_end = whole.fed == HTTP_FED_ERROR || whole.taken == cut.taken;
    if (strcmp(whole.text, cut.text) != 0 || !same_end) {
        fail_msg("%s: in one piece \"%s\" after %zu bytes, %s %zu \"%s\" after %zu bytes", title,
                 whole.text, whole.taken, how, position, cut.text, cut.taken);
    }
}

/* ---- one connection, several calls ---- */

struct connection connect_one(void)
{
    struct connection connection = {http_parser_new(), 0};
    assert_non_null(connection.parser);
    return connection;
}

enum http_fed feed(struct connection *connection, const char *text)
{
    return http_parser_feed(connection->parser, text, strlen(text), &connection->taken);
}
