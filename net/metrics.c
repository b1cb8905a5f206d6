/*
 * metrics.c: see metrics.h. Names follow Prometheus' conventions: base units, _total for counters.
 *
 * Thread: the net thread of the request. Cannot fail; metrics_bytes_max() is room enough.
 */
#include "net/metrics.h"

#include "net/broadcast.h"

enum { FIXED_BYTES = 16 * 1024, SALE_BYTES = 1024 };

size_t metrics_bytes_max(const struct server *server)
{
    uint32_t sales = engine_sale_count(server->engine);
    return FIXED_BYTES +
           (size_t)SALE_BYTES * (sales < METRICS_SALES_MAX ? sales : METRICS_SALES_MAX);
}

static void describe(struct text *out, const char *name, const char *type, const char *help)
{
    text_str(out, "# HELP ");
    text_str(out, name);
    text_str(out, " ");
    text_str(out, help);
    text_str(out, "\n# TYPE ");
    text_str(out, name);
    text_str(out, " ");
    text_str(out, type);
    text_str(out, "\n");
}

/* labels: "" or {name="value"}. */
static void sample(struct text *out, const char *name, const char *labels, uint64_t value)
{
    text_str(out, name);
    text_str(out, labels);
    text_str(out, " ");
    text_number(out, value);
    text_str(out, "\n");
}

static void single(struct text *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    describe(out, name, type, help);
    sample(out, name, "", value);
}

