/*
 * site.h: where the server is, and the token for it.
 *
 * Thread: main. Fails: false with one line that says what to do about it.
 */
#ifndef FLASHLOAD_SITE_H
#define FLASHLOAD_SITE_H

#include "load/loop.h"
#include "load/options.h"

enum { HOST_BYTES_MAX = 272, PREFIX_BYTES_MAX = 128, TOKEN_BYTES_MAX = 1024 };

struct site {
    char host[HOST_BYTES_MAX]; /* as the Host field wants it: host:port */
    char prefix[PREFIX_BYTES_MAX];
    char token[TOKEN_BYTES_MAX]; /* empty: none */
    struct address address;
};

bool site_parse(struct site *site, const char *url, char *error);
bool site_take_token(struct site *site, const struct options *options, char *error);
/* Whether a flashd answers at the site. */
bool site_probe(const struct site *site, const char *url, char *error);

#endif
