/*
 * ask.h: one HTTP request at a time, waiting for its answer, for use before and after the load.
 *
 * Thread: main. In: a site, a method, a path below the site's prefix. Out: status and body. Fails: false with a line;
 * an answer of any status is no failure.
 */
#ifndef FLASHLOAD_ASK_H
#define FLASHLOAD_ASK_H

#include "load/site.h"

struct reply {
    unsigned status;
    char *body; /* owned; ends with a NUL that body_bytes does not count */
    size_t body_bytes;
};

/* body: JSON, or NULL. Sends the site's token if it has one. */
bool ask(const struct site *site, const char *method, const char *path, const char *body,
         struct reply *reply, char *error, size_t error_bytes);
void reply_free(struct reply *reply);

#endif
