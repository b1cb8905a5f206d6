/*
 * model.c: staging, committing, restoring, comparing (see model.h).
 *
 * Thread: the journal's, or the test's while no thread runs.
 * Fails: commit returns false and model->error says which rule the batch breaks.
 */
#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"

uint64_t model_hash(const void *bytes, size_t len)
{
    const unsigned char *b = bytes;
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ b[i]) * 0x100000001b3ULL;
    hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9ULL;
    return hash ^ hash >> 31;
}

/* ---- the journal's store ---- */

static bool model_begin(void *self)
{
    struct model *m = self;
    m->staged_count = m->saved_count = m->key_staged = 0;
    return true;
}

/* The number after "key": in a payload; UINT64_MAX when it is not there. */
static uint64_t number_in(const char *payload, const char *key)
{
    const char *at = strstr(payload, key);
    return at == NULL ? UINT64_MAX : strtoull(at + strlen(key), NULL, 10);
}

static void read_counters(struct model_staged *staged, const char *payload, size_t len)
{
    /* Buyer and sale names in tests hold no quotes, so the first match is the field. */
    char text[PAYLOAD_BYTES_MAX + 1];
    memcpy(text, payload, len);
    text[len] = 0;
    staged->available = number_in(text, "\"available\":");
    staged->held = number_in(text, "\"held\":");
    staged->sold = number_in(text, "\"sold\":");
    staged->waiting = number_in(text, "\"waiting\":");
}

static bool model_append(void *self, const struct event *event, enum order_state from,
                         const char *payload, size_t payload_bytes)
{
    struct model *m = self;
    const struct order *order = event->order;
    struct model_staged *staged = &m->staged[m->staged_count++];
    staged->sale = event->sale;
    staged->key = event->key;
    staged->entry = (struct judge_entry){.seq = event->seq,
                                         .sale_seq = event->sale->seq,
                                         .kind = (enum event_kind)event->kind,
                                         .from = from,
                                         .quantity = event->quantity,
                                         .terms = &event->sale->terms,
                                         .at_wall_ms = event->at_wall_ms,
                                         .at_mono_ms = event->at_mono_ms};
    if (order != NULL) {
        MUST(order->name_bytes <= JUDGE_NAME_BYTES, "a name that fits");
        staged->entry.order_seq = order->seq;
        staged->entry.name = order->name;
        staged->entry.name_bytes = order->name_bytes;
    }
    read_counters(staged, payload, payload_bytes);
    return true;
}

static bool model_save_sale(void *self, const struct sale *sale)
{
    struct model *m = self;
    m->saved[m->saved_count++] = sale;
    return true;
}

static bool model_keep(void *self, const struct kept *kept)
{
    struct model *m = self;
    if (m->key_count + m->key_staged == m->key_room) {
        m->key_room = m->key_room == 0 ? 64 : m->key_room * 2;
        m->keys = realloc(m->keys, m->key_room * sizeof *m->keys);
        MUST(m->keys != NULL, "memory for keys");
    }
    const struct now now = m->now != NULL ? *m->now : (struct now){0, 0};
    m->keys[m->key_count + m->key_staged++] =
        (struct model_key){*kept, now.wall_ms - (now.mono_ms - kept->asked_mono_ms)};
    return true;
}

static bool refuse(struct model *m, const char *what, uint64_t seq)
{
    snprintf(m->error, sizeof m->error, "seq %llu: %s", (unsigned long long)seq, what);
    return false;
}

/* Whether a key of this transaction has the answer of this event; s: the sale after the event. */
static bool has_its_answer(const struct model *m, const struct judge_entry *e,
                           const struct judge_sale *s)
{
    bool pays = e->kind == EVENT_ORDER_PAID || e->kind == EVENT_ORDER_REFUND_DUE;
    bool cancels = e->kind == EVENT_ORDER_CANCELLED;
    uint8_t kind = pays ? COMMAND_PAY : cancels ? COMMAND_CANCEL : COMMAND_BUY;
    uint8_t outcome = e->kind == EVENT_ORDER_REFUND_DUE ? OUTCOME_HOLD_EXPIRED
                      : kind == COMMAND_BUY             ? OUTCOME_CREATED
                                                        : OUTCOME_DONE;
    int64_t value = e->kind == EVENT_ORDER_RESERVED ? e->at_wall_ms + e->terms->hold_ms
                    : e->kind == EVENT_ORDER_QUEUED ? s->waiting
                                                    : 0;
    for (uint32_t i = 0; i < m->key_staged; i++) {
        const struct kept *k = &m->keys[m->key_count + i].kept;
        if (k->seq == e->seq && k->kind == kind && k->outcome == outcome && k->value == value)
            return true;
    }
    return false;
}

