/*
 * world.c: one seed: the actors and their turns, the crash, the next life (see sim.h).
 *
 * A life: the engine is made and restored from the model's durable rows; workers, clock, journal
 * and ports take turns until a crash, a failed check, or the end of the script. A crash throws the
 * engine and all stacks away, whatever they were doing; only what was committed is left.
 *
 * Thread: one. Fails: world_fail() notes the first check that did not hold and ends the seed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "tests/sim/sim.h"

struct sim sim;

static char stacks[SIM_ACTORS_MAX][SIM_STACK_BYTES] __attribute__((aligned(64)));

/* ---- report ---- */

void world_trace(const char *format, ...)
{
    if (!sim.trace)
        return;
    va_list args;
    va_start(args, format);
    printf("%8llu %6lldms %-8s ", (unsigned long long)sim.steps,
           (long long)sim.now.wall_ms % 1000000, sim.current != NULL ? sim.current->name : "-");
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

static void leave(enum ending ending)
{
    struct actor *actor = sim.current;
    sim.ending = ending;
    if (actor == NULL)
        return;
    sim.current = NULL;
    coroutine_switch(&actor->coroutine, &sim.home);
    abort(); /* nobody switches back */
}

void world_fail(const char *format, ...)
{
    if (sim.ending == ENDING_FAILED)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(sim.why, sizeof sim.why, format, args);
    va_end(args);
    leave(ENDING_FAILED);
}

/* ---- turns ---- */

static bool may_run(struct actor *a)
{
    if (!a->asleep)
        return true;
    if (!a->woken && (a->wake == NULL || wake_seen(a->wake) == a->seen) &&
        sim.now.mono_ms < a->until_ms)
        return false;
    a->asleep = a->woken = false;
    return true;
}

static int64_t next_deadline(void)
{
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < sim.actor_count; i++)
        if (sim.actors[i].until_ms < next)
            next = sim.actors[i].until_ms;
    return next;
}

static void pass_time(int64_t ms)
{
    sim.now.mono_ms += ms;
    sim.now.wall_ms += ms;
}

/* Everybody sleeps: checks, and moves the time to the first deadline. */
static void all_asleep(void)
{
    int64_t next = next_deadline();
    sim.checking = true;
    bool goes_on = rest_check(next);
    sim.checking = false;
    if (!goes_on)
        leave(ENDING_REST);
    if (next > sim.now.mono_ms)
        pass_time(next - sim.now.mono_ms);
}

static struct actor *next_actor(void)
{
    bool passes = sim.race == NULL || (sim.race_on && sim.now.wall_ms < sim.race_until_ms);
    if (passes && random_chance(&sim.random, 1, 16))
        pass_time(sim.race == NULL ? random_below(&sim.random, 3) : 1);
    for (;;) {
        uint32_t total = 0;
        bool ready[SIM_ACTORS_MAX];
        for (uint32_t i = 0; i < sim.actor_count; i++) {
            ready[i] = may_run(&sim.actors[i]);
            ready[i] = ready[i] && &sim.actors[i] != sim.held;
            total += ready[i] ? sim.actors[i].weight : 0;
        }
        if (total == 0 && sim.held != NULL)
            return race_let_go();
        if (total == 0) {
            all_asleep();
            continue;
        }
        uint32_t at = random_below(&sim.random, total);
        for (uint32_t i = 0;; i++) {
            if (ready[i] && at < sim.actors[i].weight)
                return &sim.actors[i];
            at -= ready[i] ? sim.actors[i].weight : 0;
        }
    }
}

static void give_turn(void)
{
    struct actor *from = sim.current, *to = next_actor();
    if (from == to)
        return;
    sim.current = to;
    coroutine_switch(&from->coroutine, &to->coroutine);
}

