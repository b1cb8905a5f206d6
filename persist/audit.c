/*
 * audit.c: the audit's pass: sales, baseline, events, what is left at the end (see audit.h).
 *
 * Thread: the audit's. In: a snapshot. Out: a report. Fails: an unreadable page is a finding like any other.
 */
#include "persist/audit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/buyers.h"
#include "engine/now.h"
#include "engine/text.h"
#include "persist/audit_pass.h"
#include "persist/baseline.h"
#include "persist/row.h"

enum { PROGRESS_EVERY = 4096 };

/* A detail may quote anything from the tables, cut anywhere; a terminal or a JSON parser will read it. */
static void make_printable(char *text)
{
    for (size_t left = strlen(text), bytes; left > 0; text += bytes, left -= bytes) {
        bool control = (unsigned char)text[0] < 0x20 || text[0] == 0x7f;
        bytes = control ? 0 : text_utf8_bytes(text, left);
        if (bytes == 0) {
            *text = '?';
            bytes = 1;
        }
    }
}

void audit_find(struct audit_report *report, const char *check, uint64_t seq, const char *format,
                ...)
{
    if (report->finding_count == AUDIT_FINDINGS_MAX)
        return;
    struct audit_finding *finding = &report->findings[report->finding_count++];
    va_list args;
    va_start(args, format);
    finding->check = check;
    finding->seq = seq <= INT64_MAX ? seq : 0; /* a row may have a negative seq */
    vsnprintf(finding->detail, sizeof finding->detail, format, args);
    va_end(args);
    make_printable(finding->detail);
}

bool audit_stopped(const struct audit_pass *pass)
{
    return pass->report->finding_count > 0;
}

void audit_unreadable(struct audit_pass *pass)
{
    audit_find(pass->report, "damaged-page", pass->next_seq, "the file cannot be read: %s",
               sqlite3_errmsg(pass->db));
}

void audit_out_of_memory(struct audit_pass *pass)
{
    audit_find(pass->report, "out-of-memory", pass->next_seq,
               "out of memory, or a seq beyond all bounds");
}

static bool prepare(struct audit_pass *pass, const char *sql, sqlite3_stmt **statement)
{
    if (sqlite3_prepare_v2(pass->db, sql, -1, statement, NULL) == SQLITE_OK)
        return true;
    audit_unreadable(pass);
    return false;
}

typedef void take_row(struct audit_pass *pass, sqlite3_stmt *row);

