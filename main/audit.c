/*
 * audit.c: see audit.h.
 *
 * Thread: main; no other is started. In: a data directory. Out: a summary on stdout, as text or JSON.
 */
#include "main/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/text.h"
#include "main/hash.h"
#include "persist/recovery.h"
#include "persist/store.h"

enum { EXIT_DIVERGENT = 1, EXIT_USAGE = 2, LINE_BYTES_MAX = 1024 };

struct audit {
    bool balanced;
    struct recovery found;
    uint64_t last_seq;
    int64_t took_ms;
    char error[LINE_BYTES_MAX];
};

/* One snapshot for all queries: a server that goes on writing is seen as of one commit. */
static bool check(struct audit *audit, sqlite3 *db, struct engine *engine)
{
    struct now began = now_read();
    audit->last_seq = store_last_seq_of(db);
    const struct engine_options options = {.workers = 1,
                                           .ports = 1,
                                           .state_interval_ms = 100,
                                           .hash = keyed_siphash,
                                           .last_seq = audit->last_seq};
    bool balanced = false;
    if (!engine_init(engine, options, (struct journal_store){.self = NULL}))
        snprintf(audit->error, sizeof audit->error, "out of memory");
    else
        balanced = recover(db, engine, began, &audit->found, audit->error, sizeof audit->error);
    engine_free(engine);
    audit->took_ms = now_read().mono_ms - began.mono_ms;
    return balanced;
}

static void print_text(const struct audit *audit, const char *dir)
{
    const struct recovery *found = &audit->found;
    if (!audit->balanced) {
        printf("%s: DIVERGENT at seq %" PRIu64 "\n%s\n", dir, found->wrong_seq, audit->error);
        return;
    }
    printf("%s: the books balance\n"
           "  sales %" PRIu64 "  orders %" PRIu64 " (in payment %" PRIu64 ", waiting %" PRIu64 ")\n"
           "  events %" PRIu64 "  last seq %" PRIu64 "  %" PRId64 " ms\n",
           dir, found->sales, found->orders, found->held, found->waiting, found->events,
           audit->last_seq, audit->took_ms);
}

static void print_json(const struct audit *audit)
{
    char buffer[2 * LINE_BYTES_MAX];
    const struct recovery *found = &audit->found;
    struct text out = text_in(buffer, sizeof buffer);
    text_str(&out, audit->balanced ? "{\"ok\":true" : "{\"ok\":false");
    if (!audit->balanced) {
        text_pair_number(&out, "seq", found->wrong_seq);
        text_pair_string(&out, "detail", audit->error, strlen(audit->error));
    }
    text_pair_number(&out, "sales", found->sales);
    text_pair_number(&out, "orders", found->orders);
    text_pair_number(&out, "held", found->held);
    text_pair_number(&out, "waiting", found->waiting);
    text_pair_number(&out, "events", found->events);
    text_pair_number(&out, "lastSeq", audit->last_seq);
    text_pair_number(&out, "ms", (uint64_t)audit->took_ms);
    text_str(&out, "}\n");
    (void)fwrite(out.start, 1, out.len, stdout);
}

int audit_run(int argc, char **argv)
{
    static struct engine engine; /* too large for a stack */
    const char *dir = NULL;
    bool json = false, good = true;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (dir == NULL && argv[i][0] != '-')
            dir = argv[i];
        else
            good = false;
    }
    if (dir == NULL || !good) {
        fprintf(stderr, "flashd: usage: flashd audit DIR [--json]\n");
        return EXIT_USAGE;
    }
    struct audit audit = {.balanced = false};
    sqlite3 *db = store_open_snapshot(dir, audit.error, sizeof audit.error);
    if (db != NULL)
        audit.balanced = check(&audit, db, &engine);
    store_close_snapshot(db);
    if (json)
        print_json(&audit);
    else
        print_text(&audit, dir);
    return audit.balanced ? EXIT_SUCCESS : EXIT_DIVERGENT;
}
