/*
 * reconcile_pass.h: what the files of the reconciliation share; nobody else includes it.
 *
 *   reconcile.c           a run: the connection, the replay of the events, the sales' rows
 *   reconcile_baseline.c  where the replay begins once events have been removed
 *   reconcile_orders.c    the orders, row by row, and what moved meanwhile
 *
 * Thread: reconciler; struct replay is of one run. Fails: replay.failure is set, and the run ends.
 */
#ifndef FLASHD_PERSIST_RECONCILE_PASS_H
#define FLASHD_PERSIST_RECONCILE_PASS_H

#include <sqlite3.h>

#include "engine/engine.h"
#include "persist/reconcile.h"
#include "persist/row.h"

enum {
    PAGE_ROWS = 1024,
    REFUND_BIT = 0x40, /* beside an order's state: its last event was order.refund_due */
};

enum statement {
    STMT_EVENTS,
    STMT_SALES,
    STMT_ORDERS,
    STMT_STRAYS,
    STMT_BASELINE_SALES,
    STMT_BASELINE_ORDERS,
    STMT_OLD_ORDERS,
    STMT_COUNT
};

/* What the events say of a sale so far. */
struct told {
    struct books books;
    struct books at_seen; /* the books at the seq that readers saw; seq 0: not reached */
    bool broken;          /* cannot be replayed any further */
    bool row;             /* its row has been read */
    uint64_t digest;      /* of its orders as of the baseline, less the baseline's: must be 0 */
};

/* An order as it was in its row or in readers' memory, at a seq that the replay has not reached. */
struct sample {
    uint64_t seq, order_seq;
    uint8_t flags; /* state; in a row also REFUND_BIT, which readers' memory does not show */
    bool in_memory;
};

struct replay {
    struct ledger *ledger;
    struct reconcile_run *run;
    const struct engine *engine;
    uint64_t baseline;                    /* events up to here are gone */
    uint64_t next_seq;                    /* the event that must come next */
    uint64_t claimed;                     /* decided at least up to here */
    uint64_t *orders;                     /* by seq: order_word(), 0 for none; as the events say */
    uint64_t room;                        /* seqs in `orders` */
    struct told *sales;                   /* by index; SALES_MAX */
    uint64_t row_seq;                     /* the orders' rows have been compared up to here */
    uint64_t stray_gap;                   /* a missing event whose sale is unknown; 0: none */
    struct sample samples[2 * PAGE_ROWS]; /* of one page of orders */
    size_t sample_count, sample_next;
    uint32_t rows; /* taken, for breathing */
    const char *failure;
};

struct ledger {
    sqlite3 *db;
    struct retention_gate *gate;
    sqlite3_stmt *statements[STMT_COUNT];
    struct replay replay; /* of the current run */
};

typedef void take_row(struct replay *r, sqlite3_stmt *row);

/* ---- small things ---- */

static inline struct told *replay_told(struct replay *r, const struct sale *sale)
{
    return &r->sales[sale->index];
}

static inline uint64_t order_word(uint64_t seq, uint8_t flags)
{
    return seq << 8 | flags;
}

static inline uint8_t order_flags(enum order_state state, bool refund_due)
{
    return (uint8_t)(state | (refund_due ? REFUND_BIT : 0));
}

static inline uint8_t flags_after(enum event_kind kind)
{
    return order_flags(event_row(kind)->state_after, kind == EVENT_ORDER_REFUND_DUE);
}

static inline enum order_state state_in(uint64_t word)
{
    return (enum order_state)(word & 0xf);
}

static inline const char *order_state_text(uint64_t word)
{
    return state_in(word) < ORDER_STATE_COUNT ? order_state_name(state_in(word)) : "none at all";
}

/* ---- reconcile.c ---- */

/* Gives take() a page of rows, with `from` as ?1; returns how many there were. */
uint32_t replay_page(struct replay *r, enum statement which, uint64_t from, take_row *take);
void replay_fail_reading(struct replay *r);
/* Makes room in `orders` for this seq. */
bool replay_make_room(struct replay *r, uint64_t seq);
/* The sale that was made at this seq, or whose order was, as far as memory can tell. */
const struct sale *replay_sale_of(const struct replay *r, uint64_t seq);
/* Whether seq has been claimed. Does not ask the log for each event: producers write that cache line. */
bool replay_is_decided(struct replay *r, uint64_t seq);
/* Keeps the replay's books of the sale when they are at the seq at which readers saw it. */
void replay_meet(struct replay *r, const struct sale *sale);
/* Reports that this sale's events make no sense from here on. event: what the events have there, or NULL. */
void replay_break(struct replay *r, const struct sale *sale, uint64_t seq, const char *rule,
                  const struct order *order, const char *event);
/* Compares a value with what the events say; memory and tables may be NULL. */
void replay_compare(struct replay *r, const struct sale *sale, uint64_t seq, const char *field,
                    const uint64_t *memory, const uint64_t *tables, uint64_t events);

/* ---- the others ---- */

/* Begins the replay with the baseline. */
bool replay_baseline(struct replay *r);
/* Compares the orders, a page of rows at a time; after each page, replays the events by which it is ahead. */
bool replay_orders(struct replay *r);

#endif