/* Gives each row to take() until something is found. */
static void each_row(struct audit_pass *pass, const char *sql, take_row *take)
{
    sqlite3_stmt *rows = NULL;
    int rc = SQLITE_DONE;
    if (!prepare(pass, sql, &rows))
        return;
    while (!audit_stopped(pass) && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        take(pass, rows);
        if (pass->progress != NULL && ++pass->done % PROGRESS_EVERY == 0)
            pass->progress(pass->progress_arg, pass->done, pass->total);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        audit_unreadable(pass);
    sqlite3_finalize(rows);
}

/* ---- sales ---- */

static const char sales_sql[] =
    "SELECT seq, tag, name, product_qty, max_per_buyer, waitlist_max, hold_ms, starts_at_ms, "
    "ends_at_ms, state,"
    " sold_out, available, held, sold, waiting, last_seq FROM sale_rows ORDER BY seq";

static bool sale_is_sound(sqlite3_stmt *row)
{
    int64_t starts = sqlite3_column_int64(row, 7), ends = sqlite3_column_int64(row, 8);
    const char *name = (const char *)sqlite3_column_text(row, 2);
    size_t name_bytes = (size_t)sqlite3_column_bytes(row, 2);
    return sqlite3_column_type(row, 2) == SQLITE_TEXT && name != NULL &&
           name_bytes <= SALE_NAME_BYTES_MAX && strlen(name) == name_bytes &&
           are_numbers(row, 0, 1) && are_numbers(row, 3, 15) && sqlite3_column_int64(row, 0) > 0 &&
           number_at(row, 3) <= PRODUCT_QTY_MAX && number_at(row, 9) < SALE_STATE_COUNT &&
           number_at(row, 10) <= 1 && starts >= 0 && starts <= WALL_MS_MAX && ends >= 0 &&
           ends <= WALL_MS_MAX && number_at(row, 6) <= HOLD_MS_MAX;
}

static struct audit_sale *new_sale(struct audit_pass *pass)
{
    if (pass->sale_count == pass->sale_room) {
        size_t room = pass->sale_room == 0 ? 64 : pass->sale_room * 2;
        struct audit_sale *grown = realloc(pass->sales, room * sizeof *grown);
        if (grown == NULL)
            return NULL;
        pass->sales = grown;
        pass->sale_room = room;
    }
    struct audit_sale *sale = &pass->sales[pass->sale_count];
    *sale = (struct audit_sale){.sale = sale_new()};
    pass->sale_count += sale->sale != NULL;
    return sale->sale != NULL ? sale : NULL;
}

static void take_sale(struct audit_pass *pass, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0);
    if (!sale_is_sound(row)) {
        audit_find(pass->report, "changed-sale", seq, "a sale's row is malformed");
        return;
    }
    struct audit_sale *sale = new_sale(pass);
    if (sale == NULL) {
        audit_out_of_memory(pass);
        return;
    }
    struct sale_terms *terms = &sale->sale->terms;
    *terms = (struct sale_terms){.product_qty = (uint32_t)number_at(row, 3),
                                 .max_per_buyer = count_at(row, 4),
                                 .waitlist_max = count_at(row, 5),
                                 .hold_ms = (uint32_t)number_at(row, 6),
                                 .starts_at_ms = sqlite3_column_int64(row, 7),
                                 .ends_at_ms = sqlite3_column_int64(row, 8)};
    snprintf(terms->name, sizeof terms->name, "%s", (const char *)sqlite3_column_text(row, 2));
    sale->tag = number_at(row, 1);
    sale->row = (struct books){.seq = number_at(row, 15),
                               .available = count_at(row, 11),
                               .held = count_at(row, 12),
                               .sold = count_at(row, 13),
                               .waiting = count_at(row, 14),
                               .state = (uint8_t)number_at(row, 9),
                               .sold_out = number_at(row, 10) != 0};
    sale->sale->seq = seq;
    id_write(sale->sale->id, seq, id_tag(pass->hash, seq));
    pass->report->sales++;
    if (sale->tag != id_tag(pass->hash, seq))
        audit_find(pass->report, "changed-sale", seq, "sale %s: its tag is not its id's",
                   sale->sale->id);
}

struct audit_sale *audit_sale_at(const struct audit_pass *pass, uint64_t seq)
{
    size_t low = 0, high = pass->sale_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pass->sales[middle].sale->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < pass->sale_count && pass->sales[low].sale->seq == seq ? &pass->sales[low] : NULL;
}

/* ---- orders ---- */

bool audit_order_of(const struct audit_pass *pass, sqlite3_stmt *row, struct order_row *order)
{
    return order_row_of(row, order) && (int64_t)order->seq > 0 &&
           audit_sale_at(pass, order->sale_seq) != NULL;
}

void audit_malformed_order(struct audit_pass *pass, uint64_t seq)
{
    audit_find(pass->report, "changed-order", seq,
               "the row of the order made at seq %" PRId64
               " is malformed, or names a sale that is not there (G4)",
               (int64_t)seq);
}

static void count_order(struct audit_pass *pass, const struct order_row *order)
{
    pass->report->orders++;
    pass->report->held += order->state == ORDER_PAYMENT;
    pass->report->waiting += order->state == ORDER_WAITING;
}

bool audit_next_order(struct audit_pass *pass)
{
    int rc = sqlite3_step(pass->new_orders);
    pass->new_order_there = rc == SQLITE_ROW;
    if (rc == SQLITE_DONE)
        return true;
    if (rc != SQLITE_ROW) {
        audit_unreadable(pass);
        return false;
    }
    pass->unsettled++;
    pass->newest_sound = audit_order_of(pass, pass->new_orders, &pass->newest);
    count_order(pass, &pass->newest);
    return true;
}

static uint64_t buyer_hash(const struct audit_pass *pass, const struct order_row *order)
{
    return buyers_hash(pass->hash(order->name, order->name_bytes), (uint32_t)order->sale_seq);
}

static bool is_same_buyer(struct audit_pass *pass, const struct order_row *order, uint64_t other)
{
    struct order_row found;
    (void)sqlite3_reset(pass->find_other);
    (void)sqlite3_bind_int64(pass->find_other, 1, (sqlite3_int64)other);
    return sqlite3_step(pass->find_other) == SQLITE_ROW &&
           audit_order_of(pass, pass->find_other, &found) && found.sale_seq == order->sale_seq &&
           found.name_bytes == order->name_bytes &&
           memcmp(found.name, order->name, order->name_bytes) == 0;
}

