/*
 * openloop.c: how long does each purchase take, at times set beforehand, whatever the server does?
 *
 *   openloop PORT REQUEST RATE SECONDS     on 127.0.0.1; 64 connections
 *
 * REQUEST is a file with one purchase, over HTTP or in Redis's protocol; "########" in it becomes the
 * number of the arrival, so that every buyer is new.
 *
 * Arrivals are random (exponential gaps, fixed seed) at RATE a second. One that finds no free
 * connection waits for one, and its latency counts from the time it was scheduled: a server that
 * stalls cannot slow down its own judge. Answers may come up to 10 seconds after SECONDS.
 *
 * Out: one line of JSON: scheduled, accepted (2xx; from Redis: a string), refused (anything else),
 * latencies in us.
 * Thread: main; non-blocking sockets, one epoll. Fails: exits 1 with a line on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 64, BUFFER_BYTES = 4096, ARRIVALS_MAX = 20000000, GRACE_S = 10 };

static const char mark[] = "########";

struct connection {
    int fd;
    uint32_t received; /* bytes of the answer so far */
    uint64_t due_ns;   /* when the request under way was scheduled */
    char answer[BUFFER_BYTES + 1];
};

static struct {
    char request[BUFFER_BYTES + 1];
    char *number; /* in the request: where the mark stood */
    size_t request_bytes;
    bool is_redis;
    struct connection connections[CONNECTIONS];
    uint32_t idle[CONNECTIONS], idle_count;
    int poll;
    uint64_t *due_ns; /* by arrival; since the start */
    uint32_t *took_us;
    uint32_t scheduled, sent, answered, accepted;
    uint64_t start_ns;
} loop;

static void die(const char *what)
{
    fprintf(stderr, "openloop: %s: %s\n", what, errno != 0 ? strerror(errno) : "no more is known");
    exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec - loop.start_ns;
}

/* ---- before the start ---- */

/* xorshift64*: uniform in (0, 1]. */
static double uniform(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (double)((state * 0x2545f4914f6cdd1dULL >> 11) + 1) / 9007199254740992.0;
}

static void plan(double rate, double seconds)
{
    double at_s = 0, room = rate * seconds * 1.5 + 1000;
    if (!(rate >= 1 && seconds >= 1 && room < ARRIVALS_MAX))
        die("RATE or SECONDS out of range");
    loop.due_ns = calloc((size_t)room, sizeof *loop.due_ns);
    loop.took_us = calloc((size_t)room, sizeof *loop.took_us);
    if (loop.due_ns == NULL || loop.took_us == NULL)
        die("memory");
    while ((at_s -= log(uniform()) / rate) < seconds && loop.scheduled < (uint32_t)room)
        loop.due_ns[loop.scheduled++] = (uint64_t)(at_s * 1e9);
}

static void load_request(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die(path);
    loop.request_bytes = fread(loop.request, 1, BUFFER_BYTES, file);
    (void)fclose(file);
    loop.number = strstr(loop.request, mark);
    loop.is_redis = loop.request[0] == '*';
    if (loop.number == NULL)
        die("the request has no place for a number");
}

static void connect_all(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    loop.poll = epoll_create1(0);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
            fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
            epoll_ctl(loop.poll, EPOLL_CTL_ADD, fd, &event) != 0)
            die("connecting");
        loop.connections[i].fd = fd;
        loop.idle[loop.idle_count++] = i;
    }
}

/* ---- requests and answers ---- */

static void buy(struct connection *c, uint32_t arrival)
{
    char number[sizeof mark];
    snprintf(number, sizeof number, "%08u", arrival);
    memcpy(loop.number, number, sizeof mark - 1);
    c->due_ns = loop.due_ns[arrival];
    c->received = 0;
    /* All of it fits an empty socket buffer. */
    if (write(c->fd, loop.request, loop.request_bytes) != (ssize_t)loop.request_bytes)
        die("sending");
}

/* Sends what is due, as long as connections are free. */
static void send_due(void)
{
    while (loop.idle_count > 0 && loop.sent < loop.scheduled &&
           loop.due_ns[loop.sent] <= now_ns()) {
        buy(&loop.connections[loop.idle[--loop.idle_count]], loop.sent);
        loop.sent++;
    }
}

static bool is_whole_http(const struct connection *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n");
    const char *length = strcasestr(c->answer, "\r\ncontent-length:");
    if (end == NULL)
        return false;
    if (length == NULL || length > end)
        die("an answer without Content-Length");
    unsigned long body = strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    return c->received >= (size_t)(end + 4 - c->answer) + body;
}

/* A string, preceded by its length; or one line. */
static bool is_whole_redis(const struct connection *c)
{
    const char *end = strstr(c->answer, "\r\n");
    if (end == NULL || c->answer[0] != '$')
        return end != NULL;
    return c->received >= (size_t)(end + 4 - c->answer) + strtoul(c->answer + 1, NULL, 10);
}

static void receive(uint32_t index)
{
    struct connection *c = &loop.connections[index];
    ssize_t n = read(c->fd, c->answer + c->received, BUFFER_BYTES - c->received);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("receiving");
    c->received += (uint32_t)n;
    c->answer[c->received] = '\0';
    if (!(loop.is_redis ? is_whole_redis(c) : is_whole_http(c)))
        return;
    loop.took_us[loop.answered++] = (uint32_t)((now_ns() - c->due_ns) / 1000);
    loop.accepted +=
        loop.is_redis ? c->answer[0] == '$' : strncmp(c->answer, "HTTP/1.1 2", 10) == 0;
    loop.idle[loop.idle_count++] = index;
}

/* Until the next arrival is due, if a connection is free for it; else 100 ms. An answer ends the wait. */
static struct timespec wait_time(void)
{
    uint64_t now = now_ns(), wait_ns = 100000000;
    if (loop.idle_count > 0 && loop.sent < loop.scheduled)
        wait_ns = loop.due_ns[loop.sent] > now ? loop.due_ns[loop.sent] - now : 0;
    return (struct timespec){(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};
}

static void run(uint64_t end_ns)
{
    struct epoll_event events[CONNECTIONS];
    loop.start_ns = now_ns();
    while (loop.answered < loop.scheduled) {
        if (now_ns() > end_ns)
            die("answers are missing");
        send_due();
        const struct timespec wait = wait_time();
        int count = epoll_pwait2(loop.poll, events, CONNECTIONS, &wait, NULL);
        for (int i = 0; i < count; i++)
            receive(events[i].data.u32);
    }
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(double percent)
{
    return loop.took_us[(uint32_t)(percent / 100 * (loop.answered - 1))];
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: openloop PORT REQUEST RATE SECONDS\n");
        return EXIT_FAILURE;
    }
    double seconds = strtod(argv[4], NULL);
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* wake at the arrival, not 50 us after */
    plan(strtod(argv[3], NULL), seconds);
    load_request(argv[2]);
    connect_all((uint16_t)strtoul(argv[1], NULL, 10));
    run((uint64_t)((seconds + GRACE_S) * 1e9));
    if (loop.answered == 0)
        die("no arrivals");
    qsort(loop.took_us, loop.answered, sizeof *loop.took_us, by_size);
    printf("{\"scheduled\":%u,\"accepted\":%u,\"refused\":%u,\"p50_us\":%u,\"p90_us\":%u,"
           "\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}\n",
           loop.scheduled, loop.accepted, loop.answered - loop.accepted, percentile(50),
           percentile(90), percentile(99), percentile(99.9), loop.took_us[loop.answered - 1]);
    return EXIT_SUCCESS;
}
