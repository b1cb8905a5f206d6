/*
 * recovery.c: rows, then the baseline, then events, then the comparison (see recovery.h).
 *
 * The replay keeps an order's state in order->logged, where the journal goes on with it, and a
 * sale's counters in books of its own, which must end up equal to the row's.
 *
 * Thread: main, before any other runs.
 */
#include "persist/recovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/payload.h"
#include "engine/restore.h"
#include "persist/baseline.h"
#include "persist/row.h"

/* What the events say of a sale so far. */
struct replayed {
    struct books books;
    uint64_t digest; /* of its orders as of the baseline, less the baseline's: must be 0 */
};

struct pass {
    struct restore restore;
    struct recovery *found;
    struct replayed *sales; /* by index */
    uint64_t next_seq;
    uint64_t settled; /* orders whose last event has come, or lies up to the baseline */
    /* Orders in payment with an expires_at_ms that is not that of their hold. Told last: the cause may be the row of
     * their sale, or another time of theirs, which the events name. */
    uint64_t held_wrong;
    uint64_t made;     /* sum of made_digest() of the rows, less that of the events: must be 0 */
    const char *wrong; /* the first check that failed; static */
    uint64_t wrong_seq;
};

typedef const char *take_row(struct pass *pass, sqlite3_stmt *row);

/* Runs a query and gives each row to take(). False: the pass or SQLite failed. */
static bool each_row(sqlite3 *db, const char *sql, take_row *take, struct pass *pass)
{
    sqlite3_stmt *rows = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    if (rc == SQLITE_OK)
        rc = SQLITE_ROW;
    while (rc == SQLITE_ROW && pass->wrong == NULL && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        pass->wrong = take(pass, rows);
        if (pass->wrong != NULL && pass->wrong_seq == 0)
            pass->wrong_seq = number_at(rows, 0);
    }
    sqlite3_finalize(rows);
    return pass->wrong == NULL && rc == SQLITE_DONE;
}

static const char sales_sql[] =
    "SELECT seq, name, product_qty, max_per_buyer, waitlist_max, hold_ms, starts_at_ms, ends_at_ms,"
    " state, sold_out, available, held, sold, waiting, last_seq, tag FROM sale_rows ORDER BY seq";

/* Whether the numbers in columns from … to fit into 32 bits. */
static bool are_counts(sqlite3_stmt *row, int from, int to)
{
    for (int i = from; i <= to; i++)
        if (number_at(row, i) > UINT32_MAX)
            return false;
    return true;
}

/* Whether it lies after the file's last event; a negative one does, too. */
static bool is_ahead(const struct pass *pass, uint64_t seq)
{
    return seq > pass->restore.engine->options.last_seq;
}

static const char *take_sale(struct pass *pass, sqlite3_stmt *row)
{
    struct sale_record record = {.seq = number_at(row, 0),
                                 .terms = {.product_qty = (uint32_t)number_at(row, 2),
                                           .max_per_buyer = (uint32_t)number_at(row, 3),
                                           .waitlist_max = (uint32_t)number_at(row, 4),
                                           .hold_ms = (uint32_t)number_at(row, 5),
                                           .starts_at_ms = sqlite3_column_int64(row, 6),
                                           .ends_at_ms = sqlite3_column_int64(row, 7)},
                                 .books = {.seq = number_at(row, 14),
                                           .product_qty = (uint32_t)number_at(row, 2),
                                           .available = (uint32_t)number_at(row, 10),
                                           .held = (uint32_t)number_at(row, 11),
                                           .sold = (uint32_t)number_at(row, 12),
                                           .waiting = (uint32_t)number_at(row, 13),
                                           .state = (uint8_t)number_at(row, 8),
                                           .sold_out = number_at(row, 9) != 0}};
    const char *name = (const char *)sqlite3_column_text(row, 1);
    if (sqlite3_column_type(row, 1) != SQLITE_TEXT || name == NULL ||
        strnlen(name, sizeof record.terms.name) != (size_t)sqlite3_column_bytes(row, 1) ||
        !are_numbers(row, 0, 0) || !are_numbers(row, 2, 15) ||
        number_at(row, 8) >= SALE_STATE_COUNT || number_at(row, 9) > 1 || !are_counts(row, 2, 5) ||
        !are_counts(row, 10, 13) || record.terms.product_qty > PRODUCT_QTY_MAX || record.seq == 0)
        return "a sale's row is malformed";
    if (is_ahead(pass, record.seq))
        return "a sale's row is ahead of the events (G4)";
    if (number_at(row, 15) != id_tag(pass->restore.engine->options.hash, record.seq))
        return "a sale's tag is not its id's";
    snprintf(record.terms.name, sizeof record.terms.name, "%s", name);
    pass->found->sales++;
    return engine_restore_sale(&pass->restore, &record);
}