void audit_now_live(struct audit_pass *pass, const struct order_row *order, uint64_t seq)
{
    uint64_t hash = buyer_hash(pass, order), at = 0, other;
    while ((other = audit_live_find(&pass->live, hash, &at)) != 0)
        if (is_same_buyer(pass, order, other))
            audit_find(pass->report, "two-live-orders", seq,
                       "a buyer has two live orders in one sale, made at seq %" PRIu64
                       " and %" PRIu64 " (G3): %.*s",
                       other, order->seq, (int)order->name_bytes, order->name);
    if (!audit_live_add(&pass->live, hash, order->seq))
        audit_out_of_memory(pass);
}

void audit_now_dead(struct audit_pass *pass, const struct order_row *order)
{
    audit_live_remove(&pass->live, buyer_hash(pass, order), order->seq);
}

/* ---- the baseline ---- */

static void take_baseline_sale(struct audit_pass *pass, sqlite3_stmt *row)
{
    const struct baseline_sale base = baseline_sale_of(row);
    struct audit_sale *sale = audit_sale_at(pass, base.seq);
    if (sale == NULL || base.books.seq > pass->report->baseline ||
        base.books.state >= SALE_STATE_COUNT) {
        audit_find(pass->report, "missing-sale", base.seq,
                   "the baseline has a sale that has no row (G4)");
        return;
    }
    sale->sale->books = base.books;
    sale->based = true;
    sale->terms = base.terms;
    sale->digest = base.digest;
}

static void take_stray(struct audit_pass *pass, sqlite3_stmt *row)
{
    audit_find(pass->report, "missing-order", pass->report->baseline,
               "the baseline lists order %" PRIu64 ", which has no row, or is younger (G4)",
               number_at(row, 0));
}

static void sum_up(struct audit_pass *pass, const struct order_row *order)
{
    struct audit_sale *sale = audit_sale_at(pass, order->sale_seq);
    sale->summed += baseline_digest(pass->hash, order);
    sale->units.held += order->state == ORDER_PAYMENT ? (uint32_t)order->quantity : 0;
    sale->units.sold += order->state == ORDER_PAID ? (uint32_t)order->quantity : 0;
    sale->units.waiting += order->state == ORDER_WAITING;
}

/* An order from before the baseline, as it was then. */
static void take_old_order(struct audit_pass *pass, sqlite3_stmt *row)
{
    struct order_row order;
    if (!audit_order_of(pass, row, &order)) {
        audit_malformed_order(pass, order.seq);
        return;
    }
    count_order(pass, &order);
    uint64_t b = pass->report->baseline;
    bool settled = order.last_seq <= b;
    struct order_row old = order;
    const char *wrong = baseline_order_of(row, b, &old);
    if (wrong == NULL && order.tag != id_tag(pass->hash, order.seq))
        wrong = "its tag is not its id's";
    if (wrong != NULL)
        audit_find(pass->report, "changed-order", settled ? order.last_seq : b,
                   "the order made at seq %" PRIu64 ", whose row is %s since seq %" PRIu64 ": %s",
                   order.seq, order_state_name(order.state), order.last_seq, wrong);
    if (order_state_is_live(old.state))
        audit_now_live(pass, &order, old.last_seq < b ? old.last_seq : b);
    pass->unsettled += !settled;
    bool may_move = !settled || baseline_is_open(old.state);
    uint8_t flags = (uint8_t)(old.state | (settled ? AUDIT_SETTLED : 0));
    if (may_move && !audit_state_put(&pass->states, order.seq, flags))
        audit_out_of_memory(pass);
    sum_up(pass, &old);
}

