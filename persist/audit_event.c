/*
 * audit_event.c: the checks of one event (see audit.h).
 *
 * All that is wrong at one seq is found, then the pass ends: what comes after would only echo it.
 *
 * Thread: the audit's. In: a row of event_rows. Out: findings, and the replay moved on by one event.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/payload.h"
#include "persist/audit_pass.h"
#include "persist/row.h"

const char audit_events_sql[] =
    "SELECT seq, kind, sale, ord, payload, created_at_ms FROM event_rows ORDER BY seq";

struct met {
    uint64_t seq, order_seq;
    enum event_kind kind;
    const char *payload;
    size_t payload_bytes;
    int64_t at_ms;
    enum order_state from;
    struct audit_sale *sale;
    struct order_row order; /* seq 0: a sale's event */
};

#define FIND(pass, met, check, ...) audit_find((pass)->report, check, (met)->seq, __VA_ARGS__)

static const char *wire_name(const struct met *m)
{
    return event_row(m->kind)->wire_name;
}

/* ---- the payload ---- */

/* Writes into key the name of the member in which `json` and `other` first differ. */
static void differing_key(const struct text *json, const char *other, size_t other_bytes,
                          char key[32])
{
    size_t at = 0, begin = 1;
    bool quoted = false;
    while (at < json->len && at < other_bytes && json->start[at] == other[at])
        at++;
    for (size_t i = 0; i < at; i++) {
        if (json->start[i] == '"' && (i == 0 || json->start[i - 1] != '\\'))
            quoted = !quoted;
        if (json->start[i] == ',' && !quoted)
            begin = i + 1;
    }
    size_t len = 0;
    while (len < 30 && begin + 1 + len < json->len && json->start[begin + 1 + len] != '"')
        len++;
    snprintf(key, 32, "%.*s", (int)len, json->start + begin + 1);
}

static const char *check_named_by(const struct met *m, const char *key)
{
    static const char *const of_orders[] = {"transactionId", "buyerName", "quantity"};
    static const char *const counters[] = {"available", "held", "sold", "waiting", "position"};
    for (size_t i = 0; i < sizeof of_orders / sizeof *of_orders; i++)
        if (strcmp(key, of_orders[i]) == 0)
            return "changed-order";
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        if (strcmp(key, counters[i]) == 0)
            return "changed-event";
    return m->kind == EVENT_SALE_CREATED ? "changed-sale" : "changed-event";
}

/* The payload must be as the server would write it, from the rows and the replay. */
static void check_payload(struct audit_pass *pass, const struct met *m)
{
    char buffer[PAYLOAD_BYTES_MAX], key[32];
    struct text text = text_in(buffer, sizeof buffer);
    struct event event = {
        .seq = m->seq, .sale = m->sale->sale, .at_wall_ms = m->at_ms, .kind = (uint8_t)m->kind};
    if (m->order.seq != 0) {
        event.order = pass->order;
        event.order->seq = m->order.seq;
        event.order->quantity = (uint32_t)m->order.quantity;
        event.order->name_bytes = (uint8_t)m->order.name_bytes;
        memcpy(event.order->name, m->order.name, m->order.name_bytes);
    }
    payload_write(&text, &event, &m->sale->sale->books, pass->hash);
    if (!text.overflow && text.len == m->payload_bytes &&
        memcmp(text.start, m->payload, text.len) == 0)
        return;
    differing_key(&text, m->payload, m->payload_bytes, key);
    FIND(pass, m, check_named_by(m, key),
         "%s: the payload's %s is not what the tables and the events before say: "
         "%.*s",
         wire_name(m), key, (int)(m->payload_bytes < 300 ? m->payload_bytes : 300), m->payload);
}

/* ---- the books ---- */

static bool is_oversold(const struct met *m)
{
    bool takes = m->kind == EVENT_ORDER_RESERVED || m->kind == EVENT_ORDER_PROMOTED ||
                 (m->kind == EVENT_ORDER_PAID && m->from == ORDER_EXPIRED);
    return takes && m->order.quantity > m->sale->sale->books.available;
}

static void check_books(struct audit_pass *pass, const struct met *m)
{
    struct books *books = &m->sale->sale->books;
    bool oversold = is_oversold(m);
    const char *wrong = books_apply(books, (struct books_entry){m->seq, m->kind, m->from,
                                                                (uint32_t)m->order.quantity,
                                                                m->sale->sale->terms.product_qty});
    if (wrong != NULL)
        FIND(pass, m, oversold ? "oversold" : "broken-rule",
             "%s: %s (%s): available %" PRIu32 ", held %" PRIu32 ", sold %" PRIu32
             ", waiting %" PRIu32 " of %" PRIu32 " before",
             wire_name(m), wrong, oversold ? "oversold, G1" : "G1, G4", books->available,
             books->held, books->sold, books->waiting, m->sale->sale->terms.product_qty);
}

