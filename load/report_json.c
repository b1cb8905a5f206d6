/*
 * report_json.c: the report for machines (report.h). Latencies are in milliseconds, rates a second. New members
 * may be added; existing ones keep their meaning.
 *
 * Thread: main.
 */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "load/crowd.h"
#include "load/report.h"

enum { FORMAT_VERSION = 1 };

static json_t *ms(uint64_t span_ns)
{
    return json_real((double)span_ns / 1e6);
}

/* ---- latencies ---- */

/* Points (percentile, ms), denser towards 100, for a plot by percentile. */
static json_t *curve_of(const struct hdr *hdr)
{
    json_t *curve = json_array();
    for (double left = 100; left > 0.5e-3;
         left /= 1.2589254117941673) /* ten points for each factor of ten */
        (void)json_array_append_new(
            curve, json_pack("[f, o]", 100 - left, ms(hdr_percentile(hdr, 100 - left))));
    (void)json_array_append_new(curve, json_pack("[f, o]", 100.0, ms(hdr->max)));
    return curve;
}

static json_t *latency_json(const struct hdr *hdr, enum latency latency, bool plots)
{
    static const struct {
        const char *name;
        double percent;
    } rows[] = {{"p50", 50}, {"p75", 75},     {"p90", 90},      {"p95", 95},
                {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};
    json_t *json = json_pack("{s:I, s:o, s:f, s:o}", "count", (json_int_t)hdr->count, "min",
                             ms(hdr->count > 0 ? hdr->min : 0), "mean", hdr_mean(hdr) / 1e6, "max",
                             ms(hdr->max));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        (void)json_object_set_new(json, rows[i].name, ms(hdr_percentile(hdr, rows[i].percent)));
    (void)json_object_set_new(json, "about", json_string(latency_about(latency)));
    if (plots && hdr->count > 0)
        (void)json_object_set_new(json, "curve", curve_of(hdr));
    return json;
}

static json_t *latencies_json(const struct summary *s, bool plots)
{
    json_t *json = json_object();
    for (int l = 0; l < LATENCY_COUNT; l++)
        (void)json_object_set_new(
            json, latency_name((enum latency)l),
            latency_json(summary_latency(s, (enum latency)l), (enum latency)l, plots));
    return json;
}

/* ---- counts, rates, ticks ---- */

static json_t *counts_json(const struct summary *s)
{
    json_t *json = json_object();
    for (int c = 0; c < COUNT_COUNT; c++)
        (void)json_object_set_new(json, count_name((enum count)c),
                                  json_integer((json_int_t)s->counts[c]));
    return json;
}

static json_t *rates_json(const struct summary *s)
{
    json_t *json = json_object();
    for (int c = 0; c < COUNT_COUNT; c++)
        (void)json_object_set_new(json, count_name((enum count)c),
                                  json_pack("{s:f, s:f}", "mean",
                                            (double)s->counts[c] / fmax(s->seconds, 1e-9), "peak",
                                            s->peaks[c]));
    return json;
}

static json_t *brief_json(const struct brief *brief)
{
    return json_pack("{s:i, s:f, s:f, s:f}", "count", (int)brief->count, "p50", brief->p50_us / 1e3,
                     "p99", brief->p99_us / 1e3, "max", brief->max_us / 1e3);
}

static json_t *tick_json(const struct tick *t, const struct tick *before,
                         const struct brief *publics)
{
    static const enum count shown[] = {COUNT_ARRIVALS, COUNT_ANSWERS, COUNT_PURCHASES,
                                       COUNT_ACCEPTED, COUNT_WAITING, COUNT_REFUSED,
                                       COUNT_PAID,     COUNT_DURABLE, COUNT_ERRORS};
    json_t *json =
        json_pack("{s:f, s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "offered", t->offered,
                  "active", (int)t->active, "stockAvailable", (json_int_t)t->available, "stockHeld",
                  (json_int_t)t->held, "stockSold", (json_int_t)t->sold, "queue",
                  (json_int_t)t->waiting, "buy", brief_json(&t->buy), "pay", brief_json(&t->paid),
                  "frame", brief_json(&t->frame), "framePublic", brief_json(publics));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        uint64_t gained = t->counts[shown[i]] - (before != NULL ? before->counts[shown[i]] : 0);
        (void)json_object_set_new(json, count_name(shown[i]), json_integer((json_int_t)gained));
    }
    return json;
}

static json_t *series_json(const struct summary *s)
{
    json_t *points = json_array();
    for (uint32_t i = 0; i < s->tick_count; i++)
        (void)json_array_append_new(
            points, tick_json(&s->ticks[i], i > 0 ? &s->ticks[i - 1] : NULL, &s->publics[i]));
    return json_pack("{s:i, s:o}", "tickMs", TICK_MS, "points", points);
}

/* ---- the rest ---- */

static json_t *options_json(const struct summary *s)
{
    const struct options *o = &s->run->options;
    json_t *json = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I}", "scenario",
        o->scenario->name, "loop", options_open_loop(o) ? "open" : "closed", "buyers",
        (json_int_t)o->buyers, "stock", (json_int_t)o->stock, "sales", (json_int_t)o->sales,
        "connections", (json_int_t)o->connections, "spectators", (json_int_t)o->spectators,
        "watchers", (json_int_t)o->watchers, "payRatio", o->pay_share, "twiceRatio", o->twice_share,
        "looks", (json_int_t)o->looks, "thinkMs", (json_int_t)o->think_ms, "holdMs",
        (json_int_t)o->hold_ms, "lookMs", (json_int_t)o->look_ms, "seed", (json_int_t)o->seed);
    if (o->rate > 0)
        (void)json_object_set_new(json, "rate", json_real(o->rate));
    if (o->ramp_s > 0)
        (void)json_object_set_new(json, "ramp",
                                  json_pack("{s:f, s:f, s:f}", "from", o->ramp_from, "to",
                                            o->ramp_to, "seconds", o->ramp_s));
    if (o->duration_s > 0)
        (void)json_object_set_new(json, "duration", json_real(o->duration_s));
    return json;
}

