/*
 * bounds.h: every bound of the engine in one place, and how they relate.
 *
 * Thread: none; constants only.
 * A bound that a client can reach has an outcome (outcome.h) or a refusal in net/; a bound that
 * only flashd itself could pass has an assert.
 *
 * With FLASHD_SMALL (simulation, stress test) the same code runs with small rings and batches, so
 * that a few dozen commands already reach what the product meets only after tens of thousands: a
 * full ring, a full log, a full batch, a second chunk, a slot used again.
 */
#ifndef FLASHD_ENGINE_BOUNDS_H
#define FLASHD_ENGINE_BOUNDS_H

#include <assert.h>
#include <stdint.h>

enum {
    CACHE_LINE_BYTES = 64,

    BUYER_NAME_BYTES_MAX = 64,
    SALE_NAME_BYTES_MAX = 128,
    PRODUCT_QTY_MAX = 1000000000, /* units; fits the 30 bits of the stock word */
    WAITLIST_MAX = 1000000000,    /* orders; fits the 30 bits of the stock word */
    HOLD_MS_MIN = 1,
    HOLD_MS_MAX = 7 * 24 * 3600 * 1000,
    PAYLOAD_BYTES_MAX = 2048,
    KEYS_MAX = 1 << 23, /* idempotency keys at a time */

#ifdef FLASHD_SMALL
    WORKERS_MAX = 3,
    PORTS_MAX = 3,
    SALES_MAX = 16,
    LOG_SLOTS = 128,
    COMMAND_RING_SLOTS = 64,
    WORKER_BATCH_MAX = 4,
    JOURNAL_BATCH_MAX = 8,
    LOG_CREDIT_CHUNK = 12,
    ORDER_BLOCK_BYTES = 1 << 14,
    SEQMAP_CHUNK_ENTRIES = 64,
    SEQMAP_CHUNKS = 1 << 10,
    KEY_WORDS = 4,
    KEY_KEEP_MS = 300,
#else
    WORKERS_MAX = 16,
    NET_THREADS_MAX = 16,
    PORTS_MAX = NET_THREADS_MAX + 3, /* net threads, streams, reconciler, main */
    SALES_MAX = 65536,
    LOG_SLOTS = 65536,           /* events in memory between the slowest reader and the head */
    COMMAND_RING_SLOTS = 8192,   /* commands in flight from one port to one worker */
    WORKER_BATCH_MAX = 64,       /* commands a worker decides before it claims their slots */
    JOURNAL_BATCH_MAX = 4096,    /* events in one transaction */
    LOG_CREDIT_CHUNK = 256,      /* slots a producer reserves at a time */
    ORDER_BLOCK_BYTES = 1 << 21, /* orders are mapped in blocks: one huge page */
    SEQMAP_CHUNK_ENTRIES = 1 << 15,
    SEQMAP_CHUNKS = 1 << 20, /* 2^35 events */
    KEY_WORDS = 64,          /* in a bucket of idempotency keys: its version, then keys */
    KEY_KEEP_MS = 24 * 3600 * 1000,
#endif
};

static_assert((LOG_SLOTS & (LOG_SLOTS - 1)) == 0, "slots are found by mask");
static_assert((COMMAND_RING_SLOTS & (COMMAND_RING_SLOTS - 1)) == 0, "ck_ring wants a power of two");
static_assert((ORDER_BLOCK_BYTES & (ORDER_BLOCK_BYTES - 1)) == 0, "blocks are aligned by mask");
static_assert(KEYS_MAX / (KEY_WORDS / 2) < UINT32_MAX / KEY_WORDS, "a key's number has 32 bits");
static_assert((KEY_WORDS & (KEY_WORDS - 1)) == 0, "a key's number is split by mask");
static_assert(PRODUCT_QTY_MAX < (1 << 30), "available has 30 bits in the stock word");
static_assert(WAITLIST_MAX < (1 << 30), "waiting has 30 bits in the stock word");
static_assert((WORKERS_MAX + 1) * LOG_CREDIT_CHUNK < LOG_SLOTS / 2,
              "idle credits leave the log room");

#endif