const struct model_key *model_key_of(const struct model *m, uint64_t tag)
{
    for (uint32_t i = m->key_count; i > 0; i--)
        if (m->keys[i - 1].kept.tag == tag)
            return &m->keys[i - 1];
    return NULL;
}

static bool commit_keys(struct model *m)
{
    for (; m->key_staged > 0; m->key_staged--, m->key_count++) {
        const struct model_key *key = &m->keys[m->key_count];
        const struct model_key *before = model_key_of(m, key->kept.tag);
        if (key->kept.seq > m->judge.last_seq)
            return refuse(m, "a refusal is kept before what it saw", key->kept.seq);
        if (before != NULL && key->asked_wall_ms - before->asked_wall_ms <= KEY_KEEP_MS)
            return refuse(m, "a key has two answers (G3)", key->kept.seq);
    }
    return true;
}

static bool commit_event(struct model *m, const struct model_staged *staged)
{
    const struct judge_entry *e = &staged->entry;
    if (!judge_event(&m->judge, e)) {
        memcpy(m->error, m->judge.error, sizeof m->error);
        return false;
    }
    const struct judge_sale *s = judge_sale(&m->judge, e->sale_seq);
    if (staged->available != s->available || staged->held != s->held || staged->sold != s->sold ||
        staged->waiting != s->waiting)
        return refuse(m, "the payload's counters are not those of the history", e->seq);
    if (staged->key != 0 && !has_its_answer(m, e, s))
        return refuse(m, "an event commits without the answer of its key (G3)", e->seq);
    if (m->committed != NULL)
        m->committed(e);
    return true;
}

static bool same_books(const struct judge_sale *s, const struct books *b)
{
    return b->seq == s->last_seq && b->product_qty == s->terms.product_qty &&
           b->available == s->available && b->held == s->held && b->sold == s->sold &&
           b->waiting == s->waiting && b->state == s->state && b->sold_out == s->sold_out;
}

static bool model_commit(void *self)
{
    struct model *m = self;
    if (m->commit_fails_in > 0 && --m->commit_fails_in == 0)
        return refuse(m, "the medium failed", m->judge.last_seq);
    if (m->committing != NULL)
        m->committing("before-durable");
    for (uint32_t i = 0; i < m->staged_count; i++)
        if (!commit_event(m, &m->staged[i]))
            return false;
    for (uint32_t i = 0; i < m->saved_count; i++) {
        const struct judge_sale *s = judge_sale(&m->judge, m->saved[i]->seq);
        if (s == NULL || !same_books(s, &m->saved[i]->books))
            return refuse(m, "a sale's row is not what its events say", m->saved[i]->seq);
    }
    if (!commit_keys(m))
        return false;
    m->staged_count = m->saved_count = 0;
    if (m->committing != NULL)
        m->committing("after-durable");
    return true;
}

static bool model_tidy(void *self, bool busy, int64_t *sleep_ms)
{
    (void)self;
    (void)busy;
    (void)sleep_ms;
    return true;
}

static bool model_full(void *self)
{
    const struct model *m = self;
    return m->full;
}

static const char *model_error(void *self)
{
    const struct model *m = self;
    return m->error;
}

struct journal_store model_store(struct model *model)
{
    return (struct journal_store){.self = model,
                                  .begin = model_begin,
                                  .append = model_append,
                                  .save_sale = model_save_sale,
                                  .keep = model_keep,
                                  .commit = model_commit,
                                  .tidy = model_tidy,
                                  .storage_full = model_full,
                                  .error = model_error};
}

void model_crash(struct model *model)
{
    model->staged_count = model->saved_count = model->key_staged = 0;
    judge_new_life(&model->judge);
}

void model_free(struct model *model)
{
    judge_free(&model->judge);
    free(model->keys);
    model->keys = NULL;
}

/* ---- recovery ---- */

static struct sale_record sale_row(const struct judge_sale *s)
{
    return (struct sale_record){.seq = s->seq,
                                .terms = s->terms,
                                .books = {.seq = s->last_seq,
                                          .product_qty = s->terms.product_qty,
                                          .available = s->available,
                                          .held = s->held,
                                          .sold = s->sold,
                                          .waiting = s->waiting,
                                          .state = (uint8_t)s->state,
                                          .sold_out = s->sold_out}};
}

static struct order_record order_row(const struct judge *j, const struct judge_order *o)
{
    return (struct order_record){.seq = o->seq,
                                 .last_seq = o->last_seq,
                                 .sale_seq = j->sales[o->sale].seq,
                                 .name = o->name,
                                 .name_bytes = o->name_bytes,
                                 .quantity = o->quantity,
                                 .state = o->state,
                                 .refund_due = o->refund_due,
                                 .changed_at_ms = o->changed_at_ms,
                                 .expires_at_ms = o->expires_at_ms};
}

