/*
 * log.h: the one log. Producers claim slots by one fetch-and-add; readers walk them in claim order.
 *
 * Overview: seq n lives in slot n mod LOG_SLOTS.
 *   A producer
 *     1. log_reserve()  secures room before it decides; a full log says no: refuse, or wait
 *     2. log_claim()    claims seqs, after (taker) or before (giver) it touches the stock word
 *     3. log_publish()  fills and publishes each slot
 *   A reader has a cursor
 *     log_read()        gives the event at the cursor once it is published
 *     log_advance()     gives the slot back
 * Reservation keeps the head within LOG_SLOTS of the slowest cursor, so a claimed seq always finds its
 * slot free: a decision, once made, can always be logged.
 *
 * Threads:  producers are workers and the clock; readers are the journal and the clock.
 * Sleeping: the journal waits on `news` (wake.h); producers bump it once per batch.
 */
#ifndef FLASHD_ENGINE_LOG_H
#define FLASHD_ENGINE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/event.h"
#include "engine/step.h"
#include "engine/wake.h"

enum log_reader { LOG_READER_JOURNAL, LOG_READER_CLOCK, LOG_READER_COUNT };

struct log_slot {
    _Alignas(CACHE_LINE_BYTES) struct event event;
    _Atomic uint64_t stamp; /* producer writes seq when the event is whole; readers acquire */
};
static_assert(sizeof(struct log_slot) == CACHE_LINE_BYTES,
              "neighbouring slots do not share a line");

struct log_cursor {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t next; /* that reader writes, producers read */
};

struct log {
    struct log_slot *slots;
    /* --- producers --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t reserved; /* first seq that nobody may claim yet */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t claimed;  /* first seq that nobody has claimed */
    /* --- one reader each --- */
    struct log_cursor cursors[LOG_READER_COUNT];
    /* --- journal writes, anyone reads --- */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t committed; /* last durable seq */
    _Alignas(CACHE_LINE_BYTES) struct wake news;
};

/* Room that one producer holds: seqs it may claim without asking again. */
struct log_credit {
    uint32_t slots;
};

/* last_seq: of the last event that is durable already, 0 for none. False when out of memory. */
bool log_init(struct log *log, uint64_t last_seq);
void log_free(struct log *log);

/* Producer: makes sure that `slots` seqs can be claimed. False when the log is full: nothing
 * changed. */
bool log_reserve(struct log *log, struct log_credit *credit, uint32_t slots);
/* Producer: claims n seqs, n <= credit->slots; returns the first. */
uint64_t log_claim(struct log *log, struct log_credit *credit, uint32_t n);
/* Producer: copies event into its slot and publishes it. Pairs with log_read(). */
void log_publish(struct log *log, uint64_t seq, const struct event *event);

/* The last claimed seq: a decision made now depends on no event after it. */
static inline uint64_t log_last_claimed(const struct log *log)
{
    return atomic_load_explicit(&log->claimed, memory_order_acquire) - 1;
}

/* Reader: the event `ahead` places after its cursor, or NULL when it is not published yet. Borrowed
 * until log_advance() passes it. */
const struct event *log_read(const struct log *log, enum log_reader reader, uint32_t ahead);
/* Reader: gives back the next n slots. Pairs with log_reserve(). */
void log_advance(struct log *log, enum log_reader reader, uint32_t n);
/* How many claimed events the reader has not passed. */
uint64_t log_lag(const struct log *log, enum log_reader reader);

/* Journal: everything up to seq is durable and visible in the view. Pairs with log_committed(). */
static inline void log_commit(struct log *log, uint64_t seq)
{
    STEP("log-commit");
    atomic_store_explicit(&log->committed, seq, memory_order_seq_cst);
}
static inline uint64_t log_committed(const struct log *log)
{
    return atomic_load_explicit(&log->committed, memory_order_seq_cst);
}

#endif
