/*
 * target.c: the server under load, as its admin and its accountant see it (target.h).
 *
 * Thread: main.
 */
#include "load/target.h"

#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load/ask.h"
#include "load/clock.h"
#include "load/error.h"

enum {
    OPEN_PATIENCE_MS = 15000,
    BUYERS_PAGE = 1000,
    HANDS = 16, /* sales made or ended at a time, so that they can share a commit */
};

/* ---- requests with a JSON answer ---- */

/* The answer's JSON, which the caller must json_decref(); NULL with a line when it has none or another status. */
static json_t *ask_json(const struct run *run, const char *method, const char *path,
                        const char *body, unsigned status, char *error)
{
    char why[256];
    struct reply reply;
    if (!ask(&run->site, method, path, body, &reply, why, sizeof why)) {
        (void)complain(error, "%s %s: %s", method, path, why);
        return NULL;
    }
    json_t *json = json_loadb(reply.body, reply.body_bytes, 0, NULL);
    if (reply.status != status || json == NULL) {
        const char *detail = json_string_value(json_object_get(json, "detail"));
        const char *hint = reply.status == 401 || reply.status == 403
                               ? "; an admin's token of this server is needed: --token, "
                                 "--token-file or FLASHD_TOKEN"
                               : "";
        (void)complain(error, "%s %s%s gave status %u: %s%s", method, run->site.prefix, path,
                       reply.status,
                       detail != NULL ? detail
                       : json == NULL ? "what came with it is no JSON"
                                      : "no reason was given",
                       hint);
        json_decref(json);
        json = NULL;
    }
    reply_free(&reply);
    return json;
}

static uint64_t member(const json_t *json, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(json, name));
    return value > 0 ? (uint64_t)value : 0;
}

static const char *word(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text != NULL ? text : "";
}

static bool read_sale(const json_t *json, struct final_sale *sale)
{
    const char *id = word(json, "id");
    if (strlen(id) >= sizeof sale->id)
        return false;
    *sale = (struct final_sale){.stock = member(json, "productQty"),
                                .available = member(json, "available"),
                                .held = member(json, "held"),
                                .sold = member(json, "sold"),
                                .waiting = member(json, "waiting"),
                                .remaining = member(json, "remainingQty"),
                                .seq = member(json, "seq"),
                                .ended = strcmp(word(json, "state"), "ENDED") == 0};
    memcpy(sale->id, id, strlen(id) + 1);
    return true;
}

static json_t *ask_sale(const struct run *run, const char *id, char *error)
{
    char path[64 + ID_BYTES_MAX];
    (void)snprintf(path, sizeof path, "/sales/%s", id);
    return ask_json(run, "GET", path, NULL, 200, error);
}

/* ---- sales ---- */

/* False once interrupted: making many sales, or waiting for them, may take long. */
static bool go_on(const struct run *run, char *error)
{
    return !atomic_load_explicit(&run->interrupted, memory_order_relaxed) ||
           complain(error, "interrupted before the start");
}

static bool make_sale(struct run *run, uint32_t index, char *error)
{
    const struct options *o = &run->options;
    struct timespec now;
    if (!go_on(run, error))
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    json_int_t now_ms = (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    uint32_t stock = o->stock / o->sales + (index < o->stock % o->sales);
    json_t *terms =
        json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", "flashload", "productQty", (json_int_t)stock,
                  "startsAt", now_ms - 1000, "endsAt", now_ms + 7 * 86400 * (json_int_t)1000,
                  "holdMs", (json_int_t)o->hold_ms);
    char *body = json_dumps(terms, JSON_COMPACT);
    json_t *made = body != NULL ? ask_json(run, "POST", "/sales", body, 201, error) : NULL;
    const char *id = word(made, "id");
    bool good = made != NULL && *id != '\0' && strlen(id) < sizeof run->sales[index].id;
    if (made != NULL && !good)
        (void)complain(error, "POST /sales answered without an id that could be one");
    if (good) {
        memcpy(run->sales[index].id, id, strlen(id) + 1);
        run->sales[index].stock = stock;
        if (index == 0)
            run->ledger.base_seq = member(made, "seq") > 0 ? member(made, "seq") - 1 : 0;
    }
    json_decref(made);
    json_decref(terms);
    free(body);
    return good;
}

