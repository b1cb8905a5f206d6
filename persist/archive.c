/*
 * archive.c: pages of events by primary key (see archive.h).
 *
 * Thread: the broadcaster's, but for open and close. Fails: by -1, with SQLite's message on stderr.
 */
#include "persist/archive.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/diag.h"
#include "engine/event.h"
#include "engine/step.h"
#include "persist/database.h"
#include "persist/row.h"

struct archive {
    sqlite3 *db;
    sqlite3_stmt *page, *oldest;
};

struct archive *archive_open(const char *data_dir, char *error, size_t error_bytes)
{
    struct archive *a = calloc(1, sizeof *a);
    if (a == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    a->db = database_open_reader(data_dir, error, error_bytes);
    if (a->db == NULL) {
        archive_close(a);
        return NULL;
    }
    if (sqlite3_prepare_v3(a->db,
                           "SELECT seq, kind, sale, ord, payload FROM event_rows WHERE seq > ?1"
                           " ORDER BY seq LIMIT ?2",
                           -1, SQLITE_PREPARE_PERSISTENT, &a->page, NULL) == SQLITE_OK &&
        sqlite3_prepare_v3(a->db, "SELECT seq + 1 FROM baseline", -1, SQLITE_PREPARE_PERSISTENT,
                           &a->oldest, NULL) == SQLITE_OK)
        return a;
    (void)database_fail(a->db, "schema", error, error_bytes);
    archive_close(a);
    return NULL;
}

void archive_close(struct archive *a)
{
    if (a == NULL)
        return;
    sqlite3_finalize(a->page);
    sqlite3_finalize(a->oldest);
    (void)sqlite3_close(a->db);
    free(a);
}

static int fail(const struct archive *a)
{
    diag(DIAG_ERROR, "reading events back failed: %s", sqlite3_errmsg(a->db));
    return -1;
}

static int read_page(void *self, uint64_t after_seq, uint32_t limit, archive_take *take, void *arg)
{
    struct archive *a = self;
    int count = 0, rc;
    if (FAULT(FAULT_BLIND_ARCHIVE))
        return fail(a);
    (void)sqlite3_bind_int64(a->page, 1, (sqlite3_int64)after_seq);
    (void)sqlite3_bind_int64(a->page, 2, limit);
    while ((rc = sqlite3_step(a->page)) == SQLITE_ROW) {
        uint64_t kind = number_at(a->page, 1);
        const struct archived_event event = {
            .seq = number_at(a->page, 0),
            .kind = (uint8_t)(kind < EVENT_KIND_COUNT ? kind : EVENT_KIND_COUNT),
            .sale_seq = number_at(a->page, 2),
            .order_seq = number_at(a->page, 3),
            .payload = (const char *)sqlite3_column_text(a->page, 4),
            .payload_bytes = (size_t)sqlite3_column_bytes(a->page, 4)};
        take(arg, &event);
        count++;
    }
    (void)sqlite3_reset(a->page); /* ends the read */
    return rc == SQLITE_DONE ? count : fail(a);
}

static uint64_t oldest(void *self)
{
    struct archive *a = self;
    uint64_t seq = 1;
    if (sqlite3_step(a->oldest) == SQLITE_ROW)
        seq = number_at(a->oldest, 0);
    (void)sqlite3_reset(a->oldest);
    return seq;
}

struct event_archive archive_reader(struct archive *a)
{
    return (struct event_archive){.self = a, .read = read_page, .oldest = oldest};
}
