/*
 * broadcast.h: the event streams: one thread that reads committed events and sends them to every stream.
 *
 * Usage, main:        broadcast_open -> broadcast_start … broadcast_stop -> broadcast_close
 * Usage, net thread:  broadcast_take() with a subscription whose request has been checked; the connection is
 *                     the broadcaster's from then on, answer included.
 *
 * Thread: "broadcaster". It owns its io_uring, every stream, and the rings of encoded frames. Nothing a client
 *         does or fails to do reaches a worker or the writer: they never wait for this thread.
 */
#ifndef FLASHD_NET_BROADCAST_H
#define FLASHD_NET_BROADCAST_H

#include <stdatomic.h>

#include "engine/archive.h"
#include "engine/order.h"
#include "net/token.h"

struct engine;
struct broadcaster;
struct text;

enum stream_kind { STREAM_PUBLIC, STREAM_USER, STREAM_EVENTS };

/* A stream as its client asked for it. */
struct subscription {
    int fd;
    enum stream_kind kind;
    bool resume; /* Last-Event-ID was given: go on after after_seq */
    uint64_t after_seq;
    uint64_t asked_seq; /* the last committed when the request came: what the client may know of */
    uint32_t kinds;     /* STREAM_EVENTS: bit k for event kind k */
    struct sale *sale;  /* only this sale's events; NULL: of all */
    int64_t expires_at_ms; /* wall clock, of the token; 0: none */
    uint64_t address;      /* of the peer, hashed: for the cap per address */
    uint64_t user_hash;    /* STREAM_USER */
    uint8_t user_bytes;
    char user[BUYER_NAME_BYTES_MAX];
};

/* Broadcaster writes, any thread reads (relaxed: figures for people). */
struct broadcast_stats {
    _Atomic uint64_t connections, users, max_per_user, frames, bytes, cut, refused, furthest_lag;
};

struct broadcast_options {
    uint32_t net_threads;
    uint32_t port; /* index of the broadcaster's engine port */
    uint32_t heartbeat_ms, tick_ms;
    uint32_t streams_max, streams_per_address_max;
    bool buyer_names_shown;
    struct event_archive archive;
};

/* NULL and a line in error (no newline) on failure. */
struct broadcaster *broadcast_open(const struct broadcast_options *options, struct engine *engine,
                                   char *error, size_t error_bytes);
/* Before the start: lowers the options' streams_max to this, unless it is lower already. Returns the result. */
uint32_t broadcast_limit(struct broadcaster *broadcaster, uint32_t streams_max);
bool broadcast_start(struct broadcaster *broadcaster);
/* Closes every stream, a few at a time, within a second; waits at most one more for what is in flight. */
void broadcast_stop(struct broadcaster *broadcaster);
void broadcast_close(struct broadcaster *broadcaster);

/* Net thread `net`: whether its inbox has room for one more, besides the `on_their_way` that it will be given. */
bool broadcast_has_room(const struct broadcaster *broadcaster, uint32_t net, uint32_t on_their_way);
/* Net thread `net`: hands a copy of the subscription over; there must be room. */
void broadcast_take(struct broadcaster *broadcaster, uint32_t net,
                    struct subscription *subscription);
/* Any thread: figures for people; borrowed. */
const struct broadcast_stats *broadcast_stats_of(const struct broadcaster *broadcaster);
/* Any thread: the JSON of /health/sse. */
void broadcast_put_health(const struct broadcaster *broadcaster, struct text *out);

#endif
