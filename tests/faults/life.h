/*
 * life.h: one life of a flashd without sockets: the real store and engine, wired as in main.c, on one thread.
 *
 * The script is made from a seed and from what the engine answers: sales are opened, paused, resumed and
 * ended, buyers buy, wait, pay, cancel and let holds expire. Commands go in groups, as under load. After each
 * round of each thread, the replies that the port releases are written on the tape as promises, and so is
 * every event that a reader of the archive sees.
 *
 * Thread: one. Time is an argument, so that holds expire within a run.
 * Fails:  with the product's own line in life->error.
 */
#ifndef FLASHD_TESTS_FAULTS_LIFE_H
#define FLASHD_TESTS_FAULTS_LIFE_H

#include "engine/engine.h"
#include "persist/archive.h"
#include "persist/recovery.h"
#include "persist/store.h"
#include "tests/faults/tape.h"
#include "tests/support/random.h"

struct life {
    struct store *store;
    struct archive *archive;
    struct engine engine;
    bool engine_made;
    struct recovery found;
    struct now now;
    struct tape *tape; /* NULL: nothing is recorded */
    struct random dice;
    uint64_t read_seq; /* events up to here are on the tape */
    uint32_t orders;   /* made in this life */
    char error[TAPE_LINE_BYTES];
};

/* store_open, engine_init, recover, archive_open. number: how often it was started before. False: see
 * life->error. Call life_close() in any case. */
bool life_open(struct life *life, const char *dir, struct tape *tape, uint64_t seed,
               uint32_t number);
void life_close(struct life *life);
/* Plays until so many orders were made in this life. False when the journal failed. */
bool life_play(struct life *life, uint32_t orders);

/* Records on this tape from now on: as a new life, with every event so far. */
void life_begin_tape(struct life *life, struct tape *tape);

/* A sum that stands for a payload. */
uint64_t payload_hash(const char *payload, size_t bytes);

#endif
