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

#endif
