/*
 * wake.h: how a thread of the engine sleeps and is woken: an event count (Concurrency Kit's ck_ec).
 *
 * Usage, sleeper:   uint32_t seen = wake_seen(w);  look for work;  if none: wake_wait(w, seen, ms);
 * Usage, waker:     make the work visible;  wake_up(w);
 * No wake is lost: a wake_up() after wake_seen() makes wake_wait() return at once.
 *
 * Threads: many wakers, one sleeper. wake_up() is a system call only when somebody sleeps.
 */
#ifndef FLASHD_ENGINE_WAKE_H
#define FLASHD_ENGINE_WAKE_H

#include <ck_ec.h>
#include <stdint.h>

struct wake {
    struct ck_ec32 count;
};

void wake_init(struct wake *wake);
uint32_t wake_seen(const struct wake *wake);
void wake_up(struct wake *wake);
/* Sleeps until a wake_up() after `seen` was taken, or timeout_ms have passed (-1: no limit). */
void wake_wait(struct wake *wake, uint32_t seen, int64_t timeout_ms);

/* From now on, waking the calling thread does not pre-empt the running one (SCHED_BATCH): the woken thread gets the
 * core once it is free, and then finds more to do. Bigger batches, fewer switches; an idle core runs it at once. No
 * effect where sched_setscheduler(2) is restricted. */
void wake_for_batches(void);

#endif
