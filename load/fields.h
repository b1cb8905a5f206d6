/*
 * fields.h: the members of one flat JSON object, read without building a tree: answers and events are short, and
 * come by the hundred thousand a second.
 *
 * Thread: any. In: the text of an object; borrowed. Out: fields that point into it. A nested value is one
 * field. Strings are given as they stand, escapes included: the values that flashload compares (ids, states,
 * names that it chose) contain none. Fails: false for a text that is not an object.
 */
#ifndef FLASHLOAD_FIELDS_H
#define FLASHLOAD_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const char *data; /* NULL: absent */
    size_t len;
};

/* A pass over the members of an object. */
struct fields {
    const char *at, *end;
    bool good; /* false once the text is found not to be an object */
};

struct field {
    struct span key, value; /* a string's value without its quotes */
};

struct fields fields_of(const char *json, size_t len);
/* The next member, or false at the end or at a fault. */
bool fields_next(struct fields *fields, struct field *field);

/* One member's value, or an absent span. */
struct span field_named(const char *json, size_t len, const char *key);

bool span_is(struct span span, const char *text);
/* A non-negative decimal integer; `otherwise` for anything else. */
uint64_t span_number(struct span span, uint64_t otherwise);

#endif
