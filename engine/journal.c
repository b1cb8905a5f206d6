/*
 * journal.c: a batch: copy out of the log, balance, store, commit, show (see journal.h).
 *
 * The batch is copied, so the log's slots are free for new decisions while the disk syncs.
 *
 * Thread: writer. Fails: journal_round() returns JOURNAL_FAILED with a sentence in journal->error.
 */
#include "engine/journal.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/now.h"
#include "engine/payload.h"

enum { WALL_JITTER_MS = 1000, IDLE_POLL_MS = 250 };

bool journal_init(struct journal *j, struct engine *engine, struct journal_store store,
                  uint64_t published)
{
    *j = (struct journal){.engine = engine, .store = store, .published = published};
    j->batch = malloc(JOURNAL_BATCH_MAX * sizeof *j->batch);
    j->touched = malloc(JOURNAL_BATCH_MAX * sizeof(struct sale *));
    return j->batch != NULL && j->touched != NULL;
}

void journal_free(struct journal *j)
{
    free(j->batch);
    free(j->touched);
}

/* Each thread that plays a worker reads the time itself, so neighbours in the log may be out of order by a moment. Ids
 * must sort by creation time, so the log's order wins; a step of WALL_JITTER_MS or more, back, is let through. */
static int64_t smooth_time(struct journal *j, int64_t wall_ms)
{
    if (wall_ms < j->last_wall_ms && j->last_wall_ms - wall_ms < WALL_JITTER_MS)
        return j->last_wall_ms;
    j->last_wall_ms = wall_ms;
    return wall_ms;
}

static void take_batch(struct journal *j)
{
    const struct event *event;
    uint32_t n = 0;
    while (n < JOURNAL_BATCH_MAX &&
           (event = log_read(&j->engine->log, LOG_READER_JOURNAL, n)) != NULL) {
        j->batch[n] = *event;
        j->batch[n].at_wall_ms = smooth_time(j, event->at_wall_ms);
        n++;
    }
    log_advance(&j->engine->log, LOG_READER_JOURNAL, n);
    j->batch_count = n;
}

static bool fail(struct journal *j, const char *what, const struct event *event, const char *why)
{
    uint64_t seq = event != NULL ? event->seq : log_committed(&j->engine->log);
    snprintf(j->error, sizeof j->error, "%s%s%s (%s %llu)", what, why != NULL ? ": " : "",
             why != NULL ? why : "", event != NULL ? "seq" : "after seq", (unsigned long long)seq);
    return false;
}

static bool fail_store(struct journal *j, const char *what)
{
    return fail(j, what, NULL, j->store.error(j->store.self));
}

static void touch(struct journal *j, struct sale *sale)
{
    if (!sale->touched)
        j->touched[j->touched_count++] = sale;
    sale->touched = true;
}

/* What a purchase's reply tells besides the seq: until when to pay, or the place in the waiting list. */
static int64_t value_of(const struct event *event)
{
    if (event->kind == EVENT_ORDER_RESERVED)
        return event->at_wall_ms + event->sale->terms.hold_ms;
    return event->kind == EVENT_ORDER_QUEUED ? event->order->position : 0;
}

static void complete_key(struct journal *j, const struct event *event)
{
    struct keys *keys = &j->engine->keys;
    keys_complete(keys, event->key, event->seq, value_of(event));
    keys_link(keys, event->key, FAULT(FAULT_KEY_AFTER_COMMIT) ? &j->early_keys : &j->keys);
}

/* Adds to the tide what the event's changes did to the counters, as far as they met the turned tint (stock.h). */
static void follow_tide(struct tide *tide, const struct event *event, const struct books *before,
                        const struct books *after)
{
    if ((event->tint & TINT_UNITS) != 0)
        tide->available += after->available - before->available;
    if ((event->tint & TINT_PLACE) != 0)
        tide->waiting += after->waiting - before->waiting;
    if ((event->tint & TINT_SOLD) != 0)
        tide->sold += after->sold - before->sold;
    tide->turns += after->state != before->state;
}

/* Replays one event on its sale's books and hands it to the store, with its JSON. */
static bool write_event(struct journal *j, const struct event *event)
{
    struct order *order = event->order;
    enum order_state from = order != NULL ? (enum order_state)order->logged : ORDER_NONE;
    const struct books before = event->sale->books;
    const char *wrong = books_apply(
        &event->sale->books, (struct books_entry){event->seq, (enum event_kind)event->kind, from,
                                                  event->quantity, event->sale->terms.product_qty});
    if (wrong != NULL)
        return fail(j, "the books do not balance", event, wrong);
    follow_tide(&event->sale->tide, event, &before, &event->sale->books);
    if (order != NULL) {
        order->logged = (uint8_t)event_row((enum event_kind)event->kind)->state_after;
        if (order->logged == ORDER_WAITING)
            order->position = event->sale->books.waiting;
    }
    j->states_changed = j->states_changed || order == NULL;
    touch(j, event->sale);
    if (event->key != 0)
        complete_key(j, event);
    if (FAULT(FAULT_SKIP_SEQ) && event->seq % 50 == 0)
        return true;
    char payload[PAYLOAD_BYTES_MAX];
    struct text text = text_in(payload, sizeof payload);
    payload_write(&text, event, &event->sale->books, j->engine->options.hash);
    if (text.overflow)
        return fail(j, "a payload is too long", event, NULL);
    return j->store.append(j->store.self, event, from, payload, text.len) ||
           fail_store(j, "writing an event");
}

