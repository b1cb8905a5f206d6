/*
 * routes.h: from a request to the handler that answers it: one table of paths, methods, roles and content types.
 *
 * Thread: the net thread of the connection.
 * In:     a complete request. Out: exactly one answer, at once or when the engine's reply is durable; a
 *         stream is answered by the broadcaster. Or a head whose client waits for leave to send the body: whether it may.
 */
#ifndef FLASHD_NET_ROUTES_H
#define FLASHD_NET_ROUTES_H

#include "net/net.h"

/* The number of the request's idempotency key (keyed.h) while this thread has it in flight; 0: none. */
struct keyed {
    uint32_t number;
};

/* A request on its way to its handler; lives for the call. */
struct call {
    struct net *net;
    struct conn *conn;
    const struct http_request *request;
    struct slice id;          /* the {id} of the path, if it has one */
    struct identity identity; /* of its token; all zero without a valid one */
    bool admin;               /* its token is valid and of role admin */
    struct keyed *keyed;      /* never NULL in a handler */
};

void route_request(struct net *net, struct conn *conn, const struct http_request *request);
/* Whether a handler would get the request, by what its head says. False: it has been answered. */
bool route_admits(struct net *net, struct conn *conn, const struct http_request *head);

#endif
