/*
 * stream.c: one stream: its socket, its cursor, what goes out next (stream.h).
 *
 * Happy path: stream_pump -> fill (frames after the cursor, filtered, copied into one buffer) -> send ->
 * stream_sent -> stream_pump … until the cursor is at the head; then the buffer is freed.
 * A stream whose cursor lies before the frames in memory reads the archive, a page at a time, until it has caught up.
 *
 * Failure modes: a client that takes nothing for STREAM_STALLED_MS is cut off (it can resume); one that has gone is
 * noticed by the end of the receive; out of memory closes the stream.
 *
 * Thread: broadcaster.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/drain.h"
#include "net/stream.h"

/* What SO_SNDBUF asks for; the kernel doubles it. Left to itself, it would buffer up to 4 MiB for each client that does
 * not read, and the broadcaster would spend seconds of CPU time on copying that, beside the sale. */
enum { SEND_BUFFER_BYTES = 2 * STREAM_OUT_BYTES };

/* ---- opening and closing ---- */

static struct stream *new_slot(struct broadcaster *b)
{
    if (b->free_count > 0)
        return b->streams[b->free_slots[--b->free_count]];
    if (b->streams_made == b->streams_room) {
        uint32_t room = b->streams_room == 0 ? 64 : b->streams_room * 2;
        struct stream **streams = realloc(b->streams, room * sizeof(struct stream *));
        if (streams == NULL)
            return NULL;
        b->streams = streams;
        uint32_t *slots = realloc(b->free_slots, room * sizeof *slots);
        if (slots == NULL)
            return NULL;
        b->free_slots = slots;
        b->streams_room = room;
    }
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->slot = b->streams_made;
    b->streams[b->streams_made++] = s;
    return s;
}

static void arm_recv(struct broadcaster *b, struct stream *s)
{
    struct io_uring_sqe *sqe = uring_sqe(&b->uring);
    io_uring_prep_recv(sqe, s->sub.fd, s->scratch, sizeof s->scratch, 0);
    io_uring_sqe_set_data64(sqe, stream_user_data(STREAM_OP_RECV, s));
    s->recv_armed = true;
}

