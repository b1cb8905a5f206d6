/*
 * report_text.c: the report for a person (report.h): latencies, rates, CPU, what was refused and why, the
 * thresholds, and whether the books balance.
 *
 * Thread: main.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "load/crowd.h"
#include "load/report.h"

#define LAG_NOTABLE_NS UINT64_C(2000000)

enum { SPAN_COLUMNS = 9 };

/* 1234567 as 1,234,567; four results can be in use at once. */
static const char *grouped(uint64_t number)
{
    static char rooms[4][32];
    static unsigned next;
    char *room = rooms[next++ % 4], digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            room[at++] = ',';
        room[at++] = digits[i];
    }
    room[at] = '\0';
    return room;
}

/* A duration in the unit that fits, with this many significant digits. */
static void put_span(FILE *out, int width, int digits, uint64_t span_ns)
{
    static const char *const units[] = {"us", "ms", "s"};
    double value = (double)span_ns / 1e3;
    int unit = 0;
    for (; unit < 2 && value >= 999.5; unit++)
        value /= 1000;
    int decimals = digits - (value < 9.995 ? 1 : value < 99.95 ? 2 : 3);
    (void)fprintf(out, "%*.*f %-2s", width - 3, decimals > 0 ? decimals : 0, value, units[unit]);
}

static void put_latencies(const struct summary *s, FILE *out)
{
    static const double percents[] = {50, 90, 99, 99.9, 99.99};
    (void)fprintf(out, "\nlatency %s\n%-12s %10s",
                  options_open_loop(&s->run->options) ? "(from the scheduled time)"
                                                      : "(from the request)",
                  "", "count");
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        (void)fprintf(out, "%*sp%g",
                      percents[i] < 99.5    ? 6
                      : percents[i] < 99.95 ? 4
                                            : 3,
                      "", percents[i]);
    (void)fprintf(out, "      max\n");
    for (int l = 0; l < LATENCY_COUNT; l++) {
        const struct hdr *hdr = summary_latency(s, (enum latency)l);
        if (hdr->count == 0)
            continue;
        (void)fprintf(out, "%-12s %10s", latency_name((enum latency)l), grouped(hdr->count));
        for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
            put_span(out, SPAN_COLUMNS, 3, hdr_percentile(hdr, percents[i]));
        put_span(out, SPAN_COLUMNS, 3, hdr->max);
        (void)fputc('\n', out);
    }
    (void)fprintf(out, "frame: from the reply to the buyer's own stream; _public: a spectator's;\n"
                       "_events: all events\n");
}

/* Latencies count from the scheduled time, so they include flashload's own lateness. */
static void put_lag(const struct summary *s, FILE *out)
{
    uint64_t lag_ns = hdr_percentile(summary_latency(s, LATENCY_LAG), 99);
    if (lag_ns < LAG_NOTABLE_NS)
        return;
    (void)fprintf(out,
                  "flashload itself was late (p99 %.2f ms): this machine is too busy for these "
                  "latencies to be the server's alone\n",
                  (double)lag_ns / 1e6);
}

static void put_rates(const struct summary *s, FILE *out)
{
    static const enum count shown[] = {
        COUNT_ANSWERS,   COUNT_ACCEPTED, COUNT_WAITING, COUNT_REFUSED,  COUNT_PAID,
        COUNT_CANCELLED, COUNT_DURABLE,  COUNT_FRAMES,  COUNT_UNSERVED, COUNT_ERRORS};
    (void)fprintf(out, "\nrates %22s %12s %12s\n", "in all", "a second", "best second");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        (void)fprintf(out, "%-13s %14s %12s %12s\n", count_name(shown[i]),
                      grouped(s->counts[shown[i]]),
                      grouped((uint64_t)((double)s->counts[shown[i]] / fmax(s->seconds, 1e-9))),
                      grouped((uint64_t)s->peaks[shown[i]]));
    (void)fprintf(out, "durable: events that the server streamed after their commit; unserved: "
                       "came, and got no turn\n");
}

