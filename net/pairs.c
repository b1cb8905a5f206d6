/*
 * pairs.c: see pairs.h.
 *
 * Thread: any; pure. Fails: never; a missing value has data NULL.
 */
#include "net/pairs.h"

#include <string.h>

static const struct slice nothing = {NULL, 0};

bool slice_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trimmed(struct slice text)
{
    while (text.len > 0 && slice_is_blank(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && slice_is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

/* Cuts rest at the first separator and returns what stood before it. */
static struct slice next_part(struct slice *rest, char separator)
{
    const char *end = memchr(rest->data, separator, rest->len);
    struct slice part = {rest->data, end == NULL ? rest->len : (size_t)(end - rest->data)};
    size_t taken = part.len + (end == NULL ? 0 : 1);
    rest->data += taken;
    rest->len -= taken;
    return part;
}

/* The first non-empty value of "name" among name=value parts; data NULL if there is none. */
struct slice pairs_value(struct slice parts, char separator, const char *name)
{
    const size_t name_len = strlen(name);
    while (parts.data != NULL && parts.len > 0) {
        struct slice part = slice_trimmed(next_part(&parts, separator));
        if (part.len > name_len + 1 && part.data[name_len] == '=' &&
            memcmp(part.data, name, name_len) == 0)
            return (struct slice){part.data + name_len + 1, part.len - name_len - 1};
    }
    return nothing;
}
