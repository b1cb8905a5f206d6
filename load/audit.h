/*
 * audit.h: do the server's books balance? Compares the ledger of answers with the sales, their buyers lists and
 * the event stream.
 *
 * Pure: it reads plain data and says what is wrong, so that tests can hand it wrong books of every kind.
 *
 * Thread: main, after the others have ended. Without a token there is no event stream: checks that need
 * it are left out, and `events_held` is false. Fails: false without memory.
 */
#ifndef FLASHLOAD_AUDIT_H
#define FLASHLOAD_AUDIT_H

#include "load/findings.h"
#include "load/ledger.h"

/* A sale as the server shows it after the load. */
struct final_sale {
    char id[ID_BYTES_MAX];
    uint64_t stock;
    uint64_t available, held, sold, waiting, remaining, seq;
    bool ended;
};

/* A row of a sale's buyers list. The rows of a sale are adjacent, in the list's order. */
struct listed_buyer {
    uint32_t sale, buyer; /* NO_BUYER: not one of ours */
    uint32_t quantity;
    bool named;       /* the list says who bought */
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
    uint64_t answers, events, rows, own_streams; /* how many were checked */
};

/* Adds to what verdict->findings holds already. */
bool audit_books(const struct books *books, struct verdict *verdict);

#endif
