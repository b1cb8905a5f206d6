/*
 * engine_bench.c: how many purchases a second do the engine's workers decide? The engine alone, in
 * process: no disk, no socket.
 *
 *   build/bench/engine_bench [ROUNDS [PURCHASES]]     defaults: 5 rounds of 1,000,000 purchases
 *
 * One sale, every buyer new, every purchase accepted. A run goes in cycles of five phases, one
 * after the other on one core (with two workers, two cores share the first two):
 *
 *   send      a ring's worth of commands for each worker          port_send()
 *   decide    each worker until its ring is empty                 worker_round()
 *   journal   books and payloads, for a store that does nothing   journal_round()
 *   clock     learns of the holds                                 clock_round()
 *   receive   the replies, now "durable"                          port_receive()
 *
 * "worker alone" is the decide phase, all else is outside the measured time; "whole pipeline" is all
 * five. Buyers' names and hashes are made outside the measured time (net/ makes them in the product).
 *
 * Figures: decisions/s by wall-clock time, and by CPU time, which leaves out what other processes took
 * from the core. With two workers, the decide phase lasts from the first start to the last end. One
 * worker and two run in turns, each run in a process of its own, so that it starts with empty tables
 * and untouched memory. Two workers of two engines in two processes show what the machine itself
 * gives with both cores busy (on a virtual machine they may be two threads of one core): two workers
 * that share a sale cannot do better.
 *
 * Thread: main is worker 0 and all else; a second worker is one more thread.
 *
 * Fails: exits 1 with a line.
 */
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/support/number.h"

enum {
    RING = COMMAND_RING_SLOTS - 1,
    BENCH_WORKERS_MAX = 2,
    ROUNDS_MAX = 101,
    HOLD_MS = 3600000,
    WARM_BYTES_PER_PURCHASE = 400
};
static_assert(BENCH_WORKERS_MAX * RING <= LOG_SLOTS / 4, "a cycle does not make the log lag");

enum phase { SEND, DECIDE, JOURNAL, CLOCK, RECEIVE, PHASES };
static const char *const phase_names[PHASES] = {"send", "decide", "journal", "clock", "receive"};

/* What one process measured; nanoseconds. */
struct result {
    uint64_t purchases;
    uint64_t wall_ns[PHASES];
    uint64_t decide_cpu_ns; /* in each cycle, of the busier worker */
};

/* One worker in one cycle. */
struct lap {
    uint64_t start_ns, end_ns, cpu_ns;
};

/* The starting line: two workers wait here for each other, to decide at the same time. */
struct line {
    pthread_barrier_t barrier;
    _Atomic uint64_t arrived; /* over all cycles */
};

static struct {
    struct engine engine;
    struct sale *sale;
    struct command batch[BENCH_WORKERS_MAX][RING];
    uint64_t buyers; /* names made so far */
    struct lap laps[BENCH_WORKERS_MAX];
    struct line *line; /* shared by two workers, in threads or processes; NULL: one alone */
    uint32_t core;
    _Atomic bool done;
    struct result result;
} bench;

static void die(const char *what)
{
    fprintf(stderr, "engine_bench: %s\n", what);
    exit(EXIT_FAILURE);
}

static uint64_t time_ns(clockid_t clock)
{
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static void pin(uint32_t core)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(core, &cores);
    if (pthread_setaffinity_np(pthread_self(), sizeof cores, &cores) != 0)
        die("cannot pin a thread to a core");
}

static uint64_t siphash(const void *bytes, size_t len)
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = "a key for bench";
    uint64_t hash;
    (void)crypto_shorthash((unsigned char *)&hash, bytes, len, key);
    return hash;
}

/* ---- a store that does nothing ---- */

static bool nothing(void *self)
{
    (void)self;
    return true;
}
static bool no_append(void *self, const struct event *event, enum order_state from,
                      const char *payload, size_t payload_bytes)
{
    (void)self, (void)event, (void)from, (void)payload, (void)payload_bytes;
    return true;
}
static bool no_save(void *self, const struct sale *sale)
{
    (void)self, (void)sale;
    return true;
}
static bool no_tidy(void *self, bool busy, int64_t *sleep_ms)
{
    (void)self, (void)busy, (void)sleep_ms;
    return true;
}
static bool never_full(void *self)
{
    (void)self;
    return false;
}
static const char *no_error(void *self)
{
    (void)self;
    return "none";
}

/* ---- the phases ---- */

static void run_journal(void)
{
    enum journal_result result;
    while ((result = journal_round(&bench.engine.journal)) == JOURNAL_WROTE)
        continue;
    if (result == JOURNAL_FAILED)
        die(bench.engine.journal.error);
}

