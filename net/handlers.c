/*
 * handlers.c: the requests of net/openapi.json but the streams', one function each (see handlers.h).
 *
 * Writes check the body, then send a command to the worker that owns the buyer (admins' to the clock or
 * the reconciler); reads answer from the committed view at once.
 *
 * Thread: the net thread of the connection.
 */
#include "net/handlers.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/answer.h"
#include "net/body.h"
#include "net/keyed.h"
#include "net/metrics.h"
#include "net/openapi.h"
#include "net/pairs.h"
#include "net/replies.h"
#include "net/timestamp.h"

enum { BUYERS_LIMIT_DEFAULT = 100, BUYERS_LIMIT_MAX = 1000 };

/* ---- helpers ---- */

static void not_found(const struct call *call, const char *detail)
{
    answer_problem(call->net, call->conn, 404, "not-found", detail, NULL);
}

/* The sale of the path, or NULL after answering 404. */
static struct sale *sale_of_path(const struct call *call)
{
    struct sale *sale = engine_find_sale(call->net->engine, call->id.data, call->id.len);
    if (sale == NULL)
        not_found(call, "no sale has this id");
    return sale;
}

static void send_command(const struct call *call, uint32_t target, struct command *command)
{
    command->context = conn_context(call->conn);
    if (port_send(call->net->port, target, command)) {
        call->keyed->number = 0; /* the engine has the key now */
        return;
    }
    if (command->kind == COMMAND_CREATE)
        free(command->terms);
    answer_outcome(call->net, call->conn, OUTCOME_OVERLOAD, NULL);
}

static void send_for_buyer(const struct call *call, enum command_kind kind, struct sale *sale,
                           struct slice name, uint32_t quantity)
{
    struct engine *engine = call->net->engine;
    struct command command = {.sale = sale,
                              .key = call->keyed->number,
                              .name_hash = engine->options.hash(name.data, name.len),
                              .quantity = quantity,
                              .kind = (uint8_t)kind,
                              .name_bytes = (uint8_t)name.len};
    memcpy(command.name, name.data, name.len);
    send_command(call, engine_worker_of(engine, command.name_hash), &command);
}

static void send_for_order(const struct call *call, enum command_kind kind, struct order *order)
{
    struct command command = {.order = order, .key = call->keyed->number, .kind = (uint8_t)kind};
    send_command(call, order->owner, &command);
}

/* With a key, a refusal must be kept before it is sent. Any worker can see to that, as it does for its own. */
static void refuse(const struct call *call, enum outcome outcome)
{
    uint32_t key = call->keyed->number;
    struct command command = {.key = key, .outcome = outcome, .kind = COMMAND_REFUSE};
    if (key == 0)
        answer_outcome(call->net, call->conn, outcome, NULL);
    else
        send_command(call, key % call->net->engine->options.workers, &command);
}

static void send_for_sale(const struct call *call, enum command_kind kind)
{
    struct sale *sale = sale_of_path(call);
    if (sale == NULL)
        return;
    struct command command = {.sale = sale, .kind = (uint8_t)kind};
    send_command(call, engine_clock_target(call->net->engine), &command);
}

/* ---- selling ---- */

/* The sale of a purchase: the one that is named, else the only active one. NULL after refusing. */
static struct sale *sale_to_buy_from(const struct call *call, struct slice id)
{
    struct engine *engine = call->net->engine;
    if (id.data != NULL) {
        struct sale *sale = engine_find_sale(engine, id.data, id.len);
        if (sale == NULL)
            refuse(call, OUTCOME_NO_SUCH_SALE);
        return sale;
    }
    int32_t sole = atomic_load_explicit(&engine->sole_active, memory_order_acquire);
    if (sole < 0) {
        engine_await_view(engine);
        sole = atomic_load_explicit(&engine->sole_active, memory_order_acquire);
    }
    if (sole >= 0)
        return engine_sale_at(engine, (uint32_t)sole);
    refuse(call, sole == SOLE_ACTIVE_NONE ? OUTCOME_NO_SALE_ACTIVE : OUTCOME_SEVERAL_SALES_ACTIVE);
    return NULL;
}

static void check_id(struct body *body, const char *field, struct slice id)
{
    if (id.data != NULL && !id_well_formed(id.data, id.len))
        body_wrong(body, field, "must be an id: 24 lower-case hex digits");
}

