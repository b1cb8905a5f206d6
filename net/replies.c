/*
 * replies.c: see replies.h; field names are those of net/openapi.json.
 *
 * Thread: see there. In: committed state. Out: JSON, through answer.h where it is a whole answer.
 */
#include "net/replies.h"

#include "net/answer.h"

/* value: a name from one of our own tables, which needs no escaping. */
static void pair_name(struct text *out, const char *key, const char *value)
{
    text_pair_plain(out, key, value, strlen(value));
}

static void pair_order_id(struct text *out, const struct engine *engine, const struct order *order)
{
    char id[ID_CHARS];
    engine_order_id(engine, order, id);
    text_pair_plain(out, "transactionId", id, sizeof id);
}

void put_sale(struct text *out, const struct sale *sale)
{
    const struct books view = view_sale(sale);
    text_str(out, "{");
    text_pair_plain(out, "id", sale->id, ID_CHARS);
    text_pair_string(out, "name", sale->terms.name, strlen(sale->terms.name));
    pair_name(out, "state", sale_state_name((enum sale_state)view.state));
    if (view.state == SALE_STOPPED)
        pair_name(out, "pauseReason", "reconcile-failed");
    text_pair_number(out, "productQty", view.product_qty);
    text_pair_number(out, "remainingQty", view.product_qty - view.sold);
    text_pair_number(out, "available", view.available);
    text_pair_number(out, "held", view.held);
    text_pair_number(out, "sold", view.sold);
    text_pair_number(out, "waiting", view.waiting);
    text_pair_number(out, "maxPerBuyer", sale->terms.max_per_buyer);
    text_pair_number(out, "waitlistMax", sale->terms.waitlist_max);
    text_pair_number(out, "holdMs", sale->terms.hold_ms);
    text_pair_time(out, "startsAt", sale->terms.starts_at_ms);
    text_pair_time(out, "endsAt", sale->terms.ends_at_ms);
    text_pair_number(out, "seq", view.seq);
    text_str(out, "}");
}

static void pair_time_of(struct text *out, const char *key, const _Atomic int64_t *wall_ms)
{
    text_pair_time(out, key, atomic_load_explicit(wall_ms, memory_order_relaxed));
}

void put_order(struct text *out, const struct engine *engine, const struct order *order)
{
    const struct sale *sale = engine_sale_at(engine, order->sale);
    uint64_t committed;
    uint32_t position;
    do { /* the position must be one that the order had in this state */
        committed = atomic_load_explicit(&order->committed, memory_order_acquire);
        position = view_position(sale, order);
    } while (committed != atomic_load_explicit(&order->committed, memory_order_acquire));
    enum order_state state = order_committed_state(committed);
    text_str(out, "{");
    pair_order_id(out, engine, order);
    text_pair_plain(out, "saleId", sale->id, ID_CHARS);
    text_pair_string(out, "buyerName", order->name, order->name_bytes);
    text_pair_number(out, "quantity", order->quantity);
    pair_name(out, "state", order_state_name(state));
    if (state == ORDER_PAYMENT)
        pair_time_of(out, "expiresAt", &order->expires_at_ms);
    if (position > 0)
        text_pair_number(out, "position", position);
    pair_time_of(out, "updatedAt", &order->changed_at_ms);
    text_pair_number(out, "seq", order_committed_seq(committed));
    text_str(out, "}");
}

void put_buyer(struct text *out, const struct engine *engine, const struct order *order,
               bool with_name, bool with_id)
{
    text_str(out, "{");
    if (with_name)
        text_pair_string(out, "buyerName", order->name, order->name_bytes);
    text_pair_number(out, "quantity", order->quantity);
    if (with_id)
        pair_order_id(out, engine, order);
    pair_time_of(out, "paidAt", &order->changed_at_ms);
    text_str(out, "}");
}

/* ---- replies ---- */