typedef bool sale_act(struct run *run, uint32_t index, char *error);

/* One of HANDS threads that act on many sales: each on every HANDS-th. */
struct hand {
    struct run *run;
    sale_act *act;
    uint32_t first;
    bool good;
    pthread_t thread;
    char error[ERROR_BYTES];
};

static void *act_on_some(void *argument)
{
    struct hand *h = argument;
    for (uint32_t i = h->first; h->good && i < h->run->options.sales; i += HANDS)
        h->good = h->act(h->run, i, h->error);
    return NULL;
}

/* Acts on the first sale alone: if something is wrong, that shows before any thread starts. */
static bool act_on_all(struct run *run, sale_act *act, char *error)
{
    static struct hand hands[HANDS];
    if (!act(run, 0, error))
        return false;
    uint32_t wanted = run->options.sales > 1 ? HANDS : 0, started = 0;
    for (; started < wanted; started++) {
        hands[started] = (struct hand){.run = run, .act = act, .first = started + 1, .good = true};
        if (pthread_create(&hands[started].thread, NULL, act_on_some, &hands[started]) != 0)
            break;
    }
    bool good = started == wanted || complain(error, "cannot start threads");
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(hands[i].thread, NULL);
        if (good && !hands[i].good)
            good = complain(error, "%s", hands[i].error);
    }
    return good;
}

static bool look_at_sale(struct run *run, char *error)
{
    json_t *json = ask_sale(run, run->options.sale_id, error);
    struct final_sale sale;
    bool good = json != NULL && read_sale(json, &sale);
    if (json != NULL && !good)
        (void)complain(error, "--sale: the server's answer is no sale");
    if (good) {
        memcpy(run->sales[0].id, sale.id, sizeof sale.id);
        run->sales[0].stock = sale.stock;
        run->ledger.base_seq = sale.seq;
        run->options.stock = (uint32_t)sale.stock;
        run->options.hold_ms = (uint32_t)member(json, "holdMs");
    }
    json_decref(json);
    return good;
}

static bool wait_until_open(const struct run *run, char *error)
{
    uint64_t end_ns = clock_ns() + OPEN_PATIENCE_MS * NS_PER_MS;
    for (uint32_t i = 0; i < run->options.sales;) {
        json_t *json = go_on(run, error) ? ask_sale(run, run->sales[i].id, error) : NULL;
        if (json == NULL)
            return false;
        char state[16];
        (void)snprintf(state, sizeof state, "%s", word(json, "state"));
        json_decref(json);
        if (strcmp(state, "ACTIVE") == 0) {
            /* After the first, look at the last only: it was among the last made. */
            i = i + 1 < run->options.sales && i == 0 ? run->options.sales - 1 : i + 1;
        } else if (run->options.sale_id != NULL) {
            return complain(error, "--sale: the sale is %s; it must be ACTIVE", state);
        } else if (clock_ns() > end_ns) {
            return complain(error, "the sale does not open: it is still %s", state);
        } else {
            clock_sleep_ms(20);
        }
    }
    return true;
}

bool target_open_sales(struct run *run, char *error)
{
    run->sales = calloc(run->options.sales, sizeof *run->sales);
    if (run->sales == NULL)
        return complain(error, "no memory for %u sales", run->options.sales);
    run->sales_are_ours = run->options.sale_id == NULL;
    if (run->sales_are_ours && !run_has_token(run))
        return complain(
            error,
            "a token is missing: to make a sale, give an admin's with --token, --token-file or "
            "FLASHD_TOKEN (flashd token --role admin --sub me); or buy in a sale that is open with "
            "--sale ID");
    bool good = run->sales_are_ours ? act_on_all(run, make_sale, error) : look_at_sale(run, error);
    if (!good || !wait_until_open(run, error))
        return false;
    return run_index_sales(run) || complain(error, "no memory for %u sales", run->options.sales);
}

