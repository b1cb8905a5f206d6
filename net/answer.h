/*
 * answer.h: HTTP responses into a connection's output: status line, headers, JSON or problem+json.
 *
 * Thread: the net thread of the connection. Each function but answer_continue() completes the answer to the
 * request in work; call exactly one of them per request. Out of memory closes the connection instead.
 */
#ifndef FLASHD_NET_ANSWER_H
#define FLASHD_NET_ANSWER_H

#include "net/net.h"

void answer_body(struct net *net, struct conn *conn, unsigned status, const char *type,
                 const struct text *body);
void answer_json(struct net *net, struct conn *conn, unsigned status, const struct text *body);
/* RFC 9457. detail names what was wrong; extra is NULL or more members, starting with a comma. */
void answer_problem(struct net *net, struct conn *conn, unsigned status, const char *code,
                    const char *detail, const char *extra);
/* Its body alone: any thread. */
void answer_put_problem(struct text *body, unsigned status, const char *code, const char *detail,
                        const char *extra);
/* 405 with the methods that are allowed, such as "GET, HEAD". */
void answer_wrong_method(struct net *net, struct conn *conn, const char *allow);
/* 401 with the challenge: the scheme of what is missing. */
void answer_unauthorized(struct net *net, struct conn *conn, const char *code, const char *detail,
                         const char *challenge);
/* An outcome of the engine as a problem. */
void answer_outcome(struct net *net, struct conn *conn, enum outcome outcome, const char *extra);
/* "HTTP/1.1 100 Continue", before the answer; true when it could be queued. */
bool answer_continue(struct net *net, struct conn *conn);

#endif
