/*
 * store.c: what the writing connection writes (see store.h).
 *
 * Happy path: begin, a row or two per event, one row per touched sale, commit (one fdatasync of the
 * WAL). Checkpoints run in pieces in the writer's idle moments (checkpoint.h), whole once the WAL has
 * CHECKPOINT_IDLE_PAGES, and at CHECKPOINT_FULL_PAGES whether idle or not, so that the WAL stays bounded. Old events are removed between
 * batches, in small transactions of their own (retention.h).
 *
 * Failure modes: SQLITE_FULL, SQLITE_IOERR at any step: the step returns false, the process stops.
 * Nothing is retried: after a failed fdatasync the outcome is unknown.
 *
 * Thread: main until the engine starts, then the writer.
 */
#include "persist/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "engine/diag.h"
#include "engine/now.h"
#include "engine/step.h"
#include "persist/checkpoint.h"
#include "persist/database.h"
#include "persist/keys.h"
#include "persist/retention.h"
#include "persist/row.h"

enum {
#ifdef FLASHD_SMALL /* see engine/bounds.h: many checkpoints in a short test */
    CHECKPOINT_IDLE_PAGES = 30,
    CHECKPOINT_REMOVING_PAGES = 30,
    CHECKPOINT_FULL_PAGES = 60,
#else
    CHECKPOINT_IDLE_PAGES = 1000,
    CHECKPOINT_REMOVING_PAGES = 250, /* idle between retention's steps: kept short */
    CHECKPOINT_FULL_PAGES = 2000,    /* 8 MiB */
#endif
    SPACE_POLL_MS = 200,
};

enum statement {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ADD_EVENT,
    STMT_ADD_ORDER,
    STMT_MOVE_ORDER,
    STMT_RESTORE_ORDER,
    STMT_LIST_ORDER,
    STMT_ADD_SALE,
    STMT_MOVE_SALE,
    STMT_PUBLISHED,
    STMT_COUNT
};

static const char *const statements[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ADD_EVENT] = "INSERT INTO event_rows(seq, kind, sale, ord, created_at_ms, payload)"
                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [STMT_ADD_ORDER] = "INSERT INTO order_rows(seq, tag, sale, buyer, quantity, state, refund_due,"
                       " created_at_ms, updated_at_ms, expires_at_ms, last_seq)"
                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, ?8, ?1)",
    [STMT_MOVE_ORDER] =
        "UPDATE order_rows SET state = ?2, refund_due = ?3, updated_at_ms = ?4,"
        " expires_at_ms = coalesce(?5, expires_at_ms), last_seq = ?6 WHERE seq = ?1",
    [STMT_RESTORE_ORDER] =
        "INSERT INTO order_rows(seq, tag, sale, buyer, quantity, state, refund_due, created_at_ms,"
        " updated_at_ms, expires_at_ms, last_seq) VALUES(?1, ?2, ?3, ?4, ?5, 0, 0,"
        " coalesce((SELECT created_at_ms FROM event_rows WHERE seq = ?1), ?6), ?6, ?7, ?1)",
    [STMT_LIST_ORDER] =
        "INSERT OR IGNORE INTO baseline_orders(seq, state, refund_due, updated_at_ms, last_seq)"
        " SELECT seq, state, refund_due, updated_at_ms, last_seq FROM order_rows"
        " WHERE seq = ?1 AND last_seq <= (SELECT seq FROM baseline)",
    [STMT_ADD_SALE] = "INSERT INTO sale_rows(seq, tag, name, product_qty, max_per_buyer,"
                      " waitlist_max, hold_ms, starts_at_ms, ends_at_ms, state, sold_out,"
                      " available, held, sold, waiting, last_seq)"
                      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, ?4, 0, 0, 0, ?1)",
    [STMT_MOVE_SALE] = "UPDATE sale_rows SET state = ?2, sold_out = ?3, available = ?4, held = ?5,"
                       " sold = ?6, waiting = ?7, last_seq = ?8 WHERE seq = ?1",
    [STMT_PUBLISHED] = "INSERT INTO publications(up_to_seq, at_ms) VALUES(?1, ?2)",
};

