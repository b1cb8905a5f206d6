/*
 * vfs.c: the shim (see vfs.h): counts each call, makes it fail or passes it on, and records it.
 *
 * Calls that cannot lose data (reads, locks, shared memory) go straight to the unix VFS. A directory's sync is
 * seen where SQLite opens the directory for it, through the system call table that the unix VFS offers
 * to tests.
 *
 * Threads: any; counters are atomic.
 */
#include "tests/faults/vfs.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/random.h"

enum { SECTOR_BYTES = 512, PAGE_BYTES = 4096 };

/* A file as SQLite sees it; the unix VFS's own follows it in memory. */
struct watched {
    sqlite3_file base;
    uint8_t file; /* enum tape_file; FILE_NONE for temporary files */
    uint16_t inode;
    sqlite3_file *real;
};

typedef int open_directory(const char *path, int *fd);

static sqlite3_vfs *unix_vfs;
static open_directory *unix_open_directory;
static _Thread_local bool directory_opened;
static struct vfs_plan the_plan;
static struct tape *the_tape;
static int count_fd = -1;
static _Atomic uint64_t call_count;
static _Atomic bool struck;

static const char *const fault_names[VFS_FAULT_COUNT] = {"none",   "io",    "full", "torn",
                                                         "forget", "delay", "kill"};

const char *vfs_fault_name(enum vfs_fault fault)
{
    return fault_names[fault];
}

struct tape *vfs_tape(void)
{
    return the_tape;
}

uint64_t vfs_calls(void)
{
    return atomic_load(&call_count);
}

/* ---- deciding ---- */

static bool is_planned(uint64_t number)
{
    if (the_plan.fault == VFS_NONE)
        return false;
    if (the_plan.at != 0)
        return number >= the_plan.at && number <= the_plan.until;
    struct random dice = random_from(the_plan.seed ^ random_mix(number));
    return random_chance(&dice, 1, the_plan.one_in);
}

static void sleep_ms(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* At the first fault. Without a tape, a line on stderr tells the test. */
static void note_strike(uint64_t number)
{
    if (the_tape != NULL)
        the_tape->struck_op = the_tape->op_count;
    else
        dprintf(STDERR_FILENO, "fault VFS: %s at durable call %llu\n", fault_names[the_plan.fault],
                (unsigned long long)number);
}

enum vfs_fault vfs_strike(enum durable_call call)
{
    if (the_plan.calls != 0 && (the_plan.calls >> call & 1) == 0)
        return VFS_NONE;
    uint64_t number = atomic_fetch_add(&call_count, 1) + 1;
    if (count_fd >= 0 && write(count_fd, ".", 1) != 1)
        abort();
    if (!is_planned(number))
        return VFS_NONE;
    if (!atomic_exchange(&struck, true))
        note_strike(number);
    if (the_plan.fault == VFS_DELAY)
        sleep_ms(the_plan.delay_ms);
    return the_plan.fault;
}

static enum vfs_fault strike(const struct watched *w, enum durable_call call)
{
    return w->file == FILE_NONE ? VFS_NONE : vfs_strike(call);
}

static void die(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

static bool refuses(enum vfs_fault fault)
{
    return fault == VFS_IO || fault == VFS_FULL || fault == VFS_TORN;
}

/* ---- writing down ---- */

static void note(const struct watched *w, enum op_kind kind, sqlite3_int64 at, bool forgotten)
{
    if (the_tape != NULL && w->file != FILE_NONE)
        tape_op(the_tape, (struct op){.kind = (uint8_t)kind,
                                      .file = w->file,
                                      .inode = w->inode,
                                      .at = (uint64_t)at,
                                      .forgotten = forgotten});
}

static void note_write(const struct watched *w, const void *data, int bytes, sqlite3_int64 at,
                       bool forgotten)
{
    if (the_tape != NULL && w->file != FILE_NONE)
        tape_write(the_tape,
                   (struct op){.kind = OP_WRITE,
                               .file = w->file,
                               .inode = w->inode,
                               .bytes = (uint32_t)bytes,
                               .at = (uint64_t)at,
                               .forgotten = forgotten},
                   data);
}

static void note_directory_sync(void)
{
    if (the_tape != NULL)
        tape_op(the_tape, (struct op){.kind = OP_SYNC_DIR, .file = FILE_NONE});
}

/* ---- a file's calls ---- */

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct watched *)file)->real;
}

