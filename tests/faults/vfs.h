/*
 * vfs.h: a SQLite VFS that fails on purpose, and records what is asked of the disk.
 *
 * It stands before SQLite's own unix VFS (https://www.sqlite.org/vfs.html, "shims") and counts every durable
 * call: write, truncate, sync, delete, and open that may create, of the database, its write-ahead log and
 * its rollback journal; and the store's own calls that faults/own.c catches. A plan says
 * which of them go wrong, by count or by chance, and how:
 *
 *   io      it is refused with an I/O error; of a sync, what was dirty is lost for good (Linux)
 *   full    the disk is full: likewise, with its own error for a write
 *   torn    a part of it happens, up to a sector's edge, and then the I/O error; of a sync, some of what
 *           was dirty is on the disk and the rest is lost
 *   forget  it appears to work, and is forgotten when the power fails
 *   delay   it takes delay_ms longer
 *   kill    a part of it happens, and SIGKILL ends the process
 *
 * As text, for the environment variable FLASHD_TEST_VFS of the test build (environment.c):
 *   FAULT [at=N] [until=M|end] [in=N seed=S] [calls=wtsdo] [ms=N]     calls=: only these are counted
 *   count FILE                    nothing goes wrong; one byte a durable call is appended to FILE
 * "io at=7" fails the seventh call, "io at=7 until=end" every one from there on, "torn in=100 seed=3" each
 * with a chance of 1 in 100.
 *
 * Threads: any of the process; the plan is set before they start. A tape allows one thread only.
 */
#ifndef FLASHD_TESTS_FAULTS_VFS_H
#define FLASHD_TESTS_FAULTS_VFS_H

#include "tests/faults/tape.h"

enum durable_call { CALL_WRITE, CALL_TRUNCATE, CALL_SYNC, CALL_DELETE, CALL_OPEN, CALL_COUNT };

enum vfs_fault {
    VFS_NONE,
    VFS_IO,
    VFS_FULL,
    VFS_TORN,
    VFS_FORGET,
    VFS_DELAY,
    VFS_KILL,
    VFS_FAULT_COUNT
};

struct vfs_plan {
    enum vfs_fault fault;
    uint64_t at, until; /* calls from 1, both included; at 0: by chance */
    uint32_t one_in;    /* chance */
    uint64_t seed;      /* of the chance, and of where a write is torn */
    uint32_t calls;     /* bits 1 << enum durable_call that count; 0: all */
    uint32_t delay_ms;
    char count_path[256];
};

/* False, with a line in error, if the text is no plan. */
bool vfs_plan_parse(const char *text, struct vfs_plan *plan, char *error, size_t error_bytes);
const char *vfs_fault_name(enum vfs_fault fault);
/* Makes it this process's default VFS. tape may be NULL. False when SQLite does not accept it. */
bool vfs_install(const struct vfs_plan *plan, struct tape *tape);
/* The tape that is being written; NULL for none. */
struct tape *vfs_tape(void);
/* Durable calls so far. */
uint64_t vfs_calls(void);

/* For calls outside SQLite (own.c): counts one, and says which fault it gets. */
enum vfs_fault vfs_strike(enum durable_call call);

#endif
