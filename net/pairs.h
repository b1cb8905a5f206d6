/*
 * pairs.h: looking up a name in name=value lists: query strings ('&') and cookies (';').
 *
 * Thread: any; pure. Slices point into what was given.
 */
#ifndef FLASHD_NET_PAIRS_H
#define FLASHD_NET_PAIRS_H

#include "net/http.h"

/* The first non-empty value of "name", as sent; data NULL if there is none. */
struct slice pairs_value(struct slice parts, char separator, const char *name);
/* Without spaces and tabs around it. */
struct slice slice_trimmed(struct slice text);
bool slice_is_blank(char c);

#endif
