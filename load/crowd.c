/*
 * crowd.c: the buyers' thread (crowd.h): opens connections and own streams; then, in each round, admits the buyers
 * who arrive, moves due tasks from the heap to the line, and gives free connections to the tasks in line.
 *
 * Thread: buyers.
 */
#include "load/crowd.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "load/clock.h"

enum { CONNECTING_MAX = 64, STOP_PATIENCE_MS = 3000 };

/* ---- tasks ---- */

static bool grow(struct crowd *c, struct task **tasks, uint32_t *room)
{
    uint32_t larger = *room * 2;
    struct task *grown = realloc(*tasks, (size_t)larger * sizeof **tasks);
    if (grown == NULL) {
        run_fail(c->run, "no memory for %u tasks", larger);
        return false;
    }
    *tasks = grown;
    *room = larger;
    return true;
}

static void heap_push(struct crowd *c, struct task task)
{
    if (c->heap_count == c->heap_room && !grow(c, &c->heap, &c->heap_room))
        return;
    uint32_t at = c->heap_count++;
    for (; at > 0 && c->heap[(at - 1) / 2].due_ns > task.due_ns; at = (at - 1) / 2)
        c->heap[at] = c->heap[(at - 1) / 2];
    c->heap[at] = task;
}

static struct task heap_pop(struct crowd *c)
{
    struct task top = c->heap[0], last = c->heap[--c->heap_count];
    uint32_t at = 0, child;
    while ((child = 2 * at + 1) < c->heap_count) {
        if (child + 1 < c->heap_count && c->heap[child + 1].due_ns < c->heap[child].due_ns)
            child++;
        if (c->heap[child].due_ns >= last.due_ns)
            break;
        c->heap[at] = c->heap[child];
        at = child;
    }
    c->heap[at] = last;
    return top;
}

static void line_push(struct crowd *c, struct task task)
{
    if (c->line_count == c->line_room) {
        uint32_t before = c->line_room;
        if (!grow(c, &c->line, &c->line_room))
            return;
        /* The part that had wrapped around moves behind the old end. */
        memcpy(c->line + before, c->line, c->line_first * sizeof *c->line);
    }
    c->line[(c->line_first + c->line_count++) & (c->line_room - 1)] = task;
}

static struct task line_pop(struct crowd *c)
{
    struct task task = c->line[c->line_first];
    c->line_first = (c->line_first + 1) & (c->line_room - 1);
    c->line_count--;
    return task;
}

void crowd_plan(struct crowd *c, uint32_t buyer, enum step step, uint64_t due_ns)
{
    const struct task task = {due_ns, buyer, (uint8_t)step};
    if (due_ns <= c->loop.now_ns)
        line_push(c, task);
    else
        heap_push(c, task);
}

/* ---- buyers ---- */

static void *made(struct crowd *c, struct chunks *chunks, uint32_t index)
{
    void *element = chunks_make(chunks, index);
    if (element == NULL)
        run_fail(c->run, "no memory for buyer %u", index);
    return element;
}

struct buyer *crowd_buyer(struct crowd *c, uint32_t index)
{
    return made(c, &c->buyers, index);
}

struct ledger_order *crowd_order(struct crowd *c, uint32_t index)
{
    struct ledger_order *order = made(c, &c->run->ledger.orders, index);
    if (order != NULL)
        order->sale = index % c->run->options.sales;
    return order;
}

/* ---- links ---- */

void crowd_not_opening(struct crowd *c, bool *opening)
{
    c->connecting -= *opening;
    *opening = false;
}

static bool is_watcher(const struct crowd *c, const struct link *link)
{
    return link->index >= c->run->options.connections;
}

static void on_open(void *self, struct link *link)
{
    struct crowd *c = self;
    if (is_watcher(c, link)) {
        watcher_opens(c, link);
        return;
    }
    if (c->visits[link->index].met) {
        c->visits[link->index].open = true;
        c->idle[c->idle_count++] = link->index;
    } else {
        request_greeting(c, link);
        link_send(link);
    }
}

/* The greeting is answered, so the server has accepted the connection. */
static void met(struct crowd *c, struct link *link, struct visit *v)
{
    crowd_not_opening(c, &v->opening);
    if (link->parser.status_code != 200)
        run_fail_refused(c->run, "a connection", link->parser.status_code, v->body, v->body_bytes);
    v->met = v->open = true;
    atomic_fetch_add_explicit(&c->run->connections_open, 1, memory_order_relaxed);
}

