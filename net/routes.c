/*
 * routes.c: the route table, path matching, and the checks of role and content type (see routes.h).
 *
 * Order of refusals: unknown path 404, known path with another method 405, token 401 or 403, not JSON 415, then
 * the handler's own. Paths are under /api/v1; those marked BARE are served without it too. A path that fits a STREAM
 * row is not tried with later rows.
 *
 * Thread: the net thread of the connection.
 */
#include "net/routes.h"

#include <strings.h>

#include "net/answer.h"
#include "net/handlers.h"
#include "net/pairs.h"

enum form {
    BARE,     /* also without the prefix */
    PREFIXED, /* only with it */
    STREAM    /* only with it, and without HEAD, since a stream has no length */
};
enum access { OPEN_TO_ALL, ANY_TOKEN, CONSUMERS, ADMINS_ONLY };
enum content {
    IGNORED, /* whatever the body is */
    JSON     /* by its Content-Type; whether it is, the handler sees */
};

struct route {
    const char *path; /* "{}" stands for one segment, an id */
    enum form form;
    enum http_method method;
    enum access access;
    enum content content;
    handler *handler;
};

static const struct route routes[] = {
    {"/buy", BARE, HTTP_POST_, OPEN_TO_ALL, JSON, handle_buy},
    {"/paid", BARE, HTTP_POST_, OPEN_TO_ALL, JSON, handle_paid},
    {"/pay", BARE, HTTP_POST_, OPEN_TO_ALL, JSON, handle_pay},
    {"/cancel", BARE, HTTP_POST_, OPEN_TO_ALL, JSON, handle_cancel},
    {"/transactions/{}", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_get_order},
    {"/sales/events", STREAM, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_public_stream},
    {"/users/{}/notifications/stream", STREAM, HTTP_GET_, ANY_TOKEN, IGNORED, handle_user_stream},
    {"/events/stream", STREAM, HTTP_GET_, CONSUMERS, IGNORED, handle_events_stream},
    {"/sales/{}", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_get_sale},
    {"/sales", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_list_sales},
    {"/sales/{}/buyers", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_buyers},
    {"/sales/{}/eligible", BARE, HTTP_POST_, OPEN_TO_ALL, JSON, handle_eligible},
    {"/sales", PREFIXED, HTTP_POST_, ADMINS_ONLY, JSON, handle_create_sale},
    {"/sales/{}/pause", PREFIXED, HTTP_POST_, ADMINS_ONLY, IGNORED, handle_pause},
    {"/sales/{}/resume", PREFIXED, HTTP_POST_, ADMINS_ONLY, IGNORED, handle_resume},
    {"/sales/{}/end", PREFIXED, HTTP_POST_, ADMINS_ONLY, IGNORED, handle_end},
    {"/admin/reconcile", PREFIXED, HTTP_POST_, ADMINS_ONLY, IGNORED, handle_reconcile},
    {"/admin/reconcile", PREFIXED, HTTP_GET_, ADMINS_ONLY, IGNORED, handle_reconciliation},
    /* Probes of orchestrators are usually configured without a prefix. */
    {"/health/live", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_live},
    {"/health/ready", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_ready},
    {"/health/sse", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_streams},
    {"/metrics", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_metrics},
    {"/openapi.json", BARE, HTTP_GET_, OPEN_TO_ALL, IGNORED, handle_openapi},
};
enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

static const char prefix[] = "/api/v1";

/* Whether path fits the pattern; *id becomes the segment of "{}". */
static bool fits(const char *pattern, struct slice path, struct slice *id)
{
    size_t at = 0;
    for (; *pattern != '\0'; pattern++) {
        if (pattern[0] == '{') {
            size_t start = at;
            while (at < path.len && path.data[at] != '/')
                at++;
            if (at == start)
                return false;
            *id = (struct slice){path.data + start, at - start};
            pattern++; /* '}' */
        } else if (at == path.len || path.data[at++] != *pattern) {
            return false;
        }
    }
    return at == path.len;
}

static bool strip_prefix(struct slice *path)
{
    size_t len = sizeof prefix - 1;
    if (path->len <= len || memcmp(path->data, prefix, len) != 0 || path->data[len] != '/')
        return false;
    *path = (struct slice){path->data + len, path->len - len};
    return true;
}

