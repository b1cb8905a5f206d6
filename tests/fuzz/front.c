/*
 * front.c: plays the kernel, and all other threads' rounds, for one net thread (see front.h).
 *
 * The submission queue lies in front->sqes; requests for receives and sends are remembered, and
 * completed when front_talk() chooses. A receive hands over a piece of the input in a buffer with
 * poisoned memory around it, so that a parser that reads past its piece is seen.
 *
 * Thread: one. Fails: by ending the run.
 */
#include "tests/fuzz/front.h"

#include <errno.h>
#include <jansson.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

#include "net/replies.h"
#include "tests/fuzz/fuzz.h"

enum {
    NO_SUCH_FD = 1 << 30, /* calls on it fail, as on a socket whose peer is gone */
    PIECE_BYTES_SMALL = 8,
    TOKEN_ROOM = 512,
};

static char admin_token[TOKEN_ROOM];

/* ---- a beginning ---- */

/* One sale that sells, with orders in every state; one that is paused; one that has ended. */
static const char *const beginning = "sale 9 units 1 each 0 wait 60000 ms\n"
                                     "end -> done\n"
                                     "sale 9 units 1 each 0 wait 60000 ms\n"
                                     "pause -> done\n"
                                     "sale 4 units 2 each 3 wait 60000 ms\n"
                                     "buy ann 1 -> created payment\n"
                                     "buy ben 1 -> created payment\n"
                                     "pay ben -> done\n"
                                     "buy cem 2 -> created payment\n"
                                     "cancel cem -> done\n"
                                     "buy dan 2 -> created payment\n"
                                     "buy eva 1 -> created waiting\n";

static void open_rig(struct front *f)
{
    rig_open(&f->rig, 2);
    const char *wrong = rig_play(&f->rig, beginning);
    HOLDS(wrong == NULL, wrong);
    f->born_seq = log_last_claimed(&f->rig.engine.log);
    /* It is mapped, not allocated: the leak checker would not look there. */
    __lsan_register_root_region((const void *)f->rig.engine.seqmap.chunks,
                                SEQMAP_CHUNKS * sizeof *f->rig.engine.seqmap.chunks);
    f->net.engine = f->server.engine = f->broadcaster.engine = &f->rig.engine;
    f->net.port = &f->rig.engine.ports[0];
    f->net.now = f->rig.now;
}

static void open_net(struct front *f)
{
    struct net *net = &f->net;
    f->jwt_key.len = TOKEN_KEY_BYTES_MIN;
    memset(f->jwt_key.bytes, 'k', f->jwt_key.len);
    HOLDS(handoff_ring_init(&f->broadcaster.inboxes[0], 16), "memory");
    f->broadcaster.uring.event_fd = -1;
    f->server.options = (struct server_options){.net_threads = 1,
                                                .jwt_key = &f->jwt_key,
                                                .payment_key = &f->payment_key,
                                                .buyer_names_shown = true,
                                                .broadcaster = &f->broadcaster};
    f->server.nets = net;
    net->server = &f->server;
    net->listener = net->uring.event_fd = -1;
    net->open_max = 1;
    net->buffers = calloc(RECV_BUFFERS, sizeof(struct io_uring_buf));
    net->buffer_memory = malloc(FRONT_INPUT_BYTES_MAX);
    HOLDS(net->buffers != NULL && net->buffer_memory != NULL, "memory");
    ASAN_POISON_MEMORY_REGION(net->buffer_memory, FRONT_INPUT_BYTES_MAX);
    struct io_uring_sq *sq = &net->uring.ring.sq;
    sq->khead = &f->sq_head;
    sq->sqes = f->sqes;
    sq->ring_entries = FRONT_SQES;
    sq->ring_mask = FRONT_SQES - 1;
}

void front_open(struct front *f)
{
    open_net(f);
    open_rig(f);
    HOLDS(token_mint(&f->jwt_key, ROLE_ADMIN, "boss", f->net.now.wall_ms, 3600, admin_token,
                     sizeof admin_token),
          "a token is minted");
}

const char *front_admin_token(const struct front *f)
{
    (void)f;
    return admin_token;
}

/* ---- the kernel's side ---- */

static void take_submissions(struct front *f)
{
    for (; f->sq_head != f->net.uring.ring.sq.sqe_tail; f->sq_head++) {
        const struct io_uring_sqe *sqe = &f->sqes[f->sq_head % FRONT_SQES];
        switch ((enum operation)(sqe->user_data >> 56)) {
        case OP_RECV:
            HOLDS(!f->recv_armed, "one receive at a time");
            f->recv_armed = true;
            f->recv_cancelled = false;
            f->recv_data = sqe->user_data;
            break;
        case OP_SEND:
            HOLDS(!f->sending && sqe->len > 0, "one send at a time, of something");
            f->sending = true;
            f->send_data = sqe->user_data;
            f->send_bytes = (const char *)(uintptr_t)sqe->addr;
            f->send_len = sqe->len;
            break;
        case OP_CANCEL:
            f->recv_cancelled = f->recv_armed;
            break;
        default:
            HOLDS(false, "no other operation is asked for");
        }
    }
}

