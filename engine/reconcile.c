/*
 * reconcile.c: the looks at words and orders, the run, and when one is made (see reconcile.h).
 *
 * Happy path: reconcile_round -> run_once -> looks, store.compare, second looks -> publish -> answers.
 * Failure: what the store cannot read fails the run: a line on stderr, a count in /metrics, no sale stopped.
 *
 * It waits by short sleeps, only within a run; no thread that serves buyers waits for it.
 *
 * Thread: reconciler, but for reconcile_result() (any) and reconcile_leave() (main).
 */
#include "engine/reconcile.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "engine/check.h"
#include "engine/engine.h"
#include "engine/versioned.h"

enum {
    LOOKS_MAX = 32, /* sales that the clock is asked about at once: some microseconds for it */
    SLEEP_MS_MAX = 60000, /* the wall clock may step */
    WAIT_US = 100,
    NICENESS = 10,
};
static_assert((int)LOOKS_MAX < (int)COMMAND_RING_SLOTS, "a batch of looks fits the ring");
static_assert(sizeof(struct reconcile_result) % 8 == 0, "a result is whole words");

/* ---- waiting ---- */

static void sleep_a_moment(void)
{
    const struct timespec moment = {0, WAIT_US * 1000};
    (void)nanosleep(&moment, NULL);
}

void reconcile_stand_back(void)
{
    (void)setpriority(PRIO_PROCESS, 0, NICENESS); /* Linux: of this thread */
}

static bool must_leave(const struct reconcile_run *run)
{
    return atomic_load_explicit(run->leaving, memory_order_relaxed);
}

bool reconcile_breathe(struct reconcile_run *run)
{
    (void)sched_yield();
    return !must_leave(run);
}

bool reconcile_committed(struct reconcile_run *run, uint64_t seq)
{
    while (log_committed(&run->engine->log) < seq) {
        if (must_leave(run))
            return false;
        run->pause();
    }
    return true;
}

/* A mark of what every producer may have in flight: decisions, and slots whose swap is still to come. */
struct in_flight {
    struct worker_mark workers;
    uint32_t clock;
};

static struct in_flight mark(const struct engine *e)
{
    struct in_flight m = {.clock = atomic_load_explicit(&e->clock.round, memory_order_acquire)};
    m.workers = workers_mark(e);
    return m;
}

static bool moved_on(const struct engine *e, const struct in_flight *before)
{
    return takes_moved_on(before->clock,
                          atomic_load_explicit(&e->clock.round, memory_order_acquire)) &&
           workers_moved_on(e, &before->workers);
}

/* Waits until everything that is in flight now is committed. False: leaving. */
static bool settle(struct reconcile_run *run)
{
    const struct in_flight before = mark(run->engine);
    while (!moved_on(run->engine, &before)) {
        if (must_leave(run))
            return false;
        run->pause();
    }
    return reconcile_committed(run, log_last_claimed(&run->engine->log));
}

/* ---- what differs ---- */

static void copy_value(char *out, const char *value)
{
    snprintf(out, DIVERGENCE_VALUE_BYTES, "%s", value != NULL ? value : "-");
}

void reconcile_differs(struct reconcile_run *run, const struct sale *sale, uint64_t seq,
                       const char *field, const char *memory, const char *tables,
                       const char *events)
{
    uint32_t *count = sale != NULL ? &run->sales[sale->index].count : &run->stray_count;
    struct divergence *first = sale != NULL ? &run->sales[sale->index].first : &run->stray;
    if ((*count)++ > 0 && first->seq <= seq)
        return;
    *first = (struct divergence){.seq = seq, .field = field};
    copy_value(first->memory, memory);
    copy_value(first->tables, tables);
    copy_value(first->events, events);
}

static void counters_differ(struct reconcile_run *run, const struct reconcile_sale *s,
                            const char *field, uint32_t word, uint32_t expected)
{
    char memory[DIVERGENCE_VALUE_BYTES], events[DIVERGENCE_VALUE_BYTES];
    if (word == expected)
        return;
    snprintf(memory, sizeof memory, "%u", word);
    snprintf(events, sizeof events, "%u", expected);
    reconcile_differs(run, s->sale, s->seen.seq, field, memory, NULL, events);
}

uint32_t reconcile_divergent(const struct reconcile_run *run)
{
    uint32_t count = run->stray_count > 0;
    for (uint32_t i = 0; i < run->sale_count; i++)
        count += run->sales[i].count > 0;
    return count;
}

/* ---- words ---- */

/* A counter at the moment of the look: that of the books, less what changes of the new tint have done to it
 * since `before`. A tide sums up the changes of tint 1; the rest of the books is of tint 0. All modulo 2^32. */