static void run_clock(void)
{
    int64_t sleep_ms;
    while (clock_round(&bench.engine.clock, now_read(), &sleep_ms))
        continue;
}

static void run_worker(uint32_t index)
{
    struct lap *lap = &bench.laps[index];
    lap->start_ns = time_ns(CLOCK_MONOTONIC);
    uint64_t cpu_ns = time_ns(CLOCK_THREAD_CPUTIME_ID);
    while (worker_round(&bench.engine.workers[index], now_read()))
        continue;
    lap->cpu_ns = time_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
    lap->end_ns = time_ns(CLOCK_MONOTONIC);
}

/* Called on the worker's own core, so that its commands are in that core's cache, with two workers as with one. */
static void fill_ring(uint32_t index)
{
    for (uint32_t i = 0; i < RING; i++)
        if (!port_send(&bench.engine.ports[0], index, &bench.batch[index][i]))
            die("a ring is full");
}

/* Workers leave together: they sleep until both are there, and spin only at the very end. */
static void start_line(void)
{
    if (bench.line == NULL)
        return;
    (void)pthread_barrier_wait(&bench.line->barrier);
    uint64_t both = (atomic_fetch_add(&bench.line->arrived, 1) / 2 + 1) * 2;
    while (atomic_load(&bench.line->arrived) < both)
        continue;
}

static void *second_worker(void *arg)
{
    (void)arg;
    pin(1);
    for (;;) {
        (void)pthread_barrier_wait(&bench.line->barrier); /* main has made the commands */
        if (bench.done)
            return NULL;
        fill_ring(1);
        start_line();
        run_worker(1);
        (void)pthread_barrier_wait(&bench.line->barrier);
    }
}

static void send_and_decide(uint32_t workers)
{
    if (workers > 1)
        (void)pthread_barrier_wait(&bench.line->barrier);
    uint64_t at = time_ns(CLOCK_MONOTONIC);
    fill_ring(0);
    bench.result.wall_ns[SEND] += time_ns(CLOCK_MONOTONIC) - at;
    start_line();
    run_worker(0);
    if (workers > 1)
        (void)pthread_barrier_wait(&bench.line->barrier);
    struct lap all = bench.laps[0];
    for (uint32_t i = 1; i < workers; i++) {
        const struct lap *lap = &bench.laps[i];
        all.start_ns = lap->start_ns < all.start_ns ? lap->start_ns : all.start_ns;
        all.end_ns = lap->end_ns > all.end_ns ? lap->end_ns : all.end_ns;
        all.cpu_ns = lap->cpu_ns > all.cpu_ns ? lap->cpu_ns : all.cpu_ns;
    }
    bench.result.wall_ns[DECIDE] += all.end_ns - all.start_ns;
    bench.result.decide_cpu_ns += all.cpu_ns;
}

static uint32_t receive(void)
{
    struct port *port = &bench.engine.ports[0];
    struct reply reply;
    uint32_t count = 0;
    while (port_receive(port, &reply)) {
        if (reply.outcome != OUTCOME_CREATED || reply.state != ORDER_PAYMENT)
            die("a purchase was not accepted");
        count++;
    }
    return count;
}

/* ---- a cycle ---- */

/* Makes new buyers until every worker has a ring's worth; outside the measured time. */
static void make_buyers(uint32_t workers)
{
    uint32_t counts[BENCH_WORKERS_MAX] = {0}, full = 0;
    while (full < workers) {
        char name[BUYER_NAME_BYTES_MAX];
        int len = snprintf(name, sizeof name, "buyer-%llu", (unsigned long long)++bench.buyers);
        uint64_t hash = siphash(name, (size_t)len);
        uint32_t worker = engine_worker_of(&bench.engine, hash);
        if (counts[worker] == RING)
            continue;
        struct command *command = &bench.batch[worker][counts[worker]++];
        *command = (struct command){.sale = bench.sale,
                                    .name_hash = hash,
                                    .quantity = 1,
                                    .kind = COMMAND_BUY,
                                    .name_bytes = (uint8_t)len};
        memcpy(command->name, name, (size_t)len);
        full += counts[worker] == RING;
    }
}

static void cycle(uint32_t workers)
{
    uint64_t *spent = bench.result.wall_ns;
    make_buyers(workers);
    send_and_decide(workers);
    uint64_t at = time_ns(CLOCK_MONOTONIC);
    run_journal();
    uint64_t journal_done = time_ns(CLOCK_MONOTONIC);
    run_clock();
    uint64_t clock_done = time_ns(CLOCK_MONOTONIC);
    if (receive() != workers * RING)
        die("replies are missing");
    spent[JOURNAL] += journal_done - at;
    spent[CLOCK] += clock_done - journal_done;
    spent[RECEIVE] += time_ns(CLOCK_MONOTONIC) - clock_done;
    bench.result.purchases += workers * RING;
}

