/*
 * subscribe.c: the requests for event streams: who may have which events, and from where on (handlers.h).
 *
 * A checked request becomes a struct subscription, and its connection leaves the net thread for the
 * broadcaster, which answers it.
 *
 * Thread: the net thread of the connection. Fails: by an answer that names the parameter.
 */
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/answer.h"
#include "net/handlers.h"
#include "net/pairs.h"

static void wrong(const struct call *call, const char *detail)
{
    answer_problem(call->net, call->conn, 400, "invalid-request", detail, NULL);
}

/* UINT64_MAX, a seq that no database has, if text is not a number or is too large. */
static uint64_t seq_in(struct slice text)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || seq > (UINT64_MAX - 9) / 10)
            return UINT64_MAX;
        seq = seq * 10 + (uint64_t)(text.data[i] - '0');
    }
    return seq;
}

/* Last-Event-ID from the header or the query. An id that is not ours is not refused, since an EventSource would not try
 * again: the stream begins with a reset. */
static void take_resume(const struct call *call, struct subscription *sub)
{
    struct slice text = call->request->last_event_id;
    if (text.len == 0)
        text = pairs_value(call->request->query, '&', "lastEventId");
    sub->resume = text.len > 0;
    sub->after_seq = seq_in(text);
}

/* Takes saleId from the query. False after answering. */
static bool take_sale(const struct call *call, struct subscription *sub)
{
    struct slice id = pairs_value(call->request->query, '&', "saleId");
    if (id.data == NULL)
        return true;
    sub->sale = engine_find_sale(call->net->engine, id.data, id.len);
    if (sub->sale == NULL)
        answer_problem(call->net, call->conn, 404, "not-found", "saleId: no sale has this id",
                       NULL);
    return sub->sale != NULL;
}

/* One bit per kind; two kinds have the name sale.paused. 0: no kind has this name. */
static uint32_t kinds_named(const char *name, size_t len)
{
    uint32_t kinds = 0;
    for (int kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        const char *wire = event_row((enum event_kind)kind)->wire_name;
        if (strlen(wire) == len && memcmp(wire, name, len) == 0)
            kinds |= 1u << kind;
    }
    return kinds;
}

/* The byte of "%xx" at text.data[at], or -1. */
static int percent_byte(struct slice text, size_t at)
{
    char digits[3] = {0}, *end;
    if (text.len - at < 3 || !isxdigit((unsigned char)text.data[at + 1]) ||
        !isxdigit((unsigned char)text.data[at + 2]))
        return -1;
    memcpy(digits, text.data + at + 1, 2);
    return (int)strtol(digits, &end, 16);
}

/* Returns how many bytes text stands for; 0 for a broken "%xx" or for more than room. */
static size_t percent_decode(struct slice text, char *out, size_t room)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool coded = text.data[i] == '%';
        int byte = coded ? percent_byte(text, i) : (unsigned char)text.data[i];
        if (len == room || byte < 0)
            return 0;
        out[len++] = (char)byte;
        i += coded ? 2 : 0;
    }
    return len;
}

/* Takes types=a,b from the query, where URLSearchParams and its like write %2C. False after answering. */
static bool take_types(const struct call *call, struct subscription *sub)
{
    char decoded[HTTP_REQUEST_LINE_BYTES_MAX];
    struct slice text = pairs_value(call->request->query, '&', "types");
    if (text.data == NULL) {
        sub->kinds = UINT32_MAX;
        return true;
    }
    struct slice types = {decoded, percent_decode(text, decoded, sizeof decoded)};
    bool good = types.len > 0;
    while (good && types.len > 0) {
        const char *comma = memchr(types.data, ',', types.len);
        size_t len = comma != NULL ? (size_t)(comma - types.data) : types.len;
        uint32_t kinds = kinds_named(types.data, len);
        good = kinds != 0;
        sub->kinds |= kinds;
        size_t taken = len + (comma != NULL);
        types = (struct slice){types.data + taken, types.len - taken};
    }
    if (!good)
        wrong(call, "types must be names of domain events, separated by commas");
    return good;
}

static uint64_t address_of(const struct call *call)
{
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof peer;
    keyed_hash *hash = call->net->engine->options.hash;
    if (getpeername(call->conn->fd, (struct sockaddr *)&peer, &bytes) != 0)
        return 0;
    if (peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&peer;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) /* a listener on [::] takes IPv4 too */
            return hash(&v6->sin6_addr.s6_addr[12], sizeof(struct in_addr));
        return hash(&v6->sin6_addr, 8); /* a household's /64 is one address */
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer;
    return hash(&v4->sin_addr, sizeof v4->sin_addr);
}

/* Takes the parameters that all streams share, then hands the connection over. */
static void begin_stream(const struct call *call, struct subscription sub)
{
    if (!take_sale(call, &sub))
        return;
    take_resume(call, &sub);
    sub.expires_at_ms = sub.kind == STREAM_PUBLIC ? 0 : call->identity.expires_at_ms;
    sub.address = address_of(call);
    sub.asked_seq = log_committed(&call->net->engine->log);
    const struct net *net = call->net;
    bool room = broadcast_has_room(net->server->options.broadcaster, net->index, net->handing_over);
    struct subscription *own = room ? malloc(sizeof *own) : NULL;
    if (own == NULL) {
        answer_outcome(call->net, call->conn, OUTCOME_OVERLOAD, NULL);
        return;
    }
    *own = sub;
    conn_hand_over(call->net, call->conn, own);
}

void handle_public_stream(const struct call *call)
{
    begin_stream(call, (struct subscription){.kind = STREAM_PUBLIC});
}

void handle_events_stream(const struct call *call)
{
    struct subscription sub = {.kind = STREAM_EVENTS};
    if (take_types(call, &sub))
        begin_stream(call, sub);
}

/* Percent-decodes the {userId} of the path; 0 when it is not 1 to 64 bytes of UTF-8 without control
 * characters. */
static uint8_t decode_user(struct slice text, char user[BUYER_NAME_BYTES_MAX])
{
    size_t len = percent_decode(text, user, BUYER_NAME_BYTES_MAX);
    return text_is_name(user, len) ? (uint8_t)len : 0;
}

void handle_user_stream(const struct call *call)
{
    struct subscription sub = {.kind = STREAM_USER};
    sub.user_bytes = decode_user(call->id, sub.user);
    if (sub.user_bytes == 0) {
        wrong(call, "userId must be 1 to 64 bytes of UTF-8 without control characters");
        return;
    }
    const char *subject = call->identity.subject;
    bool own = strlen(subject) == sub.user_bytes && memcmp(subject, sub.user, sub.user_bytes) == 0;
    if (!own && !call->admin) {
        answer_problem(call->net, call->conn, 403, "forbidden",
                       "this stream is for its own user and for admins", NULL);
        return;
    }
    sub.user_hash = call->net->engine->options.hash(sub.user, sub.user_bytes);
    begin_stream(call, sub);
}
