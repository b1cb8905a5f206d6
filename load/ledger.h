/*
 * ledger.h: what the server promised and told: every accepted answer, by buyer; every event of the stream,
 * in order of arrival; what the public stream said, by seq. The audit checks the server's books against it.
 *
 * Refusals are not kept: buyer.c checks them as they come, and counts them by code.
 *
 * Threads, during the run: orders, the count of buyers, own streams and reply times are written by the buyers' thread,
 * events and public states by the audience's, which also reads reply times; main sets the rest before. After both
 * have ended, main reads all.
 */
#ifndef FLASHLOAD_LEDGER_H
#define FLASHLOAD_LEDGER_H

#include "load/chunks.h"
#include "load/fields.h"

#define NO_BUYER UINT32_MAX
#define NO_SALE  UINT32_MAX

enum {
    ID_BYTES_MAX = 40,
    TAG_BYTES_MAX = 16,
    OWN_EVENTS_MAX =
        12, /* at most two orders, and of each: queued, promoted, expired, a refund due */
};

/*    kind        wire name */
#define SEEN_KINDS(X)                                                                              \
    X(OTHER, "")                                                                                   \
    X(SALE_CREATED, "sale.created")                                                                \
    X(SALE_STARTED, "sale.started")                                                                \
    X(SALE_PAUSED, "sale.paused")                                                                  \
    X(SALE_RESUMED, "sale.resumed")                                                                \
    X(SALE_ENDED, "sale.ended")                                                                    \
    X(SALE_SOLD_OUT, "sale.sold_out")                                                              \
    X(RESERVED, "order.reserved")                                                                  \
    X(QUEUED, "order.queued")                                                                      \
    X(PROMOTED, "order.promoted")                                                                  \
    X(PAID, "order.paid")                                                                          \
    X(EXPIRED, "order.expired")                                                                    \
    X(CANCELLED, "order.cancelled")                                                                \
    X(CLEARED, "order.cleared")                                                                    \
    X(REFUND_DUE, "order.refund_due")

enum seen_kind {
#define X(name, wire) SEEN_##name,
    SEEN_KINDS(X)
#undef X
        SEEN_KIND_COUNT
};

enum joined { JOINED_NOT, JOINED_PAYMENT, JOINED_WAITING };

enum order_flag {
    ORDER_PAID = 1,
    ORDER_PAY_REFUSED = 2, /* with a 4xx, such as hold-expired */
    ORDER_CANCELLED = 4,
    ORDER_BUY_UNKNOWN = 8, /* asked, but no answer tells whether it was done */
    ORDER_PAY_UNKNOWN = 16,
    ORDER_CANCEL_UNKNOWN = 32,
    ORDER_TWICE = 64,       /* a second purchase was accepted too */
    ORDER_REFUND_DUE = 128, /* the payment came too late: hold-expired */
};

/* One buyer's order, according to the answers. */
struct ledger_order {
    uint64_t joined_seq, paid_seq, cancelled_seq; /* 0: no such answer, or one without seq */
    uint64_t sent_ns, replied_ns;                 /* of the purchase */
    uint32_t sale;
    uint8_t joined; /* enum joined */
    uint8_t flags;  /* enum order_flag */
    uint8_t id_bytes;
    char id[ID_BYTES_MAX];
};

/* One event of the server's stream. */
struct seen_event {
    uint64_t seq;
    uint64_t id_hash; /* of the transactionId; 0: none */
    uint32_t buyer;   /* NO_BUYER: none, or none of ours */
    uint32_t sale;
    uint32_t available, held, sold, waiting;
    uint32_t quantity;
    uint8_t kind; /* enum seen_kind */
};

/* What a buyer's own stream carried, in order of arrival. */
struct own_stream {
    uint32_t buyer;
    uint32_t count; /* those that do not fit are counted, but not kept */
    struct own_event {
        uint64_t seq;
        uint8_t kind; /* enum seen_kind */
    } events[OWN_EVENTS_MAX];
};

/* What a public frame of this seq said: kept from the first spectator, compared for the others. */
struct public_state {
    uint32_t remaining, available;
    uint32_t sale_plus_1; /* 0: nothing was said */
};

struct ledger {
    struct chunks orders; /* struct ledger_order by buyer */
    uint32_t buyer_count; /* how many have come so far */
    struct chunks owns;   /* struct own_stream by watcher */
    uint32_t own_count;   /* watchers */
    struct chunks events; /* struct seen_event by arrival */
    uint64_t event_count;
    struct chunks publics;     /* struct public_state by seq - base_seq */
    struct chunks reply_times; /* _Atomic uint64_t ns, by seq - base_seq */
    uint64_t base_seq;         /* the seq before the run */
    uint64_t replied_seq;      /* buyers': the newest that an answer told */
    char tag[TAG_BYTES_MAX];   /* names are TAG-NUMBER */
};

bool ledger_open(struct ledger *ledger, const char *tag);
void ledger_close(struct ledger *ledger);

enum seen_kind seen_kind_named(struct span name);
static inline bool seen_is_of_order(enum seen_kind kind)
{
    return kind >= SEEN_RESERVED;
}
/* Events of a buyer's request, which has a reply; the others come by themselves. */
static inline bool seen_is_an_answer(enum seen_kind kind)
{
    return kind == SEEN_RESERVED || kind == SEEN_QUEUED || kind == SEEN_PAID ||
           kind == SEEN_CANCELLED;
}
const char *seen_kind_name(enum seen_kind kind);

/* The buyer of a name, or NO_BUYER when it is not one of ours. */
uint32_t ledger_buyer_named(const struct ledger *ledger, struct span name);

/* 0 for an empty span only. */
uint64_t ledger_hash(struct span id);

/* Buyers' thread: the answer that carried this seq has come. */
void ledger_note_reply(struct ledger *ledger, uint64_t seq, uint64_t at_ns);
/* Any thread: when it came, or 0. */
uint64_t ledger_reply_ns(const struct ledger *ledger, uint64_t seq);
/* Any thread: how much later than its reply a frame of this seq comes now; 0 if it comes first. */
uint64_t ledger_since_reply_ns(const struct ledger *ledger, uint64_t seq, uint64_t now_ns);

#endif
