/*
 * query.c: fuzz target: requests for a stream: Last-Event-ID, query string, user id (see fuzz.h).
 * The input's lines: a decimal number or anything else; the header; the query string; the user id.
 *
 * Must hold, for all that can be part of a request:
 *   - header and query are understood as by a second reading of the contract: the number (or that
 *     there is none), the types, the sale; or refused with the right status
 *   - a number, sent as the header or as ?lastEventId=, is read back as that number
 *   - so is a user id through percent-encoding; one that no buyer can have is refused
 *
 * Thread: libFuzzer's one.
 */
#include <jansson.h>
#include <string.h>

#include "tests/fuzz/front.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_MAX = 2000, REQUEST_ROOM = 3 * INPUT_MAX + 2048 };

/* Numbers up to here are exact; beyond, no server has such an event. */
static const uint64_t exact_max = 1000000000000000000;

static struct front front;

struct wanted {
    unsigned status; /* 0: a stream */
    bool resume;
    uint64_t after_seq;
    uint32_t kinds;
    bool of_sale;
};

static unsigned ask(const char *path, const char *query, const char *header)
{
    static char request[REQUEST_ROOM];
    int len = snprintf(request, sizeof request,
                       "GET /api/v1%s?%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
                       "%s%s\r\n\r\n",
                       path, query, front_admin_token(&front),
                       header != NULL ? "Last-Event-ID: " : "X: ", header != NULL ? header : "");
    HOLDS(len > 0 && (size_t)len < sizeof request, "the request fits");
    front_talk(&front, request, (size_t)len, NULL);
    struct slice rest = {front.said, front.said_len};
    struct answer answer;
    if (front.handed_over) {
        HOLDS(front.said_len == 0, "the streams' own thread answers");
        return 0;
    }
    HOLDS(front_next_answer(&rest, &answer) && rest.len == 0, "one answer to one request");
    return answer.status;
}

/* ---- a second reading ---- */

static bool all_between(const char *text, char low, char high, const char *but)
{
    for (; *text != '\0'; text++)
        if (*text < low || *text > high || strchr(but, *text) != NULL)
            return false;
    return true;
}

/* The first value of name that is not empty; false when there is none. */
static bool value_in(const char *query, const char *name, char value[INPUT_MAX + 1])
{
    char text[INPUT_MAX + 1], *rest = text;
    snprintf(text, sizeof text, "%s", query);
    while (rest != NULL) {
        char *pair = strsep(&rest, "&"), *equals = strchr(pair, '=');
        if (equals == NULL || equals[1] == '\0')
            continue;
        *equals = '\0';
        if (strcmp(pair, name) == 0) {
            snprintf(value, INPUT_MAX + 1, "%s", equals + 1);
            return true;
        }
    }
    return false;
}

static uint64_t read_number(const char *text)
{
    unsigned __int128 value = 0;
    if (!all_between(text, '0', '9', ""))
        return UINT64_MAX;
    for (; *text != '\0' && value <= exact_max; text++)
        value = value * 10 + (unsigned)(*text - '0');
    return value > exact_max ? UINT64_MAX : (uint64_t)value;
}

/* Decodes in place; false if the text is not valid percent-encoding. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        char byte = *from;
        if (byte == '%') {
            const char digits[3] = {from[1], from[1] != '\0' ? from[2] : '\0', '\0'};
            if (strspn(digits, "0123456789abcdefABCDEF") != 2)
                return false;
            byte = (char)strtoul(digits, NULL, 16);
            from += 2;
        }
        if (byte == '\0')
            return false; /* in no name of a type, and the end of a C string */
        *to++ = byte;
    }
    *to = '\0';
    return true;
}

static bool read_types(char *types, uint32_t *kinds)
{
    if (!decode(types))
        return false;
    size_t len = strlen(types);
    if (len > 0 && types[len - 1] == ',')
        types[len - 1] = '\0'; /* one comma may end the list */
    for (char *rest = types; rest != NULL;) {
        const char *name = strsep(&rest, ",");
        uint32_t named = 0; /* more than one bit for a name that two kinds share */
        for (int kind = 0; kind < EVENT_KIND_COUNT; kind++)
            if (strcmp(event_row((enum event_kind)kind)->wire_name, name) == 0)
                named |= 1u << kind;
        if (named == 0)
            return false;
        *kinds |= named;
    }
    return true;
}

static const char *without_outer_blanks(const char *header, char text[INPUT_MAX + 1])
{
    snprintf(text, INPUT_MAX + 1, "%s", header + strspn(header, " \t"));
    for (size_t len = strlen(text); len > 0 && strchr(" \t", text[len - 1]) != NULL; len--)
        text[len - 1] = '\0';
    return text;
}

