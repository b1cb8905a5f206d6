/*
 * json.c: fuzz target: JSON bodies (see fuzz.h). The first byte chooses the path, the rest is the body.
 *
 * Must hold for any body:
 *   - what the quick parser (net/flat.c) accepts, jansson accepts too, with the same fields
 *   - the same object written so that the quick parser does not accept it gets the same answer
 *   - what jansson does not accept as an object is 400 invalid-json; or, if it is JSON so far, invalid-request
 *   - a time that is understood, written back, is understood as the same moment
 *
 * Thread: libFuzzer's one.
 */
#include <jansson.h>
#include <string.h>

#include "engine/now.h"
#include "net/flat.h"
#include "net/timestamp.h"
#include "tests/fuzz/front.h"
#include "tests/fuzz/fuzz.h"

enum { HEAD_ROOM = 1024 };

/* The name of a member that no handler knows, and whose value is not flat. */
static const char mark[] = "~";

static json_t *tree_of(struct slice text)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    return json_loadb(text.data, text.len, flags, NULL);
}

static void compare_parsers(struct slice text, const json_t *tree)
{
    struct flat flat;
    if (!flat_parse(&flat, text))
        return;
    HOLDS(json_is_object(tree) && json_object_size(tree) == flat.count,
          "what is flat is an object of as many members");
    for (uint32_t i = 0; i < flat.count; i++) {
        const struct flat_field *field = &flat.fields[i];
        char name[HTTP_BODY_BYTES_MAX + 1];
        memcpy(name, field->name.data, field->name.len);
        name[field->name.len] = '\0';
        const json_t *value = json_object_get(tree, name);
        if (field->string.data == NULL)
            HOLDS(json_is_real(value) && json_real_value(value) == (double)field->integer,
                  "both parsers read the same number");
        else
            HOLDS(json_is_string(value) && json_string_length(value) == field->string.len &&
                      memcmp(json_string_value(value), field->string.data, field->string.len) == 0,
                  "both parsers read the same string");
    }
}

static void check_times(json_t *tree)
{
    const char *key;
    json_t *value;
    json_object_foreach(tree, key, value)
    {
        char buffer[TEXT_TIME_CHARS + 1];
        struct text text = text_in(buffer, sizeof buffer);
        int64_t at_ms, again_ms = -1;
        if (!json_is_string(value) ||
            !timestamp_parse(json_string_value(value), json_string_length(value), &at_ms) ||
            at_ms > WALL_MS_MAX)
            continue;
        text_time(&text, at_ms);
        HOLDS(timestamp_parse(text.start, text.len, &again_ms) && again_ms == at_ms,
              "a time written back is the same time");
    }
}

static void ask(struct front *f, uint8_t which, struct slice body)
{
    static const char *const paths[] = {"/buy", "/paid", "/pay", "/cancel", "/sales", NULL};
    static char request[HEAD_ROOM + HTTP_BODY_BYTES_MAX];
    char eligible[64];
    snprintf(eligible, sizeof eligible, "/sales/%.24s/eligible", f->rig.sale->id);
    const char *path = paths[which % (sizeof paths / sizeof *paths)];
    int head = snprintf(request, HEAD_ROOM,
                        "POST /api/v1%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        path != NULL ? path : eligible, front_admin_token(f), body.len);
    if (body.len > 0)
        memcpy(request + head, body.data, body.len);
    front_talk(f, request, (size_t)head + body.len, NULL);
}

static struct answer answer_of(const struct front *f)
{
    struct slice rest = {f->said, f->said_len};
    struct answer answer = {0};
    HOLDS(front_next_answer(&rest, &answer) && rest.len == 0, "one answer to one request");
    return answer;
}

static bool says(const struct answer *answer, const char *word)
{
    return memmem(answer->body.data, answer->body.len, word, strlen(word)) != NULL;
}

/* The same members, with all but ASCII escaped, and one member more. */
static void ask_otherwise(struct front *f, uint8_t which, json_t *tree)
{
    struct flat flat;
    HOLDS(json_object_set_new(tree, mark, json_pack("[b]", 1)) == 0, "memory");
    char *text = json_dumps(tree, JSON_ENSURE_ASCII | JSON_COMPACT);
    HOLDS(text != NULL, "what was read can be written");
    struct slice body = {text, strlen(text)};
    if (body.len <= HTTP_BODY_BYTES_MAX) {
        HOLDS(!flat_parse(&flat, body), "an array is not flat");
        ask(f, which, body);
    } else {
        f->said_len = 0;
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct front as_sent, otherwise;
    if (as_sent.net.server == NULL) {
        front_open(&as_sent);
        front_open(&otherwise);
    }
    if (size < 1 || size - 1 > HTTP_BODY_BYTES_MAX)
        return 0;
    struct slice body = {(const char *)data + 1, size - 1};
    json_t *tree = tree_of(body);
    compare_parsers(body, tree);
    ask(&as_sent, data[0], body);
    struct answer answer = answer_of(&as_sent);
    if (!json_is_object(tree)) {
        HOLDS(answer.status == 400 && (says(&answer, "\"invalid-json\"") ||
                                       (tree == NULL && says(&answer, "\"invalid-request\""))),
              "what is no object is refused as such");
    } else if (json_object_get(tree, mark) == NULL) {
        check_times(tree);
        ask_otherwise(&otherwise, data[0], tree);
        HOLDS(otherwise.said_len == 0 ||
                  (otherwise.said_len == as_sent.said_len &&
                   memcmp(otherwise.said, as_sent.said, as_sent.said_len) == 0),
              "the same object, written another way, has the same answer");
    }
    json_decref(tree);
    return 0;
}
