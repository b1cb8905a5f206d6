/*
 * journal.h: the log's first reader: balances the books, makes each batch durable, then lets it be seen.
 *
 * Thread: writer.
 * In:     published events, in log order; those that came while the last commit was syncing are one batch (of
 *         at most JOURNAL_BATCH_MAX). Answers for idempotency keys: with their event, or, for refusals,
 *         handed over by a worker (keys.h).
 * Out:    through a struct journal_store: one transaction per batch, with the streams' watermark and the
 *         answers for keys. After its commit: the view, committed_seq, the keys, and a wake for every port,
 *         in this order.
 * Fails:  journal_round() says why; the caller must end the process. The outcome of a failed commit is
 *         unknown, so nothing may be answered any more; recovery finds out at the next start.
 *
 * The store is an interface, so that engine/ knows no SQL; persist/ implements it.
 */
#ifndef FLASHD_ENGINE_JOURNAL_H
#define FLASHD_ENGINE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/event.h"
#include "engine/keys.h"
#include "engine/sale.h"

struct engine;

/* Each call but storage_full() returns false on failure, and error() then says why. payload is
 * borrowed for the call. */
struct journal_store {
    void *self;
    bool (*begin)(void *self);
    /* One event and the order row it changes. from: the order's state before. */
    bool (*append)(void *self, const struct event *event, enum order_state from,
                   const char *payload, size_t payload_bytes);
    /* A sale's row, once per batch, after the batch's events. */
    bool (*save_sale)(void *self, const struct sale *sale);
    /* An answer under its idempotency key, in the transaction of its event if it has one. */
    bool (*keep)(void *self, const struct kept *kept);
    bool (*commit)(void *self);
    /* Notes that every event up to seq has been handed to the streams; inside a transaction. */
    bool (*note_published)(void *self, uint64_t seq, int64_t at_wall_ms);
    /* Called after each round, once its replies are released: time for checkpoints, removal of old events and
     * the like. busy: a batch was written, so more may be waiting. *sleep_ms: how long the journal will sleep
     * if nothing comes; lower it to be called again sooner. */
    bool (*tidy)(void *self, bool busy, int64_t *sleep_ms);
    /* Whether new orders must be refused for want of disk space. */
    bool (*storage_full)(void *self);
    const char *(*error)(void *self);
};

struct journal {
    /* --- writer only --- */
    struct engine *engine;
    struct journal_store store;
    struct event *batch; /* JOURNAL_BATCH_MAX */
    uint32_t batch_count;
    struct sale **touched; /* JOURNAL_BATCH_MAX */
    uint32_t touched_count;
    uint32_t keys;       /* list (keys.h): answered by this batch */
    uint32_t early_keys; /* list: refusals that saw events of no batch so far */
    int64_t last_wall_ms;
    bool states_changed; /* the batch holds a sale's event */
    uint64_t published;  /* the watermark that the store has */
    int64_t sleep_ms;    /* after JOURNAL_IDLE: how long to wait for news before the next round */
    char error[256];
};

/* published: the watermark that the store has already. */
bool journal_init(struct journal *journal, struct engine *engine, struct journal_store store,
                  uint64_t published);
void journal_free(struct journal *journal);

enum journal_result { JOURNAL_IDLE, JOURNAL_WROTE, JOURNAL_FAILED };
/* Writes one batch, if there is one. After JOURNAL_FAILED, journal->error says why; do not call it again. */
enum journal_result journal_round(struct journal *journal);
/* Recomputes engine->sole_active: after recovery, and when a batch changed a sale's state. */
void journal_refresh_sole_active(struct engine *engine);

#endif
