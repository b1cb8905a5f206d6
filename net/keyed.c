/*
 * keyed.c: see keyed.h.
 *
 * Thread: the net thread of the connection. In: a request with a key. Out: its kept answer, a refusal, or a call of
 * the handler, with the key in flight.
 */
#include "net/keyed.h"

#include "net/answer.h"
#include "net/replies.h"

static bool is_visible_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x21 || text.data[i] > 0x7e)
            return false;
    return true;
}

static uint64_t tag_of(const struct engine *engine, enum command_kind scope, struct slice key)
{
    char scoped[1 + IDEMPOTENCY_KEY_BYTES_MAX];
    scoped[0] = (char)scope;
    memcpy(scoped + 1, key.data, key.len);
    return key_tag(engine->options.hash(scoped, 1 + key.len));
}

/* With the disk full, a purchase with a fresh key must not reach a decision: its answer would have to be stored. */
static bool has_room_on_disk(const struct call *call, enum command_kind scope)
{
    return scope != COMMAND_BUY ||
           !atomic_load_explicit(&call->net->engine->storage_full, memory_order_relaxed);
}

/* True: the key is in flight for this request. False: the request has been answered. */
static bool is_ours(const struct call *call, enum key_verdict verdict, const struct kept *kept)
{
    struct net *net = call->net;
    switch (verdict) {
    case KEY_FRESH:
        return true;
    case KEY_SETTLED:
        render_kept(net, call->conn, kept);
        return false;
    case KEY_IN_FLIGHT:
        answer_problem(net, call->conn, 409, "idempotency-in-flight",
                       "a request with this Idempotency-Key is being answered; ask again", NULL);
        return false;
    case KEY_OTHER_BODY:
        answer_problem(net, call->conn, 422, "idempotency-mismatch",
                       "this Idempotency-Key was used with another body", NULL);
        return false;
    case KEY_NO_ROOM:
    default:
        answer_problem(net, call->conn, 503, "idempotency-keys-full",
                       "no room for another Idempotency-Key; ask again later", NULL);
        return false;
    }
}

static bool begin(const struct call *call, enum command_kind scope)
{
    struct engine *engine = call->net->engine;
    struct slice key = call->request->idempotency_key, body = call->request->body;
    struct kept kept;
    if (key.len == 0 || key.len > IDEMPOTENCY_KEY_BYTES_MAX || !is_visible_ascii(key)) {
        answer_problem(call->net, call->conn, 400, "invalid-request",
                       "Idempotency-Key must be 1 to 255 visible ASCII characters", NULL);
        return false;
    }
    uint64_t body_hash = engine->options.hash(body.data != NULL ? body.data : "", body.len);
    return is_ours(call,
                   keys_begin(&engine->keys, tag_of(engine, scope, key), body_hash, call->net->now,
                              &kept, &call->keyed->number),
                   &kept);
}

void keyed_handle(const struct call *call, enum command_kind scope, handler *then)
{
    if (call->request->idempotency_key.data == NULL) {
        then(call);
        return;
    }
    if (!begin(call, scope))
        return;
    if (has_room_on_disk(call, scope))
        then(call);
    else
        answer_outcome(call->net, call->conn, OUTCOME_STORAGE_FULL, NULL);
    if (call->keyed->number != 0) /* the engine has not taken the key */
        keys_forget(&call->net->engine->keys, call->keyed->number);
}
