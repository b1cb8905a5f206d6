/*
 * restore.c: rows back into sales, orders, queues, counters and view (see restore.h).
 *
 * Every sale's counters are summed up again from its orders and must equal its row; if not, the
 * server does not start. Thread: main.
 */
#include "engine/restore.h"

#include <stdlib.h>

#include "engine/engine.h"

const char *engine_restore_sale(struct restore *restore, const struct sale_record *record)
{
    struct engine *e = restore->engine;
    uint32_t index = engine_sale_count(e);
    if (index == SALES_MAX)
        return "more sales than this build holds";
    struct sale *sale = sale_new();
    if (sale == NULL || !seqmap_reserve(&e->seqmap, record->seq))
        return "out of memory";
    sale->index = index;
    sale->seq = record->seq;
    sale->terms = record->terms;
    sale->books = record->books;
    sale->sold_out_logged = record->books.sold_out;
    sale->stopped = record->books.state == SALE_STOPPED;
    /* The orders are counted into the stock word as they come. */
    atomic_init(&sale->stock,
                stock_pack((struct stock){
                    .state = sale->stopped ? SALE_PAUSED : (enum sale_state)record->books.state,
                    .available = record->terms.product_qty}));
    engine_publish_sale(e, sale);
    clock_watch(&e->clock, sale);
    return NULL;
}

static bool remember(struct order ***list, size_t *count, size_t *room, struct order *order)
{
    if (*count == *room) {
        size_t more = *room == 0 ? 1024 : *room * 2;
        struct order **grown = realloc(*list, more * sizeof(struct order *));
        if (grown == NULL)
            return false;
        *list = grown;
        *room = more;
    }
    (*list)[(*count)++] = order;
    return true;
}

/* Counts one order into its sale's stock word. */
static const char *count_in(struct sale *sale, const struct order *order, enum order_state state)
{
    struct stock stock = stock_load(&sale->stock);
    if (state == ORDER_WAITING) {
        stock.waiting++;
    } else if (state == ORDER_PAYMENT || state == ORDER_PAID) {
        if (stock.available < order->quantity)
            return "more units are held and paid than the sale has (G1)";
        stock.available -= order->quantity;
    }
    if (state == ORDER_PAID)
        (void)sold_add(&sale->sold, order->quantity);
    atomic_store_explicit(&sale->stock, stock_pack(stock), memory_order_relaxed);
    return NULL;
}

/* The set of buyers finds a buyer's live order, even if it is older than others: an expired order may
 * have been paid late (G3). */
static const char *know_buyer(struct worker *worker, struct order *order)
{
    struct order *other = buyers_find(&worker->buyers, order);
    bool live = order_state_is_live((enum order_state)order_state_now(order));
    bool other_live =
        other != NULL && order_state_is_live((enum order_state)order_state_now(other));
    if (live && other_live)
        return "a buyer has two live orders in one sale (G3)";
    if (other_live || FAULT(FAULT_FORGET_BUYER))
        return NULL;
    return buyers_put(&worker->buyers, order) ? NULL : "out of memory";
}

static void fill(const struct restore *restore, struct order *order,
                 const struct order_record *record)
{
    const struct now *now = &restore->now;
    int64_t expires = record->expires_at_ms;
    if (record->state == ORDER_PAYMENT) {
        int64_t hold = engine_sale_at(restore->engine, order->sale)->terms.hold_ms;
        expires = expires < now->wall_ms          ? now->wall_ms
                  : expires > now->wall_ms + hold ? now->wall_ms + hold
                                                  : expires;
    }
    order->seq = record->seq;
    order->refund_due = record->refund_due;
    order->logged = (uint8_t)record->state;
    atomic_init(&order->state, (uint8_t)record->state);
    atomic_init(&order->committed, order_committed_pack(record->last_seq, record->state));
    atomic_init(&order->changed_at_ms, record->changed_at_ms);
    atomic_init(&order->expires_at_ms, expires);
}

/* Puts the order into the clock's waiting list and into the view's. */
static bool queue_again(struct sale *sale, struct order *order)
{
    const struct event event = {.seq = order->seq,
                                .sale = sale,
                                .order = order,
                                .at_wall_ms = order->changed_at_ms,
                                .kind = EVENT_ORDER_QUEUED};
    order->position = stock_load(&sale->stock).waiting;
    atomic_store_explicit(&order->committed, order_committed_pack(order->seq, ORDER_NONE),
                          memory_order_relaxed);
    return view_apply(&event) && queue_push(&sale->waiting, (struct queue_entry){order, 0});
}