void sim_step(const char *point)
{
    if (sim.current == NULL || sim.checking)
        return; /* the world is being made, or looked at */
    sim.current->point = point;
    if (sim.race != NULL)
        race_watch(sim.current);
    if (sim.turns)
        world_trace("  %s", point);
    if (++sim.steps == sim.crash_at) {
        world_trace("CRASH at %s", point);
        leave(ENDING_CRASH);
    }
    if (sim.steps > SIM_STEPS_MAX)
        world_fail("it never comes to rest");
    looker_wake();
    if (sim.current == sim.held || random_below(&sim.random, sim.scale.stride) == 0)
        give_turn();
}

void world_sleep(struct wake *wake, uint32_t seen, int64_t sleep_ms)
{
    struct actor *a = sim.current;
    a->wake = wake;
    a->seen = seen;
    a->until_ms = sleep_ms < 0 ? INT64_MAX : sim.now.mono_ms + sleep_ms;
    a->asleep = true;
    give_turn();
    a->until_ms = INT64_MAX;
}

/* ---- the engine's threads, as in engine.c ---- */

static void worker_body(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        uint32_t seen = wake_seen(&w->wake);
        sim_step("round");
        if (worker_play(w, sim.now) == PLAY_REST)
            world_sleep(&w->wake, seen, -1);
    }
}

static void clock_body(void *arg)
{
    struct clock *clock = arg;
    for (;;) {
        uint32_t seen = wake_seen(&clock->wake);
        sim_step("round");
        int64_t sleep_ms;
        if (!clock_round(clock, sim.now, &sleep_ms))
            world_sleep(&clock->wake, seen, sleep_ms);
    }
}

static void journal_body(void *arg)
{
    struct journal *journal = arg;
    for (;;) {
        uint32_t seen = wake_seen(&sim.engine.log.news);
        sim_step("round");
        enum journal_result result = journal_round(journal);
        if (result == JOURNAL_FAILED)
            world_fail("the journal stops the process: %s", journal->error);
        if (result == JOURNAL_IDLE)
            world_sleep(&sim.engine.log.news, seen, 1000);
    }
}

/* ---- the model's hooks ---- */

/* A sync takes time; in some worlds so much that the log fills up behind it. */
static void committing(const char *point)
{
    sim_step(point);
    if (sim.scale.sync_max_ms == 0)
        return;
    sim.syncing = true;
    world_sleep(NULL, 0, random_below(&sim.random, sim.scale.sync_max_ms));
    sim.syncing = false;
}

static void committed(const struct judge_entry *e)
{
    sim.events[e->kind]++;
    world_trace("durable  seq %llu %s order %llu x%u", (unsigned long long)e->seq,
                event_row(e->kind)->wire_name, (unsigned long long)e->order_seq, e->quantity);
}

static void wake_port(void *arg)
{
    ((struct actor *)arg)->woken = true;
}

/* ---- a life ---- */

static struct actor *add_actor(const char *name, void (*body)(void *arg), void *arg)
{
    static const uint32_t weights[] = {1, 4, 4, 4, 16};
    uint32_t index = sim.actor_count++;
    struct actor *a = &sim.actors[index];
    *a = (struct actor){
        .name = name, .weight = weights[random_below(&sim.random, 5)], .until_ms = INT64_MAX};
    coroutine_start(&a->coroutine, stacks[index], SIM_STACK_BYTES, body, arg);
    return a;
}

