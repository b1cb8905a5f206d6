/*
 * sale.h: one sale: what was announced, the stock word everybody swaps, and what readers may see.
 *
 * Threads: made by the clock (or by recovery), published in the sale table, not freed while the
 * engine lives. The banners say who writes what.
 */
#ifndef FLASHD_ENGINE_SALE_H
#define FLASHD_ENGINE_SALE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/books.h"
#include "engine/id.h"
#include "engine/marks.h"
#include "engine/queue.h"
#include "engine/rows.h"
#include "engine/stock.h"

enum { VIEW_BOOKS_WORDS = 4, VIEW_WORDS = 6 };

/* What an admin asks for; times are wall-clock ms. */
struct sale_terms {
    char name[SALE_NAME_BYTES_MAX + 1];
    uint32_t product_qty;   /* 1..PRODUCT_QTY_MAX units */
    uint32_t max_per_buyer; /* 1..PRODUCT_QTY_MAX units in one order */
    uint32_t waitlist_max;  /* 0..WAITLIST_MAX orders */
    uint32_t hold_ms;       /* HOLD_MS_MIN..HOLD_MS_MAX */
    int64_t starts_at_ms;
    int64_t ends_at_ms; /* > starts_at_ms */
};

/* Why the clock is closing the sale, while it waits for decisions made before (marks.h). */
enum sale_closing { CLOSING_NOT, CLOSING_PAUSE, CLOSING_STOP, CLOSING_END, CLOSING_SOLD_OUT };

/* The part of the books' counters that stems from changes of the turned tint (stock.h), modulo 2^32. */
struct tide {
    uint32_t available, waiting, sold;
    uint32_t turns; /* how often the sale's state has changed, whatever the tint */
};

/* The words of a sale at one instant: COMMAND_LOOK. */
struct sale_look {
    struct stock stock;
    struct sold sold;
};

struct sale {
    /* --- set once, before the sale is published --- */
    uint32_t index;
    uint64_t seq; /* of sale.created */
    char id[ID_CHARS + 1];
    struct sale_terms terms;

    /* --- workers and clock: by swap --- */
    _Alignas(CACHE_LINE_BYTES) stock_word stock;
    /* --- clock writes, workers read --- */
    _Atomic bool unlogged; /* the word is closed, but the event that says so has no slot yet */
    /* --- workers: by fetch-and-add --- */
    _Alignas(CACHE_LINE_BYTES) sold_word sold; /* units paid */

    /* --- clock only --- */
    _Alignas(CACHE_LINE_BYTES) struct queue waiting, holds;
    uint32_t sold_read; /* units paid, as far as the clock has read the log */
    enum sale_closing closing;
    bool watched; /* on the clock's list */
    bool sold_out_logged;
    bool clearing;        /* the waiting list must be emptied … */
    uint64_t clear_up_to; /* … once the clock has read the log up to here */
    bool stopped;         /* paused by a reconciliation */
    struct worker_mark mark;
    /* --- clock writes before it answers COMMAND_LOOK, the reconciler reads after --- */
    struct sale_look look;

    /* --- journal only --- */
    _Alignas(
        CACHE_LINE_BYTES) struct books books; /* ahead of the view by the batch being written */
    bool touched;                             /* has events in that batch */
    struct tide tide;                         /* as of the books */
    uint32_t tickets;                         /* orders that ever queued */
    /* --- journal writes after the commit, any thread reads: view.h --- */
    _Atomic uint64_t view_version; /* of view_words: versioned.h */
    _Atomic uint64_t view_words[VIEW_WORDS];
    struct rows paid;               /* struct order *, in order of payment */
    struct rows waiting_bits;       /* bit t of word t/64: ticket t still waits */
    _Atomic uint64_t waiting_first; /* no ticket below this one waits */
};

/* "UPCOMING", "ACTIVE", "PAUSED", "ENDED"; a stopped sale is "PAUSED". Static. */
const char *sale_state_name(enum sale_state state);
/* Zeroed, aligned to its cache lines; NULL when out of memory. Owned by the engine's sale table. */
struct sale *sale_new(void);
void sale_free(struct sale *sale);

#endif