static struct wanted read_wanted(const char *query, const char *header)
{
    struct wanted wanted = {.status = 400};
    char value[INPUT_MAX + 1], text[INPUT_MAX + 1];
    if (!value_in(query, "types", value))
        wanted.kinds = UINT32_MAX;
    else if (!read_types(value, &wanted.kinds))
        return wanted;
    const char *last = without_outer_blanks(header, text);
    if (*last == '\0')
        last = value_in(query, "lastEventId", value) ? value : NULL;
    wanted.resume = last != NULL;
    if (last != NULL)
        wanted.after_seq = read_number(last);
    wanted.of_sale = value_in(query, "saleId", value);
    bool known = false;
    for (uint32_t i = 0; i < engine_sale_count(&front.rig.engine); i++) {
        const char *id = engine_sale_at(&front.rig.engine, i)->id;
        known = known || (strlen(value) == ID_CHARS && memcmp(value, id, ID_CHARS) == 0);
    }
    wanted.status = wanted.of_sale && !known ? 404 : 0;
    return wanted;
}

static void check_reading(const char *query, const char *header)
{
    if (!all_between(query, 0x21, 0x7e, "#") || !all_between(header, 0x20, 0x7e, ""))
        return;
    struct wanted wanted = read_wanted(query, header);
    unsigned status = ask("/events/stream", query, header);
    HOLDS(status == wanted.status, "both readings of the contract have the same answer");
    if (status != 0)
        return;
    const struct subscription *sub = &front.subscription;
    HOLDS(sub->kind == STREAM_EVENTS && sub->resume == wanted.resume, "the stream that was asked");
    HOLDS(wanted.after_seq == UINT64_MAX ? sub->after_seq > exact_max
                                         : sub->after_seq == wanted.after_seq,
          "it begins where it should");
    HOLDS(sub->kinds == wanted.kinds && (sub->sale != NULL) == wanted.of_sale,
          "with the types and the sale that were asked");
}

/* ---- there and back ---- */

static void check_number(uint64_t number)
{
    char decimal[32], query[64];
    snprintf(decimal, sizeof decimal, "%llu", (unsigned long long)number);
    snprintf(query, sizeof query, "lastEventId=%s", decimal);
    HOLDS(ask("/sales/events", "", decimal) == 0 && front.subscription.resume &&
              front.subscription.after_seq == number,
          "an id as header is that id");
    HOLDS(ask("/sales/events", query, NULL) == 0 && front.subscription.resume &&
              front.subscription.after_seq == number,
          "an id in the query is that id");
}

/* Whether a C1 control character in UTF-8 begins there. */
static bool is_c1(struct slice text, size_t at)
{
    return (unsigned char)text.data[at] == 0xc2 && at + 1 < text.len &&
           (unsigned char)text.data[at + 1] < 0xa0;
}

static bool may_be_user(struct slice user)
{
    for (size_t i = 0; i < user.len; i++)
        if ((unsigned char)user.data[i] < 0x20 || user.data[i] == 0x7f || is_c1(user, i))
            return false;
    json_t *string = json_stringn(user.data, user.len);
    json_decref(string);
    return string != NULL && user.len >= 1 && user.len <= BUYER_NAME_BYTES_MAX;
}

/* Asks with each byte as %xx by chance; always so for those that cannot be part of a path. */
static void check_user(struct slice user, struct random *dice)
{
    char path[3 * 80 + 64];
    if (user.len > 80)
        return;
    int len = snprintf(path, sizeof path, "/users/");
    for (size_t i = 0; i < user.len; i++) {
        unsigned char byte = (unsigned char)user.data[i];
        bool plain = byte > 0x20 && byte < 0x7f && strchr("%/?#", byte) == NULL;
        len += snprintf(path + len, sizeof path - (size_t)len,
                        plain && random_chance(dice, 1, 2) ? "%c" : "%%%02x", byte);
    }
    snprintf(path + len, sizeof path - (size_t)len, "/notifications/stream");
    unsigned status = ask(path, "", NULL), expected = may_be_user(user) ? 0 : 400;
    HOLDS(status == (user.len == 0 ? 404 : expected), "users have streams, nobody else");
    if (status == 0)
        HOLDS(front.subscription.kind == STREAM_USER && front.subscription.user_bytes == user.len &&
                  memcmp(front.subscription.user, user.data, user.len) == 0,
              "a user id goes round");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (front.net.server == NULL)
        front_open(&front);
    if (size > INPUT_MAX || (size > 0 && memchr(data, '\0', size) != NULL))
        return 0;
    struct random dice = random_of(data, size);
    struct slice rest = {(const char *)data, size};
    char number[INPUT_MAX + 1], header[INPUT_MAX + 1], query[INPUT_MAX + 1];
    char *const lines[] = {number, header, query};
    for (int i = 0; i < 3; i++) {
        struct slice line = take_line(&rest);
        snprintf(lines[i], INPUT_MAX + 1, "%.*s", (int)line.len, line.data);
    }
    check_number(strtoull(number, NULL, 10) % exact_max);
    check_reading(query, header);
    check_user(rest, &dice);
    return 0;
}