static int watched_close(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xClose(real);
}

static int watched_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 at)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xRead(real, out, bytes, at);
}

static int write_through(struct watched *w, const void *data, int bytes, sqlite3_int64 at,
                         bool forgotten)
{
    int rc = w->real->pMethods->xWrite(w->real, data, bytes, at);
    if (rc == SQLITE_OK)
        note_write(w, data, bytes, at, forgotten);
    return rc;
}

/* Up to the edge of a small or a large sector, or anywhere. */
static int torn_bytes(int bytes, sqlite3_int64 at)
{
    struct random dice = random_from(the_plan.seed + vfs_calls());
    uint32_t kept = random_below(&dice, (uint32_t)bytes + 1);
    static const uint32_t edges[] = {SECTOR_BYTES, PAGE_BYTES, 1};
    uint32_t edge = edges[random_below(&dice, 3)];
    uint64_t end = ((uint64_t)at + kept) / edge * edge;
    return end > (uint64_t)at ? (int)(end - (uint64_t)at) : 0;
}

static int watched_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
    struct watched *w = (struct watched *)file;
    enum vfs_fault fault = strike(w, CALL_WRITE);
    if (fault == VFS_TORN || fault == VFS_KILL) {
        int part = torn_bytes(bytes, at);
        if (part > 0)
            (void)write_through(w, data, part, at, false);
        if (fault == VFS_KILL)
            die();
    }
    if (refuses(fault))
        return fault == VFS_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    return write_through(w, data, bytes, at, fault == VFS_FORGET);
}

static int watched_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct watched *w = (struct watched *)file;
    enum vfs_fault fault = strike(w, CALL_TRUNCATE);
    if (fault == VFS_KILL)
        die();
    if (refuses(fault))
        return SQLITE_IOERR_TRUNCATE;
    int rc = w->real->pMethods->xTruncate(w->real, size);
    if (rc == SQLITE_OK)
        note(w, OP_TRUNCATE, size, fault == VFS_FORGET);
    return rc;
}

static int watched_sync(sqlite3_file *file, int flags)
{
    struct watched *w = (struct watched *)file;
    enum vfs_fault fault = strike(w, CALL_SYNC);
    if (fault == VFS_KILL)
        die();
    if (refuses(fault)) {
        note(w, OP_SYNC_FAILED, fault == VFS_TORN, false);
        return SQLITE_IOERR_FSYNC;
    }
    directory_opened = false;
    int rc = w->real->pMethods->xSync(w->real, flags);
    if (rc == SQLITE_OK && fault != VFS_FORGET) {
        note(w, OP_SYNC, 0, false);
        if (directory_opened)
            note_directory_sync();
    }
    return rc;
}

static int watched_size(sqlite3_file *file, sqlite3_int64 *size)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xFileSize(real, size);
}

static int watched_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xLock(real, level);
}

static int watched_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xUnlock(real, level);
}

static int watched_check_lock(sqlite3_file *file, int *held)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xCheckReservedLock(real, held);
}

static int watched_control(sqlite3_file *file, int what, void *arg)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xFileControl(real, what, arg);
}

static int watched_sector_size(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xSectorSize(real);
}

static int watched_device(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xDeviceCharacteristics(real);
}

static int watched_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xShmMap(real, page, bytes, extend, out);
}

static int watched_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xShmLock(real, offset, count, flags);
}

static void watched_shm_barrier(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    real->pMethods->xShmBarrier(real);
}

static int watched_shm_unmap(sqlite3_file *file, int remove)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xShmUnmap(real, remove);
}

static int watched_fetch(sqlite3_file *file, sqlite3_int64 at, int bytes, void **out)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xFetch(real, at, bytes, out);
}

static int watched_unfetch(sqlite3_file *file, sqlite3_int64 at, void *page)
{
    sqlite3_file *real = real_of(file);
    return real->pMethods->xUnfetch(real, at, page);
}

