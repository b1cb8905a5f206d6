/*
 * broadcast.c: the broadcaster's round: new streams, new events, ticks, sends (see broadcast.h, stream.h).
 *
 * Happy path: the journal's wake after a commit -> read_new_events (each encoded once) -> stream_pump for every
 * stream: one send carries all that came since its last one.
 * Without streams it reads nothing, and counts durable events as published once a round, at least every
 * QUIET_SLEEP_MS.
 * Failure modes: an archive that cannot be read is tried again every ARCHIVE_RETRY_MS; rows that somebody changed or
 * removed are skipped, with a line on stderr, and every stream is told. The sale goes on.
 *
 * Thread: broadcaster, except for the functions of broadcast.h that say otherwise.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/diag.h"
#include "engine/lines.h"
#include "net/stream.h"

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES = 16384,
    PAGES_A_ROUND = 8,
    QUIET_SLEEP_MS = 250,
    /* Whether a user's snapshot can be written, if no event or reply says so before. */
    LOOK_AGAIN_MS = 2,
    CLOSE_EVERY_MS = 10 /* while stopping */
};

uint64_t stream_user_data(enum stream_operation op, const struct stream *s)
{
    return (uint64_t)op << 56 | (uint64_t)(s->generation & 0xffffff) << 32 | s->slot;
}

static void arm_event(struct broadcaster *b)
{
    uring_arm_wake(&b->uring, (uint64_t)STREAM_OP_EVENT << 56);
}

/* ---- opening ---- */

static bool allocate_parts(struct broadcaster *b)
{
    bool ok = frames_init(&b->events) && frames_init(&b->updates) && caps_init(&b->caps);
    b->scratch = malloc(SCRATCH_BYTES);
    b->pending_of_sale = calloc(SALES_MAX, sizeof *b->pending_of_sale);
    for (uint32_t i = 0; i < b->options.net_threads; i++)
        ok = handoff_ring_init(&b->inboxes[i], INBOX_SLOTS) && ok;
    return ok && b->scratch != NULL && b->pending_of_sale != NULL;
}

