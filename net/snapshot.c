/*
 * snapshot.c: how a stream begins: the head, then a snapshot, or events from where the client left off
 * (stream.h).
 *
 * No gap, no duplicate: the cursor is a seq that was committed before the snapshot is read. So what is read is at least
 * as new, and every event after the cursor still comes. The public snapshot shows one moment, unless commits prevent
 * that in SNAPSHOT_TRIES_MAX tries: the journal's view_generation is even, and the same before and after the read. A
 * snapshot of all sales serves every stream whose request came before that moment, so a stampede of new streams costs
 * one snapshot a round, not one per stream.
 *
 * A user's snapshot is gathered from the workers, which know a buyer's order in each sale: one lookup per
 * sale, through the broadcaster's engine port.
 *
 * Thread: broadcaster.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/answer.h"
#include "net/replies.h"
#include "net/stream.h"
#include "net/timestamp.h"

enum {
    RETRY_MS_MIN = 1000,
    RETRY_MS_SPAN = 4000,
    HEAD_BYTES_MAX = 512,
    ROOM_FOR_FRAME = 128,
    SNAPSHOT_TRIES_MAX = 100
};

static void put_str(struct broadcaster *b, struct stream *s, const char *string)
{
    (void)stream_put(b, s, string, strlen(string));
}

static void put_frame(struct broadcaster *b, struct stream *s, const char *bytes, size_t len)
{
    if (stream_put(b, s, bytes, len))
        stream_count_frames(b, 1);
}

/* ---- the head ---- */

static void put_head(struct broadcaster *b, struct stream *s)
{
    char head[HEAD_BYTES_MAX], date[TIMESTAMP_HTTP_BYTES];
    timestamp_http(b->now.wall_ms, date);
    /* Jitter, so that the clients of a server that went away do not come back in one instant. */
    unsigned retry_ms = RETRY_MS_MIN + randombytes_uniform(RETRY_MS_SPAN);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/event-stream\r\n"
             "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
             ": connected\nretry: %u\n",
             date, retry_ms);
    put_str(b, s, head);
}

static void refuse(struct broadcaster *b, struct stream *s, const char *detail)
{
    char head[HEAD_BYTES_MAX], buffer[512], date[TIMESTAMP_HTTP_BYTES];
    struct text body = text_in(buffer, sizeof buffer);
    timestamp_http(b->now.wall_ms, date);
    answer_put_problem(&body, 503, "overload", detail, NULL);
    snprintf(head, sizeof head,
             "HTTP/1.1 503 Service Unavailable\r\nDate: %s\r\n"
             "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
             "Retry-After: 5\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
             date, body.len);
    put_str(b, s, head);
    (void)stream_put(b, s, body.start, body.len);
    s->close_after = true;
    atomic_fetch_add_explicit(&b->stats.refused, 1, memory_order_relaxed);
}

/* ---- snapshots ---- */

static uint64_t view_generation(const struct broadcaster *b)
{
    return atomic_load_explicit(&b->engine->view_generation, memory_order_acquire);
}

static void open_snapshot(struct text *out, uint64_t seq, const char *list)
{
    text_str(out, "id: ");
    text_number(out, seq);
    text_str(out, "\nevent: snapshot\ndata: {\"");
    text_str(out, list);
    text_str(out, "\":[");
}

static void close_snapshot(struct text *out)
{
    text_str(out, "]}\n\n");
}

static void put_text(struct broadcaster *b, struct stream *s, struct text *out)
{
    close_snapshot(out);
    if (!out->overflow)
        put_frame(b, s, out->start, out->len);
    else
        stream_close(b, s);
}

/* Writes the first `sales` sales, or only the sale `only`. Returns the seq as of which they are. */
static uint64_t write_sales(const struct broadcaster *b, const struct sale *only, uint32_t sales,
                            struct text *out)
{
    uint64_t seq = log_committed(&b->engine->log);
    bool first = true;
    open_snapshot(out, seq, "sales");
    for (uint32_t i = 0; i < sales; i++) {
        const struct sale *sale = engine_sale_at(b->engine, i);
        if ((only != NULL && only != sale) || view_sale(sale).seq == 0)
            continue;
        text_str(out, first ? "" : ",");
        put_sale(out, sale);
        first = false;
    }
    close_snapshot(out);
    return seq;
}

/* NULL: out of memory. Reads again until no commit came in between, so that the snapshot shows one moment. The last try
 * is taken as it is: parts of it may be newer than its id, and the events that follow put that right. */