const char *engine_restore_order(struct restore *restore, const struct order_record *record)
{
    struct engine *e = restore->engine;
    struct sale *sale = seqmap_sale(&e->seqmap, record->sale_seq);
    if (sale == NULL)
        return "an order names a sale that is not there";
    uint64_t hash = e->options.hash(record->name, record->name_bytes);
    struct worker *worker = &e->workers[engine_worker_of(e, hash)];
    struct order *order = order_new(&worker->arena, record->name, record->name_bytes, hash);
    if (order == NULL || !seqmap_reserve(&e->seqmap, record->seq))
        return "out of memory";
    order->sale = sale->index;
    order->quantity = record->quantity;
    order->owner = (uint8_t)worker->index;
    fill(restore, order, record);
    seqmap_put_order(&e->seqmap, record->seq, order);
    const char *wrong = count_in(sale, order, record->state);
    if (wrong == NULL)
        wrong = know_buyer(worker, order);
    if (wrong != NULL)
        return wrong;
    bool ok = true;
    if (record->state == ORDER_WAITING)
        ok = queue_again(sale, order);
    else if (record->state == ORDER_PAYMENT)
        ok = remember(&restore->held, &restore->held_count, &restore->held_room, order);
    else if (record->state == ORDER_PAID)
        ok = remember(&restore->paid, &restore->paid_count, &restore->paid_room, order);
    return ok ? NULL : "out of memory";
}

static int by_expiry(const void *a, const void *b)
{
    const struct order *x = *(struct order *const *)a, *y = *(struct order *const *)b;
    return (x->expires_at_ms > y->expires_at_ms) - (x->expires_at_ms < y->expires_at_ms);
}

static int by_last_seq(const void *a, const void *b)
{
    const struct order *x = *(struct order *const *)a, *y = *(struct order *const *)b;
    return (x->committed > y->committed) - (x->committed < y->committed);
}

static bool restore_lists(struct restore *r)
{
    if (r->held_count > 0)
        qsort(r->held, r->held_count, sizeof(struct order *), by_expiry);
    if (r->paid_count > 0)
        qsort(r->paid, r->paid_count, sizeof(struct order *), by_last_seq);
    for (size_t i = 0; i < r->held_count && !FAULT(FAULT_FORGET_HOLD); i++) {
        struct order *order = r->held[i];
        struct sale *sale = engine_sale_at(r->engine, order->sale);
        int64_t left_ms = order->expires_at_ms - r->now.wall_ms;
        if (!queue_push(&sale->holds, (struct queue_entry){order, r->now.mono_ms + left_ms}))
            return false;
    }
    for (size_t i = 0; i < r->paid_count; i++)
        if (!rows_append(&engine_sale_at(r->engine, r->paid[i]->sale)->paid, (uintptr_t)r->paid[i]))
            return false;
    return true;
}

static const char *finish_sale(struct sale *sale)
{
    struct stock stock = stock_load(&sale->stock);
    const struct books *row = &sale->books;
    uint32_t sold = sold_now(&sale->sold).units;
    if (stock.available != row->available || stock.waiting != row->waiting || sold != row->sold ||
        sale->terms.product_qty - stock.available - sold != row->held)
        return "a sale's counters are not those of its orders";
    sale->sold_read = sold;
    if (sold == sale->terms.product_qty)
        stock_set_sold_out(&sale->stock);
    /* The process may have died between sale.ended and the last order.cleared. */
    sale->clearing = stock.state == SALE_ENDED || sale->sold_out_logged;
    view_publish(sale);
    return NULL;
}

const char *engine_restore_done(struct restore *restore)
{
    const char *wrong = restore_lists(restore) ? NULL : "out of memory";
    for (uint32_t i = 0; wrong == NULL && i < engine_sale_count(restore->engine); i++)
        wrong = finish_sale(engine_sale_at(restore->engine, i));
    free(restore->held);
    free(restore->paid);
    restore->held = restore->paid = NULL;
    return wrong;
}
