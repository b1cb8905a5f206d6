/*
 * watcher.c: buyers' own streams (crowd.h): their events are timed, kept for the audit, and passed to the buyer. A
 * stream that is cut off is opened again with its last id.
 *
 * Thread: buyers. Fails: a stream that is refused or never begins ends the run with a line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "load/crowd.h"

static struct watcher *watcher_of(struct crowd *c, const struct link *link)
{
    return &c->watchers[link->index - c->run->options.connections];
}

void watcher_opens(struct crowd *c, struct link *link)
{
    struct watcher *w = watcher_of(c, link);
    char path[160];
    (void)snprintf(path, sizeof path, "/users/%s-%" PRIu32 "/notifications/stream%s%s",
                   c->run->ledger.tag, w->buyer, c->run->options.sales == 1 ? "?saleId=" : "",
                   c->run->options.sales == 1 ? c->run->sales[0].id : "");
    request_stream(&c->run->site, link, path, true, w->last_id);
    link_send(link);
}

/* Measures from the reply to this frame, for events that answer a request. */
static void time_frame(struct crowd *c, uint64_t seq, enum seen_kind kind)
{
    if (seen_is_an_answer(kind))
        measure(&c->run->buyers, LATENCY_FRAME,
                ledger_since_reply_ns(&c->run->ledger, seq, c->loop.now_ns));
}

static void keep_event(struct crowd *c, const struct watcher *w, uint64_t seq, enum seen_kind kind)
{
    struct own_stream *own = chunks_get(&c->run->ledger.owns, (uint64_t)(w - c->watchers));
    if (own->count < OWN_EVENTS_MAX)
        own->events[own->count] = (struct own_event){seq, (uint8_t)kind};
    own->count++;
}

struct hearing {
    struct crowd *crowd;
    struct watcher *watcher;
};

static void heard(void *context, const struct sse_event *event)
{
    const struct hearing *h = context;
    struct watcher *w = h->watcher;
    struct crowd *c = h->crowd;
    uint64_t seq = span_number(event->id, 0);
    enum seen_kind kind = seen_kind_named(event->type);
    if (span_is(event->type, "snapshot") && !w->ready) {
        w->ready = true;
        atomic_fetch_add_explicit(&c->run->watchers_open, 1, memory_order_relaxed);
    }
    if (kind != SEEN_OTHER && seen_is_of_order(kind)) {
        if (seq <= w->last_id)
            finding(&c->run->buyers_findings, FINDING_REPEATED_EVENT,
                    "the own stream of buyer %" PRIu32 " carried seq %" PRIu64
                    " after seq %" PRIu64,
                    w->buyer, seq, w->last_id);
        keep_event(c, w, seq, kind);
        atomic_fetch_add_explicit(&c->run->own_frames, 1, memory_order_relaxed);
        measures_count_carried(&c->run->buyers, COUNT_FRAMES);
        time_frame(c, seq, kind);
        buyer_hears(c, w->buyer, kind);
    }
    if (seq > w->last_id)
        w->last_id = seq;
}

void watcher_body(struct crowd *c, struct link *link, const char *bytes, size_t len)
{
    struct hearing hearing = {c, watcher_of(c, link)};
    crowd_not_opening(c, &hearing.watcher->opening);
    if (link->parser.status_code != 200) {
        run_fail_refused(c->run, "a buyer's own stream", link->parser.status_code, bytes, len);
        link_close(link);
    } else if (!sse_feed(&hearing.watcher->sse, bytes, len, heard, &hearing)) {
        run_fail(c->run, "no memory for a stream");
    }
}

void watcher_closed(struct crowd *c, struct link *link)
{
    struct watcher *w = watcher_of(c, link);
    sse_close(&w->sse);
    if (atomic_load_explicit(&c->run->stop, memory_order_relaxed))
        return;
    c->run->buyers.counts[COUNT_STREAMS_LOST]++;
    if (w->lives++ < STREAM_LIVES_MAX)
        link_connect(link);
    else if (!w->ready)
        run_fail(c->run, "a buyer's own stream was closed before it began: %s",
                 link->error != 0 ? strerror(link->error) : "by the server");
}
