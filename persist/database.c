/*
 * database.c: see database.h.
 *
 * Happy path: database_open: make and lock the directory, sync its names; reread from the disk what the last
 * process left of the WAL, and forget its index; open the file, check it page by page, give it its tables and its key.
 *
 * Failure modes: each step says in one line which check failed and why; nothing is repaired.
 *
 * Thread: main at start; an audit's, for its snapshot.
 */
#include "persist/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/step.h"
#include "persist/row.h"
#include "persist/schema.h"

enum { BUSY_MS = 2000 }; /* how long to wait for a lock that another connection holds */

static const char file_name[] = "flashd.db", wal_name[] = "flashd.db-wal";

/* Into a data directory. */
struct path {
    char text[DATA_DIR_BYTES_MAX + 16];
};

static struct path path_of(const char *dir, const char *name)
{
    struct path path;
    snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
    return path;
}

static bool complain(char *error, size_t bytes, const char *what, const char *name, const char *why)
{
    snprintf(error, bytes, "%s %s: %s", what, name, why);
    return false;
}

/* Syncs the names in the directory dir/below; below may be "". Some file systems do not support this sync, or are
 * read-only (EINVAL, EROFS): nothing more can be done there. */
static bool sync_directory(const char *dir, const char *below)
{
    const struct path path = path_of(dir, below);
    if (FAULT(FAULT_FORGET_DIRECTORY))
        return true;
    int fd = open(path.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool synced = fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
    int why = errno;
    (void)close(fd);
    errno = why;
    return synced;
}

/* The lock is on the directory itself: a file in it could be removed by somebody who takes it for a leftover. */
static bool lock_dir(struct database *d, char *error, size_t bytes)
{
    if (mkdir(d->dir, 0700) != 0 && errno != EEXIST)
        return complain(error, bytes, "cannot create data directory", d->dir, strerror(errno));
    d->lock_fd = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->lock_fd < 0)
        return complain(error, bytes, "cannot use as data directory", d->dir, strerror(errno));
    /* Also when the directory was there: the process that made it may have died before this. A parent that
     * this user may not read is left to whoever made the directory. */
    if (!sync_directory(d->dir, "..") && errno != EACCES)
        return complain(error, bytes, "cannot sync the parent of", d->dir, strerror(errno));
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    return complain(error, bytes, "data directory", d->dir,
                    errno == EWOULDBLOCK ? "another flashd is using it" : strerror(errno));
}

/* After a failed sync, the kernel's cache has pages that the disk does not have and that will not be written again. A
 * new commit behind such a page in the WAL is lost with it when the power fails; a checkpoint of the page tears the
 * database. So what the last process left of the WAL is synced, and then dropped from the cache, to be read from the
 * disk. */
