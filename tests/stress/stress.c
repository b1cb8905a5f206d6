/*
 * stress.c: the engine with all its real threads, in real time; made for ThreadSanitizer, but useful
 * without it.
 *
 *   stress [SECONDS] [SEED]        3 seconds by default
 *
 * Workers, clock and journal run as in the product, on the model's durable medium, which judges
 * every event as it is committed. Two port threads buy, pay, cancel and pause as fast as answers
 * come; both also pay and cancel each other's orders, so that they compete for one order. A sale
 * lasts some tens of milliseconds, then the next begins.
 *
 * A third thread repeats the engine's part of a reconciliation (the sales' words and the orders' own states)
 * while everybody goes on. It must find nothing.
 *
 * At the end: every command was answered, every answer's event is in the history, and memory at
 * rest equals the history (G1, G3, G4).
 *
 * Threads: main; two ports; the reconciler; and the engine's. Fails: exit 1 and a line that says what.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "tests/support/model.h"
#include "tests/support/number.h"
#include "tests/support/random.h"

enum {
    WORKERS = 3,
    PORTS = 2,
    IN_FLIGHT_MAX = 256,
    SHARED_ORDERS = 32,
    ANSWER_WITHIN_MS = 20000,
    FEW_SALES = SALES_MAX < 1000, /* FLASHD_SMALL: then sales are long and large */
    SALE_MS_MAX = FEW_SALES ? 1000 : 120,
    SALE_MS_MIN = SALE_MS_MAX / 10,
    STOCK_MAX = FEW_SALES ? 2000 : 200,
    BUYERS = FEW_SALES ? 50000 : 400,
    HOLD_MS_SHORTEST = 1,
    HOLD_MS_LONGEST = 20,
    KEYS_AT_A_TIME = 4,
};

/* What a command was answered; judged at the end. */
struct answer {
    uint64_t seq, order_seq;
    uint8_t kind, outcome, state;
};

struct client {
    /* --- its thread only --- */
    uint32_t index;
    struct random random;
    struct port *port;
    uint32_t in_flight;
    bool creating; /* a sale; one at a time, or there would be nothing else */
    struct answer *answers;
    size_t count, room;
    const char *wrong;
    pthread_t thread;
    /* --- also the engine's threads': they wake it --- */
    struct wake wake;
};

static struct engine engine;
static struct model model;
static int64_t stop_at_ms;
/* Both ports put the orders they made here, and pay or cancel those they find. */
static _Atomic(struct order *) shared[SHARED_ORDERS];

static int64_t mono_ms(void)
{
    return now_read().mono_ms;
}

/* ---- sending ---- */

static struct sale_terms *random_terms(struct random *r)
{
    struct sale_terms *terms = calloc(1, sizeof *terms);
    MUST(terms != NULL, "memory for a sale");
    snprintf(terms->name, sizeof terms->name, "stress");
    terms->product_qty = random_between(r, 1, STOCK_MAX);
    terms->max_per_buyer = random_between(r, 1, 3);
    terms->waitlist_max = random_between(r, 0, 100);
    terms->hold_ms = random_between(r, HOLD_MS_SHORTEST, HOLD_MS_LONGEST);
    terms->starts_at_ms = now_read().wall_ms;
    terms->ends_at_ms = terms->starts_at_ms + random_between(r, SALE_MS_MIN, SALE_MS_MAX);
    return terms;
}

/* One of the newest sales that are committed and not over, or NULL. */
static struct sale *random_sale(struct client *c)
{
    uint32_t count = engine_sale_count(&engine);
    struct sale *found = NULL;
    for (uint32_t i = count; i > 0 && i + 3 > count; i--) {
        struct sale *sale = engine_sale_at(&engine, i - 1);
        uint8_t state = view_sale(sale).state;
        bool open = state == SALE_ACTIVE || state == SALE_PAUSED;
        if (open && (found == NULL || random_chance(&c->random, 1, 2)))
            found = sale;
    }
    return found;
}

static bool send(struct client *c, struct command *command, uint32_t target)
{
    bool sent = port_send(c->port, target, command);
    c->in_flight += sent;
    if (!sent && command->kind == COMMAND_CREATE)
        free(command->terms);
    else if (!sent && command->key != 0)
        keys_forget(&engine.keys, command->key);
    return sent;
}

/* Now and then with an idempotency key, one of a few that both ports give at that time. If a key gets two answers,
 * the model's commit fails. */
static void send_for_worker(struct client *c, struct command *command, uint32_t target)
{
    struct kept kept;
    uint64_t number = (uint64_t)mono_ms() << 8 | random_below(&c->random, KEYS_AT_A_TIME);
    if (random_chance(&c->random, 1, 64) &&
        keys_begin(&engine.keys, key_tag(model_hash(&number, sizeof number)), 0, now_read(), &kept,
                   &command->key) != KEY_FRESH)
        return;
    (void)send(c, command, target);
}

