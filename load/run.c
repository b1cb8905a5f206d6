/*
 * run.c: see run.h.
 *
 * Thread: as there. Fails: run_index_sales() without memory.
 */
#include "load/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool run_has_token(const struct run *run)
{
    return run->site.token[0] != '\0';
}

void run_tick(struct run *run, struct measures *measures, uint64_t now_ns, const struct tick *like,
              bool last)
{
    if (measures->over)
        return;
    if (!last) {
        measures_tick(measures, run->start_ns, now_ns, like);
        return;
    }
    measures_end(measures, run->start_ns, now_ns, like);
    /* Pairs with main's acquire. */
    atomic_fetch_add_explicit(&run->counts_over, 1, memory_order_release);
}

uint32_t run_sale_of(const struct run *run, struct span id)
{
    for (uint32_t at = (uint32_t)ledger_hash(id);; at++) {
        uint32_t slot = run->index.slots[at & run->index.mask];
        if (slot == 0)
            return NO_SALE;
        if (span_is(id, run->sales[slot - 1].id))
            return slot - 1;
    }
}

bool run_index_sales(struct run *run)
{
    uint32_t slots = 4;
    while (slots < 2 * run->options.sales)
        slots *= 2;
    run->index.mask = slots - 1;
    run->index.slots = calloc(slots, sizeof *run->index.slots);
    for (uint32_t i = 0; run->index.slots != NULL && i < run->options.sales; i++) {
        const struct span id = {run->sales[i].id, strlen(run->sales[i].id)};
        uint32_t at = (uint32_t)ledger_hash(id);
        while (run->index.slots[at & run->index.mask] != 0)
            at++;
        run->index.slots[at & run->index.mask] = i + 1;
    }
    return run->index.slots != NULL;
}

void run_fail(struct run *run, const char *format, ...)
{
    bool expected = false;
    if (atomic_compare_exchange_strong(&run->failed, &expected, true)) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(run->failure, sizeof run->failure, format, arguments);
        va_end(arguments);
        atomic_store_explicit(&run->failure_written, true, memory_order_release);
    }
    atomic_store_explicit(&run->stop, true, memory_order_relaxed);
}

void run_fail_refused(struct run *run, const char *what, unsigned status, const char *body,
                      size_t body_bytes)
{
    struct span detail = field_named(body, body_bytes, "detail");
    run_fail(run, "%s was refused with status %u%s%.*s%s", what, status, detail.len > 0 ? ": " : "",
             (int)(detail.len < 200 ? detail.len : 200), detail.len > 0 ? detail.data : "",
             status == 503 ? "; the server may lack descriptors (ulimit -n) or limit its streams"
                           : "");
}

/* Every stride-th buyer is watched while there are watchers left. At most ten: the watched should be among the first
 * to come, since the last may never come. */
static uint32_t watcher_stride(const struct options *o)
{
    uint32_t stride = o->watchers > 0 ? o->buyers / o->watchers : 1;
    return stride < 1 ? 1 : stride > 10 ? 10 : stride;
}

uint32_t run_buyer_of_watcher(const struct run *run, uint32_t watcher)
{
    return watcher * watcher_stride(&run->options);
}

bool run_is_watched(const struct run *run, uint32_t buyer)
{
    uint32_t stride = watcher_stride(&run->options);
    return buyer % stride == 0 && buyer / stride < run->options.watchers;
}