static const sqlite3_io_methods watched_methods = {.iVersion = 3,
                                                   .xClose = watched_close,
                                                   .xRead = watched_read,
                                                   .xWrite = watched_write,
                                                   .xTruncate = watched_truncate,
                                                   .xSync = watched_sync,
                                                   .xFileSize = watched_size,
                                                   .xLock = watched_lock,
                                                   .xUnlock = watched_unlock,
                                                   .xCheckReservedLock = watched_check_lock,
                                                   .xFileControl = watched_control,
                                                   .xSectorSize = watched_sector_size,
                                                   .xDeviceCharacteristics = watched_device,
                                                   .xShmMap = watched_shm_map,
                                                   .xShmLock = watched_shm_lock,
                                                   .xShmBarrier = watched_shm_barrier,
                                                   .xShmUnmap = watched_shm_unmap,
                                                   .xFetch = watched_fetch,
                                                   .xUnfetch = watched_unfetch};

/* ---- names ---- */

static uint8_t file_of_flags(int flags)
{
    if ((flags & SQLITE_OPEN_MAIN_DB) != 0)
        return FILE_DB;
    if ((flags & SQLITE_OPEN_WAL) != 0)
        return FILE_WAL;
    return (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0 ? FILE_JOURNAL : FILE_NONE;
}

static uint8_t file_of_name(const char *name)
{
    static const char *const endings[FILE_COUNT] = {".db", "-wal", "-journal"};
    for (uint8_t file = 0; file < FILE_COUNT; file++) {
        size_t at = strlen(name) - strlen(endings[file]);
        if (strlen(name) > strlen(endings[file]) && strcmp(name + at, endings[file]) == 0)
            return file;
    }
    return FILE_NONE;
}

/* A new name gets a new inode. */
static void note_open(struct watched *w, bool was_there, bool forgotten)
{
    if (the_tape == NULL || w->file == FILE_NONE)
        return;
    if (!was_there) {
        the_tape->inode_of[w->file] = ++the_tape->inode_count;
        w->inode = the_tape->inode_of[w->file];
        note(w, OP_CREATE, 0, forgotten);
    }
    w->inode = the_tape->inode_of[w->file];
}

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    struct watched *w = (struct watched *)file;
    *w = (struct watched){.file = file_of_flags(flags), .real = (sqlite3_file *)(w + 1)};
    bool creates = (flags & SQLITE_OPEN_CREATE) != 0;
    enum vfs_fault fault = creates ? strike(w, CALL_OPEN) : VFS_NONE;
    if (fault == VFS_KILL)
        die();
    (void)vfs;
    if (refuses(fault))
        return SQLITE_CANTOPEN;
    int was_there = 1;
    if (creates && name != NULL)
        (void)unix_vfs->xAccess(unix_vfs, name, SQLITE_ACCESS_EXISTS, &was_there);
    int rc = unix_vfs->xOpen(unix_vfs, name, w->real, flags, out_flags);
    if (rc == SQLITE_OK)
        note_open(w, was_there, fault == VFS_FORGET);
    if (w->real->pMethods != NULL)
        w->base.pMethods = &watched_methods;
    return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    struct watched w = {.file = file_of_name(name)};
    enum vfs_fault fault = strike(&w, CALL_DELETE);
    if (fault == VFS_KILL)
        die();
    (void)vfs;
    if (refuses(fault))
        return SQLITE_IOERR_DELETE;
    directory_opened = false;
    int rc = unix_vfs->xDelete(unix_vfs, name, sync_directory);
    if (rc == SQLITE_OK && w.file != FILE_NONE) {
        w.inode = the_tape != NULL ? the_tape->inode_of[w.file] : 0;
        note(&w, OP_DELETE, 0, fault == VFS_FORGET);
        if (directory_opened && fault != VFS_FORGET)
            note_directory_sync();
    }
    return rc;
}

/* The same seed needs the same salts in the log. */
static int shim_randomness(sqlite3_vfs *vfs, int bytes, char *out)
{
    struct random dice = random_from(the_plan.seed);
    if (the_tape == NULL)
        return unix_vfs->xRandomness(unix_vfs, bytes, out);
    (void)vfs;
    for (int i = 0; i < bytes; i++)
        out[i] = (char)random_next(&dice);
    return bytes;
}

