/*
 * schema.h: the tables of flashd.db and the views over them, which others may rely on.
 *
 *   sale_rows     one per sale, keyed by the seq of its sale.created; changed once per commit
 *   order_rows    one per order, keyed by the seq of the event that made it: append-only keys
 *   event_rows    one per event: the outbox and the source of truth
 *   key_rows      one per idempotency key that has its answer: append-only keys (persist/keys.h)
 *   publications  watermarks: events up to up_to_seq had been handed to the streams at at_ms
 *   meta          the key that ids and name hashes are made with
 *   baseline, baseline_sales, baseline_orders
 *                 what is left of removed events: baseline.h
 *
 *   sales, orders, domain_events
 *                 views with ids, state names and event names as text, made anew at each open from
 *                 the engine's own tables, so that a name is defined in one place. They can be written
 *                 to as well, for somebody who repairs stopped data (or a test that spoils data) and
 *                 knows only those names; flashd itself never does
 *
 * Thread: main at start. Fails: with SQLite's message.
 */
#ifndef FLASHD_PERSIST_SCHEMA_H
#define FLASHD_PERSIST_SCHEMA_H

#include <sqlite3.h>
#include <stdbool.h>

enum { SCHEMA_VERSION = 5 };

/* Creates what is missing. False: sqlite3_errmsg() says why. */
bool schema_create(sqlite3 *db);

#endif
