/*
 * payload.c: see payload.h; the fields are those of contract.md, "Streams".
 *
 * Thread: any. Fails: by the text's overflow; PAYLOAD_BYTES_MAX is room for the longest names
 * escaped.
 */
#include "engine/payload.h"

static void put_terms(struct text *out, const struct sale_terms *terms)
{
    text_pair_string(out, "name", terms->name, strlen(terms->name));
    text_pair_number(out, "productQty", terms->product_qty);
    text_pair_number(out, "maxPerBuyer", terms->max_per_buyer);
    text_pair_number(out, "waitlistMax", terms->waitlist_max);
    text_pair_number(out, "holdMs", terms->hold_ms);
    text_pair_time(out, "startsAt", terms->starts_at_ms);
    text_pair_time(out, "endsAt", terms->ends_at_ms);
}

static void put_order(struct text *out, const struct event *event, const struct books *books,
                      keyed_hash *hash)
{
    const struct order *order = event->order;
    char id[ID_CHARS];
    uint64_t seq = order->seq;
    id_write(id, seq, id_tag(hash, seq));
    enum order_state state = event_row((enum event_kind)event->kind)->state_after;
    text_pair_plain(out, "transactionId", id, sizeof id);
    text_pair_string(out, "buyerName", order->name, order->name_bytes);
    text_pair_number(out, "quantity", order->quantity);
    if (state == ORDER_PAYMENT)
        text_pair_time(out, "expiresAt", event->at_wall_ms + event->sale->terms.hold_ms);
    if (state == ORDER_WAITING)
        text_pair_number(out, "position", books->waiting);
}

void payload_write(struct text *out, const struct event *event, const struct books *books,
                   keyed_hash *hash)
{
    text_str(out, "{");
    text_pair_plain(out, "saleId", event->sale->id, ID_CHARS);
    if (event->kind == EVENT_SALE_CREATED)
        put_terms(out, &event->sale->terms);
    if (event->order != NULL)
        put_order(out, event, books, hash);
    text_pair_number(out, "available", books->available);
    text_pair_number(out, "held", books->held);
    text_pair_number(out, "sold", books->sold);
    text_pair_number(out, "waiting", books->waiting);
    text_pair_time(out, "at", event->at_wall_ms);
    text_str(out, "}");
}
