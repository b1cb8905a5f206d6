/*
 * audience.c: many event streams of one server, their frames counted and timed.
 *
 *   audience PORT STREAMS SUBSCRIBE SHOT [--mute]
 *
 * SUBSCRIBE and SHOT are files with one HTTP request each: the first opens a stream, the second makes one event
 * ("########" in it becomes a number). Writes {"open":N} once every stream has answered 200; then one line of JSON for
 * each line on stdin:
 *   shots N SECONDS      fires N shots, each once all streams have the frame of the one before
 *   wait FRAMES SECONDS  waits until that many more frames have come, on all streams together
 * SECONDS limits each. With --mute no stream is read after its first bytes. The program ends with stdin.
 *
 * A frame is a block of lines that a blank line ends, with a line of data in it. It arrives when the kernel received
 * its segment: this process's own delay does not count. Delays are counted from the shot's departure and, signed, from
 * the arrival of its answer.
 *
 * Thread: main; one epoll. Fails: exits 1 with a line on stderr.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS_MAX = 18000, FILE_BYTES = 4096, READ_BYTES = 256 * 1024, EVENTS = 256 };

static const char mark[] = "########";

struct source {
    int fd;
    bool begun, blank, data; /* answered 200; at a line's start; data since the blank line */
};

static struct {
    uint16_t port;
    int poll;
    uint32_t count, open, shots;
    bool mute;
    struct source *streams, shooter;
    char subscribe[FILE_BYTES + 1], request[FILE_BYTES + 1], shot[FILE_BYTES + 1];
    char buffer[READ_BYTES + 1];
    uint64_t frames, delays, room;
    int64_t arrived_ns, sent_ns, answered_ns;
    int64_t *delays_ns, *signed_ns; /* since the shot left, since its answer came; by frame */
} all;

static void die(const char *what)
{
    fprintf(stderr, "audience: %s: %s\n", what, errno != 0 ? strerror(errno) : "no more is known");
    exit(EXIT_FAILURE);
}

/* The clock of the kernel's timestamps. */
static int64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * 1000000000 + at.tv_nsec;
}

static void load(const char *path, char *text)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die(path);
    text[fread(text, 1, FILE_BYTES, file)] = '\0';
    (void)fclose(file);
}

static void send_all(int fd, const char *text)
{
    size_t len = strlen(text);
    if (send(fd, text, len, MSG_NOSIGNAL) !=
        (ssize_t)len) /* all of it fits an empty socket buffer */
        die("sending");
}