static void on_body(void *self, struct link *link, const char *bytes, size_t len)
{
    struct crowd *c = self;
    if (is_watcher(c, link)) {
        watcher_body(c, link, bytes, len);
        return;
    }
    struct visit *v = &c->visits[link->index];
    size_t room = sizeof v->body - v->body_bytes, taken = len < room ? len : room;
    memcpy(v->body + v->body_bytes, bytes, taken);
    v->body_bytes += (uint32_t)taken;
}

static void on_answer(void *self, struct link *link)
{
    struct crowd *c = self;
    if (is_watcher(c, link)) {
        link_close(link); /* a stream has no end of its own */
        return;
    }
    struct visit *v = &c->visits[link->index];
    if (!v->met) {
        met(c, link, v);
    } else if (v->busy) {
        v->busy = false;
        c->in_flight--;
        buyer_answered(c, v, link->parser.status_code);
    } else {
        link->error = EPROTO; /* an answer to nothing */
        link_close(link);
        return;
    }
    if (llhttp_should_keep_alive(&link->parser))
        c->idle[c->idle_count++] = link->index;
    else
        link_close(link); /* the server is about to; on_closed() connects again */
}

static void forget_idle(struct crowd *c, uint32_t index)
{
    for (uint32_t i = 0; i < c->idle_count; i++) {
        if (c->idle[i] != index)
            continue;
        c->idle[i] = c->idle[--c->idle_count];
        return;
    }
}

static void on_closed(void *self, struct link *link)
{
    struct crowd *c = self;
    bool ending = atomic_load_explicit(&c->run->end, memory_order_relaxed);
    if (is_watcher(c, link)) {
        if (!ending)
            watcher_closed(c, link);
        return;
    }
    struct visit *v = &c->visits[link->index];
    bool was_busy = v->busy;
    if (was_busy) {
        v->busy = false;
        c->in_flight--;
        buyer_unanswered(c, v);
    } else {
        forget_idle(c, link->index);
    }
    bool failed = !v->open;
    crowd_not_opening(c, &v->opening);
    v->open = false;
    if (ending || (v->lost_once && failed)) {
        if (++c->dead == c->run->options.connections && !ending)
            run_fail(c->run, "the server takes no connection any more: %s", strerror(link->error));
        return;
    }
    v->lost_once = failed;
    link_connect(link);
}

/* ---- opening ---- */

static void open_some(struct crowd *c)
{
    while (c->to_connect > 0 && c->connecting < CONNECTING_MAX) {
        uint32_t next = c->loop.link_count - c->to_connect--,
                 connections = c->run->options.connections;
        *(next < connections ? &c->visits[next].opening
                             : &c->watchers[next - connections].opening) = true;
        c->connecting++;
        link_connect(&c->loop.links[next]);
    }
}

static bool crowd_open(struct crowd *c, struct run *run)
{
    char error[FAILURE_BYTES];
    const struct options *o = &run->options;
    const struct loop_owner owner = {c, on_open, on_body, on_answer, on_closed};
    c->run = run;
    c->visits = calloc(o->connections, sizeof *c->visits);
    c->watchers = calloc((size_t)o->watchers + 1, sizeof *c->watchers);
    c->idle = calloc(o->connections, sizeof *c->idle);
    c->heap_room = c->line_room = 1 << 12;
    c->heap = malloc((size_t)c->heap_room * sizeof *c->heap);
    c->line = malloc((size_t)c->line_room * sizeof *c->line);
    if (c->visits == NULL || c->watchers == NULL || c->idle == NULL || c->heap == NULL ||
        c->line == NULL || !chunks_open(&c->buyers, sizeof(struct buyer))) {
        run_fail(run, "no memory for %u connections", o->connections);
        return false;
    }
    if (!loop_open(&c->loop, o->connections + o->watchers, &run->site.address, &owner, error,
                   sizeof error)) {
        run_fail(run, "%s", error);
        return false;
    }
    c->to_connect = c->loop.link_count;
    for (uint32_t i = 0; i < o->watchers; i++) {
        c->watchers[i].buyer = run_buyer_of_watcher(run, i);
        struct buyer *b = crowd_buyer(c, c->watchers[i].buyer);
        struct own_stream *own = chunks_make(&run->ledger.owns, i);
        if (b == NULL || own == NULL)
            return false;
        b->watched = true;
        own->buyer = c->watchers[i].buyer;
        run->ledger.own_count = i + 1;
    }
    return true;
}

