/*
 * floor.c: a server that only moves bytes, to show what this machine costs any io_uring server.
 *
 *   floor ANSWER FRAME
 *
 * Both are files. Each receive counts as one request: `GET /stream` opens a stream, any other is answered with the
 * bytes of ANSWER; `POST /frame` first sends FRAME to every stream. Nothing is parsed, kept, decided or stored, so
 * what flashd costs above this is what it does. The ring is made and used as in
 * net/loop.c: multishot accept and receive, a ring of buffers, plain sends, one system call a round.
 *
 * Prints "floor listening on URL". Thread: main. Fails: exits 1 with a line on stderr. A signal ends it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 2048,
    CQ_ENTRIES = 8192,
    BUFFERS = 1024, /* a power of two */
    BUFFER_BYTES = 2048,
    BUFFER_GROUP = 1,
    FILE_BYTES = 4096,
    STREAMS_MAX = 20000,
};

enum operation { OP_ACCEPT, OP_RECEIVE, OP_SEND };

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: connected\n\n";

static struct {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *memory;
    char answer[FILE_BYTES], frame[FILE_BYTES];
    size_t answer_bytes, frame_bytes;
    int streams[STREAMS_MAX];
    uint32_t stream_count;
} all;

static void check(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(EXIT_FAILURE);
}

static size_t read_file(const char *path, char into[FILE_BYTES])
{
    FILE *file = fopen(path, "re");
    check(file != NULL, path);
    size_t len = fread(into, 1, FILE_BYTES, file);
    (void)fclose(file);
    return len;
}

static struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&all.ring);
    while (sqe == NULL) {
        (void)io_uring_submit(&all.ring);
        sqe = io_uring_get_sqe(&all.ring);
    }
    return sqe;
}

static void mark(struct io_uring_sqe *sqe, enum operation op, int fd)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)op << 32 | (uint32_t)fd);
}

static void send_bytes(int fd, const char *bytes, size_t len)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_send(sqe, fd, bytes, len, MSG_NOSIGNAL);
    mark(sqe, OP_SEND, fd);
}

static void receive(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    mark(sqe, OP_RECEIVE, fd);
}

/* ---- requests ---- */

static bool begins(const char *text, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

static void take_request(int fd, const char *request, size_t len)
{
    if (begins(request, len, "GET /stream") && all.stream_count < STREAMS_MAX) {
        all.streams[all.stream_count++] = fd;
        send_bytes(fd, stream_head, sizeof stream_head - 1);
        return;
    }
    if (begins(request, len, "POST /frame"))
        for (uint32_t i = 0; i < all.stream_count; i++)
            send_bytes(all.streams[i], all.frame, all.frame_bytes);
    send_bytes(fd, all.answer, all.answer_bytes);
}

static void forget(int fd)
{
    for (uint32_t i = 0; i < all.stream_count; i++)
        if (all.streams[i] == fd)
            all.streams[i--] = all.streams[--all.stream_count];
    (void)close(fd);
}

static void give_back(uint16_t id)
{
    io_uring_buf_ring_add(all.buffers, all.memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES, id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(all.buffers, 1);
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
    if (cqe->res > 0) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        take_request(fd, all.memory + (size_t)id * BUFFER_BYTES, (size_t)cqe->res);
        give_back(id);
    }
    if ((cqe->flags & IORING_CQE_F_MORE) != 0)
        return;
    if (cqe->res > 0 || cqe->res == -ENOBUFS)
        receive(fd);
    else
        forget(fd);
}

/* ---- the ring ---- */

static void open_ring(void)
{
    struct io_uring_params params = {.cq_entries = CQ_ENTRIES,
                                     .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    errno = -io_uring_queue_init_params(SQ_ENTRIES, &all.ring, &params);
    check(errno == 0, "io_uring");
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    void *memory = mmap(NULL, ring_bytes + (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "buffers");
    all.buffers = memory;
    all.memory = (char *)memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)memory, .ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    errno = -io_uring_register_buf_ring(&all.ring, &reg, 0);
    check(errno == 0, "registering the buffers");
    io_uring_buf_ring_init(all.buffers);
    for (uint16_t id = 0; id < BUFFERS; id++)
        give_back(id);
}

static int listen_somewhere(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    check(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 4096) == 0 &&
              getsockname(fd, (struct sockaddr *)&at, &len) == 0,
          "listening");
    printf("floor listening on http://127.0.0.1:%u\n", ntohs(at.sin_port));
    (void)fflush(stdout);
    return fd;
}

static void complete(const struct io_uring_cqe *cqe)
{
    enum operation op = (enum operation)(cqe->user_data >> 32);
    if (op == OP_ACCEPT && cqe->res >= 0)
        receive(cqe->res);
    else if (op == OP_RECEIVE)
        received((int)(uint32_t)cqe->user_data, cqe);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc != 3) {
        fprintf(stderr, "usage: floor ANSWER FRAME\n");
        return EXIT_FAILURE;
    }
    all.answer_bytes = read_file(argv[1], all.answer);
    all.frame_bytes = read_file(argv[2], all.frame);
    check(getrlimit(RLIMIT_NOFILE, &files) == 0, "descriptors");
    files.rlim_cur = files.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &files) == 0, "descriptors");
    open_ring();
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_multishot_accept(sqe, listen_somewhere(), NULL, NULL, 0);
    mark(sqe, OP_ACCEPT, 0);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        (void)io_uring_submit_and_wait(&all.ring, 1);
        io_uring_for_each_cqe(&all.ring, head, cqe)
        {
            complete(cqe);
            n++;
        }
        io_uring_cq_advance(&all.ring, n);
    }
}
