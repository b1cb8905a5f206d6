/*
 * judge.h: judges a history, one event at a time, by the contract alone.
 *
 * It shares no code with engine/books.c, and does not rely on the journal's counters.
 * Every prefix of the log that passes is a possible history:
 *   - seq has no gap
 *   - sold + held + available = stock, nothing is ever below zero (G1)
 *   - at most one live order per (sale, buyer) (G3)
 *   - each move of an order starts where its last event left it (G4)
 *   - nobody overtakes: units are reserved, and late payments taken, only while nobody waits; promoted
 *     is always the order that waits longest; a sale that is not active takes and promotes nobody
 *   - a hold does not expire before its time
 * It keeps what it has judged as rows, which are also the durable medium of model.h.
 *
 * Thread: its owner. Fails: judge_event() returns false; judge->error says which rule, and where.
 */
#ifndef FLASHD_TESTS_SUPPORT_JUDGE_H
#define FLASHD_TESTS_SUPPORT_JUDGE_H

#include "engine/sale.h"

enum { JUDGE_NAME_BYTES = BUYER_NAME_BYTES_MAX, JUDGE_ERROR_BYTES = 200 };

/* One committed event, as the log had it. */
struct judge_entry {
    uint64_t seq, sale_seq, order_seq; /* order_seq: of the event that made it; 0 for a sale's */
    enum event_kind kind;
    enum order_state from;
    uint32_t quantity;
    const struct sale_terms *terms; /* borrowed */
    const char *name;               /* borrowed; an order's buyer */
    uint8_t name_bytes;
    int64_t at_wall_ms, at_mono_ms;
};

struct judge_order {
    uint64_t seq, last_seq;
    uint32_t sale; /* index into judge.sales */
    uint32_t quantity;
    enum order_state state;
    bool refund_due;
    uint8_t name_bytes;
    char name[JUDGE_NAME_BYTES];
    int64_t changed_at_ms, expires_at_ms;
    int64_t deadline_mono_ms; /* of a hold that was given in this life; else INT64_MIN */
};

struct judge_sale {
    uint64_t seq, last_seq;
    struct sale_terms terms;
    enum sale_state state;
    bool sold_out;
    uint64_t opened_seq; /* of the event that last made it active; 0: none did */
    uint32_t available, held, sold, waiting;
    uint32_t *queue; /* indexes of all orders that ever queued, in log order */
    uint32_t queue_count, queue_room, queue_head;
};

/* The latest live order of one buyer in one sale. */
struct judge_live {
    uint32_t order; /* index + 1; 0: free entry */
    bool live;
    uint64_t since_seq, until_seq; /* of the last time it was live */
};

/* The event at a seq. */
struct judge_at {
    uint8_t kind;     /* enum event_kind */
    uint32_t subject; /* index of the order, or of the sale for a sale's event */
};

struct judge {
    uint64_t last_seq;
    struct judge_sale *sales;
    uint32_t sale_count, sale_room;
    struct judge_order *orders;
    uint32_t order_count, order_room;
    struct judge_at *at; /* by seq */
    uint64_t at_room;
    struct judge_live *live; /* open addressing */
    uint32_t live_count, live_room;
    char error[JUDGE_ERROR_BYTES];
};

void judge_free(struct judge *judge);
bool judge_event(struct judge *judge, const struct judge_entry *entry);
/* The process was restarted: monotonic deadlines no longer mean anything. */
void judge_new_life(struct judge *judge);

/* What the event at seq made; NULL: nothing of that kind. Borrowed until the next judge_event(). */
const struct judge_order *judge_order(const struct judge *judge, uint64_t seq);
const struct judge_sale *judge_sale(const struct judge *judge, uint64_t seq);
/* EVENT_KIND_COUNT when there is no such event. */
enum event_kind judge_kind(const struct judge *judge, uint64_t seq);
/* The order of the event at seq, NULL for a sale's event. */
const struct judge_order *judge_order_of(const struct judge *judge, uint64_t seq);
/* The order that waits longest, NULL when nobody does. */
const struct judge_order *judge_head(const struct judge *judge, const struct judge_sale *sale);
/* Whether the buyer had a live order, and whether it had none, at some moment after seq. */
bool judge_was_live_since(const struct judge *judge, uint32_t sale, const char *name,
                          uint8_t name_bytes, uint64_t seq);
bool judge_was_free_since(const struct judge *judge, uint32_t sale, const char *name,
                          uint8_t name_bytes, uint64_t seq);
/* Whether the sale was not active at some moment after seq. */
bool judge_was_closed_since(const struct judge_sale *sale, uint64_t seq);

#endif
