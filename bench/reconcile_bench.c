/*
 * reconcile_bench.c: what a reconciliation costs: its seconds, and the delay of a worker's answers.
 *
 *   reconcile_bench [ORDERS [SECONDS]]    default 1000000 orders, 5 seconds each way
 *
 * Makes a data directory with ORDERS orders, half of them paid; then, in a process like the server's (workers,
 * clock, writer, reconciler; no sockets), one thread buys from one worker at a steady rate, and another asks
 * the other worker, which sells nothing, whether a buyer may buy (COMMAND_ELIGIBLE), one question at a time:
 * such an answer needs no commit. Printed: percentiles of the time to the answer, first without runs, then
 * with one run after the other, and the number of runs.
 *
 * The database is in a temporary folder that is removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/engine.h"
#include "main/hash.h"
#include "persist/reconcile.h"
#include "persist/recovery.h"
#include "persist/store.h"
#include "tests/support/data_dir.h"
#include "tests/support/number.h"

enum { GROUP = 500, WORKERS = 2, SAMPLES_MAX = 4000000 };
enum { PORT_MAIN, PORT_BUYER, PORT_ASKER, PORT_RECONCILER, PORTS };

static struct engine engine;
static char folder[] = "/tmp/flashd-reconcile-bench-XXXXXX";
static _Atomic bool stop;
static uint32_t samples[SAMPLES_MAX];
static uint32_t sample_count;

static int64_t now_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* ---- the data ---- */

static void settle(struct reply *replies, uint32_t *count)
{
    int64_t sleep_ms;
    bool busy = true;
    while (busy) {
        busy = worker_round(&engine.workers[0], now_read());
        busy = clock_round(&engine.clock, now_read(), &sleep_ms) || busy;
        busy = journal_round(&engine.journal) == JOURNAL_WROTE || busy;
    }
    for (*count = 0; port_receive(&engine.ports[0], &replies[*count]); ++*count)
        MUST(replies[*count].outcome <= OUTCOME_CREATED, "a command was refused");
}

static void open_sale(void)
{
    struct sale_terms *terms = malloc(sizeof *terms);
    struct reply replies[GROUP];
    uint32_t count;
    MUST(terms != NULL, "out of memory");
    *terms = (struct sale_terms){.name = "bench",
                                 .product_qty = PRODUCT_QTY_MAX,
                                 .max_per_buyer = 1,
                                 .hold_ms = HOLD_MS_MAX,
                                 .starts_at_ms = 1,
                                 .ends_at_ms = INT64_MAX / 2};
    struct command command = {.terms = terms, .kind = COMMAND_CREATE};
    MUST(port_send(&engine.ports[0], engine_clock_target(&engine), &command), "a full ring");
    settle(replies, &count);
}

static struct command buy(uint64_t number, uint8_t kind)
{
    struct command command = {.sale = engine_sale_at(&engine, 0), .quantity = 1, .kind = kind};
    command.name_bytes = (uint8_t)snprintf(command.name, sizeof command.name, "buyer-%09llu",
                                           (unsigned long long)number);
    command.name_hash = keyed_siphash(command.name, command.name_bytes);
    return command;
}

static void make_data(uint32_t orders)
{
    static struct reply replies[2 * GROUP], paid[2 * GROUP];
    char error[512];
    uint32_t count, paid_count;
    struct store *store = store_open(folder, 0, error, sizeof error);
    MUST(store != NULL, error);
    hash_set_key(store_key(store));
    const struct engine_options options = {
        .workers = 1, .ports = 1, .state_interval_ms = 100, .hash = keyed_siphash};
    MUST(engine_init(&engine, options, store_journal(store, keyed_siphash)), "out of memory");
    open_sale();
    for (uint32_t done = 0; done < orders; done += GROUP) {
        for (uint32_t i = 0; i < GROUP; i++) {
            struct command command = buy(done + i, COMMAND_BUY);
            MUST(port_send(&engine.ports[0], 0, &command), "a full ring");
        }
        settle(replies, &count);
        for (uint32_t i = 0; i < count; i += 2) {
            struct command command = {.kind = COMMAND_PAY, .order = replies[i].order};
            MUST(port_send(&engine.ports[0], 0, &command), "a full ring");
        }
        settle(paid, &paid_count);
    }
    engine_free(&engine);
    store_close(store);
}

/* ---- the load ---- */