static bool end_sale(struct run *run, uint32_t index, char *error)
{
    char path[64 + ID_BYTES_MAX];
    (void)snprintf(path, sizeof path, "/sales/%s/end", run->sales[index].id);
    json_t *ended = ask_json(run, "POST", path, NULL, 200, error);
    json_decref(ended);
    return ended != NULL;
}

bool target_end_sales(struct run *run, char *error)
{
    return !run->sales_are_ours || act_on_all(run, end_sale, error);
}

/* ---- the books ---- */

static bool read_many_sales(const struct run *run, struct final_sale *sales, char *error)
{
    json_t *json = ask_json(run, "GET", "/sales", NULL, 200, error);
    size_t at;
    const json_t *one;
    uint32_t found = 0;
    json_array_foreach(json_object_get(json, "sales"), at, one)
    {
        const char *id = word(one, "id");
        uint32_t index = run_sale_of(run, (struct span){id, strlen(id)});
        found += index != NO_SALE && read_sale(one, &sales[index]);
    }
    json_decref(json);
    if (json != NULL && found != run->options.sales)
        return complain(error, "the server's list has %" PRIu32 " of our %" PRIu32 " sales", found,
                        run->options.sales);
    return json != NULL;
}

bool target_read_sales(const struct run *run, struct final_sale *sales, char *error)
{
    if (run->options.sales > 1)
        return read_many_sales(run, sales, error);
    json_t *json = ask_sale(run, run->sales[0].id, error);
    bool good = json != NULL && read_sale(json, &sales[0]);
    json_decref(json);
    return good;
}

struct list {
    struct listed_buyer *rows;
    uint64_t count, room;
};

static bool add_rows(const struct run *run, uint32_t sale, const json_t *buyers, struct list *list)
{
    size_t at;
    const json_t *one;
    json_array_foreach(buyers, at, one)
    {
        if (list->count == list->room) {
            uint64_t room = list->room == 0 ? 1024 : list->room * 2;
            struct listed_buyer *grown = realloc(list->rows, room * sizeof *grown);
            if (grown == NULL)
                return false;
            list->rows = grown;
            list->room = room;
        }
        const char *name = word(one, "buyerName"), *id = word(one, "transactionId");
        list->rows[list->count++] = (struct listed_buyer){
            .sale = sale,
            .buyer = ledger_buyer_named(&run->ledger, (struct span){name, strlen(name)}),
            .quantity = (uint32_t)member(one, "quantity"),
            .named = *name != '\0',
            .id_hash = ledger_hash((struct span){id, strlen(id)})};
    }
    return true;
}

static bool read_list(const struct run *run, uint32_t sale, struct list *list, char *error)
{
    char cursor[32] = "0";
    for (;;) {
        char path[128 + ID_BYTES_MAX];
        (void)snprintf(path, sizeof path, "/sales/%s/buyers?after=%s&limit=%d", run->sales[sale].id,
                       cursor, BUYERS_PAGE);
        json_t *page = ask_json(run, "GET", path, NULL, 200, error);
        if (page == NULL)
            return false;
        bool room = add_rows(run, sale, json_object_get(page, "buyers"), list);
        const json_t *next = json_object_get(page, "next");
        bool more = next != NULL && !json_is_null(next);
        if (json_is_integer(next))
            (void)snprintf(cursor, sizeof cursor, "%" JSON_INTEGER_FORMAT,
                           json_integer_value(next));
        else if (more)
            (void)snprintf(cursor, sizeof cursor, "%s", json_string_value(next));
        json_decref(page);
        if (!room)
            return complain(error, "no memory for the buyers list");
        if (!more)
            return true;
    }
}

bool target_read_buyers(const struct run *run, struct listed_buyer **listed, uint64_t *count,
                        char *error)
{
    struct list list = {0};
    bool good = true;
    for (uint32_t i = 0; good && i < run->options.sales; i++)
        good = read_list(run, i, &list, error);
    *listed = list.rows;
    *count = list.count;
    return good;
}
