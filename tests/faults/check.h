/*
 * check.h: starts a flashd on what a crash has left, and holds it against what the tape promises.
 *
 * What must hold, after each start:
 *   - it starts: recovery finds every sale and order as the events say (G1, G3, G4), no gap (G5)
 *   - the same for an audit of the bare files, before anything has repaired them
 *   - every event that was promised is there, and each one there is the one that readers saw
 *   - each answer's own event is the one that was answered
 *   - the memory's stock words say what the books say; it goes on selling
 *
 * Thread: one. Fails: with a sentence.
 */
#ifndef FLASHD_TESTS_FAULTS_CHECK_H
#define FLASHD_TESTS_FAULTS_CHECK_H

#include "tests/faults/life.h"

struct check {
    const struct tape *tape;
    uint32_t ops;  /* the crash: so many ops had been issued */
    bool audit;    /* audit the bare files first */
    bool go_on;    /* sell some more after, then close and start once more */
    uint64_t last; /* out: the last seq that was there */
    char wrong[2 * TAPE_LINE_BYTES];
};

/* Whether everything holds; else check->wrong. */
bool check_start(struct check *check, const char *dir);
/* The same for a life that has just been opened. */
bool check_life(struct check *check, struct life *life);

#endif