static enum outcome outcome_by_view(const struct sale *sale)
{
    const struct books view = view_sale(sale);
    if (view.state != SALE_ACTIVE)
        return view.state == SALE_STOPPED ? OUTCOME_SALE_STOPPED : OUTCOME_SALE_NOT_ACTIVE;
    return view.sold == view.product_qty ? OUTCOME_SOLD_OUT : OUTCOME_DONE;
}

/* What the committed state refuses needs no worker: after the last unit, that is the whole stampede. Only a refusal has
 * to wait for a consistent view; anything else is decided by a worker. */
static enum outcome refused_by_view(const struct engine *engine, const struct sale *sale)
{
    if (outcome_by_view(sale) == OUTCOME_DONE)
        return OUTCOME_DONE;
    engine_await_view(engine);
    return outcome_by_view(sale);
}

static void buy_from(const struct call *call, struct sale *sale, struct slice name,
                     uint32_t quantity)
{
    enum outcome refused = refused_by_view(call->net->engine, sale);
    if (refused == OUTCOME_DONE)
        send_for_buyer(call, COMMAND_BUY, sale, name, quantity);
    else
        refuse(call, refused);
}

static void buy(const struct call *call)
{
    struct body body;
    if (!body_open(&body, call))
        return;
    struct slice name = body_string(&body, "buyerName", 1, BUYER_NAME_BYTES_MAX, REQUIRED);
    struct slice id = body_string(&body, "saleId", 1, 64, OPTIONAL);
    check_id(&body, "saleId", id);
    int64_t quantity = body_integer(&body, "quantity", 1, INT64_C(1) << 53, OPTIONAL, 1);
    if (!body_ok(&body))
        return;
    if (quantity > PRODUCT_QTY_MAX)
        quantity = PRODUCT_QTY_MAX + 1; /* over every sale's limit: the sale says so */
    struct sale *sale = sale_to_buy_from(call, id);
    if (sale != NULL)
        buy_from(call, sale, name, (uint32_t)quantity);
    body_close(&body);
}

void handle_buy(const struct call *call)
{
    keyed_handle(call, COMMAND_BUY, buy);
}

void handle_eligible(const struct call *call)
{
    struct sale *sale = sale_of_path(call);
    struct body body;
    if (sale == NULL || !body_open(&body, call))
        return;
    struct slice name = body_string(&body, "buyerName", 1, BUYER_NAME_BYTES_MAX, REQUIRED);
    if (!body_ok(&body))
        return;
    send_for_buyer(call, COMMAND_ELIGIBLE, sale, name, 0);
    body_close(&body);
}

/* The order that the open body names; NULL after refusing and closing the body. */
static struct order *order_of_body(struct body *body)
{
    struct slice id = body_string(body, "transactionId", 1, 64, REQUIRED);
    check_id(body, "transactionId", id);
    if (!body_ok(body))
        return NULL;
    struct order *order = engine_find_order(body->call->net->engine, id.data, id.len);
    if (order == NULL) {
        body_close(body);
        refuse(body->call, OUTCOME_NO_SUCH_ORDER);
    }
    return order;
}

static void act_on_order(const struct call *call, enum command_kind kind)
{
    struct body body;
    struct order *order = body_open(&body, call) ? order_of_body(&body) : NULL;
    if (order == NULL)
        return;
    body_close(&body);
    send_for_order(call, kind, order);
}

static void pay(const struct call *call)
{
    act_on_order(call, COMMAND_PAY);
}

static void cancel(const struct call *call)
{
    act_on_order(call, COMMAND_CANCEL);
}

void handle_paid(const struct call *call)
{
    const struct token_key *key = call->net->server->options.payment_key;
    if (key->len > 0 &&
        !payment_signature_ok(key, call->request->body, call->request->flashd_signature)) {
        answer_unauthorized(call->net, call->conn, "bad-signature",
                            "X-Flashd-Signature must be sha256= and the HMAC-SHA256 of the body",
                            "Flashd-Signature");
        return;
    }
    keyed_handle(call, COMMAND_PAY, pay);
}

/* The dummy payment provider: accepts every payment of a whole order, then does what a provider's call of
 * /paid would. */
void handle_pay(const struct call *call)
{
    struct body body;
    struct order *order = body_open(&body, call) ? order_of_body(&body) : NULL;
    if (order == NULL)
        return;
    int64_t quantity =
        body_integer(&body, "quantity", 1, PRODUCT_QTY_MAX, OPTIONAL, order->quantity);
    if (quantity != order->quantity)
        body_wrong(&body, "quantity", "must be the order's quantity");
    if (!body_ok(&body))
        return;
    body_close(&body);
    send_for_order(call, COMMAND_PAY, order);
}

