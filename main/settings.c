/*
 * settings.c: the table of settings, and how a row's text is found: flag, environment or default.
 *
 * Thread: main, before any other thread starts. No state of its own.
 * In:     argv and environ. Nothing is written or created.
 * Out:    struct settings, complete; or one error line.
 * Fails:  on what settings.h lists, in three passes: collect the flags, look for unknown FLASHD_
 *         variables, then parse each row's winning text in the order of the table.
 *
 * To add a setting, add its field to struct settings and one row to the table `rows`. A row has a
 * kind (setting_kinds.h), which parses a text into the field, shows the field, and says what is
 * allowed. Defaults are texts and go through the same parsers as what a user gives, so a wrong
 * default cannot hide.
 */
#include "main/settings.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "engine/bounds.h"
#include "engine/check.h"
#include "main/setting_kinds.h"

enum {
    NAME_BYTES = 64, /* FLASHD_SOME_NAME */
    ALLOWED_BYTES = 256,
    QUOTED_BYTES = 160, /* of a value, as shown in an error */
    SHOWN_BYTES = 640,  /* a value as `flashd config` shows it */
};

static const char env_prefix[] = "FLASHD_";

/* ---- the table ---- */

#define FIELD(name)    offsetof(struct settings, name)
#define TEXT_MAX(name) (sizeof((struct settings *)0)->name - 1)

static const struct row rows[] = {
    {"listen", NULL, "127.0.0.1:8080", &kind_listen, 0, 65535, NULL,
     "address to serve on; port 0 picks a free one", 0},
    {"data", NULL, "./flashd-data", &kind_path, 1, TEXT_MAX(data_dir), NULL,
     "directory of flashd.db; created if missing", FIELD(data_dir)},
    {"net-threads", NULL, BY_CORES, &kind_threads, 1, NET_THREADS_MAX, NULL,
     "threads that serve connections", FIELD(net_threads)},
    {"workers", NULL, BY_CORES, &kind_threads, 1, WORKERS_MAX, NULL,
     "shards of the buyers, decided side by side, each with a thread", FIELD(workers)},
    {"jwt-secret-file", "FLASHD_JWT_SECRET", NULL, &kind_secret, TOKEN_KEY_BYTES_MIN,
     TOKEN_KEY_BYTES_MAX, NULL,
     "HS256 key; without it every endpoint that needs a token answers 401", FIELD(jwt_secret)},
    {"payment-secret-file", "FLASHD_PAYMENT_SECRET", NULL, &kind_secret, 1, TOKEN_KEY_BYTES_MAX,
     NULL, "HMAC key; if set, /paid needs X-Flashd-Signature", FIELD(payment_secret)},
    {"state-interval-ms", "CRON_STATE_INTERVAL_MS", "100", &kind_u32, 1, 60000, NULL,
     "longest sleep of the clock: how late a step of the wall clock may be noticed",
     FIELD(state_interval_ms)},
    {"reconcile-schedule", "CRON_RECONCILIATION_SCHEDULE", "*/5 * * * *", &kind_cron, 1,
     TEXT_MAX(reconcile_schedule), NULL, "when memory and tables are compared, in UTC",
     FIELD(reconcile_schedule)},
    {"retention-days", NULL, "7", &kind_u32, 0, 36500, NULL,
     "published events older than this are removed; 0 keeps all", FIELD(retention_days)},
    {"heartbeat-ms", NULL, "30000", &kind_u32, 10, 3600000, NULL,
     "how often a quiet stream gets a comment", FIELD(heartbeat_ms)},
    {"stream-tick-ms", NULL, "50", &kind_u32, 0, 60000, NULL,
     "public sale_updates, latest wins per sale and tick; 0 sends each one", FIELD(stream_tick_ms)},
    {"buyer-names", NULL, "shown", &kind_switch, 0, 0, "shown/hidden",
     "whether public streams and lists carry buyer names", FIELD(buyer_names_shown)},
    {"log-level", "LOG_LEVEL", "info", &kind_choice, 1, TEXT_MAX(log_level),
     "debug/info/warn/error", "least level that is logged", FIELD(log_level)},
    {"log-format", NULL, "text", &kind_switch, 0, 0, "json/text", "of the lines on stderr",
     FIELD(log_json)},
    {"min-free-bytes", NULL, "67108864", &kind_u64, 0, UINT64_C(1) << 50, NULL,
     "with less free space on the disk no new orders are taken", FIELD(min_free_bytes)},
    {"max-connections", NULL, "0", &kind_u32, 0, 1000000, NULL,
     "connections at once; 0 goes by the descriptor limit", FIELD(max_connections)},
    {"max-streams", NULL, "10000", &kind_u32, 1, 1000000, NULL,
     "event streams at once; more get 503", FIELD(max_streams)},
    {"max-streams-per-address", NULL, "10000", &kind_u32, 1, 1000000, NULL,
     "event streams at once from one address; more get 503", FIELD(max_streams_per_address)},
    {"idempotency-keys", NULL, "1000000", &kind_u32, 1, KEYS_MAX, NULL,
     "keys of 24 hours that fit, for 96 bytes of memory and 50 of disk each; more may get 503",
     FIELD(idempotency_keys)},
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };
static_assert(sizeof rows / sizeof rows[0] <= sizeof((struct settings *)0)->origins,
              "struct settings keeps an origin for each row");

