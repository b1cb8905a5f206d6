/*
 * check.c: see check.h.
 *
 * Thread: one. In: a data directory and a tape. Out: a verdict.
 */
#include "tests/faults/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/check.h"
#include "engine/view.h"
#include "main/hash.h"
#include "persist/database.h"

enum { EVENTS_A_PAGE = 256, ORDERS_MORE = 6 };

static struct life later; /* too large for a stack */

static bool wrong(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static bool wrong(struct check *check, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(check->wrong, sizeof check->wrong, format, args);
    va_end(args);
    return false;
}

/* ---- events ---- */

struct reading {
    struct check *check;
    uint64_t seq;
    bool good;
    struct seen_event events[TAPE_EVENTS_MAX]; /* as they are found */
};

static bool is_same(const struct seen_event *a, const struct seen_event *b)
{
    return a->kind == b->kind && a->sale_seq == b->sale_seq && a->order_seq == b->order_seq &&
           a->payload_hash == b->payload_hash;
}

static void take_event(void *arg, const struct archived_event *event)
{
    struct reading *reading = arg;
    const struct tape *tape = reading->check->tape;
    if (!reading->good)
        return;
    MUST(event->seq < TAPE_EVENTS_MAX, "more events than a tape has");
    struct seen_event found = {.kind = event->kind,
                               .sale_seq = event->sale_seq,
                               .order_seq = event->order_seq,
                               .payload_hash = payload_hash(event->payload, event->payload_bytes)};
    reading->seq++;
    if (event->seq != reading->seq)
        reading->good = wrong(reading->check, "event %llu is followed by %llu",
                              (unsigned long long)reading->seq - 1, (unsigned long long)event->seq);
    else if (event->seq > tape->event_count && !tape->cut)
        reading->good =
            wrong(reading->check, "event %llu was never committed", (unsigned long long)event->seq);
    else if (event->seq <= tape->event_count && !is_same(&found, &tape->events[event->seq]))
        reading->good = wrong(reading->check, "event %llu is another one than readers saw",
                              (unsigned long long)event->seq);
    reading->events[event->seq] = found;
}

static bool check_answers(struct check *check, const struct reading *reading)
{
    const struct tape *tape = check->tape;
    for (uint32_t i = 0; i < tape->answer_count && tape->answers[i].ops <= check->ops; i++) {
        const struct answer *a = &tape->answers[i];
        const struct seen_event *event = &reading->events[a->seq];
        if (a->seq > reading->seq)
            return wrong(check, "answered and lost: %s of order %llu at seq %llu; the last is %llu",
                         a->own ? event_row((enum event_kind)a->kind)->wire_name : "a reply",
                         (unsigned long long)a->order_seq, (unsigned long long)a->seq,
                         (unsigned long long)reading->seq);
        if (a->own && (event->kind != a->kind || event->order_seq != a->order_seq))
            return wrong(check, "answered: %s of order %llu at seq %llu; %s of %llu stands there",
                         event_row((enum event_kind)a->kind)->wire_name,
                         (unsigned long long)a->order_seq, (unsigned long long)a->seq,
                         event_row((enum event_kind)event->kind)->wire_name,
                         (unsigned long long)event->order_seq);
    }
    return true;
}

static bool check_events(struct check *check, struct life *life)
{
    static struct reading reading;
    struct event_archive archive = archive_reader(life->archive);
    reading.check = check;
    reading.seq = 0;
    reading.good = true;
    int count;
    do
        count = archive.read(archive.self, reading.seq, EVENTS_A_PAGE, take_event, &reading);
    while (count == EVENTS_A_PAGE && reading.good);
    if (count < 0)
        return wrong(check, "the events cannot be read");
    check->last = reading.seq;
    return reading.good && check_answers(check, &reading);
}

/* ---- memory ---- */

static bool check_memory(struct check *check, struct life *life)
{
    for (uint32_t i = 0; i < engine_sale_count(&life->engine); i++) {
        const struct sale *sale = engine_sale_at(&life->engine, i);
        struct books books = view_sale(sale);
        struct stock word = stock_load(&sale->stock);
        if (word.available != books.available || word.waiting != books.waiting ||
            (uint64_t)books.available + books.held + books.sold != sale->terms.product_qty)
            return wrong(check,
                         "sale %u: %u available, %u held, %u sold, %u waiting; memory has %u, %u",
                         i, books.available, books.held, books.sold, books.waiting, word.available,
                         word.waiting);
    }
    return true;
}

bool check_life(struct check *check, struct life *life)
{
    return check_events(check, life) && check_memory(check, life);
}

/* ---- starts ---- */

/* What `flashd audit` does: recovery on a read-only snapshot. */
static bool audit(struct check *check, const char *dir)
{
    char line[TAPE_LINE_BYTES] = "";
    bool damaged;
    sqlite3 *db = database_open_snapshot(dir, &damaged, line, sizeof line);
    if (db == NULL)
        return wrong(check, "the audit cannot open it: %s", line);
    static struct engine engine;
    const struct engine_options options = {.workers = 1,
                                           .ports = 1,
                                           .state_interval_ms = 100,
                                           .hash = keyed_siphash,
                                           .last_seq = database_last_seq(db)};
    struct recovery found;
    unsigned char key[DATABASE_KEY_BYTES];
    if (database_key(db, key))
        hash_set_key(key);
    MUST(engine_init(&engine, options, (struct journal_store){.self = NULL}), "memory to audit");
    struct now now = {.mono_ms = 5000, .wall_ms = 1700000000000};
    bool good = recover(db, &engine, now, &found, line, sizeof line);
    engine_free(&engine);
    database_close_snapshot(db);
    return good || wrong(check, "audit: %s", line);
}

/* Until something was promised, the files need not be a database. */
static bool may_audit(const struct check *check, const char *dir)
{
    char path[TAPE_LINE_BYTES];
    struct stat found;
    snprintf(path, sizeof path, "%s/flashd.db", dir);
    return check->audit && stat(path, &found) == 0 && tape_promised(check->tape, check->ops) > 0;
}

static bool go_on(struct check *check, const char *dir)
{
    bool good =
        life_play(&later, ORDERS_MORE) || wrong(check, "it does not go on: %s", later.error);
    uint64_t last = later.read_seq;
    life_close(&later);
    good = good && ((life_open(&later, dir, NULL, 1, 3) && later.found.events >= last) ||
                    wrong(check, "it went on to %llu, and then: %s", (unsigned long long)last,
                          later.error));
    return good;
}

bool check_start(struct check *check, const char *dir)
{
    if (may_audit(check, dir) && !audit(check, dir))
        return false;
    bool good = life_open(&later, dir, NULL, check->ops, 2) || wrong(check, "%s", later.error);
    good = good && check_life(check, &later) && (!check->go_on || go_on(check, dir));
    life_close(&later);
    return good;
}
