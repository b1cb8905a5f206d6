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

enum {
    BAR_CELLS = 32,
    LABEL_COLUMNS = 8,
    TICKS_A_SECOND = 1000 / TICK_MS,
    COLUMNS_DEFAULT = 80,
    ROWS_DEFAULT = 24
};

void view_open(struct view *v, FILE *out)
{
    const char *term = getenv("TERM");
    *v = (struct view){.out = out};
    v->terminal = isatty(fileno(out)) == 1 && term != NULL && strcmp(term, "dumb") != 0;
    v->in_place = v->terminal;
}

void view_head(const struct view *v, const struct run *run, const char *url)
{
    const struct options *o = &run->options;
    (void)fprintf(v->out,
                  "flashload %s: %" PRIu32 " buyer%s for %" PRIu32 " unit%s%s, %" PRIu32
                  " connections, %" PRIu32 " spectators, %" PRIu32 " watchers, seed %" PRIu64 "\n",
                  o->scenario->name, o->buyers, o->buyers == 1 ? "" : "s", o->stock,
                  o->stock == 1 ? "" : "s", o->sales > 1 ? " in several sales" : "", o->connections,
                  o->spectators, o->watchers, o->seed);
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

/* Lines of whole fields. A field that is too wide for the rest of its line begins a new one. */
struct picture {
    char text[4096];
    size_t bytes;
    uint32_t lines, rows, columns, at; /* at: columns that the line has so far */
    bool fits;
};

static void put(struct picture *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void field(struct picture *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct picture *p, const char *format, ...)
{
    size_t room = sizeof p->text - p->bytes;
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(p->text + p->bytes, room, format, arguments);
    va_end(arguments);
    p->fits &= len >= 0 && (size_t)len < room;
    p->bytes += p->fits ? (size_t)len : 0;
}

static void begin(struct picture *p, const char *label)
{
    put(p, "\r%-*s", LABEL_COLUMNS, label);
    p->at = (uint32_t)strlen(label);
    p->at = p->at > LABEL_COLUMNS ? p->at : LABEL_COLUMNS;
    p->fits &= p->at < p->columns;
}

static void end(struct picture *p)
{
    put(p, "\033[K\n");
    p->lines++;
    p->fits &= p->lines < p->rows; /* the cursor needs one more row */
}

static void field(struct picture *p, const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (p->at + 2 + (uint32_t)len >= p->columns) {
        end(p);
        begin(p, "");
    }
    put(p, "  %s", text);
    p->at += 2 + (uint32_t)len;
    p->fits &= p->at < p->columns;
}

static struct picture empty_picture(const struct view *v)
{
    struct winsize size = {0};
    (void)ioctl(fileno(v->out), TIOCGWINSZ, &size);
    return (struct picture){.rows = size.ws_row > 0 ? size.ws_row : ROWS_DEFAULT,
                            .columns = size.ws_col > 0 ? size.ws_col : COLUMNS_DEFAULT,
                            .fits = true};
}

static void bar_line(struct picture *p, const struct moment *m)
{
    char label[BAR_CELLS + 16] = "[";
    int full = (int)(m->share * BAR_CELLS);
    for (int i = 0; i < BAR_CELLS; i++)
        label[i + 1] = i < full ? '#' : '.';
    (void)snprintf(label + BAR_CELLS + 1, sizeof label - BAR_CELLS - 1, "] %3.0f %%",
                   m->share * 100);
    begin(p, label);
    field(p, "%.1f s", m->at_s);
    field(p, "%" PRIu32 " under way", m->now.active);
    end(p);
}

static void stock_line(struct picture *p, const struct run *run, const struct moment *m)
{
    begin(p, "stock");
    field(p, "available %" PRIu64, m->seen.available);
    field(p, "held %" PRIu64, m->seen.held);
    field(p, "sold %" PRIu64 " of %" PRIu32, m->seen.sold, run->options.stock);
    field(p, "waiting %" PRIu64, m->seen.waiting);
    end(p);
}

static void rates_line(struct picture *p, const struct moment *m)
{
    static const enum count shown[] = {COUNT_ANSWERS, COUNT_ACCEPTED, COUNT_WAITING, COUNT_REFUSED,
                                       COUNT_PAID};
    begin(p, "a second");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        field(p, "%s %" PRIu64, count_name(shown[i]), gained(&m->now, &m->second_ago, shown[i]));
    field(p, "durable %" PRIu64, gained(&m->seen, &m->seen_second_ago, COUNT_DURABLE));
    end(p);
}

static void brief_line(struct picture *p, const char *name, const struct brief *b)
{
    begin(p, name);
    if (b->count == 0) {
        field(p, "-");
    } else {
        field(p, "p50 %9.2f ms", b->p50_us / 1e3);
        field(p, "p99 %9.2f ms", b->p99_us / 1e3);
        field(p, "max %9.2f ms", b->max_us / 1e3);
    }
    end(p);
}

/* False when the terminal is too small: nothing is drawn then. */
static bool draw_picture(struct view *v, const struct run *run, const struct moment *m)
{
    struct picture p = empty_picture(v);
    bar_line(&p, m);
    if (run_has_token(run))
        stock_line(&p, run, m);
    rates_line(&p, m);
    brief_line(&p, "buy", &m->now.buy);
    brief_line(&p, "pay", &m->now.paid);
    brief_line(&p, "frame", &m->now.frame);
    brief_line(&p, "public", &m->seen.frame);
    if (m->now.counts[COUNT_ERRORS] > 0) {
        begin(&p, "errors");
        field(&p, "%" PRIu64, m->now.counts[COUNT_ERRORS]);
        end(&p);
    }
    if (p.fits && v->lines > 0)
        (void)fprintf(v->out, "\033[%" PRIu32 "A", v->lines);
    if (p.fits)
        (void)fprintf(v->out, "%s\033[J", p.text);
    v->lines = p.fits ? p.lines : 0;
    return p.fits;
}

/* ---- plain ---- */

/* The p99 of the last second: the worst of its ticks'. */
static void put_p99(const struct measures *m, char *text, size_t text_bytes)
{
    uint32_t done = done_of(m), purchases = 0, p99_us = 0;
    for (uint32_t i = done > TICKS_A_SECOND ? done - TICKS_A_SECOND : 0; i < done; i++) {
        const struct brief *buy = &measures_tick_at(m, i)->buy;
        purchases += buy->count;
        p99_us = buy->p99_us > p99_us ? buy->p99_us : p99_us;
    }
    if (purchases > 0)
        (void)snprintf(text, text_bytes, "%.2f ms", p99_us / 1e3);
    else
        (void)snprintf(text, text_bytes, "-");
}

static void plain_line(const struct view *v, const struct run *run, const struct moment *m)
{
    char p99[32];
    put_p99(&run->buyers, p99, sizeof p99);
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
    v->in_place = v->terminal && draw_picture(v, run, &moment);
    if (!v->in_place)
        plain_line(v, run, &moment);
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