/* FLASHD_ variables that are not settings but a token for flashload and scripts, or switches of the tests' builds. */
static bool is_of_others(const char *name)
{
    return strcmp(name, "FLASHD_TOKEN") == 0 || strcmp(name, "FLASHD_FAULT") == 0 ||
           strncmp(name, "FLASHD_TEST_", 12) == 0;
}

static void *field_of(const struct row *row, struct settings *settings)
{
    return (char *)settings + row->offset;
}

static void env_name_of(const struct row *row, char name[NAME_BYTES])
{
    size_t len = sizeof env_prefix - 1;
    MUST(len + strlen(row->flag) < NAME_BYTES, "a variable's name fits");
    memcpy(name, env_prefix, len);
    for (const char *at = row->flag; *at != '\0'; at++)
        name[len++] = *at == '-' ? '_' : *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at;
    name[len] = '\0';
}

/* ---- errors: one line that names the setting, the value and what is allowed ---- */

/* The value in quotes, as one line: control characters become '?', a long one is cut. */
static void quote(const char *value, size_t len, char out[QUOTED_BYTES])
{
    static const char ellipsis[] = "...";
    const size_t room = QUOTED_BYTES - sizeof ellipsis - 2;
    size_t kept = len < room ? len : room, used = 0;
    out[used++] = '"';
    for (size_t i = 0; i < kept; i++) {
        unsigned char byte = (unsigned char)value[i];
        out[used++] = byte < 0x20 || byte == 0x7f ? '?' : value[i];
    }
    if (kept < len) {
        memcpy(out + used, ellipsis, sizeof ellipsis - 1);
        used += sizeof ellipsis - 1;
    }
    out[used++] = '"';
    out[used] = '\0';
}

/* Where an error line goes. */
struct report {
    char *text;
    size_t bytes;
};

/* Always false, so that a caller can return it. */
static bool report_value(const struct report *report, const struct candidate *candidate,
                         const char *name)
{
    char allowed[ALLOWED_BYTES], quoted[QUOTED_BYTES];
    bool secret = candidate->row->kind == &kind_secret && candidate->origin == ORIGIN_EXTRA_ENV;
    if (secret) {
        (void)snprintf(quoted, sizeof quoted, "its value (not shown)");
        (void)snprintf(allowed, sizeof allowed, "a secret of %" PRIu64 " to %" PRIu64 " bytes",
                       candidate->row->min, candidate->row->max);
    } else {
        quote(candidate->text, strlen(candidate->text), quoted);
        candidate->row->kind->allowed(candidate->row, allowed, sizeof allowed);
    }
    bool explained = candidate->why[0] != '\0';
    (void)snprintf(report->text, report->bytes, "%s: %s is not allowed%s%s%s; allowed: %s", name,
                   quoted, explained ? " (" : "", candidate->why, explained ? ")" : "", allowed);
    return false;
}

