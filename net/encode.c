/*
 * encode.c: events as SSE frames (stream.h). JSON never holds a line break, and ids are digits, so no frame
 * can be broken by what a client chose.
 *
 * Two frames that stem from one event share its seq, and only the last of them carries it as id: a client that is
 * cut off between the two gets both again, and misses neither.
 *
 * Thread: broadcaster. Fails: by the text's overflow.
 */
#include "net/stream.h"

/* ---- fields of a payload ---- */

/* Where `"key":` begins in the payload, or NULL. Quotes inside strings are escaped, so only keys match. */
static const char *value_at(const struct archived_event *event, const char *pattern)
{
    return memmem(event->payload, event->payload_bytes, pattern, strlen(pattern));
}

static uint64_t number_of(const struct archived_event *event, const char *pattern)
{
    const char *at = value_at(event, pattern), *end = event->payload + event->payload_bytes;
    uint64_t number = 0;
    if (at == NULL)
        return 0;
    for (at += strlen(pattern); at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

/* The TEXT_TIME_CHARS of the time that follows the pattern, or NULL. */
static const char *time_at(const struct archived_event *event, const char *pattern)
{
    const char *at = value_at(event, pattern), *end = event->payload + event->payload_bytes;
    bool whole = at != NULL && (size_t)(end - at) >= strlen(pattern) + TEXT_TIME_CHARS;
    return whole ? at + strlen(pattern) : NULL;
}

static void pair_time_of(struct text *out, const char *key, const struct archived_event *event,
                         const char *pattern)
{
    const char *time = time_at(event, pattern);
    if (time != NULL)
        text_pair_plain(out, key, time, TEXT_TIME_CHARS);
}

/* ---- frames ---- */

static void open_frame(struct text *out, uint64_t seq, const char *type)
{
    if (seq != 0) {
        text_str(out, "id: ");
        text_number(out, seq);
        text_str(out, "\n");
    }
    text_str(out, "event: ");
    text_str(out, type);
    text_str(out, "\ndata: ");
}

static void close_frame(struct text *out)
{
    text_str(out, "\n\n");
}

void encode_event(struct text *out, const struct archived_event *event)
{
    open_frame(out, event->seq, event_row((enum event_kind)event->kind)->wire_name);
    text_bytes(out, event->payload, event->payload_bytes);
    close_frame(out);
}

void encode_queue_switch(struct text *out, const struct broadcaster *b,
                         const struct archived_event *event, const struct order *order,
                         const struct sale *sale)
{
    char id[ID_CHARS];
    engine_order_id(b->engine, order, id);
    open_frame(out, 0, "queue_switch");
    text_str(out, "{");
    text_pair_plain(out, "transactionId", id, sizeof id);
    text_pair_string(out, "buyerName", order->name, order->name_bytes);
    text_pair_plain(out, "saleId", sale->id, ID_CHARS);
    pair_time_of(out, "expiresAt", event, "\"expiresAt\":\"");
    text_str(out, "}");
    close_frame(out);
}

/* ---- the public stream ---- */

bool encode_is_update(enum event_kind kind)
{
    return event_is_of_order(kind) && kind != EVENT_ORDER_REFUND_DUE;
}

struct pending_update encode_update_of(const struct archived_event *event,
                                       const struct order *order, const struct sale *sale)
{
    return (struct pending_update){.sale = sale,
                                   .order = order,
                                   .seq = event->seq,
                                   .available = number_of(event, "\"available\":"),
                                   .sold = number_of(event, "\"sold\":")};
}

void encode_update(struct text *out, const struct broadcaster *b,
                   const struct pending_update *update)
{
    open_frame(out, update->seq, "sale_update");
    text_str(out, "{");
    text_pair_plain(out, "saleId", update->sale->id, ID_CHARS);
    text_pair_number(out, "remainingQty", update->sale->terms.product_qty - update->sold);
    text_pair_number(out, "available", update->available);
    if (update->order != NULL && b->options.buyer_names_shown)
        text_pair_string(out, "buyerName", update->order->name, update->order->name_bytes);
    text_str(out, "}");
    close_frame(out);
}

static void encode_sale_event(struct text *out, const struct archived_event *event,
                              const struct sale *sale, const char *what)
{
    open_frame(out, event->seq, "sale_event");
    text_str(out, "{");
    text_pair_plain(out, "saleId", sale->id, ID_CHARS);
    text_pair_plain(out, "event", what, strlen(what));
    pair_time_of(out, "at", event, "\"at\":\"");
    text_str(out, "}");
    close_frame(out);
}

/* The announced end, or the event's time if that is earlier: ISO times compare as text. */
static void pair_end(struct text *out, const struct archived_event *event, const struct sale *sale)
{
    char announced[TEXT_TIME_CHARS];
    struct text text = text_in(announced, sizeof announced);
    text_time(&text, sale->terms.ends_at_ms);
    const char *at = time_at(event, "\"at\":\"");
    bool early = at != NULL && memcmp(at, announced, sizeof announced) < 0;
    text_pair_plain(out, "endsAt", early ? at : announced, sizeof announced);
}

/* sale_started and sale_ended. */
static void encode_turn(struct text *out, const struct archived_event *event,
                        const struct sale *sale, const char *type)
{
    open_frame(out, 0, type);
    text_str(out, "{");
    text_pair_plain(out, "saleId", sale->id, ID_CHARS);
    if (event->kind == EVENT_SALE_STARTED)
        text_pair_time(out, "startsAt", sale->terms.starts_at_ms);
    else
        pair_end(out, event, sale);
    text_str(out, "}");
    close_frame(out);
}

uint8_t encode_public(struct text *out, const struct broadcaster *b,
                      const struct archived_event *event, const struct order *order,
                      const struct sale *sale)
{
    if (encode_is_update((enum event_kind)event->kind)) {
        const struct pending_update update = encode_update_of(event, order, sale);
        encode_update(out, b, &update);
        return 1;
    }
    switch ((enum event_kind)event->kind) {
    case EVENT_SALE_STARTED:
        encode_turn(out, event, sale, "sale_started");
        encode_sale_event(out, event, sale, "start");
        return 2;
    case EVENT_SALE_ENDED:
        encode_turn(out, event, sale, "sale_ended");
        encode_sale_event(out, event, sale, "end");
        return 2;
    case EVENT_SALE_PAUSED:
    case EVENT_SALE_STOPPED:
        encode_sale_event(out, event, sale, "pause");
        return 1;
    case EVENT_SALE_RESUMED:
        encode_sale_event(out, event, sale, "resume");
        return 1;
    default: /* sale.created has sold nothing; sold out shows in the updates; a refund is private */
        return 0;
    }
}
