/*
 * past.h: a long and varied past in a data directory, made in the engine's own time.
 *
 * Time is an argument of every decision, so nothing is backdated: the engine itself decides, the journal and the
 * store write, on one thread. Sales follow each other; buyers come once or again, pay (some too late), cancel,
 * wait, are promoted and cleared; holds expire; sales are paused, resumed, sold out and ended. The last sale
 * stays open. The seed makes it repeatable.
 *
 * For tests of retention, audit and recovery: history.c makes it a program.
 * Thread: the test's, one at a time. Fails: by ending the process.
 */
#ifndef FLASHD_TESTS_HISTORY_PAST_H
#define FLASHD_TESTS_HISTORY_PAST_H

#include "engine/engine.h"
#include "persist/store.h"

struct past;

/* Into an empty data directory. `events` events will lie evenly between from_days and to_days before now. */
struct past *past_open(const char *dir, uint64_t events, double from_days, double to_days,
                       uint64_t seed);
/* Goes on until there are that many events, or a few more. */
void past_make(struct past *past, uint64_t events);
/* From here on every event so far counts as handed to the streams. */
void past_publish(struct past *past);
uint64_t past_events(const struct past *past);
/* Borrowed. */
struct store *past_store(const struct past *past);
void past_close(struct past *past);

#endif
