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

uint32_t run_buyer_of_watcher(const struct run *run, uint32_t watcher)
{
    return (uint32_t)((uint64_t)watcher * run->options.buyers / run->options.watchers);
}

bool run_is_watched(const struct run *run, uint32_t buyer)
{
    const struct options *o = &run->options;
    if (o->watchers == 0 || buyer >= o->buyers)
        return false;
    /* The only watcher whose buyer it could be: spread evenly, each is at least one buyer further. */
    uint64_t watcher = ((uint64_t)buyer * o->watchers + o->buyers - 1) / o->buyers;
    return watcher < o->watchers && run_buyer_of_watcher(run, (uint32_t)watcher) == buyer;
}
