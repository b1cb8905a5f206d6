/*
 * replay.h: the first half of the audit: replays the events, by sale and by order, and compares the buyers' own
 * streams with them. For audit.c and replay.c only.
 *
 * Thread: main. In: struct books. Out: the final state of each buyer and sale, and findings. Cannot fail.
 */
#ifndef FLASHLOAD_REPLAY_H
#define FLASHLOAD_REPLAY_H

#include "load/audit.h"

enum replay_state {
    STATE_NONE,
    STATE_WAITING,
    STATE_HELD,
    STATE_PAID,
    STATE_EXPIRED,
    STATE_CANCELLED,
    STATE_CLEARED,
    STATE_COUNT
};

struct replay_order {
    uint64_t id_hash; /* 0: there is none */
    uint32_t quantity;
    uint8_t state; /* enum replay_state */
};

/* One buyer, according to the events. There can be two orders: a buyer who presses twice may get a second one
 * after the first has expired. Only one of them is live, so the place in the queue is the buyer's. */
struct replay_buyer {
    struct replay_order orders[2];
    uint64_t joined_seq; /* of the first order */
    uint64_t paid_seq, cancelled_seq;
    uint32_t own_plus_1; /* the index of their own stream in the ledger, plus 1; 0: none */
    uint32_t own_next; /* the first of its events not yet met by one of the stream of all events */
    uint32_t before, behind; /* in the queue: buyers, NO_BUYER at its ends */
    bool joined_waiting, expired, refund_due, overtaken, listed;
};

struct replay_sale {
    int64_t available, held, sold, waiting;
    uint32_t head, tail; /* of the queue */
    uint64_t last_seq;
    uint64_t paid_answers, unknown_answers;
    uint64_t listed_quantity;
    bool known;           /* the counters are */
    bool sold_out, ended; /* events said so */
    bool past; /* newer events came than the sale as it was read; the counters before them: */
    int64_t read_available, read_held, read_sold, read_waiting;
};

struct audit {
    const struct books *books;
    struct verdict *verdict;
    struct replay_buyer *buyers;
    struct replay_sale *sales;
    uint64_t last_seq;
};

#define FOUND(a, kind, ...) finding(&(a)->verdict->findings, FINDING_##kind, __VA_ARGS__)

/* Notes which buyers have a stream of their own. */
void replay_find_own_streams(struct audit *audit);
/* Every event, in order of arrival. */
void replay_events(struct audit *audit);
/* Finds what own streams carried that no event met; call it after replay_events(). */
void replay_check_own_streams(struct audit *audit);
/* Keeps the counters to compare with the sale as it was read: call it before the first newer event, or after all. */
void replay_keep_counters(struct replay_sale *sale);

#endif
