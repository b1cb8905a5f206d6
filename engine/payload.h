/*
 * payload.h: the JSON of a domain event: what SQLite stores and what the streams carry, encoded
 * once.
 *
 * Every payload holds saleId and at. A sale.created holds the whole announcement and an order's
 * event the order, so that every sale and order can be rebuilt from the events alone (G4).
 *
 * Thread: any; pure.
 */
#ifndef FLASHD_ENGINE_PAYLOAD_H
#define FLASHD_ENGINE_PAYLOAD_H

#include "engine/event.h"
#include "engine/sale.h"
#include "engine/text.h"

/* books: the sale's, after the event. */
void payload_write(struct text *out, const struct event *event, const struct books *books,
                   keyed_hash *hash);

/* The beginning of a payload: what never changes of the sale or order, such as buyer and quantity. */
void payload_facts(struct text *out, const struct event *event, keyed_hash *hash);
/* Whether a payload begins so. */
bool payload_has_facts(const char *json, size_t len, const struct event *event, keyed_hash *hash);

/* What a payload says, for checks of it; a member that it lacks is NULL or UINT64_MAX. */
struct payload {
    struct payload_string {
        const char *data; /* as in the JSON, with its quotes and escapes; borrowed from the text */
        size_t len;
    } sale_id, transaction_id, buyer_name;
    uint64_t quantity, available, held, sold, waiting;
};

/* Other members are skipped. False: the text is not like what payload_write() makes, one flat object of
 * strings and whole numbers. */
bool payload_read(struct payload *payload, const char *json, size_t len);
/* The event's time, which is the payload's last member. False: no such time. Its punctuation is not checked:
 * callers compare the whole text with payload_write()'s. */
bool payload_time(const char *json, size_t len, int64_t *at_ms);

#endif
