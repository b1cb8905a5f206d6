/*
 * view.c: see view.h.
 *
 * Thread: main.
 */
#include "load/view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "load/clock.h"

enum { BAR_CELLS = 32, TICKS_A_SECOND = 1000 / TICK_MS, COLUMNS_DEFAULT = 80 };

void view_open(struct view *v, FILE *out)
{
    const char *term = getenv("TERM");
    *v = (struct view){.out = out,
                       .in_place =
                           isatty(fileno(out)) == 1 && term != NULL && strcmp(term, "dumb") != 0};
}

static uint32_t columns_of(const struct view *v)
{
    struct winsize size = {0};
    bool known = ioctl(fileno(v->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
    return known ? size.ws_col : COLUMNS_DEFAULT;
}

void view_head(const struct view *v, const struct run *run, const char *url)
{
    const struct options *o = &run->options;
    (void)fprintf(v->out,
                  "flashload %s: %" PRIu32 " buyers for %" PRIu32 " units%s, %" PRIu32
                  " connections, %" PRIu32 " spectators, %" PRIu32 " watchers, seed %" PRIu64 "\n",
                  o->scenario->name, o->buyers, o->stock, o->sales > 1 ? " in several sales" : "",
                  o->connections, o->spectators, o->watchers, o->seed);
    if (o->ramp_s > 0)
        (void)fprintf(v->out, "open loop, %g to %g arrivals a second in %g s", o->ramp_from,
                      o->ramp_to, o->ramp_s);
    else if (o->rate > 0)
        (void)fprintf(v->out, "open loop, %g arrivals a second for %g s", o->rate, o->duration_s);
    else
        (void)fprintf(v->out, "closed loop");
    (void)fprintf(v->out, ", on %s%s\n", url, run->server_is_ours ? " (started for this run)" : "");
    (void)fflush(v->out);
}

/* ---- one moment ---- */

struct moment {
    struct tick now, second_ago; /* buyers' */
    struct tick seen, seen_second_ago;
    double at_s, share; /* done, 0..1 */
};

static uint32_t done_of(const struct measures *m)
{
    return atomic_load_explicit(&m->ticks_done, memory_order_acquire);
}

static void take(const struct measures *m, struct tick *now, struct tick *ago)
{
    uint32_t done = done_of(m);
    if (done > 0)
        *now = *measures_tick_at(m, done - 1);
    if (done > TICKS_A_SECOND)
        *ago = *measures_tick_at(m, done - 1 - TICKS_A_SECOND);
}

static struct moment moment_of(const struct run *run)
{
    const struct options *o = &run->options;
    struct moment m = {0};
    take(&run->buyers, &m.now, &m.second_ago);
    m.seen.available = o->stock; /* until the first event tells */
    take(&run->audience, &m.seen, &m.seen_second_ago);
    bool loaded = atomic_load_explicit(&run->loaded, memory_order_acquire);
    m.at_s = (double)((loaded ? run->loaded_ns : clock_ns()) - run->start_ns) / 1e9;
    double span_s = o->ramp_s > 0 ? o->ramp_s : o->duration_s;
    m.share = (double)(m.now.counts[COUNT_ARRIVALS] - m.now.active) / o->buyers;
    if (span_s > 0 && m.at_s / span_s > m.share)
        m.share = m.at_s / span_s;
    m.share = m.share > 1 ? 1 : m.share;
    return m;
}

static uint64_t gained(const struct tick *now, const struct tick *ago, enum count counted)
{
    return now->counts[counted] - ago->counts[counted];
}

/* ---- in place ---- */

static void line(struct view *v, uint32_t columns, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line, cut at the terminal's edge so that it stays one. */
static void line(struct view *v, uint32_t columns, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fprintf(v->out, "\r%.*s\033[K\n", (int)(columns - 1), text);
    v->lines++;
}

static void bar_line(struct view *v, uint32_t columns, const struct moment *m)
{
    char bar[BAR_CELLS + 1];
    int full = (int)(m->share * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    line(v, columns, "[%s] %3.0f %%  %.1f s  %" PRIu32 " buyers under way", bar, m->share * 100,
         m->at_s, m->now.active);
}

static void brief_line(struct view *v, uint32_t columns, const char *name, const struct brief *b)
{
    if (b->count == 0)
        line(v, columns, "%-9s -", name);
    else
        line(v, columns, "%-9s p50 %9.2f ms   p99 %9.2f ms   max %9.2f ms", name, b->p50_us / 1e3,
             b->p99_us / 1e3, b->max_us / 1e3);
}

static void draw_picture(struct view *v, const struct run *run, const struct moment *m)
{
    uint32_t columns = columns_of(v);
    if (v->lines > 0)
        (void)fprintf(v->out, "\033[%" PRIu32 "A", v->lines);
    v->lines = 0;
    bar_line(v, columns, m);
    if (run_has_token(run))
        line(v, columns,
             "stock     available %" PRIu64 "  held %" PRIu64 "  sold %" PRIu64 " of %" PRIu32
             "  waiting %" PRIu64,
             m->seen.available, m->seen.held, m->seen.sold, run->options.stock, m->seen.waiting);
    line(v, columns,
         "a second  answers %" PRIu64 "  accepted %" PRIu64 "  waiting %" PRIu64
         "  refused %" PRIu64 "  paid %" PRIu64 "  durable %" PRIu64,
         gained(&m->now, &m->second_ago, COUNT_ANSWERS),
         gained(&m->now, &m->second_ago, COUNT_ACCEPTED),
         gained(&m->now, &m->second_ago, COUNT_WAITING),
         gained(&m->now, &m->second_ago, COUNT_REFUSED),
         gained(&m->now, &m->second_ago, COUNT_PAID),
         gained(&m->seen, &m->seen_second_ago, COUNT_DURABLE));
    brief_line(v, columns, "buy", &m->now.buy);
    brief_line(v, columns, "pay", &m->now.paid);
    brief_line(v, columns, "frame", &m->now.frame);
    brief_line(v, columns, "public", &m->seen.frame);
    if (m->now.counts[COUNT_ERRORS] > 0)
        line(v, columns, "errors    %" PRIu64, m->now.counts[COUNT_ERRORS]);
}

/* ---- plain ---- */

static void plain_line(const struct view *v, const struct moment *m)
{
    char p99[32] = "-";
    if (m->now.buy.count > 0)
        (void)snprintf(p99, sizeof p99, "%.2f ms", m->now.buy.p99_us / 1e3);
    (void)fprintf(v->out,
                  "%6.1f s  %3.0f %%  %" PRIu64 " answers/s  accepted %" PRIu64 "  refused %" PRIu64
                  "  durable %" PRIu64 " a second  buy p99 %s  paid %" PRIu64 "  errors %" PRIu64
                  "\n",
                  m->at_s, m->share * 100, gained(&m->now, &m->second_ago, COUNT_ANSWERS),
                  gained(&m->now, &m->second_ago, COUNT_ACCEPTED),
                  gained(&m->now, &m->second_ago, COUNT_REFUSED),
                  gained(&m->seen, &m->seen_second_ago, COUNT_DURABLE), p99,
                  m->now.counts[COUNT_PAID], m->now.counts[COUNT_ERRORS]);
}

static void show(struct view *v, const struct run *run)
{
    const struct moment moment = moment_of(run);
    if (v->in_place)
        draw_picture(v, run, &moment);
    else
        plain_line(v, &moment);
    (void)fflush(v->out);
}

void view_update(struct view *v, const struct run *run)
{
    uint32_t tick = done_of(&run->buyers), step = v->in_place ? 1 : TICKS_A_SECOND;
    if (tick == 0 || tick < v->last_tick + step)
        return;
    v->last_tick = tick;
    show(v, run);
}

void view_close(struct view *v, const struct run *run)
{
    if (done_of(&run->buyers) > v->last_tick)
        show(v, run);
}
