/*
 * body.c: see body.h. flat.c takes the usual body, jansson every other (strict JSON, valid UTF-8,
 * no duplicate members).
 *
 * Thread: the net thread of the connection. Fails: by an answer that names the field.
 */
#include "net/body.h"

#include <stdio.h>
#include <string.h>

#include "net/answer.h"
#include "net/timestamp.h"

enum { NAME_TOLD_BYTES_MAX = 64 };

/* JSON that jansson does not take. What comes later in the body was not looked at. */
static const struct {
    enum json_error_code code;
    const char *what;
} not_taken[] = {
    {json_error_duplicate_key, "is repeated"},
    {json_error_numeric_overflow, "is too large a number"},
    {json_error_null_byte_in_key, "has a name with a NUL"},
    {json_error_stack_overflow, "is nested too deeply"},
};

/* The name, as sent, of the member that jansson was at: the string that ends at `end`, or before the number that does.
 * Empty if no name stands there. A quote in a name has a backslash before it, the one that opens it has none. */
static struct slice name_at(struct slice text, size_t end)
{
    static const char value[] = "0123456789+-.eE: \t\r\n";
    while (end > 0 && memchr(value, text.data[end - 1], sizeof value - 1) != NULL)
        end--;
    if (end == 0 || text.data[end - 1] != '"')
        return (struct slice){"", 0};
    size_t begin = --end;
    while (begin > 1 && (text.data[begin - 1] != '"' || text.data[begin - 2] == '\\'))
        begin--;
    return (struct slice){text.data + begin, end - begin};
}

/* Not in jansson's own words: they quote the body, which may not be UTF-8 at the error. */
static void refuse(const struct call *call, struct slice text, const json_error_t *error)
{
    char detail[192];
    for (size_t i = 0; i < sizeof not_taken / sizeof *not_taken; i++) {
        if (not_taken[i].code != json_error_code(error))
            continue;
        struct slice name = name_at(text, (size_t)error->position);
        if (name.len == 0 || name.len > NAME_TOLD_BYTES_MAX)
            name = (struct slice){"a value", 7};
        snprintf(detail, sizeof detail, "%.*s %s, at line %d, column %d", (int)name.len, name.data,
                 not_taken[i].what, error->line, error->column);
        answer_problem(call->net, call->conn, 400, "invalid-request", detail, NULL);
        return;
    }
    snprintf(detail, sizeof detail,
             "the body must be a JSON object; it is no JSON at line %d, column %d", error->line,
             error->column);
    answer_problem(call->net, call->conn, 400, "invalid-json", detail, NULL);
}

bool body_open(struct body *body, const struct call *call)
{
    body->call = call;
    body->root = NULL;
    body->wrong[0] = '\0';
    struct slice text = call->request->body;
    if (text.data == NULL)
        text = (struct slice){"", 0};
    if (flat_parse(&body->flat, text))
        return true;
    json_error_t error;
    /* Integers as reals: one beyond 64 bits is JSON too, and is refused with its field's name. */
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    body->root = json_loadb(text.data, text.len, flags, &error);
    if (body->root != NULL && json_is_object(body->root))
        return true;
    if (body->root == NULL)
        refuse(call, text, &error);
    else
        answer_problem(call->net, call->conn, 400, "invalid-json", "the body must be a JSON object",
                       NULL);
    body_close(body);
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

/* A member's value, whichever parser found it. A string that cannot be a name (text.h) is VALUE_OTHER. */
struct value {
    enum { VALUE_ABSENT, VALUE_STRING, VALUE_INTEGER, VALUE_OTHER } type;
    struct slice string;
    int64_t integer;
};

static struct value flat_value(const struct flat_field *field)
{
    if (field == NULL)
        return (struct value){.type = VALUE_ABSENT};
    return (struct value){.type = field->string.data != NULL ? VALUE_STRING : VALUE_INTEGER,
                          .string = field->string,
                          .integer = field->integer};
}

/* To JSON Schema, and so to the OpenAPI document, 2.0 is an integer. Beyond 2^53 a double is not exact. */
static bool is_whole(double real)
{
    static const double exact_max = 9007199254740992.0;
    return real >= -exact_max && real <= exact_max && real == (double)(int64_t)real;
}

static struct value tree_value(const json_t *member)
{
    if (member == NULL || json_is_null(member))
        return (struct value){.type = VALUE_ABSENT};
    if (json_is_string(member)) {
        struct slice string = {json_string_value(member), json_string_length(member)};
        return (struct value){.type = text_is_name(string.data, string.len) ? VALUE_STRING
                                                                            : VALUE_OTHER,
                              .string = string};
    }
    if (json_is_real(member) && is_whole(json_real_value(member)))
        return (struct value){.type = VALUE_INTEGER, .integer = (int64_t)json_real_value(member)};
    return (struct value){.type = VALUE_OTHER};
}

/* The member's value; notes it when a required one is missing. null counts as missing. */
static struct value value_of(struct body *body, const char *field, enum presence presence)
{
    struct value value = body->root != NULL ? tree_value(json_object_get(body->root, field))
                                            : flat_value(flat_find(&body->flat, field));
    if (value.type == VALUE_ABSENT && presence == REQUIRED)
        body_wrong(body, field, "is required");
    return value;
}

struct slice body_string(struct body *body, const char *field, size_t min, size_t max,
                         enum presence presence)
{
    struct value value = value_of(body, field, presence);
    if (value.type == VALUE_ABSENT)
        return (struct slice){NULL, 0};
    if (value.type == VALUE_STRING && value.string.len >= min && value.string.len <= max)
        return value.string;
    char must[96];
    snprintf(must, sizeof must, "must be a string of %zu to %zu bytes without control characters",
             min, max);
    body_wrong(body, field, must);
    return (struct slice){NULL, 0};
}

int64_t body_integer(struct body *body, const char *field, int64_t min, int64_t max,
                     enum presence presence, int64_t fallback)
{
    struct value value = value_of(body, field, presence);
    if (value.type == VALUE_ABSENT)
        return fallback;
    if (value.type == VALUE_INTEGER && value.integer >= min && value.integer <= max)
        return value.integer;
    char must[96];
    snprintf(must, sizeof must, "must be an integer from %lld to %lld", (long long)min,
             (long long)max);
    body_wrong(body, field, must);
    return fallback;
}

int64_t body_time(struct body *body, const char *field)
{
    struct value value = value_of(body, field, REQUIRED);
    int64_t wall_ms = -1;
    if (value.type == VALUE_ABSENT)
        return 0;
    if (value.type == VALUE_INTEGER)
        wall_ms = value.integer;
    else if (value.type == VALUE_STRING &&
             !timestamp_parse(value.string.data, value.string.len, &wall_ms))
        wall_ms = -1;
    if (wall_ms < 0 || wall_ms > WALL_MS_MAX)
        body_wrong(body, field, "must be a time: ISO 8601 with a zone, or epoch milliseconds");
    return wall_ms;
}
