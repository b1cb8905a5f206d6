/*
 * reconcile.c: a run of the reconciliation: replays the events, compares the sales' rows (see reconcile.h).
 *
 * Happy path: replay_baseline() (what is left of the events that are gone) -> replay_all() (replay_meet(): each
 * sale at the seq its readers saw; compare_sale_row() at S) -> replay_orders() (a page of orders at a time, and
 * what moved meanwhile).
 *
 * Why there is no false alarm: a row and committed memory name the seq of their last event. If the replay has
 * come that far, they are compared at once; if not, they are kept as a sample, and compared when it gets there.
 * Memory is read when everything that the replay has taken is visible, so memory is never older than the replay.
 *
 * A sale whose events cannot be replayed any further is left out from there on; the others go on.
 *
 * Thread: reconciler.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/diag.h"
#include "engine/payload.h"
#include "persist/baseline.h"
#include "persist/database.h"
#include "persist/reconcile_pass.h"
#include "persist/retention.h"

enum {
    BREATH_ROWS = 32, /* some tens of microseconds */
    GAP_EVENTS_LOOKED_AT = 4096,
    ORDERS_ROOM_MIN = 1 << 16,
};

static const char *const statements[STMT_COUNT] = {
    [STMT_EVENTS] = "SELECT seq, kind, sale, ord, payload FROM event_rows WHERE seq >= ?1"
                    " ORDER BY seq LIMIT ?2",
    [STMT_SALES] =
        "SELECT seq, name, product_qty, max_per_buyer, waitlist_max, hold_ms, starts_at_ms,"
        " ends_at_ms, state, sold_out, available, held, sold, waiting, last_seq, tag"
        " FROM sale_rows",
    [STMT_ORDERS] = "SELECT seq, sale, buyer, quantity, state, refund_due, last_seq, tag"
                    " FROM order_rows WHERE seq > ?1 AND seq <= ?3 ORDER BY seq LIMIT ?2",
    /* Rows that no page of a run comes to. */
    [STMT_STRAYS] = "SELECT seq, sale, 1 FROM order_rows WHERE seq < 1"
                    " UNION ALL SELECT seq, sale, 1 FROM order_rows WHERE seq > ?1"
                    " UNION ALL SELECT seq, sale, 0 FROM event_rows"
                    " WHERE seq <= (SELECT seq FROM baseline)",
    [STMT_BASELINE_SALES] = baseline_sales_sql,
    [STMT_BASELINE_ORDERS] = baseline_orders_sql,
    [STMT_OLD_ORDERS] =
        BASELINE_ORDER_ROWS " WHERE o.seq > ?1 AND o.seq <= ?3 ORDER BY o.seq LIMIT ?2",
};

/* ---- the connection ---- */

struct ledger *ledger_open(const char *data_dir, struct retention_gate *gate, char *error,
                           size_t error_bytes)
{
    struct ledger *l = calloc(1, sizeof *l);
    if (l == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    l->gate = gate;
    l->db = database_open_reader(data_dir, error, error_bytes);
    bool ok = l->db != NULL;
    for (int i = 0; ok && i < STMT_COUNT; i++)
        ok = sqlite3_prepare_v3(l->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &l->statements[i], NULL) == SQLITE_OK ||
             database_fail(l->db, "schema", error, error_bytes);
    if (ok)
        return l;
    ledger_close(l);
    return NULL;
}

void ledger_close(struct ledger *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(l->statements[i]);
    (void)sqlite3_close(l->db);
    free(l);
}

void replay_fail_reading(struct replay *r)
{
    diag(DIAG_ERROR, "reading for the reconciliation failed: %s", sqlite3_errmsg(r->ledger->db));
    r->failure = "the database cannot be read";
}

uint32_t replay_page(struct replay *r, enum statement which, uint64_t from, take_row *take)
{
    sqlite3_stmt *s = r->ledger->statements[which];
    uint32_t count = 0;
    int rc = SQLITE_ROW;
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)from);
    (void)sqlite3_bind_int64(s, 2, PAGE_ROWS);
    (void)sqlite3_bind_int64(s, 3, (sqlite3_int64)r->run->seq);
    while (r->failure == NULL && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        take(r, s);
        count++;
        if (++r->rows % BREATH_ROWS == 0 && !reconcile_breathe(r->run))
            r->failure = "the server is stopping";
    }
    (void)sqlite3_reset(s); /* ends the read */
    if (r->failure == NULL && rc != SQLITE_DONE)
        replay_fail_reading(r);
    return count;
}

