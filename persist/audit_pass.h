/*
 * audit_pass.h: what the files of the audit share: audit.c (rows, baseline, end) and audit_event.c (one event).
 *
 * Thread: the audit's. Everything here lives for one audit().
 */
#ifndef FLASHD_PERSIST_AUDIT_PASS_H
#define FLASHD_PERSIST_AUDIT_PASS_H

#include "engine/order.h"
#include "engine/sale.h"
#include "persist/audit.h"
#include "persist/audit_orders.h"
#include "persist/order_row.h"

enum {
    AUDIT_SETTLED = 0x80, /* in an order's byte: the last event that its row names has come */
    AUDIT_STATE = 0x7f,   /* … and its state */
};

struct audit_sale {
    struct sale *sale; /* seq, id, terms as the row has them; books: the replay. Owned */
    struct books row;  /* the row's counters */
    uint64_t tag;      /* the row's */
    bool settled;      /* the last event that the row names has come */
    bool based;        /* the baseline has the sale */
    uint64_t terms;    /* the baseline's digest of the terms */
    uint64_t digest;   /* the baseline's of the orders … */
    uint64_t summed;   /* … and that of their rows */
    struct books
        units; /* available, held, sold, waiting at the baseline, summed up from the rows */
};

struct audit_pass {
    sqlite3 *db;
    keyed_hash *hash;
    struct audit_report *report;
    audit_progress *progress;
    void *progress_arg;
    uint64_t done, total;
    uint64_t next_seq;
    struct audit_sale *sales; /* by seq */
    size_t sale_count, sale_room;
    struct audit_states states;
    struct audit_live live;
    uint64_t unsettled;       /* orders for which the last event that the row names has not come */
    sqlite3_stmt *new_orders; /* orders made after the baseline, by seq; stands on the next one … */
    bool new_order_there;     /* … if there is one */
    struct order_row newest; /* the one it stands on … */
    bool newest_sound;       /* … and whether its row is well-formed */
    sqlite3_stmt *find_order, *find_other;
    struct order *order; /* room for one, to make payloads with */
};

/* --- audit.c --- */
struct audit_sale *audit_sale_at(const struct audit_pass *pass, uint64_t seq);
/* As order_row_of(). False also if its sale has no row. */
bool audit_order_of(const struct audit_pass *pass, sqlite3_stmt *row, struct order_row *order);
void audit_malformed_order(struct audit_pass *pass, uint64_t seq);
/* Moves new_orders on to the next row. False: the file cannot be read. */
bool audit_next_order(struct audit_pass *pass);
/* The order has become live (finds a second live one: G3), or is no longer live. */
void audit_now_live(struct audit_pass *pass, const struct order_row *order, uint64_t seq);
void audit_now_dead(struct audit_pass *pass, const struct order_row *order);
bool audit_stopped(const struct audit_pass *pass);
/* Notes that SQLite failed: an unreadable page. */
void audit_unreadable(struct audit_pass *pass);
void audit_out_of_memory(struct audit_pass *pass);

/* --- audit_event.c --- */
extern const char audit_events_sql[];
void audit_event(struct audit_pass *pass, sqlite3_stmt *row);
/* Compares the sale's row with the replay, when the last event that the row names has come. */
void audit_settle_sale(struct audit_pass *pass, struct audit_sale *sale);

#endif
