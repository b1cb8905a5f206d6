/*
 * retention.c: one step: read, fold into the baseline, remove, commit (see retention.h).
 *
 * The baseline's sales are kept in memory, and those that a step changes are written once per step; its orders are
 * looked up in the file. Memory is ahead of the file only within a step, and a step that fails ends retention.
 *
 * Thread: the writer.
 */
#include "persist/retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bounds.h"
#include "engine/diag.h"
#include "engine/payload.h"
#include "engine/sale.h"
#include "persist/baseline.h"
#include "persist/row.h"

enum { CLOCK_EVERY_EVENTS = 16, TELL_EVERY_MS = 10 * 60 * 1000 };

enum statement {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_READ,
    STMT_FIND_LISTED,
    STMT_LIST_ORDER,
    STMT_UNLIST_ORDER,
    STMT_SAVE_SALE,
    STMT_SAVE_SEQ,
    STMT_REMOVE_EVENTS,
    STMT_REMOVE_PUBLICATIONS,
    STMT_COUNT
};

static const char *const statements[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_READ] =
        "SELECT e.seq, e.kind, e.sale, e.ord, e.created_at_ms, e.payload, o.buyer,"
        " o.quantity, o.created_at_ms, o.expires_at_ms, o.last_seq, s.product_qty,"
        " s.max_per_buyer, s.waitlist_max, s.hold_ms, s.starts_at_ms, s.ends_at_ms, s.name"
        " FROM event_rows e"
        " LEFT JOIN order_rows o ON o.seq = e.ord LEFT JOIN sale_rows s ON s.seq = e.sale"
        " WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2",
    [STMT_FIND_LISTED] = "SELECT state, refund_due, updated_at_ms, last_seq FROM baseline_orders"
                         " WHERE seq = ?1",
    [STMT_LIST_ORDER] =
        "INSERT OR REPLACE INTO baseline_orders(seq, state, refund_due, updated_at_ms, last_seq)"
        " VALUES(?1, ?2, ?3, ?4, ?5)",
    [STMT_UNLIST_ORDER] = "DELETE FROM baseline_orders WHERE seq = ?1",
    [STMT_SAVE_SALE] =
        ("INSERT OR REPLACE INTO baseline_sales(seq, state, sold_out, available, held,"
         " sold, waiting, last_seq, terms, digest)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"),
    [STMT_SAVE_SEQ] = "UPDATE baseline SET seq = ?1",
    [STMT_REMOVE_EVENTS] = "DELETE FROM event_rows WHERE seq <= ?1",
    [STMT_REMOVE_PUBLICATIONS] = "DELETE FROM publications WHERE up_to_seq <= ?1",
};

struct retention {
    sqlite3 *db;
    keyed_hash *hash;
    int64_t keep_ms;
    struct retention_gate *gate;
    int64_t looked_mono_ms;      /* the last time */
    bool more;                   /* and it left something to do */
    uint64_t baseline;           /* events up to here are gone */
    uint64_t removed;            /* since the last line on stderr … */
    int64_t told_mono_ms;        /* … and when that was written; 0: none yet */
    bool stopped;                /* an event did not replay */
    struct baseline_sale *sales; /* by seq */
    uint32_t sale_count, sale_room;
    uint64_t step_from;                      /* the baseline before this step … */
    uint32_t touched[RETENTION_STEP_EVENTS]; /* … and the sales that it changes, by index */
    uint32_t touched_count;
    struct sale *sale; /* room for one of each, to compare payloads with */
    struct order *order;
    sqlite3_stmt *statements[STMT_COUNT];
};

/* One event that is about to be removed. */
struct leaving {
    uint64_t seq;
    enum event_kind kind;
    int64_t at_ms;
    const char *payload; /* borrowed from the statement, as is the buyer's name */
    size_t payload_bytes;
    struct order_row order;  /* its seq is 0 for a sale's event; as of no event: see fold() */
    int64_t expires_at_ms;   /* as its row has it … */
    uint64_t row_seq;        /* … and its last event */
    struct sale_terms terms; /* the name for sale.created only */
};

/* ---- opening ---- */