void handle_cancel(const struct call *call)
{
    keyed_handle(call, COMMAND_CANCEL, cancel);
}

/* ---- admins ---- */

static void check_terms(struct body *body, const struct sale_terms *terms, struct now now)
{
    if (terms->ends_at_ms <= terms->starts_at_ms)
        body_wrong(body, "endsAt", "must be after startsAt");
    else if (terms->ends_at_ms <= now.wall_ms)
        body_wrong(body, "endsAt", "must be in the future");
}

void handle_create_sale(const struct call *call)
{
    struct body body;
    if (!body_open(&body, call))
        return;
    struct sale_terms terms = {.name = ""};
    struct slice name = body_string(&body, "name", 1, SALE_NAME_BYTES_MAX, REQUIRED);
    terms.product_qty =
        (uint32_t)body_integer(&body, "productQty", 1, PRODUCT_QTY_MAX, REQUIRED, 1);
    terms.starts_at_ms = body_time(&body, "startsAt");
    terms.ends_at_ms = body_time(&body, "endsAt");
    terms.hold_ms =
        (uint32_t)body_integer(&body, "holdMs", HOLD_MS_MIN, HOLD_MS_MAX, OPTIONAL, 60000);
    terms.max_per_buyer =
        (uint32_t)body_integer(&body, "maxPerBuyer", 1, PRODUCT_QTY_MAX, OPTIONAL, 1);
    terms.waitlist_max =
        (uint32_t)body_integer(&body, "waitlistMax", 0, WAITLIST_MAX, OPTIONAL, WAITLIST_MAX);
    check_terms(&body, &terms, call->net->now);
    if (!body_ok(&body))
        return;
    memcpy(terms.name, name.data, name.len);
    body_close(&body);
    struct command command = {.terms = malloc(sizeof terms), .kind = COMMAND_CREATE};
    if (command.terms == NULL) {
        answer_outcome(call->net, call->conn, OUTCOME_OVERLOAD, NULL);
        return;
    }
    *command.terms = terms;
    send_command(call, engine_clock_target(call->net->engine), &command);
}

void handle_pause(const struct call *call)
{
    send_for_sale(call, COMMAND_PAUSE);
}

void handle_resume(const struct call *call)
{
    send_for_sale(call, COMMAND_RESUME);
}

void handle_end(const struct call *call)
{
    send_for_sale(call, COMMAND_END);
}

/* The answer comes when the run is over; only this request waits for it. */
void handle_reconcile(const struct call *call)
{
    struct command command = {.kind = COMMAND_RECONCILE};
    send_command(call, engine_reconciler_target(call->net->engine), &command);
}

void handle_reconciliation(const struct call *call)
{
    char buffer[RECONCILIATION_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    put_reconciliation(&out, &call->net->engine->reconciler);
    answer_json(call->net, call->conn, 200, &out);
}

/* ---- reads ---- */

/* Allocates room for an answer; the caller frees out->start. False: has answered 503. */
static bool open_text(const struct call *call, struct text *out, size_t bytes)
{
    char *buffer = malloc(bytes);
    if (buffer == NULL) {
        answer_outcome(call->net, call->conn, OUTCOME_OVERLOAD, NULL);
        return false;
    }
    *out = text_in(buffer, bytes);
    return true;
}

static bool is_committed(const struct sale *sale)
{
    return view_sale(sale).seq != 0;
}

void handle_list_sales(const struct call *call)
{
    uint32_t count = engine_sale_count(call->net->engine);
    struct text out;
    if (!open_text(call, &out, (size_t)count * SALE_JSON_BYTES_MAX + 64))
        return;
    text_str(&out, "{\"sales\":[");
    bool first = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct sale *sale = engine_sale_at(call->net->engine, i);
        if (!is_committed(sale))
            continue;
        text_str(&out, first ? "" : ",");
        put_sale(&out, sale);
        first = false;
    }
    text_str(&out, "]}");
    answer_json(call->net, call->conn, 200, &out);
    free(out.start);
}

