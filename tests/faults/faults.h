/*
 * faults.h: what the tests of this folder share: options, work in several processes, folders.
 *
 *   power    the disks that power losses leave      power.c
 *   errors   a fault at each durable call           errors.c
 *   delay    slow syncs under load                  delay.c
 *
 * Thread: one a process.
 */
#ifndef FLASHD_TESTS_FAULTS_FAULTS_H
#define FLASHD_TESTS_FAULTS_FAULTS_H

#include "tests/faults/check.h"
#include "tests/faults/vfs.h"

enum { FOLDER_BYTES = 128, SCRIPT_ORDERS = 200 };

struct options {
    uint64_t seed;
    uint32_t images; /* power */
    int64_t image;   /* this one only; -1: all */
    bool lying_disk; /* syncs do nothing */
    bool trace;      /* prints the tape of what fails */
    uint32_t every;  /* errors: one call in so many; more of the first start's */
    uint64_t call;   /* this one only; 0: all */
    uint32_t storms;
    int64_t storm;      /* this one only; -1: all */
    enum vfs_fault how; /* this one only; VFS_NONE: all */
    const char *fault;  /* a deliberate fault (engine/step.h) to catch; NULL: none */
    bool expects_caught;
    char folder[FOLDER_BYTES]; /* this process's own; in memory if possible */
};

/* Shared by the processes that look for failures. */
struct findings {
    uint32_t failures;
    uint64_t first; /* which image, or call */
    uint64_t counts[8];
    char wrong[2 * TAPE_LINE_BYTES];
};

/* Forks one worker per core; each runs body(options, share, of, findings) with a folder of its own. The
 * findings are added up; `first` is the lowest failure. */
typedef void share_body(struct options *options, uint32_t share, uint32_t of,
                        struct findings *findings);
struct findings in_shares(const struct options *options, share_body *body);
void note_failure(struct findings *findings, uint64_t which, const char *wrong);
/* A temporary folder of this process's own, in options->folder; the caller removes it. */
void make_folder(struct options *options);
/* Runs a life in a process of its own and returns its exit status; 256 + the signal that ended it. */
typedef void life_body(void *arg); /* ends with _exit() */
int in_child(life_body *body, void *arg);

int run_power(struct options *options);
int run_errors(struct options *options);
int run_delay(struct options *options);

#endif
