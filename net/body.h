/*
 * body.h: a request's JSON body, and its fields by name, each checked against its bounds.
 *
 * Usage:  struct body body;  if (!body_open(&body, call)) return;   (it has answered 400)
 *         … body_string(&body, "buyerName", …) …  any may fail; the first failure is the one told
 *         if (!body_ok(&body)) return;   (it has answered 400 invalid-request, naming the field)
 *         body_close(&body);
 * Slices point into the body and live until body_close().
 *
 * Thread: the net thread of the connection. Unknown members are ignored; duplicate ones are
 * refused.
 */
#ifndef FLASHD_NET_BODY_H
#define FLASHD_NET_BODY_H

#include <jansson.h>

#include "net/flat.h"
#include "net/routes.h"

struct body {
    const struct call *call;
    struct flat flat; /* the fields, when the body is a flat object … */
    json_t *root;     /* … else jansson's tree of it; NULL for a flat one */
    char wrong[160];  /* the first wrong field, and what it must be; empty for none */
};

bool body_open(struct body *body, const struct call *call);
void body_close(struct body *body);
/* False: has answered 400 invalid-request and closed the body. */
bool body_ok(struct body *body);

enum presence { OPTIONAL, REQUIRED };

/* min..max bytes of UTF-8 without control characters. Absent and optional: data NULL. */
struct slice body_string(struct body *body, const char *field, size_t min, size_t max,
                         enum presence presence);
/* An integer in min..max; absent and optional: fallback. */
int64_t body_integer(struct body *body, const char *field, int64_t min, int64_t max,
                     enum presence presence, int64_t fallback);
/* A required time, in ISO 8601 or epoch milliseconds; returns wall-clock ms. */
int64_t body_time(struct body *body, const char *field);
/* Notes that a field is wrong, for a reason that the caller found. */
void body_wrong(struct body *body, const char *field, const char *must);

#endif