void handle_get_sale(const struct call *call)
{
    const struct sale *sale = sale_of_path(call);
    if (sale == NULL)
        return;
    char buffer[SALE_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    put_sale(&out, sale);
    answer_json(call->net, call->conn, 200, &out);
}

void handle_get_order(const struct call *call)
{
    struct engine *engine = call->net->engine;
    const struct order *order = engine_find_order(engine, call->id.data, call->id.len);
    if (order == NULL) {
        not_found(call, "no transaction has this id");
        return;
    }
    char buffer[ORDER_JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    put_order(&out, engine, order);
    answer_json(call->net, call->conn, 200, &out);
}

/* A decimal query parameter in min..max; false after answering 400. */
static bool query_number(const struct call *call, const char *name, uint64_t min, uint64_t max,
                         uint64_t *number)
{
    struct slice text = pairs_value(call->request->query, '&', name);
    if (text.data == NULL)
        return true;
    uint64_t value = 0;
    bool good = text.len > 0 && text.len <= 18;
    for (size_t i = 0; good && i < text.len; i++) {
        good = text.data[i] >= '0' && text.data[i] <= '9';
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (good && value >= min && value <= max) {
        *number = value;
        return true;
    }
    char detail[96];
    snprintf(detail, sizeof detail, "%s must be an integer from %llu to %llu", name,
             (unsigned long long)min, (unsigned long long)max);
    answer_problem(call->net, call->conn, 400, "invalid-request", detail, NULL);
    return false;
}

/* `after` is how many buyers to skip: the list only grows, so it is a stable cursor. */
void handle_buyers(const struct call *call)
{
    const struct sale *sale = sale_of_path(call);
    uint64_t after = 0, limit = BUYERS_LIMIT_DEFAULT;
    if (sale == NULL || !query_number(call, "after", 0, PRODUCT_QTY_MAX, &after) ||
        !query_number(call, "limit", 1, BUYERS_LIMIT_MAX, &limit))
        return;
    uint64_t count = rows_count(&sale->paid);
    uint64_t end = after + limit < count ? after + limit : count;
    struct text out;
    if (!open_text(call, &out, (size_t)limit * BUYER_JSON_BYTES_MAX + 64))
        return;
    bool with_name = call->net->server->options.buyer_names_shown || call->admin;
    text_str(&out, "{\"buyers\":[");
    for (uint64_t i = after; i < end; i++) {
        text_str(&out, i == after ? "" : ",");
        put_buyer(&out, call->net->engine, (const struct order *)rows_get(&sale->paid, i),
                  with_name, call->admin);
    }
    text_str(&out, "]");
    if (end < count)
        text_pair_number(&out, "next", end);
    text_str(&out, "}");
    answer_json(call->net, call->conn, 200, &out);
    free(out.start);
}

/* ---- health ---- */

static void answer_status(const struct call *call, const char *status)
{
    char buffer[64];
    struct text out = text_in(buffer, sizeof buffer);
    text_str(&out, "{");
    text_pair_string(&out, "status", status, strlen(status));
    text_str(&out, "}");
    answer_json(call->net, call->conn, 200, &out);
}

/* The process runs and this thread answers. */
void handle_live(const struct call *call)
{
    answer_status(call, "live");
}

void handle_streams(const struct call *call)
{
    char buffer[512];
    struct text out = text_in(buffer, sizeof buffer);
    broadcast_put_health(call->net->server->options.broadcaster, &out);
    answer_json(call->net, call->conn, 200, &out);
}

/* Ready: new orders are taken, since the server is not stopping and there is room on the disk. */
void handle_ready(const struct call *call)
{
    if (atomic_load_explicit(&call->net->server->stopping, memory_order_relaxed))
        answer_problem(call->net, call->conn, 503, "stopping", "the server is stopping", NULL);
    else if (atomic_load_explicit(&call->net->engine->storage_full, memory_order_relaxed))
        answer_outcome(call->net, call->conn, OUTCOME_STORAGE_FULL, NULL);
    else
        answer_status(call, "ready");
}

/* ---- what the server says of itself ---- */

void handle_metrics(const struct call *call)
{
    struct text out;
    if (!open_text(call, &out, metrics_bytes_max(call->net->server)))
        return;
    metrics_write(&out, call->net->server);
    answer_body(call->net, call->conn, 200, "text/plain; version=0.0.4", &out);
    free(out.start);
}

void handle_openapi(const struct call *call)
{
    const struct text document = {.start = (char *)(uintptr_t)openapi_json,
                                  .len = openapi_json_bytes};
    answer_json(call->net, call->conn, 200, &document);
}