struct store {
    struct database base;
    sqlite3_stmt *statements[STMT_COUNT];
    struct key_rows key_rows;
    struct checkpointer checkpointer;
    uint64_t published;          /* the watermark in the file */
    struct retention *retention; /* NULL: every event is kept */
    struct retention_gate gate;
    int64_t space_checked_mono_ms;
    bool storage_full;
    uint64_t min_free_bytes;
    keyed_hash *hash;
};

/* ---- opening ---- */

static bool prepare(struct store *s, char *error, size_t bytes)
{
    for (int i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v3(s->base.db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &s->statements[i], NULL) != SQLITE_OK)
            return database_fail(s->base.db, "schema", error, bytes);
    return key_rows_prepare(&s->key_rows, s->base.db) ||
           database_fail(s->base.db, "schema", error, bytes);
}

struct store *store_open(const char *data_dir, uint64_t min_free_bytes, char *error,
                         size_t error_bytes)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    s->min_free_bytes = min_free_bytes;
    if (!database_open(&s->base, data_dir, error, error_bytes) ||
        !checkpoint_open(&s->checkpointer, s->base.db, data_dir, error, error_bytes) ||
        !prepare(s, error, error_bytes)) {
        store_close(s);
        return NULL;
    }
    return s;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    retention_free(s->retention);
    key_rows_finalize(&s->key_rows);
    checkpoint_close(&s->checkpointer);
    database_close(&s->base);
    free(s);
}

uint64_t store_last_seq(const struct store *s)
{
    return database_last_seq(s->base.db);
}

uint64_t store_published(const struct store *s)
{
    return database_published(s->base.db);
}

const unsigned char *store_key(const struct store *s)
{
    return s->base.key;
}

sqlite3 *store_db(struct store *s)
{
    return s->base.db;
}

/* ---- writing ---- */

static void bind_number(sqlite3_stmt *statement, int index, uint64_t number)
{
    (void)sqlite3_bind_int64(statement, index, (sqlite3_int64)number);
}

static bool begin(void *self)
{
    struct store *s = self;
    return statement_run(s->statements[STMT_BEGIN]);
}

static bool commit(void *self)
{
    struct store *s = self;
    return (statement_run(s->statements[STMT_COMMIT]) || FAULT(FAULT_IGNORE_SYNC_ERROR)) &&
           (s->checkpointer.wal_pages < CHECKPOINT_FULL_PAGES ||
            checkpoint_all(&s->checkpointer) == CHECKPOINT_DONE);
}

static bool tidy(void *self, bool busy, int64_t *sleep_ms)
{
    struct store *s = self;
    bool removing = s->retention != NULL && retention_is_behind(s->retention);
    /* Never a checkpoint and a step in one go: a purchase may have come in between. */
    int all_at_pages = removing ? CHECKPOINT_REMOVING_PAGES : CHECKPOINT_IDLE_PAGES;
    enum checkpointed checkpointed =
        busy ? CHECKPOINT_NONE : checkpoint_some(&s->checkpointer, all_at_pages);
    if (checkpointed != CHECKPOINT_NONE) {
        *sleep_ms = removing ? RETENTION_IDLE_MS : *sleep_ms;
        return checkpointed != CHECKPOINT_LOST;
    }
    if (s->retention == NULL)
        return true;
    int64_t again_ms = retention_step(s->retention, s->published, now_read(), busy);
    if (again_ms >= 0 && again_ms < *sleep_ms)
        *sleep_ms = again_ms;
    return again_ms >= 0;
}

static void bind_expiry(sqlite3_stmt *statement, int index, const struct event *event)
{
    if (event_row((enum event_kind)event->kind)->state_after == ORDER_PAYMENT)
        (void)sqlite3_bind_int64(statement, index, event->at_wall_ms + event->sale->terms.hold_ms);
    else
        (void)sqlite3_bind_null(statement, index);
}

