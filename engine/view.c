/*
 * view.c: the journal's writes and the readers' copies (see view.h).
 *
 * Ordering: a sale's counters are versioned words (versioned.h). Everything else is a single atomic word or an append
 * (rows.h).
 */
#include "engine/view.h"

#include "engine/versioned.h"

enum { WORD_BITS = 64 };

void view_publish(struct sale *sale)
{
    const struct books *b = &sale->books;
    uint32_t sold = b->sold + (FAULT(FAULT_FLIP_COUNTER) && sale->index == 0 && b->sold > 2);
    const struct tide *t = &sale->tide;
    const uint64_t words[VIEW_WORDS] = {b->seq,
                                        (uint64_t)b->available << 32 | b->held,
                                        (uint64_t)sold << 32 | b->waiting,
                                        (uint64_t)b->state << 1 | b->sold_out,
                                        (uint64_t)t->available << 32 | t->waiting,
                                        (uint64_t)t->sold << 32 | t->turns};
    versioned_write(&sale->view_version, sale->view_words, words, VIEW_WORDS);
}

static inline struct books books_of(const struct sale *sale, const uint64_t *words)
{
    return (struct books){.seq = words[0],
                          .product_qty = sale->terms.product_qty,
                          .available = (uint32_t)(words[1] >> 32),
                          .held = (uint32_t)words[1],
                          .sold = (uint32_t)(words[2] >> 32),
                          .waiting = (uint32_t)words[2],
                          .state = (uint8_t)(words[3] >> 1),
                          .sold_out = (words[3] & 1) != 0};
}

struct books view_sale(const struct sale *sale)
{
    uint64_t words[VIEW_BOOKS_WORDS];
    versioned_read(&sale->view_version, sale->view_words, words, VIEW_BOOKS_WORDS);
    return books_of(sale, words);
}

struct books view_tide(const struct sale *sale, struct tide *tide)
{
    uint64_t words[VIEW_WORDS];
    versioned_read(&sale->view_version, sale->view_words, words, VIEW_WORDS);
    *tide = (struct tide){.available = (uint32_t)(words[4] >> 32),
                          .waiting = (uint32_t)words[4],
                          .sold = (uint32_t)(words[5] >> 32),
                          .turns = (uint32_t)words[5]};
    return books_of(sale, words);
}

static bool join_queue(struct sale *sale, struct order *order)
{
    uint32_t ticket = sale->tickets;
    if (ticket % WORD_BITS == 0 && !rows_append(&sale->waiting_bits, 0))
        return false;
    sale->tickets++;
    order->ticket = ticket;
    atomic_fetch_or_explicit(rows_at(&sale->waiting_bits, ticket / WORD_BITS),
                             1ULL << ticket % WORD_BITS, memory_order_release);
    return true;
}

static void leave_queue(struct sale *sale, const struct order *order)
{
    uint64_t ticket = order->ticket;
    atomic_fetch_and_explicit(rows_at(&sale->waiting_bits, ticket / WORD_BITS),
                              ~(1ULL << ticket % WORD_BITS), memory_order_release);
    uint64_t first = atomic_load_explicit(&sale->waiting_first, memory_order_relaxed);
    while (first < sale->tickets &&
           (rows_get(&sale->waiting_bits, first / WORD_BITS) >> first % WORD_BITS & 1) == 0)
        first++;
    atomic_store_explicit(&sale->waiting_first, first, memory_order_release);
}

bool view_apply(const struct event *event)
{
    struct order *order = event->order;
    if (order == NULL)
        return true;
    uint64_t seen = atomic_load_explicit(&order->committed, memory_order_relaxed);
    enum order_state from = order_committed_state(seen);
    enum order_state to = event_row((enum event_kind)event->kind)->state_after;
    if (to == ORDER_WAITING && !join_queue(event->sale, order))
        return false;
    if (from == ORDER_WAITING)
        leave_queue(event->sale, order);
    if (to == ORDER_PAYMENT)
        atomic_store_explicit(&order->expires_at_ms, event->at_wall_ms + event->sale->terms.hold_ms,
                              memory_order_relaxed);
    bool marred = to == ORDER_PAID && event->sale->index == 0;
    if (FAULT(FAULT_FLIP_STATE) && marred)
        atomic_store_explicit(&order->state, ORDER_CANCELLED, memory_order_release);
    if (FAULT(FAULT_FLIP_ORDER) && marred)
        to = ORDER_CANCELLED;
    atomic_store_explicit(&order->changed_at_ms, event->at_wall_ms, memory_order_relaxed);
    /* After changed_at_ms: a reader that finds the order in `paid` finds its time (release in rows_append()). */
    if (to == ORDER_PAID && !rows_append(&event->sale->paid, (uintptr_t)order))
        return false;
    STEP("view-paid");
    atomic_store_explicit(&order->committed, order_committed_pack(event->seq, to),
                          memory_order_release);
    return true;
}

uint32_t view_position(const struct sale *sale, const struct order *order)
{
    uint64_t committed = atomic_load_explicit(&order->committed, memory_order_acquire);
    if (order_committed_state(committed) != ORDER_WAITING)
        return 0;
    uint64_t first = atomic_load_explicit(&sale->waiting_first, memory_order_acquire);
    uint32_t ahead = 0;
    for (uint64_t word = first / WORD_BITS; word < order->ticket / WORD_BITS; word++)
        ahead += (uint32_t)__builtin_popcountll(rows_get(&sale->waiting_bits, word));
    uint64_t own = rows_get(&sale->waiting_bits, order->ticket / WORD_BITS);
    uint64_t below = (1ULL << order->ticket % WORD_BITS) - 1;
    return ahead + (uint32_t)__builtin_popcountll(own & below) + 1;
}