static bool takes(const struct route *route, enum http_method method)
{
    return route->method == method ||
           (route->method == HTTP_GET_ && route->form != STREAM && method == HTTP_HEAD_);
}

/* The methods of all routes that fit, such as "GET, HEAD, POST". */
static const char *allowed_methods(bool get, bool post)
{
    return get && post ? "GET, HEAD, POST" : get ? "GET, HEAD" : "POST";
}

static const struct route *find(struct slice path, enum http_method method, struct slice *id,
                                const char **allow)
{
    bool prefixed = strip_prefix(&path), get = false, post = false;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &routes[i];
        if ((!prefixed && route->form != BARE) || !fits(route->path, path, id))
            continue;
        if (takes(route, method))
            return route;
        if (route->form == STREAM) {
            *allow = "GET";
            return NULL;
        }
        get = get || route->method == HTTP_GET_;
        post = post || route->method == HTTP_POST_;
    }
    *allow = get || post ? allowed_methods(get, post) : NULL;
    return NULL;
}

static enum token_verdict identify(struct call *call)
{
    struct identity *identity = &call->identity;
    struct slice token = token_of_request(call->request);
    if (token.data == NULL)
        return TOKEN_ABSENT;
    enum token_verdict verdict =
        token_verify(call->net->server->options.jwt_key, token, call->net->now.wall_ms, identity);
    call->admin = verdict == TOKEN_OK && (identity->role == ROLE_ADMIN || FAULT(FAULT_ANY_ROLE));
    return verdict;
}

static bool may(const struct call *call, enum access access)
{
    if (access == OPEN_TO_ALL || call->admin)
        return true;
    return access == ANY_TOKEN || (access == CONSUMERS && call->identity.role == ROLE_CONSUMER);
}

/* An open path works without a token and with a bad one; with a good one it may show more. */
static bool admit(struct call *call, const struct route *route)
{
    enum token_verdict verdict = identify(call);
    if (verdict != TOKEN_OK)
        call->identity = (struct identity){.role = ROLE_NONE};
    if (verdict != TOKEN_OK && route->access != OPEN_TO_ALL)
        answer_unauthorized(call->net, call->conn, "unauthorized", token_verdict_text(verdict),
                            "Bearer");
    else if (!may(call, route->access))
        answer_problem(call->net, call->conn, 403, "forbidden",
                       route->access == CONSUMERS ? "this needs a token of role consumer or admin"
                                                  : "this needs a token of role admin",
                       NULL);
    else
        return true;
    return false;
}

/* Whether it is application/json, with or without parameters. */
static bool is_json_type(struct slice type)
{
    static const char json[] = "application/json";
    size_t len = sizeof json - 1;
    if (type.len < len || strncasecmp(type.data, json, len) != 0)
        return false;
    while (len < type.len && slice_is_blank(type.data[len]))
        len++;
    return len == type.len || type.data[len] == ';';
}

static bool brings(const struct call *call, enum content content)
{
    if (content == IGNORED || is_json_type(call->request->content_type))
        return true;
    answer_problem(call->net, call->conn, 415, "unsupported-media-type",
                   "the body must be JSON, with Content-Type: application/json", NULL);
    return false;
}

/* What the head decides: its route, or NULL after answering. */
static const struct route *enter(struct call *call)
{
    const struct http_request *request = call->request;
    const char *allow = NULL;
    const struct route *route = find(request->path, request->method, &call->id, &allow);
    if (route == NULL && allow != NULL)
        answer_wrong_method(call->net, call->conn, allow);
    else if (route == NULL)
        answer_problem(call->net, call->conn, 404, "not-found", "there is nothing at this path",
                       NULL);
    else if (admit(call, route) && brings(call, route->content))
        return route;
    return NULL;
}

void route_request(struct net *net, struct conn *conn, const struct http_request *request)
{
    struct keyed keyed = {0};
    struct call call = {.net = net, .conn = conn, .request = request, .keyed = &keyed};
    const struct route *route = enter(&call);
    if (route == NULL)
        return;
    if (route->method == HTTP_GET_)
        engine_await_view(net->engine);
    route->handler(&call);
}

bool route_admits(struct net *net, struct conn *conn, const struct http_request *head)
{
    struct call call = {.net = net, .conn = conn, .request = head};
    return enter(&call) != NULL;
}
