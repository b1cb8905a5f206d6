/*
 * stream.h: what the broadcaster owns: its ring, its streams, its frames. For net/broadcast.c, stream.c,
 * encode.c and snapshot.c only.
 *
 * Thread: everything here belongs to "broadcaster", except the inboxes' other ends (net threads) and the counters
 *         of struct broadcast_stats, which any thread may read.
 *
 * A stream is a cursor (the seq up to which it has everything) and a filter. Its output buffer exists while
 * something is being sent; at most one send and one receive are in flight. A long snapshot is not copied there: all
 * streams that begin with it send the same bytes.
 */
#ifndef FLASHD_NET_STREAM_H
#define FLASHD_NET_STREAM_H

#include "engine/engine.h"
#include "engine/text.h"
#include "net/broadcast.h"
#include "net/caps.h"
#include "net/frames.h"
#include "net/uring.h"

enum {
    STREAM_OUT_BYTES = 64 * 1024,     /* one send carries about this */
    STREAM_OUT_BYTES_MAX = 256 << 20, /* a snapshot of very many sales or orders */
    ARCHIVE_PAGE_EVENTS = 128,
    SCRATCH_BYTES = ARCHIVE_PAGE_EVENTS * 2 * FRAME_BYTES_MAX,
    STREAM_STALLED_MS = 10000,     /* nothing acknowledged: cut off */
    STREAM_LOOK_MS = 1000,         /* how often it is looked at */
    STREAM_HEARD_BYTES_MAX = 1024, /* the most that a client may send into its stream */
    SWEEP_MS = 200,
    ARCHIVE_RETRY_MS = 1000, /* until an archive that could not be read is tried again */
    POSITIONS_MS = 1000,     /* a buyer's place in a queue is told at most this often */
    INBOX_SLOTS = 1024,
    BROADCAST_STOP_MS = 1000,
};

/* The sales as of seq, encoded once for all streams that begin with them. */
struct snapshot {
    uint32_t holders; /* the broadcaster, and streams that send it */
    uint64_t seq;
    size_t bytes;
    char text[];
};

/* An order of a stream's user, and its place in the queue as last told to the client; 0: not told. */
struct followed {
    struct order *order;
    uint32_t position;
};

struct stream {
    struct subscription sub; /* sub.fd -1: slot is free */
    uint32_t slot, generation;
    struct caller *caller; /* the address that counts it (caps.h); NULL: none does */
    uint64_t cursor;
    bool recv_armed, sending, closing, close_after;
    uint32_t heard_bytes;
    bool looking_up; /* a user's snapshot is being gathered: no events yet */
    uint32_t lookups_sent, lookups_left;
    uint32_t tries;          /* to write the snapshot */
    bool silent;             /* the snapshot is not sent, since the client has resumed */
    struct followed *orders; /* STREAM_USER: the user's latest in each sale */
    uint32_t orders_count;
    int64_t positions_mono_ms;
    int64_t given_bytes, acknowledged_bytes; /* all that was sent; of that (drain.h) */
    int64_t moved_mono_ms, beat_mono_ms;     /* when some was last acknowledged, and last sent */
    char *out;
    size_t out_bytes, out_sent, out_room;
    struct snapshot *snapshot; /* sent after `out`; NULL for none */
    size_t snapshot_sent;
    char scratch[16]; /* what a client sends is read here and forgotten */
};

/* The latest update of a sale in this tick. */
struct pending_update {
    const struct sale *sale;
    const struct order *order;
    uint64_t seq;
    uint64_t available, sold;
};

struct handoff {
    struct subscription subscription;
};

RING(handoff)

struct broadcaster {
    /* --- main writes before the start, any thread reads --- */
    struct engine *engine;
    struct broadcast_options options;
    struct port *port; /* the engine's; its commands and replies are the broadcaster's */
    pthread_t thread;
    /* --- net thread pushes into its own, broadcaster pops --- */
    struct handoff_ring inboxes[PORTS_MAX];
    /* --- main writes, broadcaster reads --- */
    _Atomic bool stopping;
    /* --- broadcaster only, except uring_wake(): any thread --- */
    struct uring uring;
    /* --- broadcaster only --- */
    struct now now;
    struct stream **streams;
    uint32_t streams_room, streams_made, open_count;
    uint32_t *free_slots, free_count;
    struct caps caps;    /* main lowers them before the start */
    uint32_t looking_up; /* streams whose snapshot is being gathered */
    bool audience_changed;
    uint64_t head;                 /* events up to here are in the frames, or only in the archive */
    struct frames events, updates; /* domain events; the public stream's */
    struct pending_update *pending;
    uint32_t pending_count, pending_room;
    uint32_t *pending_of_sale; /* by sale index: 1 + its place in pending */
    char *scratch;             /* SCRATCH_BYTES: frames on their way into one stream's output */
    struct snapshot *snapshot; /* the latest of all sales; NULL before the first */
    int64_t tick_due_mono_ms, sweep_due_mono_ms;
    int64_t archive_due_mono_ms; /* not read before this, after a failure */
    bool more;                   /* the next round has work: do not sleep */
    /* --- broadcaster writes, any thread reads --- */
    struct broadcast_stats stats;
};

