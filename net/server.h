/*
 * server.h: the HTTP side of flashd as main sees it.
 *
 * Usage, main: server_open (binds, probes io_uring) -> engine_start -> server_start (threads net-N) …
 *              server_stop (answers what is in flight, at most STOP_MS) -> engine_stop -> server_close
 *
 * Thread: main for all of these.
 * Fails:  server_open() with one line that says why; server_start() when a thread cannot be made; afterwards only
 *         single connections.
 */
#ifndef FLASHD_NET_SERVER_H
#define FLASHD_NET_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/token.h"

struct broadcaster;
struct engine;
struct server;

struct server_options {
    const char *host; /* numeric address */
    uint16_t port;    /* 0: any free one */
    uint32_t net_threads;
    uint32_t max_connections;                      /* 0: as many as the descriptors allow */
    const struct token_key *jwt_key, *payment_key; /* borrowed until server_close() */
    bool buyer_names_shown;
    struct broadcaster *broadcaster; /* takes over the connections of event streams; borrowed */
};

/* NULL and a line in error (no newline) on failure. The engine is borrowed, and has a port for each net
 * thread. */
struct server *server_open(const struct server_options *options, struct engine *engine, char *error,
                           size_t error_bytes);
uint16_t server_port(const struct server *server);
/* How many connections fit, all net threads together. */
uint32_t server_connections_max(const struct server *server);
/* How many of them may be event streams. */
uint32_t server_streams_max(const struct server *server);
bool server_start(struct server *server);
void server_stop(struct server *server);
void server_close(struct server *server);

#endif