static void crowd_close(struct crowd *c)
{
    loop_close(&c->loop);
    for (uint32_t i = 0; c->watchers != NULL && i < c->run->options.watchers; i++)
        sse_close(&c->watchers[i].sse);
    chunks_close(&c->buyers);
    free(c->visits);
    free(c->watchers);
    free(c->idle);
    free(c->heap);
    free(c->line);
}

/* ---- rounds ---- */

static void come(struct crowd *c, uint64_t due_ns)
{
    uint32_t index = c->arrived++;
    buyer_arrives(c, index, due_ns);
    c->run->ledger.buyer_count = c->arrived;
}

static bool more_may_come(const struct crowd *c)
{
    return !c->arrivals_over && c->arrived < c->run->options.buyers;
}

static void admit_by_schedule(struct crowd *c)
{
    uint64_t next_ns;
    while (more_may_come(c) && (next_ns = arrivals_next_ns(&c->arrivals)) != UINT64_MAX &&
           c->run->start_ns + next_ns <= c->loop.now_ns) {
        measure(&c->run->buyers, LATENCY_LAG, c->loop.now_ns - c->run->start_ns - next_ns);
        come(c, c->run->start_ns + next_ns);
        arrivals_advance(&c->arrivals);
    }
    c->arrivals_over |= arrivals_next_ns(&c->arrivals) == UINT64_MAX;
}

static void start_task(struct crowd *c, const struct task *task)
{
    uint32_t index = c->idle[--c->idle_count];
    struct link *link = &c->loop.links[index];
    struct visit *v = &c->visits[index];
    v->task = *task;
    v->busy = true;
    v->lost_once = false;
    v->body_bytes = 0;
    v->sent_ns = clock_ns();
    c->in_flight++;
    buyer_asks(c, task, v->sent_ns);
    request_step(c, link, task);
    link_send(link);
}

static void use_idle_connections(struct crowd *c)
{
    bool closed_loop = !options_open_loop(&c->run->options);
    while (c->idle_count > 0) {
        if (c->line_count == 0 && closed_loop && more_may_come(c))
            come(c, c->loop.now_ns);
        if (c->line_count == 0)
            return;
        const struct task task = line_pop(c);
        if (buyer_still_wants(c, &task))
            start_task(c, &task);
    }
}

static void end_overdue_visits(struct crowd *c)
{
    uint64_t limit_ns = c->run->options.answer_timeout_ms * NS_PER_MS;
    for (uint32_t i = 0; i < c->run->options.connections; i++) {
        struct link *link = &c->loop.links[i];
        if (!c->visits[i].busy || c->loop.now_ns < c->visits[i].sent_ns + limit_ns ||
            link->state != LINK_OPEN)
            continue;
        buyer_waited_in_vain(c, &c->visits[i]);
        link->error = ETIMEDOUT;
        link_close(link);
    }
}

static void tick(struct crowd *c, bool last)
{
    struct run *run = c->run;
    double at_s = (double)(c->loop.now_ns - run->start_ns) / 1e9;
    struct tick like = {.active = c->active};
    if (options_open_loop(&run->options) && more_may_come(c))
        like.offered = arrivals_rate_at(&c->arrivals, at_s);
    uint32_t before = atomic_load_explicit(&run->buyers.ticks_done, memory_order_relaxed);
    run_tick(run, &run->buyers, c->loop.now_ns, &like, last);
    if (before != atomic_load_explicit(&run->buyers.ticks_done, memory_order_relaxed))
        end_overdue_visits(c);
}