static bool add_sale(struct retention *r, struct baseline_sale sale)
{
    if (r->sale_count == r->sale_room) {
        uint32_t room = r->sale_room == 0 ? 64 : r->sale_room * 2;
        struct baseline_sale *grown = realloc(r->sales, room * sizeof *grown);
        if (grown == NULL)
            return false;
        r->sales = grown;
        r->sale_room = room;
    }
    r->sales[r->sale_count++] = sale;
    return true;
}

static bool load(struct retention *r)
{
    sqlite3_stmt *rows = NULL;
    int rc = SQLITE_ERROR;
    const char *wrong;
    if (baseline_seq(r->db, &r->baseline, &wrong) &&
        sqlite3_prepare_v2(r->db, baseline_sales_sql, -1, &rows, NULL) == SQLITE_OK)
        while ((rc = sqlite3_step(rows)) == SQLITE_ROW && add_sale(r, baseline_sale_of(rows)))
            ;
    sqlite3_finalize(rows);
    for (int i = 0; i < STMT_COUNT && rc == SQLITE_DONE; i++)
        if (sqlite3_prepare_v3(r->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &r->statements[i], NULL) != SQLITE_OK)
            rc = SQLITE_ERROR;
    return rc == SQLITE_DONE;
}

struct retention *retention_new(sqlite3 *db, keyed_hash *hash, int64_t keep_ms,
                                struct retention_gate *gate)
{
    struct retention *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->db = db;
    r->hash = hash;
    r->keep_ms = keep_ms;
    r->gate = gate;
    r->sale = sale_new();
    r->order = calloc(1, sizeof *r->order + BUYER_NAME_BYTES_MAX);
    if (r->sale != NULL && r->order != NULL && load(r))
        return r;
    retention_free(r);
    return NULL;
}

void retention_free(struct retention *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(r->statements[i]);
    if (r->sale != NULL)
        sale_free(r->sale);
    free(r->order);
    free(r->sales);
    free(r);
}

bool retention_is_behind(const struct retention *r)
{
    return r->more;
}

/* ---- folding one event ---- */

static bool run_for(sqlite3_stmt *statement, uint64_t seq)
{
    (void)sqlite3_bind_int64(statement, 1, (sqlite3_int64)seq);
    return statement_run(statement);
}

static int by_seq(const void *key, const void *element)
{
    uint64_t seq = *(const uint64_t *)key, other = ((const struct baseline_sale *)element)->seq;
    return (seq > other) - (seq < other);
}

/* Sales are made in the order of their seqs, so a new one comes last. */
static struct baseline_sale *sale_of(struct retention *r, const struct leaving *e)
{
    if (e->kind == EVENT_SALE_CREATED) {
        bool fits = r->sale_count == 0 || r->sales[r->sale_count - 1].seq < e->seq;
        const uint64_t terms = baseline_terms(r->hash, e->seq, &e->terms);
        bool added = fits && add_sale(r, (struct baseline_sale){.seq = e->seq, .terms = terms});
        return added ? &r->sales[r->sale_count - 1] : NULL;
    }
    if (r->sale_count == 0)
        return NULL;
    return bsearch(&e->order.sale_seq, r->sales, r->sale_count, sizeof *r->sales, by_seq);
}

/* The order as of the event before, if it was made by then. False: the baseline does not have it; *ok as fold()'s. */
static bool find_before(struct retention *r, const struct leaving *e, struct order_row *before,
                        bool *ok)
{
    *before = e->order;
    if (e->order.seq == e->seq)
        return true; /* ORDER_NONE */
    sqlite3_stmt *find = r->statements[STMT_FIND_LISTED];
    (void)sqlite3_bind_int64(find, 1, (sqlite3_int64)e->order.seq);
    int rc = sqlite3_step(find);
    if (rc == SQLITE_ROW) {
        before->state = (enum order_state)(number_at(find, 0) & 0xf);
        before->refund_due = number_at(find, 1) != 0;
        before->updated_at_ms = sqlite3_column_int64(find, 2);
        before->last_seq = number_at(find, 3);
        before->expires_at_ms = before->state == ORDER_WAITING ? NO_EXPIRY : e->expires_at_ms;
    }
    (void)sqlite3_reset(find);
    *ok = rc == SQLITE_ROW || rc == SQLITE_DONE;
    return rc == SQLITE_ROW;
}

