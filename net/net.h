/*
 * net.h: what a net thread owns: its ring, its listener, its connections. For net/ only.
 *
 * Thread: every struct net and all its connections belong to one thread, net-N. It shares only the server's
 *         options (read-only), `stopping`, the counters for /metrics, and the eventfd that engine threads and
 *         other net threads write to.
 *
 * A connection's way: recv -> http_parser_feed -> route_request -> answer at once, or a command to the
 * engine and, when its reply is durable, render_reply -> send -> the next request. A request for an event
 * stream takes its connection from this thread to the broadcaster (conn_hand_over).
 *
 * One request of a connection is in work at a time; what arrives meanwhile waits in `pending`, bounded.
 * At most one recv and one send per socket are in flight. user_data is operation, generation and slot, so
 * that a late completion for a reused slot is recognised.
 */
#ifndef FLASHD_NET_NET_H
#define FLASHD_NET_NET_H

#include <pthread.h>

#include "engine/engine.h"
#include "engine/text.h"
#include "net/broadcast.h"
#include "net/http.h"
#include "net/server.h"
#include "net/timestamp.h"
#include "net/uring.h"

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES = 4 * SQ_ENTRIES,
    RECV_BUFFERS = 512,
    RECV_BUFFER_BYTES = 2048,
    PENDING_BYTES_MAX = 65536, /* of one connection, while a request is in work */
    BUFFER_GROUP = 0,

    HEAD_TIMEOUT_MS = 5000,
    BODY_TIMEOUT_MS = 5000,
    IDLE_TIMEOUT_MS = 75000,
    SEND_LOOK_MS = 5000,      /* at a slow send; two looks without progress end it */
    LINGER_TIMEOUT_MS = 1000, /* after an error: so that the answer is not lost to a reset */
    ACCEPT_RETRY_MS = 100,
    STOP_HEAR_MS = 100, /* for what had been sent before the stop */
    /* For answers on their way. The streams have 2 s more; in all, a stop should take 5 s at most. */
    STOP_MS = 2500,

    REFUSAL_BYTES_MAX = 768,
};

/* Why a connection has a deadline. Each reason has its list; all its deadlines have the same length. */
enum deadline {
    DEADLINE_NONE,
    DEADLINE_HEAD,
    DEADLINE_BODY,
    DEADLINE_IDLE,
    DEADLINE_SEND,
    DEADLINE_LINGER,
    DEADLINE_COUNT
};

struct conn {
    int fd; /* -1: slot is free */
    uint32_t slot, generation;
    struct http_parser *parser;
    /* deadline list */
    struct conn *older, *newer;
    int64_t deadline_mono_ms;
    enum deadline deadline;
    /* in flight */
    bool recv_armed, recv_cancelled, sending;
    bool in_work;     /* a request is complete, but its answer is not */
    bool closing;     /* closed or to be handed over; the slot is freed when nothing is in flight */
    bool close_after; /* close once `out` is sent */
    bool lingering;   /* answer sent, reading until the peer is done */
    bool peer_done;   /* the peer has sent all it will */
    /* of the request in work */
    bool head_only, http_1_0;
    struct subscription *subscription; /* owned; it becomes a stream once nothing is in flight */
    /* bytes */
    char *pending, *out;
    uint32_t pending_bytes, out_bytes, out_sent, out_room;
    int64_t acknowledged_bytes; /* of the send in flight, from its begin (drain.h) */
};

enum { STATUS_CLASSES = 5 /* 1xx to 5xx */ };

/* Its net thread writes, any thread reads (/metrics). */
struct net_counters {
    _Atomic uint64_t connections, accepted, cq_overflows, answers[STATUS_CLASSES];
};

/* For the only writer of a counter: no locked instruction. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

struct server {
    /* --- main writes before the start, any thread reads --- */
    struct engine *engine;
    struct server_options options;
    uint16_t port;
    uint32_t connections_max, streams_max;
    struct net *nets;
    /* --- main writes, net-N reads --- */
    _Atomic bool stopping;
};

struct deadline_list {
    struct conn *oldest, *newest;
};

/* A whole answer for an outcome that refuses, valid for one second. */
struct refusal {
    int64_t second; /* of its Date */
    uint32_t bytes; /* 0: not made yet */
    char text[REFUSAL_BYTES_MAX];
};

struct net {
    /* --- main writes before the start, any thread reads --- */
    struct server *server;
    struct engine *engine;
    struct port *port; /* the engine's; its commands and replies are net-N's */
    uint32_t index, open_max;
    pthread_t thread;
    /* --- net-N only, except uring_wake(): any thread --- */
    struct uring uring;
    /* --- net-N only --- */
    struct io_uring_buf_ring *buffers;
    char *buffer_memory;
    int listener;
    bool accept_armed, accept_cancelled;
    int64_t accept_retry_mono_ms;
    int64_t stop_at_mono_ms; /* 0 before the stop */
    /* slots: a stable array of pointers, grown by doubling; free ones form a stack */
    struct conn **conns;
    uint32_t conns_room, conns_made, open_count;
    uint32_t *free_slots, free_count;
    struct conn *closing;  /* those that wait for their last completions, linked by `newer` */
    uint32_t handing_over; /* how many of these go to the broadcaster */
    struct deadline_list deadlines[DEADLINE_COUNT];
    struct now now;
    int64_t date_second;
    char date[TIMESTAMP_HTTP_BYTES]; /* of date_second */
    struct refusal refusals[OUTCOME_COUNT];
    /* --- net-N writes, any thread reads --- */
    struct net_counters counters;
};

enum operation { OP_ACCEPT, OP_RECV, OP_SEND, OP_EVENT, OP_CANCEL };

static inline uint64_t user_data(enum operation op, uint32_t generation, uint32_t slot)
{
    return (uint64_t)op << 56 | (uint64_t)(generation & 0xffffff) << 32 | slot;
}

/* --- loop.c --- */
void *net_main(void *arg);
bool net_ring_open(struct net *net, char *error, size_t error_bytes);
void net_ring_close(struct net *net);

/* --- conn.c --- */
void conn_open(struct net *net, int fd);
void conn_received(struct net *net, struct conn *conn, const struct io_uring_cqe *cqe);
void conn_sent(struct net *net, struct conn *conn, int result);
void conn_expired(struct net *net, struct conn *conn);
void conn_close(struct net *net, struct conn *conn);
/* Once a round, after the completions: frees closed connections that have nothing in flight. */
void conn_reap(struct net *net);
/* Puts bytes into the answer; false when out of memory (the connection is closed then). */
bool conn_write(struct net *net, struct conn *conn, const char *bytes, size_t len);
/* The answer, or a 100 Continue, is whole: sends it, then goes on with what is pending. */
void conn_answered(struct net *net, struct conn *conn);
/* The connection that a reply is for, or NULL when it has gone. */
struct conn *conn_of_context(struct net *net, uint64_t context);
uint64_t conn_context(const struct conn *conn);
/* Makes the connection this stream: it leaves the thread when its receive has ended. Takes over the
 * subscription, which is from malloc(). */
void conn_hand_over(struct net *net, struct conn *conn, struct subscription *subscription);
/* The server is stopping: closes the connection, if need be after the request that has begun or is in work. */
void conn_stop(struct net *net, struct conn *conn);

/* --- deadline.c --- */
void deadline_set(struct net *net, struct conn *conn, enum deadline deadline);
/* How long until the next deadline; -1: there is none. */
int64_t deadline_next_ms(const struct net *net);
void deadline_expire(struct net *net);

#endif