static void put_refusals(const struct summary *s, FILE *out)
{
    const struct codes *codes = s->run->codes;
    if (codes[0].count == 0)
        return;
    (void)fprintf(out, "\nrefused\n");
    for (size_t i = 0; i < sizeof s->run->codes / sizeof *codes && codes[i].count > 0; i++)
        (void)fprintf(out, "%-13s %14s  %s\n", step_name((enum step)codes[i].step),
                      grouped(codes[i].count), codes[i].code);
}

static void put_cpu(const struct summary *s, FILE *out)
{
    double answers = fmax((double)s->counts[COUNT_ANSWERS], 1);
    (void)fprintf(out, "\ncpu\nflashload     %10.2f us an answer (%.2f us in the buyers' thread)\n",
                  (double)s->own_cpu_ns / 1e3 / answers,
                  (double)s->run->buyers.cpu_ns / 1e3 / answers);
    if (s->server_cpu_ns != 0)
        (void)fprintf(out, "server        %10.2f us an answer, %.2f us a durable event\n",
                      (double)s->server_cpu_ns / 1e3 / answers,
                      (double)s->server_cpu_ns / 1e3 / fmax((double)s->counts[COUNT_DURABLE], 1));
}

static void put_knee(const struct summary *s, FILE *out)
{
    if (s->points == NULL)
        return;
    if (s->knee.reached)
        (void)fprintf(out,
                      "\nknee: keeps up to %s arrivals a second (p99 %.2f ms there); then %s\n",
                      grouped((uint64_t)s->knee.offered), s->knee.p99_ms, s->knee.sign);
    else
        (void)fprintf(out,
                      "\nknee: not reached; kept up with all of the ramp, to %s arrivals a second "
                      "(p99 %.2f ms)\n",
                      grouped((uint64_t)s->knee.offered), s->knee.p99_ms);
}

static void put_thresholds(const struct summary *s, FILE *out)
{
    if (s->threshold_count > 0)
        (void)fprintf(out, "\nthresholds\n");
    for (uint32_t i = 0; i < s->threshold_count; i++) {
        const struct threshold *t = &s->thresholds[i];
        (void)fprintf(out, "%s %s: ", t->holds ? "holds " : "BROKEN", t->text);
        if (isnan(t->found))
            (void)fprintf(out, "nothing was measured\n");
        else if (statistic_is_latency(t->statistic))
            put_span(out, 3, 5, (uint64_t)t->found), (void)fputc('\n', out);
        else
            (void)fprintf(out, "%g\n", t->found);
    }
}

static void put_audit(const struct summary *s, FILE *out)
{
    const struct verdict *v = &s->verdict;
    if (s->audit_error[0] != '\0')
        (void)fprintf(out, "\nthe books could not be held against the server: %s\n",
                      s->audit_error);
    if (summary_balances(s))
        (void)fprintf(
            out, "\nthe books balance: %s answers, %s events, %s buyers listed, %s own streams%s\n",
            grouped(v->answers), grouped(v->events), grouped(v->rows), grouped(v->own_streams),
            s->events_held ? "" : " (without a token: no event stream to hold them against)");
    else if (findings_total(&v->findings) > 0)
        (void)fprintf(out, "\nTHE BOOKS DO NOT BALANCE\n");
    for (int k = 0; k < FINDING_COUNT; k++)
        if (v->findings.of[k].count > 0)
            (void)fprintf(out, "%-16s %8s  first: %s\n", finding_name((enum finding_kind)k),
                          grouped(v->findings.of[k].count), v->findings.of[k].first);
}

void report_text(const struct summary *s, FILE *out)
{
    (void)fprintf(out, "\n%s%.2f s, %s buyer%s\n", s->interrupted ? "interrupted after " : "",
                  s->seconds, grouped(s->counts[COUNT_ARRIVALS]),
                  s->counts[COUNT_ARRIVALS] == 1 ? "" : "s");
    put_latencies(s, out);
    put_lag(s, out);
    put_rates(s, out);
    put_refusals(s, out);
    put_cpu(s, out);
    put_knee(s, out);
    put_thresholds(s, out);
    put_audit(s, out);
}
