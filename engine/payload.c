/*
 * payload.c: see payload.h.
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

static void put_order(struct text *out, const struct order *order, keyed_hash *hash)
{
    char id[ID_CHARS];
    uint64_t seq = order->seq;
    id_write(id, seq, id_tag(hash, seq));
    text_pair_plain(out, "transactionId", id, sizeof id);
    text_pair_string(out, "buyerName", order->name, order->name_bytes);
    text_pair_number(out, "quantity", order->quantity);
}

static void put_move(struct text *out, const struct event *event, const struct books *books)
{
    enum order_state state = event_row((enum event_kind)event->kind)->state_after;
    if (state == ORDER_PAYMENT)
        text_pair_time(out, "expiresAt", event->at_wall_ms + event->sale->terms.hold_ms);
    if (state == ORDER_WAITING)
        text_pair_number(out, "position", books->waiting);
}

void payload_facts(struct text *out, const struct event *event, keyed_hash *hash)
{
    text_str(out, "{");
    text_pair_plain(out, "saleId", event->sale->id, ID_CHARS);
    if (event->kind == EVENT_SALE_CREATED)
        put_terms(out, &event->sale->terms);
    if (event->order != NULL)
        put_order(out, event->order, hash);
}

bool payload_has_facts(const char *json, size_t len, const struct event *event, keyed_hash *hash)
{
    char buffer[PAYLOAD_BYTES_MAX];
    struct text text = text_in(buffer, sizeof buffer);
    payload_facts(&text, event, hash);
    return !text.overflow && len > text.len && memcmp(text.start, json, text.len) == 0;
}

void payload_write(struct text *out, const struct event *event, const struct books *books,
                   keyed_hash *hash)
{
    payload_facts(out, event, hash);
    if (event->order != NULL)
        put_move(out, event, books);
    if (event->kind == EVENT_SALE_STOPPED)
        text_pair_plain(out, "reason", "reconcile-failed", 16);
    text_pair_number(out, "available", books->available);
    text_pair_number(out, "held", books->held);
    text_pair_number(out, "sold", books->sold);
    text_pair_number(out, "waiting", books->waiting);
    text_pair_time(out, "at", event->at_wall_ms);
    text_str(out, "}");
}

/* ---- reading ---- */

struct scan {
    const char *at, *end;
};

static bool take(struct scan *s, char c)
{
    bool there = s->at < s->end && *s->at == c;
    s->at += there;
    return there;
}

static bool take_string(struct scan *s, struct payload_string *string)
{
    const char *start = s->at;
    if (!take(s, '"'))
        return false;
    while (s->at < s->end && *s->at != '"')
        s->at += *s->at == '\\' ? 2 : 1;
    if (s->at >= s->end)
        return false;
    s->at++;
    *string = (struct payload_string){start, (size_t)(s->at - start)};
    return true;
}

static bool take_number(struct scan *s, uint64_t *number)
{
    const char *start = s->at;
    *number = 0;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9' && s->at - start < 19)
        *number = *number * 10 + (uint64_t)(*s->at++ - '0');
    return s->at > start;
}

/* Where a member's value goes; NULL for a member that struct payload does not have. */
static void *member_named(struct payload *p, const struct payload_string *key, bool number)
{
    const struct {
        const char *name;
        void *member;
        bool number;
    } members[] = {{"\"saleId\"", &p->sale_id, false},
                   {"\"transactionId\"", &p->transaction_id, false},
                   {"\"buyerName\"", &p->buyer_name, false},
                   {"\"quantity\"", &p->quantity, true},
                   {"\"available\"", &p->available, true},
                   {"\"held\"", &p->held, true},
                   {"\"sold\"", &p->sold, true},
                   {"\"waiting\"", &p->waiting, true}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (members[i].number == number && key->len == strlen(members[i].name) &&
            memcmp(key->data, members[i].name, key->len) == 0)
            return members[i].member;
    return NULL;
}

static bool take_member(struct scan *s, struct payload *payload)
{
    struct payload_string key, string;
    uint64_t number;
    if (!take_string(s, &key) || !take(s, ':'))
        return false;
    bool is_number = s->at < s->end && *s->at != '"';
    void *into = member_named(payload, &key, is_number);
    return is_number ? take_number(s, into != NULL ? into : &number)
                     : take_string(s, into != NULL ? into : &string);
}

bool payload_read(struct payload *payload, const char *json, size_t len)
{
    struct scan s = {json, json + len};
    *payload = (struct payload){.quantity = UINT64_MAX,
                                .available = UINT64_MAX,
                                .held = UINT64_MAX,
                                .sold = UINT64_MAX,
                                .waiting = UINT64_MAX};
    if (!take(&s, '{'))
        return false;
    do {
        if (!take_member(&s, payload))
            return false;
    } while (take(&s, ','));
    return take(&s, '}') && s.at == s.end;
}

/* The last member of every payload: "at":"2026-01-02T03:04:05.678Z"}. */
bool payload_time(const char *json, size_t len, int64_t *at_ms)
{
    return len >= TEXT_TIME_CHARS + 2 && text_read_time(json + len - 2 - TEXT_TIME_CHARS, at_ms);
}
