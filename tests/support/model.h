/*
 * model.h: a durable medium in memory: the journal_store that tests use instead of SQLite.
 *
 * A transaction is staged by begin, append and save_sale and becomes durable all at once in commit;
 * until then a crash forgets it. A commit is judged first (judge.h): a history that breaks a rule
 * never becomes durable; the commit fails, and the error says why. The judge's rows are the medium's
 * rows: model_restore() builds a new engine's memory from them, as recovery does from SQLite.
 *
 * Also checked: the counters in each payload are the judge's after that event, and each saved sale
 * row is the judge's after the batch (G4). An event that answers an idempotency key commits together
 * with that key's answer, a refusal's answer does not commit before what it saw, and no key has two
 * answers within KEY_KEEP_MS (G3).
 *
 * Threads: the journal's, while it runs; then the test's.
 * Faults: commit_fails_in, full.
 */
#ifndef FLASHD_TESTS_SUPPORT_MODEL_H
#define FLASHD_TESTS_SUPPORT_MODEL_H

#include "engine/engine.h"
#include "engine/restore.h"
#include "tests/support/judge.h"

struct model_staged {
    struct judge_entry entry;
    const struct sale *sale;                 /* borrowed until the commit */
    uint64_t available, held, sold, waiting; /* as the payload has them */
    uint32_t key;                            /* of the event: 0 for none */
};

/* The answer of an idempotency key. */
struct model_key {
    struct kept kept;
    int64_t asked_wall_ms;
};

struct model {
    struct judge judge;       /* what is durable */
    bool full;                /* what storage_full() says */
    uint32_t commit_fails_in; /* the Nth commit from now fails; 0: none does */
    /* Called before and after the moment of durability; may be NULL. */
    void (*committing)(const char *point);
    /* Called for each event that became durable; may be NULL. */
    void (*committed)(const struct judge_entry *entry);
    char error[JUDGE_ERROR_BYTES];
    /* --- the open transaction --- */
    struct model_staged staged[JOURNAL_BATCH_MAX];
    uint32_t staged_count;
    const struct sale *saved[JOURNAL_BATCH_MAX];
    uint32_t saved_count;
    /* --- keys: durable ones, then those of the open transaction --- */
    struct model_key *keys;
    uint32_t key_count, key_staged, key_room;
    const struct now *now; /* dates keys; borrowed; NULL: time stands still */
};

struct journal_store model_store(struct model *model);
/* The last durable answer of a key; NULL when it has none. */
const struct model_key *model_key_of(const struct model *model, uint64_t tag);
/* The open transaction is lost. */
void model_crash(struct model *model);
/* Restores a fresh engine made with last_seq = model->judge.last_seq. NULL, or what was wrong. */
const char *model_restore(struct model *model, struct engine *engine, struct now now);
void model_free(struct model *model);

/* A stand-in for the keyed hash: good spread, no secret. */
uint64_t model_hash(const void *bytes, size_t len);

/*
 * Compares an engine at rest (everything claimed is committed, nothing is in flight) with what is
 * durable: stock words, sold, order states, view, positions, lookups by id. NULL, or what differs;
 * static until the next call.
 */
const char *model_compare(const struct model *model, const struct engine *engine);

#endif