struct broadcaster *broadcast_open(const struct broadcast_options *options, struct engine *engine,
                                   char *error, size_t error_bytes)
{
    struct broadcaster *b = lines_new(sizeof *b);
    if (b == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    b->options = *options;
    b->caps = (struct caps){.streams_max = options->streams_max,
                            .per_address_max = options->streams_per_address_max};
    b->engine = engine;
    b->port = &engine->ports[options->port];
    uring_init(&b->uring);
    if (!allocate_parts(b))
        snprintf(error, error_bytes, "out of memory");
    else if (uring_open(&b->uring, SQ_ENTRIES, CQ_ENTRIES, error, error_bytes))
        return b;
    broadcast_close(b);
    return NULL;
}

void broadcast_close(struct broadcaster *b)
{
    if (b == NULL)
        return;
    uring_close(&b->uring);
    for (uint32_t i = 0; i < b->streams_made; i++) {
        if (b->streams[i]->sub.fd >= 0)
            (void)close(b->streams[i]->sub.fd);
        free(b->streams[i]->out);
        snapshot_let_go(b->streams[i]->snapshot);
        free(b->streams[i]->orders);
        free(b->streams[i]);
    }
    for (uint32_t i = 0; i < b->options.net_threads; i++) {
        struct handoff handoff;
        while (handoff_ring_pop(&b->inboxes[i], &handoff))
            (void)close(handoff.subscription.fd);
        handoff_ring_free(&b->inboxes[i]);
    }
    frames_free(&b->events);
    frames_free(&b->updates);
    caps_free(&b->caps);
    free(b->streams);
    free(b->free_slots);
    free(b->pending);
    free(b->pending_of_sale);
    free(b->scratch);
    snapshot_let_go(b->snapshot);
    free(b);
}

bool broadcast_has_room(const struct broadcaster *b, uint32_t net, uint32_t on_their_way)
{
    return ck_ring_size(&b->inboxes[net].ring) + on_their_way < INBOX_SLOTS - 1;
}

void broadcast_take(struct broadcaster *b, uint32_t net, struct subscription *subscription)
{
    struct handoff handoff = {*subscription};
    bool pushed = handoff_ring_push(&b->inboxes[net], &handoff);
    MUST(pushed, "an inbox full below its bound");
    uring_wake(&b->uring);
}

/* ---- new events ---- */

static int by_seq(const void *a, const void *b)
{
    const struct pending_update *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static void append_frame(struct frames *frames, const struct text *text, struct frame frame)
{
    frame.bytes = (uint32_t)text->len;
    if (frame.count > 0)
        frames_append(frames, frame, text->start);
}

/* Ends the tick: appends the frame of each sale's latest update, in the order of their seqs. */
static void flush_updates(struct broadcaster *b)
{
    char buffer[FRAME_BYTES_MAX];
    if (b->pending_count == 0)
        return;
    qsort(b->pending, b->pending_count, sizeof *b->pending, by_seq);
    for (uint32_t i = 0; i < b->pending_count; i++) {
        const struct pending_update *update = &b->pending[i];
        struct text text = text_in(buffer, sizeof buffer);
        encode_update(&text, b, update);
        const struct frame frame = {.seq = update->seq,
                                    .kind = EVENT_ORDER_RESERVED,
                                    .count = 1,
                                    .sale = update->sale,
                                    .order = update->order};
        append_frame(&b->updates, &text, frame);
        b->pending_of_sale[update->sale->index] = 0;
    }
    b->pending_count = 0;
}

static bool make_room(struct broadcaster *b)
{
    if (b->pending_count < b->pending_room)
        return true;
    uint32_t room = b->pending_room == 0 ? 64 : b->pending_room * 2;
    struct pending_update *grown = realloc(b->pending, room * sizeof *grown);
    if (grown == NULL)
        return false;
    b->pending = grown;
    b->pending_room = room;
    return true;
}

/* Latest wins: a sale has one update a tick. */
static void keep_update(struct broadcaster *b, struct pending_update update)
{
    uint32_t *place = &b->pending_of_sale[update.sale->index];
    if (b->pending_count == 0)
        b->tick_due_mono_ms = b->now.mono_ms + b->options.tick_ms;
    if (*place != 0) {
        b->pending[*place - 1] = update;
        return;
    }
    if (!make_room(b))
        flush_updates(b); /* out of memory: before the tick is over */
    if (b->pending_count == b->pending_room)
        return; /* no memory for a single update: the sale's next event shows the change */
    b->pending[b->pending_count++] = update;
    *place = b->pending_count;
}

static void publish_public(struct broadcaster *b, const struct archived_event *event,
                           const struct order *order, const struct sale *sale)
{
    if (encode_is_update((enum event_kind)event->kind) && b->options.tick_ms > 0) {
        keep_update(b, encode_update_of(event, order, sale));
        return;
    }
    char buffer[FRAME_BYTES_MAX];
    struct text text = text_in(buffer, sizeof buffer);
    flush_updates(b); /* so that ids rise */
    struct frame frame = {.seq = event->seq, .kind = event->kind, .sale = sale, .order = order};
    frame.count = encode_public(&text, b, event, order, sale);
    append_frame(&b->updates, &text, frame);
}

/* From here on, only events after seq become frames. A stream that lacks earlier ones reads them from the archive. */
static void begin_after(struct broadcaster *b, uint64_t seq)
{
    flush_updates(b); /* they belong before seq */
    b->head = seq;
    frames_clear(&b->events, seq);
    frames_clear(&b->updates, seq);
}

/* Skips events whose rows somebody changed or removed. Each stream meets the gap when it reads the archive, and tells
 * its client (G6). A snapshot that is being gathered may miss an order of a skipped event: it looks all of them up
 * anew. */
static void skip_to(struct broadcaster *b, uint64_t seq)
{
    if (seq <= b->head)
        return;
    diag(DIAG_ERROR,
         "events %" PRIu64 " to %" PRIu64 " cannot be told: somebody changed or removed their rows",
         b->head + 1, seq);
    begin_after(b, seq);
    for (uint32_t i = 0; i < b->streams_made && b->looking_up > 0; i++)
        b->streams[i]->lookups_sent = 0;
}

static void note_for_snapshots(struct broadcaster *b, enum event_kind kind, const struct sale *sale,
                               const struct order *order)
{
    for (uint32_t i = 0; i < b->streams_made && b->looking_up > 0 && order != NULL; i++) {
        struct stream *s = b->streams[i];
        if (s->looking_up && stream_wants(s, kind, sale, order))
            (void)snapshot_note_order(b, s, seqmap_order(&b->engine->seqmap, order->seq));
    }
}

static void publish(void *arg, const struct archived_event *event)
{
    struct broadcaster *b = arg;
    const struct sale *sale;
    const struct order *order;
    char buffer[FRAME_BYTES_MAX];
    struct text text = text_in(buffer, sizeof buffer);
    uint64_t committed = log_committed(&b->engine->log);
    skip_to(b, event->seq <= committed ? event->seq - 1 : committed);
    if (event->seq > committed)
        return; /* a row that nobody wrote, or not visible yet */
    if (!stream_can_tell(b, event, &sale, &order)) {
        skip_to(b, event->seq);
        return;
    }
    note_for_snapshots(b, (enum event_kind)event->kind, sale, order);
    encode_event(&text, event);
    const struct frame frame = {
        .seq = event->seq, .kind = event->kind, .count = 1, .sale = sale, .order = order};
    if (!FAULT(FAULT_DROP_EVENT) || event->seq % 5 != 0)
        append_frame(&b->events, &text, frame);
    publish_public(b, event, order, sale);
    b->head = event->seq;
}

static void read_new_events(struct broadcaster *b)
{
    uint64_t committed = log_committed(&b->engine->log);
    if (b->open_count == 0)
        b->head = committed; /* no stream to hand events to */
    for (int page = 0; page < PAGES_A_ROUND && b->head < committed && !broadcast_rests(b); page++) {
        /* Rows past committed_seq may exist but are not visible yet. */
        uint64_t left = committed - b->head;
        uint32_t limit = left < ARCHIVE_PAGE_EVENTS ? (uint32_t)left : ARCHIVE_PAGE_EVENTS;
        int read = b->options.archive.read(b->options.archive.self, b->head, limit, publish, b);
        if (read < 0)
            b->archive_due_mono_ms = b->now.mono_ms + ARCHIVE_RETRY_MS;
        else if (read == 0)
            skip_to(b, committed);
    }
    b->more = b->more || (b->open_count > 0 && b->head < committed && !broadcast_rests(b));
    atomic_store_explicit(&b->engine->published, b->head + (FAULT(FAULT_PUBLISH_AHEAD) ? 1000 : 0),
                          memory_order_release);
}

/* ---- new streams ---- */

/* From here on, events are read and encoded. */
static void begin_listening(struct broadcaster *b)
{
    begin_after(b, log_committed(&b->engine->log));
}

static void take_streams(struct broadcaster *b)
{
    for (uint32_t i = 0; i < b->options.net_threads; i++) {
        struct handoff handoff;
        while (handoff_ring_pop(&b->inboxes[i], &handoff)) {
            if (b->open_count == 0)
                begin_listening(b);
            struct stream *s = stream_open(b, &handoff.subscription);
            if (s == NULL)
                (void)close(handoff.subscription.fd);
            else
                snapshot_begin(b, s);
            b->more = true;
        }
    }
}

static void take_replies(struct broadcaster *b)
{
    struct reply reply;
    while (port_receive(b->port, &reply)) {
        struct stream *s = b->streams[(uint32_t)reply.context];
        if (s->generation == reply.context >> 32 && s->looking_up)
            snapshot_found(b, s, reply.order);
    }
}

/* Each round, tries again to write the users' snapshots that are being gathered; note_for_snapshots() has added the
 * orders that came meanwhile. */
static void go_on_looking_up(struct broadcaster *b)
{
    for (uint32_t i = 0; i < b->streams_made && b->looking_up > 0; i++)
        if (b->streams[i]->looking_up)
            snapshot_look_up(b, b->streams[i]);
}

/* ---- a round ---- */

static void complete_all(struct broadcaster *b)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&b->uring.ring, head, cqe)
    {
        enum stream_operation op = (enum stream_operation)(cqe->user_data >> 56);
        struct stream *s = op == STREAM_OP_EVENT ? NULL : b->streams[(uint32_t)cqe->user_data];
        if (op == STREAM_OP_EVENT)
            arm_event(b);
        else if (op == STREAM_OP_RECV)
            stream_received(b, s, cqe->res);
        else
            stream_sent(b, s, cqe->res);
        n++;
    }
    io_uring_cq_advance(&b->uring.ring, n);
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Counts streams, users, the most streams of one user and the furthest lag, for /health/sse and /metrics. */
static void count_users(struct broadcaster *b)
{
    uint64_t *hashes = malloc((b->open_count + 1) * sizeof *hashes);
    uint64_t users = 0, most = 0, same = 0, lag = 0, connections = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; hashes != NULL && i < b->streams_made; i++) {
        const struct stream *s = b->streams[i];
        if (s->sub.fd < 0 || s->closing || s->close_after)
            continue;
        connections++;
        lag = b->head > s->cursor && b->head - s->cursor > lag ? b->head - s->cursor : lag;
        if (s->sub.kind == STREAM_USER)
            hashes[n++] = s->sub.user_hash;
    }
    if (n > 0)
        qsort(hashes, n, sizeof *hashes, compare_hashes);
    for (uint32_t i = 0; i < n; i++) {
        same = i > 0 && hashes[i] == hashes[i - 1] ? same + 1 : 1;
        users += same == 1;
        most = same > most ? same : most;
    }
    free(hashes);
    atomic_store_explicit(&b->stats.connections, connections, memory_order_relaxed);
    atomic_store_explicit(&b->stats.users, users, memory_order_relaxed);
    atomic_store_explicit(&b->stats.max_per_user, most, memory_order_relaxed);
    atomic_store_explicit(&b->stats.furthest_lag, lag, memory_order_relaxed);
}