static bool add_order(struct store *s, const struct event *event)
{
    const struct order *order = event->order;
    sqlite3_stmt *add = s->statements[STMT_ADD_ORDER];
    bind_number(add, 1, order->seq);
    bind_number(add, 2, id_tag(s->hash, order->seq));
    bind_number(add, 3, event->sale->seq);
    (void)sqlite3_bind_text(add, 4, order->name, order->name_bytes, SQLITE_STATIC);
    bind_number(add, 5, order->quantity);
    bind_number(add, 6, event_row((enum event_kind)event->kind)->state_after);
    (void)sqlite3_bind_int64(add, 7, event->at_wall_ms);
    bind_expiry(add, 8, event);
    return statement_run(add);
}

/* Somebody has removed the row. The order goes on, so a new row is added, which STMT_MOVE_ORDER completes: the
 * process, and with it every sale, must not end because of one row. */
static bool restore_order(struct store *s, const struct event *event)
{
    const struct order *order = event->order;
    sqlite3_stmt *add = s->statements[STMT_RESTORE_ORDER];
    int64_t expires = atomic_load_explicit(&order->expires_at_ms, memory_order_relaxed);
    diag(DIAG_ERROR, "the row of the order made at seq %llu is gone; it is written anew",
         (unsigned long long)order->seq);
    bind_number(add, 1, order->seq);
    bind_number(add, 2, id_tag(s->hash, order->seq));
    bind_number(add, 3, event->sale->seq);
    (void)sqlite3_bind_text(add, 4, order->name, order->name_bytes, SQLITE_STATIC);
    bind_number(add, 5, order->quantity);
    (void)sqlite3_bind_int64(add, 6, event->at_wall_ms);
    if (expires != 0)
        (void)sqlite3_bind_int64(add, 7, expires);
    else
        (void)sqlite3_bind_null(add, 7);
    return statement_run(add);
}

/* Before an order that was not open moves: the baseline needs what its row says, if that is all there is (baseline.h). */
static bool list_order(struct store *s, const struct order *order)
{
    sqlite3_stmt *list = s->statements[STMT_LIST_ORDER];
    bind_number(list, 1, order->seq);
    return statement_run(list);
}

static bool move_order(struct store *s, const struct event *event)
{
    sqlite3_stmt *move = s->statements[STMT_MOVE_ORDER];
    bind_number(move, 1, event->order->seq);
    bind_number(move, 2, event_row((enum event_kind)event->kind)->state_after);
    bind_number(move, 3, event->kind == EVENT_ORDER_REFUND_DUE);
    (void)sqlite3_bind_int64(move, 4, event->at_wall_ms);
    bind_expiry(move, 5, event);
    bind_number(move, 6, event->seq);
    return statement_run(move) &&
           (sqlite3_changes(s->base.db) == 1 || (restore_order(s, event) && statement_run(move)));
}

static bool add_sale(struct store *s, const struct sale *sale)
{
    const struct sale_terms *terms = &sale->terms;
    sqlite3_stmt *add = s->statements[STMT_ADD_SALE];
    bind_number(add, 1, sale->seq);
    bind_number(add, 2, id_tag(s->hash, sale->seq));
    (void)sqlite3_bind_text(add, 3, terms->name, -1, SQLITE_STATIC);
    bind_number(add, 4, terms->product_qty);
    bind_number(add, 5, terms->max_per_buyer);
    bind_number(add, 6, terms->waitlist_max);
    bind_number(add, 7, terms->hold_ms);
    (void)sqlite3_bind_int64(add, 8, terms->starts_at_ms);
    (void)sqlite3_bind_int64(add, 9, terms->ends_at_ms);
    return statement_run(add);
}