/* The order as of the event, by what the event says. */
static struct order_row after(const struct leaving *e, const struct order_row *before)
{
    struct order_row order = *before;
    order.state = event_row(e->kind)->state_after;
    order.refund_due = e->kind == EVENT_ORDER_REFUND_DUE;
    order.updated_at_ms = e->at_ms;
    order.last_seq = e->seq;
    if (order.seq == e->seq)
        order.created_at_ms = e->at_ms;
    if (order.state == ORDER_PAYMENT)
        order.expires_at_ms = e->at_ms + e->terms.hold_ms;
    return order;
}

/* Lists the order as baseline.h says. moves: it has events that are not removed yet. */
static bool list_order(struct retention *r, const struct order_row *order, bool new, bool moves)
{
    sqlite3_stmt *list = r->statements[STMT_LIST_ORDER];
    if (!baseline_is_open(order->state) && !(order->state == ORDER_EXPIRED && moves))
        return new || run_for(r->statements[STMT_UNLIST_ORDER], order->seq);
    (void)sqlite3_bind_int(list, 2, (int)order->state);
    (void)sqlite3_bind_int(list, 3, order->refund_due);
    (void)sqlite3_bind_int64(list, 4, order->updated_at_ms);
    (void)sqlite3_bind_int64(list, 5, (sqlite3_int64)order->last_seq);
    return run_for(list, order->seq);
}

/* Whether the event, if it made a sale or an order, says of what never changes there what its row says. After it, only
 * the row and the digests do. */
static bool is_as_made(struct retention *r, const struct leaving *e)
{
    struct event event = {.seq = e->seq, .sale = r->sale, .kind = (uint8_t)e->kind};
    const struct order_row *order = &e->order;
    if (e->seq != (order->seq != 0 ? order->seq : order->sale_seq))
        return true;
    if (order->name_bytes > BUYER_NAME_BYTES_MAX || order->quantity > PRODUCT_QTY_MAX)
        return false;
    id_write(r->sale->id, order->sale_seq, id_tag(r->hash, order->sale_seq));
    if (e->kind == EVENT_SALE_CREATED)
        r->sale->terms = e->terms;
    if (order->seq != 0) {
        event.order = r->order;
        r->order->seq = order->seq;
        r->order->quantity = (uint32_t)order->quantity;
        r->order->name_bytes = (uint8_t)order->name_bytes;
        memcpy(r->order->name, order->name, order->name_bytes);
    }
    return payload_has_facts(e->payload, e->payload_bytes, &event, r->hash);
}

/* NULL, or why it does not replay. *ok: SQLite did not fail. */
static const char *fold(struct retention *r, const struct leaving *e, bool *ok)
{
    struct baseline_sale *sale = sale_of(r, e);
    struct order_row was = {.state = ORDER_NONE};
    if (sale == NULL)
        return "its sale is not in the baseline";
    if (e->order.seq != 0 && !find_before(r, e, &was, ok))
        return "its order is not in the baseline";
    if (!is_as_made(r, e))
        return "a row is not what the event that made it says";
    if (sale->books.seq <= r->step_from)
        r->touched[r->touched_count++] = (uint32_t)(sale - r->sales);
    const struct books_entry entry = {e->seq, e->kind, was.state, (uint32_t)e->order.quantity,
                                      e->terms.product_qty};
    const char *wrong = books_apply(&sale->books, entry);
    if (wrong != NULL || e->order.seq == 0)
        return wrong;
    const struct order_row is = after(e, &was);
    sale->digest += baseline_digest(r->hash, &is);
    sale->digest -= was.state != ORDER_NONE ? baseline_digest(r->hash, &was) : 0;
    *ok = list_order(r, &is, was.state == ORDER_NONE, e->row_seq > e->seq);
    return NULL;
}

/* ---- a step ---- */

static bool read_terms(sqlite3_stmt *row, struct leaving *e)
{
    const char *name = (const char *)sqlite3_column_text(row, 17);
    e->terms.product_qty = count_at(row, 11);
    e->terms.max_per_buyer = count_at(row, 12);
    e->terms.waitlist_max = count_at(row, 13);
    e->terms.hold_ms = count_at(row, 14);
    e->terms.starts_at_ms = sqlite3_column_int64(row, 15);
    e->terms.ends_at_ms = sqlite3_column_int64(row, 16);
    if (e->kind == EVENT_SALE_CREATED && name != NULL)
        snprintf(e->terms.name, sizeof e->terms.name, "%s", name);
    return name != NULL;
}