static bool have_sales(struct pass *pass)
{
    pass->sales = calloc(engine_sale_count(pass->restore.engine) + 1, sizeof *pass->sales);
    if (pass->sales == NULL)
        pass->wrong = "out of memory";
    return pass->sales != NULL;
}

static const char *take_baseline_sale(struct pass *pass, sqlite3_stmt *row)
{
    const struct baseline_sale base = baseline_sale_of(row);
    const struct engine *engine = pass->restore.engine;
    const struct sale *sale = seqmap_sale(&engine->seqmap, base.seq);
    if (sale == NULL || base.books.seq > pass->found->baseline)
        return "the baseline names a sale that is not there";
    if (base.terms != baseline_terms(engine->options.hash, sale->seq, &sale->terms))
        return "a sale's row has other terms than the baseline (G4)";
    pass->sales[sale->index] = (struct replayed){base.books, 0 - base.digest};
    return NULL;
}

static const char orders_sql[] = BASELINE_ORDER_ROWS " ORDER BY o.seq";

/* An order from before the baseline: the replay begins with what it was then. */
static const char *take_old_order(struct pass *pass, sqlite3_stmt *row, const struct order_row *now,
                                  struct order *order)
{
    struct order_row old = *now;
    const char *wrong = baseline_order_of(row, pass->found->baseline, &old);
    if (wrong != NULL)
        return wrong;
    pass->sales[order->sale].digest += baseline_digest(pass->restore.engine->options.hash, &old);
    pass->settled += now->last_seq <= pass->found->baseline;
    order->logged = (uint8_t)old.state;
    return NULL;
}

/* When an order was made, which memory does not keep. */
static uint64_t made_digest(const struct pass *pass, uint64_t seq, int64_t at_ms)
{
    const uint64_t message[] = {seq, (uint64_t)at_ms};
    return pass->restore.engine->options.hash(message, sizeof message);
}

/* A waiting order has no event but its first, and one has an expires_at_ms from when it is in payment. */
static bool fits_its_state(const struct order_row *row)
{
    bool none = row->expires_at_ms == NO_EXPIRY;
    if (row->state == ORDER_WAITING && row->last_seq != row->seq)
        return false;
    return row->state == ORDER_CANCELLED ||
           none == (row->state == ORDER_WAITING || row->state == ORDER_CLEARED);
}

static const char *take_order(struct pass *pass, sqlite3_stmt *statement)
{
    struct order_row row;
    if (!order_row_of(statement, &row) || row.seq == 0 || !fits_its_state(&row))
        return "an order's row is malformed";
    if (is_ahead(pass, row.seq) || is_ahead(pass, row.last_seq))
        return "an order's row is ahead of the events (G4)";
    const struct order_record record = {.seq = row.seq,
                                        .last_seq = row.last_seq,
                                        .sale_seq = row.sale_seq,
                                        .name = row.name,
                                        .name_bytes = (uint8_t)row.name_bytes,
                                        .quantity = (uint32_t)row.quantity,
                                        .state = row.state,
                                        .refund_due = row.refund_due,
                                        .changed_at_ms = row.updated_at_ms,
                                        .expires_at_ms =
                                            row.expires_at_ms == NO_EXPIRY ? 0 : row.expires_at_ms};
    if (row.tag != id_tag(pass->restore.engine->options.hash, row.seq))
        return "an order's tag is not its id's";
    pass->found->orders++;
    pass->found->waiting += row.state == ORDER_WAITING;
    pass->found->held += row.state == ORDER_PAYMENT;
    const char *wrong = engine_restore_order(&pass->restore, &record);
    if (wrong != NULL)
        return wrong;
    struct order *order = seqmap_order(&pass->restore.engine->seqmap, row.seq);
    uint32_t hold_ms = engine_sale_at(pass->restore.engine, order->sale)->terms.hold_ms;
    if (row.state == ORDER_PAYMENT && row.expires_at_ms != row.updated_at_ms + hold_ms)
        pass->held_wrong++;
    if (row.seq <= pass->found->baseline)
        return take_old_order(pass, statement, &row, order);
    pass->made += made_digest(pass, row.seq, row.created_at_ms);
    order->logged = ORDER_NONE; /* its first event is still to be replayed */
    return NULL;
}

