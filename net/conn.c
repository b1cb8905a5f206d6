/*
 * conn.c: one connection: bytes in, one request at a time, bytes out, and its end (see net.h).
 *
 * Happy path: conn_received -> feed -> route_request -> conn_answered -> conn_sent -> feed …
 * A client that asks before it sends its body (Expect) is told to go on, or gets the answer that its head alone decides.
 * Failure modes:
 *   bad bytes      an answer, then linger: shut down our side and read on for a moment, since closing a
 *                  socket with unread input would reset the connection and lose the answer
 *   peer gone      closed at once; a reply that comes later is dropped (conn_of_context)
 *   too slow       408 if a part of a request has come, otherwise closed
 *   out of memory  closed
 *
 * Thread: the net thread of the connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/answer.h"
#include "net/drain.h"
#include "net/net.h"
#include "net/routes.h"

enum { OUT_BYTES_MIN = 1024, OUT_BYTES_KEPT = 4096 };

/* ---- slots ---- */

static struct conn *new_slot(struct net *net)
{
    if (net->free_count > 0)
        return net->conns[net->free_slots[--net->free_count]];
    if (net->conns_made == net->conns_room) {
        uint32_t room = net->conns_room == 0 ? 64 : net->conns_room * 2;
        struct conn **conns = realloc(net->conns, room * sizeof(struct conn *));
        if (conns == NULL)
            return NULL;
        net->conns = conns;
        uint32_t *slots = realloc(net->free_slots, room * sizeof *slots);
        if (slots == NULL)
            return NULL;
        net->free_slots = slots;
        net->conns_room = room;
    }
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    conn->fd = -1;
    conn->slot = net->conns_made;
    net->conns[net->conns_made++] = conn;
    return conn;
}

uint64_t conn_context(const struct conn *conn)
{
    return (uint64_t)conn->generation << 32 | conn->slot;
}

struct conn *conn_of_context(struct net *net, uint64_t context)
{
    struct conn *conn = net->conns[(uint32_t)context];
    return conn->generation == context >> 32 && conn->fd >= 0 && !conn->closing ? conn : NULL;
}

/* conn_reap() only: nothing of this connection is in flight. */
static void free_slot(struct net *net, struct conn *conn)
{
    http_parser_free(conn->parser);
    free(conn->pending);
    free(conn->out);
    *conn = (struct conn){.fd = -1, .slot = conn->slot, .generation = conn->generation + 1};
    net->free_slots[net->free_count++] = conn->slot;
    net->open_count--;
    counter_add(&net->counters.connections, (uint64_t)-1);
}

/* ---- receiving ---- */

static void arm_recv(struct net *net, struct conn *conn)
{
    if (conn->recv_armed || conn->closing || conn->peer_done)
        return;
    struct io_uring_sqe *sqe = uring_sqe(&net->uring);
    io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    io_uring_sqe_set_data64(sqe, user_data(OP_RECV, conn->generation, conn->slot));
    conn->recv_armed = true;
    conn->recv_cancelled = false;
}

/* A peer that goes on sending while its request is in work must not fill our memory. */
static void stop_recv(struct net *net, struct conn *conn)
{
    if (!conn->recv_armed || conn->recv_cancelled)
        return;
    struct io_uring_sqe *sqe = uring_sqe(&net->uring);
    io_uring_prep_cancel64(sqe, user_data(OP_RECV, conn->generation, conn->slot), 0);
    io_uring_sqe_set_data64(sqe, user_data(OP_CANCEL, 0, 0));
    conn->recv_cancelled = true;
}

void conn_open(struct net *net, int fd)
{
    struct conn *conn = new_slot(net);
    if (conn != NULL)
        conn->parser = http_parser_new();
    if (conn == NULL || conn->parser == NULL) {
        (void)close(fd);
        if (conn != NULL)
            net->free_slots[net->free_count++] = conn->slot;
        return;
    }
    conn->fd = fd;
    net->open_count++;
    counter_add(&net->counters.connections, 1);
    counter_add(&net->counters.accepted, 1);
    deadline_set(net, conn, DEADLINE_IDLE);
    arm_recv(net, conn);
}