/* Until something is due, but at most a tenth of a tick. */
static uint64_t wait_ns(const struct crowd *c)
{
    uint64_t now_ns = clock_ns(), until_ns = now_ns + TICK_MS * NS_PER_MS / 10;
    if (c->heap_count > 0 && c->heap[0].due_ns < until_ns)
        until_ns = c->heap[0].due_ns;
    if (options_open_loop(&c->run->options) && more_may_come(c)) {
        uint64_t next_ns = c->run->start_ns + arrivals_next_ns(&c->arrivals);
        until_ns = next_ns < until_ns ? next_ns : until_ns;
    }
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

/* Buyers still in line get no turn. They waited at least until now, and count: a stalled server cannot hide them. */
static void count_unserved(struct crowd *c)
{
    while (c->line_count > 0) {
        const struct task task = line_pop(c);
        if (task.step != STEP_BUY && task.step != STEP_LOOK)
            continue;
        c->run->buyers.counts[COUNT_UNSERVED]++;
        if (options_open_loop(&c->run->options))
            measure(&c->run->buyers, LATENCY_BUY, c->loop.now_ns - task.due_ns);
    }
}

/* How long the load may go on after the last arrival. In the open loop, what is in line by then is overdue already;
 * in the closed loop, the last waiting buyer's turn may be several holds away. */
static uint64_t patience_ns(const struct options *o)
{
    uint64_t patience_ms = options_open_loop(o) ? 5000 + o->hold_ms + 4 * (uint64_t)o->think_ms
                                                : 20000 + 5 * (uint64_t)o->hold_ms;
    return patience_ms * NS_PER_MS;
}

static void note_stop(struct crowd *c)
{
    struct run *run = c->run;
    if (c->arrivals_end_ns != 0 && c->loop.now_ns >= c->arrivals_end_ns)
        c->arrivals_over = true;
    bool too_long = c->give_up_ns != 0 && c->loop.now_ns >= c->give_up_ns;
    if (!c->stopping && (too_long || atomic_load_explicit(&run->stop, memory_order_relaxed))) {
        c->stopping = c->arrivals_over = true;
        c->heap_count = 0;
        count_unserved(c);
        c->give_up_ns = c->loop.now_ns + STOP_PATIENCE_MS * NS_PER_MS;
    }
    if (!more_may_come(c) && c->give_up_ns == 0)
        c->give_up_ns = c->loop.now_ns + patience_ns(&run->options);
}

static bool all_done(const struct crowd *c)
{
    if (c->stopping)
        return c->in_flight == 0 || c->loop.now_ns >= c->give_up_ns ||
               c->dead == c->run->options.connections;
    return !more_may_come(c) && c->active == 0 && c->in_flight == 0 && c->line_count == 0;
}

/* Requests that are still unanswered: nobody knows what became of them. */
static void give_up_visits(struct crowd *c)
{
    for (uint32_t i = 0; i < c->run->options.connections; i++) {
        if (!c->visits[i].busy)
            continue;
        if (c->loop.links[i].state == LINK_OPEN)
            buyer_waited_in_vain(c, &c->visits[i]);
        buyer_unanswered(c, &c->visits[i]);
    }
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec;
}

static void load(struct crowd *c)
{
    const struct options *o = &c->run->options;
    uint64_t cpu_ns = thread_cpu_ns();
    c->loop.now_ns = c->run->start_ns;
    if (o->ramp_s > 0)
        c->arrivals = arrivals_at(o->ramp_from, o->ramp_to, o->ramp_s, o->seed);
    else if (o->rate > 0)
        c->arrivals = arrivals_at(o->rate, o->rate, o->duration_s, o->seed);
    else if (o->duration_s > 0)
        c->arrivals_end_ns = c->run->start_ns + (uint64_t)(o->duration_s * 1e9);
    while (!all_done(c)) {
        /* Before note_stop(): buyers who were due come, even if this thread did not run at the time. */
        if (options_open_loop(o))
            admit_by_schedule(c);
        note_stop(c);
        while (c->heap_count > 0 && c->heap[0].due_ns <= c->loop.now_ns)
            line_push(c, heap_pop(c));
        use_idle_connections(c);
        loop_round(&c->loop, wait_ns(c));
        tick(c, false);
    }
    c->run->came_s = fmin(c->arrivals.next_s, c->arrivals.span_s);
    c->run->buyers.cpu_ns = thread_cpu_ns() - cpu_ns;
}

void *crowd_run(void *argument)
{
    static struct crowd crowd; /* large, and there is one */
    struct crowd *c = &crowd;
    struct run *run = argument;
    (void)pthread_setname_np(pthread_self(), "buyers");
    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* wake when somebody is due, not 50 us after */
    if (crowd_open(c, run)) {
        while (!atomic_load_explicit(&run->started, memory_order_acquire) &&
               !atomic_load_explicit(&run->stop, memory_order_relaxed)) {
            open_some(c);
            loop_round(&c->loop, 2 * NS_PER_MS);
        }
        if (atomic_load_explicit(&run->started, memory_order_acquire))
            load(c);
        run->loaded_ns = c->loop.now_ns;
        run->loaded_seq = run->ledger.replied_seq;
        atomic_store_explicit(&run->loaded, true, memory_order_release);
        while (!atomic_load_explicit(&run->end, memory_order_relaxed)) {
            bool last = atomic_load_explicit(&run->count_end, memory_order_relaxed);
            loop_round(&c->loop, 2 * NS_PER_MS);
            if (atomic_load_explicit(&run->started, memory_order_acquire))
                tick(c, last);
        }
        give_up_visits(c);
        crowd_close(c);
    }
    return NULL;
}
