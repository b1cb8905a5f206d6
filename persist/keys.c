/*
 * keys.c: see keys.h.
 *
 * Thread: main at start, then the writer. In: answers from the journal. Out: rows; at a start, the engine's
 * table. Fails: a row that is malformed, or ahead of the events, ends recovery with a line, as in recovery.c; the
 * row of a purchase whose order is not there is skipped, since its answer can't be repeated.
 */
#include "persist/keys.h"

#include <stdio.h>

#include "engine/engine.h"
#include "persist/database.h"
#include "persist/row.h"

enum {
    REMOVE_EVERY = 64,
    REMOVE_COUNT = 2 * REMOVE_EVERY,
    CLOCK_STEP_MS = 3600 * 1000 /* step of the wall clock, back, for which the audit allows */
};

/* The columns that a seal covers, in this order; the seal's own comes after them. */
#define SEALED_COLUMNS "tag, body, kind, outcome, state, seq, value"
enum { SEALED = 7 };

static uint64_t seal_of(keyed_hash *hash, const uint64_t columns[SEALED])
{
    return hash(columns, SEALED * sizeof *columns);
}

bool key_rows_prepare(struct key_rows *rows, sqlite3 *db)
{
    static const char add[] =
        "INSERT INTO key_rows(tag, body, kind, outcome, state, seq, value, asked_at_ms, seal)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    /* Looks at the ?1 oldest rows only. A row from the far future, written while the clock was wrong, counts as old as
     * well: else the rows behind it would stay until then. */
    static const char remove_old[] =
        "DELETE FROM key_rows WHERE id IN (SELECT id FROM (SELECT id, asked_at_ms"
        " FROM key_rows ORDER BY id LIMIT ?1) WHERE asked_at_ms < ?2 OR asked_at_ms > ?3)";
    return sqlite3_prepare_v3(db, add, -1, SQLITE_PREPARE_PERSISTENT, &rows->add, NULL) ==
               SQLITE_OK &&
           sqlite3_prepare_v3(db, remove_old, -1, SQLITE_PREPARE_PERSISTENT, &rows->remove_old,
                              NULL) == SQLITE_OK;
}

void key_rows_finalize(struct key_rows *rows)
{
    sqlite3_finalize(rows->add);
    sqlite3_finalize(rows->remove_old);
}

static bool remove_old(struct key_rows *rows, int64_t now_wall_ms)
{
    (void)sqlite3_bind_int(rows->remove_old, 1, REMOVE_COUNT);
    (void)sqlite3_bind_int64(rows->remove_old, 2, now_wall_ms - KEY_KEEP_MS);
    (void)sqlite3_bind_int64(rows->remove_old, 3, now_wall_ms + KEY_KEEP_MS);
    return statement_run(rows->remove_old);
}

bool key_rows_add(struct key_rows *rows, const struct kept *kept, struct now now, keyed_hash *hash)
{
    int64_t asked_wall_ms = now.wall_ms - (now.mono_ms - kept->asked_mono_ms);
    const uint64_t columns[SEALED] = {kept->tag,   kept->body, kept->kind,           kept->outcome,
                                      kept->state, kept->seq,  (uint64_t)kept->value};
    for (int i = 0; i < SEALED; i++)
        (void)sqlite3_bind_int64(rows->add, i + 1, (sqlite3_int64)columns[i]);
    (void)sqlite3_bind_int64(rows->add, SEALED + 1, asked_wall_ms);
    (void)sqlite3_bind_int64(rows->add, SEALED + 2, (sqlite3_int64)seal_of(hash, columns));
    return statement_run(rows->add) &&
           (++rows->added % REMOVE_EVERY != 0 || remove_old(rows, now.wall_ms));
}

/* ---- recovery ---- */

static struct kept kept_of(sqlite3_stmt *row)
{
    return (struct kept){.tag = number_at(row, 0),
                         .body = number_at(row, 1),
                         .kind = (uint8_t)sqlite3_column_int(row, 2),
                         .outcome = (uint8_t)sqlite3_column_int(row, 3),
                         .state = (uint8_t)sqlite3_column_int(row, 4),
                         .seq = number_at(row, 5),
                         .value = sqlite3_column_int64(row, 6)};
}

