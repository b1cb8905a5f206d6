/*
 * store.c: the writing connection (see store.h).
 *
 * Happy path: begin, a row or two per event, one row per touched sale, commit (one fdatasync of the
 * WAL). Checkpoints run in the writer's idle moments once the WAL has CHECKPOINT_IDLE_PAGES, and at
 * CHECKPOINT_FULL_PAGES whether idle or not, so that the WAL stays bounded. Old events are removed in small
 * transactions of their own, between those (retention.h).
 *
 * Failure modes: SQLITE_FULL, SQLITE_IOERR at any step: the step returns false, the process stops.
 * Nothing is retried: after a failed fdatasync the outcome is unknown.
 *
 * Thread: main until the engine starts, then the writer.
 */
#include "persist/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "engine/diag.h"
#include "engine/now.h"
#include "engine/step.h"
#include "persist/keys.h"
#include "persist/retention.h"
#include "persist/row.h"
#include "persist/schema.h"

enum {
#ifdef FLASHD_SMALL /* see engine/bounds.h: many checkpoints in a short test */
    CHECKPOINT_IDLE_PAGES = 30,
    CHECKPOINT_REMOVING_PAGES = 30,
    CHECKPOINT_FULL_PAGES = 60,
#else
    CHECKPOINT_IDLE_PAGES = 1000,
    CHECKPOINT_REMOVING_PAGES = 250, /* idle between retention's steps: nobody may wait long */
    CHECKPOINT_FULL_PAGES = 2000,    /* 8 MiB */
#endif
    SPACE_POLL_MS = 200,
    PATH_BYTES_MAX = 1024,
};

enum statement {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ADD_EVENT,
    STMT_ADD_ORDER,
    STMT_MOVE_ORDER,
    STMT_RESTORE_ORDER,
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
    [STMT_ADD_SALE] = "INSERT INTO sale_rows(seq, tag, name, product_qty, max_per_buyer,"
                      " waitlist_max, hold_ms, starts_at_ms, ends_at_ms, state, sold_out,"
                      " available, held, sold, waiting, last_seq)"
                      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, ?4, 0, 0, 0, ?1)",
    [STMT_MOVE_SALE] = "UPDATE sale_rows SET state = ?2, sold_out = ?3, available = ?4, held = ?5,"
                       " sold = ?6, waiting = ?7, last_seq = ?8 WHERE seq = ?1",
    [STMT_PUBLISHED] = "INSERT INTO publications(up_to_seq, at_ms) VALUES(?1, ?2)",
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[STMT_COUNT];
    struct key_rows key_rows;
    int lock_fd;
    int wal_pages;               /* in the WAL after the last commit */
    uint64_t published;          /* the watermark in the file */
    struct retention *retention; /* NULL: every event is kept */
    struct retention_gate gate;
    int64_t space_checked_mono_ms;
    bool storage_full;
    uint64_t min_free_bytes;
    keyed_hash *hash;
    unsigned char key[STORE_KEY_BYTES];
    char data_dir[PATH_BYTES_MAX];
};

/* ---- opening ---- */

static bool complain(char *error, size_t bytes, const char *what, const char *name, const char *why)
{
    snprintf(error, bytes, "%s %s: %s", what, name, why);
    return false;
}

/* Puts the names in a directory on the disk. dir/below; below may be "". Some file systems know no such sync, or
 * do not change (EINVAL, EROFS): they are as good as they get. */
static bool sync_directory(const char *dir, const char *below)
{
    char path[PATH_BYTES_MAX + 4];
    snprintf(path, sizeof path, "%s/%s", dir, below);
    if (FAULT(FAULT_FORGET_DIRECTORY))
        return true;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool synced = fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
    int why = errno;
    (void)close(fd);
    errno = why;
    return synced;
}