/* ---- the order's row ---- */

static const char *why_changed(const struct audit_pass *pass, const struct met *m)
{
    const struct order_row *o = &m->order;
    const struct event_row *row = event_row(m->kind);
    if (o->seq == m->seq && o->tag != id_tag(pass->hash, o->seq))
        return "its tag is not its id's";
    if (o->seq == m->seq && o->created_at_ms != m->at_ms)
        return "created_at_ms is not its first event's";
    if (row->state_after == ORDER_PAYMENT &&
        o->expires_at_ms != m->at_ms + m->sale->sale->terms.hold_ms)
        return "expires_at_ms is not that of its hold";
    if (m->seq > o->last_seq)
        return "it is older than its events";
    if (m->seq < o->last_seq)
        return NULL;
    if (o->state != row->state_after)
        return "its state is not what its last event left";
    bool never_held = row->state_after == ORDER_WAITING ||
                      (m->from == ORDER_WAITING && row->state_after != ORDER_PAYMENT);
    if (never_held && o->expires_at_ms != NO_EXPIRY)
        return "it has an expires_at_ms, but was never in payment";
    if (o->refund_due != (m->kind == EVENT_ORDER_REFUND_DUE))
        return "refund_due is not what its last event left";
    return o->updated_at_ms != m->at_ms ? "updated_at_ms is not its last event's" : NULL;
}

static void check_order(struct audit_pass *pass, const struct met *m)
{
    char id[ID_CHARS];
    const char *why = why_changed(pass, m);
    if (why == NULL)
        return;
    id_write(id, m->order.seq, id_tag(pass->hash, m->order.seq));
    FIND(pass, m, "changed-order",
         "the row of order %.*s: %s (%s, row: %s since seq %" PRIu64 ") (G4)", ID_CHARS, id, why,
         wire_name(m), order_state_name(m->order.state), m->order.last_seq);
}

static void move_order(struct audit_pass *pass, const struct met *m)
{
    const struct order_row *o = &m->order;
    enum order_state to = event_row(m->kind)->state_after;
    if (order_state_is_live(to) && !order_state_is_live(m->from))
        audit_now_live(pass, o, m->seq);
    if (!order_state_is_live(to) && order_state_is_live(m->from))
        audit_now_dead(pass, o);
    bool settled = m->seq == o->last_seq;
    pass->unsettled -= settled;
    if (!audit_state_put(&pass->states, o->seq, (uint8_t)(to | (settled ? AUDIT_SETTLED : 0))))
        audit_out_of_memory(pass);
}

/* ---- finding the rows ---- */

/* Orders are made in the order of their seqs: the row on which new_orders stands must be this order's. */
static bool take_new_order(struct audit_pass *pass, struct met *m)
{
    if (pass->new_order_there && pass->newest.seq < m->seq) {
        audit_find(pass->report, "changed-order", pass->newest.seq,
                   "an order has a row, but the event at its seq did not make it (G4)");
        return false;
    }
    if (!pass->new_order_there || pass->newest.seq > m->seq) {
        FIND(pass, m, "missing-order", "%s: its order has no row (G4): %.*s", wire_name(m),
             (int)(m->payload_bytes < 300 ? m->payload_bytes : 300), m->payload);
        return false;
    }
    m->order = pass->newest;
    if (!pass->newest_sound)
        audit_malformed_order(pass, m->seq);
    return pass->newest_sound;
}

static bool take_known_order(struct audit_pass *pass, struct met *m)
{
    uint8_t seen = audit_state(&pass->states, m->order_seq);
    (void)sqlite3_reset(pass->find_order);
    (void)sqlite3_bind_int64(pass->find_order, 1, (sqlite3_int64)m->order_seq);
    int rc = sqlite3_step(pass->find_order);
    if (rc == SQLITE_ROW) {
        bool sound = audit_order_of(pass, pass->find_order, &m->order);
        m->from = (enum order_state)(seen & AUDIT_STATE);
        if (!sound)
            audit_malformed_order(pass, m->order_seq);
        return sound;
    }
    if (rc != SQLITE_DONE)
        audit_unreadable(pass);
    FIND(pass, m, "missing-order", "%s: its order has no row (G4): %.*s", wire_name(m),
         (int)(m->payload_bytes < 300 ? m->payload_bytes : 300), m->payload);
    return false;
}