static void open_one(struct source *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(all.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(s->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        epoll_ctl(all.poll, EPOLL_CTL_ADD, s->fd, &event) != 0)
        die("connecting");
}

/* ---- receiving ---- */

/* Receives into all.buffer; sets all.arrived_ns. Returns 0 when nothing is there. */
static size_t receive(const struct source *s)
{
    _Alignas(struct cmsghdr) char control[128];
    struct iovec place = {all.buffer, READ_BYTES};
    struct msghdr message = {.msg_iov = &place,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(s->fd, &message, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        die("the server closed a connection");
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (header != NULL && header->cmsg_type == SCM_TIMESTAMPNS)
        memcpy(&at, CMSG_DATA(header), sizeof at);
    all.arrived_ns = at.tv_sec * 1000000000 + at.tv_nsec;
    all.buffer[n] = '\0';
    return (size_t)n;
}

static void frame_came(void)
{
    all.frames++;
    if (all.delays < all.room) {
        all.delays_ns[all.delays] = all.arrived_ns - all.sent_ns;
        all.signed_ns[all.delays++] = all.arrived_ns;
    }
}

/* A line may come in pieces: only its first byte and its end are looked at. */
static void count_frames(struct source *s, const char *at, const char *end)
{
    while (at < end) {
        if (s->blank) {
            if (*at == '\n' && s->data)
                frame_came();
            s->data = *at != '\n' && (s->data || *at == 'd');
        }
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        s->blank = line_end != NULL;
        at = line_end != NULL ? line_end + 1 : end;
    }
}

static void begin(struct source *s, size_t n)
{
    const char *body = strstr(all.buffer, "\r\n\r\n");
    if (strncmp(all.buffer, "HTTP/1.1 200 ", 13) != 0 || body == NULL)
        die("not every stream was opened");
    s->begun = s->blank = true;
    all.open++;
    if (all.mute && epoll_ctl(all.poll, EPOLL_CTL_DEL, s->fd, NULL) != 0)
        die("epoll");
    count_frames(s, body + 4, all.buffer + n);
}

static void attend(struct source *s)
{
    size_t n = receive(s);
    if (n == 0)
        return;
    if (s == &all.shooter) {
        if (strncmp(all.buffer, "HTTP/1.1 2", 10) != 0)
            die("a shot was refused");
        all.answered_ns = all.arrived_ns;
    } else if (s->begun) {
        count_frames(s, all.buffer, all.buffer + n);
    } else {
        begin(s, n);
    }
}

static void attend_some(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(all.poll, events, EVENTS, 100);
    for (int i = 0; i < count; i++)
        attend(events[i].data.ptr);
}

/* ---- orders ---- */

static void open_all(void)
{
    all.poll = epoll_create1(0);
    int64_t end_ns = now_ns() + 60LL * 1000000000;
    for (uint32_t i = 0; i < all.count; i++) {
        struct source *s = &all.streams[i];
        open_one(s);
        send_all(s->fd, all.subscribe);
        while (i + 1 - all.open > 64 && now_ns() < end_ns)
            attend_some();
    }
    while (all.open < all.count && now_ns() < end_ns)
        attend_some();
    if (all.open < all.count)
        die("streams do not open");
    open_one(&all.shooter);
    printf("{\"open\":%u}\n", all.open);
}

static void one_shot(int64_t end_ns)
{
    char number[16], *place = strstr(all.request, mark);
    uint64_t first = all.delays, expected = all.frames + all.count;
    snprintf(number, sizeof number, "%08u", all.shots++ % 100000000);
    memcpy(all.shot, all.request, sizeof all.shot);
    if (place != NULL)
        memcpy(all.shot + (place - all.request), number, sizeof mark - 1);
    all.answered_ns = 0;
    all.sent_ns = now_ns();
    send_all(all.shooter.fd, all.shot);
    while ((all.frames < expected || all.answered_ns == 0) && now_ns() < end_ns)
        attend_some();
    for (uint64_t i = first; i < all.delays; i++)
        all.signed_ns[i] -= all.answered_ns;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void put_delays(const char *name, int64_t *delays_ns)
{
    static const double percents[] = {50, 90, 99};
    qsort(delays_ns, all.delays, sizeof *delays_ns, by_size);
    for (size_t i = 0; i < 3; i++) {
        uint64_t place = (uint64_t)(percents[i] / 100 * (double)(all.delays - 1));
        printf(",\"%s_p%.0f_us\":%.1f", name, percents[i], (double)delays_ns[place] / 1000);
    }
}

static void shots(uint32_t n, int64_t end_ns)
{
    uint64_t before = all.frames;
    int64_t start_ns = now_ns();
    all.delays = 0;
    all.room = (uint64_t)n * all.count;
    all.delays_ns = calloc(2 * all.room + 1, sizeof *all.delays_ns);
    if (all.delays_ns == NULL)
        die("memory");
    all.signed_ns = all.delays_ns + all.room;
    for (uint32_t i = 0; i < n && now_ns() < end_ns; i++)
        one_shot(end_ns);
    printf("{\"frames\":%llu,\"seconds\":%.3f", (unsigned long long)(all.frames - before),
           (double)(now_ns() - start_ns) / 1e9);
    if (all.delays > 0) {
        put_delays("sent", all.delays_ns);
        put_delays("answered", all.signed_ns);
    }
    puts("}");
    free(all.delays_ns);
    all.delays = all.room = 0;
}

static void wait_for(uint64_t frames, int64_t end_ns)
{
    uint64_t before = all.frames;
    int64_t start_ns = now_ns();
    while (all.frames - before < frames && now_ns() < end_ns)
        attend_some();
    printf("{\"frames\":%llu,\"seconds\":%.3f}\n", (unsigned long long)(all.frames - before),
           (double)(now_ns() - start_ns) / 1e9);
}

static void obey(void)
{
    char line[128], what[16];
    unsigned n = 0, seconds = 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "%15s %u %u", what, &n, &seconds) != 3 || n > 1000000000 || seconds > 600)
            die("an order that is not understood");
        int64_t end_ns = now_ns() + seconds * 1000000000LL;
        if (strcmp(what, "shots") == 0)
            shots(n, end_ns);
        else
            wait_for(n, end_ns);
    }
}

int main(int argc, char **argv)
{
    all.count = argc >= 5 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    if (all.count == 0 || all.count > STREAMS_MAX)
        die("usage: audience PORT STREAMS SUBSCRIBE SHOT [--mute]");
    all.port = (uint16_t)strtoul(argv[1], NULL, 10);
    all.mute = argc > 5 && strcmp(argv[5], "--mute") == 0;
    load(argv[3], all.subscribe);
    load(argv[4], all.request);
    all.streams = calloc(all.count, sizeof *all.streams);
    if (all.streams == NULL)
        die("memory");
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    open_all();
    obey();
    return EXIT_SUCCESS;
}
