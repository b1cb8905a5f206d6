/*
 * flat.h: parses the JSON that clients nearly always send, one flat object of plain strings and integers,
 * without a tree.
 *
 * A profile of purchases showed a tenth of the net thread's time in jansson and its allocations.
 * This scanner takes what it can take without doubt and says "not flat" to everything else
 * (escapes, non-ASCII, nesting, true, null, fractions, repeated keys, and of course bad JSON),
 * which then goes to jansson: so strictness and error messages are in one place.
 *
 * Thread: any; pure. Slices point into the text.
 */
#ifndef FLASHD_NET_FLAT_H
#define FLASHD_NET_FLAT_H

#include "net/http.h"

enum { FLAT_FIELDS_MAX = 8 };

struct flat_field {
    struct slice name;
    struct slice string; /* data NULL for an integer */
    int64_t integer;
};

struct flat {
    uint32_t count;
    struct flat_field fields[FLAT_FIELDS_MAX];
};

/* False: not flat, but it may be JSON. */
bool flat_parse(struct flat *flat, struct slice text);
/* The field, or NULL. */
const struct flat_field *flat_find(const struct flat *flat, const char *name);

#endif
