/*
 * reconcile_orders.c: compares each order's row and committed memory with the events.
 *
 * A page of rows at a time: compare_order() compares a row and the order's memory with the replay, or keeps as a
 * sample what is younger than the replay; catch_up() then replays the events that follow, as far as there are
 * samples, and compares each sample when the replay reaches its seq.
 *
 * Thread: reconciler. In: the replay up to S. Out: what differs, by reconcile_differs(). Fails: as
 * reconcile_pass.h says.
 */
#include <stdlib.h>
#include <string.h>

#include "persist/reconcile_pass.h"

/* ---- rows and memory ---- */

/* Compares row and memory (NULL: younger than the replay) with `word`, which is what the events say. */
static void compare_sides(struct replay *r, const struct sale *sale, const struct sample *row,
                          const struct sample *memory, uint64_t word)
{
    const uint64_t seq = word >> 8;
    const uint8_t flags = (uint8_t)word;
    bool states = (row != NULL && state_in(row->flags) != state_in(flags)) ||
                  (memory != NULL && state_in(memory->flags) != state_in(flags));
    if (states)
        reconcile_differs(r->run, sale, seq, "an order's state",
                          memory != NULL ? order_state_text(memory->flags) : NULL,
                          row != NULL ? order_state_text(row->flags) : NULL,
                          order_state_text(flags));
    else
        replay_compare(r, sale, seq, "the last seq of an order",
                       memory != NULL ? &memory->seq : NULL, row != NULL ? &row->seq : NULL, seq);
    if (row != NULL && !states && ((row->flags ^ flags) & REFUND_BIT) != 0)
        reconcile_differs(r->run, sale, seq, "an order's refund_due", NULL,
                          (row->flags & REFUND_BIT) != 0 ? "1" : "0",
                          (flags & REFUND_BIT) != 0 ? "1" : "0");
}

static void compare_sample(struct replay *r, const struct sale *sale, const struct sample *sample)
{
    compare_sides(r, sale, sample->in_memory ? NULL : sample, sample->in_memory ? sample : NULL,
                  r->orders[sample->order_seq]);
}

/* Reports orders that the events have and the tables do not, up to the next row. */
static void find_lost_rows(struct replay *r, uint64_t before_seq)
{
    for (uint64_t seq = r->row_seq + 1; seq < before_seq; seq++) {
        const struct sale *sale = r->orders[seq] != 0 ? replay_sale_of(r, seq) : NULL;
        if (sale != NULL && !replay_told(r, sale)->broken)
            reconcile_differs(r->run, sale, r->orders[seq] >> 8, "an order's row", "there",
                              "missing", order_state_name(state_in(r->orders[seq])));
    }
    r->row_seq = before_seq;
}

static bool same_facts(const struct replay *r, const struct order *order, sqlite3_stmt *row)
{
    const char *buyer = (const char *)sqlite3_column_text(row, 2);
    return buyer != NULL && sqlite3_column_bytes(row, 2) == order->name_bytes &&
           memcmp(buyer, order->name, order->name_bytes) == 0 &&
           number_at(row, 3) == order->quantity &&
           number_at(row, 1) == engine_sale_at(r->engine, order->sale)->seq &&
           number_at(row, 7) == id_tag(r->engine->options.hash, order->seq);
}

/* The sample; or NULL when it is younger than the replay: then it is kept for catch_up(). */
static const struct sample *unless_younger(struct replay *r, const struct sample *sample)
{
    if (sample->seq < r->next_seq)
        return sample;
    r->samples[r->sample_count++] = *sample;
    return NULL;
}

static void compare_order(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0);
    find_lost_rows(r, seq);
    const struct order *order = seqmap_order(&r->engine->seqmap, seq);
    const struct sale *sale = order != NULL ? engine_sale_at(r->engine, order->sale)
                                            : seqmap_sale(&r->engine->seqmap, number_at(row, 1));
    if (sale != NULL && replay_told(r, sale)->broken)
        return;
    uint64_t word = r->orders[seq];
    if (order == NULL || word == 0) {
        reconcile_differs(r->run, sale, seq, "an order", order != NULL ? "there" : "missing",
                          "there", word != 0 ? "there" : "missing");
        return;
    }
    if (!same_facts(r, order, row))
        reconcile_differs(r->run, sale, seq, "an order's id, sale, buyer or quantity", NULL,
                          "others", NULL);
    uint64_t committed = atomic_load_explicit(&order->committed, memory_order_acquire);
    uint64_t state = number_at(row, 4);
    const struct sample in_row = {
        .seq = at_most(number_at(row, 6), UINT64_MAX - 1), /* below catch_up()'s UINT64_MAX */
        .order_seq = seq,
        .flags = (uint8_t)((state < ORDER_STATE_COUNT ? state : 0xf) |
                           (number_at(row, 5) != 0 ? REFUND_BIT : 0))};
    const struct sample in_memory = {.seq = order_committed_seq(committed),
                                     .order_seq = seq,
                                     .flags = (uint8_t)order_committed_state(committed),
                                     .in_memory = true};
    compare_sides(r, sale, unless_younger(r, &in_row), unless_younger(r, &in_memory), word);
    reconcile_order(r->run, order);
}