static bool report_argument(const struct report *report, const char *argument, size_t len,
                            const char *problem)
{
    char quoted[QUOTED_BYTES];
    quote(argument, len, quoted);
    (void)snprintf(report->text, report->bytes, "%s: %s", quoted, problem);
    return false;
}

static bool report_flag(const struct report *report, const struct row *row, const char *problem)
{
    char allowed[ALLOWED_BYTES];
    row->kind->allowed(row, allowed, sizeof allowed);
    (void)snprintf(report->text, report->bytes, "--%s: %s; allowed: once, with %s", row->flag,
                   problem, allowed);
    return false;
}

/* ---- first pass: flags ---- */

static const struct row *row_of_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strlen(rows[i].flag) == len && memcmp(rows[i].flag, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

/* Takes one flag with its value, which may be the next argument. *used: how many arguments that took. */
static bool collect_flag(int argc, char **argv, const char *values[ROW_COUNT], int *used,
                         const struct report *report)
{
    const char *argument = argv[0];
    size_t name_len = strcspn(argument, "=");
    if (strncmp(argument, "--", 2) != 0)
        return report_argument(report, argument, strlen(argument),
                               "unexpected argument; allowed: --flag VALUE or --flag=VALUE");
    const struct row *row = row_of_flag(argument + 2, name_len - 2);
    if (row == NULL)
        return report_argument(report, argument, name_len,
                               "unknown flag; allowed: those that flashd --help lists");
    if (values[row - rows] != NULL)
        return report_flag(report, row, "given twice");
    *used = 1;
    if (argument[name_len] == '=') {
        values[row - rows] = argument + name_len + 1;
        return true;
    }
    if (argc < 2 || strncmp(argv[1], "--", 2) == 0)
        return report_flag(report, row, "lacks its value");
    values[row - rows] = argv[1];
    *used = 2;
    return true;
}

static bool collect_flags(int argc, char **argv, const char *values[ROW_COUNT],
                          const struct report *report)
{
    for (int at = 0, used = 0; at < argc; at += used) {
        if (!collect_flag(argc - at, argv + at, values, &used, report))
            return false;
        MUST(used >= 1 && used <= argc - at, "a flag takes one or two arguments");
    }
    return true;
}

/* ---- second pass: unknown variables ---- */

static bool is_known_variable(const char *name)
{
    char derived[NAME_BYTES];
    for (size_t i = 0; i < ROW_COUNT; i++) {
        env_name_of(&rows[i], derived);
        if (strcmp(name, derived) == 0)
            return true;
        if (rows[i].extra_env != NULL && strcmp(name, rows[i].extra_env) == 0)
            return true;
    }
    return is_of_others(name);
}

/* Only the name is shown: the value may be a secret under a mistyped name. */
static bool check_variables(const struct report *report)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        char name[NAME_BYTES];
        size_t len = strcspn(*entry, "=");
        bool is_set = (*entry)[len] == '=' && (*entry)[len + 1] != '\0';
        if (strncmp(*entry, env_prefix, sizeof env_prefix - 1) != 0 || !is_set)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(len < NAME_BYTES ? len : NAME_BYTES),
                       *entry);
        if (!is_known_variable(name))
            return report_argument(report, *entry, len,
                                   "unknown environment variable; allowed: FLASHD_SOME_NAME for a "
                                   "flag --some-name that flashd --help lists");
    }
    return true;
}

/* ---- third pass: values ---- */

/* An empty variable counts as not set, except for one that holds a secret: an operator who meant to set a secret must
 * not serve without one. */
static const char *env_value(const struct row *row, const char *name)
{
    const char *value = name == NULL ? NULL : getenv(name);
    bool is_secret = row->kind == &kind_secret && name == row->extra_env;
    return value == NULL || (value[0] == '\0' && !is_secret) ? NULL : value;
}