static void begin_life(void)
{
    const struct engine_options options = {.workers = sim.scale.workers,
                                           .ports = sim.scale.ports + 1, /* the looker's */
                                           .keys = sim.scale.keys,
                                           .state_interval_ms = (uint32_t)sim.scale.interval_ms,
                                           .hash = model_hash,
                                           .last_seq = sim.model.judge.last_seq};
    MUST(engine_init(&sim.engine, options, model_store(&sim.model)), "memory for an engine");
    const char *wrong = model_restore(&sim.model, &sim.engine, sim.now);
    if (wrong != NULL)
        world_fail("recovery refuses its own rows: %s", wrong);
    static const char *const worker_names[] = {"worker-0", "worker-1", "worker-2"};
    sim.actor_count = 0;
    sim.checking = sim.syncing = false;
    for (uint32_t i = 0; i < sim.scale.workers; i++)
        (void)add_actor(worker_names[i], worker_body, &sim.engine.workers[i]);
    (void)add_actor("clock", clock_body, &sim.engine.clock);
    (void)add_actor("journal", journal_body, &sim.engine.journal);
    for (uint32_t i = 0; i < sim.scale.ports; i++) {
        struct port *port = &sim.engine.ports[i];
        port->wake = wake_port;
        port->wake_arg = add_actor(i == 0 ? "port-0" : "port-1",
                                   sim.race != NULL ? race_body : client_body, port);
    }
    if (sim.race == NULL) /* it stops sales now and then */
        sim.looker = add_actor("looker", looker_body, &sim.engine.ports[sim.scale.ports]);
    sim.in_flight = 0;
    memset(sim.flights, 0, sizeof sim.flights);
    sim.rests = 0;
    sim.crash_at =
        sim.crashes_left == 0
            ? UINT64_MAX
            : sim.steps + 1 + random_below(&sim.random, 1u << random_between(&sim.random, 6, 13));
    sim.lives++;
}

static void live(void)
{
    begin_life();
    if (sim.ending == ENDING_NONE)
        client_check_known();
    if (sim.ending == ENDING_NONE) {
        sim.current = next_actor();
        coroutine_switch(&sim.home, &sim.current->coroutine);
    }
    engine_free(&sim.engine);
    if (sim.ending != ENDING_CRASH)
        return;
    sim.ending = ENDING_NONE;
    sim.crashes_left--;
    model_crash(&sim.model);
    /* The machine was down for a while, and its monotonic clock began again. */
    sim.now.wall_ms += random_below(&sim.random, 60);
    sim.now.mono_ms = random_below(&sim.random, 1000);
}

static void choose_scale(void)
{
    struct random *r = &sim.random;
    static const uint32_t strides[] = {1, 1, 2, 4, 12};
    sim.scale =
        (struct scale){.workers = random_chance(r, 1, 8) ? 1 : random_between(r, 2, 3),
                       .ports = random_between(r, 1, PORTS_MAX - 1),
                       .buyers = random_between(r, 2, SIM_BUYERS_MAX),
                       .stride = strides[random_below(r, 5)],
                       .stock_max = random_between(r, 1, 8),
                       .quantity_max = random_between(r, 1, 3),
                       .waitlist_max = random_between(r, 0, 8),
                       .hold_max_ms = random_between(r, 1, 60),
                       .open_max_ms = random_between(r, 20, 1000),
                       .admin_in_1000 = random_chance(r, 1, 2) ? 10 : random_between(r, 0, 100),
                       .sync_max_ms = random_chance(r, 1, 2) ? 0 : 1u << random_below(r, 9),
                       .pause_ms_max = random_between(r, 0, 40),
                       .flights_max = random_between(r, 1, SIM_FLIGHTS_MAX),
                       .interval_ms = random_between(r, 1, 20),
                       .keys = random_below(r, 1u << random_below(r, 9)),
                       .keyed_in_16 = random_chance(r, 1, 3) ? 0 : random_between(r, 1, 16),
                       .again_in_16 = random_between(r, 1, 8)};
    sim.budget = random_between(r, 20, 400);
    sim.crashes_left = random_chance(r, 1, 2) ? 0 : random_between(r, 1, 3);
    sim.now = (struct now){.mono_ms = random_below(r, 1000), .wall_ms = 1700000000000};
}

bool world_run(uint64_t seed)
{
    bool trace = sim.trace, turns = sim.turns;
    const struct race *race = sim.race;
    model_free(&sim.model);
    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.trace = trace;
    sim.turns = turns;
    sim.race = race;
    sim.random = random_from(seed);
    sim.model.committing = committing;
    sim.model.committed = committed;
    sim.model.now = &sim.now;
    if (race != NULL)
        race_choose_scale();
    else
        choose_scale();
    while (sim.ending == ENDING_NONE)
        live();
    if (race != NULL && sim.ending == ENDING_REST)
        race_verdict();
    return sim.ending == ENDING_REST;
}