static bool execute(struct replay *r, const char *sql)
{
    if (r->failure == NULL && sqlite3_exec(r->ledger->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        replay_fail_reading(r);
    return r->failure == NULL;
}

/* ---- what differs ---- */

void replay_break(struct replay *r, const struct sale *sale, uint64_t seq, const char *rule,
                  const struct order *order, const char *event)
{
    uint64_t committed =
        order != NULL ? atomic_load_explicit(&order->committed, memory_order_acquire) : 0;
    reconcile_differs(r->run, sale, seq, rule,
                      order != NULL ? order_state_name(order_committed_state(committed)) : NULL,
                      NULL, event);
    if (sale != NULL)
        replay_told(r, sale)->broken = true;
}

static const char *number_text(char *out, const uint64_t *number)
{
    if (number == NULL)
        return NULL;
    snprintf(out, DIVERGENCE_VALUE_BYTES, "%llu", (unsigned long long)*number);
    return out;
}

void replay_compare(struct replay *r, const struct sale *sale, uint64_t seq, const char *field,
                    const uint64_t *memory, const uint64_t *tables, uint64_t events)
{
    char m[DIVERGENCE_VALUE_BYTES], t[DIVERGENCE_VALUE_BYTES], e[DIVERGENCE_VALUE_BYTES];
    if ((memory == NULL || *memory == events) && (tables == NULL || *tables == events))
        return;
    reconcile_differs(r->run, sale, seq, field, number_text(m, memory), number_text(t, tables),
                      number_text(e, &events));
}

static const char *state_text(uint64_t state)
{
    return state < SALE_STATE_COUNT ? sale_state_name((enum sale_state)state) : "none at all";
}

static void compare_states(struct replay *r, const struct sale *sale, const struct books *memory,
                           const struct books *tables, const struct books *events)
{
    if ((memory != NULL && memory->state != events->state) ||
        (tables != NULL && tables->state != events->state))
        reconcile_differs(
            r->run, sale, events->seq, "state", memory != NULL ? state_text(memory->state) : NULL,
            tables != NULL ? state_text(tables->state) : NULL, state_text(events->state));
}

/* A sale's counters as of events->seq; memory and tables may be NULL. */
static void compare_books(struct replay *r, const struct sale *sale, const struct books *memory,
                          const struct books *tables, const struct books *events)
{
    enum { FIGURES = 6 };
    static const char *const fields[FIGURES] = {"available", "held",     "sold",
                                                "waiting",   "sold out", "the last seq of a sale"};
    const struct books *sides[3] = {memory, tables, events};
    uint64_t values[3][FIGURES];
    for (int i = 0; i < 3; i++) {
        const struct books *b = sides[i] != NULL ? sides[i] : events;
        const uint64_t own[FIGURES] = {b->available, b->held,     b->sold,
                                       b->waiting,   b->sold_out, b->seq};
        memcpy(values[i], own, sizeof own);
    }
    for (int i = 0; i < FIGURES; i++)
        replay_compare(r, sale, events->seq, fields[i], memory != NULL ? &values[0][i] : NULL,
                       tables != NULL ? &values[1][i] : NULL, values[2][i]);
    compare_states(r, sale, memory, tables, events);
}

/* ---- the replay ---- */

bool replay_make_room(struct replay *r, uint64_t seq)
{
    uint64_t room = r->room == 0 ? ORDERS_ROOM_MIN : r->room;
    if (seq < r->room)
        return true;
    while (room <= seq)
        room *= 2;
    void *map = r->orders == NULL ? mmap(NULL, room * sizeof *r->orders, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                                  : mremap(r->orders, r->room * sizeof *r->orders,
                                           room * sizeof *r->orders, MREMAP_MAYMOVE);
    if (map == MAP_FAILED) {
        r->failure = "out of memory";
        return false;
    }
    /* No huge pages: clearing two megabytes in one page fault would hold the core for too long. */
    (void)madvise(map, room * sizeof *r->orders, MADV_NOHUGEPAGE);
    r->orders = map;
    r->room = room;
    return true;
}

const struct sale *replay_sale_of(const struct replay *r, uint64_t seq)
{
    const struct order *order = seqmap_order(&r->engine->seqmap, seq);
    return order != NULL ? engine_sale_at(r->engine, order->sale)
                         : seqmap_sale(&r->engine->seqmap, seq);
}

/* Events next_seq … seq-1 are missing. As a rule their sales then differ; if no sale does, the gap is reported by
 * itself (stray_gap). */
static void skip_gap(struct replay *r, uint64_t seq)
{
    for (uint64_t g = r->next_seq; g < seq && g < r->next_seq + GAP_EVENTS_LOOKED_AT; g++) {
        const struct sale *sale = replay_sale_of(r, g);
        if (sale != NULL && !replay_told(r, sale)->broken) {
            reconcile_differs(r->run, sale, g, "an event", "decided", NULL, "missing");
            replay_told(r, sale)->broken = true;
        } else if (sale == NULL && r->stray_gap == 0) {
            r->stray_gap = g;
        }
    }
    r->next_seq = seq;
}

static bool is_text(const struct payload_string *string, const char *text, size_t len)
{
    return string->data != NULL && string->len == len + 2 &&
           memcmp(string->data + 1, text, len) == 0;
}

/* Every number in a payload must be what the replay and memory have. */
static const char *check_numbers(struct replay *r, const struct payload *p, const struct sale *sale,
                                 const struct order *order, const struct books *books)
{
    const struct {
        const char *field;
        uint64_t expected, said;
    } rows[] = {{"available in a payload", books->available, p->available},
                {"held in a payload", books->held, p->held},
                {"sold in a payload", books->sold, p->sold},
                {"waiting in a payload", books->waiting, p->waiting},
                {"quantity in a payload", order != NULL ? order->quantity : 0,
                 order != NULL ? p->quantity : 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        replay_compare(r, sale, books->seq, rows[i].field, &rows[i].expected, NULL, rows[i].said);
        if (rows[i].expected != rows[i].said)
            return rows[i].field;
    }
    return NULL;
}

static const char *check_payload(struct replay *r, const struct payload *p, const struct sale *sale,
                                 const struct order *order, const struct books *books)
{
    if (!is_text(&p->sale_id, sale->id, ID_CHARS))
        return "saleId in a payload";
    const char *wrong = check_numbers(r, p, sale, order, books);
    if (order == NULL || wrong != NULL)
        return wrong;
    char id[ID_CHARS], name[8 * BUYER_NAME_BYTES_MAX];
    struct text escaped = text_in(name, sizeof name);
    engine_order_id(r->engine, order, id);
    text_json_string(&escaped, order->name, order->name_bytes);
    if (!is_text(&p->transaction_id, id, sizeof id))
        return "transactionId in a payload";
    bool same = p->buyer_name.len == escaped.len &&
                memcmp(p->buyer_name.data, escaped.start, escaped.len) == 0;
    return same ? NULL : "buyerName in a payload";
}

/* NULL when the payload is, byte for byte, what the journal would write; else which part of it is not. */
static const char *wrong_payload(struct replay *r, sqlite3_stmt *row, struct event event,
                                 const struct books *books)
{
    char buffer[PAYLOAD_BYTES_MAX];
    struct text text = text_in(buffer, sizeof buffer);
    struct payload payload;
    const char *json = (const char *)sqlite3_column_text(row, 4);
    size_t bytes = (size_t)sqlite3_column_bytes(row, 4);
    if (json == NULL || !payload_time(json, bytes, &event.at_wall_ms))
        return "a payload";
    payload_write(&text, &event, books, r->engine->options.hash);
    if (!text.overflow && text.len == bytes && memcmp(text.start, json, bytes) == 0)
        return NULL;
    const char *wrong = payload_read(&payload, json, bytes)
                            ? check_payload(r, &payload, event.sale, event.order, books)
                            : NULL;
    return wrong != NULL ? wrong : "a payload";
}

void replay_meet(struct replay *r, const struct sale *sale)
{
    const struct reconcile_sale *s = &r->run->sales[sale->index];
    struct told *told = replay_told(r, sale);
    if (s->looked && s->seen.seq == told->books.seq)
        told->at_seen = told->books;
}

/* Replays one event of a sale that is not broken; NULL, or why it makes no sense. order: NULL for a sale's event. */
static const char *follow(struct replay *r, sqlite3_stmt *row, struct sale *sale,
                          struct order *order)
{
    struct told *told = replay_told(r, sale);
    uint64_t seq = number_at(row, 0);
    enum event_kind kind = (enum event_kind)number_at(row, 1);
    const struct event event = {.seq = seq, .sale = sale, .order = order, .kind = (uint8_t)kind};
    struct books_entry entry = {seq, kind, ORDER_NONE, 0, sale->terms.product_qty};
    if (order != NULL) {
        if (order->seq > seq || order->sale != sale->index)
            return "an event of an order of another sale or time";
        entry.from = state_in(r->orders[order->seq]);
        entry.quantity = order->quantity;
        r->orders[order->seq] = order_word(seq, flags_after(kind));
    }
    const char *wrong = books_apply(&told->books, entry);
    if (wrong == NULL)
        wrong = wrong_payload(r, row, event, &told->books);
    if (wrong == NULL)
        replay_meet(r, sale);
    return wrong;
}

bool replay_is_decided(struct replay *r, uint64_t seq)
{
    if (seq > r->claimed)
        r->claimed = log_last_claimed(&r->engine->log);
    return seq <= r->claimed;
}

static void take_event(struct replay *r, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), kind = number_at(row, 1);
    struct sale *sale = seqmap_sale(&r->engine->seqmap, number_at(row, 2));
    if (!replay_is_decided(r, seq)) {
        replay_break(r, sale, seq, "an event that nobody has decided", NULL, NULL);
        return;
    }
    if (seq != r->next_seq)
        skip_gap(r, seq);
    r->next_seq = seq + 1;
    if (!replay_make_room(r, seq))
        return;
    if (sale == NULL || kind >= EVENT_KIND_COUNT) {
        replay_break(r, sale != NULL ? sale : replay_sale_of(r, seq), seq, "an event's row", NULL,
                     NULL);
        return;
    }
    if (replay_told(r, sale)->broken)
        return;
    bool of_order = event_is_of_order((enum event_kind)kind);
    struct order *order = of_order ? seqmap_order(&r->engine->seqmap, number_at(row, 3)) : NULL;
    const char *wrong = of_order && order == NULL ? "an event of an order that memory does not have"
                                                  : follow(r, row, sale, order);
    if (wrong != NULL)
        replay_break(r, sale, seq, wrong, order, event_row((enum event_kind)kind)->wire_name);
}

/* ---- rows of sales ---- */

static bool same_terms(const struct sale_terms *terms, sqlite3_stmt *row)
{
    const char *name = (const char *)sqlite3_column_text(row, 1);
    return name != NULL && strcmp(name, terms->name) == 0 &&
           (size_t)sqlite3_column_bytes(row, 1) == strlen(name) && are_numbers(row, 2, 15) &&
           number_at(row, 2) == terms->product_qty && number_at(row, 3) == terms->max_per_buyer &&
           number_at(row, 4) == terms->waitlist_max && number_at(row, 5) == terms->hold_ms &&
           sqlite3_column_int64(row, 6) == terms->starts_at_ms &&
           sqlite3_column_int64(row, 7) == terms->ends_at_ms;
}

/* Compares a sale's row with the replay at S, and what readers saw with the replay at the seq at which they saw it. */
static void compare_sale_row(struct replay *r, sqlite3_stmt *row)
{
    const struct sale *sale = seqmap_sale(&r->engine->seqmap, number_at(row, 0));
    if (sale == NULL) {
        replay_break(r, NULL, number_at(row, 0), "a row of a sale that memory does not have", NULL,
                     NULL);
        return;
    }
    struct told *told = replay_told(r, sale);
    const struct books *seen = &r->run->sales[sale->index].seen;
    const struct books in_row = {.seq = number_at(row, 14),
                                 .state = (uint8_t)at_most(number_at(row, 8), UINT8_MAX),
                                 .sold_out = number_at(row, 9) != 0,
                                 .available = count_at(row, 10),
                                 .held = count_at(row, 11),
                                 .sold = count_at(row, 12),
                                 .waiting = count_at(row, 13)};
    told->row = true;
    if (told->broken)
        return;
    bool same_id = number_at(row, 15) == id_tag(r->engine->options.hash, sale->seq);
    if (!same_terms(&sale->terms, row) || !same_id)
        reconcile_differs(r->run, sale, told->books.seq, "the id or the terms of a sale", "other",
                          "other", NULL);
    bool at_once = told->at_seen.seq == told->books.seq;
    compare_books(r, sale, at_once ? seen : NULL, &in_row, &told->books);
    if (told->at_seen.seq != 0 && !at_once)
        compare_books(r, sale, seen, NULL, &told->at_seen);
}

/* Reports sales with events but without a row, and those that the replay never had at the seq that readers saw. */
static void find_lost_sales(struct replay *r)
{
    for (uint32_t i = 0; i < r->run->sale_count; i++) {
        const struct reconcile_sale *s = &r->run->sales[i];
        const struct told *told = &r->sales[i];
        if (told->broken)
            continue;
        if (told->books.seq != 0 && !told->row)
            reconcile_differs(r->run, s->sale, s->sale->seq, "a sale's row", "there", "missing",
                              "there");
        if (s->looked && told->at_seen.seq == 0)
            replay_compare(r, s->sale, s->seen.seq, "the last seq of a sale", &s->seen.seq, NULL,
                           told->books.seq);
    }
}

/* ---- all events ---- */

static void replay_pages(struct replay *r)
{
    uint64_t from;
    uint32_t count;
    do {
        from = r->next_seq;
        count = replay_page(r, STMT_EVENTS, from, take_event);
    } while (r->failure == NULL && count == PAGE_ROWS && r->next_seq != from);
}

/* Replays up to S, the last event in the transaction that also reads the sales' rows. */
static bool replay_all(struct replay *r)
{
    replay_pages(r);
    uint64_t committed = log_committed(&r->engine->log);
    if (!execute(r, "BEGIN"))
        return false;
    replay_pages(r);
    if (r->failure == NULL && committed >= r->next_seq)
        skip_gap(r, committed + 1);
    r->run->seq = r->next_seq - 1;
    if (r->failure == NULL)
        (void)replay_page(r, STMT_SALES, 0, compare_sale_row);
    if (!execute(r, "COMMIT")) {
        (void)sqlite3_exec(r->ledger->db, "ROLLBACK", NULL, NULL, NULL);
        return false;
    }
    find_lost_sales(r);
    return replay_make_room(r, r->run->seq);
}

/* ---- a run ---- */

static const char *compare_held(struct ledger *ledger, struct reconcile_run *run)
{
    struct replay *r = &ledger->replay;
    *r = (struct replay){.ledger = ledger, .run = run, .engine = run->engine};
    r->sales = calloc(SALES_MAX, sizeof *r->sales); /* pages come with the first use */
    if (r->sales == NULL)
        return "out of memory";
    /* Room for all that is decided by now, so that `orders` seldom has to grow. */
    bool done = replay_make_room(r, log_last_claimed(&r->engine->log)) && replay_baseline(r) &&
                replay_all(r) && replay_orders(r);
    if (done && r->stray_gap != 0 && reconcile_divergent(run) == 0)
        reconcile_differs(run, NULL, r->stray_gap, "an event", NULL, NULL, "missing");
    if (r->orders != NULL)
        (void)munmap(r->orders, r->room * sizeof *r->orders);
    free(r->sales);
    return done ? NULL : r->failure != NULL ? r->failure : "the server is stopping";
}

static const char *compare(void *self, struct reconcile_run *run)
{
    struct ledger *ledger = self;
    while (!retention_gate_take(ledger->gate))
        if (!reconcile_breathe(run))
            return "the server is stopping";
    const char *failure = compare_held(ledger, run);
    retention_gate_give_back(ledger->gate);
    return failure;
}

struct reconcile_store ledger_store(struct ledger *ledger)
{
    return (struct reconcile_store){.self = ledger, .compare = compare};
}
