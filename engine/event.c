/*
 * event.c: the table of event.h.
 *
 * Thread: any; constants. In: a kind. Out: its row. Cannot fail.
 */
#include "engine/event.h"

#include "engine/check.h"

static const struct event_row rows[EVENT_KIND_COUNT] = {
#define X(name, wire, state) [EVENT_##name] = {wire, state},
    EVENTS(X)
#undef X
};

const struct event_row *event_row(enum event_kind kind)
{
    MUST(kind < EVENT_KIND_COUNT, "an event kind outside the table");
    return &rows[kind];
}