static void sweep(struct broadcaster *b)
{
    if (b->now.mono_ms < b->sweep_due_mono_ms)
        return;
    uint32_t every_ms = b->options.heartbeat_ms < SWEEP_MS ? b->options.heartbeat_ms : SWEEP_MS;
    b->sweep_due_mono_ms = b->now.mono_ms + every_ms;
    for (uint32_t i = 0; i < b->streams_made; i++)
        stream_sweep(b, b->streams[i]);
    count_users(b);
}

static int64_t sleep_ms(const struct broadcaster *b)
{
    if (b->more)
        return 0;
    if (b->open_count == 0)
        return QUIET_SLEEP_MS;
    int64_t due = b->sweep_due_mono_ms;
    if (b->looking_up > 0 && b->now.mono_ms + LOOK_AGAIN_MS < due)
        due = b->now.mono_ms + LOOK_AGAIN_MS;
    if (b->pending_count > 0 && b->tick_due_mono_ms < due)
        due = b->tick_due_mono_ms;
    return due > b->now.mono_ms ? due - b->now.mono_ms : 0;
}

/* A commit wakes this thread only while there are streams; a new stream always does. */
static void wait_for_work(struct broadcaster *b)
{
    struct io_uring_cqe *cqe;
    int64_t ms = sleep_ms(b);
    struct __kernel_timespec limit = {ms / 1000, ms % 1000 * 1000000};
    bool may_sleep = ms > 0;
    if (may_sleep && b->open_count > 0)
        may_sleep = port_may_sleep(b->port) &&
                    (log_committed(&b->engine->log) == b->head || broadcast_rests(b));
    (void)io_uring_submit_and_wait_timeout(&b->uring.ring, &cqe, may_sleep ? 1 : 0,
                                           may_sleep ? &limit : NULL, NULL);
    port_awake(b->port);
    b->more = false;
}