/* One row per batch, not one per event. */
static bool write_watermark(struct journal *j)
{
    uint64_t published = atomic_load_explicit(&j->engine->published, memory_order_acquire);
    if (published <= j->published)
        return true;
    j->published = published;
    return j->store.note_published(j->store.self, published, now_read().wall_ms) ||
           fail_store(j, "writing the watermark of the streams");
}

/* Adds to the batch the keys of refusals that saw no event after this batch; other refusals stay on early_keys. */
static void take_keys(struct journal *j)
{
    struct keys *keys = &j->engine->keys;
    uint64_t durable =
        j->batch_count > 0 ? j->batch[j->batch_count - 1].seq : log_committed(&j->engine->log);
    uint32_t lists[] = {j->early_keys, keys_waiting(keys) ? keys_take(keys) : 0};
    j->early_keys = 0;
    for (int i = 0; i < 2; i++) {
        for (uint32_t key = lists[i], next; key != 0; key = next) {
            next = keys_next(keys, key);
            bool early = keys_kept(keys, key).seq > durable;
            keys_link(keys, key, early ? &j->early_keys : &j->keys);
        }
    }
}

static bool write_keys(struct journal *j)
{
    const struct keys *keys = &j->engine->keys;
    for (uint32_t key = j->keys; key != 0; key = keys_next(keys, key)) {
        const struct kept kept = keys_kept(keys, key);
        if (!j->store.keep(j->store.self, &kept))
            return fail_store(j, "keeping an answer");
    }
    return true;
}

static void settle_keys(struct journal *j)
{
    struct keys *keys = &j->engine->keys;
    for (uint32_t key = j->keys, next; key != 0; key = next) {
        next = keys_next(keys, key);
        keys_settle(keys, key);
    }
    j->keys = 0;
}

static bool write_batch(struct journal *j)
{
    if (!j->store.begin(j->store.self))
        return fail_store(j, "beginning a transaction");
    if (!write_watermark(j))
        return false;
    for (uint32_t i = 0; i < j->batch_count; i++)
        if (!write_event(j, &j->batch[i]))
            return false;
    for (uint32_t i = 0; i < j->touched_count; i++)
        if (!j->store.save_sale(j->store.self, j->touched[i]))
            return fail_store(j, "writing a sale");
    if (!write_keys(j))
        return false;
    STEP("commit");
    return j->store.commit(j->store.self) || fail_store(j, "commit");
}

static void linger(void)
{
    if (FAULT(FAULT_LATE_VIEW))
        (void)nanosleep(&(const struct timespec){0, 1500000}, NULL);
}

/* Makes the batch visible, piece by piece (see engine_await_view()), before committed_seq passes it. */
static bool show_events(struct journal *j)
{
    linger();
    atomic_fetch_add_explicit(&j->engine->view_generation, 1, memory_order_acq_rel);
    for (uint32_t i = 0; i < j->batch_count; i++)
        if (!view_apply(&j->batch[i]))
            return fail(j, "out of memory after the commit", &j->batch[i], NULL);
    linger();
    for (uint32_t i = 0; i < j->touched_count; i++) {
        view_publish(j->touched[i]);
        j->touched[i]->touched = false;
    }
    j->touched_count = 0;
    if (j->states_changed)
        journal_refresh_sole_active(j->engine);
    j->states_changed = false;
    log_commit(&j->engine->log, j->batch[j->batch_count - 1].seq);
    atomic_fetch_add_explicit(&j->engine->view_generation, 1, memory_order_release);
    return true;
}

static bool show_batch(struct journal *j)
{
    if (j->batch_count > 0 && !show_events(j))
        return false;
    settle_keys(j);
    for (uint32_t i = 0; i < j->engine->options.ports; i++)
        port_notify(&j->engine->ports[i]);
    return true;
}

static bool tidy(struct journal *j, bool busy)
{
    j->sleep_ms = IDLE_POLL_MS;
    return j->store.tidy(j->store.self, busy, &j->sleep_ms) || fail_store(j, "tidying the store");
}

enum journal_result journal_round(struct journal *j)
{
    take_batch(j);
    take_keys(j);
    bool full = j->store.storage_full(j->store.self);
    /* Stored on change only: workers read this cache line. */
    if (full != atomic_load_explicit(&j->engine->storage_full, memory_order_relaxed))
        atomic_store_explicit(&j->engine->storage_full, full, memory_order_relaxed);
    if (j->batch_count > 0 || j->keys != 0)
        return write_batch(j) && show_batch(j) && tidy(j, true) ? JOURNAL_WROTE : JOURNAL_FAILED;
    /* At most the watermark is left to write; it was waiting for a batch to go with. */
    if (atomic_load_explicit(&j->engine->published, memory_order_acquire) > j->published &&
        !write_batch(j))
        return JOURNAL_FAILED;
    return tidy(j, false) ? JOURNAL_IDLE : JOURNAL_FAILED;
}

void journal_refresh_sole_active(struct engine *engine)
{
    int32_t sole = SOLE_ACTIVE_NONE;
    for (uint32_t i = 0; i < engine_sale_count(engine); i++) {
        if (view_sale(engine_sale_at(engine, i)).state != SALE_ACTIVE)
            continue;
        sole = sole == SOLE_ACTIVE_NONE ? (int32_t)i : SOLE_ACTIVE_SEVERAL;
    }
    atomic_store_explicit(&engine->sole_active, sole, memory_order_release);
}