static struct snapshot *make_snapshot(const struct broadcaster *b, const struct sale *only)
{
    struct snapshot *made = NULL;
    struct text out;
    uint64_t before, after;
    int tries = 0;
    do {
        before = view_generation(b);
        uint32_t sales = engine_sale_count(b->engine); /* may grow */
        size_t room = (only != NULL ? 1 : sales) * SALE_JSON_BYTES_MAX + ROOM_FOR_FRAME;
        struct snapshot *grown = realloc(made, sizeof *made + room);
        if (grown == NULL)
            break;
        made = grown;
        out = text_in(made->text, room);
        made->seq = write_sales(b, only, sales, &out);
        made->bytes = out.len;
        after = view_generation(b);
    } while ((before != after || (before & 1) != 0) && ++tries < SNAPSHOT_TRIES_MAX);
    if (made == NULL || out.overflow) {
        free(made);
        return NULL;
    }
    made->holders = 1;
    struct snapshot *fitted = realloc(made, sizeof *made + made->bytes);
    return fitted != NULL ? fitted : made;
}

void snapshot_let_go(struct snapshot *snapshot)
{
    if (snapshot != NULL && --snapshot->holders == 0)
        free(snapshot);
}

/* The latest one, if it shows all that the client may know of; else a new one. The caller becomes a holder. NULL: out
 * of memory. */
static struct snapshot *snapshot_for(struct broadcaster *b, const struct subscription *sub)
{
    if (sub->sale != NULL)
        return make_snapshot(b, sub->sale);
    if (b->snapshot == NULL || b->snapshot->seq < sub->asked_seq) {
        struct snapshot *made = make_snapshot(b, NULL);
        if (made == NULL)
            return NULL;
        snapshot_let_go(b->snapshot);
        b->snapshot = made;
    }
    b->snapshot->holders++;
    return b->snapshot;
}

static void put_sales(struct broadcaster *b, struct stream *s)
{
    struct snapshot *snapshot = snapshot_for(b, &s->sub);
    if (snapshot == NULL) {
        stream_close(b, s);
        return;
    }
    s->cursor = snapshot->seq;
    if (snapshot->bytes > STREAM_OUT_BYTES) {
        s->snapshot = snapshot;
        stream_count_frames(b, 1);
        return;
    }
    put_frame(b, s, snapshot->text, snapshot->bytes);
    snapshot_let_go(snapshot);
}

static void put_orders(struct broadcaster *b, const struct stream *s, struct text *out)
{
    open_snapshot(out, b->head, "orders");
    for (uint32_t i = 0; i < s->orders_count; i++) {
        text_str(out, i == 0 ? "" : ",");
        put_order(out, b->engine, s->orders[i].order);
    }
}

/* ---- a user's orders ---- */

bool snapshot_note_order(struct broadcaster *b, struct stream *s, struct order *order)
{
    if (s->sub.sale != NULL && s->sub.sale->index != order->sale)
        return true;
    for (uint32_t i = 0; i < s->orders_count; i++) {
        if (s->orders[i].order->sale != order->sale)
            continue;
        if (order->seq > s->orders[i].order->seq)
            s->orders[i] = (struct followed){order, 0}; /* the latest of each sale */
        return true;
    }
    struct followed *grown = realloc(s->orders, (s->orders_count + 1) * sizeof *grown);
    if (grown == NULL) {
        stream_close(b, s);
        return false;
    }
    s->orders = grown;
    s->orders[s->orders_count++] = (struct followed){order, 0};
    return true;
}

static uint32_t position_now(const struct broadcaster *b, const struct order *order)
{
    return view_position(engine_sale_at(b->engine, order->sale), order);
}

/* Notes the places that the snapshot tells, so that they are not told again. */
static void remember_positions(struct broadcaster *b, struct stream *s)
{
    for (uint32_t i = 0; i < s->orders_count; i++)
        s->orders[i].position = position_now(b, s->orders[i].order);
    s->positions_mono_ms = b->now.mono_ms;
}

static void end_looking_up(struct broadcaster *b, struct stream *s)
{
    s->looking_up = false;
    b->looking_up--;
}

/* All lookups are answered, and the orders of later events were noted: the user's orders are known as of the head. They
 * are written if no commit is beyond the head; else a later round tries again. The last try writes them as they are:
 * parts may be newer than their id, and the events that follow put that right. */
static void try_put_orders(struct broadcaster *b, struct stream *s)
{
    bool last_try = ++s->tries == SNAPSHOT_TRIES_MAX;
    uint64_t before = view_generation(b);
    bool current = (before & 1) == 0 && log_committed(&b->engine->log) == b->head;
    if (!current && !last_try)
        return;
    size_t bytes = (size_t)s->orders_count * ORDER_JSON_BYTES_MAX + ROOM_FOR_FRAME;
    char *buffer = malloc(bytes);
    if (buffer == NULL) {
        stream_close(b, s);
        return;
    }
    struct text out = text_in(buffer, bytes);
    put_orders(b, s, &out);
    if (before == view_generation(b) || last_try) {
        end_looking_up(b, s); /* first: put_text() may close the stream, and so end it again */
        put_text(b, s, &out);
        s->cursor = b->head + FAULT(FAULT_LATE_STREAM);
        remember_positions(b, s);
    }
    free(buffer);
}