/* ---- what moved meanwhile ---- */

static int by_seq(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* Compares the samples from before this event, which no event has led to. */
static void pass_samples(struct replay *r, uint64_t before_seq)
{
    for (; r->sample_next < r->sample_count && r->samples[r->sample_next].seq < before_seq;
         r->sample_next++) {
        const struct sample *s = &r->samples[r->sample_next];
        const struct sale *sale = replay_sale_of(r, s->order_seq);
        if (!replay_told(r, sale)->broken)
            compare_sample(r, sale, s);
    }
}

static void take_later_event(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), kind = number_at(row, 1), order_seq = number_at(row, 3);
    if (!replay_is_decided(r, seq))
        return; /* the next run's */
    pass_samples(r, seq);
    r->next_seq = seq + 1;
    if (kind >= EVENT_KIND_COUNT || order_seq == 0 || order_seq > r->run->seq ||
        r->orders[order_seq] == 0)
        return; /* a sale's event, or an order's that is younger than S: the next run's */
    const struct sale *sale = replay_sale_of(r, order_seq);
    uint64_t *word = &r->orders[order_seq];
    if (sale == NULL || replay_told(r, sale)->broken)
        return;
    uint8_t flags = flags_after((enum event_kind)kind);
    if (!order_move_allowed(state_in(*word), state_in(flags)))
        replay_break(r, sale, seq, "an order makes a move that its states do not have",
                     seqmap_order(&r->engine->seqmap, order_seq),
                     event_row((enum event_kind)kind)->wire_name);
    *word = order_word(seq, flags);
    while (r->sample_next < r->sample_count && r->samples[r->sample_next].seq == seq &&
           r->samples[r->sample_next].order_seq == order_seq)
        compare_sample(r, sale, &r->samples[r->sample_next++]);
}

/* A sample was committed, so the events up to its seq are there. Then waits until readers' memory has come as far: it
 * must not be behind the replay when the next page is compared. */
static bool catch_up(struct replay *r)
{
    qsort(r->samples, r->sample_count, sizeof *r->samples, by_seq);
    uint64_t last = r->sample_count > 0 ? r->samples[r->sample_count - 1].seq : 0;
    while (r->failure == NULL && r->next_seq <= last &&
           replay_page(r, STMT_EVENTS, r->next_seq, take_later_event) == PAGE_ROWS)
        ;
    if (r->failure == NULL)
        pass_samples(r, UINT64_MAX);
    r->sample_count = r->sample_next = 0;
    return r->failure == NULL && reconcile_committed(r->run, r->next_seq - 1);
}

/* Reports an order's row with a seq that no decision has had yet, or an event that should be gone. */
static void take_stray(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0);
    bool of_order = number_at(row, 2) != 0;
    if (of_order && sqlite3_column_int64(row, 0) > 0 && replay_is_decided(r, seq))
        return; /* the next run's */
    const struct sale *sale = seqmap_sale(&r->engine->seqmap, number_at(row, 1));
    /* At S, since its own seq is no place among the events. */
    reconcile_differs(r->run, sale, r->run->seq,
                      of_order ? "an order that nobody has decided"
                               : "an event from before the first",
                      NULL, "there", "missing");
}

bool replay_orders(struct replay *r)
{
    uint32_t count = PAGE_ROWS;
    while (count == PAGE_ROWS) {
        if (!catch_up(r))
            return false;
        count = replay_page(r, STMT_ORDERS, r->row_seq, compare_order);
    }
    if (!catch_up(r))
        return false;
    find_lost_rows(r, r->run->seq + 1);
    (void)replay_page(r, STMT_STRAYS, log_last_claimed(&r->engine->log), take_stray);
    return r->failure == NULL;
}
