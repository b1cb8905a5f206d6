/*
 * own.c: the store's durable calls outside of SQLite: the data directory and the sync of its name.
 *
 * Linked with --wrap=mkdir --wrap=fsync, so that persist/ calls these in the place of libc's. They are counted,
 * fail by plan and are written down like SQLite's. And --wrap=getrandom: the database's key is to be the same
 * again when a seed is, for it decides which worker a buyer has.
 *
 * Thread: main, in store_open().
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/faults/vfs.h"

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags);

/* False when the plan refuses the call. */
static bool passes(enum durable_call call, bool *forgotten)
{
    enum vfs_fault fault = vfs_strike(call);
    *forgotten = fault == VFS_FORGET;
    if (fault == VFS_KILL)
        (void)kill(getpid(), SIGKILL);
    errno = fault == VFS_FULL ? ENOSPC : EIO;
    return fault != VFS_IO && fault != VFS_FULL && fault != VFS_TORN;
}

static void note(enum op_kind kind, bool forgotten)
{
    if (vfs_tape() != NULL)
        tape_op(vfs_tape(),
                (struct op){.kind = (uint8_t)kind, .file = FILE_NONE, .forgotten = forgotten});
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    bool forgotten;
    if (!passes(CALL_OPEN, &forgotten))
        return -1;
    int rc = __real_mkdir(path, mode);
    if (rc == 0)
        note(OP_MAKE_DIR, forgotten);
    return rc;
}

int __wrap_fsync(int fd)
{
    bool forgotten;
    if (!passes(CALL_SYNC, &forgotten))
        return -1;
    int rc = __real_fsync(fd);
    if (rc == 0 && !forgotten)
        note(faccessat(fd, "flashd.lock", F_OK, 0) == 0 ? OP_SYNC_DIR : OP_SYNC_PARENT, false);
    return rc;
}

ssize_t __wrap_getrandom(void *out, size_t bytes, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)out)[i] = (unsigned char)(i * 37 + 11);
    return (ssize_t)bytes;
}