void snapshot_look_up(struct broadcaster *b, struct stream *s)
{
    uint32_t sales = engine_sale_count(b->engine);
    uint32_t target = engine_worker_of(b->engine, s->sub.user_hash);
    struct command command = {.context = (uint64_t)s->generation << 32 | s->slot,
                              .name_hash = s->sub.user_hash,
                              .kind = COMMAND_ELIGIBLE,
                              .name_bytes = s->sub.user_bytes};
    memcpy(command.name, s->sub.user, s->sub.user_bytes);
    for (; s->lookups_sent < sales; s->lookups_sent++) {
        command.sale = engine_sale_at(b->engine, s->lookups_sent);
        if (!port_send(b->port, target, &command))
            break; /* the target's ring is full: the rest when replies have come */
        s->lookups_left++;
    }
    port_flush(b->port);
    if (s->lookups_left > 0 || s->lookups_sent < sales)
        return;
    if (s->silent)
        end_looking_up(b, s);
    else
        try_put_orders(b, s);
}

void snapshot_found(struct broadcaster *b, struct stream *s, struct order *order)
{
    s->lookups_left--;
    if (order != NULL)
        (void)snapshot_note_order(b, s, order);
}

static void begin_looking_up(struct broadcaster *b, struct stream *s, bool silent)
{
    s->looking_up = true;
    s->silent = silent;
    s->lookups_sent = s->tries = 0; /* a reset may come after lookups: all anew */
    b->looking_up++;
}

/* ---- the place in the queue ---- */

void snapshot_put_positions(struct broadcaster *b, struct stream *s)
{
    char buffer[256];
    for (uint32_t i = 0; i < s->orders_count && !s->closing; i++) {
        struct followed *followed = &s->orders[i];
        uint32_t position = position_now(b, followed->order);
        if (position == 0 || position == followed->position)
            continue;
        char id[ID_CHARS];
        struct text out = text_in(buffer, sizeof buffer);
        engine_order_id(b->engine, followed->order, id);
        text_str(&out, "event: queue_position\ndata: {");
        text_pair_plain(&out, "transactionId", id, sizeof id);
        text_pair_number(&out, "position", position);
        text_str(&out, "}\n\n");
        followed->position = position;
        put_frame(b, s, out.start, out.len);
    }
}

/* ---- beginning ---- */

/* Ends a block. Where an events stream begins anew, the block carries its cursor as id, so that a client cut off before
 * the first event can resume. Streams of other kinds get an id with their snapshot. */
static void end_block(struct broadcaster *b, struct stream *s, bool anew)
{
    char line[32];
    struct text out = text_in(line, sizeof line);
    if (anew && s->sub.kind == STREAM_EVENTS) {
        text_str(&out, "id: ");
        text_number(&out, s->cursor);
        text_str(&out, "\n");
    }
    text_str(&out, "\n");
    (void)stream_put(b, s, out.start, out.len);
}

static void put_snapshot(struct broadcaster *b, struct stream *s)
{
    if (s->sub.kind == STREAM_PUBLIC)
        put_sales(b, s);
    else if (s->sub.kind == STREAM_USER)
        begin_looking_up(b, s, false);
}

void snapshot_reset(struct broadcaster *b, struct stream *s)
{
    s->cursor = s->sub.kind == STREAM_EVENTS
                    ? b->options.archive.oldest(b->options.archive.self) - 1
                    : log_committed(&b->engine->log);
    /* The snapshot must not be older than what the stream has missed. */
    s->sub.asked_seq = log_committed(&b->engine->log);
    put_str(b, s, "event: reset\ndata: {}\n");
    end_block(b, s, true);
    stream_count_frames(b, 1);
    put_snapshot(b, s);
}

void snapshot_begin(struct broadcaster *b, struct stream *s)
{
    const char *full = caps_enter(&b->caps, s->sub.address, &s->caller);
    if (full != NULL) {
        refuse(b, s, full);
        return;
    }
    uint64_t oldest = b->options.archive.oldest(b->options.archive.self);
    s->cursor = s->sub.resume ? s->sub.after_seq : log_committed(&b->engine->log);
    put_head(b, s);
    end_block(b, s, !s->sub.resume);
    if (!s->sub.resume) {
        put_snapshot(b, s);
    } else if (!FAULT(FAULT_SILENT_GAP) && (s->sub.after_seq > log_committed(&b->engine->log) ||
                                            s->sub.after_seq < oldest - 1)) {
        snapshot_reset(b, s); /* a place that this server does not have */
    } else {
        s->cursor += FAULT(FAULT_RESUME_OFF_BY_ONE);
        if (s->sub.kind == STREAM_USER)
            begin_looking_up(b, s, true); /* only to know whose places in queues to tell */
    }
}
