/*
 * loop.c: a net thread's round: it plays the workers that it has sent commands to, waits, takes completions and the
 * engine's replies, and expires deadlines (see net.h).
 *
 * One system call a round: submit and wait. Before it waits, the thread tells its port that it
 * sleeps, so that an engine thread with a reply, or a net thread that plays a worker, writes to the
 * eventfd, which gives one more completion.
 *
 * Failure modes: out of descriptors or memory at accept: accepting stops for ACCEPT_RETRY_MS; at open_max
 * connections, until one closes. A full submission queue is submitted at once.
 *
 * Thread: net-N.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/check.h"
#include "net/net.h"
#include "net/replies.h"

static const size_t buffer_ring_bytes = RECV_BUFFERS * sizeof(struct io_uring_buf);

/* ---- opening ---- */

static bool open_buffers(struct net *net, char *error, size_t error_bytes)
{
    void *memory = mmap(NULL, buffer_ring_bytes + (size_t)RECV_BUFFERS * RECV_BUFFER_BYTES,
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return uring_explain(error, error_bytes, "receive buffers", -errno);
    net->buffers = memory;
    net->buffer_memory = (char *)memory + buffer_ring_bytes;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory,
                                   .ring_entries = RECV_BUFFERS,
                                   .bgid = BUFFER_GROUP};
    int rc = io_uring_register_buf_ring(&net->uring.ring, &reg, 0);
    if (rc < 0)
        return uring_explain(error, error_bytes, "registering receive buffers", rc);
    io_uring_buf_ring_init(net->buffers);
    for (int i = 0; i < RECV_BUFFERS; i++)
        io_uring_buf_ring_add(net->buffers, net->buffer_memory + (size_t)i * RECV_BUFFER_BYTES,
                              RECV_BUFFER_BYTES, (unsigned short)i,
                              io_uring_buf_ring_mask(RECV_BUFFERS), i);
    io_uring_buf_ring_advance(net->buffers, RECV_BUFFERS);
    return true;
}

bool net_ring_open(struct net *net, char *error, size_t error_bytes)
{
    return uring_open(&net->uring, SQ_ENTRIES, CQ_ENTRIES, error, error_bytes) &&
           open_buffers(net, error, error_bytes);
}

void net_ring_close(struct net *net)
{
    uring_close(&net->uring);
    if (net->buffers != NULL)
        (void)munmap((void *)net->buffers,
                     buffer_ring_bytes + (size_t)RECV_BUFFERS * RECV_BUFFER_BYTES);
}

/* ---- arming ---- */

static void arm_event(struct net *net)
{
    uring_arm_wake(&net->uring, user_data(OP_EVENT, 0, 0));
}

static void arm_accept(struct net *net)
{
    if (net->accept_armed || net->listener < 0 || net->open_count >= net->open_max ||
        net->now.mono_ms < net->accept_retry_mono_ms)
        return;
    struct io_uring_sqe *sqe = uring_sqe(&net->uring);
    io_uring_prep_multishot_accept(sqe, net->listener, NULL, NULL, 0);
    io_uring_sqe_set_data64(sqe, user_data(OP_ACCEPT, 0, 0));
    net->accept_armed = true;
    net->accept_cancelled = false;
}

static void stop_accept(struct net *net)
{
    if (!net->accept_armed || net->accept_cancelled)
        return;
    struct io_uring_sqe *sqe = uring_sqe(&net->uring);
    io_uring_prep_cancel64(sqe, user_data(OP_ACCEPT, 0, 0), 0);
    io_uring_sqe_set_data64(sqe, user_data(OP_CANCEL, 0, 0));
    net->accept_cancelled = true;
}

/* ---- completions ---- */

static void accepted(struct net *net, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        net->accept_armed = false;
    if (cqe->res >= 0)
        conn_open(net, cqe->res);
    else if (cqe->res != -ECANCELED) /* out of descriptors or memory: pause */
        net->accept_retry_mono_ms = net->now.mono_ms + ACCEPT_RETRY_MS;
    if (net->open_count >= net->open_max)
        stop_accept(net);
}

