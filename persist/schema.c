/*
 * schema.c: see schema.h.
 *
 * Thread: main at start. In: an open connection. Out: tables and views.
 */
#include "persist/schema.h"

#include <stdlib.h>

#include "engine/event.h"
#include "engine/id.h"
#include "engine/sale.h"
#include "engine/text.h"

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS sale_rows("
    " seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL, name TEXT NOT NULL,"
    " product_qty INTEGER NOT NULL, max_per_buyer INTEGER NOT NULL, waitlist_max INTEGER NOT NULL,"
    " hold_ms INTEGER NOT NULL, starts_at_ms INTEGER NOT NULL, ends_at_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL, sold_out INTEGER NOT NULL, available INTEGER NOT NULL,"
    " held INTEGER NOT NULL, sold INTEGER NOT NULL, waiting INTEGER NOT NULL,"
    " last_seq INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS order_rows("
    " seq INTEGER PRIMARY KEY, tag INTEGER NOT NULL, sale INTEGER NOT NULL, buyer TEXT NOT NULL,"
    " quantity INTEGER NOT NULL, state INTEGER NOT NULL, refund_due INTEGER NOT NULL,"
    " created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,"
    " expires_at_ms INTEGER, last_seq INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS event_rows("
    " seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, sale INTEGER NOT NULL, ord INTEGER,"
    " created_at_ms INTEGER NOT NULL, payload TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS key_rows("
    " id INTEGER PRIMARY KEY, tag INTEGER NOT NULL, body INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " outcome INTEGER NOT NULL, state INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " value INTEGER NOT NULL, asked_at_ms INTEGER NOT NULL, seal INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS publications(up_to_seq INTEGER PRIMARY KEY, at_ms INTEGER NOT "
    "NULL);"
    "CREATE TABLE IF NOT EXISTS baseline(one INTEGER PRIMARY KEY CHECK (one = 1),"
    " seq INTEGER NOT NULL);"
    /* With the file only: in one that has lost it, a new row would say that no event was ever removed. */
    "INSERT INTO baseline(one, seq) SELECT 1, 0 FROM pragma_user_version WHERE user_version = 0;"
    "CREATE TABLE IF NOT EXISTS baseline_sales("
    " seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, sold_out INTEGER NOT NULL,"
    " available INTEGER NOT NULL, held INTEGER NOT NULL, sold INTEGER NOT NULL,"
    " waiting INTEGER NOT NULL, last_seq INTEGER NOT NULL, terms INTEGER NOT NULL,"
    " digest INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS baseline_orders("
    " seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, refund_due INTEGER NOT NULL,"
    " updated_at_ms INTEGER NOT NULL, last_seq INTEGER NOT NULL);";

static void put_case(struct text *sql, unsigned value, const char *name)
{
    text_str(sql, " WHEN ");
    text_number(sql, value);
    text_str(sql, " THEN '");
    text_str(sql, name);
    text_str(sql, "'");
}

static void put_case_back(struct text *sql, const char *name, unsigned value)
{
    text_str(sql, " WHEN '");
    text_str(sql, name);
    text_str(sql, "' THEN ");
    text_number(sql, value);
}

static void put_sales_view(struct text *sql)
{
    text_str(sql, "DROP VIEW IF EXISTS sales; CREATE VIEW sales AS SELECT"
                  " printf('%012x%012x', seq, tag) AS id, name, CASE state");
    for (unsigned i = 0; i < SALE_STATE_COUNT; i++)
        put_case(sql, i, sale_state_name((enum sale_state)i));
    text_str(sql, " END AS state, product_qty, sold, starts_at_ms, ends_at_ms, available, held,"
                  " waiting, sold_out, max_per_buyer, waitlist_max, hold_ms, seq AS first_seq,"
                  " last_seq AS seq FROM sale_rows;"
                  "CREATE TRIGGER sales_update INSTEAD OF UPDATE OF name, state, product_qty, sold,"
                  " starts_at_ms, ends_at_ms, available, held, waiting, sold_out, max_per_buyer,"
                  " waitlist_max, hold_ms, seq ON sales BEGIN UPDATE sale_rows SET name = NEW.name,"
                  " state = CASE NEW.state");
    for (unsigned i = 0; i < SALE_STATE_COUNT; i++)
        put_case_back(sql, sale_state_name((enum sale_state)i), i);
    text_str(sql, " END, product_qty = NEW.product_qty, sold = NEW.sold,"
                  " starts_at_ms = NEW.starts_at_ms, ends_at_ms = NEW.ends_at_ms,"
                  " available = NEW.available, held = NEW.held, waiting = NEW.waiting,"
                  " sold_out = NEW.sold_out, max_per_buyer = NEW.max_per_buyer,"
                  " waitlist_max = NEW.waitlist_max, hold_ms = NEW.hold_ms, last_seq = NEW.seq"
                  " WHERE seq = OLD.first_seq; END;"
                  "CREATE TRIGGER sales_delete INSTEAD OF DELETE ON sales BEGIN"
                  " DELETE FROM sale_rows WHERE seq = OLD.first_seq; END;");
}

static void put_orders_view(struct text *sql)
{
    text_str(sql, "DROP VIEW IF EXISTS orders; CREATE VIEW orders AS SELECT"
                  " printf('%012x%012x', o.seq, o.tag) AS id,"
                  " printf('%012x%012x', s.seq, s.tag) AS sale_id, o.buyer, o.quantity,"
                  " CASE o.state");
    for (unsigned i = 1; i < ORDER_STATE_COUNT; i++)
        put_case(sql, i, order_state_name((enum order_state)i));
    text_str(sql, " END AS state, o.created_at_ms, o.updated_at_ms, o.expires_at_ms, o.refund_due,"
                  " o.seq AS first_seq, o.last_seq AS seq"
                  " FROM order_rows o JOIN sale_rows s ON s.seq = o.sale;"
                  "CREATE TRIGGER orders_update INSTEAD OF UPDATE OF sale_id, buyer, quantity,"
                  " state, created_at_ms, updated_at_ms, expires_at_ms, refund_due, seq ON orders"
                  " BEGIN UPDATE order_rows SET buyer = NEW.buyer, quantity = NEW.quantity,"
                  " sale = (SELECT seq FROM sale_rows WHERE printf('%012x%012x', seq, tag)"
                  " = NEW.sale_id), state = CASE NEW.state");
    for (unsigned i = 1; i < ORDER_STATE_COUNT; i++)
        put_case_back(sql, order_state_name((enum order_state)i), i);
    text_str(sql, " END, created_at_ms = NEW.created_at_ms, updated_at_ms = NEW.updated_at_ms,"
                  " expires_at_ms = NEW.expires_at_ms, refund_due = NEW.refund_due,"
                  " last_seq = NEW.seq WHERE seq = OLD.first_seq; END;"
                  "CREATE TRIGGER orders_delete INSTEAD OF DELETE ON orders BEGIN"
                  " DELETE FROM order_rows WHERE seq = OLD.first_seq; END;");
}

static void put_events_view(struct text *sql)
{
    text_str(sql, "DROP VIEW IF EXISTS domain_events; CREATE VIEW domain_events AS SELECT e.seq,"
                  " CASE WHEN e.ord IS NULL THEN 'sale' ELSE 'order' END AS aggregate_type,"
                  " CASE WHEN e.ord IS NULL THEN printf('%012x%012x', s.seq, s.tag)"
                  " ELSE printf('%012x%012x', o.seq, o.tag) END AS aggregate_id, CASE e.kind");
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++)
        put_case(sql, i, event_row((enum event_kind)i)->wire_name);
    text_str(sql, " END AS event_type, e.payload, e.created_at_ms,"
                  " (SELECT p.at_ms FROM publications p WHERE p.up_to_seq >= e.seq"
                  " ORDER BY p.up_to_seq LIMIT 1) AS published_at_ms"
                  " FROM event_rows e JOIN sale_rows s ON s.seq = e.sale"
                  " LEFT JOIN order_rows o ON o.seq = e.ord;"
                  "CREATE TRIGGER domain_events_update INSTEAD OF UPDATE OF seq, event_type,"
                  " payload, created_at_ms ON domain_events BEGIN UPDATE event_rows SET"
                  " seq = NEW.seq, payload = NEW.payload, created_at_ms = NEW.created_at_ms,"
                  " kind = CASE NEW.event_type");
    for (unsigned i = 0; i < EVENT_KIND_COUNT; i++)
        put_case_back(sql, event_row((enum event_kind)i)->wire_name, i);
    text_str(sql, " END WHERE seq = OLD.seq; END;"
                  "CREATE TRIGGER domain_events_delete INSTEAD OF DELETE ON domain_events BEGIN"
                  " DELETE FROM event_rows WHERE seq = OLD.seq; END;");
}

bool schema_create(sqlite3 *db)
{
    char buffer[16384];
    struct text sql = text_in(buffer, sizeof buffer);
    text_str(&sql, "BEGIN IMMEDIATE;");
    text_str(&sql, tables);
    put_sales_view(&sql);
    put_orders_view(&sql);
    put_events_view(&sql);
    text_str(&sql, "PRAGMA user_version=");
    text_number(&sql, SCHEMA_VERSION);
    text_str(&sql, "; COMMIT;");
    text_bytes(&sql, "", 1);
    return !sql.overflow && sqlite3_exec(db, buffer, NULL, NULL, NULL) == SQLITE_OK;
}