static bool lock_dir(struct store *s, char *error, size_t bytes)
{
    char path[PATH_BYTES_MAX + 16];
    if (mkdir(s->data_dir, 0700) != 0 && errno != EEXIST)
        return complain(error, bytes, "cannot create data directory", s->data_dir, strerror(errno));
    /* Also when it was there: who made it may have died before this. A parent that we may not read is for
     * who made it to sync. */
    if (!sync_directory(s->data_dir, "..") && errno != EACCES)
        return complain(error, bytes, "cannot sync the parent of", s->data_dir, strerror(errno));
    snprintf(path, sizeof path, "%s/flashd.lock", s->data_dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return complain(error, bytes, "cannot open", path, strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return complain(error, bytes, "data directory", s->data_dir,
                        "another flashd is using it (flashd.lock is held)");
    return true;
}

/* After a sync that failed, the kernel shows pages that the disk does not have and that it will not write. A new
 * commit behind such a place in the log is lost with it when the power fails; a checkpoint of it tears the
 * database. So what the last life has left of the log is synced, and then read from the disk alone. */
static bool reread_log(const struct store *s, char *error, size_t bytes)
{
    char path[PATH_BYTES_MAX + 16];
    snprintf(path, sizeof path, "%s/flashd.db-wal", s->data_dir);
    int fd = FAULT(FAULT_TRUST_CACHE) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true; /* none there; one that may not be read is SQLite's to complain about */
    bool synced = fsync(fd) == 0;
    int why = errno;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
    return synced || complain(error, bytes, "cannot sync", path, strerror(why));
}

static bool fail_db(sqlite3 *db, const char *check, char *error, size_t bytes)
{
    char what[64];
    snprintf(what, sizeof what, "database check \"%s\" failed for", check);
    return complain(error, bytes, what, sqlite3_db_filename(db, "main"), sqlite3_errmsg(db));
}

static int text_of_first_row(void *out, int columns, char **values, char **names)
{
    (void)names;
    if (columns > 0 && values[0] != NULL)
        snprintf(out, 256, "%s", values[0]);
    return 1; /* one row is enough */
}

/* quick_check walks every page of every b-tree: torn, truncated and overwritten pages show here. */
static bool check_file(sqlite3 *db, char *error, size_t bytes)
{
    char result[256] = "";
    int rc = sqlite3_exec(db, "PRAGMA quick_check(1)", text_of_first_row, result, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_ABORT)
        return fail_db(db, "quick_check", error, bytes);
    for (char *line = result; (line = strchr(line, '\n')) != NULL;)
        *line = ' ';
    if (strcmp(result, "ok") != 0)
        return complain(error, bytes, "database check \"quick_check\" failed for",
                        sqlite3_db_filename(db, "main"), result);
    return true;
}

static bool check_version(sqlite3 *db, char *error, size_t bytes)
{
    char version[256] = "";
    int rc = sqlite3_exec(db, "PRAGMA user_version", text_of_first_row, version, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_ABORT)
        return fail_db(db, "user_version", error, bytes);
    char known[16], tables[256] = "";
    snprintf(known, sizeof known, "%d", SCHEMA_VERSION);
    if (strcmp(version, known) == 0)
        return true;
    /* A file that is being made has neither a version nor a table. */
    if (strcmp(version, "0") == 0)
        (void)sqlite3_exec(db, "SELECT count(*) FROM sqlite_master", text_of_first_row, tables,
                           NULL);
    if (strcmp(tables, "0") == 0)
        return true;
    return complain(
        error, bytes, "database check \"user_version\" failed for", sqlite3_db_filename(db, "main"),
        strcmp(version, "0") == 0 ? "not made by flashd" : "made by another version of flashd");
}

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((struct store *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

static bool open_db(struct store *s, char *error, size_t bytes)
{
    char path[PATH_BYTES_MAX + 16];
    snprintf(path, sizeof path, "%s/flashd.db", s->data_dir);
    if (sqlite3_open_v2(path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return complain(error, bytes, "cannot open", path, sqlite3_errmsg(s->db));
    (void)sqlite3_busy_timeout(s->db, 2000); /* a reader's recovery of the WAL after a crash */
    if (sqlite3_exec(
            s->db,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;"
            /* Debian's default writes zeros over what is removed: pages that need no write. */
            "PRAGMA secure_delete=OFF;"
            /* 16 MiB, twice what is checkpointed at the latest: what a log has grown to behind a reader that
             * stayed is given back once it has gone. */
            "PRAGMA journal_size_limit=16777216;",
            NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(s->db, "open", error, bytes);
    if (FAULT(FAULT_COMMIT_WITHOUT_SYNC))
        (void)sqlite3_exec(s->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
    if (!check_version(s->db, error, bytes) || !check_file(s->db, error, bytes))
        return false;
    if (!schema_create(s->db))
        return fail_db(s->db, "schema", error, bytes);
    sqlite3_wal_hook(s->db, on_wal, s); /* also turns SQLite's own checkpoints off */
    return true;
}

/* Whether there is a row; *right: with a key in it. */
static bool find_key(sqlite3 *db, unsigned char key[STORE_KEY_BYTES], bool *right)
{
    sqlite3_stmt *find = NULL;
    bool found = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'hash_key'", -1, &find,
                                    NULL) == SQLITE_OK &&
                 sqlite3_step(find) == SQLITE_ROW;
    *right = found && sqlite3_column_bytes(find, 0) == STORE_KEY_BYTES;
    if (*right)
        memcpy(key, sqlite3_column_blob(find, 0), STORE_KEY_BYTES);
    sqlite3_finalize(find);
    return found;
}

bool store_key_of(sqlite3 *db, unsigned char key[STORE_KEY_BYTES])
{
    bool right;
    return find_key(db, key, &right) && right;
}

static bool load_key(struct store *s, char *error, size_t bytes)
{
    sqlite3_stmt *add = NULL;
    bool ok = false;
    bool found = find_key(s->db, s->key, &ok), lost = found && !ok;
    if (!found && getrandom(s->key, STORE_KEY_BYTES, 0) == STORE_KEY_BYTES &&
        sqlite3_prepare_v2(s->db,
                           "INSERT INTO meta(key, value) SELECT 'hash_key', ?1"
                           " WHERE NOT EXISTS (SELECT 1 FROM sale_rows)",
                           -1, &add, NULL) == SQLITE_OK) {
        sqlite3_bind_blob(add, 1, s->key, STORE_KEY_BYTES, SQLITE_STATIC);
        ok = sqlite3_step(add) == SQLITE_DONE;
        lost = ok && sqlite3_changes(s->db) == 0;
    }
    sqlite3_finalize(add);
    if (lost) /* with another one, every id that was given out would be void */
        return complain(error, bytes, "database check \"hash_key\" failed for",
                        sqlite3_db_filename(s->db, "main"), "the key of its ids is missing");
    return ok || fail_db(s->db, "hash_key", error, bytes);
}

static bool prepare(struct store *s, char *error, size_t bytes)
{
    for (int i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &s->statements[i], NULL) != SQLITE_OK)
            return fail_db(s->db, "schema", error, bytes);
    return key_rows_prepare(&s->key_rows, s->db) || fail_db(s->db, "schema", error, bytes);
}

/* The database and its log lie in the directory by now, until the end. SQLite has synced their names, but it
 * takes no notice when that fails. */
static bool sync_files(const struct store *s, char *error, size_t bytes)
{
    return sync_directory(s->data_dir, "") ||
           complain(error, bytes, "cannot sync", s->data_dir, strerror(errno));
}

struct store *store_open(const char *data_dir, uint64_t min_free_bytes, char *error,
                         size_t error_bytes)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    s->lock_fd = -1;
    s->min_free_bytes = min_free_bytes;
    snprintf(s->data_dir, sizeof s->data_dir, "%s", data_dir);
    if (!lock_dir(s, error, error_bytes) || !reread_log(s, error, error_bytes) ||
        !open_db(s, error, error_bytes) || !load_key(s, error, error_bytes) ||
        !prepare(s, error, error_bytes) || !sync_files(s, error, error_bytes)) {
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
    (void)sqlite3_close(s->db); /* the last connection's close checkpoints */
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    free(s);
}

const unsigned char *store_key(const struct store *s)
{
    return s->key;
}

sqlite3 *store_db(struct store *s)
{
    return s->db;
}

static uint64_t number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    uint64_t number = 0;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = number_at(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

uint64_t store_last_seq_of(sqlite3 *db)
{
    return number_of(db, "SELECT max(coalesce((SELECT max(seq) FROM event_rows), 0),"
                         " coalesce((SELECT seq FROM baseline), 0))");
}

uint64_t store_last_seq(const struct store *s)
{
    return store_last_seq_of(s->db);
}

uint64_t store_published(const struct store *s)
{
    return number_of(s->db, "SELECT max(coalesce((SELECT max(up_to_seq) FROM publications), 0),"
                            " coalesce((SELECT seq FROM baseline), 0))");
}

/* ---- a reader's snapshot ---- */

/* "file:" and the path as a URI has it, for a file that nobody changes. */
static void immutable_uri(const char *path, char uri[3 * PATH_BYTES_MAX + 96])
{
    size_t used = (size_t)snprintf(uri, 8, "file:");
    for (; *path != '\0'; path++) {
        bool plain = strchr("/._-", *path) != NULL || (*path >= '0' && *path <= '9') ||
                     (*path >= 'a' && *path <= 'z') || (*path >= 'A' && *path <= 'Z');
        used += (size_t)snprintf(uri + used, 4, plain ? "%c" : "%%%02X", (unsigned char)*path);
    }
    snprintf(uri + used, 16, "?immutable=1");
}

/* A directory in which we can make nothing: a read-only medium, a copy of another user's. SQLite has no place
 * there for what readers of a log share, nor does anybody write. With a log, it is read without locks; without,
 * SQLite is told that there is none. */
static int open_unshared(const char *path, sqlite3 **db)
{
    char uri[3 * PATH_BYTES_MAX + 96], log[PATH_BYTES_MAX + 24];
    struct stat found;
    snprintf(log, sizeof log, "%s-wal", path);
    if (stat(log, &found) != 0 || found.st_size == 0) {
        immutable_uri(path, uri);
        return sqlite3_open_v2(uri, db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    }
    int rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, "unix-none");
    return rc != SQLITE_OK ? rc
                           : sqlite3_exec(*db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
}

static bool begin_snapshot(sqlite3 *db)
{
    return sqlite3_busy_timeout(db, 2000) == SQLITE_OK &&
           sqlite3_exec(db, "PRAGMA cache_size=-8192; BEGIN; SELECT 1 FROM sqlite_master", NULL,
                        NULL, NULL) == SQLITE_OK;
}

sqlite3 *store_open_snapshot(const char *data_dir, char *error, size_t error_bytes)
{
    char path[PATH_BYTES_MAX + 16];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/flashd.db", data_dir);
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    bool begun = rc == SQLITE_OK && begin_snapshot(db);
    bool refused = sqlite3_errcode(db) == SQLITE_CANTOPEN || sqlite3_errcode(db) == SQLITE_READONLY;
    if (rc == SQLITE_OK && !begun && refused && access(data_dir, W_OK) != 0) {
        (void)sqlite3_close(db);
        rc = open_unshared(path, &db);
        begun = rc == SQLITE_OK && begin_snapshot(db);
    }
    if (rc != SQLITE_OK)
        (void)complain(error, error_bytes, "cannot open", path, sqlite3_errmsg(db));
    else if (!begun)
        (void)fail_db(db, "open", error, error_bytes);
    else if (check_version(db, error, error_bytes) && check_file(db, error, error_bytes))
        return db;
    (void)sqlite3_close(db);
    return NULL;
}

void store_close_snapshot(sqlite3 *db)
{
    (void)sqlite3_close(db);
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

static bool checkpoint(struct store *s)
{
    int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    s->wal_pages = 0;
    if (rc == SQLITE_OK || rc == SQLITE_BUSY)
        return true;
    diag(DIAG_ERROR, "checkpoint failed: %s", sqlite3_errmsg(s->db));
    return false;
}

static bool commit(void *self)
{
    struct store *s = self;
    return (statement_run(s->statements[STMT_COMMIT]) || FAULT(FAULT_IGNORE_SYNC_ERROR)) &&
           (s->wal_pages < CHECKPOINT_FULL_PAGES || checkpoint(s));
}

static bool tidy(void *self, bool busy, int64_t *sleep_ms)
{
    struct store *s = self;
    bool removing = s->retention != NULL && retention_is_behind(s->retention);
    /* Never a checkpoint and a step in one go: a purchase may have come in between. */
    if (!busy && s->wal_pages >= (removing ? CHECKPOINT_REMOVING_PAGES : CHECKPOINT_IDLE_PAGES)) {
        /* What failed here is tried again: the log is given up only once the database is synced. */
        (void)checkpoint(s);
        *sleep_ms = removing ? RETENTION_IDLE_MS : *sleep_ms;
        return true;
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

/* Somebody has removed the row. The order goes on, so it gets one again, which STMT_MOVE_ORDER completes: the
 * process must not end with every sale because of one row. */
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
           (sqlite3_changes(s->db) == 1 || (restore_order(s, event) && statement_run(move)));
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
    return from == ORDER_NONE ? add_order(s, event) : move_order(s, event);
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
    if (sqlite3_changes(s->db) == 1)
        return true;
    diag(DIAG_ERROR, "the row of sale %s is gone; it is written anew",
         sale->id); /* see restore_order() */
    return add_sale(s, sale) && statement_run(move);
}

static bool keep(void *self, const struct kept *kept)
{
    return key_rows_add(&((struct store *)self)->key_rows, kept, now_read());
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
        statvfs(s->data_dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < s->min_free_bytes;
    if (full != s->storage_full)
        diag(DIAG_WARN, full ? "free space is below min-free-bytes: no new orders"
                             : "free space is back above min-free-bytes: new orders are taken");
    s->storage_full = full;
    return full;
}

static const char *error_text(void *self)
{
    return sqlite3_errmsg(((struct store *)self)->db);
}

struct retention_gate *store_retention_gate(struct store *s)
{
    return &s->gate;
}

bool store_retain(struct store *s, int64_t keep_ms)
{
    s->published = store_published(s);
    if (keep_ms > 0)
        s->retention = retention_new(s->db, s->hash, keep_ms, &s->gate);
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