static void complete(struct net *net, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    enum operation op = (enum operation)(data >> 56);
    if (op == OP_ACCEPT) {
        accepted(net, cqe);
    } else if (op == OP_EVENT) {
        arm_event(net);
    } else if (op == OP_RECV || op == OP_SEND) {
        struct conn *conn = net->conns[(uint32_t)data];
        MUST((conn->generation & 0xffffff) == (data >> 32 & 0xffffff),
             "a completion for a slot that was given away");
        if (op == OP_RECV)
            conn_received(net, conn, cqe);
        else
            conn_sent(net, conn, cqe->res);
    }
}

/* Returns how many completions there were. */
static unsigned complete_all(struct net *net)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&net->uring.ring, head, cqe)
    {
        complete(net, cqe);
        n++;
    }
    io_uring_cq_advance(&net->uring.ring, n);
    atomic_store_explicit(&net->counters.cq_overflows, *net->uring.ring.cq.koverflow,
                          memory_order_relaxed);
    return n;
}

static void take_replies(struct net *net)
{
    struct reply reply;
    while (port_receive(net->port, &reply)) {
        struct conn *conn = conn_of_context(net, reply.context);
        if (conn != NULL && conn->in_work)
            render_reply(net, conn, &reply);
    }
}

/* ---- a round ---- */

/* The sooner of the two; next_ms -1: never. */
static int64_t sooner(int64_t next_ms, int64_t due_in_ms)
{
    int64_t at_least_0 = due_in_ms > 0 ? due_in_ms : 0;
    return next_ms < 0 || at_least_0 < next_ms ? at_least_0 : next_ms;
}

static int64_t sleep_ms(const struct net *net)
{
    int64_t next_ms = deadline_next_ms(net);
    if (!net->accept_armed && net->listener >= 0 && net->open_count < net->open_max)
        next_ms = sooner(next_ms, net->accept_retry_mono_ms - net->now.mono_ms);
    if (net->stop_at_mono_ms != 0)
        next_ms = sooner(next_ms, net->stop_at_mono_ms - net->now.mono_ms);
    return next_ms;
}

static void wait_for_work(struct net *net)
{
    struct io_uring_cqe *cqe;
    int64_t ms = sleep_ms(net);
    struct __kernel_timespec limit = {ms / 1000, ms % 1000 * 1000000};
    bool may_sleep = port_may_sleep(net->port);
    int rc = io_uring_submit_and_wait_timeout(&net->uring.ring, &cqe, may_sleep && ms != 0,
                                              ms > 0 ? &limit : NULL, NULL);
    port_awake(net->port);
    MUST(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY,
         "io_uring_enter refuses a ring that it took before");
}

/* What clients had sent when the signal came is answered, also on connections that were not accepted yet.
 * The kernel reports a few at a time, so it is asked until it has no more, for STOP_HEAR_MS at most. */
static void hear_the_last(struct net *net)
{
    const int64_t end_mono_ms = net->now.mono_ms + STOP_HEAR_MS;
    for (int quiet = 0; quiet < 2 && net->now.mono_ms < end_mono_ms; net->now = now_read()) {
        (void)io_uring_submit_and_get_events(&net->uring.ring);
        quiet = complete_all(net) > 0 ? 0 : quiet + 1;
    }
}

static void stop_all(struct net *net)
{
    if (net->stop_at_mono_ms == 0) {
        hear_the_last(net);
        net->stop_at_mono_ms = net->now.mono_ms + STOP_MS;
    }
    if (net->listener >= 0) {
        stop_accept(net);
        (void)shutdown(net->listener, SHUT_RDWR);
        (void)close(net->listener);
        net->listener = -1;
    }
    for (uint32_t i = 0; i < net->conns_made; i++)
        conn_stop(net, net->conns[i]);
}

void *net_main(void *arg)
{
    struct net *net = arg;
    char name[16];
    snprintf(name, sizeof name, "net-%u", net->index);
    (void)pthread_setname_np(pthread_self(), name);
    wake_for_batches();
    MUST(uring_enable(&net->uring), "a ring that cannot be enabled");
    net->now = now_read();
    arm_event(net);
    for (;;) {
        arm_accept(net);
        port_play(net->port, now_read()); /* a hold begins now, not when the round did */
        wait_for_work(net);
        net->now = now_read();
        (void)complete_all(net);
        take_replies(net);
        deadline_expire(net);
        conn_reap(net);
        if (!atomic_load_explicit(&net->server->stopping, memory_order_acquire))
            continue;
        stop_all(net);
        conn_reap(net);
        if (net->open_count == 0 || net->now.mono_ms >= net->stop_at_mono_ms)
            return NULL;
    }
}