const char *model_restore(struct model *model, struct engine *engine, struct now now)
{
    struct restore restore = {.engine = engine, .now = now};
    const struct judge *j = &model->judge;
    const char *wrong = NULL;
    for (uint32_t i = 0; wrong == NULL && i < j->sale_count; i++) {
        struct sale_record row = sale_row(&j->sales[i]);
        wrong = engine_restore_sale(&restore, &row);
    }
    for (uint32_t i = 0; wrong == NULL && i < j->order_count; i++) {
        struct order_record row = order_row(j, &j->orders[i]);
        wrong = engine_restore_order(&restore, &row);
    }
    const char *at_end = engine_restore_done(&restore);
    for (uint32_t i = 0; wrong == NULL && i < model->key_count; i++)
        if (!keys_restore(&engine->keys, &model->keys[i].kept, now,
                          now.wall_ms - model->keys[i].asked_wall_ms))
            wrong = "the keys do not fit any more";
    journal_refresh_sole_active(engine);
    return wrong != NULL ? wrong : at_end;
}

/* ---- comparing ---- */

static const char *compare_sale(const struct judge_sale *s, const struct sale *sale)
{
    struct stock word = stock_load(&sale->stock);
    uint32_t sold = sold_now(&sale->sold).units;
    if (word.state != (s->state == SALE_STOPPED ? SALE_PAUSED : s->state))
        return "the stock word's state is not the history's";
    if (word.available != s->available)
        return "the stock word's available is not the history's (G1)";
    if (word.waiting != s->waiting)
        return "the stock word's waiting is not the history's (G1)";
    if (sold != s->sold || word.sold_out != (s->sold == s->terms.product_qty))
        return "sold is not the history's (G1)";
    struct books view = view_sale(sale);
    return same_books(s, &view) ? NULL : "the view of a sale is not the history";
}

static const char *compare_order(const struct judge_order *o, const struct engine *engine)
{
    char id[ID_CHARS];
    id_write(id, o->seq, id_tag(engine->options.hash, o->seq));
    const struct order *order = engine_find_order(engine, id, sizeof id);
    if (order == NULL || order->seq != o->seq)
        return "an order is not found by its id";
    if (order_state_now(order) != (unsigned)o->state)
        return "an order's state is not the history's";
    if (atomic_load(&order->committed) != order_committed_pack(o->last_seq, o->state))
        return "the view of an order is not the history";
    return order->refund_due == o->refund_due ? NULL : "refund_due is not the history's";
}

static const char *compare_positions(const struct judge *j, const struct judge_sale *s,
                                     const struct engine *engine, const struct sale *sale)
{
    uint32_t position = 0;
    for (uint32_t i = s->queue_head; i < s->queue_count; i++) {
        const struct judge_order *o = &j->orders[s->queue[i]];
        const struct order *order = seqmap_order(&engine->seqmap, o->seq);
        uint32_t expected = o->state == ORDER_WAITING ? ++position : 0;
        if (order == NULL || view_position(sale, order) != expected)
            return "a position in the waiting list is wrong";
    }
    return NULL;
}

static const char *compare_paid(const struct judge *j, const struct judge_sale *s,
                                const struct sale *sale)
{
    uint64_t count = rows_count(&sale->paid), last = 0, units = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct order *order = (const struct order *)(uintptr_t)rows_get(&sale->paid, i);
        const struct judge_order *o = judge_order(j, order->seq);
        if (o == NULL || o->state != ORDER_PAID || o->last_seq <= last)
            return "the list of who paid is not in the order of payment";
        last = o->last_seq;
        units += o->quantity;
    }
    return units == s->sold ? NULL : "the list of who paid lacks somebody";
}

const char *model_compare(const struct model *model, const struct engine *engine)
{
    const struct judge *j = &model->judge;
    const char *wrong = NULL;
    if (engine_sale_count(engine) != j->sale_count)
        return "another number of sales than in the history";
    for (uint32_t i = 0; wrong == NULL && i < j->sale_count; i++) {
        const struct sale *sale = engine_sale_at(engine, i);
        const struct judge_sale *s = &j->sales[i];
        if ((wrong = compare_sale(s, sale)) == NULL &&
            (wrong = compare_positions(j, s, engine, sale)) == NULL)
            wrong = compare_paid(j, s, sale);
    }
    for (uint32_t i = 0; wrong == NULL && i < j->order_count; i++)
        wrong = compare_order(&j->orders[i], engine);
    return wrong;
}