static uint32_t at_look(bool new_tint, uint32_t books, uint32_t tide, uint32_t books_before,
                        uint32_t tide_before)
{
    uint32_t since = new_tint ? tide - tide_before : (books - tide) - (books_before - tide_before);
    return books - since;
}

static void compare_words(struct reconcile_run *run, struct reconcile_sale *s)
{
    struct tide tide;
    s->seen = view_tide(s->sale, &tide);
    const struct books *books = &s->seen, *before = &s->before;
    const struct sale_look *look = &s->sale->look;
    counters_differ(run, s, "available in the stock word", look->stock.available,
                    at_look(!look->stock.tint, books->available, tide.available, before->available,
                            s->tide.available));
    counters_differ(
        run, s, "waiting in the stock word", look->stock.waiting,
        at_look(!look->stock.tint, books->waiting, tide.waiting, before->waiting, s->tide.waiting));
    counters_differ(run, s, "sold in the counter of payments", look->sold.units,
                    at_look(!look->sold.tint, books->sold, tide.sold, before->sold, s->tide.sold));
    /* The sold-out bit is set between the last payment and its slot. */
    bool too_early = look->stock.sold_out && look->sold.units != books->product_qty;
    bool never = books->sold == books->product_qty && !stock_load(&s->sale->stock).sold_out;
    if (too_early || never)
        reconcile_differs(run, s->sale, books->seq, "sold out in the stock word",
                          too_early ? "yes" : "no", NULL, too_early ? "no" : "yes");
    /* A state that changed meanwhile is left to the next run. */
    enum sale_state state =
        books->state == SALE_STOPPED ? SALE_PAUSED : (enum sale_state)books->state;
    if (tide.turns == s->tide.turns && look->stock.state != state)
        reconcile_differs(run, s->sale, books->seq, "state in the stock word",
                          sale_state_name(look->stock.state), NULL, sale_state_name(state));
}

/* Waits for the clock's answer to each command. False: leaving. */
static bool hear_clock(struct reconcile_run *run, uint32_t count)
{
    struct reply reply;
    port_flush(run->port);
    for (uint32_t heard = 0; heard < count;) {
        if (port_receive(run->port, &reply))
            heard++;
        else if (must_leave(run))
            return false;
        else
            run->pause();
    }
    return true;
}

static void ask_clock(struct reconcile_run *run, struct sale *sale, enum command_kind kind)
{
    struct command command = {.sale = sale, .kind = (uint8_t)kind};
    bool sent = port_send(run->port, engine_clock_target(run->engine), &command);
    MUST(sent, "a batch of looks above the ring");
}

static bool look_at(struct reconcile_run *run, uint32_t from, uint32_t to)
{
    uint32_t asked = 0;
    for (uint32_t i = from; i < to; i++) {
        struct reconcile_sale *s = &run->sales[i];
        s->before = view_tide(s->sale, &s->tide);
        s->looked = s->before.seq != 0 && s->before.state != SALE_UPCOMING;
        if (!s->looked)
            continue;
        ask_clock(run, s->sale, COMMAND_LOOK);
        asked++;
    }
    if (asked == 0)
        return !must_leave(run);
    if (!hear_clock(run, asked) || !settle(run))
        return false;
    for (uint32_t i = from; i < to; i++)
        if (run->sales[i].looked)
            compare_words(run, &run->sales[i]);
    return reconcile_breathe(run);
}

bool reconcile_words(struct reconcile_run *run)
{
    run->sale_count = engine_sale_count(run->engine);
    for (uint32_t i = 0; i < run->sale_count; i++)
        run->sales[i].sale = engine_sale_at(run->engine, i);
    for (uint32_t i = 0; i < run->sale_count; i += LOOKS_MAX) {
        uint32_t left = run->sale_count - i;
        if (!look_at(run, i, i + (left < LOOKS_MAX ? left : LOOKS_MAX)))
            return false;
    }
    return true;
}

/* ---- orders ---- */

static struct suspect look_at_order(const struct order *order)
{
    return (struct suspect){.order = order,
                            .committed =
                                atomic_load_explicit(&order->committed, memory_order_acquire),
                            .state = order_state_now(order)};
}

static bool is_suspect(const struct suspect *s)
{
    return s->state != (unsigned)order_committed_state(s->committed);
}

void reconcile_order(struct reconcile_run *run, const struct order *order)
{
    const struct suspect s = look_at_order(order);
    if (!is_suspect(&s))
        return;
    if (run->suspect_count == run->suspect_room) {
        uint32_t room = run->suspect_room == 0 ? 256 : run->suspect_room * 2;
        struct suspect *grown = realloc(run->suspects, room * sizeof *grown);
        if (grown == NULL) {
            run->out_of_memory = true;
            return;
        }
        run->suspects = grown;
        run->suspect_room = room;
    }
    run->suspects[run->suspect_count++] = s;
}

