/*
 * log.c: claim, publish, read (see log.h).
 *
 * Happy path: one compare-and-swap per LOG_CREDIT_CHUNK reserved slots, one fetch-and-add per claimed
 * batch, one release store per event. Failure: log_reserve() says no when the slowest reader is a
 * whole ring behind.
 */
#include "engine/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/check.h"
#include "engine/step.h"

bool log_init(struct log *log, uint64_t last_seq)
{
    /* Pages are allocated on first use, so a quiet server does not pay for the whole ring. */
    void *slots = mmap(NULL, sizeof(struct log_slot) * LOG_SLOTS, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slots == MAP_FAILED)
        return false;
    log->slots = slots;
    atomic_init(&log->reserved, last_seq + 1);
    atomic_init(&log->claimed, last_seq + 1);
    atomic_init(&log->committed, last_seq);
    for (int i = 0; i < LOG_READER_COUNT; i++)
        atomic_init(&log->cursors[i].next, last_seq + 1);
    wake_init(&log->news);
    return true;
}

void log_free(struct log *log)
{
    if (log->slots != NULL)
        munmap(log->slots, sizeof(struct log_slot) * LOG_SLOTS);
}

static uint64_t slowest_cursor(const struct log *log)
{
    uint64_t slowest = UINT64_MAX;
    for (int i = 0; i < LOG_READER_COUNT; i++) {
        /* Acquire: pairs with log_advance(); the reader is done with the slots that may now be
         * filled. */
        uint64_t next = atomic_load_explicit(&log->cursors[i].next, memory_order_acquire);
        if (next < slowest)
            slowest = next;
    }
    return slowest;
}

bool log_reserve(struct log *log, struct log_credit *credit, uint32_t slots)
{
    MUST(slots <= LOG_CREDIT_CHUNK, "a reservation above the chunk");
    if (credit->slots >= slots)
        return true;
    uint32_t more = LOG_CREDIT_CHUNK - credit->slots;
    uint64_t reserved = atomic_load_explicit(&log->reserved, memory_order_relaxed);
    do {
        STEP("log-reserve");
        if (reserved + more > slowest_cursor(log) + LOG_SLOTS)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&log->reserved, &reserved, reserved + more,
                                                    memory_order_acq_rel, memory_order_relaxed));
    credit->slots += more;
    return true;
}

uint64_t log_claim(struct log *log, struct log_credit *credit, uint32_t n)
{
    MUST(n <= credit->slots, "claiming without a reservation");
    credit->slots -= n;
    STEP("log-claim");
    return atomic_fetch_add_explicit(&log->claimed, n, memory_order_acq_rel);
}

void log_publish(struct log *log, uint64_t seq, const struct event *event)
{
    struct log_slot *slot = &log->slots[seq & (LOG_SLOTS - 1)];
    STEP("log-publish");
    slot->event = *event;
    slot->event.seq = seq;
    STEP("log-stamp");
    atomic_store_explicit(&slot->stamp, seq, memory_order_release);
}

const struct event *log_read(const struct log *log, enum log_reader reader, uint32_t ahead)
{
    uint64_t seq = atomic_load_explicit(&log->cursors[reader].next, memory_order_relaxed) + ahead;
    const struct log_slot *slot = &log->slots[seq & (LOG_SLOTS - 1)];
    STEP("log-read");
    if (atomic_load_explicit(&slot->stamp, memory_order_acquire) != seq)
        return NULL;
    return &slot->event;
}

void log_advance(struct log *log, enum log_reader reader, uint32_t n)
{
    uint64_t next = atomic_load_explicit(&log->cursors[reader].next, memory_order_relaxed);
    STEP("log-advance");
    atomic_store_explicit(&log->cursors[reader].next, next + n, memory_order_release);
}

uint64_t log_lag(const struct log *log, enum log_reader reader)
{
    uint64_t next = atomic_load_explicit(&log->cursors[reader].next, memory_order_relaxed);
    uint64_t claimed = atomic_load_explicit(&log->claimed, memory_order_relaxed);
    return claimed > next ? claimed - next : 0;
}