static struct conn *conn_of(struct front *f, uint64_t data)
{
    struct conn *conn = f->net.conns[(uint32_t)data];
    HOLDS((conn->generation & 0xffffff) == (data >> 32 & 0xffffff), "the slot is still its own");
    return conn;
}

static void complete_recv(struct front *f, int result, uint32_t flags)
{
    const struct io_uring_cqe cqe = {.res = result, .flags = flags};
    f->recv_armed = (flags & IORING_CQE_F_MORE) != 0;
    conn_received(&f->net, conn_of(f, f->recv_data), &cqe);
    take_submissions(f);
}

static void deliver(struct front *f, const char *bytes, size_t len)
{
    char *buffer = f->net.buffer_memory;
    ASAN_UNPOISON_MEMORY_REGION(buffer, len);
    memcpy(buffer, bytes, len);
    complete_recv(f, (int)len, IORING_CQE_F_MORE | IORING_CQE_F_BUFFER);
    ASAN_POISON_MEMORY_REGION(buffer, len);
}

static void complete_send(struct front *f, size_t len)
{
    struct conn *conn = conn_of(f, f->send_data);
    f->sending = false;
    if (conn->closing) {
        conn_sent(&f->net, conn, -EPIPE);
        return;
    }
    if (f->said_len + len > f->said_room) {
        f->said_room = 2 * (f->said_len + len);
        f->said = realloc(f->said, f->said_room);
        HOLDS(f->said != NULL, "memory");
    }
    memcpy(f->said + f->said_len, f->send_bytes, len);
    f->said_len += len;
    conn_sent(&f->net, conn, (int)len);
    take_submissions(f);
}

/* What the net thread does after its completions, and the engine's threads meanwhile. */
static void rounds(struct front *f)
{
    struct reply reply;
    port_flush(f->net.port);
    HOLDS(rig_settle(&f->rig), f->rig.engine.journal.error);
    while (port_receive(f->net.port, &reply)) {
        struct conn *conn = conn_of_context(&f->net, reply.context);
        if (conn != NULL && conn->in_work)
            render_reply(&f->net, conn, &reply);
    }
    take_submissions(f);
}

/* ---- a talk ---- */

/* The bytes that a client still has to send. */
struct client {
    const char *at;
    size_t left;
    bool ended;
};

static size_t piece(size_t most, struct random *dice)
{
    if (dice == NULL || most == 0)
        return most;
    size_t small = most < PIECE_BYTES_SMALL ? most : PIECE_BYTES_SMALL;
    return 1 + random_below(dice, (uint32_t)(random_chance(dice, 1, 4) ? most : small));
}

static void send_piece(struct front *f, struct client *client, struct random *dice)
{
    size_t len = piece(client->left, dice);
    const char *bytes = client->at;
    client->at += len;
    client->left -= len;
    deliver(f, bytes, len);
}

/* One completion, if one is due; false when nothing is. With dice: any of those that are due. */
static bool step(struct front *f, struct client *client, struct random *dice)
{
    const struct conn *conn = f->net.conns[0];
    bool heard = f->recv_armed && client->left > 0 && !conn->closing && !f->recv_cancelled;
    if (f->sending && (dice == NULL || !heard || random_chance(dice, 1, 2))) {
        complete_send(f, piece(f->send_len, dice));
        return true;
    }
    if (heard) {
        send_piece(f, client, dice);
        return true;
    }
    if (f->recv_armed && f->recv_cancelled) {
        complete_recv(f, -ECANCELED, 0);
        return true;
    }
    if (f->recv_armed && conn->closing) {
        complete_recv(f, 0, 0);
        return true;
    }
    return false;
}

static bool in_work(const struct front *f)
{
    return f->net.open_count > 0 && f->net.conns[0]->in_work;
}

static void talk(struct front *f, struct client *client, struct random *dice)
{
    while (f->net.open_count > 0) {
        /* The engine may be slow: then more bytes come before its answer. */
        bool engine_is_slow = dice != NULL && random_chance(dice, 1, 2);
        if (step(f, client, dice) && engine_is_slow)
            continue;
        bool waited = in_work(f);
        rounds(f);
        conn_reap(&f->net);
        if (waited || f->net.open_count == 0 || f->sending || f->net.conns[0]->closing ||
            (client->left > 0 && f->recv_armed))
            continue;
        HOLDS(f->recv_armed && client->left == 0 && !client->ended,
              "a connection that owes nothing listens, or is closed");
        client->ended = true;
        complete_recv(f, 0, 0);
    }
}