/* SQLite opens a directory only to sync it, and ignores a failure to. */
static int seen_open_directory(const char *path, int *fd)
{
    enum vfs_fault fault = vfs_strike(CALL_SYNC);
    if (fault == VFS_KILL)
        die();
    directory_opened = !refuses(fault) && fault != VFS_FORGET;
    return refuses(fault) ? SQLITE_CANTOPEN : unix_open_directory(path, fd);
}

bool vfs_install(const struct vfs_plan *plan, struct tape *tape)
{
    static sqlite3_vfs shim;
    the_plan = *plan;
    the_tape = tape;
    atomic_store(&call_count, 0);
    atomic_store(&struck, false);
    if (plan->count_path[0] != 0 &&
        (count_fd = open(plan->count_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        return false;
    unix_vfs = sqlite3_vfs_find("unix");
    if (unix_vfs == NULL || unix_vfs->iVersion < 3)
        return false;
    unix_open_directory =
        (open_directory *)(void *)unix_vfs->xGetSystemCall(unix_vfs, "openDirectory");
    if (unix_open_directory == NULL ||
        unix_vfs->xSetSystemCall(unix_vfs, "openDirectory",
                                 (sqlite3_syscall_ptr)(void *)seen_open_directory) != SQLITE_OK)
        return false;
    shim = *unix_vfs; /* the methods not replaced below take no file: they stay the unix VFS's */
    shim.pNext = NULL;
    shim.zName = "faults";
    shim.szOsFile = (int)sizeof(struct watched) + unix_vfs->szOsFile;
    shim.xOpen = shim_open;
    shim.xDelete = shim_delete;
    shim.xRandomness = shim_randomness;
    return sqlite3_vfs_register(&shim, 1) == SQLITE_OK;
}

/* ---- plans as text ---- */

static bool parse_calls(const char *letters, struct vfs_plan *plan)
{
    static const char known[] = "wtsdo"; /* in the order of enum durable_call */
    for (; *letters != 0; letters++) {
        const char *at = strchr(known, *letters);
        if (at == NULL)
            return false;
        plan->calls |= 1u << (at - known);
    }
    return plan->calls != 0;
}

static bool parse_word(const char *word, struct vfs_plan *plan)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL)
        return false;
    char *end = NULL;
    uint64_t number = strtoull(equals + 1, &end, 10);
    bool is_number = end != equals + 1 && *end == 0;
    if (strncmp(word, "calls=", 6) == 0)
        return parse_calls(equals + 1, plan);
    if (strcmp(word, "until=end") == 0)
        return (plan->until = UINT64_MAX) != 0;
    if (!is_number)
        return false;
    if (strncmp(word, "at=", 3) == 0)
        plan->at = plan->until = number;
    else if (strncmp(word, "until=", 6) == 0)
        plan->until = number;
    else if (strncmp(word, "in=", 3) == 0)
        plan->one_in = (uint32_t)number;
    else if (strncmp(word, "seed=", 5) == 0)
        plan->seed = number;
    else if (strncmp(word, "ms=", 3) == 0)
        plan->delay_ms = (uint32_t)number;
    else
        return false;
    return true;
}

static enum vfs_fault fault_of_name(const char *name)
{
    for (int i = 1; i < VFS_FAULT_COUNT; i++)
        if (strcmp(name, fault_names[i]) == 0)
            return (enum vfs_fault)i;
    return VFS_NONE;
}

bool vfs_plan_parse(const char *text, struct vfs_plan *plan, char *error, size_t error_bytes)
{
    char words[512], *rest = NULL;
    *plan = (struct vfs_plan){0};
    snprintf(words, sizeof words, "%s", text);
    char *word = strtok_r(words, " ", &rest);
    bool good = word != NULL, counting = good && strcmp(word, "count") == 0;
    if (counting) {
        word = strtok_r(NULL, " ", &rest);
        good = word != NULL;
        snprintf(plan->count_path, sizeof plan->count_path, "%s", good ? word : "");
    } else if (good) {
        plan->fault = fault_of_name(word);
        good = plan->fault != VFS_NONE;
    }
    while (good && (word = strtok_r(NULL, " ", &rest)) != NULL)
        good = parse_word(word, plan);
    good = good && (counting || plan->at != 0 || plan->one_in != 0);
    if (!good)
        snprintf(error, error_bytes, "no plan for the fault VFS: \"%s\" (tests/faults/vfs.h)",
                 text);
    return good;
}