static void send_for_buyer(struct client *c, struct sale *sale)
{
    struct command command = {.sale = sale,
                              .kind =
                                  random_chance(&c->random, 1, 8) ? COMMAND_ELIGIBLE : COMMAND_BUY,
                              .quantity = random_between(&c->random, 1, 3)};
    int bytes =
        snprintf(command.name, sizeof command.name, "buyer-%u", random_below(&c->random, BUYERS));
    command.name_bytes = (uint8_t)bytes;
    command.name_hash = model_hash(command.name, command.name_bytes);
    send_for_worker(c, &command, engine_worker_of(&engine, command.name_hash));
}

static void send_for_order(struct client *c)
{
    struct order *order = atomic_load_explicit(&shared[random_below(&c->random, SHARED_ORDERS)],
                                               memory_order_acquire);
    if (order == NULL)
        return;
    struct command command = {
        .order = order, .kind = random_chance(&c->random, 2, 3) ? COMMAND_PAY : COMMAND_CANCEL};
    send_for_worker(c, &command, order->owner);
}

static void send_one(struct client *c)
{
    struct sale *sale = random_sale(c);
    struct command command = {.sale = sale};
    if (sale == NULL) {
        if (c->creating || c->index != 0)
            return;
        command.kind = COMMAND_CREATE;
        command.terms = random_terms(&c->random);
        c->creating = send(c, &command, engine_clock_target(&engine));
    } else if (random_chance(&c->random, 1, 2000)) {
        static const uint8_t kinds[] = {COMMAND_PAUSE, COMMAND_RESUME, COMMAND_RESUME, COMMAND_END};
        command.kind = kinds[random_below(&c->random, 4)];
        (void)send(c, &command, engine_clock_target(&engine));
    } else if (random_chance(&c->random, 1, 2)) {
        send_for_buyer(c, sale);
    } else {
        send_for_order(c);
    }
}

/* ---- receiving ---- */

static void keep(struct client *c, const struct reply *reply)
{
    if (c->count == c->room) {
        c->room = c->room == 0 ? 1024 : c->room * 2;
        c->answers = realloc(c->answers, c->room * sizeof *c->answers);
        MUST(c->answers != NULL, "memory for answers");
    }
    c->answers[c->count++] = (struct answer){
        .seq = reply->seq,
        .order_seq =
            reply->order != NULL && reply->outcome <= OUTCOME_CREATED ? reply->order->seq : 0,
        .kind = reply->kind,
        .outcome = reply->outcome,
        .state = reply->state};
}

static void receive_all(struct client *c)
{
    struct reply reply;
    while (port_receive(c->port, &reply)) {
        c->in_flight--;
        if (reply.seq > log_committed(&engine.log))
            c->wrong = "answered before it was durable";
        if (reply.kind == COMMAND_CREATE)
            c->creating = false;
        if (reply.kind == COMMAND_BUY && reply.outcome == OUTCOME_CREATED)
            atomic_store_explicit(&shared[random_below(&c->random, SHARED_ORDERS)], reply.order,
                                  memory_order_release);
        keep(c, &reply);
    }
}

static void wake_client(void *arg)
{
    wake_up(&((struct client *)arg)->wake);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    int64_t now_ms;
    while ((now_ms = mono_ms()) < stop_at_ms || c->in_flight > 0) {
        uint32_t seen = wake_seen(&c->wake);
        receive_all(c);
        uint32_t n = now_ms < stop_at_ms ? random_between(&c->random, 1, 32) : 0;
        for (; n > 0 && c->in_flight < IN_FLIGHT_MAX; n--)
            send_one(c);
        if (random_below(&c->random, 4) == 0)
            port_flush(c->port);
        else
            port_play(c->port, now_read());
        if (now_ms > stop_at_ms + ANSWER_WITHIN_MS) {
            c->wrong = "a command was never answered";
            break;
        }
        if (port_may_sleep(c->port))
            wake_wait(&c->wake, seen, 5);
        port_awake(c->port);
    }
    return NULL;
}

/* ---- reconciling ---- */

static struct {
    pthread_t thread;
    uint64_t runs, orders;
    char wrong[160];
} looker;

static void rest(void)
{
    const struct timespec moment = {0, 50000};
    (void)nanosleep(&moment, NULL);
}

static void look(struct port *port)
{
    static const _Atomic bool never = false;
    struct reconcile_run run;
    MUST(reconcile_begin(&run, &engine, port, rest, &never), "memory for a run");
    (void)reconcile_words(&run);
    uint64_t last = log_committed(&engine.log), orders = 0;
    for (uint64_t seq = last; seq > 0 && seq + 20000 > last; seq--) {
        const struct order *order = seqmap_order(&engine.seqmap, seq);
        if (order != NULL)
            reconcile_order(&run, order);
        orders += order != NULL;
    }
    (void)reconcile_orders(&run);
    for (uint32_t i = 0; i < run.sale_count; i++)
        if (run.sales[i].count > 0)
            snprintf(looker.wrong, sizeof looker.wrong, "a false alarm: %s: memory %s, events %s",
                     run.sales[i].first.field, run.sales[i].first.memory,
                     run.sales[i].first.events);
    looker.runs++;
    looker.orders += orders;
    reconcile_end(&run);
}