static const char *state_text(unsigned state)
{
    state &= ~(unsigned)ORDER_BUSY;
    return state < ORDER_STATE_COUNT ? order_state_name((enum order_state)state) : "none at all";
}

/* Looks again until no suspect is left. This ends, since an order makes few moves. */
bool reconcile_orders(struct reconcile_run *run)
{
    while (run->suspect_count > 0) {
        uint32_t kept = 0;
        if (!settle(run))
            return false;
        for (uint32_t i = 0; i < run->suspect_count; i++) {
            const struct suspect was = run->suspects[i], is = look_at_order(was.order);
            bool same = is.state == was.state && is.committed == was.committed;
            const char *told = state_text(order_committed_state(is.committed));
            if (is_suspect(&is) && same)
                reconcile_differs(run, engine_sale_at(run->engine, was.order->sale),
                                  order_committed_seq(is.committed), "an order's own state",
                                  state_text(is.state), told, told);
            else if (is_suspect(&is))
                run->suspects[kept++] = is;
        }
        run->suspect_count = kept;
    }
    return true;
}

/* ---- a run ---- */

bool reconcile_begin(struct reconcile_run *run, struct engine *engine, struct port *port,
                     void (*pause)(void), const _Atomic bool *leaving)
{
    *run =
        (struct reconcile_run){.engine = engine, .port = port, .pause = pause, .leaving = leaving};
    run->sales = calloc(SALES_MAX, sizeof *run->sales); /* pages come with the first use */
    return run->sales != NULL;
}

void reconcile_end(struct reconcile_run *run)
{
    free(run->sales);
    free(run->suspects);
}

static void log_divergence(const char *sale, uint32_t count, const struct divergence *d)
{
    diag(DIAG_ERROR,
         "reconcile-failed sale=%.*s seq=%llu field=\"%s\" memory=%s tables=%s events=%s "
         "differences=%u",
         ID_CHARS, sale, (unsigned long long)d->seq, d->field, d->memory, d->tables, d->events,
         count);
}

static void remember_first(struct reconcile_result *result, const char *sale,
                           const struct divergence *d)
{
    if (result->first_divergent_seq != 0 && result->first_divergent_seq <= d->seq)
        return;
    result->first_divergent_seq = d->seq;
    result->first = *d;
    snprintf(result->first_sale, sizeof result->first_sale, "%s", "-");
    if (sale != NULL)
        memcpy(result->first_sale, sale, ID_CHARS);
}

/* Stops each sale that differs, if it is active or paused, and nothing else. */
static void judge_sales(struct reconcile_run *run, struct reconcile_result *result)
{
    for (uint32_t i = 0; i < run->sale_count; i++) {
        const struct reconcile_sale *s = &run->sales[i];
        result->checked += s->looked || s->count > 0;
        result->skipped += !s->looked && s->count == 0;
        if (s->count == 0)
            continue;
        log_divergence(s->sale->id, s->count, &s->first);
        remember_first(result, s->sale->id, &s->first);
        uint8_t state = view_sale(s->sale).state;
        if (state != SALE_ACTIVE && state != SALE_PAUSED)
            continue;
        ask_clock(run, s->sale, COMMAND_STOP);
        (void)hear_clock(run, 1);
    }
    if (run->stray_count > 0) {
        log_divergence("-", run->stray_count, &run->stray);
        remember_first(result, NULL, &run->stray);
    }
}

/* NULL, or why there is no result. */
static const char *run_parts(struct reconciler *r, struct reconcile_run *run)
{
    static const char leaving[] = "the server is stopping";
    if (must_leave(run) || !reconcile_words(run))
        return leaving;
    const char *failure = r->options.store.compare(r->options.store.self, run);
    if (failure == NULL && !reconcile_orders(run))
        failure = leaving;
    return run->out_of_memory ? "out of memory" : failure;
}

static void publish(struct reconciler *r)
{
    uint64_t words[RECONCILE_RESULT_WORDS];
    memcpy(words, &r->result, sizeof words);
    versioned_write(&r->version, r->words, words, RECONCILE_RESULT_WORDS);
}

struct reconcile_result reconcile_result(const struct reconciler *r)
{
    uint64_t words[RECONCILE_RESULT_WORDS];
    versioned_read(&r->version, r->words, words, RECONCILE_RESULT_WORDS);
    struct reconcile_result result;
    memcpy(&result, words, sizeof result);
    return result;
}

