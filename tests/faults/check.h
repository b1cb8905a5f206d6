/*
 * check.h: starts a flashd on what a crash has left, and compares it with what the tape promises.
 *
 * What must hold, after each start:
 *   - it starts: recovery finds every sale and order as the events say (G1, G3, G4), no gap (G5)
 *   - an audit of the bare files finds the same, before anything has repaired them
 *   - every promised event is there, and each event there is the one that readers saw
 *   - each answer's own event is the one that was answered
 *   - the stock words in memory agree with the books; it goes on selling
 *
 * Thread: one. Fails: with a sentence.
 */
#ifndef FLASHD_TESTS_FAULTS_CHECK_H
#define FLASHD_TESTS_FAULTS_CHECK_H

#include "tests/faults/life.h"

struct check {
    const struct tape *tape;
    uint32_t ops;  /* how many ops had been issued at the crash */
    bool audit;    /* audit the bare files first */
    bool go_on;    /* then sell some more, close and start once more */
    uint64_t last; /* out: the last seq that was there */
    char wrong[2 * TAPE_LINE_BYTES];
};

/* Whether everything holds; else check->wrong. */
bool check_start(struct check *check, const char *dir);
/* The same for a life that has just been opened. */
bool check_life(struct check *check, struct life *life);

#endif
