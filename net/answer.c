/*
 * answer.c: see answer.h.
 *
 * A response is built in two parts, body first, so that Content-Length is known; both end up in one
 * send. A whole refusal is kept for the second of its Date: all clients of a stampede get the same bytes.
 *
 * Thread: the net thread of the connection.
 */
#include "net/answer.h"

#include <stdio.h>

#include "engine/check.h"
#include "net/timestamp.h"

enum { HEAD_BYTES_MAX = 512, PROBLEM_BYTES_MAX = 1024 };

static const char problem_type[] = "application/problem+json";

struct status_row {
    unsigned status;
    const char *reason;
};

static const struct status_row status_rows[] = {
    {200, "OK"},
    {201, "Created"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(unsigned status)
{
    for (size_t i = 0; i < sizeof status_rows / sizeof *status_rows; i++)
        if (status_rows[i].status == status)
            return status_rows[i].reason;
    return "Unknown";
}

static const char *date_now(struct net *net)
{
    int64_t second = net->now.wall_ms / 1000;
    if (second != net->date_second) {
        net->date_second = second;
        timestamp_http(net->now.wall_ms, net->date);
    }
    return net->date;
}

static void count_answer(struct net *net, unsigned status)
{
    counter_add(&net->counters.answers[status / 100 - 1], 1);
}

static void put_head(struct net *net, const struct conn *conn, struct text *head, unsigned status,
                     const char *type, size_t body_bytes)
{
    text_str(head, "HTTP/1.1 ");
    text_number(head, status);
    text_str(head, " ");
    text_str(head, reason_of(status));
    text_str(head, "\r\nDate: ");
    text_str(head, date_now(net));
    text_str(head, "\r\nContent-Type: ");
    text_str(head, type);
    text_str(head, "\r\nCache-Control: no-store\r\nContent-Length: ");
    text_number(head, body_bytes);
    if (status == 503 || status == 409)
        text_str(head, "\r\nRetry-After: 1");
    if (conn->close_after)
        text_str(head, "\r\nConnection: close");
    else if (conn->http_1_0) /* such a client needs to be told that it stays open */
        text_str(head, "\r\nConnection: keep-alive");
    text_str(head, "\r\n");
}

static void send_whole(struct net *net, struct conn *conn, struct text *head, const char *body,
                       size_t body_bytes)
{
    text_str(head, "\r\n");
    if (!conn_write(net, conn, head->start, head->len))
        return;
    if (!conn->head_only && !conn_write(net, conn, body, body_bytes))
        return;
    conn_answered(net, conn);
}

void answer_body(struct net *net, struct conn *conn, unsigned status, const char *type,
                 const struct text *body)
{
    char buffer[HEAD_BYTES_MAX];
    struct text head = text_in(buffer, sizeof buffer);
    count_answer(net, status);
    put_head(net, conn, &head, status, type, body->len);
    send_whole(net, conn, &head, body->start, body->len);
}

void answer_json(struct net *net, struct conn *conn, unsigned status, const struct text *body)
{
    answer_body(net, conn, status, "application/json", body);
}

void answer_put_problem(struct text *body, unsigned status, const char *code, const char *detail,
                        const char *extra)
{
    text_str(body, "{\"type\":\"urn:flashd:problem:");
    text_str(body, code);
    text_str(body, "\"");
    text_pair_string(body, "title", reason_of(status), strlen(reason_of(status)));
    text_pair_number(body, "status", status);
    text_pair_string(body, "detail", detail, strlen(detail));
    text_pair_string(body, "code", code, strlen(code));
    text_str(body, extra != NULL ? extra : "");
    text_str(body, "}");
}

/* field: NULL, or a field of this answer, whose value is `value`. */
static void problem(struct net *net, struct conn *conn, unsigned status, const char *code,
                    const char *detail, const char *extra, const char *field, const char *value)
{
    char body_buffer[PROBLEM_BYTES_MAX], head_buffer[HEAD_BYTES_MAX];
    struct text body = text_in(body_buffer, sizeof body_buffer);
    struct text head = text_in(head_buffer, sizeof head_buffer);
    answer_put_problem(&body, status, code, detail, extra);
    count_answer(net, status);
    put_head(net, conn, &head, status, problem_type, body.len);
    if (field != NULL) {
        text_str(&head, field);
        text_str(&head, ": ");
        text_str(&head, value);
        text_str(&head, "\r\n");
    }
    send_whole(net, conn, &head, body.start, body.len);
}

void answer_problem(struct net *net, struct conn *conn, unsigned status, const char *code,
                    const char *detail, const char *extra)
{
    problem(net, conn, status, code, detail, extra, NULL, NULL);
}

void answer_wrong_method(struct net *net, struct conn *conn, const char *allow)
{
    char detail[128];
    snprintf(detail, sizeof detail, "this path takes %s", allow);
    problem(net, conn, 405, "method-not-allowed", detail, NULL, "Allow", allow);
}

void answer_unauthorized(struct net *net, struct conn *conn, const char *code, const char *detail,
                         const char *challenge)
{
    problem(net, conn, 401, code, detail, NULL, "WWW-Authenticate", challenge);
}

/* The whole refusal for every HTTP/1.1 connection that stays open, within this second. */
static const struct refusal *refusal_now(struct net *net, const struct conn *conn,
                                         enum outcome outcome)
{
    struct refusal *refusal = &net->refusals[outcome];
    const struct outcome_row *row = outcome_row(outcome);
    if (refusal->bytes > 0 && refusal->second == net->now.wall_ms / 1000)
        return refusal;
    char buffer[PROBLEM_BYTES_MAX];
    struct text body = text_in(buffer, sizeof buffer);
    struct text whole = text_in(refusal->text, sizeof refusal->text);
    answer_put_problem(&body, row->http_status, row->code, row->detail, NULL);
    put_head(net, conn, &whole, row->http_status, problem_type, body.len);
    text_str(&whole, "\r\n");
    text_bytes(&whole, body.start, body.len);
    MUST(!body.overflow && !whole.overflow, "a refusal longer than its room");
    refusal->second = net->now.wall_ms / 1000;
    refusal->bytes = (uint32_t)whole.len;
    return refusal;
}

void answer_outcome(struct net *net, struct conn *conn, enum outcome outcome, const char *extra)
{
    const struct outcome_row *row = outcome_row(outcome);
    if (extra != NULL || conn->close_after || conn->head_only || conn->http_1_0) {
        problem(net, conn, row->http_status, row->code, row->detail, extra, NULL, NULL);
        return;
    }
    const struct refusal *refusal = refusal_now(net, conn, outcome);
    count_answer(net, row->http_status);
    if (conn_write(net, conn, refusal->text, refusal->bytes))
        conn_answered(net, conn);
}

bool answer_continue(struct net *net, struct conn *conn)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    return conn_write(net, conn, interim, sizeof interim - 1);
}