static bool reread_log(const struct database *d, char *error, size_t bytes)
{
    const struct path path = path_of(d->dir, wal_name);
    int fd = FAULT(FAULT_TRUST_CACHE) ? -1 : open(path.text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true; /* there is none; if it may not be read, SQLite will complain */
    bool synced = fsync(fd) == 0;
    int why = errno;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
    return synced || complain(error, bytes, "cannot sync", path.text, strerror(why));
}

/* With something in it. */
static bool has_wal(const char *dir)
{
    const struct path path = path_of(dir, wal_name);
    struct stat found;
    return stat(path.text, &found) == 0 && found.st_size > 0;
}

/* Refuses a WAL beside a missing or empty database. SQLite would take it for a leftover and delete it, but it may be
 * all that is left of the data. */
static bool check_log(const char *dir, char *error, size_t bytes)
{
    const struct path path = path_of(dir, file_name);
    struct stat found;
    bool gone = stat(path.text, &found) != 0 ? errno == ENOENT : found.st_size == 0;
    if (!gone || !has_wal(dir))
        return true;
    return complain(error, bytes, "database check \"log\" failed for", path.text,
                    "it is missing or empty, and its write-ahead log flashd.db-wal is not; put the"
                    " file back, or move the log away to begin anew");
}

bool database_fail(sqlite3 *db, const char *check, char *error, size_t bytes)
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
        return database_fail(db, "quick_check", error, bytes);
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
        return database_fail(db, "user_version", error, bytes);
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

/* Of the WAL's index; source: "The WAL-Index File Format" and "WAL Locks" in https://sqlite.org/walformat.html. The
 * locks are those of writers, checkpoints and recovery: with all three, nobody changes the index or makes it anew. */
enum { INDEX_REGION_BYTES = 32768, INDEX_HEADERS_BYTES = 96, INDEX_LOCKS = 3 };

/* Before the first statement. SQLite makes the index of the WAL (flashd.db-shm) anew only where nobody has it open. One
 * that an outside reader kept over our last process's end may count frames that only the kernel's cache had, and as
 * copied pages that never reached the disk. Without its header, the first to look makes it anew: from the WAL, by
 * checksums, with nothing copied; also beside readers. */
static bool forget_index(struct database *d, char *error, size_t bytes)
{
    sqlite3_file *file = NULL;
    volatile void *index = NULL;
    if (FAULT(FAULT_TRUST_INDEX))
        return true;
    int rc = sqlite3_file_control(d->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xShmMap(file, 0, INDEX_REGION_BYTES, true, &index);
    if (rc != SQLITE_OK)
        return complain(error, bytes, "cannot map the index of", d->dir, sqlite3_errstr(rc));
    const int lock = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
    const int unlock = SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE;
    int waited_ms = 0;
    do
        rc = file->pMethods->xShmLock(file, 0, INDEX_LOCKS, lock);
    while (rc == SQLITE_BUSY && (waited_ms += sqlite3_sleep(1)) < BUSY_MS);
    if (rc == SQLITE_OK) {
        memset((void *)index, 0, INDEX_HEADERS_BYTES);
        file->pMethods->xShmBarrier(file);
        rc = file->pMethods->xShmLock(file, 0, INDEX_LOCKS, unlock);
    }
    (void)file->pMethods->xShmUnmap(file, false);
    return rc == SQLITE_OK ||
           complain(error, bytes, "cannot lock the index of", d->dir, sqlite3_errstr(rc));
}

static bool open_db(struct database *d, char *error, size_t bytes)
{
    const struct path path = path_of(d->dir, file_name);
    if (sqlite3_open_v2(path.text, &d->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return complain(error, bytes, "cannot open", path.text, sqlite3_errmsg(d->db));
    (void)sqlite3_busy_timeout(d->db, BUSY_MS); /* a reader may recover the WAL after a crash */
    if (!forget_index(d, error, bytes))
        return false;
    if (sqlite3_exec(
            d->db,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;"
            "PRAGMA wal_autocheckpoint=0;" /* persist/checkpoint.h does it, and minds what fails */
            /* Debian's default overwrites what is removed with zeros, and so writes more pages. */
            "PRAGMA secure_delete=OFF;"
            /* 16 MiB, twice the size at which the WAL is checkpointed at the latest: a WAL that grew because a
             * reader stayed is cut back to this once the reader has gone. */
            "PRAGMA journal_size_limit=16777216;",
            NULL, NULL, NULL) != SQLITE_OK)
        return database_fail(d->db, "open", error, bytes);
    if (FAULT(FAULT_COMMIT_WITHOUT_SYNC))
        (void)sqlite3_exec(d->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
    if (!check_version(d->db, error, bytes) || !check_file(d->db, error, bytes))
        return false;
    if (!schema_create(d->db))
        return database_fail(d->db, "schema", error, bytes);
    return true;
}

/* ---- what it says of itself ---- */

/* Whether the key's row is there; *right: whether it holds a key. */
static bool find_key(sqlite3 *db, unsigned char key[DATABASE_KEY_BYTES], bool *right)
{
    sqlite3_stmt *find = NULL;
    bool found = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'hash_key'", -1, &find,
                                    NULL) == SQLITE_OK &&
                 sqlite3_step(find) == SQLITE_ROW;
    *right = found && sqlite3_column_bytes(find, 0) == DATABASE_KEY_BYTES;
    if (*right)
        memcpy(key, sqlite3_column_blob(find, 0), DATABASE_KEY_BYTES);
    sqlite3_finalize(find);
    return found;
}

bool database_key(sqlite3 *db, unsigned char key[DATABASE_KEY_BYTES])
{
    bool right;
    return find_key(db, key, &right) && right;
}

static bool load_key(struct database *d, char *error, size_t bytes)
{
    sqlite3_stmt *add = NULL;
    bool ok = false;
    bool found = find_key(d->db, d->key, &ok), lost = found && !ok;
    if (!found && getrandom(d->key, DATABASE_KEY_BYTES, 0) == DATABASE_KEY_BYTES &&
        sqlite3_prepare_v2(d->db,
                           "INSERT INTO meta(key, value) SELECT 'hash_key', ?1"
                           " WHERE NOT EXISTS (SELECT 1 FROM sale_rows)",
                           -1, &add, NULL) == SQLITE_OK) {
        sqlite3_bind_blob(add, 1, d->key, DATABASE_KEY_BYTES, SQLITE_STATIC);
        ok = sqlite3_step(add) == SQLITE_DONE;
        lost = ok && sqlite3_changes(d->db) == 0;
    }
    sqlite3_finalize(add);
    if (lost) /* with a new key, every id that was given out would be void */
        return complain(error, bytes, "database check \"hash_key\" failed for",
                        sqlite3_db_filename(d->db, "main"), "the key of its ids is missing");
    return ok || database_fail(d->db, "hash_key", error, bytes);
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

uint64_t database_last_seq(sqlite3 *db)
{
    return number_of(db, "SELECT max(coalesce((SELECT max(seq) FROM event_rows), 0),"
                         " coalesce((SELECT seq FROM baseline), 0))");
}

uint64_t database_published(sqlite3 *db)
{
    return number_of(db, "SELECT max(coalesce((SELECT max(up_to_seq) FROM publications), 0),"
                         " coalesce((SELECT seq FROM baseline), 0))");
}

/* ---- for writing ---- */

/* The database and its WAL are in the directory by now, and stay there. SQLite has synced their names, but it
 * ignores a failure of that sync. */
static bool sync_files(const struct database *d, char *error, size_t bytes)
{
    return sync_directory(d->dir, "") ||
           complain(error, bytes, "cannot sync", d->dir, strerror(errno));
}

bool database_open(struct database *d, const char *data_dir, char *error, size_t bytes)
{
    *d = (struct database){.lock_fd = -1};
    snprintf(d->dir, sizeof d->dir, "%s", data_dir);
    if (lock_dir(d, error, bytes) && reread_log(d, error, bytes) &&
        check_log(d->dir, error, bytes) && open_db(d, error, bytes) && load_key(d, error, bytes) &&
        sync_files(d, error, bytes))
        return true;
    if (d->db != NULL) /* what failed a check is left as it is */
        (void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    database_close(d);
    return false;
}

void database_close(struct database *d)
{
    (void)sqlite3_close(d->db); /* the last connection's close checkpoints */
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    *d = (struct database){.lock_fd = -1};
}

/* ---- for reading ---- */

sqlite3 *database_open_reader(const char *data_dir, char *error, size_t bytes)
{
    const struct path path = path_of(data_dir, file_name);
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path.text, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK &&
        sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK)
        return db;
    (void)complain(error, bytes, "cannot open", path.text, sqlite3_errmsg(db));
    (void)sqlite3_close(db);
    return NULL;
}

/* The path as SQLite's URI of a file that nobody changes (immutable=1). */
static void immutable_uri(const char *path, char uri[3 * DATA_DIR_BYTES_MAX + 96])
{
    size_t used = (size_t)snprintf(uri, 8, "file:");
    for (; *path != '\0'; path++) {
        bool plain = strchr("/._-", *path) != NULL || (*path >= '0' && *path <= '9') ||
                     (*path >= 'a' && *path <= 'z') || (*path >= 'A' && *path <= 'Z');
        used += (size_t)snprintf(uri + used, 4, plain ? "%c" : "%%%02X", (unsigned char)*path);
    }
    snprintf(uri + used, 16, "?immutable=1");
}

/* For a directory that this user cannot write to: a read-only medium, another user's copy. SQLite cannot create its
 * -shm file there, and nobody writes: with a WAL, the database is read without locks; without one, as immutable. */
static int open_unshared(const char *data_dir, sqlite3 **db)
{
    const struct path path = path_of(data_dir, file_name);
    char uri[3 * DATA_DIR_BYTES_MAX + 96];
    if (!has_wal(data_dir)) {
        immutable_uri(path.text, uri);
        return sqlite3_open_v2(uri, db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    }
    int rc =
        sqlite3_open_v2(path.text, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, "unix-none");
    return rc != SQLITE_OK ? rc
                           : sqlite3_exec(*db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
}

static bool begin_snapshot(sqlite3 *db)
{
    return sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK &&
           sqlite3_exec(db, "PRAGMA cache_size=-8192; BEGIN; SELECT 1 FROM sqlite_master", NULL,
                        NULL, NULL) == SQLITE_OK;
}

/* Whether SQLite's last error is about what the file holds. */
static bool is_damage(sqlite3 *db)
{
    int code = sqlite3_errcode(db);
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

sqlite3 *database_open_snapshot(const char *data_dir, bool *damaged, char *error,
                                size_t error_bytes)
{
    const struct path path = path_of(data_dir, file_name);
    sqlite3 *db = NULL;
    *damaged = !check_log(data_dir, error, error_bytes);
    if (*damaged)
        return NULL;
    int rc = sqlite3_open_v2(path.text, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    bool begun = rc == SQLITE_OK && begin_snapshot(db);
    bool refused = sqlite3_errcode(db) == SQLITE_CANTOPEN || sqlite3_errcode(db) == SQLITE_READONLY;
    if (rc == SQLITE_OK && !begun && refused && access(data_dir, W_OK) != 0) {
        (void)sqlite3_close(db);
        rc = open_unshared(data_dir, &db);
        begun = rc == SQLITE_OK && begin_snapshot(db);
    }
    if (rc != SQLITE_OK)
        (void)complain(error, error_bytes, "cannot open", path.text, sqlite3_errmsg(db));
    else if (!begun)
        (void)database_fail(db, "open", error, error_bytes);
    else if (check_version(db, error, error_bytes)) {
        if (check_file(db, error, error_bytes))
            return db;
        *damaged = true;
    }
    *damaged = *damaged || is_damage(db);
    (void)sqlite3_close(db);
    return NULL;
}

void database_close_snapshot(sqlite3 *db)
{
    (void)sqlite3_close(db);
}