static bool is_sealed(keyed_hash *hash, sqlite3_stmt *row)
{
    uint64_t columns[SEALED];
    for (int i = 0; i < SEALED; i++)
        columns[i] = number_at(row, i);
    return are_numbers(row, 0, SEALED) && number_at(row, SEALED) == seal_of(hash, columns);
}

static bool is_purchase(const struct kept *kept)
{
    return kept->kind == COMMAND_BUY && kept->outcome == OUTCOME_CREATED;
}

/* Whether a worker could have answered so, and render_kept() in net/ can thus repeat it. */
static bool is_answer(const struct kept *kept)
{
    if (kept->tag != key_tag(kept->tag) || kept->outcome >= OUTCOME_COUNT ||
        kept->state >= ORDER_STATE_COUNT)
        return false;
    if (outcome_row((enum outcome)kept->outcome)->http_status >= 400)
        return true;
    if (kept->kind == COMMAND_BUY)
        return is_purchase(kept) && (kept->state == ORDER_WAITING || kept->state == ORDER_PAYMENT);
    return kept->outcome == OUTCOME_DONE &&
           (kept->kind == COMMAND_PAY || kept->kind == COMMAND_CANCEL);
}

/* NULL, or what is wrong; static. */
static const char *wrong_with(const struct kept *kept, uint64_t last_seq)
{
    if (!is_answer(kept))
        return "a key's row is malformed";
    return kept->seq > last_seq ? "a key's row is ahead of the events (G3)" : NULL;
}

static const char not_sealed[] = "a key's row is not what was written there (G3)";

/* NULL, or what is wrong; static. */
static const char *restore(struct engine *engine, sqlite3_stmt *row, struct now now,
                           uint64_t *count)
{
    const struct kept kept = kept_of(row);
    const char *wrong = wrong_with(&kept, engine->options.last_seq);
    if (wrong != NULL)
        return wrong;
    if (!is_sealed(engine->options.hash, row))
        return not_sealed;
    if (is_purchase(&kept) && seqmap_order(&engine->seqmap, kept.seq) == NULL)
        return NULL;
    ++*count;
    return keys_restore(&engine->keys, &kept, now,
                        now.wall_ms - sqlite3_column_int64(row, SEALED + 1))
               ? NULL
               : "the keys of the last 24 hours do not fit; raise --idempotency-keys";
}

/* The newest first: if a clock that was set back makes an old answer under a key seem young, the later answer
 * still counts. */
bool keys_recover(sqlite3 *db, struct engine *engine, struct now now, uint64_t *count, char *error,
                  size_t error_bytes)
{
    static const char sql[] = "SELECT " SEALED_COLUMNS ", seal, asked_at_ms FROM key_rows"
                              " WHERE asked_at_ms >= ?1 ORDER BY id DESC";
    sqlite3_stmt *rows = NULL;
    const char *wrong = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    *count = 0;
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rows, 1, now.wall_ms - KEY_KEEP_MS);
    if (rc == SQLITE_OK)
        while (wrong == NULL && (rc = sqlite3_step(rows)) == SQLITE_ROW)
            wrong = restore(engine, rows, now, count);
    sqlite3_finalize(rows);
    if (wrong == NULL && rc == SQLITE_DONE)
        return true;
    snprintf(error, error_bytes, "recovery of %s failed: %s", sqlite3_db_filename(db, "main"),
             wrong != NULL ? wrong : sqlite3_errmsg(db));
    return false;
}

/* ---- audit ---- */

/* The seq in the first row of a query, or 0 when it has none; UINT64_MAX when it fails. */
static uint64_t first_seq(sqlite3 *db, const char *sql, const int *numbers, int count)
{
    sqlite3_stmt *rows = NULL;
    uint64_t seq = UINT64_MAX;
    if (sqlite3_prepare_v2(db, sql, -1, &rows, NULL) != SQLITE_OK)
        return seq;
    for (int i = 0; i < count; i++)
        (void)sqlite3_bind_int(rows, i + 1, numbers[i]);
    int rc = sqlite3_step(rows);
    if (rc == SQLITE_ROW)
        seq = number_at(rows, 0);
    else if (rc == SQLITE_DONE)
        seq = 0;
    sqlite3_finalize(rows);
    return seq;
}