struct stream *stream_open(struct broadcaster *b, const struct subscription *subscription)
{
    struct stream *s = new_slot(b);
    if (s == NULL)
        return NULL;
    s->sub = *subscription;
    const int send_buffer = SEND_BUFFER_BYTES;
    (void)setsockopt(s->sub.fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    s->acknowledged_bytes = DRAIN_UNKNOWN;
    s->moved_mono_ms = s->beat_mono_ms = b->now.mono_ms;
    b->open_count++;
    b->audience_changed = true;
    arm_recv(b, s);
    return s;
}

void stream_close(struct broadcaster *b, struct stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    if (s->caller != NULL)
        caps_leave(&b->caps, s->caller);
    s->caller = NULL;
    b->looking_up -= s->looking_up;
    s->looking_up = false;
    b->audience_changed = true;
    /* The kernel goes on sending what it has, but not for ever. */
    const unsigned left_ms = STREAM_STALLED_MS;
    (void)setsockopt(s->sub.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &left_ms, sizeof left_ms);
    (void)shutdown(s->sub.fd, SHUT_RDWR); /* ends what is in flight */
}

static void free_slot(struct broadcaster *b, struct stream *s)
{
    (void)close(s->sub.fd);
    free(s->out);
    snapshot_let_go(s->snapshot);
    free(s->orders);
    *s = (struct stream){.sub = {.fd = -1}, .slot = s->slot, .generation = s->generation + 1};
    b->free_slots[b->free_count++] = s->slot;
    b->open_count--;
}

void stream_reap(struct broadcaster *b)
{
    for (uint32_t i = 0; i < b->streams_made; i++) {
        struct stream *s = b->streams[i];
        if (s->sub.fd >= 0 && s->closing && !s->recv_armed && !s->sending)
            free_slot(b, s);
    }
}

void stream_received(struct broadcaster *b, struct stream *s, int result)
{
    s->recv_armed = false;
    if (s->closing)
        return;
    /* A client has nothing to say here; one that keeps talking only costs. */
    s->heard_bytes += result > 0 ? (uint32_t)result : 0;
    if (result > 0 && s->heard_bytes <= STREAM_HEARD_BYTES_MAX)
        arm_recv(b, s);
    else
        stream_close(b, s);
}

/* ---- output ---- */

bool stream_put(struct broadcaster *b, struct stream *s, const char *bytes, size_t len)
{
    size_t needed = s->out_bytes + len;
    if (needed > s->out_room) {
        char *grown = needed <= STREAM_OUT_BYTES_MAX ? realloc(s->out, needed) : NULL;
        if (grown == NULL) {
            stream_close(b, s);
            return false;
        }
        s->out = grown;
        s->out_room = needed;
    }
    memcpy(s->out + s->out_bytes, bytes, len);
    s->out_bytes = needed;
    return true;
}

/* Whether something must be sent before more is put there. */
static bool has_output(const struct stream *s)
{
    return s->out_bytes > 0 || s->snapshot != NULL;
}

static void send_out(struct broadcaster *b, struct stream *s)
{
    struct io_uring_sqe *sqe = uring_sqe(&b->uring);
    if (s->out_bytes > 0)
        io_uring_prep_send(sqe, s->sub.fd, s->out + s->out_sent, s->out_bytes - s->out_sent,
                           MSG_NOSIGNAL);
    else
        io_uring_prep_send(sqe, s->sub.fd, s->snapshot->text + s->snapshot_sent,
                           s->snapshot->bytes - s->snapshot_sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, stream_user_data(STREAM_OP_SEND, s));
    s->sending = true;
    s->beat_mono_ms = b->now.mono_ms;
}

/* The kernel has taken `bytes` more. True: the buffer or snapshot is sent whole, and is freed or let go. */
static bool sent_whole(struct stream *s, size_t bytes)
{
    if (s->out_bytes > 0) {
        s->out_sent += bytes;
        if (s->out_sent < s->out_bytes)
            return false;
        free(s->out);
        s->out = NULL;
        s->out_bytes = s->out_sent = s->out_room = 0;
        return true;
    }
    s->snapshot_sent += bytes;
    if (s->snapshot_sent < s->snapshot->bytes)
        return false;
    snapshot_let_go(s->snapshot);
    s->snapshot = NULL;
    s->snapshot_sent = 0;
    return true;
}

void stream_sent(struct broadcaster *b, struct stream *s, int result)
{
    s->sending = false;
    if (s->closing)
        return;
    if (result <= 0) {
        stream_close(b, s);
        return;
    }
    s->given_bytes += result;
    atomic_fetch_add_explicit(&b->stats.bytes, (uint64_t)result, memory_order_relaxed);
    if (!sent_whole(s, (size_t)result))
        send_out(b, s);
    else if (s->close_after)
        stream_close(b, s);
    else
        stream_pump(b, s);
}

/* ---- what goes out next ---- */

static bool is_same_user(const struct stream *s, const struct order *order)
{
    return order->name_hash == s->sub.user_hash && order->name_bytes == s->sub.user_bytes &&
           memcmp(order->name, s->sub.user, order->name_bytes) == 0;
}

bool stream_wants(const struct stream *s, enum event_kind kind, const struct sale *sale,
                  const struct order *order)
{
    if (s->sub.sale != NULL && s->sub.sale != sale)
        return false;
    if (s->sub.kind == STREAM_EVENTS)
        return (s->sub.kinds >> kind & 1) != 0;
    return s->sub.kind == STREAM_PUBLIC || (order != NULL && is_same_user(s, order));
}

static const struct frames *frames_of(const struct broadcaster *b, const struct stream *s)
{
    return s->sub.kind == STREAM_PUBLIC ? &b->updates : &b->events;
}

void stream_count_frames(struct broadcaster *b, uint64_t frames)
{
    atomic_fetch_add_explicit(&b->stats.frames, frames, memory_order_relaxed);
}

/* Returns how many frames it was for this stream. */
static uint64_t put_frame(struct text *out, const struct broadcaster *b, const struct stream *s,
                          const struct frame *frame)
{
    const char *bytes = frames_bytes(frames_of(b, s), frame);
    bool switched = s->sub.kind == STREAM_USER && frame->kind == EVENT_ORDER_PROMOTED;
    if (switched) {
        const struct archived_event event = {
            .seq = frame->seq, .payload = bytes, .payload_bytes = frame->bytes};
        encode_queue_switch(out, b, &event, frame->order, frame->sale);
    }
    text_bytes(out, bytes, frame->bytes);
    return frame->count + (uint64_t)switched;
}

/* A user's stream notes its orders, to tell their places in queues. */
static void follow_order(struct broadcaster *b, struct stream *s, const struct order *order)
{
    if (s->sub.kind == STREAM_USER && order != NULL)
        (void)snapshot_note_order(b, s, seqmap_order(&b->engine->seqmap, order->seq));
}

/* Fills the output from the frames in memory, with as many as one send carries. */
static void fill_live(struct broadcaster *b, struct stream *s)
{
    const struct frames *frames = frames_of(b, s);
    struct text out = text_in(b->scratch, SCRATCH_BYTES);
    uint64_t n = frames_after(frames, s->cursor), sent = 0;
    for (; n < frames->end; n++) {
        const struct frame *frame = frames_at(frames, n);
        if (stream_wants(s, (enum event_kind)frame->kind, frame->sale, frame->order)) {
            if (out.len >= STREAM_OUT_BYTES)
                break; /* the rest with the next send */
            sent += put_frame(&out, b, s, frame);
            follow_order(b, s, frame->order);
        }
        s->cursor = frame->seq;
    }
    /* A public stream's cursor must not pass an update that waits for the tick. */
    if (n == frames->end && s->cursor < b->head &&
        (s->sub.kind != STREAM_PUBLIC || b->pending_count == 0))
        s->cursor = b->head;
    if (out.len > 0 && stream_put(b, s, out.start, out.len))
        stream_count_frames(b, sent);
}

/* One page of the archive on its way into a stream's output. */
struct replay {
    struct broadcaster *b;
    struct stream *s;
    struct text out;
    uint64_t sent;
    bool removed; /* the next event is gone or unusable: by retention, or by somebody … */
    uint64_t goes_on_after; /* … who changed the table: reading can go on after this */
};

bool stream_can_tell(const struct broadcaster *b, const struct archived_event *event,
                     const struct sale **sale, const struct order **order)
{
    const struct seqmap *map = &b->engine->seqmap;
    *sale = seqmap_sale(map, event->sale_seq);
    *order = event->order_seq != 0 ? seqmap_order(map, event->order_seq) : NULL;
    return event->kind < EVENT_KIND_COUNT && *sale != NULL &&
           event_is_of_order((enum event_kind)event->kind) == (*order != NULL) &&
           event->payload_bytes <= PAYLOAD_BYTES_MAX &&
           memchr(event->payload, '\n', event->payload_bytes) == NULL &&
           memchr(event->payload, '\r', event->payload_bytes) == NULL;
}

static void replay_event(void *arg, const struct archived_event *event)
{
    struct replay *r = arg;
    if (r->removed)
        return;
    const struct sale *sale;
    const struct order *order;
    bool next = event->seq == r->s->cursor + 1;
    r->removed = !next || !stream_can_tell(r->b, event, &sale, &order);
    if (r->removed) {
        uint64_t last_lost = next ? event->seq : event->seq - 1;
        r->goes_on_after = last_lost < r->b->head ? last_lost : r->b->head;
        return;
    }
    r->s->cursor = event->seq;
    if (!stream_wants(r->s, (enum event_kind)event->kind, sale, order))
        return;
    if (r->s->sub.kind == STREAM_PUBLIC) {
        r->sent += encode_public(&r->out, r->b, event, order, sale);
        return;
    }
    if (r->s->sub.kind == STREAM_USER && event->kind == EVENT_ORDER_PROMOTED) {
        encode_queue_switch(&r->out, r->b, event, order, sale);
        r->sent++;
    }
    encode_event(&r->out, event);
    r->sent++;
    follow_order(r->b, r->s, order);
}

/* The archive's next event is gone or unusable, so the client is told (G6). An events stream begins anew at the oldest
 * event; if the gap would be met again from there, it goes on behind the gap. */
static void reset_at_gap(struct broadcaster *b, struct stream *s, uint64_t goes_on_after)
{
    uint64_t cursor = s->cursor;
    snapshot_reset(b, s);
    if (s->sub.kind == STREAM_EVENTS && s->cursor <= cursor)
        s->cursor = goes_on_after;
}

static void fill_from_archive(struct broadcaster *b, struct stream *s)
{
    struct replay replay = {
        .b = b, .s = s, .out = text_in(b->scratch, SCRATCH_BYTES), .goes_on_after = b->head};
    uint64_t left = b->head - s->cursor; /* not past the head: the frames have what follows */
    uint32_t limit = left < ARCHIVE_PAGE_EVENTS ? (uint32_t)left : ARCHIVE_PAGE_EVENTS;
    int read =
        b->options.archive.read(b->options.archive.self, s->cursor, limit, replay_event, &replay);
    if (read < 0)
        stream_close(b, s);
    else if (replay.out.len > 0) { /* a gap behind these events is met next time */
        if (stream_put(b, s, replay.out.start, replay.out.len))
            stream_count_frames(b, replay.sent);
    } else if (read == 0 || replay.removed)
        reset_at_gap(b, s, replay.goes_on_after);
    b->more = true;
}

void stream_pump(struct broadcaster *b, struct stream *s)
{
    if (s->sub.fd < 0 || s->sending || s->closing || s->looking_up)
        return;
    if (!has_output(s) && !s->close_after) {
        if (s->cursor >= frames_of(b, s)->floor || FAULT(FAULT_CURSOR_PAST_RING))
            fill_live(b, s);
        else if (s->cursor < b->head)
            fill_from_archive(b, s);
    }
    /* A reset's output waits for its snapshot: the kernel must not read a buffer that may still move. */
    if (has_output(s) && !s->closing && !s->looking_up)
        send_out(b, s);
}

/* ---- time ---- */

/* A client that reads nothing, or one that has vanished: at the latest, a heartbeat shows it. */
static bool is_stalled(const struct broadcaster *b, struct stream *s)
{
    int64_t still_ms = b->now.mono_ms - s->moved_mono_ms;
    if (still_ms < STREAM_LOOK_MS)
        return false;
    if (!drain_moves(s->sub.fd, s->given_bytes, &s->acknowledged_bytes))
        return still_ms >= STREAM_STALLED_MS;
    s->moved_mono_ms = b->now.mono_ms;
    return false;
}

void stream_sweep(struct broadcaster *b, struct stream *s)
{
    static const char ping[] = ": ping\n\n";
    if (s->sub.fd < 0 || s->closing)
        return;
    if (s->sub.expires_at_ms != 0 && b->now.wall_ms >= s->sub.expires_at_ms) {
        stream_close(b, s);
    } else if (is_stalled(b, s)) {
        atomic_fetch_add_explicit(&b->stats.cut, 1, memory_order_relaxed);
        stream_close(b, s);
    } else if (s->sending || s->looking_up || has_output(s)) {
        return;
    } else if (s->orders_count > 0 && b->now.mono_ms - s->positions_mono_ms >= POSITIONS_MS) {
        s->positions_mono_ms = b->now.mono_ms;
        snapshot_put_positions(b, s);
        if (s->out_bytes > 0 && !s->closing)
            send_out(b, s);
    } else if (b->now.mono_ms - s->beat_mono_ms >= b->options.heartbeat_ms &&
               stream_put(b, s, ping, sizeof ping - 1)) {
        send_out(b, s);
    }
}
