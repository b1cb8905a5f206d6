/*
 * fields.c: see fields.h.
 *
 * Thread: any. In: text of an object. Out: its members. Fails: by `good` false.
 */
#include "load/fields.h"

#include <string.h>

static void skip_space(struct fields *f)
{
    while (f->at < f->end && (*f->at == ' ' || *f->at == '\n' || *f->at == '\r' || *f->at == '\t'))
        f->at++;
}

static bool take(struct fields *f, char wanted)
{
    skip_space(f);
    if (f->at == f->end || *f->at != wanted)
        return false;
    f->at++;
    return true;
}

static bool fault(struct fields *f)
{
    f->good = false;
    return false;
}

/* The opening quote has been taken. */
static bool take_string(struct fields *f, struct span *string)
{
    string->data = f->at;
    for (; f->at < f->end && *f->at != '"'; f->at++)
        if (*f->at == '\\')
            f->at++;
    if (f->at >= f->end)
        return fault(f);
    string->len = (size_t)(f->at++ - string->data);
    return true;
}

/* A number, a word, or a nested value with its brackets. */
static bool take_other(struct fields *f, struct span *value)
{
    struct span inner;
    int depth = 0;
    value->data = f->at;
    for (; f->at < f->end; f->at++) {
        char c = *f->at;
        if (c == '"') {
            f->at++;
            if (!take_string(f, &inner))
                return false;
            f->at--;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (depth == 0 && (c == ',' || c == '}')) {
            break;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    value->len = (size_t)(f->at - value->data);
    while (value->len > 0 && strchr(" \r\n\t", value->data[value->len - 1]) != NULL)
        value->len--;
    return value->len > 0 && depth == 0 ? true : fault(f);
}

struct fields fields_of(const char *json, size_t len)
{
    struct fields fields = {.at = json, .end = json + len};
    fields.good = take(&fields, '{');
    return fields;
}

bool fields_next(struct fields *f, struct field *field)
{
    if (!f->good || take(f, '}'))
        return false;
    (void)take(f, ',');
    if (!take(f, '"') || !take_string(f, &field->key) || !take(f, ':'))
        return fault(f);
    return take(f, '"') ? take_string(f, &field->value) : take_other(f, &field->value);
}

struct span field_named(const char *json, size_t len, const char *key)
{
    struct fields fields = fields_of(json, len);
    struct field field;
    while (fields_next(&fields, &field))
        if (span_is(field.key, key))
            return field.value;
    return (struct span){0};
}

bool span_is(struct span span, const char *text)
{
    return span.data != NULL && strlen(text) == span.len && memcmp(span.data, text, span.len) == 0;
}

uint64_t span_number(struct span span, uint64_t otherwise)
{
    uint64_t number = 0;
    if (span.data == NULL || span.len == 0 || span.len > 19)
        return otherwise;
    for (size_t i = 0; i < span.len; i++) {
        if (span.data[i] < '0' || span.data[i] > '9')
            return otherwise;
        number = number * 10 + (uint64_t)(span.data[i] - '0');
    }
    return number;
}
