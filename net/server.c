/*
 * server.c: binds the listeners, starts and stops the net threads (see server.h).
 *
 * Each net thread has its own listener (SO_REUSEPORT), so the kernel spreads connections and no net
 * thread hands one to another. The first listener takes the port without SO_REUSEPORT and shares it
 * afterwards, so that only one of two servers gets the port.
 *
 * Thread: main.
 */
#include "net/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/diag.h"
#include "net/net.h"

enum {
    BACKLOG = 4096,
    PORT_WAIT_MS = 2000, /* for a port that is in use; see await_port() */
    PORT_POLL_MS = 10,
    STREAMS_LEAVE = 4,      /* one in four descriptors is not for streams, but for buyers */
    OTHER_DESCRIPTORS = 32, /* database, rings, eventfds, listeners, standard streams */
};

/* ---- addresses ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool make_address(const char *host, uint16_t port, union address *address, socklen_t *bytes)
{
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        *bytes = sizeof address->v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        *bytes = sizeof address->v6;
        return true;
    }
    return false;
}

static bool share_port(int fd)
{
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
}

/* A bound socket, or -1 with errno. *port 0 becomes the port that the kernel chose. */
static int bind_socket(const char *host, uint16_t *port, bool shared)
{
    union address address;
    socklen_t bytes;
    const int on = 1;
    if (!make_address(host, *port, &address, &bytes)) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shared)
        (void)share_port(fd);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                     sizeof on); /* accepted sockets inherit it */
    if (bind(fd, &address.any, bytes) != 0 || getsockname(fd, &address.any, &bytes) != 0) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    *port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return fd;
}

/* Opens the first thread's listener and sets server->port. 0, or the errno that says why not. The port is shared only
 * once this listener has it: of two servers that start at the same time, one gets it. */
static int take_port(struct server *server)
{
    uint16_t port = server->options.port;
    int fd = bind_socket(server->options.host, &port, false), code = 0;
    if (fd < 0 || listen(fd, BACKLOG) != 0 || !share_port(fd))
        code = errno;
    if (code != 0 && fd >= 0)
        (void)close(fd);
    server->nets[0].listener = code == 0 ? fd : -1;
    server->port = port;
    return code;
}

static bool fail_to_listen(const struct server *server, int code, char *error, size_t error_bytes)
{
    snprintf(error, error_bytes, "cannot listen on %s:%u: %s", server->options.host, server->port,
             strerror(code));
    return false;
}

/* The listener of a flashd that was killed may outlive the process a little, since the kernel tears io_uring
 * down later. So a port in use is tried for PORT_WAIT_MS before it counts as somebody else's. */
static bool await_port(struct server *server, char *error, size_t error_bytes)
{
    const struct timespec pause = {.tv_nsec = PORT_POLL_MS * 1000000L};
    int code = take_port(server);
    for (int ms = 0; code == EADDRINUSE && ms < PORT_WAIT_MS; ms += PORT_POLL_MS) {
        (void)nanosleep(&pause, NULL);
        code = take_port(server);
    }
    return code == 0 || fail_to_listen(server, code, error, error_bytes);
}

/* ---- opening ---- */

/* How many descriptors connections may have, after raising the limit as far as it may be raised. */
static uint32_t descriptors_that_fit(void)
{
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    uint64_t room = limit.rlim_cur > 2 * OTHER_DESCRIPTORS ? limit.rlim_cur - OTHER_DESCRIPTORS
                                                           : OTHER_DESCRIPTORS;
    return room > 1000000 ? 1000000 : (uint32_t)room;
}

static bool open_net(struct server *server, uint32_t index, char *error, size_t error_bytes)
{
    struct net *net = &server->nets[index];
    uint16_t port = server->port;
    net->server = server;
    net->engine = server->engine;
    net->port = &server->engine->ports[index];
    net->index = index;
    net->open_max = server->connections_max / server->options.net_threads;
    net->open_max = net->open_max > 0 ? net->open_max : 1;
    if (net->listener < 0) {
        net->listener = bind_socket(server->options.host, &port, true);
        if (net->listener < 0 || listen(net->listener, BACKLOG) != 0)
            return fail_to_listen(server, errno, error, error_bytes);
    }
    return net_ring_open(net, error, error_bytes);
}

struct server *server_open(const struct server_options *options, struct engine *engine, char *error,
                           size_t error_bytes)
{
    struct server *server = calloc(1, sizeof *server);
    struct net *nets = calloc(options->net_threads, sizeof *nets);
    if (server == NULL || nets == NULL) {
        free(server);
        free(nets);
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < options->net_threads; i++) {
        nets[i].listener = -1;
        uring_init(&nets[i].uring);
    }
    server->options = *options;
    server->engine = engine;
    server->nets = nets;
    uint32_t room = descriptors_that_fit(), wanted = options->max_connections;
    server->connections_max = wanted != 0 && wanted < room ? wanted : room;
    server->streams_max = broadcast_limit(options->broadcaster, room - room / STREAMS_LEAVE);
    bool ok = await_port(server, error, error_bytes);
    for (uint32_t i = 0; ok && i < options->net_threads; i++)
        ok = open_net(server, i, error, error_bytes);
    if (ok)
        return server;
    server_close(server);
    return NULL;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

uint32_t server_connections_max(const struct server *server)
{
    return server->connections_max;
}

uint32_t server_streams_max(const struct server *server)
{
    return server->streams_max;
}

/* ---- running ---- */

bool server_start(struct server *server)
{
    for (uint32_t i = 0; i < server->options.net_threads; i++) {
        struct net *net = &server->nets[i];
        net->port->wake = uring_wake;
        net->port->wake_arg = &net->uring;
        if (pthread_create(&net->thread, NULL, net_main, net) != 0)
            return false;
    }
    return true;
}

void server_stop(struct server *server)
{
    atomic_store_explicit(&server->stopping, true, memory_order_release);
    for (uint32_t i = 0; i < server->options.net_threads; i++)
        uring_wake(&server->nets[i].uring);
    for (uint32_t i = 0; i < server->options.net_threads; i++)
        (void)pthread_join(server->nets[i].thread, NULL);
}

static void close_net(struct net *net)
{
    net_ring_close(net);
    for (uint32_t i = 0; i < net->conns_made; i++) {
        struct conn *conn = net->conns[i];
        if (conn->fd >= 0)
            (void)close(conn->fd);
        http_parser_free(conn->parser);
        free(conn->pending);
        free(conn->out);
        free(conn);
    }
    free(net->conns);
    free(net->free_slots);
    if (net->listener >= 0)
        (void)close(net->listener);
}

void server_close(struct server *server)
{
    if (server == NULL)
        return;
    for (uint32_t i = 0; i < server->options.net_threads; i++)
        close_net(&server->nets[i]);
    free(server->nets);
    free(server);
}