static void check_baseline_sale(struct audit_pass *pass, struct audit_sale *sale)
{
    const struct books *base = &sale->sale->books, *units = &sale->units;
    uint64_t b = pass->report->baseline;
    if (sale->based != (sale->sale->seq <= b))
        audit_find(pass->report, "changed-baseline", b, "the baseline does not have sale %s",
                   sale->sale->id);
    else if (!sale->based)
        return;
    else if (sale->terms != baseline_terms(pass->hash, sale->sale->seq, &sale->sale->terms))
        audit_find(
            pass->report, "changed-sale", sale->sale->seq,
            "sale %s: its name or another of its terms is not that of the removed events (G4)",
            sale->sale->id);
    else if (base->held != units->held || base->sold != units->sold ||
             base->waiting != units->waiting)
        audit_find(pass->report, "changed-order", b,
                   "sale %s: its orders from before the baseline hold %" PRIu32
                   ", have bought %" PRIu32 " and wait %" PRIu32
                   "; the removed events said %" PRIu32 ", %" PRIu32 ", %" PRIu32 " (G1, G4)",
                   sale->sale->id, units->held, units->sold, units->waiting, base->held, base->sold,
                   base->waiting);
    else if (sale->digest != sale->summed)
        audit_find(pass->report, "changed-order", b,
                   "sale %s: its orders from before the baseline are not those of the removed "
                   "events: one was "
                   "changed, added or removed (G4)",
                   sale->sale->id);
    if (sale->based && sale->row.seq <= b && sale->row.seq != base->seq)
        audit_find(pass->report, "changed-sale", base->seq,
                   "sale %s: its row names seq %" PRIu64
                   " as its last event's, the baseline %" PRIu64 " (G4)",
                   sale->sale->id, sale->row.seq, base->seq);
    else if (sale->based && sale->row.seq <= b)
        audit_settle_sale(pass, sale);
}

static void check_baseline(struct audit_pass *pass)
{
    char sql[512];
    each_row(pass, baseline_sales_sql, take_baseline_sale);
    if (!audit_stopped(pass))
        each_row(pass, baseline_strays_sql, take_stray);
    snprintf(sql, sizeof sql, BASELINE_ORDER_ROWS " WHERE o.seq <= %" PRIu64 " ORDER BY o.seq",
             pass->report->baseline);
    each_row(pass, sql, take_old_order);
    for (size_t i = 0; i < pass->sale_count && !audit_stopped(pass); i++)
        check_baseline_sale(pass, &pass->sales[i]);
}

/* ---- events, and what is left ---- */

static bool prepare_orders(struct audit_pass *pass)
{
    static const char one[] = "SELECT " ORDER_ROW_COLUMNS " FROM order_rows o WHERE o.seq = ?1";
    static const char after[] =
        "SELECT " ORDER_ROW_COLUMNS " FROM order_rows o WHERE o.seq > ?1 ORDER BY o.seq";
    if (!prepare(pass, one, &pass->find_order) || !prepare(pass, one, &pass->find_other) ||
        !prepare(pass, after, &pass->new_orders))
        return false;
    (void)sqlite3_bind_int64(pass->new_orders, 1, (sqlite3_int64)pass->report->baseline);
    return audit_next_order(pass);
}

/* Finds a row that no event led to. If its last seq lies beyond the events, they end too early. */
static void row_beyond_end(struct audit_pass *pass, uint64_t last_seq, const char *what,
                           uint64_t made_seq)
{
    bool beyond = last_seq >= pass->next_seq;
    audit_find(pass->report, beyond ? "missing-event" : what, beyond ? pass->next_seq : last_seq,
               beyond ? "the last events are missing: the row of what seq %" PRIu64
                        " made says more (G2, G4)"
                      : "the row of what seq %" PRIu64 " made has no event that made it so (G4)",
               made_seq);
}

static void take_unsettled_order(struct audit_pass *pass, sqlite3_stmt *row)
{
    uint64_t seq = number_at(row, 0), last_seq = number_at(row, 1);
    if (last_seq > pass->report->baseline && (audit_state(&pass->states, seq) & AUDIT_SETTLED) == 0)
        row_beyond_end(pass, last_seq, "changed-order", seq);
}

static void check_end(struct audit_pass *pass)
{
    if (pass->new_order_there)
        row_beyond_end(pass, pass->newest.last_seq, "changed-order", pass->newest.seq);
    for (size_t i = 0; i < pass->sale_count && !audit_stopped(pass); i++)
        if (!pass->sales[i].settled)
            row_beyond_end(pass, pass->sales[i].row.seq, "changed-sale", pass->sales[i].sale->seq);
    if (pass->unsettled != 0)
        each_row(pass, "SELECT seq, last_seq FROM order_rows ORDER BY last_seq",
                 take_unsettled_order);
}

/* ---- the tables alone, when something has been found ---- */