static bool take_order(struct audit_pass *pass, struct met *m)
{
    bool makes = m->kind == EVENT_ORDER_RESERVED || m->kind == EVENT_ORDER_QUEUED;
    if (makes != (m->order_seq == m->seq)) {
        FIND(pass, m, "changed-event", "%s names the order of seq %" PRIu64, wire_name(m),
             m->order_seq);
        return false;
    }
    if (makes ? !take_new_order(pass, m) : !take_known_order(pass, m))
        return false;
    if (m->order.sale_seq == m->sale->sale->seq)
        return true;
    FIND(pass, m, "changed-order", "%s: the order's row names another sale than its event (G4)",
         wire_name(m));
    return false;
}

static bool take_sale(struct audit_pass *pass, struct met *m, uint64_t sale_seq)
{
    m->sale = audit_sale_at(pass, sale_seq);
    if (m->sale == NULL)
        FIND(pass, m, "missing-sale", "%s: its sale has no row (G4)", wire_name(m));
    return m->sale != NULL;
}

static bool read_event(struct audit_pass *pass, sqlite3_stmt *row, struct met *m)
{
    uint64_t kind = number_at(row, 1);
    m->seq = number_at(row, 0);
    m->order_seq = number_at(row, 3);
    m->payload = (const char *)sqlite3_column_text(row, 4);
    m->payload_bytes = (size_t)sqlite3_column_bytes(row, 4);
    if (m->seq != pass->next_seq) {
        bool twice = m->seq < pass->next_seq;
        audit_find(pass->report, twice ? "duplicate-seq" : "missing-event",
                   twice ? m->seq : pass->next_seq,
                   twice ? "the seq stands twice, or should have been removed (G5)"
                         : "the event is missing: the run of seqs has a gap (G5)");
        return false;
    }
    bool numbers = are_numbers(row, 1, 2) &&
                   (sqlite3_column_type(row, 3) == SQLITE_NULL || are_numbers(row, 3, 3));
    if (!numbers || kind >= EVENT_KIND_COUNT || m->payload == NULL ||
        !payload_time(m->payload, m->payload_bytes, &m->at_ms)) {
        FIND(pass, m, "changed-event", "the event's row or payload is malformed");
        return false;
    }
    if (!are_numbers(row, 5, 5) || sqlite3_column_int64(row, 5) != m->at_ms) {
        FIND(pass, m, "changed-event", "created_at_ms is not the payload's `at`");
        return false;
    }
    m->kind = (enum event_kind)kind;
    bool of_order = event_is_of_order(m->kind);
    if (of_order != (sqlite3_column_type(row, 3) != SQLITE_NULL)) {
        FIND(pass, m, "changed-event", "%s %s", wire_name(m),
             of_order ? "names no order" : "names an order");
        return false;
    }
    return take_sale(pass, m, number_at(row, 2)) && (!of_order || take_order(pass, m));
}

void audit_settle_sale(struct audit_pass *pass, struct audit_sale *sale)
{
    const struct books *row = &sale->row, *told = &sale->sale->books;
    sale->settled = true;
    bool counters = row->available == told->available && row->held == told->held &&
                    row->sold == told->sold && row->waiting == told->waiting;
    if (!counters)
        audit_find(pass->report, "changed-counter", row->seq,
                   "sale %s: its row has available %" PRIu32 ", held %" PRIu32 ", sold %" PRIu32
                   ", waiting %" PRIu32 "; its events say %" PRIu32 ", %" PRIu32 ", %" PRIu32
                   ", %" PRIu32 " (G1, G4)",
                   sale->sale->id, row->available, row->held, row->sold, row->waiting,
                   told->available, told->held, told->sold, told->waiting);
    else if (row->state != told->state || row->sold_out != told->sold_out)
        audit_find(pass->report, "changed-sale", row->seq,
                   "sale %s: its row is %s%s; its events say %s%s (G4)", sale->sale->id,
                   sale_state_name((enum sale_state)row->state), row->sold_out ? ", sold out" : "",
                   sale_state_name((enum sale_state)told->state),
                   told->sold_out ? ", sold out" : "");
}

static void check_sale(struct audit_pass *pass, const struct met *m)
{
    if (m->seq == m->sale->row.seq)
        audit_settle_sale(pass, m->sale);
    else if (m->seq > m->sale->row.seq)
        FIND(pass, m, "changed-sale", "sale %s: its row is older than its events (G4)",
             m->sale->sale->id);
}

void audit_event(struct audit_pass *pass, sqlite3_stmt *row)
{
    struct met m = {.from = ORDER_NONE};
    if (!read_event(pass, row, &m))
        return;
    check_books(pass, &m);
    check_payload(pass, &m);
    if (m.order.seq != 0) {
        check_order(pass, &m);
        move_order(pass, &m);
        if (m.order.seq == m.seq && !audit_next_order(pass))
            return;
    }
    if (!audit_stopped(pass))
        check_sale(pass, &m);
    pass->next_seq++;
    pass->report->events++;
}