/* The seq of a kept success that no event explains, among the events that retention has left; else as first_seq(). */
static uint64_t seq_without_its_event(sqlite3 *db)
{
    static const char sql[] =
        "SELECT k.seq FROM key_rows k LEFT JOIN event_rows e ON e.seq = k.seq"
        " WHERE k.outcome IN (?1, ?2) AND k.seq >= (SELECT coalesce(min(seq), 0) FROM event_rows)"
        " AND NOT coalesce((k.kind = ?3 AND e.kind IN (?4, ?5)) OR (k.kind = ?6 AND e.kind = ?7)"
        " OR (k.kind = ?8 AND e.kind = ?9), 0) ORDER BY k.seq LIMIT 1";
    static const int numbers[] = {OUTCOME_DONE,         OUTCOME_CREATED,    COMMAND_BUY,
                                  EVENT_ORDER_RESERVED, EVENT_ORDER_QUEUED, COMMAND_PAY,
                                  EVENT_ORDER_PAID,     COMMAND_CANCEL,     EVENT_ORDER_CANCELLED};
    return first_seq(db, sql, numbers, sizeof numbers / sizeof *numbers);
}

static uint64_t seq_answered_twice(sqlite3 *db)
{
    /* From row to row of a key, since a key may be used again once it has been forgotten. The server forgets it by the
     * monotonic clock, but rows have the wall clock's time, and that clock may have been set back. */
    static const char sql[] = "SELECT seq FROM (SELECT seq, asked_at_ms - lag(asked_at_ms) OVER "
                              "(PARTITION BY tag ORDER BY id) AS apart"
                              " FROM key_rows) WHERE apart BETWEEN -?1 AND ?2 LIMIT 1";
    static const int numbers[] = {CLOCK_STEP_MS, KEY_KEEP_MS - CLOCK_STEP_MS};
    return first_seq(db, sql, numbers, 2);
}

/* NULL, or what is wrong with a row by itself; *seq: that row's, UINT64_MAX when the rows cannot be read. *changed: the
 * seq in the first row that looks right and is not what was written there, 0 for none. */
static const char *wrong_row(sqlite3 *db, keyed_hash *hash, uint64_t *seq, uint64_t *changed)
{
    static const char sql[] = "SELECT " SEALED_COLUMNS ", seal FROM key_rows ORDER BY id";
    const uint64_t last_seq = database_last_seq(db);
    const char *wrong = NULL;
    sqlite3_stmt *rows = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &rows, NULL);
    *seq = UINT64_MAX;
    if (rc == SQLITE_OK)
        while (wrong == NULL && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
            const struct kept kept = kept_of(rows);
            wrong = wrong_with(&kept, last_seq);
            if (wrong != NULL)
                *seq = kept.seq < last_seq ? kept.seq : last_seq;
            else if (*changed == 0 && !is_sealed(hash, rows))
                *changed = kept.seq;
        }
    sqlite3_finalize(rows);
    return wrong == NULL && rc != SQLITE_DONE ? "the keys cannot be read" : wrong;
}

bool keys_audit(sqlite3 *db, keyed_hash *hash, uint64_t *wrong_seq, char *error, size_t error_bytes)
{
    uint64_t seq, changed = 0;
    const char *wrong = wrong_row(db, hash, &seq, &changed);
    if (wrong == NULL && (seq = seq_without_its_event(db)) != 0)
        wrong = "an answer was kept that no event made so (G3)";
    if (wrong == NULL && (seq = seq_answered_twice(db)) != 0)
        wrong = "a key has two answers (G3)";
    if (wrong == NULL && (seq = changed) != 0)
        wrong = not_sealed;
    if (wrong == NULL)
        return true;
    *wrong_seq = seq == UINT64_MAX ? 0 : seq;
    snprintf(error, error_bytes, "audit of %s failed: %s (seq %llu)",
             sqlite3_db_filename(db, "main"), seq == UINT64_MAX ? sqlite3_errmsg(db) : wrong,
             (unsigned long long)*wrong_seq);
    return false;
}