static void leave_to_close(struct net *net, struct conn *conn)
{
    deadline_set(net, conn, DEADLINE_NONE);
    conn->closing = true;
    conn->newer = net->closing;
    net->closing = conn;
}

/* The request in work, if any, gets no answer. The slot stays until conn_reap(), so callers may look at it after
 * this. */
void conn_close(struct net *net, struct conn *conn)
{
    if (conn->closing)
        return;
    leave_to_close(net, conn);
    /* Ends the receive and the send in flight; the slot may be used again only after their
     * completions. */
    (void)shutdown(conn->fd, SHUT_RDWR);
}

void conn_hand_over(struct net *net, struct conn *conn, struct subscription *subscription)
{
    conn->subscription = subscription;
    net->handing_over++;
    leave_to_close(net, conn);
    stop_recv(net, conn);
}

/* Gives the descriptor to the broadcaster, or closes it. */
static void let_go(struct net *net, struct conn *conn)
{
    struct subscription *subscription = conn->subscription;
    bool taken = subscription != NULL && !conn->peer_done;
    if (taken) {
        subscription->fd = conn->fd;
        broadcast_take(net->server->options.broadcaster, net->index, subscription);
    } else {
        (void)close(conn->fd);
    }
    net->handing_over -= subscription != NULL;
    free(subscription);
}

void conn_reap(struct net *net)
{
    struct conn **link = &net->closing;
    while (*link != NULL) {
        struct conn *conn = *link;
        if (conn->recv_armed || conn->sending) {
            link = &conn->newer;
            continue;
        }
        *link = conn->newer;
        let_go(net, conn);
        free_slot(net, conn);
    }
}

static void linger(struct net *net, struct conn *conn)
{
    if (conn->peer_done) {
        conn_close(net, conn);
        return;
    }
    conn->lingering = true;
    (void)shutdown(conn->fd, SHUT_WR);
    deadline_set(net, conn, DEADLINE_LINGER);
}

static void refuse(struct net *net, struct conn *conn, unsigned status, const char *code,
                   const char *detail)
{
    conn->close_after = true;
    conn->head_only = false;
    answer_problem(net, conn, status, code, detail, NULL);
}

/* A request is complete: its answer comes now or later. more: bytes of the next one have come, too. */
static void begin_request(struct net *net, struct conn *conn, bool more)
{
    const struct http_request *request = http_parser_request(conn->parser);
    bool stopping = atomic_load_explicit(&net->server->stopping, memory_order_relaxed);
    deadline_set(net, conn, DEADLINE_NONE);
    conn->close_after = !request->keep_alive || (stopping && !more);
    conn->head_only = request->method == HTTP_HEAD_;
    conn->http_1_0 = request->is_http_1_0;
    conn->in_work = true;
    route_request(net, conn, request);
}

/* The head asks for leave to send the body. more: some of the body has come without it. */
static void begin_body(struct net *net, struct conn *conn, bool more)
{
    const struct http_request *head = http_parser_request(conn->parser);
    conn->head_only = head->method == HTTP_HEAD_;
    conn->close_after = true; /* the body of a refused head is not read */
    if (!route_admits(net, conn, head))
        return;
    conn->close_after = false;
    /* Goes out before the rest is read; the answer follows in the same stream. */
    if (!more && answer_continue(net, conn))
        conn_answered(net, conn);
}

static void watch_phase(struct net *net, struct conn *conn)
{
    enum http_phase phase = http_parser_phase(conn->parser);
    if (phase == HTTP_PHASE_HEAD && conn->deadline != DEADLINE_HEAD)
        deadline_set(net, conn, DEADLINE_HEAD);
    else if (phase == HTTP_PHASE_BODY && conn->deadline != DEADLINE_BODY)
        deadline_set(net, conn, DEADLINE_BODY);
    else if (phase == HTTP_PHASE_IDLE && conn->deadline != DEADLINE_IDLE)
        deadline_set(net, conn, DEADLINE_IDLE);
}