static void take_subscription(struct front *f)
{
    struct handoff handoff;
    f->handed_over = handoff_ring_pop(&f->broadcaster.inboxes[0], &handoff);
    if (f->handed_over)
        f->subscription = handoff.subscription;
    HOLDS(!handoff_ring_pop(&f->broadcaster.inboxes[0], &handoff), "one stream a connection");
}

/* The next talk must find what this one found. */
static void begin_anew(struct front *f)
{
    memset(&f->net.counters, 0, sizeof f->net.counters);
    if (log_last_claimed(&f->rig.engine.log) == f->born_seq)
        return;
    const char *wrong = model_compare(&f->rig.model, &f->rig.engine);
    HOLDS(wrong == NULL, wrong);
    __lsan_unregister_root_region((const void *)f->rig.engine.seqmap.chunks,
                                  SEQMAP_CHUNKS * sizeof *f->rig.engine.seqmap.chunks);
    rig_close(&f->rig);
    open_rig(f);
}

void front_talk(struct front *f, const char *bytes, size_t len, struct random *dice)
{
    struct client client = {bytes, len, false};
    HOLDS(len < FRONT_INPUT_BYTES_MAX, "the input fits the buffer");
    f->said_len = 0;
    conn_open(&f->net, NO_SUCH_FD);
    take_submissions(f);
    talk(f, &client, dice);
    take_subscription(f);
    HOLDS(f->net.port->in_flight[0] + f->net.port->in_flight[1] + f->net.port->in_flight[2] == 0,
          "every command has its reply");
    begin_anew(f);
}

/* ---- what was said ---- */

static void cut_out(struct front *f, const char *word)
{
    size_t len = strlen(word);
    char *at = f->said;
    while (f->said_len > 0 &&
           (at = memmem(at, (size_t)(f->said + f->said_len - at), word, len)) != NULL) {
        memmove(at, at + len, (size_t)(f->said + f->said_len - (at + len)));
        f->said_len -= len;
    }
}

void front_normalise(struct front *f)
{
    cut_out(f, "HTTP/1.1 100 Continue\r\n\r\n");
    cut_out(f, "\r\nConnection: close");
}

static bool begins_with(struct slice text, const char *word)
{
    size_t len = strlen(word);
    return text.len >= len && memcmp(text.data, word, len) == 0;
}

/* The field's value as a NUL-terminated copy; false when it is not there. */
static bool field_of(struct slice head, const char *name, char value[128])
{
    char pattern[64];
    int len = snprintf(pattern, sizeof pattern, "\r\n%s: ", name);
    const char *at = memmem(head.data, head.len, pattern, (size_t)len);
    if (at == NULL)
        return false;
    at += len;
    const char *end = memchr(at, '\r', (size_t)(head.data + head.len - at));
    HOLDS(end != NULL && end - at < 128, "a field ends its line");
    memcpy(value, at, (size_t)(end - at));
    value[end - at] = '\0';
    return true;
}

static void check_json(const struct answer *answer, const char *type)
{
    json_t *root = json_loadb(answer->body.data, answer->body.len, JSON_REJECT_DUPLICATES, NULL);
    HOLDS(root != NULL, "a body that is called JSON is JSON");
    if (strcmp(type, "application/problem+json") == 0)
        HOLDS(json_integer_value(json_object_get(root, "status")) == answer->status &&
                  json_is_string(json_object_get(root, "code")) && answer->status >= 400,
              "a problem has a code and the status of its answer");
    else
        HOLDS(answer->status < 400, "an error is a problem");
    json_decref(root);
}

bool front_next_answer(struct slice *rest, struct answer *answer)
{
    char value[128], type[128];
    if (rest->len == 0)
        return false;
    HOLDS(begins_with(*rest, "HTTP/1.1 ") && rest->len > 12, "an answer begins with its status");
    const char *end = memmem(rest->data, rest->len, "\r\n\r\n", 4);
    HOLDS(end != NULL, "a head ends");
    *answer = (struct answer){.status = (unsigned)strtoul(rest->data + 9, NULL, 10),
                              .head = {rest->data, (size_t)(end - rest->data) + 4}};
    *rest = (struct slice){end + 4, rest->len - answer->head.len};
    HOLDS(field_of(answer->head, "Content-Type", type), "an answer has a Content-Type");
    HOLDS(field_of(answer->head, "Content-Length", value), "an answer has a Content-Length");
    HOLDS(memmem(answer->head.data, answer->head.len, "Unknown", 7) == NULL,
          "every status has its reason");
    if (rest->len == 0 || begins_with(*rest, "HTTP/1.1 "))
        return true; /* to HEAD */
    size_t len = strtoul(value, NULL, 10);
    HOLDS(len <= rest->len, "a body is as long as Content-Length says");
    answer->body = (struct slice){rest->data, len};
    *rest = (struct slice){rest->data + len, rest->len - len};
    if (strstr(type, "json") != NULL)
        check_json(answer, type);
    return true;
}