/* Flag, then FLASHD_ name, then extra name, then default. name: NAME_BYTES; what errors call the setting. */
static struct candidate winner(const struct row *row, const char *flag_value, char *name)
{
    struct candidate candidate = {.row = row, .text = flag_value, .origin = ORIGIN_FLAG};
    if (candidate.text != NULL) {
        (void)snprintf(name, NAME_BYTES, "--%s", row->flag);
        return candidate;
    }
    env_name_of(row, name);
    candidate.text = env_value(row, name);
    candidate.origin = ORIGIN_ENV;
    if (candidate.text == NULL && env_value(row, row->extra_env) != NULL) {
        (void)snprintf(name, NAME_BYTES, "%s", row->extra_env);
        candidate.text = env_value(row, row->extra_env);
        candidate.origin = ORIGIN_EXTRA_ENV;
    }
    if (candidate.text == NULL) {
        (void)snprintf(name, NAME_BYTES, "default of --%s", row->flag);
        candidate.text = row->default_text;
        candidate.origin = ORIGIN_DEFAULT;
    }
    return candidate;
}

/* ---- defaults that depend on the machine ---- */

void settings_by_cores(uint32_t cores, uint32_t *net_threads, uint32_t *workers)
{
    uint32_t half = cores / 2, quarter = cores / 4;
    *net_threads = half < 1 ? 1 : half > NET_THREADS_MAX ? NET_THREADS_MAX : half;
    *workers = quarter < 1 ? 1 : quarter > WORKERS_MAX ? WORKERS_MAX : quarter;
}

static void resolve_by_cores(struct settings *settings)
{
    uint32_t net_threads, workers;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    settings_by_cores(cores < 1 ? 1 : (uint32_t)cores, &net_threads, &workers);
    if (settings->net_threads == 0)
        settings->net_threads = net_threads;
    if (settings->workers == 0)
        settings->workers = workers;
}

/* ---- all of it ---- */

static bool load_row(struct settings *settings, size_t index, const char *flag_value,
                     const struct report *report)
{
    char name[NAME_BYTES], why[WHY_BYTES] = "";
    const struct row *row = &rows[index];
    struct candidate candidate = winner(row, flag_value, name);
    candidate.why = why;
    settings->origins[index] = (uint8_t)candidate.origin;
    if (candidate.text == NULL) /* no default: the zeroed field means "none" */
        return true;
    if (row->kind->parse(&candidate, field_of(row, settings)))
        return true;
    return report_value(report, &candidate, name);
}

bool settings_load(struct settings *settings, int argc, char **argv, char *error,
                   size_t error_bytes)
{
    MUST(settings != NULL && error != NULL && error_bytes > 0, "somewhere to write to");
    const struct report report = {error, error_bytes};
    const char *values[ROW_COUNT] = {NULL};
    *settings = (struct settings){0};
    error[0] = '\0';
    bool ok = collect_flags(argc, argv, values, &report) && check_variables(&report);
    for (size_t i = 0; ok && i < ROW_COUNT; i++)
        ok = load_row(settings, i, values[i], &report);
    if (ok)
        resolve_by_cores(settings);
    else
        explicit_bzero(settings, sizeof *settings);
    return ok;
}

/* ---- for people ---- */

void settings_print_help(FILE *out)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        char allowed[ALLOWED_BYTES];
        row->kind->allowed(row, allowed, sizeof allowed);
        (void)fprintf(out, "  --%-20s %s (%s; default: %s", row->flag, row->help, allowed,
                      row->default_text != NULL ? row->default_text : "none");
        if (row->extra_env != NULL)
            (void)fprintf(out, "; also %s", row->extra_env);
        (void)fprintf(out, ")\n");
    }
}

void settings_print(const struct settings *settings, FILE *out)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        char shown[SHOWN_BYTES], name[NAME_BYTES];
        const char *origin = "default";
        env_name_of(row, name);
        if (settings->origins[i] == ORIGIN_FLAG)
            origin = "flag";
        else if (settings->origins[i] == ORIGIN_ENV)
            origin = name;
        else if (settings->origins[i] == ORIGIN_EXTRA_ENV)
            origin = row->extra_env;
        row->kind->show(row, (const char *)settings + row->offset, shown, sizeof shown);
        (void)fprintf(out, "%-20s %-24s (%s)\n", row->flag, shown, origin);
    }
}
