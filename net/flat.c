/*
 * flat.c: see flat.h. One pass, no allocation.
 *
 * Thread: any; pure. Fails: by "not flat".
 */
#include "net/flat.h"

#include <string.h>

enum { INTEGER_DIGITS_MAX = 18 };

struct scan {
    const char *at, *end;
};

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

/* Skips white space, then takes the given character. */
static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* A string of printable ASCII without escapes. */
static bool take_string(struct scan *s, struct slice *string)
{
    if (!take(s, '"'))
        return false;
    const char *start = s->at;
    while (s->at < s->end && *s->at >= 0x20 && *s->at < 0x7f && *s->at != '"' && *s->at != '\\')
        s->at++;
    if (s->at == s->end || *s->at != '"')
        return false;
    *string = (struct slice){start, (size_t)(s->at - start)};
    s->at++;
    return true;
}

static bool take_integer(struct scan *s, int64_t *integer)
{
    skip_space(s);
    bool negative = s->at < s->end && *s->at == '-';
    s->at += negative;
    const char *start = s->at;
    int64_t value = 0;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && s->at - start < INTEGER_DIGITS_MAX)
        value = value * 10 + (*s->at++ - '0');
    size_t digits = (size_t)(s->at - start);
    /* The value must end here: "1.5", "1e3" and longer numbers are not flat. */
    bool ends = s->at < s->end && strchr(",} \t\r\n", *s->at) != NULL && *s->at != '\0';
    if (digits == 0 || (digits > 1 && *start == '0') || !ends)
        return false;
    *integer = negative ? -value : value;
    return true;
}

static bool take_field(struct scan *s, struct flat *flat)
{
    if (flat->count == FLAT_FIELDS_MAX)
        return false;
    struct flat_field *field = &flat->fields[flat->count];
    *field = (struct flat_field){.string = {NULL, 0}};
    if (!take_string(s, &field->name) || !take(s, ':'))
        return false;
    for (uint32_t i = 0; i < flat->count; i++)
        if (flat->fields[i].name.len == field->name.len &&
            memcmp(flat->fields[i].name.data, field->name.data, field->name.len) == 0)
            return false;
    flat->count++;
    skip_space(s);
    if (s->at < s->end && *s->at == '"')
        return take_string(s, &field->string);
    return take_integer(s, &field->integer);
}

bool flat_parse(struct flat *flat, struct slice text)
{
    struct scan s = {text.data, text.data + text.len};
    flat->count = 0;
    if (!take(&s, '{'))
        return false;
    if (!take(&s, '}')) {
        do {
            if (!take_field(&s, flat))
                return false;
        } while (take(&s, ','));
        if (!take(&s, '}'))
            return false;
    }
    skip_space(&s);
    return s.at == s.end;
}

const struct flat_field *flat_find(const struct flat *flat, const char *name)
{
    size_t len = strlen(name);
    for (uint32_t i = 0; i < flat->count; i++)
        if (flat->fields[i].name.len == len && memcmp(flat->fields[i].name.data, name, len) == 0)
            return &flat->fields[i];
    return NULL;
}
