/*
 * sim.c: runs seeds of the simulation (see sim.h for its parts).
 *
 *   sim --seeds N [--first S]      seeds S..S+N-1; stops at the first that fails; exit 1 then
 *   sim --seed S [--turns]         one seed, with a trace (and every turn)
 *   sim --fault NAME [--seeds N]   a deliberate fault (engine/step.h): exit 0 when a seed catches it
 *   sim --race NAME …              with any of these: that race (race.c), and who won how often;
 *                                  a race that one side never won proves nothing: exit 1
 *
 * Seeds run in child processes, some hundreds each: a failed MUST() ends only the child and counts
 * as a failed seed, and memory that crashes leak goes with the child.
 *
 * Environment: SIM_SEEDS gives the number of seeds when --seeds does not; races take a fifth of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

enum { SEEDS_PER_CHILD = 250, RACE_SEEDS_JUDGED = 1000, RACE_SHARE = 5 };

#ifndef SIM_SEEDS_DEFAULT
#define SIM_SEEDS_DEFAULT 10000
#endif

/* What children tell the parent, in shared memory. */
struct shared {
    uint64_t seed; /* the one that is running */
    uint64_t steps, lives, looks, events[EVENT_KIND_COUNT], replies[OUTCOME_COUNT];
    uint64_t winners[RACE_WINNERS_MAX], contested;
    uint64_t key_verdicts[KEY_NO_ROOM + 1];
};

#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* a crash leaks what it held, by design */
}
#endif

static void count_in(struct shared *shared)
{
    shared->steps += sim.steps;
    shared->lives += sim.lives;
    shared->looks += sim.looks;
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        shared->events[i] += sim.events[i];
    for (int i = 0; i < OUTCOME_COUNT; i++)
        shared->replies[i] += sim.replies[i];
    shared->winners[sim.winner]++;
    shared->contested += sim.contested;
    for (int i = 0; i <= KEY_NO_ROOM; i++)
        shared->key_verdicts[i] += sim.key_verdicts[i];
}

/* False when it was no race: one of the possible winners never won, or it was never contested. */
static bool print_race(const struct shared *shared, uint64_t seeds)
{
    bool run = shared->contested > 0;
    printf("race %s: %llu seeds:", sim.race->name, (unsigned long long)seeds);
    for (int i = 0; i < RACE_WINNERS_MAX && sim.race->winners[i] != NULL; i++) {
        printf(" %s %llu,", sim.race->winners[i], (unsigned long long)shared->winners[i]);
        run = run && shared->winners[i] > 0;
    }
    printf(" contested %llu\n", (unsigned long long)shared->contested);
    if (!run && seeds >= RACE_SEEDS_JUDGED)
        printf("sim: FAILED: that is no race\n");
    return run || seeds < RACE_SEEDS_JUDGED;
}

/* Seeds are worth little if their commands are mostly refused: these counts show it. */
static void print_counts(const struct shared *shared)
{
    printf("sim: %llu lives, %llu steps, %llu looks; events:", (unsigned long long)shared->lives,
           (unsigned long long)shared->steps, (unsigned long long)shared->looks);
    for (int i = 0; i < EVENT_KIND_COUNT; i++)
        printf(" %s %llu", event_row((enum event_kind)i)->wire_name,
               (unsigned long long)shared->events[i]);
    printf("; replies:");
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        const char *code = outcome_row((enum outcome)i)->code;
        printf(" %s %llu", code[0] != 0 ? code : "done", (unsigned long long)shared->replies[i]);
    }
    static const char *const verdicts[] = {"fresh", "settled", "in-flight", "mismatch", "no-room"};
    printf("; keys:");
    for (int i = 0; i <= KEY_NO_ROOM; i++)
        printf(" %s %llu", verdicts[i], (unsigned long long)shared->key_verdicts[i]);
    printf("\n");
}

static void run_children_seeds(struct shared *shared, uint64_t first, uint64_t count)
{
    for (uint64_t seed = first; seed < first + count; seed++) {
        shared->seed = seed;
        bool ok = world_run(seed);
        count_in(shared);
        if (!ok) {
            fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, sim.why);
            _exit(1);
        }
    }
    _exit(0);
}

/* False when a seed failed; shared->seed says which. */
static bool run_seeds(struct shared *shared, uint64_t first, uint64_t count)
{
    for (uint64_t done = 0; done < count; done += SEEDS_PER_CHILD) {
        uint64_t some = count - done < SEEDS_PER_CHILD ? count - done : SEEDS_PER_CHILD;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            run_children_seeds(shared, first + done, some);
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child)
            abort();
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            return false;
    }
    return true;
}

static int run_one(uint64_t seed, bool turns)
{
    sim.trace = true;
    sim.turns = turns;
    bool ok = world_run(seed);
    printf("seed %llu: %s\n", (unsigned long long)seed, ok ? "every check held" : sim.why);
    return ok ? 0 : 1;
}

static bool choose_fault(const char *name)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (strcmp(name, fault_name((enum fault)i)) == 0) {
            fault_set((enum fault)i);
            return true;
        }
    }
    fprintf(stderr, "sim: no fault is called %s; there are:", name);
    for (int i = 0; i < FAULT_COUNT; i++)
        fprintf(stderr, " %s", fault_name((enum fault)i));
    fprintf(stderr, "\n");
    return false;
}

static int run_many(uint64_t first, uint64_t count, const char *fault)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    bool held = run_seeds(shared, first, count);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    unsigned long long seeds = held ? count : shared->seed - first + 1;
    printf("sim: %llu seeds from %llu in %.1f s\n", seeds, (unsigned long long)first, seconds);
    print_counts(shared);
    if (fault != NULL) {
        printf("sim: the fault %s is %s (%llu seeds)\n", fault, held ? "NOT CAUGHT" : "caught",
               seeds);
        return held ? 1 : 0;
    }
    if (!held)
        printf("sim: FAILED: replay with: sim %s%s --seed %llu\n",
               sim.race != NULL ? "--race " : "", sim.race != NULL ? sim.race->name : "",
               (unsigned long long)shared->seed);
    bool raced = sim.race == NULL || print_race(shared, seeds);
    return held && raced ? 0 : 1;
}

struct arguments {
    const char *fault;
    uint64_t first, seed, count; /* seed, count: 0 when not given */
    bool turns, bad;
};

static struct arguments read_arguments(int argc, char **argv)
{
    struct arguments a = {.first = 1};
    for (int i = 1; i < argc && !a.bad; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--turns") == 0) {
            a.turns = true;
            continue;
        }
        if (strcmp(argv[i], "--seeds") == 0)
            a.count = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--first") == 0)
            a.first = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            a.seed = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--fault") == 0)
            a.fault = value;
        else if (strcmp(argv[i], "--race") == 0)
            a.bad = (sim.race = race_called(value)) == NULL;
        else
            a.bad = true;
        i++;
    }
    return a;
}

int main(int argc, char **argv)
{
    struct arguments a = read_arguments(argc, argv);
    const char *wanted = getenv("SIM_SEEDS");
    if (a.bad)
        return fprintf(stderr, "usage: sim [--seeds N] [--first S] [--seed S] [--turns] "
                               "[--fault NAME] [--race NAME]\n"),
               2;
    if (a.fault != NULL && !choose_fault(a.fault))
        return 2;
    if (a.seed != 0)
        return run_one(a.seed, a.turns);
    if (a.count == 0)
        a.count = (wanted != NULL ? strtoull(wanted, NULL, 10) : SIM_SEEDS_DEFAULT) /
                  (sim.race != NULL ? RACE_SHARE : 1);
    return run_many(a.first, a.count, a.fault);
}