static int64_t mono_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static void run_once(struct reconciler *r, struct now now)
{
    struct reconcile_run run;
    struct reconcile_result result = {.runs = r->result.runs + 1,
                                      .runs_failed = r->result.runs_failed,
                                      .began_wall_ms = now.wall_ms};
    int64_t began_us = mono_us();
    atomic_store_explicit(&r->running, true, memory_order_relaxed);
    result.failure = reconcile_begin(&run, r->engine, &r->engine->ports[r->options.port],
                                     sleep_a_moment, &r->leaving)
                         ? run_parts(r, &run)
                         : "out of memory";
    if (result.failure == NULL) {
        judge_sales(&run, &result);
        result.seq = run.seq;
        result.divergent = reconcile_divergent(&run);
    }
    reconcile_end(&run);
    result.took_us = mono_us() - began_us;
    result.runs_failed += result.failure != NULL;
    r->result = result;
    publish(r);
    atomic_store_explicit(&r->running, false, memory_order_relaxed);
    if (result.failure != NULL)
        diag(DIAG_WARN, "reconciliation gave up: %s", result.failure);
    else
        diag(result.divergent == 0 ? DIAG_INFO : DIAG_ERROR,
             "reconciled seq=%llu checked=%llu skipped=%llu divergent=%llu first_divergent_seq=%llu"
             " ms=%lld",
             (unsigned long long)result.seq, (unsigned long long)result.checked,
             (unsigned long long)result.skipped, (unsigned long long)result.divergent,
             (unsigned long long)result.first_divergent_seq, (long long)result.took_us / 1000);
}

/* ---- when ---- */

void reconcile_init(struct reconciler *r, struct engine *engine, struct reconcile_options options)
{
    *r = (struct reconciler){.engine = engine, .options = options};
    atomic_init(&r->next_wall_ms, -1);
    wake_init(&r->wake);
}

void reconcile_leave(struct reconciler *r)
{
    atomic_store_explicit(&r->leaving, true, memory_order_release);
    wake_up(&r->wake);
}

static struct channel *channel_of(struct reconciler *r, uint32_t port)
{
    return &r->engine->ports[port].channels[engine_reconciler_target(r->engine)];
}

/* Counts the commands that wait for a run, port by port; they stay in their rings until it is made. */
static bool count_waiting(struct reconciler *r, uint32_t waiting[PORTS_MAX])
{
    bool any = false;
    for (uint32_t i = 0; i < r->engine->options.ports; i++) {
        waiting[i] = ck_ring_size(&channel_of(r, i)->commands.ring);
        any = any || waiting[i] > 0;
    }
    return any;
}

/* Answers those who asked before the run began; those who asked since wait for the next. */
static void answer(struct reconciler *r, const uint32_t waiting[PORTS_MAX])
{
    bool leaving = atomic_load_explicit(&r->leaving, memory_order_relaxed);
    uint8_t outcome = leaving ? OUTCOME_OVERLOAD : OUTCOME_DONE;
    for (uint32_t i = 0; i < r->engine->options.ports; i++) {
        struct command command;
        for (uint32_t n = 0; n < waiting[i]; n++) {
            MUST(command_ring_pop(&channel_of(r, i)->commands, &command),
                 "a command left its ring");
            struct reply reply = {
                .context = command.context, .outcome = outcome, .kind = command.kind};
            port_answer(&r->engine->ports[i], engine_reconciler_target(r->engine), &reply);
        }
        if (waiting[i] > 0)
            port_notify(&r->engine->ports[i]);
    }
}

/* Computed anew even if the next time has not come yet: the wall clock may have been set back. */
static int64_t next_ms(struct reconciler *r, struct now now)
{
    int64_t next = atomic_load_explicit(&r->next_wall_ms, memory_order_relaxed);
    int64_t again = cron_next_ms(&r->options.schedule, now.wall_ms);
    if (next >= 0 && (again < 0 || next < again))
        return next;
    atomic_store_explicit(&r->next_wall_ms, again, memory_order_relaxed);
    return again;
}

void reconcile_plan(struct reconciler *r, struct now now)
{
    (void)next_ms(r, now);
}

bool reconcile_round(struct reconciler *r, struct now now, int64_t *sleep_ms)
{
    uint32_t waiting[PORTS_MAX];
    int64_t next = next_ms(r, now);
    bool asked = count_waiting(r, waiting), due = next >= 0 && now.wall_ms >= next;
    if (!asked && !due) {
        *sleep_ms =
            next >= 0 && next - now.wall_ms < SLEEP_MS_MAX ? next - now.wall_ms : SLEEP_MS_MAX;
        return false;
    }
    if (due)
        atomic_store_explicit(&r->next_wall_ms, cron_next_ms(&r->options.schedule, now.wall_ms),
                              memory_order_relaxed);
    run_once(r, now);
    answer(r, waiting);
    return true;
}
