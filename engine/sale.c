/*
 * sale.c: a sale's memory and the names of its states (see sale.h).
 *
 * Thread: sales are made by the clock or by recovery, and freed by main when nobody reads any more.
 * Fails: sale_new() when out of memory.
 */
#include "engine/sale.h"

#include <stdlib.h>

#include "engine/lines.h"

static const char *const state_names[SALE_STATE_COUNT] = {
    [SALE_UPCOMING] = "UPCOMING", [SALE_ACTIVE] = "ACTIVE",  [SALE_PAUSED] = "PAUSED",
    [SALE_ENDED] = "ENDED",       [SALE_STOPPED] = "PAUSED",
};

const char *sale_state_name(enum sale_state state)
{
    MUST(state < SALE_STATE_COUNT, "a sale state outside the table");
    return state_names[state];
}

struct sale *sale_new(void)
{
    return lines_new(sizeof(struct sale));
}

void sale_free(struct sale *sale)
{
    queue_free(&sale->waiting);
    queue_free(&sale->holds);
    rows_free(&sale->paid);
    rows_free(&sale->waiting_bits);
    free(sale);
}
