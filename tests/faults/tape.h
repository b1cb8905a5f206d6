/*
 * tape.h: everything that was asked of the disk, in order, and everything that was promised meanwhile.
 *
 * The fault VFS (vfs.h) records each durable call, the player (life.h) each answer that was released and
 * each event that readers could see. From a tape, image.h makes the disks that a power loss may leave,
 * and check.h says what must be on them.
 *
 * Memory: shared between processes, so that a life that is cut short leaves its tape behind.
 * Thread: one at a time: the life that records, and once it is gone, its parent.
 * Fails:  a full tape ends the process; it is a limit of the tests, not a finding.
 */
#ifndef FLASHD_TESTS_FAULTS_TAPE_H
#define FLASHD_TESTS_FAULTS_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    TAPE_OPS_MAX = 1 << 16,
    TAPE_ANSWERS_MAX = 1 << 13,
    TAPE_EVENTS_MAX = 1 << 13,
    TAPE_INODES_MAX = 64,
    TAPE_LINE_BYTES = 512,
    TAPE_DATA_BYTES = 1 << 27,
};

/* The files that hold the data; the others (lock, shared memory) are made anew at each start. */
enum tape_file { FILE_DB, FILE_WAL, FILE_JOURNAL, FILE_COUNT, FILE_NONE = FILE_COUNT };

enum op_kind {
    OP_WRITE,       /* bytes at `at` */
    OP_TRUNCATE,    /* to `at` bytes */
    OP_SYNC,        /* every write and truncate of that inode before it is on the disk */
    OP_SYNC_FAILED, /* dirty data may never reach the disk: the kernel forgets that it was dirty */
    OP_CREATE,      /* a name in the data directory, for a new inode */
    OP_DELETE,      /* that name */
    OP_SYNC_DIR,    /* the names in the data directory are on the disk */
    OP_MAKE_DIR,    /* the data directory's own name */
    OP_SYNC_PARENT, /* that name is on the disk */
};

struct op {
    uint8_t kind;   /* enum op_kind */
    uint8_t file;   /* enum tape_file */
    bool forgotten; /* the disk lied: readers see it, but it never reaches the disk */
    uint16_t inode; /* files are numbered in the order of their creation */
    uint32_t bytes;
    uint64_t at;   /* offset; for a truncate, the size */
    uint64_t data; /* where in tape.data */
};

/* A promise: after `ops` ops, whatever happens, everything up to seq is kept. */
struct answer {
    uint32_t ops; /* how many ops there were when it was released */
    bool own;     /* seq is that of the event described below; else only a bound */
    uint8_t kind; /* enum event_kind */
    uint64_t seq, order_seq;
};

/* An event as readers saw it. */
struct seen_event {
    uint8_t kind;
    uint64_t sale_seq, order_seq, payload_hash;
};

struct tape {
    uint32_t op_count, answer_count;
    uint64_t data_bytes;
    uint64_t disk_seed; /* of what a sync that failed has left: image.h */
    uint16_t inode_count;
    uint16_t inode_of[FILE_COUNT]; /* the latest of each name, from 1; 0 for none yet */
    /* --- the current life --- */
    uint32_t ready_op;    /* op_count when it had recovered */
    uint32_t struck_op;   /* op_count when a call first went wrong by plan; UINT32_MAX: none has */
    uint64_t event_count; /* events[1 … event_count] */
    bool cut;             /* it was cut short: more may be durable than was seen */
    bool ended_well;      /* it ran to its end and closed */
    char line[TAPE_LINE_BYTES]; /* why it stopped; "": it did not */
    struct seen_event events[TAPE_EVENTS_MAX];
    struct op ops[TAPE_OPS_MAX];
    struct answer answers[TAPE_ANSWERS_MAX];
    unsigned char data[TAPE_DATA_BYTES];
};

/* Shared with the processes that are forked later. */
struct tape *tape_new(void);
void tape_rewind(struct tape *tape);
/* A new process on the same disk. */
void tape_new_life(struct tape *tape);

void tape_op(struct tape *tape, struct op op);
void tape_write(struct tape *tape, struct op op, const void *data);
void tape_answer(struct tape *tape, struct answer answer);
/* The highest seq that was promised by the time of so many ops. */
uint64_t tape_promised(const struct tape *tape, uint32_t ops);
/* A line for each op and each promise. */
void tape_print(const struct tape *tape, FILE *out);

#endif