static void run_round(struct broadcaster *b)
{
    b->now = now_read();
    complete_all(b);
    take_streams(b);
    take_replies(b);
    read_new_events(b);
    go_on_looking_up(b);
    if (b->pending_count > 0 && b->now.mono_ms >= b->tick_due_mono_ms)
        flush_updates(b);
    for (uint32_t i = 0; i < b->streams_made; i++)
        stream_pump(b, b->streams[i]);
    sweep(b);
    stream_reap(b);
    if (b->audience_changed)
        count_users(b);
    b->audience_changed = false;
}

/* A few at a time, so that the clients do not come back in one instant. */
static void close_some(struct broadcaster *b, int64_t left_ms)
{
    uint32_t rounds = left_ms > CLOSE_EVERY_MS ? (uint32_t)left_ms / CLOSE_EVERY_MS : 1;
    uint32_t some = b->open_count / rounds + 1;
    for (uint32_t i = 0; i < b->streams_made && some > 0; i++) {
        struct stream *s = b->streams[i];
        if (s->sub.fd < 0 || s->closing)
            continue;
        stream_close(b, s);
        some--;
    }
}

static void *broadcast_main(void *arg)
{
    struct broadcaster *b = arg;
    struct __kernel_timespec pause = {0, CLOSE_EVERY_MS * 1000000};
    struct io_uring_cqe *cqe;
    (void)pthread_setname_np(pthread_self(), "broadcaster");
    wake_for_batches(); /* so as not to pre-empt the threads that sell */
    MUST(uring_enable(&b->uring), "a ring that cannot be enabled");
    arm_event(b);
    while (!atomic_load_explicit(&b->stopping, memory_order_acquire)) {
        run_round(b);
        wait_for_work(b);
    }
    int64_t end_mono_ms = now_read().mono_ms + BROADCAST_STOP_MS, next_mono_ms = 0;
    for (;;) {
        run_round(b);
        int64_t left_ms = end_mono_ms - b->now.mono_ms;
        if (b->open_count == 0 || left_ms <= -BROADCAST_STOP_MS)
            return NULL;
        if (b->now.mono_ms >= next_mono_ms) { /* not already when the last ones have gone */
            close_some(b, left_ms);
            next_mono_ms = b->now.mono_ms + CLOSE_EVERY_MS;
        }
        (void)io_uring_submit_and_wait_timeout(&b->uring.ring, &cqe, 1, &pause, NULL);
    }
}

