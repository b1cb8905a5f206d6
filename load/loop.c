/*
 * loop.c: see loop.h.
 *
 * user_data is the link's life, its index and the operation. A link is connected again only after the connect
 * and receive of its last life have completed (`pending`). Sends are not counted: the completion of one that
 * failed may come in a later life, and is told by its number.
 *
 * A receive that finds no buffer (ENOBUFS) is armed again, for the next round: by then buffers are back.
 *
 * Thread: the loop's. Fails: a link by on_closed with link->error.
 */
#include "load/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/clock.h"

enum { SQ_ENTRIES = 2048, CQ_ENTRIES = 16384, CQE_BATCH = 256, BUFFER_GROUP = 1 };
enum operation { OP_CONNECT, OP_SEND, OP_RECEIVE };

/* ---- parsing ---- */

static int heard_body(llhttp_t *parser, const char *bytes, size_t len)
{
    struct link *link = parser->data;
    link->loop->owner.on_body(link->loop->owner.self, link, bytes, len);
    return 0;
}

static int heard_answer(llhttp_t *parser)
{
    struct link *link = parser->data;
    if (link->state == LINK_OPEN)
        link->loop->owner.on_answer(link->loop->owner.self, link);
    return 0;
}

/* ---- opening ---- */

static bool explain(char *error, size_t error_bytes, const char *what, int code)
{
    (void)snprintf(error, error_bytes, "io_uring: %s: %s%s", what, strerror(-code),
                   code == -EPERM || code == -ENOSYS
                       ? " (blocked by a container's seccomp profile, or "
                         "kernel.io_uring_disabled is set?)"
                   : code == -ENOMEM ? " (raise RLIMIT_MEMLOCK)"
                   : code == -EINVAL ? " (the kernel is older than 6.1)"
                                     : "");
    return false;
}

static void give_buffer(struct loop *loop, uint32_t buffer)
{
    io_uring_buf_ring_add(loop->buffers, loop->buffer_memory + (size_t)buffer * LOOP_BUFFER_BYTES,
                          LOOP_BUFFER_BYTES, (unsigned short)buffer,
                          io_uring_buf_ring_mask(LOOP_BUFFERS), 0);
    io_uring_buf_ring_advance(loop->buffers, 1);
}

static const size_t ring_bytes = LOOP_BUFFERS * sizeof(struct io_uring_buf);

static bool open_buffers(struct loop *loop, char *error, size_t error_bytes)
{
    void *memory = mmap(NULL, ring_bytes + (size_t)LOOP_BUFFERS * LOOP_BUFFER_BYTES,
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return explain(error, error_bytes, "receive buffers", -errno);
    loop->buffers = memory;
    loop->buffer_memory = (char *)memory + ring_bytes;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory,
                                   .ring_entries = LOOP_BUFFERS,
                                   .bgid = BUFFER_GROUP};
    int rc = io_uring_register_buf_ring(&loop->ring, &reg, 0);
    if (rc < 0)
        return explain(error, error_bytes, "registering receive buffers", rc);
    io_uring_buf_ring_init(loop->buffers);
    for (uint32_t i = 0; i < LOOP_BUFFERS; i++)
        give_buffer(loop, i);
    return true;
}

bool loop_open(struct loop *loop, uint32_t links, const struct address *address,
               const struct loop_owner *owner, char *error, size_t error_bytes)
{
    memset(loop, 0, sizeof *loop);
    loop->owner = *owner;
    loop->address = *address;
    loop->link_count = links;
    loop->links = calloc((size_t)links + 1, sizeof *loop->links);
    if (loop->links == NULL) {
        (void)snprintf(error, error_bytes, "no memory for %u connections", links);
        return false;
    }
    for (uint32_t i = 0; i < links; i++) {
        loop->links[i].loop = loop;
        loop->links[i].index = i;
        loop->links[i].fd = -1;
    }
    llhttp_settings_init(&loop->settings);
    loop->settings.on_body = heard_body;
    loop->settings.on_message_complete = heard_answer;
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES,
                                     .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &loop->ring, &params);
    if (rc < 0)
        return explain(error, error_bytes, "setting up a ring", rc);
    loop->now_ns = clock_ns();
    return open_buffers(loop, error, error_bytes);
}

void loop_close(struct loop *loop)
{
    for (uint32_t i = 0; i < loop->link_count; i++)
        if (loop->links[i].fd >= 0)
            (void)close(loop->links[i].fd);
    io_uring_queue_exit(&loop->ring);
    if (loop->buffers != NULL)
        (void)munmap((void *)loop->buffers, ring_bytes + (size_t)LOOP_BUFFERS * LOOP_BUFFER_BYTES);
    free(loop->links);
}

/* ---- submissions ---- */

static struct io_uring_sqe *take_sqe(struct link *link)
{
    struct io_uring *ring = &link->loop->ring;
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    while (sqe == NULL) {
        (void)io_uring_submit(ring);
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

static void label(struct io_uring_sqe *sqe, const struct link *link, enum operation operation)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)link->life << 40 | (uint64_t)link->index << 8 |
                                     (uint64_t)operation);
}