/* The order as it was decided, whatever has become of it since. */
static void answer_bought(struct net *net, struct conn *conn, const struct reply *reply,
                          int64_t value)
{
    char buffer[ORDER_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    const struct order *order = reply->order;
    text_str(&out, "{");
    pair_order_id(&out, net->engine, order);
    text_pair_plain(&out, "saleId", reply->sale->id, ID_CHARS);
    text_pair_string(&out, "buyerName", order->name, order->name_bytes);
    text_pair_number(&out, "quantity", order->quantity);
    pair_name(&out, "state", order_state_name((enum order_state)reply->state));
    if (reply->state == ORDER_PAYMENT)
        text_pair_time(&out, "expiresAt", value);
    else
        text_pair_number(&out, "position", (uint64_t)value);
    text_pair_number(&out, "seq", reply->seq);
    text_str(&out, "}");
    answer_json(net, conn, 201, &out);
}

/* What struct kept has as `value`. */
static int64_t value_of(const struct order *order, enum order_state state)
{
    return state == ORDER_PAYMENT
               ? atomic_load_explicit(&order->expires_at_ms, memory_order_relaxed)
               : order->position;
}

static void answer_success(struct net *net, struct conn *conn, const struct reply *reply)
{
    char buffer[64];
    struct text out = text_in(buffer, sizeof buffer);
    text_str(&out, "{\"success\":true");
    text_pair_number(&out, "seq", reply->seq);
    text_str(&out, "}");
    answer_json(net, conn, 200, &out);
}

static void answer_sale(struct net *net, struct conn *conn, const struct reply *reply)
{
    char buffer[SALE_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    put_sale(&out, reply->sale);
    answer_json(net, conn, reply->outcome == OUTCOME_CREATED ? 201 : 200, &out);
}

static void put_divergence(struct text *out, const struct reconcile_result *result)
{
    const struct divergence *d = &result->first;
    text_key(out, "first");
    text_str(out, "{");
    if (result->first_sale[0] != '-')
        text_pair_plain(out, "saleId", result->first_sale, ID_CHARS);
    text_pair_number(out, "seq", d->seq);
    pair_name(out, "field", d->field);
    pair_name(out, "memory", d->memory);
    pair_name(out, "tables", d->tables);
    pair_name(out, "events", d->events);
    text_str(out, "}");
}

static void put_run(struct text *out, const struct reconcile_result *result)
{
    text_key(out, "last");
    text_str(out, "{");
    text_pair_time(out, "startedAt", result->began_wall_ms);
    text_key(out, "seconds");
    text_seconds(out, (uint64_t)result->took_us);
    if (result->failure != NULL) {
        pair_name(out, "failure", result->failure);
    } else {
        text_pair_number(out, "seq", result->seq);
        text_pair_number(out, "checked", result->checked);
        text_pair_number(out, "skipped", result->skipped);
        text_pair_number(out, "divergent", result->divergent);
    }
    if (result->divergent > 0) {
        text_pair_number(out, "firstDivergentSeq", result->first_divergent_seq);
        put_divergence(out, result);
    }
    text_str(out, "}");
}

void put_reconciliation(struct text *out, const struct reconciler *reconciler)
{
    const struct reconcile_result result = reconcile_result(reconciler);
    int64_t next_ms = atomic_load_explicit(&reconciler->next_wall_ms, memory_order_relaxed);
    bool running = atomic_load_explicit(&reconciler->running, memory_order_relaxed);
    text_str(out, running ? "{\"running\":true" : "{\"running\":false");
    if (next_ms >= 0)
        text_pair_time(out, "nextAt", next_ms);
    text_pair_number(out, "runs", result.runs);
    text_pair_number(out, "runsFailed", result.runs_failed);
    if (result.runs > 0)
        put_run(out, &result);
    text_str(out, "}");
}

static void answer_reconciled(struct net *net, struct conn *conn)
{
    char buffer[RECONCILIATION_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    put_reconciliation(&out, &net->engine->reconciler);
    answer_json(net, conn, 200, &out);
}

/* A refusal that is about an order tells the order's state, never its id. */
static void answer_refused(struct net *net, struct conn *conn, const struct reply *reply)
{
    char buffer[64];
    struct text extra = text_in(buffer, sizeof buffer);
    if (reply->state != ORDER_NONE) {
        pair_name(&extra, "state", order_state_name((enum order_state)reply->state));
        text_bytes(&extra, "", 1);
    }
    answer_outcome(net, conn, (enum outcome)reply->outcome, extra.len > 0 ? buffer : NULL);
}

void render_reply(struct net *net, struct conn *conn, const struct reply *reply)
{
    bool good = reply->outcome == OUTCOME_DONE || reply->outcome == OUTCOME_CREATED;
    if (!good) {
        answer_refused(net, conn, reply);
        return;
    }
    switch ((enum command_kind)reply->kind) {
    case COMMAND_BUY:
        answer_bought(net, conn, reply, value_of(reply->order, (enum order_state)reply->state));
        return;
    case COMMAND_RECONCILE:
        answer_reconciled(net, conn);
        return;
    case COMMAND_PAY:
    case COMMAND_CANCEL:
        answer_success(net, conn, reply);
        return;
    case COMMAND_ELIGIBLE: {
        char yes[] = "{\"eligible\":true}";
        const struct text out = {.start = yes, .len = sizeof yes - 1};
        answer_json(net, conn, 200, &out);
        return;
    }
    default:
        answer_sale(net, conn, reply);
    }
}

void render_kept(struct net *net, struct conn *conn, const struct kept *kept)
{
    struct reply reply = {
        .seq = kept->seq, .outcome = kept->outcome, .state = kept->state, .kind = kept->kind};
    if (kept->kind != COMMAND_BUY || kept->outcome != OUTCOME_CREATED) {
        render_reply(net, conn, &reply);
        return;
    }
    reply.order = seqmap_order(&net->engine->seqmap, kept->seq);
    reply.sale = engine_sale_at(net->engine, reply.order->sale);
    answer_bought(net, conn, &reply, kept->value);
}