uint32_t broadcast_limit(struct broadcaster *b, uint32_t streams_max)
{
    if (streams_max < b->caps.streams_max)
        b->caps.streams_max = streams_max;
    return b->caps.streams_max;
}

bool broadcast_start(struct broadcaster *b)
{
    b->port->wake = uring_wake;
    b->port->wake_arg = &b->uring;
    return pthread_create(&b->thread, NULL, broadcast_main, b) == 0;
}

void broadcast_stop(struct broadcaster *b)
{
    atomic_store_explicit(&b->stopping, true, memory_order_release);
    uring_wake(&b->uring);
    (void)pthread_join(b->thread, NULL);
}

const struct broadcast_stats *broadcast_stats_of(const struct broadcaster *b)
{
    return &b->stats;
}

void broadcast_put_health(const struct broadcaster *b, struct text *out)
{
    const struct broadcast_stats *stats = &b->stats;
    const struct {
        const char *name;
        const _Atomic uint64_t *value;
    } rows[] = {{"connections", &stats->connections}, {"users", &stats->users},
                {"maxPerUser", &stats->max_per_user}, {"framesSent", &stats->frames},
                {"bytesSent", &stats->bytes},         {"clientsCut", &stats->cut},
                {"streamsRefused", &stats->refused},  {"furthestLag", &stats->furthest_lag}};
    text_str(out, "{");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        text_pair_number(out, rows[i].name,
                         atomic_load_explicit(rows[i].value, memory_order_relaxed));
    text_str(out, "}");
}
