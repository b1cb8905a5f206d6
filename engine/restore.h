/*
 * restore.h: rebuilding the engine's memory from durable rows, before any thread runs.
 *
 * Usage, recovery:  engine_restore_sale() for each sale in seq order, engine_restore_order() for
 * each order in seq order, engine_restore_done(). The engine was made with the last durable seq.
 *
 * Thread: main, before engine_start().
 * Fails:  with a static sentence that names the check. Remaining hold times are clamped to [0,
 * hold].
 */
#ifndef FLASHD_ENGINE_RESTORE_H
#define FLASHD_ENGINE_RESTORE_H

#include "engine/now.h"
#include "engine/sale.h"

struct engine;

struct sale_record {
    uint64_t seq; /* of sale.created */
    struct sale_terms terms;
    struct books books; /* as its row has them */
};

struct order_record {
    uint64_t seq;      /* of the event that made it */
    uint64_t last_seq; /* of its last event */
    uint64_t sale_seq;
    const char *name; /* borrowed */
    uint8_t name_bytes;
    uint32_t quantity;
    enum order_state state;
    bool refund_due;
    int64_t changed_at_ms;
    int64_t expires_at_ms;
};

/* A restore in progress; held and paid are sorted once all orders are there. */
struct restore {
    struct engine *engine;
    struct now now;
    struct order **held, **paid;
    size_t held_count, held_room, paid_count, paid_room;
};

const char *engine_restore_sale(struct restore *restore, const struct sale_record *record);
const char *engine_restore_order(struct restore *restore, const struct order_record *record);
/* Frees what struct restore holds, also after a failure. */
const char *engine_restore_done(struct restore *restore);

#endif