static void *buyer_main(void *arg)
{
    uint64_t number = 1000000000;
    struct port *port = &engine.ports[PORT_BUYER];
    (void)arg;
    while (!atomic_load(&stop)) {
        struct reply reply;
        for (int i = 0; i < 20; i++) {
            struct command command = buy(number++, COMMAND_BUY);
            if (engine_worker_of(&engine, command.name_hash) == 0)
                (void)port_send(port, 0, &command);
        }
        port_flush(port);
        (void)usleep(1000);
        while (port_receive(port, &reply))
            ;
    }
    return NULL;
}

/* Asks the other worker, and measures the time until its answer is in the ring, committed or not. */
static void *asker_main(void *arg)
{
    struct port *port = &engine.ports[PORT_ASKER];
    struct command_ring *asked = &port->channels[1].commands;
    (void)arg;
    uint64_t number = 0;
    while (!atomic_load(&stop) && sample_count < SAMPLES_MAX) {
        struct reply reply;
        struct command command = buy(number++, COMMAND_ELIGIBLE);
        if (engine_worker_of(&engine, command.name_hash) != 1)
            continue;
        int64_t began = now_ns();
        MUST(port_send(port, 1, &command), "a full ring");
        port_flush(port);
        while (ck_ring_size(&port->channels[1].replies.ring) == 0)
            ck_pr_stall();
        samples[sample_count++] = (uint32_t)(now_ns() - began);
        MUST(ck_ring_size(&asked->ring) == 0, "one question at a time");
        while (!port_receive(port, &reply))
            (void)usleep(10);
        (void)usleep(50);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, uint32_t seconds, bool runs)
{
    pthread_t buyer, asker;
    atomic_store(&stop, false);
    sample_count = 0;
    MUST(pthread_create(&buyer, NULL, buyer_main, NULL) == 0, "no thread");
    MUST(pthread_create(&asker, NULL, asker_main, NULL) == 0, "no thread");
    uint64_t before = reconcile_result(&engine.reconciler).runs;
    for (int64_t until = now_ns() + (int64_t)seconds * 1000000000; now_ns() < until;) {
        if (runs) {
            struct command command = {.kind = COMMAND_RECONCILE};
            (void)port_send(&engine.ports[PORT_MAIN], engine_reconciler_target(&engine), &command);
            port_flush(&engine.ports[0]);
        }
        struct reply reply;
        do
            (void)usleep(2000);
        while (runs && !port_receive(&engine.ports[0], &reply));
    }
    atomic_store(&stop, true);
    (void)pthread_join(buyer, NULL);
    (void)pthread_join(asker, NULL);
    qsort(samples, sample_count, sizeof *samples, by_size);
    const uint32_t n = sample_count;
    printf("%-12s runs %3llu; a worker's answer after, us: p50 %u  p99 %u  p99.9 %u  max %u (%u "
           "asked)\n",
           what, (unsigned long long)(reconcile_result(&engine.reconciler).runs - before),
           samples[n / 2] / 1000, samples[(size_t)n * 99 / 100] / 1000,
           samples[(size_t)n * 999 / 1000] / 1000, samples[n - 1] / 1000, n);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char usage[] = "reconcile_bench [ORDERS [SECONDS]]";
    uint32_t orders = (uint32_t)number_of(argc > 1 ? argv[1] : NULL, 1000000, 1, usage);
    uint32_t seconds = (uint32_t)number_of(argc > 2 ? argv[2] : NULL, 5, 1, usage);
    char error[512];
    struct recovery found;
    MUST(mkdtemp(folder) != NULL, "no temporary folder");
    make_data(orders);
    struct store *store = store_open(folder, 0, error, sizeof error);
    MUST(store != NULL, error);
    struct ledger *ledger = ledger_open(folder, store_retention_gate(store), error, sizeof error);
    MUST(ledger != NULL, error);
    struct engine_options options = {
        .workers = WORKERS,
        .ports = PORTS,
        .state_interval_ms = 100,
        .hash = keyed_siphash,
        .last_seq = store_last_seq(store),
        .reconcile = {.store = ledger_store(ledger), .port = PORT_RECONCILER}};
    MUST(cron_parse("0 0 31 2 *", &options.reconcile.schedule, NULL),
         "a schedule that never calls");
    MUST(engine_init(&engine, options, store_journal(store, keyed_siphash)), "out of memory");
    MUST(recover(store_db(store), &engine, now_read(), &found, error, sizeof error), error);
    MUST(engine_start(&engine), "no thread");
    measure("without runs", seconds, false);
    measure("with runs", seconds, true);
    engine_stop(&engine);
    engine_free(&engine);
    ledger_close(ledger);
    store_close(store);
    data_dir_remove(folder);
    return EXIT_SUCCESS;
}
