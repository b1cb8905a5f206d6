/*
 * body.c: see body.h. jansson parses (strict JSON, valid UTF-8, no duplicate members, no NUL).
 *
 * Thread: the net thread of the connection. Fails: by an answer that names the field.
 */
#include "net/body.h"

#include <stdio.h>
#include <strings.h>

#include "net/answer.h"
#include "net/timestamp.h"

static bool is_json_type(struct slice type)
{
    static const char json[] = "application/json";
    size_t len = sizeof json - 1;
    if (type.data == NULL || type.len < len || strncasecmp(type.data, json, len) != 0)
        return false;
    return type.len == len || type.data[len] == ';' || type.data[len] == ' ' ||
           type.data[len] == '\t';
}

bool body_open(struct body *body, const struct call *call)
{
    *body = (struct body){.call = call};
    if (!is_json_type(call->request->content_type)) {
        answer_problem(call->net, call->conn, 415, "unsupported-media-type",
                       "the body must be JSON, with Content-Type: application/json", NULL);
        return false;
    }
    json_error_t error;
    body->root = json_loadb(call->request->body.data != NULL ? call->request->body.data : "",
                            call->request->body.len, JSON_REJECT_DUPLICATES, &error);
    if (body->root != NULL && json_is_object(body->root))
        return true;
    char detail[256];
    snprintf(detail, sizeof detail, "the body must be a JSON object%s%.160s",
             body->root == NULL ? ": " : "", body->root == NULL ? error.text : "");
    body_close(body);
    answer_problem(call->net, call->conn, 400, "invalid-json", detail, NULL);
    return false;
}

void body_close(struct body *body)
{
    json_decref(body->root);
    body->root = NULL;
}

bool body_ok(struct body *body)
{
    if (body->wrong[0] == '\0')
        return true;
    body_close(body);
    answer_problem(body->call->net, body->call->conn, 400, "invalid-request", body->wrong, NULL);
    return false;
}

void body_wrong(struct body *body, const char *field, const char *must)
{
    if (body->wrong[0] == '\0')
        snprintf(body->wrong, sizeof body->wrong, "%s %s", field, must);
}

/* The member, or NULL after noting that a required one is missing. null counts as missing. */
static json_t *member(struct body *body, const char *field, enum presence presence)
{
    json_t *value = json_object_get(body->root, field);
    if (value != NULL && !json_is_null(value))
        return value;
    if (presence == REQUIRED)
        body_wrong(body, field, "is required");
    return NULL;
}

/* C0, DEL, and C1 (U+0080 to U+009F, in UTF-8 c2 80 to c2 9f). */
static bool has_control_characters(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        unsigned char next = i + 1 < text.len ? (unsigned char)text.data[i + 1] : 0;
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && next < 0xa0))
            return true;
    }
    return false;
}

struct slice body_string(struct body *body, const char *field, size_t min, size_t max,
                         enum presence presence)
{
    json_t *value = member(body, field, presence);
    if (value == NULL)
        return (struct slice){NULL, 0};
    char must[96];
    struct slice text = {json_string_value(value), json_string_length(value)};
    if (text.data != NULL && text.len >= min && text.len <= max && !has_control_characters(text))
        return text;
    snprintf(must, sizeof must, "must be a string of %zu to %zu bytes without control characters",
             min, max);
    body_wrong(body, field, must);
    return (struct slice){NULL, 0};
}

int64_t body_integer(struct body *body, const char *field, int64_t min, int64_t max,
                     enum presence presence, int64_t fallback)
{
    json_t *value = member(body, field, presence);
    if (value == NULL)
        return fallback;
    if (json_is_integer(value) && json_integer_value(value) >= min &&
        json_integer_value(value) <= max)
        return json_integer_value(value);
    char must[96];
    snprintf(must, sizeof must, "must be an integer from %lld to %lld", (long long)min,
             (long long)max);
    body_wrong(body, field, must);
    return fallback;
}

int64_t body_time(struct body *body, const char *field)
{
    json_t *value = member(body, field, REQUIRED);
    int64_t wall_ms = 0;
    if (value == NULL)
        return 0;
    if (json_is_integer(value))
        wall_ms = json_integer_value(value);
    else if (!json_is_string(value) ||
             !timestamp_parse(json_string_value(value), json_string_length(value), &wall_ms))
        wall_ms = -1;
    if (wall_ms < 0 || wall_ms > TIMESTAMP_MS_MAX)
        body_wrong(body, field, "must be a time: ISO 8601 with a zone, or epoch milliseconds");
    return wall_ms;
}
