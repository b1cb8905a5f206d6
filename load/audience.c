/*
 * audience.c: see audience.h.
 *
 * With a token, link 0 is the observer; all others are spectators. Ids on a stream must grow (if an event has two
 * frames, only the last carries its id). What a public frame says of a seq is kept from the first spectator and
 * compared with what the others are told; the audit compares it with the event.
 *
 * Thread: audience.
 */
#include "load/audience.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/clock.h"
#include "load/crowd.h"

enum { CONNECTING_MAX = 128 };

struct viewer {
    struct sse sse;
    uint64_t last_id;
    uint64_t told_seq; /* a spectator's: of the newest stock told, by an update or a snapshot */
    uint8_t lives;
    bool ready, is_observer;
    bool opening; /* counted in `connecting` until its first bytes come */
};

struct audience {
    struct run *run;
    struct loop loop;
    struct viewer *viewers;
    uint32_t connecting, to_connect;
    uint64_t last_public_seq; /* of the newest event that shows on the public stream */
    struct seen_event *last_of_sale;
    struct chunks answers; /* bool by seq - base_seq: the event answers a buyer of ours */
    struct tick like;      /* the newest counters */
    struct viewer *viewer; /* whose frame is being read */
};

/* ---- events ---- */

static void observe_counters(struct audience *a, const struct seen_event *e)
{
    struct seen_event *last = &a->last_of_sale[e->sale];
    a->like.available += e->available - (uint64_t)last->available;
    a->like.held += e->held - (uint64_t)last->held;
    a->like.sold += e->sold - (uint64_t)last->sold;
    a->like.waiting += e->waiting - (uint64_t)last->waiting;
    *last = *e;
}

