/*
 * run.h: one run of the load: what both load threads and main share.
 *
 * Threads: main fills it before it starts the others, and reads the rest after they have ended. In between,
 * the comments beside atomics say who writes them; measures and ledger have their own rules (measure.h, ledger.h).
 */
#ifndef FLASHLOAD_RUN_H
#define FLASHLOAD_RUN_H

#include "load/arrivals.h"
#include "load/audit.h"
#include "load/measure.h"
#include "load/site.h"

enum { FAILURE_BYTES = 384 };

struct sale {
    char id[ID_BYTES_MAX];
    uint64_t stock, pays_asked; /* pays_asked: the buyers' thread */
};

/* Sales by id: a hash table, for the sale of an event. */
struct sale_index {
    uint32_t *slots; /* owned; sale + 1 */
    uint32_t mask;
};

struct run {
    /* main, before the threads */
    struct options options;
    struct site site;
    struct ledger ledger;
    struct sale *sales; /* owned; options.sales of them */
    struct sale_index index;
    bool sales_are_ours, server_is_ours;
    uint64_t start_ns; /* when the load begins; written before `started` */
    time_t started_at; /* the same, as wall-clock time */

    _Atomic bool interrupted; /* by a signal */

    /* main -> threads */
    _Atomic bool started;      /* every stream and connection is there: go */
    _Atomic bool stop;         /* no new arrivals; finish what is under way */
    _Atomic bool count_end;    /* the load's streams have caught up: close the last tick */
    _Atomic bool audience_end; /* the audience ends first: from then on own_frames_owed is final */
    _Atomic bool end;          /* the buyers' thread ends, too */

    /* threads -> main */
    _Atomic uint32_t connections_open, watchers_open; /* buyers' */
    _Atomic uint32_t spectators_open, observer_open;  /* audience's */
    _Atomic bool loaded;                              /* buyers': the load is over */
    uint64_t loaded_ns;                               /* buyers': written before `loaded` */
    uint64_t loaded_seq;                /* the same: of the newest event that an answer told */
    double came_s;                      /* the same: seconds of the schedule that came */
    _Atomic uint32_t counts_over;       /* both: how many have closed their last tick */
    _Atomic uint64_t own_frames;        /* buyers': order events on own streams */
    _Atomic uint64_t own_frames_owed;   /* audience's: by the stream of all events */
    _Atomic uint64_t observed_seq;      /* audience's: of the newest event */
    _Atomic uint32_t spectators_behind; /* audience's: how many lack the last public change */
    _Atomic uint32_t sold_out_told;     /* audience's: sales that events call sold out */
    _Atomic bool failed;                /* the thread that sets it writes failure */
    char failure[FAILURE_BYTES];
    _Atomic bool failure_written;

    struct measures buyers, audience;
    struct findings buyers_findings, audience_findings;
    struct codes {
        char code[28];
        uint8_t step;
        uint64_t count;
    } codes[48]; /* buyers': refusals by code */
};

bool run_has_token(const struct run *run);
/* A load thread, each round from the start on: ticks go on until `last`, which is count_end before the round. */
void run_tick(struct run *run, struct measures *measures, uint64_t now_ns, const struct tick *like,
              bool last);
uint32_t run_sale_of(const struct run *run, struct span id); /* NO_SALE: none of ours */
bool run_index_sales(struct run *run);
/* A failure that ends the run; the first one's words are kept. Any thread. */
void run_fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, for a link that the server refused; body: the answer's, which says why. */
void run_fail_refused(struct run *run, const char *what, unsigned status, const char *body,
                      size_t body_bytes);
/* Whose stream the n-th own stream is; whether a buyer has one. */
uint32_t run_buyer_of_watcher(const struct run *run, uint32_t watcher);
bool run_is_watched(const struct run *run, uint32_t buyer);

#endif