static const char *take_stray(struct pass *pass, sqlite3_stmt *row)
{
    (void)pass, (void)row;
    return "the baseline names an order that is not there";
}

/* The rows, and the replay's books and orders as of the baseline. */
static bool take_rows(sqlite3 *db, struct pass *pass)
{
    if (!each_row(db, sales_sql, take_sale, pass) || !have_sales(pass) ||
        !each_row(db, baseline_sales_sql, take_baseline_sale, pass) ||
        !each_row(db, orders_sql, take_order, pass) ||
        !each_row(db, baseline_strays_sql, take_stray, pass))
        return false;
    for (uint32_t i = 0; i < engine_sale_count(pass->restore.engine) && pass->wrong == NULL; i++)
        if (pass->sales[i].digest != 0) {
            pass->wrong = "a sale's orders are not those of the removed events (G4)";
            pass->wrong_seq = pass->found->baseline;
        }
    return pass->wrong == NULL;
}

static const char events_sql[] =
    "SELECT seq, kind, sale, ord, payload FROM event_rows ORDER BY seq";

/* One event of an order, at the replay's. */
struct step {
    uint64_t seq;
    enum event_kind kind;
    enum order_state from;
    int64_t at_ms;
};

/* An order has expires_at_ms from when it is first in payment. That of one that still is was checked by take_order(),
 * since memory has another if it lies too far off (engine/restore.c). */
static bool is_expiry_right(const struct order *order, const struct step *step,
                            const struct sale *sale)
{
    uint64_t row = atomic_load_explicit(&order->committed, memory_order_relaxed);
    int64_t expires_at_ms = atomic_load_explicit(&order->expires_at_ms, memory_order_relaxed);
    if (order_committed_state(row) == ORDER_PAYMENT)
        return true;
    if (order->logged == ORDER_PAYMENT)
        return expires_at_ms == step->at_ms + sale->terms.hold_ms;
    bool never_held = order->logged == ORDER_WAITING || step->from == ORDER_WAITING;
    return step->seq != order_committed_seq(row) || !never_held || expires_at_ms == 0;
}

/* The row must be as its last event left it. Counts the order as settled when that event has come. */
static const char *compare_order(struct pass *pass, const struct order *order,
                                 const struct step *step, const struct sale *sale)
{
    uint64_t row = atomic_load_explicit(&order->committed, memory_order_relaxed);
    if (step->seq > order_committed_seq(row))
        return "an order's row is older than its events (G4)";
    if (!is_expiry_right(order, step, sale))
        return "an order's expires_at_ms is not what its events say (G4)";
    if (step->seq < order_committed_seq(row))
        return NULL;
    pass->settled++;
    bool same = order->logged == order_committed_state(row) &&
                order->refund_due == (step->kind == EVENT_ORDER_REFUND_DUE) &&
                atomic_load_explicit(&order->changed_at_ms, memory_order_relaxed) == step->at_ms;
    return same ? NULL : "an order's row is not what its events say (G4)";
}

/* What a row says of terms, buyer and units must be what the event that made it says. */
static bool is_as_made(const struct pass *pass, sqlite3_stmt *row, struct sale *sale,
                       struct order *order)
{
    const struct event event = {.sale = sale, .order = order, .kind = (uint8_t)number_at(row, 1)};
    if (number_at(row, 0) != (order != NULL ? order->seq : sale->seq))
        return true; /* it made neither */
    const char *json = (const char *)sqlite3_column_text(row, 4);
    return json != NULL && payload_has_facts(json, (size_t)sqlite3_column_bytes(row, 4), &event,
                                             pass->restore.engine->options.hash);
}

