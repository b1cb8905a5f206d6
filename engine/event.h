/*
 * event.h: one decision, as it stands in the log: one fixed-size record, one cache line.
 *
 * Threads: a worker or the clock fills it, the log publishes it, every reader reads it.
 * The table lists every kind with its wire name (as in event streams and in domain_events) and, for orders, the state
 * that it leads to. Adding a kind touches one row here, its effect in books.c and its payload in payload.c.
 */
#ifndef FLASHD_ENGINE_EVENT_H
#define FLASHD_ENGINE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/order.h"

/*    name             wire name           order state after */
#define EVENTS(X)                                                                                  \
    X(SALE_CREATED, "sale.created", ORDER_NONE)                                                    \
    X(SALE_STARTED, "sale.started", ORDER_NONE)                                                    \
    X(SALE_PAUSED, "sale.paused", ORDER_NONE)                                                      \
    X(SALE_RESUMED, "sale.resumed", ORDER_NONE)                                                    \
    X(SALE_ENDED, "sale.ended", ORDER_NONE)                                                        \
    X(SALE_SOLD_OUT, "sale.sold_out", ORDER_NONE)                                                  \
    X(ORDER_RESERVED, "order.reserved", ORDER_PAYMENT)                                             \
    X(ORDER_QUEUED, "order.queued", ORDER_WAITING)                                                 \
    X(ORDER_PROMOTED, "order.promoted", ORDER_PAYMENT)                                             \
    X(ORDER_PAID, "order.paid", ORDER_PAID)                                                        \
    X(ORDER_EXPIRED, "order.expired", ORDER_EXPIRED)                                               \
    X(ORDER_CANCELLED, "order.cancelled", ORDER_CANCELLED)                                         \
    X(ORDER_CLEARED, "order.cleared", ORDER_CLEARED)                                               \
    X(ORDER_REFUND_DUE, "order.refund_due", ORDER_EXPIRED)                                         \
    X(SALE_STOPPED, "sale.paused", ORDER_NONE) /* by a reconciliation */

enum event_kind {
#define X(name, wire, state) EVENT_##name,
    EVENTS(X)
#undef X
        EVENT_KIND_COUNT
};

struct event_row {
    const char *wire_name;
    enum order_state state_after; /* ORDER_NONE for a sale's event */
};

/* The row of a kind; static. */
const struct event_row *event_row(enum event_kind kind);
static inline bool event_is_of_order(enum event_kind kind)
{
    return event_row(kind)->state_after != ORDER_NONE;
}

struct sale;

struct event {
    uint64_t seq;
    struct sale *sale;   /* never NULL; sales are never freed */
    struct order *order; /* NULL for a sale's event; orders are never freed */
    int64_t at_wall_ms;
    int64_t at_mono_ms; /* a hold's deadline is this plus the sale's hold_ms */
    uint32_t quantity;  /* units of the order */
    uint32_t key;       /* number of the idempotency key that this answers (keys.h), 0 for none */
    uint8_t kind;       /* enum event_kind */
    uint8_t tint;       /* TINT_… bits: which of its changes met the turned tint (stock.h) */
};

#endif
