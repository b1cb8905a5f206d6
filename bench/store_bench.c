/*
 * store_bench.c: what durability costs: worker, journal and SQLite on one thread, by size of the group commit.
 *
 *   store_bench [PURCHASES]    default 100000 for each group size
 *
 * Each round decides GROUP purchases by new buyers, commits them and takes the replies. Printed per purchase:
 * user and system CPU time, and wall time, which includes the disk's. There are no sockets, so that profilers
 * without io_uring (callgrind) work, too. The database is in a temporary folder that is removed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/engine.h"
#include "main/hash.h"
#include "persist/store.h"
#include "tests/support/data_dir.h"
#include "tests/support/number.h"

static struct engine engine;

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void commit_all(void)
{
    int64_t sleep_ms;
    struct reply reply;
    do
        MUST(journal_round(&engine.journal) != JOURNAL_FAILED, engine.journal.error);
    while (clock_round(&engine.clock, now_read(), &sleep_ms));
    MUST(journal_round(&engine.journal) != JOURNAL_FAILED, engine.journal.error);
    while (port_receive(&engine.ports[0], &reply))
        MUST(reply.outcome == OUTCOME_CREATED, "a purchase was refused");
}

static void open_sale(void)
{
    struct sale_terms *terms = malloc(sizeof *terms);
    MUST(terms != NULL, "out of memory");
    *terms = (struct sale_terms){.name = "bench",
                                 .product_qty = PRODUCT_QTY_MAX,
                                 .max_per_buyer = 1,
                                 .waitlist_max = 0,
                                 .hold_ms = HOLD_MS_MAX,
                                 .starts_at_ms = 1,
                                 .ends_at_ms = INT64_MAX / 2};
    struct command command = {.terms = terms, .kind = COMMAND_CREATE};
    MUST(port_send(&engine.ports[0], engine_clock_target(&engine), &command), "a full ring");
    commit_all();
}

static void buy(uint32_t number)
{
    struct command command = {
        .sale = engine_sale_at(&engine, 0), .quantity = 1, .kind = COMMAND_BUY};
    command.name_bytes = (uint8_t)snprintf(command.name, sizeof command.name, "buyer-%08u", number);
    command.name_hash = keyed_siphash(command.name, command.name_bytes);
    MUST(port_send(&engine.ports[0], 0, &command), "a full ring");
}

static void measure(uint32_t group, uint32_t purchases, uint32_t *number)
{
    struct rusage before, after;
    struct timespec began, ended;
    (void)getrusage(RUSAGE_SELF, &before);
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    for (uint32_t done = 0; done < purchases; done += group) {
        for (uint32_t i = 0; i < group; i++)
            buy((*number)++);
        while (worker_round(&engine.workers[0], now_read()))
            ;
        commit_all();
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    (void)getrusage(RUSAGE_SELF, &after);
    double each = 1e6 / purchases;
    double wall =
        (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    printf("group %4u: user %6.2f us, system %6.2f us, wall %7.2f us per purchase\n", group,
           (seconds(after.ru_utime) - seconds(before.ru_utime)) * each,
           (seconds(after.ru_stime) - seconds(before.ru_stime)) * each, wall * each);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const uint32_t groups[] = {1, 4, 14, 64, 500};
    static const char usage[] = "store_bench [PURCHASES], at least 10";
    uint32_t purchases = (uint32_t)number_of(argc > 1 ? argv[1] : NULL, 100000, 10, usage),
             number = 0;
    char folder[] = "/tmp/flashd-store-bench-XXXXXX", error[512];
    MUST(mkdtemp(folder) != NULL, "no temporary folder");
    struct store *store = store_open(folder, 0, error, sizeof error);
    MUST(store != NULL, error);
    hash_set_key(store_key(store));
    const struct engine_options options = {
        .workers = 1, .ports = 1, .state_interval_ms = 100, .hash = keyed_siphash};
    MUST(engine_init(&engine, options, store_journal(store, keyed_siphash)), "out of memory");
    open_sale();
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        measure(groups[i], groups[i] == 1 ? purchases / 10 : purchases, &number);
    engine_free(&engine);
    store_close(store);
    data_dir_remove(folder);
    return EXIT_SUCCESS;
}