static json_t *refusals_json(const struct summary *s)
{
    json_t *json = json_array();
    for (size_t i = 0;
         i < sizeof s->run->codes / sizeof *s->run->codes && s->run->codes[i].count > 0; i++)
        (void)json_array_append_new(json, json_pack("{s:s, s:s, s:I}", "request",
                                                    step_name((enum step)s->run->codes[i].step),
                                                    "code", s->run->codes[i].code, "count",
                                                    (json_int_t)s->run->codes[i].count));
    return json;
}

static json_t *cpu_json(const struct summary *s)
{
    double answers = fmax((double)s->counts[COUNT_ANSWERS], 1),
           events = fmax((double)s->counts[COUNT_DURABLE], 1);
    json_t *json =
        json_pack("{s:f, s:f}", "flashloadUsPerAnswer", (double)s->own_cpu_ns / 1e3 / answers,
                  "buyersThreadUsPerAnswer", (double)s->run->buyers.cpu_ns / 1e3 / answers);
    if (s->server_cpu_ns != 0) {
        (void)json_object_set_new(json, "serverSeconds", json_real((double)s->server_cpu_ns / 1e9));
        (void)json_object_set_new(json, "serverUsPerAnswer",
                                  json_real((double)s->server_cpu_ns / 1e3 / answers));
        (void)json_object_set_new(json, "serverUsPerDurable",
                                  json_real((double)s->server_cpu_ns / 1e3 / events));
    }
    return json;
}

static json_t *audit_json(const struct summary *s)
{
    const struct verdict *v = &s->verdict;
    json_t *found = json_array();
    for (int k = 0; k < FINDING_COUNT; k++)
        if (v->findings.of[k].count > 0)
            (void)json_array_append_new(
                found,
                json_pack("{s:s, s:I, s:s}", "kind", finding_name((enum finding_kind)k), "count",
                          (json_int_t)v->findings.of[k].count, "first", v->findings.of[k].first));
    json_t *json = json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:o}", "balances", summary_balances(s),
                             "eventsHeld", s->events_held, "answers", (json_int_t)v->answers,
                             "events", (json_int_t)v->events, "buyersListed", (json_int_t)v->rows,
                             "ownStreams", (json_int_t)v->own_streams, "findings", found);
    if (s->audit_error[0] != '\0')
        (void)json_object_set_new(json, "error", json_string(s->audit_error));
    return json;
}

static json_t *thresholds_json(const struct summary *s)
{
    json_t *json = json_array();
    for (uint32_t i = 0; i < s->threshold_count; i++) {
        const struct threshold *t = &s->thresholds[i];
        double found = statistic_is_latency(t->statistic) ? t->found / 1e6 : t->found;
        (void)json_array_append_new(json, json_pack("{s:s, s:b, s:o}", "expression", t->text,
                                                    "holds", t->holds, "found",
                                                    isnan(found) ? json_null() : json_real(found)));
    }
    return json;
}

static json_t *knee_json(const struct summary *s)
{
    if (s->points == NULL)
        return json_null();
    json_t *points = json_array();
    for (size_t i = 0; i < s->point_count; i++)
        (void)json_array_append_new(
            points, json_pack("{s:f, s:f, s:f}", "offered", s->points[i].offered, "served",
                              s->points[i].served, "p99", s->points[i].p99_ms));
    return json_pack("{s:b, s:f, s:f, s:s?, s:o}", "reached", s->knee.reached, "offered",
                     s->knee.offered, "p99", s->knee.p99_ms, "sign", s->knee.sign, "points",
                     points);
}

static json_t *started_at_json(const struct summary *s)
{
    char text[32] = "";
    struct tm at;
    if (gmtime_r(&s->run->started_at, &at) != NULL)
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &at);
    return json_string(text);
}

json_t *report_json(const struct summary *s, bool plots)
{
    json_t *json =
        json_pack("{s:i, s:s, s:s, s:b, s:f, s:i}", "format", FORMAT_VERSION, "flashload",
                  FLASHD_VERSION, "server", s->url, "interrupted", s->interrupted, "seconds",
                  s->seconds, "exitStatus", summary_exit_status(s));
    if (json == NULL)
        return NULL;
    (void)json_object_set_new(json, "startedAt", started_at_json(s));
    (void)json_object_set_new(json, "options", options_json(s));
    (void)json_object_set_new(json, "latencyMs", latencies_json(s, plots));
    (void)json_object_set_new(json, "counts", counts_json(s));
    (void)json_object_set_new(json, "rates", rates_json(s));
    (void)json_object_set_new(json, "refusals", refusals_json(s));
    (void)json_object_set_new(json, "cpu", cpu_json(s));
    (void)json_object_set_new(json, "knee", knee_json(s));
    (void)json_object_set_new(json, "thresholds", thresholds_json(s));
    (void)json_object_set_new(json, "audit", audit_json(s));
    (void)json_object_set_new(json, "series", series_json(s));
    return json;
}