static void take_oversold(struct audit_pass *pass, sqlite3_stmt *row)
{
    audit_find(pass->report, "oversold", number_at(row, 0),
               "in the tables, the orders of the sale made at seq %" PRIu64
               " hold and have bought %" PRIu64 " units of %" PRIu64 " (G1)",
               number_at(row, 0), number_at(row, 1), number_at(row, 2));
}

static void take_two_live(struct audit_pass *pass, sqlite3_stmt *row)
{
    audit_find(pass->report, "two-live-orders", number_at(row, 0),
               "in the tables, a buyer has %" PRIu64
               " live orders in one sale, the last made at seq %" PRIu64 " (G3): %s",
               number_at(row, 1), number_at(row, 0), (const char *)sqlite3_column_text(row, 2));
}

/* Finds what the tables show by themselves, so that the report says more than the first seq that diverges. */
static void look_at_tables(struct audit_pass *pass)
{
    static const struct {
        const char *sql;
        take_row *take;
    } looks[] = {
        {"SELECT s.seq, sum(o.quantity) AS taken, s.product_qty FROM sale_rows s JOIN order_rows o "
         "ON o.sale = s.seq"
         " WHERE o.state IN (2, 3) GROUP BY s.seq HAVING taken > s.product_qty LIMIT 2",
         take_oversold},
        {"SELECT max(seq), count(*) AS live, buyer FROM order_rows WHERE state IN (1, 2, 3)"
         " GROUP BY sale, buyer HAVING live > 1 LIMIT 2",
         take_two_live}};
    static_assert(ORDER_WAITING == 1 && ORDER_PAYMENT == 2 && ORDER_PAID == 3,
                  "the live states, as in the SQL");
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        sqlite3_stmt *rows = NULL;
        if (sqlite3_prepare_v2(pass->db, looks[i].sql, -1, &rows, NULL) == SQLITE_OK)
            while (sqlite3_step(rows) == SQLITE_ROW)
                looks[i].take(pass, rows);
        sqlite3_finalize(rows);
    }
}

/* ---- all of it ---- */

static void count_work(struct audit_pass *pass)
{
    sqlite3_stmt *last = NULL;
    if (prepare(pass, "SELECT max(seq) FROM event_rows", &last) && sqlite3_step(last) == SQLITE_ROW)
        pass->total = number_at(
            last, 0); /* events after the baseline, and at most as many orders before it */
    sqlite3_finalize(last);
}

static void find_baseline(struct audit_pass *pass)
{
    const char *wrong;
    bool found = baseline_seq(pass->db, &pass->report->baseline, &wrong);
    if (!found && wrong != NULL)
        audit_find(pass->report, "changed-baseline", 0, "%s", wrong);
    else if (!found)
        audit_unreadable(pass);
}

static void replay(struct audit_pass *pass)
{
    each_row(pass, sales_sql, take_sale);
    if (!audit_stopped(pass))
        check_baseline(pass);
    if (!audit_stopped(pass) && prepare_orders(pass))
        each_row(pass, audit_events_sql, audit_event);
    if (!audit_stopped(pass))
        check_end(pass);
}

static void release(struct audit_pass *pass)
{
    sqlite3_finalize(pass->new_orders);
    sqlite3_finalize(pass->find_order);
    sqlite3_finalize(pass->find_other);
    for (size_t i = 0; i < pass->sale_count; i++)
        sale_free(pass->sales[i].sale);
    free(pass->sales);
    free(pass->order);
    audit_states_free(&pass->states);
    audit_live_free(&pass->live);
}

void audit(sqlite3 *db, keyed_hash *hash, audit_progress *progress, void *arg,
           struct audit_report *report)
{
    struct audit_pass pass = {
        .db = db, .hash = hash, .report = report, .progress = progress, .progress_arg = arg};
    *report = (struct audit_report){.finding_count = 0};
    pass.order = calloc(1, sizeof *pass.order + BUYER_NAME_BYTES_MAX);
    count_work(&pass);
    if (pass.order == NULL)
        audit_out_of_memory(&pass);
    else
        find_baseline(&pass);
    pass.next_seq = report->baseline + 1;
    if (!audit_stopped(&pass))
        replay(&pass);
    report->last_seq = pass.next_seq - 1;
    if (audit_stopped(&pass))
        look_at_tables(&pass);
    release(&pass);
}