static uint64_t relaxed(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* ---- HTTP ---- */

static void put_http(struct text *out, const struct server *server)
{
    static const char *const classes[STATUS_CLASSES] = {"{class=\"1xx\"}", "{class=\"2xx\"}",
                                                        "{class=\"3xx\"}", "{class=\"4xx\"}",
                                                        "{class=\"5xx\"}"};
    uint64_t connections = 0, accepted = 0, overflows = 0, answers[STATUS_CLASSES] = {0};
    for (uint32_t i = 0; i < server->options.net_threads; i++) {
        const struct net_counters *counters = &server->nets[i].counters;
        connections += relaxed(&counters->connections);
        accepted += relaxed(&counters->accepted);
        overflows += relaxed(&counters->cq_overflows);
        for (int k = 0; k < STATUS_CLASSES; k++)
            answers[k] += relaxed(&counters->answers[k]);
    }
    single(out, "flashd_http_connections", "gauge", "Open connections, without streams.",
           connections);
    single(out, "flashd_http_connections_accepted_total", "counter", "Connections taken.",
           accepted);
    describe(out, "flashd_http_answers_total", "counter", "Answers by class of status.");
    for (int k = 1; k < STATUS_CLASSES; k++)
        sample(out, "flashd_http_answers_total", classes[k], answers[k]);
    single(out, "flashd_io_uring_cq_overflows_total", "counter",
           "Completions that did not fit the queue at once.", overflows);
}

/* ---- the log ---- */

static void put_log(struct text *out, const struct engine *engine)
{
    const struct log *log = &engine->log;
    single(out, "flashd_events_committed_total", "counter", "seq of the last durable event.",
           log_committed(log));
    single(out, "flashd_events_published_total", "counter",
           "seq of the last event handed to the streams.", relaxed(&engine->published));
    single(out, "flashd_log_journal_lag_events", "gauge",
           "Decided events that no commit has taken up yet.", log_lag(log, LOG_READER_JOURNAL));
    single(out, "flashd_log_clock_lag_events", "gauge",
           "Decided events that the clock has not read yet.", log_lag(log, LOG_READER_CLOCK));
    single(out, "flashd_idempotency_keys_kept_total", "counter",
           "Answers kept under an idempotency key, with those found at the start.",
           relaxed(&engine->keys.kept_count));
    single(out, "flashd_storage_full", "gauge",
           "1 while new orders are refused for want of disk space.",
           atomic_load_explicit(&engine->storage_full, memory_order_relaxed));
}

/* ---- sales ---- */

static void put_sale_sample(struct text *out, const char *name, const struct sale *sale,
                            uint64_t value)
{
    text_str(out, name);
    text_str(out, "{sale=\"");
    text_bytes(out, sale->id, ID_CHARS);
    text_str(out, "\"} ");
    text_number(out, value);
    text_str(out, "\n");
}

static const struct sale_figure {
    const char *name, *help;
} sale_figures[] = {
    {"flashd_sale_available_units", "Units that nobody holds."},
    {"flashd_sale_held_units", "Units in payment."},
    {"flashd_sale_sold_units", "Units paid."},
    {"flashd_sale_waiting_orders", "Orders in the waiting list."},
};

static uint64_t figure_of(const struct books *view, size_t figure)
{
    const uint64_t values[] = {view->available, view->held, view->sold, view->waiting};
    return values[figure];
}

static void put_sales(struct text *out, const struct engine *engine)
{
    uint64_t by_state[SALE_STATE_COUNT] = {0};
    uint32_t count = engine_sale_count(engine);
    for (size_t f = 0; f < sizeof sale_figures / sizeof *sale_figures; f++) {
        uint32_t shown = 0;
        describe(out, sale_figures[f].name, "gauge", sale_figures[f].help);
        for (uint32_t i = 0; i < count && shown < METRICS_SALES_MAX; i++) {
            const struct sale *sale = engine_sale_at(engine, i);
            const struct books view = view_sale(sale);
            if (view.seq == 0 || view.state == SALE_ENDED)
                continue;
            put_sale_sample(out, sale_figures[f].name, sale, figure_of(&view, f));
            shown++;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        by_state[view_sale(engine_sale_at(engine, i)).state]++;
    by_state[SALE_PAUSED] += by_state[SALE_STOPPED]; /* clients see them as one */
    describe(out, "flashd_sales", "gauge", "Sales by state.");
    for (unsigned state = 0; state < SALE_STOPPED; state++) {
        text_str(out, "flashd_sales{state=\"");
        text_str(out, sale_state_name((enum sale_state)state));
        text_str(out, "\"} ");
        text_number(out, by_state[state]);
        text_str(out, "\n");
    }
}

/* ---- streams ---- */

static void put_streams(struct text *out, const struct broadcaster *broadcaster)
{
    const struct broadcast_stats *stats = broadcast_stats_of(broadcaster);
    single(out, "flashd_streams", "gauge", "Open event streams.", relaxed(&stats->connections));
    single(out, "flashd_stream_frames_total", "counter",
           "Frames given to streams, comments left out.", relaxed(&stats->frames));
    single(out, "flashd_stream_bytes_total", "counter", "Bytes sent to streams.",
           relaxed(&stats->bytes));
    single(out, "flashd_streams_cut_total", "counter", "Streams cut off for taking nothing.",
           relaxed(&stats->cut));
    single(out, "flashd_streams_refused_total", "counter", "Streams refused at a cap.",
           relaxed(&stats->refused));
    single(out, "flashd_stream_lag_events", "gauge", "Events that the furthest stream is behind.",
           relaxed(&stats->furthest_lag));
}

/* ---- reconciliation ---- */

static void put_reconcile(struct text *out, const struct reconciler *reconciler)
{
    const struct reconcile_result last = reconcile_result(reconciler);
    single(out, "flashd_reconcile_runs_total", "counter", "Reconciliations made.", last.runs);
    single(out, "flashd_reconcile_runs_failed_total", "counter",
           "Reconciliations that could not be made.", last.runs_failed);
    single(out, "flashd_reconcile_checked_sales", "gauge", "Sales compared by the last one.",
           last.checked);
    single(out, "flashd_reconcile_skipped_sales", "gauge", "Sales that it left out: upcoming ones.",
           last.skipped);
    single(out, "flashd_reconcile_divergent_sales", "gauge", "Sales that it found divergent.",
           last.divergent);
    single(out, "flashd_reconcile_first_divergent_seq", "gauge",
           "The first seq at which something differs; 0 for none.", last.first_divergent_seq);
    single(out, "flashd_reconcile_last_run_timestamp_seconds", "gauge", "When it began.",
           (uint64_t)last.began_wall_ms / 1000);
    describe(out, "flashd_reconcile_seconds", "gauge", "How long it took.");
    text_str(out, "flashd_reconcile_seconds ");
    text_seconds(out, (uint64_t)last.took_us);
    text_str(out, "\n");
}

void metrics_write(struct text *out, const struct server *server)
{
    put_http(out, server);
    put_log(out, server->engine);
    put_sales(out, server->engine);
    put_streams(out, server->options.broadcaster);
    put_reconcile(out, &server->engine->reconciler);
}