static void *looker_main(void *arg)
{
    while (mono_ms() < stop_at_ms && looker.wrong[0] == 0)
        look(arg);
    return NULL;
}

/* ---- the end ---- */

static const char *judge_answer(const struct answer *a)
{
    const struct judge *j = &model.judge;
    const struct judge_order *o = judge_order_of(j, a->seq);
    enum event_kind kind = judge_kind(j, a->seq);
    if (a->seq > j->last_seq)
        return "an answer that is not in the history";
    if (a->kind == COMMAND_BUY && a->outcome == OUTCOME_CREATED)
        return o != NULL && o->seq == a->order_seq &&
                       kind ==
                           (a->state == ORDER_WAITING ? EVENT_ORDER_QUEUED : EVENT_ORDER_RESERVED)
                   ? NULL
                   : "an order that is not in the history";
    if (a->kind == COMMAND_PAY && a->outcome == OUTCOME_DONE)
        return o != NULL && o->seq == a->order_seq && kind == EVENT_ORDER_PAID
                   ? NULL
                   : "a payment that is not in the history";
    if (a->kind == COMMAND_CANCEL && a->outcome == OUTCOME_DONE)
        return o != NULL && o->seq == a->order_seq && kind == EVENT_ORDER_CANCELLED
                   ? NULL
                   : "a cancellation that is not in the history";
    return NULL;
}

static const char *judge_client(struct client *c)
{
    for (size_t i = 0; c->wrong == NULL && i < c->count; i++)
        c->wrong = judge_answer(&c->answers[i]);
    return c->wrong;
}

static void print_counts(const struct client *clients, int64_t seconds)
{
    uint64_t events[EVENT_KIND_COUNT] = {0};
    for (uint64_t seq = 1; seq <= model.judge.last_seq; seq++)
        events[judge_kind(&model.judge, seq)]++;
    printf("stress: %lld s, %zu answers, %u kept under keys;", (long long)seconds,
           clients[0].count + clients[1].count, model.key_count);
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        printf(" %s %llu", event_row((enum event_kind)i)->wire_name, (unsigned long long)events[i]);
    printf("\n");
}

static void start_clients(struct client *clients, uint64_t seed)
{
    for (uint32_t i = 0; i < PORTS; i++) {
        struct client *c = &clients[i];
        *c = (struct client){.index = i, .random = random_from(seed + i), .port = &engine.ports[i]};
        wake_init(&c->wake);
        c->port->wake = wake_client;
        c->port->wake_arg = c;
    }
}

int main(int argc, char **argv)
{
    static const char usage[] = "stress [SECONDS [SEED]]";
    int64_t seconds = (int64_t)number_of(argc > 1 ? argv[1] : NULL, 3, 1, usage);
    uint64_t seed = number_of(argc > 2 ? argv[2] : NULL, (uint32_t)now_read().wall_ms, 0, usage);
    printf("stress: seed %llu\n", (unsigned long long)seed);
    const struct engine_options options = {.workers = WORKERS,
                                           .ports = PORTS + 1,
                                           .keys = 10000,
                                           .state_interval_ms = 5,
                                           .hash = model_hash};
    static struct client clients[PORTS];
    stop_at_ms = mono_ms() + seconds * 1000;
    MUST(engine_init(&engine, options, model_store(&model)), "memory for an engine");
    start_clients(clients, seed);
    MUST(engine_start(&engine), "threads for an engine");
    for (uint32_t i = 0; i < PORTS; i++)
        MUST(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) == 0, "a thread");
    MUST(pthread_create(&looker.thread, NULL, looker_main, &engine.ports[PORTS]) == 0, "a thread");
    MUST(pthread_join(looker.thread, NULL) == 0, "a thread's end");
    for (uint32_t i = 0; i < PORTS; i++)
        MUST(pthread_join(clients[i].thread, NULL) == 0, "a thread's end");
    engine_stop(&engine);
    print_counts(clients, seconds);
    printf("stress: %llu reconciliations, %llu looks at orders\n", (unsigned long long)looker.runs,
           (unsigned long long)looker.orders);
    const char *wrong = looker.wrong[0] != 0 ? looker.wrong : model_compare(&model, &engine);
    for (uint32_t i = 0; wrong == NULL && i < PORTS; i++)
        wrong = judge_client(&clients[i]);
    printf("stress: %s\n", wrong != NULL ? wrong : "every check held");
    for (uint32_t i = 0; i < PORTS; i++)
        free(clients[i].answers);
    engine_free(&engine);
    model_free(&model);
    return wrong != NULL ? 1 : 0;
}
