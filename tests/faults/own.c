/*
 * own.c: the store's durable calls outside of SQLite: directories' names, and the log before SQLite opens it.
 *
 * Linked with --wrap=mkdir --wrap=fsync --wrap=posix_fadvise, so that persist/ calls these instead of libc's.
 * The first two are counted, fail by plan and are recorded like SQLite's; a log that posix_fadvise() tells
 * the kernel to forget becomes what the disk has of it.
 * And --wrap=getrandom: the same seed needs the same database key, which decides each buyer's worker.
 *
 * Thread: main, in store_open().
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/check.h"
#include "tests/faults/image.h"
#include "tests/faults/vfs.h"

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_posix_fadvise(int fd, off_t at, off_t bytes, int advice);
int __wrap_posix_fadvise(int fd, off_t at, off_t bytes, int advice);
ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags);

static bool refuses(enum vfs_fault fault)
{
    if (fault == VFS_KILL)
        (void)kill(getpid(), SIGKILL);
    errno = fault == VFS_FULL ? ENOSPC : EIO;
    return fault == VFS_IO || fault == VFS_FULL || fault == VFS_TORN;
}

static void note(enum op_kind kind, enum tape_file file, uint64_t at, bool forgotten)
{
    struct tape *tape = vfs_tape();
    if (tape != NULL)
        tape_op(tape, (struct op){.kind = (uint8_t)kind,
                                  .file = (uint8_t)file,
                                  .inode = file == FILE_NONE ? 0 : tape->inode_of[file],
                                  .at = at,
                                  .forgotten = forgotten});
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    enum vfs_fault fault = vfs_strike(CALL_OPEN);
    if (refuses(fault))
        return -1;
    int rc = __real_mkdir(path, mode);
    if (rc == 0)
        note(OP_MAKE_DIR, FILE_NONE, 0, fault == VFS_FORGET);
    return rc;
}

static bool is_directory(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
}

/* fd: the log, the data directory, or the directory above, which has no database. */
int __wrap_fsync(int fd)
{
    enum vfs_fault fault = vfs_strike(CALL_SYNC);
    bool directory = is_directory(fd);
    if (refuses(fault)) {
        if (!directory)
            note(OP_SYNC_FAILED, FILE_WAL, fault == VFS_TORN, false);
        return -1;
    }
    int rc = __real_fsync(fd);
    if (rc != 0 || fault == VFS_FORGET)
        return rc;
    if (!directory)
        note(OP_SYNC, FILE_WAL, 0, false);
    else
        note(faccessat(fd, "flashd.db", F_OK, 0) == 0 ? OP_SYNC_DIR : OP_SYNC_PARENT, FILE_NONE, 0,
             false);
    return rc;
}

/* The file becomes what the disk has of it. */
static void forget_cache(const struct tape *tape, const char *path)
{
    struct disk disk;
    disk_begin(&disk, tape);
    disk_wind(&disk, tape->op_count);
    const struct content *durable = &disk.inodes[tape->inode_of[FILE_WAL]].durable;
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    MUST(fd >= 0 && write(fd, durable->bytes, durable->size) == (ssize_t)durable->size,
         "the log as the disk has it");
    (void)close(fd);
    disk_end(&disk);
}

int __wrap_posix_fadvise(int fd, off_t at, off_t bytes, int advice)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (vfs_tape() == NULL || len < 0 || advice != POSIX_FADV_DONTNEED)
        return __real_posix_fadvise(fd, at, bytes, advice);
    path[len] = 0;
    forget_cache(vfs_tape(), path);
    return 0;
}

ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = (unsigned char)(i * 37 + 11);
    return (ssize_t)bytes;
}
