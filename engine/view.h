/*
 * view.h: what readers see: the committed state, never more. The journal writes it after each
 * commit.
 *
 * A reply that shows this view never shows a decision that a crash could take back.
 *
 * Threads: view_apply() and view_publish(): the journal, and main during recovery; the rest: any thread,
 * without locks. A sale's counters are read as one consistent copy (a version that is odd while they change).
 */
#ifndef FLASHD_ENGINE_VIEW_H
#define FLASHD_ENGINE_VIEW_H

#include "engine/sale.h"

/* Journal: makes one committed event visible. False when out of memory. */
bool view_apply(const struct event *event);
/* Journal: makes the sale's counters visible, as its books have them. */
void view_publish(struct sale *sale);

/* A consistent copy of the committed counters. books.seq is 0 before sale.created is committed. */
struct books view_sale(const struct sale *sale);
/* The same, with the tide that belongs to them. */
struct books view_tide(const struct sale *sale, struct tide *tide);
/* The order's place in the waiting list, from 1; 0 when it does not wait. */
uint32_t view_position(const struct sale *sale, const struct order *order);

#endif
