/*
 * audit.c: see audit.h.
 *
 * Thread: main; no other is started. In: a data directory. Out: a summary on stdout, as text or JSON.
 */
#include "main/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/now.h"
#include "engine/text.h"
#include "main/complain.h"
#include "main/hash.h"
#include "persist/audit.h"
#include "persist/database.h"
#include "persist/keys.h"

enum {
    EXIT_DIVERGENT = 1,
    PATH_BYTES_MAX = 1024,
    BAR_CHARS = 30,
    BAR_EVERY_MS = 100,
    JSON_BYTES_MAX = 4096 + 8 * AUDIT_FINDINGS_MAX * AUDIT_DETAIL_BYTES,
};

/* The check of a report when there is nothing to audit: no file, or none that can be read. */
static const char no_database[] = "no-database";

/* ---- the bar ---- */

struct bar {
    bool shown; /* stderr is a terminal */
    int64_t drawn_mono_ms;
};

static void draw(void *arg, uint64_t done, uint64_t total)
{
    static const char full[] = "##############################";
    struct bar *bar = arg;
    int64_t mono_ms = now_read().mono_ms;
    if (!bar->shown || mono_ms - bar->drawn_mono_ms < BAR_EVERY_MS)
        return;
    bar->drawn_mono_ms = mono_ms;
    uint64_t of = done < total ? total : done + (done == 0);
    fprintf(stderr, "\rauditing [%-*.*s] %3d %%  %" PRIu64 " of %" PRIu64 " events", BAR_CHARS,
            (int)(done * BAR_CHARS / of), full, (int)(done * 100 / of), done, of);
}

static void say(const struct bar *bar, const char *what)
{
    if (bar->shown)
        fprintf(stderr, "\r\033[K%s", what);
}

/* ---- the result ---- */

static void print_text(const struct audit_report *report, const char *dir, int64_t took_ms)
{
    if (report->finding_count > 0 && strcmp(report->findings[0].check, no_database) == 0)
        printf("%s: cannot be audited\n", dir);
    else if (report->finding_count > 0)
        printf("%s: DIVERGENT at seq %" PRIu64 "\n", dir, report->findings[0].seq);
    else
        printf("%s: the books balance\n", dir);
    for (uint32_t i = 0; i < report->finding_count; i++)
        printf("  %s at seq %" PRIu64 ": %s\n", report->findings[i].check, report->findings[i].seq,
               report->findings[i].detail);
    printf("  sales %" PRIu64 "  orders %" PRIu64 " (in payment %" PRIu64 ", waiting %" PRIu64
           ")\n",
           report->sales, report->orders, report->held, report->waiting);
    if (report->baseline > 0)
        printf("  events up to seq %" PRIu64 " were removed; from there on:\n", report->baseline);
    printf("  events %" PRIu64 "  last seq %" PRIu64 "  %" PRId64 " ms\n", report->events,
           report->last_seq, took_ms);
}

static void put_findings(struct text *out, const struct audit_report *report)
{
    text_key(out, "findings");
    text_str(out, "[");
    for (uint32_t i = 0; i < report->finding_count; i++) {
        const struct audit_finding *finding = &report->findings[i];
        text_str(out, i > 0 ? ",{" : "{");
        text_pair_string(out, "check", finding->check, strlen(finding->check));
        text_pair_number(out, "seq", finding->seq);
        text_pair_string(out, "detail", finding->detail, strlen(finding->detail));
        text_str(out, "}");
    }
    text_str(out, "]");
}

static void print_json(const struct audit_report *report, int64_t took_ms)
{
    static char buffer[JSON_BYTES_MAX];
    struct text out = text_in(buffer, sizeof buffer);
    const struct audit_finding *first = &report->findings[0];
    text_str(&out, report->finding_count == 0 ? "{\"ok\":true" : "{\"ok\":false");
    if (report->finding_count > 0) {
        text_pair_number(&out, "seq", first->seq);
        text_pair_string(&out, "check", first->check, strlen(first->check));
        text_pair_string(&out, "detail", first->detail, strlen(first->detail));
        put_findings(&out, report);
    }
    text_pair_number(&out, "sales", report->sales);
    text_pair_number(&out, "orders", report->orders);
    text_pair_number(&out, "held", report->held);
    text_pair_number(&out, "waiting", report->waiting);
    text_pair_number(&out, "baseline", report->baseline);
    text_pair_number(&out, "events", report->events);
    text_pair_number(&out, "lastSeq", report->last_seq);
    text_pair_number(&out, "ms", (uint64_t)took_ms);
    text_str(&out, "}\n");
    (void)fwrite(out.start, 1, out.len, stdout);
}

/* ---- the audit ---- */

/* All queries are on one snapshot: a server that goes on writing is seen as of one commit. */
static void check(const char *dir, struct bar *bar, struct audit_report *report)
{
    char error[AUDIT_DETAIL_BYTES], path[PATH_BYTES_MAX];
    unsigned char key[DATABASE_KEY_BYTES];
    int bytes = snprintf(path, sizeof path, "%s/flashd.db", dir);
    errno = ENAMETOOLONG;
    if (bytes >= (int)sizeof path || access(path, R_OK) != 0) {
        audit_find(report, no_database, 0, "cannot open %s: %s", path, strerror(errno));
        return;
    }
    say(bar, "checking every page of the file ...");
    bool damaged;
    sqlite3 *db = database_open_snapshot(dir, &damaged, error, sizeof error);
    say(bar, "");
    if (db == NULL) {
        audit_find(report, damaged ? "damaged-page" : no_database, 0, "%s", error);
        return;
    }
    if (database_key(db, key)) {
        hash_set_key(key);
        audit(db, keyed_siphash, draw, bar, report);
        uint64_t seq;
        if (report->finding_count == 0 && !keys_audit(db, keyed_siphash, &seq, error, sizeof error))
            audit_find(report, "changed-answer", seq, "%s", error);
    } else {
        audit_find(report, "damaged-page", 0, "the file has no key for its ids");
    }
    database_close_snapshot(db);
    say(bar, "");
}

int audit_run(int argc, char **argv)
{
    static struct audit_report report;
    const char *dir = NULL;
    bool json = false, good = true;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (dir == NULL && argv[i][0] != '-' && argv[i][0] != '\0')
            dir = argv[i];
        else
            good = false;
    }
    if (dir == NULL || !good)
        return complain("usage: flashd audit DIR [--json]");
    struct bar bar = {.shown = isatty(STDERR_FILENO) == 1};
    int64_t began_mono_ms = now_read().mono_ms;
    check(dir, &bar, &report);
    int64_t took_ms = now_read().mono_ms - began_mono_ms;
    if (json)
        print_json(&report, took_ms);
    else
        print_text(&report, dir, took_ms);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "flashd: cannot write what the audit found: %s\n", strerror(errno));
        return EXIT_DIVERGENT;
    }
    return report.finding_count == 0 ? EXIT_SUCCESS : EXIT_DIVERGENT;
}
