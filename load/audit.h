/*
 * audit.h: do the server's books balance? The ledger of answers, held against the sale, its buyers list and
 * the event stream.
 *
 * Pure: it reads plain data and says what is wrong, so that tests can hand it wrong books of every kind.
 *
 *   oversold          more units promised than there are
 *   lost              an accepted answer that the server no longer knows
 *   doubled           one buyer, order or unit twice
 *   out of FIFO       somebody who waited less came first; buyers not in order of payment
 *   missing event     an answer or a change without its event
 *   repeated event    an event twice, or a step that an order had made already
 *   wrong counter     figures that do not follow from the events
 *
 * Thread: main, after the others have ended. Without a token there is no event stream: what needs it is left
 * out and `events_held` is false. Fails: false without memory.
 */
#ifndef FLASHLOAD_AUDIT_H
#define FLASHLOAD_AUDIT_H

#include "load/ledger.h"

#define FINDINGS(X)                                                                                \
    X(OVERSOLD, "oversold")                                                                        \
    X(LOST, "lost")                                                                                \
    X(DOUBLED, "doubled")                                                                          \
    X(OUT_OF_FIFO, "out of FIFO order")                                                            \
    X(MISSING_EVENT, "missing event")                                                              \
    X(REPEATED_EVENT, "repeated event")                                                            \
    X(WRONG_COUNTER, "wrong counter")

enum finding_kind {
#define X(name, text) FINDING_##name,
    FINDINGS(X)
#undef X
        FINDING_COUNT
};

enum { FINDING_TEXT_BYTES = 200 };

struct findings {
    struct {
        uint64_t count;
        char first[FINDING_TEXT_BYTES];
    } of[FINDING_COUNT];
};

/* Counts one, and keeps the first one's words. */
void finding(struct findings *findings, enum finding_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void findings_merge(struct findings *into, const struct findings *from);
uint64_t findings_total(const struct findings *findings);
const char *finding_name(enum finding_kind kind);

/* A sale as the server shows it in the end. */
struct final_sale {
    char id[ID_BYTES_MAX];
    uint64_t stock;
    uint64_t available, held, sold, waiting, remaining, seq;
};

/* A row of a sale's buyers list; rows of a sale stand together, in the list's order. */
struct listed_buyer {
    uint32_t sale, buyer; /* NO_BUYER: not one of ours */
    uint32_t quantity;
    uint64_t id_hash; /* 0: not shown */
};

struct books {
    const struct ledger *ledger;
    const struct final_sale *sales;
    uint32_t sale_count;
    const struct listed_buyer *listed;
    uint64_t listed_count;
    bool ours_alone;   /* nobody else buys in these sales, and their whole history was watched */
    bool gapless;      /* the stream carries every seq of the server: no other sales */
    bool events_held;  /* there was an event stream */
    bool names_hidden; /* the list does not say who bought */
};

struct verdict {
    struct findings findings;
    uint64_t answers, events, rows, own_streams; /* how many were held against each other */
};

/* Adds to what verdict->findings holds already. */
bool audit_books(const struct books *books, struct verdict *verdict);

#endif