static uint32_t number32(struct span value)
{
    uint64_t number = span_number(value, UINT32_MAX);
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

static void read_event(const struct audience *a, struct span data, struct seen_event *e)
{
    struct fields fields = fields_of(data.data, data.len);
    struct field field;
    while (fields_next(&fields, &field)) {
        if (span_is(field.key, "saleId"))
            e->sale = run_sale_of(a->run, field.value);
        else if (span_is(field.key, "transactionId"))
            e->id_hash = ledger_hash(field.value);
        else if (span_is(field.key, "buyerName"))
            e->buyer = ledger_buyer_named(&a->run->ledger, field.value);
        else if (span_is(field.key, "quantity"))
            e->quantity = number32(field.value);
        else if (span_is(field.key, "available"))
            e->available = number32(field.value);
        else if (span_is(field.key, "held"))
            e->held = number32(field.value);
        else if (span_is(field.key, "sold"))
            e->sold = number32(field.value);
        else if (span_is(field.key, "waiting"))
            e->waiting = number32(field.value);
    }
}

static void time_frame(struct audience *a, enum latency latency, uint64_t seq)
{
    measure(&a->run->audience, latency,
            ledger_since_reply_ns(&a->run->ledger, seq, a->loop.now_ns));
}

static void time_answer(struct audience *a, uint64_t seq)
{
    uint64_t base_seq = a->run->ledger.base_seq;
    bool *answer = seq > base_seq ? chunks_make(&a->answers, seq - base_seq) : NULL;
    if (answer != NULL)
        *answer = true;
    time_frame(a, LATENCY_FRAME_EVENTS, seq);
}

/* A public frame does not say of what event it is. The stream of all events has, or the reply; before both, the frame
 * cannot be told from one that answers nobody, and is not timed. */
static void time_public(struct audience *a, uint64_t seq)
{
    const bool *answer = chunks_get(&a->answers, seq - a->run->ledger.base_seq);
    if ((answer != NULL && *answer) || ledger_reply_ns(&a->run->ledger, seq) != 0)
        time_frame(a, LATENCY_FRAME_PUBLIC, seq);
}

static void observe(struct audience *a, uint64_t seq, enum seen_kind kind, struct span data)
{
    struct run *run = a->run;
    struct seen_event *e = chunks_make(&run->ledger.events, run->ledger.event_count);
    if (e == NULL) {
        run_fail(run, "no memory for events");
        return;
    }
    *e = (struct seen_event){.seq = seq, .buyer = NO_BUYER, .sale = NO_SALE, .kind = (uint8_t)kind};
    read_event(a, data, e);
    run->ledger.event_count++;
    if (e->sale != NO_SALE) {
        observe_counters(a, e);
        if (kind == SEEN_SALE_SOLD_OUT)
            atomic_fetch_add_explicit(&run->sold_out_told, 1, memory_order_release);
        if (seen_is_of_order(kind)) {
            measures_count_carried(&run->audience, COUNT_DURABLE);
            if (kind != SEEN_REFUND_DUE)
                a->last_public_seq = seq;
            if (run_is_watched(run, e->buyer) && seq > a->viewer->last_id)
                atomic_fetch_add_explicit(&run->own_frames_owed, 1, memory_order_relaxed);
        }
        if (seen_is_an_answer(kind) && e->buyer != NO_BUYER)
            time_answer(a, seq);
    }
    atomic_store_explicit(&run->observed_seq, seq, memory_order_release);
}

static void read_public(const struct audience *a, struct span data, struct public_state *said)
{
    struct fields fields = fields_of(data.data, data.len);
    struct field field;
    while (fields_next(&fields, &field)) {
        if (span_is(field.key, "saleId"))
            said->sale_plus_1 = run_sale_of(a->run, field.value) + 1; /* NO_SALE + 1 is 0 */
        else if (span_is(field.key, "remainingQty"))
            said->remaining = number32(field.value);
        else if (span_is(field.key, "available"))
            said->available = number32(field.value);
    }
}

static void spectate(struct audience *a, uint64_t seq, struct span data)
{
    struct run *run = a->run;
    struct public_state said = {0}, *kept;
    read_public(a, data, &said);
    measures_count_carried(&run->audience, COUNT_FRAMES);
    if (said.sale_plus_1 == 0 || seq <= run->ledger.base_seq)
        return;
    time_public(a, seq);
    kept = chunks_make(&run->ledger.publics, seq - run->ledger.base_seq);
    if (kept == NULL)
        run_fail(run, "no memory for the public stream");
    else if (kept->sale_plus_1 == 0)
        *kept = said;
    else if (memcmp(kept, &said, sizeof said) != 0)
        finding(&run->audience_findings, FINDING_WRONG_COUNTER,
                "two spectators were told different things of seq %" PRIu64, seq);
}

static void begun(struct audience *a)
{
    struct viewer *v = a->viewer;
    if (v->ready)
        return;
    v->ready = true;
    atomic_fetch_add_explicit(v->is_observer ? &a->run->observer_open : &a->run->spectators_open, 1,
                              memory_order_relaxed);
}

static void came(void *context, const struct sse_event *event)
{
    struct audience *a = context;
    struct viewer *v = a->viewer;
    uint64_t seq = span_number(event->id, 0);
    enum seen_kind kind = seen_kind_named(event->type);
    if (span_is(event->type, "snapshot"))
        begun(a);
    bool counted = v->is_observer ? kind != SEEN_OTHER : span_is(event->type, "sale_update");
    if (counted && seq <= v->last_id)
        finding(&a->run->audience_findings, FINDING_REPEATED_EVENT,
                "%s carried seq %" PRIu64 " after seq %" PRIu64,
                v->is_observer ? "the stream of all events" : "the public stream", seq, v->last_id);
    if (counted && v->is_observer)
        observe(a, seq, kind, event->data);
    else if (counted)
        spectate(a, seq, event->data);
    if ((counted || span_is(event->type, "snapshot")) && seq > v->told_seq)
        v->told_seq = seq;
    if (seq > v->last_id)
        v->last_id = seq;
}

/* ---- links ---- */

static void on_open(void *self, struct link *link)
{
    struct audience *a = self;
    struct viewer *v = &a->viewers[link->index];
    bool one = a->run->options.sales == 1;
    char path[160];
    (void)snprintf(path, sizeof path, "%s%s%s", v->is_observer ? "/events/stream" : "/sales/events",
                   one ? "?saleId=" : "", one ? a->run->sales[0].id : "");
    request_stream(&a->run->site, link, path, v->is_observer, v->last_id);
    link_send(link);
}

static void not_opening(struct audience *a, struct viewer *v)
{
    a->connecting -= v->opening;
    v->opening = false;
}

static void on_body(void *self, struct link *link, const char *bytes, size_t len)
{
    struct audience *a = self;
    a->viewer = &a->viewers[link->index];
    not_opening(a, a->viewer);
    if (link->parser.status_code != 200) {
        run_fail_refused(
            a->run, a->viewer->is_observer ? "the stream of all events" : "a spectator's stream",
            link->parser.status_code, bytes, len);
        link_close(link);
        return;
    }
    /* The stream of all events has no snapshot: it begins with its first bytes. */
    if (a->viewer->is_observer)
        begun(a);
    if (!sse_feed(&a->viewer->sse, bytes, len, came, a))
        run_fail(a->run, "no memory for a stream");
}

static void on_answer(void *self, struct link *link)
{
    (void)self;
    link_close(link); /* a stream has no end of its own */
}

static void on_closed(void *self, struct link *link)
{
    struct audience *a = self;
    struct viewer *v = &a->viewers[link->index];
    sse_close(&v->sse);
    if (atomic_load_explicit(&a->run->audience_end, memory_order_relaxed) ||
        atomic_load_explicit(&a->run->failed, memory_order_relaxed))
        return;
    a->run->audience.counts[COUNT_STREAMS_LOST]++;
    if (v->lives++ < STREAM_LIVES_MAX)
        link_connect(link);
    else if (!v->ready)
        run_fail(a->run, "a stream was closed before it began: %s",
                 link->error != 0 ? strerror(link->error) : "by the server");
}

/* ---- the thread ---- */

static void count_behind(struct audience *a)
{
    uint32_t behind = 0;
    for (uint32_t i = 0; i < a->loop.link_count; i++)
        behind += !a->viewers[i].is_observer && a->viewers[i].told_seq < a->last_public_seq;
    atomic_store_explicit(&a->run->spectators_behind, behind, memory_order_release);
}

static bool audience_open(struct audience *a, struct run *run)
{
    char error[FAILURE_BYTES];
    const struct loop_owner owner = {a, on_open, on_body, on_answer, on_closed};
    uint32_t observers = run_has_token(run), links = run->options.spectators + observers;
    a->run = run;
    a->viewers = calloc((size_t)links + 1, sizeof *a->viewers);
    a->last_of_sale = calloc(run->options.sales, sizeof *a->last_of_sale);
    if (a->viewers == NULL || a->last_of_sale == NULL || !chunks_open(&a->answers, sizeof(bool))) {
        run_fail(run, "no memory for %u spectators", run->options.spectators);
        return false;
    }
    for (uint32_t i = 0; i < run->options.sales; i++) {
        a->last_of_sale[i].available = (uint32_t)run->sales[i].stock;
        a->like.available += run->sales[i].stock;
    }
    a->viewers[0].is_observer = observers > 0;
    a->to_connect = links;
    if (loop_open(&a->loop, links, &run->site.address, &owner, error, sizeof error))
        return true;
    run_fail(run, "%s", error);
    return false;
}

static void attend(struct audience *a)
{
    struct run *run = a->run;
    while (a->to_connect > 0 && a->connecting < CONNECTING_MAX) {
        uint32_t next = a->loop.link_count - a->to_connect--;
        a->connecting++;
        a->viewers[next].opening = true;
        link_connect(&a->loop.links[next]);
    }
    bool last = atomic_load_explicit(&run->count_end, memory_order_relaxed);
    loop_round(&a->loop, 20 * NS_PER_MS);
    if (!atomic_load_explicit(&run->started, memory_order_acquire))
        return;
    run_tick(run, &run->audience, a->loop.now_ns, &a->like, last);
    if (atomic_load_explicit(&run->loaded, memory_order_acquire))
        count_behind(a);
}

void *audience_run(void *argument)
{
    static struct audience audience; /* large, and there is one */
    struct audience *a = &audience;
    struct run *run = argument;
    (void)pthread_setname_np(pthread_self(), "audience");
    if (audience_open(a, run)) {
        while (!atomic_load_explicit(&run->audience_end, memory_order_relaxed))
            attend(a);
        loop_close(&a->loop);
        for (uint32_t i = 0; i < a->loop.link_count; i++)
            sse_close(&a->viewers[i].sse);
    }
    free(a->viewers);
    free(a->last_of_sale);
    chunks_close(&a->answers);
    return NULL;
}