static bool read_row(sqlite3_stmt *row, struct leaving *e)
{
    uint64_t kind = number_at(row, 1);
    if (kind >= EVENT_KIND_COUNT || sqlite3_column_type(row, 5) != SQLITE_TEXT)
        return false;
    e->payload = (const char *)sqlite3_column_text(row, 5);
    e->payload_bytes = (size_t)sqlite3_column_bytes(row, 5);
    e->seq = number_at(row, 0);
    e->kind = (enum event_kind)kind;
    e->order = (struct order_row){.seq = number_at(row, 3),
                                  .sale_seq = number_at(row, 2),
                                  .name = (const char *)sqlite3_column_text(row, 6),
                                  .name_bytes = (size_t)sqlite3_column_bytes(row, 6),
                                  .quantity = number_at(row, 7),
                                  .created_at_ms = sqlite3_column_int64(row, 8),
                                  .expires_at_ms = NO_EXPIRY};
    e->expires_at_ms = expiry_at(row, 9);
    e->row_seq = number_at(row, 10);
    return read_terms(row, e) && payload_time(e->payload, e->payload_bytes, &e->at_ms) &&
           (event_is_of_order(e->kind) ? e->order.name != NULL : e->order.seq == 0);
}

static int64_t clock_us(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

/* Whether the event is published and old enough to be removed. */
static bool is_due(const struct leaving *e, sqlite3_stmt *row, uint64_t published,
                   int64_t cutoff_ms)
{
    return e->seq <= published && sqlite3_column_int64(row, 4) < cutoff_ms;
}

/* Folds what is due, within the step's bounds; reaching one sets r->more. Returns how many events, -1 when SQLite
 * failed. Sets r->stopped when an event does not replay. */
static int fold_due(struct retention *r, uint64_t published, int64_t cutoff_ms)
{
    sqlite3_stmt *read = r->statements[STMT_READ];
    int64_t end_us = clock_us() + RETENTION_STEP_US;
    int count = 0, rc = SQLITE_DONE;
    bool ok = true;
    (void)sqlite3_bind_int64(read, 1, (sqlite3_int64)r->baseline);
    (void)sqlite3_bind_int(read, 2, RETENTION_STEP_EVENTS);
    while (ok && (rc = sqlite3_step(read)) == SQLITE_ROW) {
        struct leaving e;
        if (!read_row(read, &e) || e.seq != r->baseline + 1) {
            diag(DIAG_ERROR, "retention stops: the event after seq %llu is malformed or missing",
                 (unsigned long long)r->baseline);
            r->stopped = true;
            break;
        }
        if (!is_due(&e, read, published, cutoff_ms))
            break;
        const char *wrong = fold(r, &e, &ok);
        if (wrong != NULL) {
            diag(DIAG_ERROR, "retention stops at seq %llu: %s", (unsigned long long)e.seq, wrong);
            r->stopped = true;
            break;
        }
        r->baseline = e.seq;
        count++;
        r->more = count == RETENTION_STEP_EVENTS ||
                  (count % CLOCK_EVERY_EVENTS == 0 && clock_us() >= end_us);
        if (r->more)
            break;
    }
    (void)sqlite3_reset(read);
    return ok && (rc == SQLITE_ROW || rc == SQLITE_DONE) ? count : -1;
}

static bool save_sale(struct retention *r, const struct baseline_sale *sale)
{
    sqlite3_stmt *save = r->statements[STMT_SAVE_SALE];
    const struct books *books = &sale->books;
    (void)sqlite3_bind_int(save, 2, books->state);
    (void)sqlite3_bind_int(save, 3, books->sold_out);
    (void)sqlite3_bind_int64(save, 4, books->available);
    (void)sqlite3_bind_int64(save, 5, books->held);
    (void)sqlite3_bind_int64(save, 6, books->sold);
    (void)sqlite3_bind_int64(save, 7, books->waiting);
    (void)sqlite3_bind_int64(save, 8, (sqlite3_int64)books->seq);
    (void)sqlite3_bind_int64(save, 9, (sqlite3_int64)sale->terms);
    (void)sqlite3_bind_int64(save, 10, (sqlite3_int64)sale->digest);
    return run_for(save, sale->seq);
}

static bool write_baseline(struct retention *r)
{
    for (uint32_t i = 0; i < r->touched_count; i++)
        if (!save_sale(r, &r->sales[r->touched[i]]))
            return false;
    return run_for(r->statements[STMT_SAVE_SEQ], r->baseline) && sqlite3_changes(r->db) == 1 &&
           run_for(r->statements[STMT_REMOVE_EVENTS], r->baseline) &&
           run_for(r->statements[STMT_REMOVE_PUBLICATIONS], r->baseline);
}

/* Between transactions only, which SQLite enforces. */
static bool sync_commits(struct retention *r, bool on)
{
    return sqlite3_exec(r->db, on ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL,
                        NULL, NULL) == SQLITE_OK;
}

/* fold_due() and what it leads to, in one transaction; returns the same. */
static int step(struct retention *r, uint64_t published, int64_t cutoff_ms)
{
    int rc = sqlite3_step(r->statements[STMT_BEGIN]);
    (void)sqlite3_reset(r->statements[STMT_BEGIN]);
    if (rc != SQLITE_DONE)
        return rc == SQLITE_BUSY ? 0 : -1; /* another connection writes: try later */
    r->step_from = r->baseline;
    r->touched_count = 0;
    int count = fold_due(r, published, cutoff_ms);
    if (count == 0 || r->stopped) {
        r->baseline = r->step_from;
        return statement_run(r->statements[STMT_ROLLBACK]) ? 0 : -1;
    }
    return count > 0 && write_baseline(r) && statement_run(r->statements[STMT_COMMIT]) ? count : -1;
}

/* step() without a sync of its commit; does nothing while another thread reads what it would remove. */
static int step_unsynced(struct retention *r, uint64_t published, int64_t cutoff_ms)
{
    if (!retention_gate_take(r->gate)) {
        r->more = true;
        return 0;
    }
    int count = sync_commits(r, false) ? step(r, published, cutoff_ms) : -1;
    retention_gate_give_back(r->gate);
    return sync_commits(r, true) ? count : -1;
}

/* Looks without a write transaction, since most looks find nothing to do. */
static bool oldest_is_due(struct retention *r, uint64_t published, int64_t cutoff_ms)
{
    sqlite3_stmt *read = r->statements[STMT_READ];
    struct leaving e;
    (void)sqlite3_bind_int64(read, 1, (sqlite3_int64)r->baseline);
    (void)sqlite3_bind_int(read, 2, 1);
    bool due = sqlite3_step(read) == SQLITE_ROW &&
               (!read_row(read, &e) || is_due(&e, read, published, cutoff_ms));
    (void)sqlite3_reset(read);
    return due;
}

/* Called when retention has caught up; a line at most every TELL_EVERY_MS, since events grow old every second. */
static void tell(struct retention *r, int64_t mono_ms)
{
    if (r->removed == 0 || (r->told_mono_ms != 0 && mono_ms - r->told_mono_ms < TELL_EVERY_MS))
        return;
    diag(DIAG_INFO, "retention removed %llu events, up to seq %llu", (unsigned long long)r->removed,
         (unsigned long long)r->baseline);
    r->removed = 0;
    r->told_mono_ms = mono_ms;
}

static int64_t pause_of(const struct retention *r, bool busy)
{
    if (!r->more)
        return RETENTION_LOOK_MS;
    return busy ? RETENTION_BUSY_MS : RETENTION_IDLE_MS;
}

int64_t retention_step(struct retention *r, uint64_t published, struct now now, bool busy)
{
    int64_t due_mono_ms = r->looked_mono_ms + pause_of(r, busy);
    int count = 0;
    if (r->stopped || now.mono_ms < due_mono_ms)
        return r->stopped ? RETENTION_LOOK_MS : due_mono_ms - now.mono_ms;
    r->looked_mono_ms = now.mono_ms;
    r->more = false;
    int64_t cutoff_ms = now.wall_ms - r->keep_ms;
    if (oldest_is_due(r, published, cutoff_ms))
        count = step_unsynced(r, published, cutoff_ms);
    if (count < 0)
        return -1;
    r->removed += (uint64_t)count;
    if (!r->more)
        tell(r, now.mono_ms);
    return pause_of(r, busy);
}