/* Moves the order on by one event. */
static const char *move_order(struct pass *pass, sqlite3_stmt *row, const struct sale *sale,
                              struct order *order, struct books_entry *entry)
{
    struct step step = {.seq = entry->seq, .kind = entry->kind};
    const char *json = (const char *)sqlite3_column_text(row, 4);
    if (json == NULL || !payload_time(json, (size_t)sqlite3_column_bytes(row, 4), &step.at_ms))
        return "an event's payload is malformed";
    if (order->sale != sale->index)
        return "an order's row names another sale than its event (G4)";
    step.from = entry->from = (enum order_state)order->logged;
    entry->quantity = order->quantity;
    order->logged = (uint8_t)event_row(entry->kind)->state_after;
    if (order->seq == entry->seq)
        pass->made -= made_digest(pass, order->seq, step.at_ms);
    return compare_order(pass, order, &step, sale);
}

static const char *take_event(struct pass *pass, sqlite3_stmt *row)
{
    const struct seqmap *map = &pass->restore.engine->seqmap;
    uint64_t seq = number_at(row, 0), kind = number_at(row, 1), order_seq = number_at(row, 3);
    struct sale *sale = seqmap_sale(map, number_at(row, 2));
    if (seq != pass->next_seq) {
        pass->wrong_seq = pass->next_seq;
        return seq < pass->next_seq ? "a seq stands twice, or should have been removed (G5)"
                                    : "the run of seqs has a gap (G5)";
    }
    pass->next_seq++;
    pass->found->events++;
    if (kind >= EVENT_KIND_COUNT || sale == NULL)
        return "an event's row is malformed";
    bool of_order = event_is_of_order((enum event_kind)kind);
    struct order *order = of_order ? seqmap_order(map, order_seq) : NULL;
    if (of_order && order == NULL)
        return "an event without its order's row (G4)";
    if (!is_as_made(pass, row, sale, order))
        return "a row is not what the event that made it says (G4)";
    struct books_entry entry = {seq, (enum event_kind)kind, ORDER_NONE, 0, sale->terms.product_qty};
    const char *wrong = order != NULL ? move_order(pass, row, sale, order, &entry) : NULL;
    return wrong != NULL ? wrong : books_apply(&pass->sales[sale->index].books, entry);
}

static const char *compare_sales(struct pass *pass)
{
    for (uint32_t i = 0; i < engine_sale_count(pass->restore.engine); i++) {
        const struct books *row = &engine_sale_at(pass->restore.engine, i)->books;
        const struct books *replay = &pass->sales[i].books;
        if (row->seq != replay->seq || row->available != replay->available ||
            row->held != replay->held || row->sold != replay->sold ||
            row->waiting != replay->waiting || row->state != replay->state ||
            row->sold_out != replay->sold_out) {
            pass->wrong_seq = row->seq > replay->seq ? replay->seq + 1 : row->seq;
            return "a sale's row is not what its events say (G4)";
        }
    }
    return NULL;
}

static bool replay_events(sqlite3 *db, struct pass *pass)
{
    if (!each_row(db, events_sql, take_event, pass))
        return false;
    pass->wrong = compare_sales(pass);
    if (pass->wrong == NULL && pass->settled != pass->found->orders) {
        pass->wrong = "an order's row has no event that made it so (G4)";
        pass->wrong_seq = pass->next_seq;
    } else if (pass->wrong == NULL && pass->made != 0) {
        pass->wrong = "an order's created_at_ms is not its first event's (G4)";
    } else if (pass->wrong == NULL && pass->held_wrong != 0) {
        pass->wrong = "an order's expires_at_ms is not that of its hold (G4)";
    }
    return pass->wrong == NULL;
}

bool recover(sqlite3 *db, struct engine *engine, struct now now, struct recovery *found,
             char *error, size_t error_bytes)
{
    struct pass pass = {.restore = {.engine = engine, .now = now}, .found = found};
    *found = (struct recovery){0};
    bool ok = baseline_seq(db, &found->baseline, &pass.wrong);
    pass.next_seq = found->baseline + 1;
    ok = ok && take_rows(db, &pass) && replay_events(db, &pass);
    const char *unfinished = engine_restore_done(&pass.restore); /* also frees, so always */
    free(pass.sales);
    if (ok && unfinished != NULL)
        pass.wrong = unfinished;
    if (ok && unfinished == NULL)
        return true;
    found->wrong_seq = pass.wrong_seq;
    snprintf(error, error_bytes, "recovery of %s failed: %s (seq %llu)",
             sqlite3_db_filename(db, "main"), pass.wrong != NULL ? pass.wrong : sqlite3_errmsg(db),
             (unsigned long long)pass.wrong_seq);
    return false;
}