static void open_sale(void)
{
    struct engine *e = &bench.engine;
    struct sale_terms *terms = calloc(1, sizeof *terms); /* the clock frees it */
    if (terms == NULL)
        die("out of memory");
    int64_t wall_ms = now_read().wall_ms;
    *terms = (struct sale_terms){.name = "bench",
                                 .product_qty = PRODUCT_QTY_MAX,
                                 .max_per_buyer = 1,
                                 .hold_ms = HOLD_MS,
                                 .starts_at_ms = wall_ms - 1,
                                 .ends_at_ms = wall_ms + HOLD_MS};
    struct command create = {.kind = COMMAND_CREATE, .terms = terms};
    struct reply reply;
    if (!port_send(&e->ports[0], engine_clock_target(e), &create))
        die("a ring is full");
    run_clock();
    run_journal();
    run_clock();
    run_journal();
    if (!port_receive(&e->ports[0], &reply) || reply.outcome != OUTCOME_CREATED)
        die("the sale was not created");
    bench.sale = reply.sale;
}

static struct result measure(uint32_t workers, uint64_t purchases)
{
    static const struct journal_store store = {.begin = nothing,
                                               .append = no_append,
                                               .save_sale = no_save,
                                               .commit = nothing,
                                               .tidy = no_tidy,
                                               .storage_full = never_full,
                                               .error = no_error};
    const struct engine_options options = {
        .workers = workers, .ports = 1, .state_interval_ms = 100, .hash = siphash};
    pthread_t second = {0};
    pin(bench.core);
    if (!engine_init(&bench.engine, options, store))
        die("out of memory");
    open_sale();
    if (workers > 1 && pthread_create(&second, NULL, second_worker, NULL) != 0)
        die("no thread");
    while (bench.result.purchases < purchases)
        cycle(workers);
    if (workers > 1) {
        bench.done = true;
        (void)pthread_barrier_wait(&bench.line->barrier);
        (void)pthread_join(second, NULL);
    }
    struct books books = view_sale(bench.sale);
    if (books.held != bench.result.purchases || books.available != PRODUCT_QTY_MAX - books.held)
        die("the books do not show every purchase");
    return bench.result;
}

/* ---- rounds and figures ---- */

/* A hypervisor may have taken back the memory that an earlier process freed; the first touch then costs
 * many times as much. So the memory is touched just before the measurement. */
static void warm_memory(uint64_t purchases)
{
    size_t bytes = (size_t)purchases * WARM_BYTES_PER_PURCHASE;
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        die("out of memory");
    (void)madvise(map, bytes, MADV_HUGEPAGE);
    memset(map, 1, bytes);
    (void)munmap(map, bytes);
}

/* Measures in a process of its own, whose memory goes with it. Returns the pipe that will have the result. */
static int begin(uint32_t workers, uint32_t core, struct line *line, uint64_t purchases)
{
    int ends[2];
    if (pipe(ends) != 0)
        die("no pipe");
    pid_t child = fork();
    if (child < 0)
        die("no process");
    if (child == 0) {
        bench.core = core;
        bench.line = line;
        struct result result = measure(workers, purchases);
        _exit(write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1);
    }
    (void)close(ends[1]);
    return ends[0];
}

static struct result end(int pipe_end)
{
    struct result result;
    if (read(pipe_end, &result, sizeof result) != sizeof result)
        die("a measurement failed");
    (void)close(pipe_end);
    (void)wait(NULL);
    return result;
}

