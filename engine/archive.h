/*
 * archive.h: reading committed events back, in order, a page at a time.
 *
 * The broadcaster reads every event, live or old, from the archive: what the archive holds is durable, so a
 * stream can't show what a crash would take back, and there is no seam between old and new. The archive is an
 * interface, so that net/ knows no SQL; persist/ implements it.
 *
 * Thread: the broadcaster alone. No read stays open between two calls.
 */
#ifndef FLASHD_ENGINE_ARCHIVE_H
#define FLASHD_ENGINE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archived_event {
    uint64_t seq;
    uint64_t sale_seq;
    uint64_t order_seq;  /* 0 for a sale's event */
    uint8_t kind;        /* enum event_kind; EVENT_KIND_COUNT: an unknown kind */
    const char *payload; /* borrowed for the call */
    size_t payload_bytes;
};

typedef void archive_take(void *arg, const struct archived_event *event);

struct event_archive {
    void *self;
    /* Gives up to `limit` events after `after_seq` to take(), in order; returns how many, -1 on failure. */
    int (*read)(void *self, uint64_t after_seq, uint32_t limit, archive_take *take, void *arg);
    /* The first seq that has not been removed; 1 when nothing has been. */
    uint64_t (*oldest)(void *self);
};

#endif