static bool is_occupied(const struct conn *conn)
{
    return conn->in_work || conn->sending || conn->closing || conn->lingering;
}

/* Feeds bytes to the parser until it has a request; returns how many are done with. */
static size_t feed(struct net *net, struct conn *conn, const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len && !is_occupied(conn)) {
        size_t taken = 0;
        enum http_fed fed = http_parser_feed(conn->parser, bytes + at, len - at, &taken);
        at += taken;
        if (fed == HTTP_FED_REQUEST) {
            begin_request(net, conn, at < len);
        } else if (fed == HTTP_FED_ERROR) {
            const struct http_error *error = http_parser_error(conn->parser);
            refuse(net, conn, error->status, error->code, error->detail);
            return len;
        } else if (fed == HTTP_FED_CONTINUE) {
            begin_body(net, conn, at < len);
        } else {
            watch_phase(net, conn);
        }
    }
    return at;
}

static void keep_pending(struct net *net, struct conn *conn, const char *bytes, size_t len)
{
    if (len == 0)
        return;
    if (conn->pending == NULL)
        conn->pending = malloc(PENDING_BYTES_MAX + RECV_BUFFERS * RECV_BUFFER_BYTES);
    if (conn->pending == NULL) {
        conn_close(net, conn);
        return;
    }
    memcpy(conn->pending + conn->pending_bytes, bytes, len);
    conn->pending_bytes += (uint32_t)len;
    if (conn->pending_bytes >= PENDING_BYTES_MAX)
        stop_recv(net, conn);
}

static void feed_pending(struct net *net, struct conn *conn)
{
    if (conn->pending_bytes > 0) {
        size_t taken = feed(net, conn, conn->pending, conn->pending_bytes);
        if (conn->closing)
            return;
        memmove(conn->pending, conn->pending + taken, conn->pending_bytes - taken);
        conn->pending_bytes -= (uint32_t)taken;
    }
    if (conn->pending_bytes == 0) {
        free(conn->pending);
        conn->pending = NULL;
    }
    if (conn->pending_bytes < PENDING_BYTES_MAX)
        arm_recv(net, conn);
    if (!is_occupied(conn) && conn->peer_done)
        conn_close(net, conn);
}

/* The peer shut its side down: requests that it sent whole are still answered. */
static void peer_finished(struct net *net, struct conn *conn)
{
    conn->peer_done = true;
    if (conn->lingering || !is_occupied(conn))
        conn_close(net, conn);
    else if (conn->in_work || conn->sending)
        conn->close_after = conn->close_after || conn->pending_bytes == 0;
}

static void take_bytes(struct net *net, struct conn *conn, const struct io_uring_cqe *cqe)
{
    uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    char *buffer = net->buffer_memory + (size_t)id * RECV_BUFFER_BYTES;
    size_t len = (size_t)cqe->res, taken = len;
    if (!conn->closing && !conn->lingering) {
        /* To keep the order, bytes that come behind pending ones become pending, too. */
        taken = conn->pending_bytes == 0 ? feed(net, conn, buffer, len) : 0;
        if (!conn->closing && !conn->lingering)
            keep_pending(net, conn, buffer + taken, len - taken);
    }
    io_uring_buf_ring_add(net->buffers, buffer, RECV_BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(RECV_BUFFERS), 0);
    io_uring_buf_ring_advance(net->buffers, 1);
}

void conn_received(struct net *net, struct conn *conn, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        conn->recv_armed = false;
    if (cqe->res > 0 && (cqe->flags & IORING_CQE_F_BUFFER) != 0)
        take_bytes(net, conn, cqe);
    if (conn->closing) {
        conn->peer_done = conn->peer_done || cqe->res == 0;
        return;
    }
    if (cqe->res == 0)
        peer_finished(net, conn);
    else if (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -ECANCELED)
        conn_close(net, conn);
    else if (conn->pending_bytes < PENDING_BYTES_MAX)
        arm_recv(net, conn); /* ENOBUFS: this round gives buffers back before the next wait */
}

