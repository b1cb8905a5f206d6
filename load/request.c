/*
 * request.c: the bytes of requests (crowd.h), put together without printf(), since every step needs them.
 *
 * Thread: the caller's. Cannot fail: REQUEST_BYTES_MAX has room for the longest host, ids and names. Requests for
 * streams, which carry a token, are formatted with a check.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "load/crowd.h"

static_assert(HOST_BYTES_MAX + PREFIX_BYTES_MAX + 3 * ID_BYTES_MAX + TAG_BYTES_MAX + 256 <
                  REQUEST_BYTES_MAX,
              "a request without a token fits");

const char *step_name(enum step step)
{
    static const char *const names[STEP_COUNT] = {
        [STEP_LOOK] = "look", [STEP_BUY] = "buy",       [STEP_TWICE] = "buy again",
        [STEP_PAY] = "pay",   [STEP_CANCEL] = "cancel", [STEP_CHECK] = "order"};
    return names[step];
}

struct pen {
    char *at;
};

static void put_bytes(struct pen *pen, const char *bytes, size_t len)
{
    memcpy(pen->at, bytes, len);
    pen->at += len;
}

static void put(struct pen *pen, const char *text)
{
    put_bytes(pen, text, strlen(text));
}

static void put_number(struct pen *pen, uint32_t number)
{
    char digits[10];
    size_t count = 0;
    do {
        digits[sizeof digits - ++count] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put_bytes(pen, digits + sizeof digits - count, count);
}

static void put_path(struct pen *pen, const struct crowd *crowd, const char *method,
                     const char *path)
{
    put(pen, method);
    put(pen, crowd->run->site.prefix);
    put(pen, path);
}

static void put_host(struct pen *pen, const struct crowd *crowd)
{
    put(pen, " HTTP/1.1\r\nHost: ");
    put(pen, crowd->run->site.host);
}

static void get(struct pen *pen, const struct crowd *crowd, const char *path, const char *id,
                size_t id_len)
{
    put_path(pen, crowd, "GET ", path);
    put_bytes(pen, id, id_len);
    put_host(pen, crowd);
    put(pen, "\r\n\r\n");
}

static void post(struct pen *pen, const struct crowd *crowd, const char *path, const char *body,
                 size_t body_len)
{
    put_path(pen, crowd, "POST ", path);
    put_host(pen, crowd);
    put(pen, "\r\nContent-Type: application/json\r\nContent-Length: ");
    put_number(pen, (uint32_t)body_len);
    put(pen, "\r\n\r\n");
    put_bytes(pen, body, body_len);
}

static size_t purchase_body(char *body, const struct crowd *crowd, uint32_t buyer,
                            const char *sale_id)
{
    struct pen pen = {body};
    put(&pen, "{\"saleId\":\"");
    put(&pen, sale_id);
    put(&pen, "\",\"buyerName\":\"");
    put(&pen, crowd->run->ledger.tag);
    put(&pen, "-");
    put_number(&pen, buyer);
    put(&pen, "\"}");
    return (size_t)(pen.at - body);
}

static size_t order_body(char *body, const struct ledger_order *order)
{
    struct pen pen = {body};
    put(&pen, "{\"transactionId\":\"");
    put_bytes(&pen, order->id, order->id_bytes);
    put(&pen, "\"}");
    return (size_t)(pen.at - body);
}

void request_step(struct crowd *crowd, struct link *link, const struct task *task)
{
    const struct ledger_order *order = crowd_order(crowd, task->buyer);
    const char *sale_id = crowd->run->sales[order->sale].id;
    char body[256];
    struct pen pen = {link->request};
    switch ((enum step)task->step) {
    case STEP_LOOK:
        get(&pen, crowd, "/sales/", sale_id, strlen(sale_id));
        break;
    case STEP_CHECK:
        get(&pen, crowd, "/transactions/", order->id, order->id_bytes);
        break;
    case STEP_PAY:
        post(&pen, crowd, "/pay", body, order_body(body, order));
        break;
    case STEP_CANCEL:
        post(&pen, crowd, "/cancel", body, order_body(body, order));
        break;
    default:
        post(&pen, crowd, "/buy", body, purchase_body(body, crowd, task->buyer, sale_id));
        break;
    }
    link->request_bytes = (uint32_t)(pen.at - link->request);
}

void request_greeting(struct crowd *crowd, struct link *link)
{
    const char *sale_id = crowd->run->sales[0].id;
    struct pen pen = {link->request};
    get(&pen, crowd, "/sales/", sale_id, strlen(sale_id));
    link->request_bytes = (uint32_t)(pen.at - link->request);
}

void request_stream(const struct site *site, struct link *link, const char *path, bool with_token,
                    uint64_t after_id)
{
    char last_id[48] = "";
    if (after_id != 0)
        (void)snprintf(last_id, sizeof last_id, "Last-Event-ID: %" PRIu64 "\r\n", after_id);
    int bytes =
        snprintf(link->request, sizeof link->request,
                 "GET %s%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n%s%s%s%s\r\n",
                 site->prefix, path, site->host, with_token ? "Authorization: Bearer " : "",
                 with_token ? site->token : "", with_token ? "\r\n" : "", last_id);
    /* A request cut short would wait for ever; but a token of at most TOKEN_BYTES_MAX leaves room for it. */
    link->request_bytes = bytes < (int)sizeof link->request ? (uint32_t)bytes : 0;
}