static bool append(void *self, const struct event *event, enum order_state from,
                   const char *payload, size_t payload_bytes)
{
    struct store *s = self;
    sqlite3_stmt *add = s->statements[STMT_ADD_EVENT];
    bind_number(add, 1, event->seq);
    bind_number(add, 2, event->kind);
    bind_number(add, 3, event->sale->seq);
    if (event->order != NULL)
        bind_number(add, 4, event->order->seq);
    else
        (void)sqlite3_bind_null(add, 4);
    (void)sqlite3_bind_int64(add, 5, event->at_wall_ms);
    (void)sqlite3_bind_text(add, 6, payload, (int)payload_bytes, SQLITE_STATIC);
    if (!statement_run(add))
        return false;
    if (event->kind == EVENT_SALE_CREATED)
        return add_sale(s, event->sale);
    if (event->order == NULL || (from != ORDER_NONE && FAULT(FAULT_STALE_TABLE)))
        return true;
    if (from == ORDER_NONE)
        return add_order(s, event);
    return (from != ORDER_EXPIRED || list_order(s, event->order)) && move_order(s, event);
}

static bool save_sale(void *self, const struct sale *sale)
{
    struct store *s = self;
    const struct books *books = &sale->books;
    sqlite3_stmt *move = s->statements[STMT_MOVE_SALE];
    bind_number(move, 1, sale->seq);
    bind_number(move, 2, books->state);
    bind_number(move, 3, books->sold_out);
    bind_number(move, 4, books->available);
    bind_number(move, 5, books->held);
    bind_number(move, 6, books->sold);
    bind_number(move, 7, books->waiting);
    bind_number(move, 8, books->seq);
    if (!statement_run(move))
        return false;
    if (sqlite3_changes(s->base.db) == 1)
        return true;
    diag(DIAG_ERROR, "the row of sale %s is gone; it is written anew",
         sale->id); /* see restore_order() */
    return add_sale(s, sale) && statement_run(move);
}

static bool keep(void *self, const struct kept *kept)
{
    struct store *s = self;
    return key_rows_add(&s->key_rows, kept, now_read(), s->hash);
}

static bool note_published(void *self, uint64_t seq, int64_t at_wall_ms)
{
    struct store *s = self;
    sqlite3_stmt *note = s->statements[STMT_PUBLISHED];
    s->published = seq;
    bind_number(note, 1, seq);
    (void)sqlite3_bind_int64(note, 2, at_wall_ms);
    return statement_run(note);
}

static bool storage_full(void *self)
{
    struct store *s = self;
    int64_t mono_ms = now_clock_ms(CLOCK_MONOTONIC_COARSE);
    if (s->space_checked_mono_ms != 0 && mono_ms - s->space_checked_mono_ms < SPACE_POLL_MS)
        return s->storage_full;
    s->space_checked_mono_ms = mono_ms;
    struct statvfs fs;
    bool full =
        statvfs(s->base.dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < s->min_free_bytes;
    if (full != s->storage_full)
        diag(DIAG_WARN, full ? "free space is below min-free-bytes: no new orders"
                             : "free space is back above min-free-bytes: new orders are taken");
    s->storage_full = full;
    return full;
}

static const char *error_text(void *self)
{
    return sqlite3_errmsg(((struct store *)self)->base.db);
}

struct retention_gate *store_retention_gate(struct store *s)
{
    return &s->gate;
}

bool store_retain(struct store *s, int64_t keep_ms)
{
    s->published = store_published(s);
    if (keep_ms > 0)
        s->retention = retention_new(s->base.db, s->hash, keep_ms, &s->gate);
    return keep_ms == 0 || s->retention != NULL;
}

struct journal_store store_journal(struct store *s, keyed_hash *hash)
{
    s->hash = hash;
    return (struct journal_store){.self = s,
                                  .begin = begin,
                                  .append = append,
                                  .save_sale = save_sale,
                                  .keep = keep,
                                  .commit = commit,
                                  .note_published = note_published,
                                  .tidy = tidy,
                                  .storage_full = storage_full,
                                  .error = error_text};
}