/* ---- sending ---- */

bool conn_write(struct net *net, struct conn *conn, const char *bytes, size_t len)
{
    size_t needed = conn->out_bytes + len;
    if (needed > conn->out_room) {
        size_t room = needed < OUT_BYTES_MIN ? OUT_BYTES_MIN : needed;
        char *grown = room <= UINT32_MAX ? realloc(conn->out, room) : NULL;
        if (grown == NULL) {
            conn_close(net, conn);
            return false;
        }
        conn->out = grown;
        conn->out_room = (uint32_t)room;
    }
    memcpy(conn->out + conn->out_bytes, bytes, len);
    conn->out_bytes += (uint32_t)len;
    return true;
}

static void submit_send(struct net *net, struct conn *conn)
{
    struct io_uring_sqe *sqe = uring_sqe(&net->uring);
    io_uring_prep_send(sqe, conn->fd, conn->out + conn->out_sent, conn->out_bytes - conn->out_sent,
                       MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, user_data(OP_SEND, conn->generation, conn->slot));
    conn->sending = true;
    conn->acknowledged_bytes = DRAIN_UNKNOWN;
}

void conn_answered(struct net *net, struct conn *conn)
{
    conn->in_work = false;
    if (http_parser_phase(conn->parser) == HTTP_PHASE_COMPLETE)
        http_parser_reset(conn->parser);
    deadline_set(net, conn, DEADLINE_SEND);
    submit_send(net, conn);
}

static void sent_whole(struct net *net, struct conn *conn)
{
    conn->out_bytes = conn->out_sent = 0;
    if (conn->out_room > OUT_BYTES_KEPT) {
        free(conn->out);
        conn->out = NULL;
        conn->out_room = 0;
    }
    if (conn->close_after) {
        linger(net, conn);
        return;
    }
    deadline_set(net, conn, DEADLINE_NONE);
    watch_phase(net, conn);
    feed_pending(net, conn);
}

void conn_sent(struct net *net, struct conn *conn, int result)
{
    conn->sending = false;
    if (conn->closing || result <= 0) {
        conn_close(net, conn);
        return;
    }
    conn->out_sent += (uint32_t)result;
    if (conn->out_sent == conn->out_bytes) {
        sent_whole(net, conn);
        return;
    }
    deadline_set(net, conn, DEADLINE_SEND);
    submit_send(net, conn);
}

/* ---- ends ---- */

void conn_expired(struct net *net, struct conn *conn)
{
    enum deadline deadline = conn->deadline;
    deadline_set(net, conn, DEADLINE_NONE);
    if (deadline == DEADLINE_HEAD)
        refuse(net, conn, 408, "request-timeout", "the header was not complete within 5 s");
    else if (deadline == DEADLINE_BODY)
        refuse(net, conn, 408, "request-timeout", "the body was not complete within 5 s");
    else if (deadline == DEADLINE_SEND && drain_moves(conn->fd, 0, &conn->acknowledged_bytes))
        deadline_set(net, conn, DEADLINE_SEND);
    else
        conn_close(net, conn);
}

void conn_stop(struct net *net, struct conn *conn)
{
    if (conn->fd < 0 || conn->closing)
        return;
    /* The rest of a request that has begun may be on its way; what is sent meanwhile bids its client go on (100). */
    enum http_phase phase = http_parser_phase(conn->parser);
    bool begun = phase == HTTP_PHASE_HEAD || phase == HTTP_PHASE_BODY;
    if (conn->in_work || conn->sending)
        conn->close_after = conn->close_after || (conn->pending_bytes == 0 && !begun);
    else if (conn->lingering || phase == HTTP_PHASE_IDLE)
        conn_close(net, conn);
}