static struct line *new_line(void)
{
    static struct line *line;
    pthread_barrierattr_t shared;
    if (line == NULL)
        line = mmap(NULL, sizeof *line, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (line == MAP_FAILED)
        die("out of memory");
    *line = (struct line){0};
    (void)pthread_barrierattr_init(&shared);
    (void)pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    (void)pthread_barrier_init(&line->barrier, &shared, 2);
    return line;
}

static struct result measure_one(uint64_t purchases)
{
    warm_memory(purchases);
    return end(begin(1, 0, NULL, purchases));
}

static struct result measure_two(uint64_t purchases)
{
    warm_memory(purchases);
    return end(begin(2, 0, new_line(), purchases));
}

/* Two workers that share nothing but the machine, each in an engine and a process of its own. */
static struct result measure_strangers(uint64_t purchases)
{
    warm_memory(2 * purchases);
    struct line *line = new_line();
    int first = begin(1, 0, line, purchases), second = begin(1, 1, line, purchases);
    struct result a = end(first), b = end(second);
    a.purchases += b.purchases;
    if (b.wall_ns[DECIDE] > a.wall_ns[DECIDE])
        a.wall_ns[DECIDE] = b.wall_ns[DECIDE];
    if (b.decide_cpu_ns > a.decide_cpu_ns)
        a.decide_cpu_ns = b.decide_cpu_ns;
    return a;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

static double millions_a_second(const struct result *result, uint64_t ns)
{
    return (double)result->purchases / (double)ns * 1e3;
}

static double pipeline_ns(const struct result *result)
{
    double total = 0;
    for (int i = 0; i < PHASES; i++)
        total += (double)result->wall_ns[i];
    return total / (double)result->purchases;
}

static void print_phases(const struct result *results, size_t rounds)
{
    double values[ROUNDS_MAX];
    printf("  phases, median ns a purchase:");
    for (int phase = 0; phase < PHASES; phase++) {
        for (size_t i = 0; i < rounds; i++)
            values[i] = (double)results[i].wall_ns[phase] / (double)results[i].purchases;
        printf(" %s %.0f", phase_names[phase], median(values, rounds));
    }
    printf("\n");
}

/* What two workers decide together, and how many times what one alone decides in the same round. */
static void print_ratio(const char *what, const struct result *two, const struct result *one,
                        size_t rounds)
{
    double rate[ROUNDS_MAX], wall[ROUNDS_MAX], cpu[ROUNDS_MAX];
    for (size_t i = 0; i < rounds; i++) {
        rate[i] = millions_a_second(&two[i], two[i].wall_ns[DECIDE]);
        wall[i] = rate[i] / millions_a_second(&one[i], one[i].wall_ns[DECIDE]);
        cpu[i] = millions_a_second(&two[i], two[i].decide_cpu_ns) /
                 millions_a_second(&one[i], one[i].decide_cpu_ns);
    }
    printf("%s median %.2f million decisions/s; times one: %.2f (%.2f by CPU time)\n", what,
           median(rate, rounds), median(wall, rounds), median(cpu, rounds));
}

static void print_one(const struct result *one, size_t rounds)
{
    double wall[ROUNDS_MAX], cpu[ROUNDS_MAX], whole[ROUNDS_MAX];
    for (size_t i = 0; i < rounds; i++) {
        wall[i] = millions_a_second(&one[i], one[i].wall_ns[DECIDE]);
        cpu[i] = millions_a_second(&one[i], one[i].decide_cpu_ns);
        whole[i] = 1e3 / pipeline_ns(&one[i]);
    }
    printf("one worker alone, one core:   median %.2f million decisions/s (%.2f by CPU time)\n",
           median(wall, rounds), median(cpu, rounds));
    printf("whole pipeline, one core:     median %.2f million decisions/s\n",
           median(whole, rounds));
    print_phases(one, rounds);
}

int main(int argc, char **argv)
{
    static struct result one[ROUNDS_MAX], two[ROUNDS_MAX], strangers[ROUNDS_MAX];
    static const char usage[] = "engine_bench [ROUNDS [PURCHASES]]";
    size_t rounds = number_of(argc > 1 ? argv[1] : NULL, 5, 1, usage);
    uint64_t purchases = number_of(argc > 2 ? argv[2] : NULL, 1000000, 1, usage);
    bool two_cores = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    if (rounds > ROUNDS_MAX || purchases > PRODUCT_QTY_MAX / 2)
        die("so many are too many");
    if (sodium_init() < 0 || !two_cores)
        die(two_cores ? "libsodium does not start" : "needs two cores");
    for (size_t i = 0; i < rounds; i++) {
        one[i] = measure_one(purchases);
        two[i] = measure_two(purchases);
        strangers[i] = measure_strangers(purchases);
        printf("round %zu: one worker %.2f, two workers %.2f, two strangers %.2f million"
               " decisions/s (wall)\n",
               i + 1, millions_a_second(&one[i], one[i].wall_ns[DECIDE]),
               millions_a_second(&two[i], two[i].wall_ns[DECIDE]),
               millions_a_second(&strangers[i], strangers[i].wall_ns[DECIDE]));
        (void)fflush(stdout);
    }
    print_one(one, rounds);
    print_ratio("two workers, one sale:       ", two, one, rounds);
    print_ratio("two that share nothing:      ", strangers, one, rounds);
    return EXIT_SUCCESS;
}