/* --- encode.c: events as frames --- */
/* The domain event as it is. */
void encode_event(struct text *out, const struct archived_event *event);
/* queue_switch, which precedes order.promoted in the user's own stream and carries no id. */
void encode_queue_switch(struct text *out, const struct broadcaster *b,
                         const struct archived_event *event, const struct order *order,
                         const struct sale *sale);
/* What the public stream shows of an event: 0 to 2 frames. */
uint8_t encode_public(struct text *out, const struct broadcaster *b,
                      const struct archived_event *event, const struct order *order,
                      const struct sale *sale);
void encode_update(struct text *out, const struct broadcaster *b,
                   const struct pending_update *update);
/* Whether the public stream shows the event as a sale_update, which may be merged. */
bool encode_is_update(enum event_kind kind);
struct pending_update encode_update_of(const struct archived_event *event,
                                       const struct order *order, const struct sale *sale);

/* --- stream.c: one stream --- */
struct stream *stream_open(struct broadcaster *b, const struct subscription *subscription);
void stream_close(struct broadcaster *b, struct stream *stream);
/* Frees closed streams with nothing in flight. */
void stream_reap(struct broadcaster *b);
void stream_received(struct broadcaster *b, struct stream *stream, int result);
void stream_sent(struct broadcaster *b, struct stream *stream, int result);
/* Sends what there is for the stream, unless a send is in flight. */
void stream_pump(struct broadcaster *b, struct stream *stream);
/* Appends bytes to the stream's output. False: out of memory, the stream is closed. */
bool stream_put(struct broadcaster *b, struct stream *stream, const char *bytes, size_t len);
/* Counts frames whose bytes the stream has been given. */
void stream_count_frames(struct broadcaster *b, uint64_t frames);
/* Heartbeat, places in queues, stall and token expiry. */
void stream_sweep(struct broadcaster *b, struct stream *stream);
/* Finds the event's sale and order. False: somebody has changed its row, and it cannot be told. */
bool stream_can_tell(const struct broadcaster *b, const struct archived_event *event,
                     const struct sale **sale, const struct order **order);
bool stream_wants(const struct stream *stream, enum event_kind kind, const struct sale *sale,
                  const struct order *order);

/* --- snapshot.c --- */
/* Begins the stream: head, snapshot or reset as asked. May leave stream->looking_up set. */
void snapshot_begin(struct broadcaster *b, struct stream *stream);
/* Says that the stream cannot go on from its cursor, and begins it anew (G6). May leave stream->looking_up
 * set. */
void snapshot_reset(struct broadcaster *b, struct stream *stream);
/* Sends more lookups of a user's orders, as far as the port takes them. */
void snapshot_look_up(struct broadcaster *b, struct stream *stream);
void snapshot_found(struct broadcaster *b, struct stream *stream, struct order *order);
/* Keeps the order if it is the user's latest in its sale. False: out of memory, the stream is closed. */
bool snapshot_note_order(struct broadcaster *b, struct stream *stream, struct order *order);
/* Puts queue_position for each waiting order whose place has changed; it is no domain event and has no id. */
void snapshot_put_positions(struct broadcaster *b, struct stream *stream);
/* One holder less; snapshot may be NULL. */
void snapshot_let_go(struct snapshot *snapshot);

/* --- broadcast.c --- */
/* Whether new events are left alone for a moment, since the archive could not be read. */
static inline bool broadcast_rests(const struct broadcaster *b)
{
    return b->now.mono_ms < b->archive_due_mono_ms;
}
enum stream_operation { STREAM_OP_EVENT, STREAM_OP_RECV, STREAM_OP_SEND };
uint64_t stream_user_data(enum stream_operation op, const struct stream *stream);

#endif