static void arm_receive(struct link *link)
{
    struct io_uring_sqe *sqe = take_sqe(link);
    io_uring_prep_recv_multishot(sqe, link->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    label(sqe, link, OP_RECEIVE);
    link->pending++;
}

static void closed(struct link *link)
{
    if (link->fd >= 0)
        (void)close(link->fd);
    link->fd = -1;
    link->state = LINK_CLOSED;
    link->loop->owner.on_closed(link->loop->owner.self, link);
}

void link_connect(struct link *link)
{
    const struct address *address = &link->loop->address;
    int on = 1;
    llhttp_init(&link->parser, HTTP_RESPONSE, &link->loop->settings);
    link->parser.data = link;
    link->life++;
    link->error = 0;
    link->fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        link->error = errno;
        closed(link);
        return;
    }
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->state = LINK_CONNECTING;
    struct io_uring_sqe *sqe = take_sqe(link);
    io_uring_prep_connect(sqe, link->fd, (const struct sockaddr *)&address->at, address->bytes);
    label(sqe, link, OP_CONNECT);
    link->pending++;
}

void link_send(struct link *link)
{
    struct io_uring_sqe *sqe = take_sqe(link);
    /* WAITALL: the kernel goes on after a short send, so no completion means that all was sent. */
    io_uring_prep_send(sqe, link->fd, link->request, link->request_bytes,
                       MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    label(sqe, link, OP_SEND);
}

void link_close(struct link *link)
{
    if (link->state == LINK_CLOSED || link->state == LINK_CLOSING)
        return;
    link->state = LINK_CLOSING;
    /* Ends the receive that is armed; whatever else is pending ends with it. */
    (void)shutdown(link->fd, SHUT_RDWR);
    if (link->pending == 0)
        closed(link);
}

/* ---- completions ---- */

static void connected(struct link *link, int result)
{
    link->pending--;
    if (result < 0 || link->state == LINK_CLOSING) {
        link->error = result < 0 ? -result : 0;
        closed(link);
        return;
    }
    link->state = LINK_OPEN;
    arm_receive(link);
    link->loop->owner.on_open(link->loop->owner.self, link);
}

static void feed(struct link *link, const char *bytes, size_t len)
{
    if (link->state != LINK_OPEN)
        return;
    if (llhttp_execute(&link->parser, bytes, len) != HPE_OK) {
        link->error = EPROTO;
        link_close(link);
    }
}

static void received(struct link *link, const struct io_uring_cqe *cqe)
{
    struct loop *loop = link->loop;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (cqe->res > 0)
            feed(link, loop->buffer_memory + (size_t)buffer * LOOP_BUFFER_BYTES, (size_t)cqe->res);
        give_buffer(loop, buffer);
    }
    bool over = cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS);
    if (over && link->state == LINK_OPEN)
        (void)llhttp_finish(&link->parser); /* an answer may end with the connection */
    /* After the owner was told of answers: at 0, its link_close() would begin a new life under our hands. */
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        link->pending--;
    if (over && link->state == LINK_OPEN) {
        if (link->error == 0)
            link->error = cqe->res < 0 ? -cqe->res : 0;
        link_close(link);
    } else if (link->state == LINK_OPEN && link->pending == 0) {
        arm_receive(link);
    } else if (link->state == LINK_CLOSING && link->pending == 0) {
        closed(link);
    }
}

static void complete(struct loop *loop, const struct io_uring_cqe *cqe)
{
    uint32_t index = (uint32_t)(cqe->user_data >> 8);
    if (index >= loop->link_count)
        return;
    struct link *link = &loop->links[index];
    if (link->life != cqe->user_data >> 40)
        return; /* a send of an earlier life */
    switch ((enum operation)(cqe->user_data & 0xff)) {
    case OP_CONNECT:
        connected(link, cqe->res);
        return;
    case OP_RECEIVE:
        received(link, cqe);
        return;
    case OP_SEND: /* only after a failure */
        if (link->state == LINK_OPEN && cqe->res != -ECANCELED) {
            link->error = cqe->res < 0 ? -cqe->res : EPIPE;
            link_close(link);
        }
        return;
    }
}

void loop_round(struct loop *loop, uint64_t wait_ns)
{
    struct io_uring_cqe *cqe = NULL, *batch[CQE_BATCH];
    struct __kernel_timespec span = {(long long)(wait_ns / NS_PER_S),
                                     (long long)(wait_ns % NS_PER_S)};
    if (wait_ns == 0)
        (void)io_uring_submit_and_get_events(&loop->ring);
    else
        (void)io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &span, NULL);
    unsigned count;
    do {
        count = io_uring_peek_batch_cqe(&loop->ring, batch, CQE_BATCH);
        loop->now_ns = clock_ns();
        for (unsigned i = 0; i < count; i++)
            complete(loop, batch[i]);
        io_uring_cq_advance(&loop->ring, count);
    } while (count == CQE_BATCH);
}
