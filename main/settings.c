/*
 * settings.c: the table of settings, and what turns a row's text into a field of struct settings.
 *
 * Thread: main, before any other thread starts. No state of its own.
 * In:     argv, environ, and the secret files they name. Nothing is written or created.
 * Out:    struct settings, complete; or one error line.
 * Fails:  on what settings.h lists, in three passes: collect the flags, look for FLASHD_ variables
 *         that nobody knows, then parse each row's winning text in the order of the table.
 *
 * To add a setting, add its field to struct settings and one row to the table `rows`. A row has a
 * kind, which knows how to parse a text into the field, show the field, and say what is allowed;
 * a new kind is needed only for a new sort of value. Defaults are texts and go through the same
 * parsers as what a user gives, so a wrong default cannot hide.
 */
#include "main/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/bounds.h"
#include "engine/check.h"
#include "engine/cron.h"

enum {
    NAME_BYTES = 64, /* FLASHD_SOME_NAME */
    WHY_BYTES = 160, /* what is wrong with a value, when "not allowed" does not say it */
    ALLOWED_BYTES = 256,
    QUOTED_BYTES = 160, /* of a value, as shown in an error */
    SHOWN_BYTES = 640,  /* a value as `flashd config` shows it */
};

static const char env_prefix[] = "FLASHD_";
static const char by_cores[] = "by cores";

struct row;

/* A text on its way into a field. why is empty, or says what is wrong with it. */
struct candidate {
    const struct row *row;
    const char *text;
    enum setting_origin origin;
    char *why; /* WHY_BYTES */
};

struct kind {
    bool (*parse)(const struct candidate *candidate, void *field);
    void (*show)(const struct row *row, const void *field, char *out, size_t out_bytes);
    void (*allowed)(const struct row *row, char *out, size_t out_bytes);
};

struct row {
    const char *flag;         /* without the dashes; the environment name derives from it */
    const char *extra_env;    /* another variable with the same meaning, or NULL */
    const char *default_text; /* NULL: none */
    const struct kind *kind;
    uint64_t min, max;   /* of a number, or of a length in bytes */
    const char *choices; /* "a/b/c"; the first is what a true flag means */
    const char *help;
    size_t offset; /* of the field in struct settings */
};

/* ---- kind: whole numbers ---- */

/* Digits only: no sign, no white space, no overflow. */
static bool read_decimal(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    if (text[0] == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (max - digit) / 10 || digit > max)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return value >= min;
}

static bool parse_u64(const struct candidate *candidate, void *field)
{
    const struct row *row = candidate->row;
    return read_decimal(candidate->text, row->min, row->max, field);
}

static void show_u64(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%" PRIu64, *(const uint64_t *)field);
}

static bool parse_u32(const struct candidate *candidate, void *field)
{
    uint64_t number;
    MUST(candidate->row->max <= UINT32_MAX, "a row's range fits its field");
    if (!parse_u64(candidate, &number))
        return false;
    *(uint32_t *)field = (uint32_t)number;
    return true;
}

static void show_u32(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%" PRIu32, *(const uint32_t *)field);
}

static void allowed_number(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%" PRIu64 " to %" PRIu64, row->min, row->max);
}

static const struct kind kind_u32 = {parse_u32, show_u32, allowed_number};
static const struct kind kind_u64 = {parse_u64, show_u64, allowed_number};

/* ---- kind: a number of threads, or "by cores", which stays 0 until resolve_by_cores() ---- */

static bool parse_threads(const struct candidate *candidate, void *field)
{
    if (strcmp(candidate->text, by_cores) != 0)
        return parse_u32(candidate, field);
    *(uint32_t *)field = 0;
    return true;
}

static void allowed_threads(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%" PRIu64 " to %" PRIu64 ", or \"%s\"", row->min, row->max,
                   by_cores);
}

static const struct kind kind_threads = {parse_threads, show_u32, allowed_threads};

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

/* ---- kind: text of a bounded length ---- */

static bool parse_text(const struct candidate *candidate, void *field)
{
    size_t len = strlen(candidate->text);
    if (len < candidate->row->min || len > candidate->row->max)
        return false;
    memcpy(field, candidate->text, len + 1);
    return true;
}

static void show_text(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%s", (const char *)field);
}

static void allowed_path(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "a path of %" PRIu64 " to %" PRIu64 " bytes", row->min,
                   row->max);
}

static const struct kind kind_path = {parse_text, show_text, allowed_path};

/* ---- kind: a cron schedule ---- */

static bool parse_cron(const struct candidate *candidate, void *field)
{
    struct cron cron;
    const char *problem;
    if (!cron_parse(candidate->text, &cron, &problem)) {
        (void)snprintf(candidate->why, WHY_BYTES, "%s", problem);
        return false;
    }
    return parse_text(candidate, field);
}

static void allowed_cron(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes,
                   "five cron fields, minute hour day-of-month month day-of-week, in at most "
                   "%" PRIu64 " bytes, such as \"%s\"",
                   row->max, row->default_text);
}

static const struct kind kind_cron = {parse_cron, show_text, allowed_cron};

/* ---- kind: one word of several ---- */

/* The position of text among "a/b/c", or -1. */
static int32_t choice_index(const char *choices, const char *text)
{
    size_t len = strlen(text);
    int32_t index = 0;
    for (const char *word = choices;; index++) {
        size_t word_len = strcspn(word, "/");
        if (word_len == len && memcmp(word, text, len) == 0)
            return index;
        if (word[word_len] == '\0')
            return -1;
        word += word_len + 1;
    }
}

static bool parse_choice(const struct candidate *candidate, void *field)
{
    return choice_index(candidate->row->choices, candidate->text) >= 0 &&
           parse_text(candidate, field);
}

/* Two words: the first sets the field, the second clears it. */
static bool parse_switch(const struct candidate *candidate, void *field)
{
    int32_t index = choice_index(candidate->row->choices, candidate->text);
    MUST(index <= 1, "a switch has two words");
    if (index < 0)
        return false;
    *(bool *)field = index == 0;
    return true;
}

static void show_switch(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    int first_len = (int)strcspn(row->choices, "/");
    if (*(const bool *)field)
        (void)snprintf(out, out_bytes, "%.*s", first_len, row->choices);
    else
        (void)snprintf(out, out_bytes, "%s", row->choices + first_len + 1);
}

static void allowed_choice(const struct row *row, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (const char *at = row->choices; *at != '\0' && used + 3 < out_bytes; at++) {
        if (*at == '/')
            used += (size_t)snprintf(out + used, out_bytes - used, ", ");
        else
            out[used++] = *at;
    }
    out[used] = '\0';
}

static const struct kind kind_choice = {parse_choice, show_text, allowed_choice};
static const struct kind kind_switch = {parse_switch, show_switch, allowed_choice};

/* ---- kind: HOST:PORT, which fills listen_host and listen_port ---- */

static bool parse_host(const char *text, size_t len, char *host, size_t host_bytes)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= host_bytes)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (!bracketed && strcmp(host, "localhost") == 0)
        (void)snprintf(host, host_bytes, "127.0.0.1");
    return inet_pton(bracketed ? AF_INET6 : AF_INET, host, address) == 1;
}

static bool parse_listen(const struct candidate *candidate, void *field)
{
    struct settings *settings = field; /* the row's offset is 0: this kind fills two fields */
    const char *colon = strrchr(candidate->text, ':');
    uint64_t port;
    if (colon == NULL || strchr(colon, ']') != NULL) {
        (void)snprintf(candidate->why, WHY_BYTES, "it lacks HOST: or :PORT");
        return false;
    }
    if (!parse_host(candidate->text, (size_t)(colon - candidate->text), settings->listen_host,
                    sizeof settings->listen_host)) {
        (void)snprintf(candidate->why, WHY_BYTES, "HOST is not an address");
        return false;
    }
    if (!read_decimal(colon + 1, candidate->row->min, candidate->row->max, &port)) {
        (void)snprintf(candidate->why, WHY_BYTES, "PORT is not a port number");
        return false;
    }
    settings->listen_port = (uint16_t)port;
    return true;
}

static void show_listen(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    const struct settings *settings = field;
    bool brackets = strchr(settings->listen_host, ':') != NULL;
    (void)row;
    (void)snprintf(out, out_bytes, "%s%s%s:%" PRIu16, brackets ? "[" : "", settings->listen_host,
                   brackets ? "]" : "", settings->listen_port);
}

static void allowed_listen(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes,
                   "HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets or "
                   "localhost, and PORT is %" PRIu64 " to %" PRIu64,
                   row->min, row->max);
}

static const struct kind kind_listen = {parse_listen, show_listen, allowed_listen};

/* ---- kind: a secret, in a file or (extra environment name) as it stands ---- */

/* Reads up to bytes_max bytes; returns how many, or -1 with errno. */
static ssize_t read_whole(const char *path, unsigned char *bytes, size_t bytes_max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t got;
    do {
        got = read(fd, bytes + len, bytes_max - len);
        if (got > 0)
            len += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    int error = errno;
    (void)close(fd);
    errno = error;
    return got < 0 ? -1 : (ssize_t)len;
}

static size_t without_newline(const unsigned char *bytes, size_t len)
{
    if (len > 0 && bytes[len - 1] == '\n')
        len--;
    else
        return len;
    return len > 0 && bytes[len - 1] == '\r' ? len - 1 : len;
}

static bool keep_secret(const struct candidate *candidate, const unsigned char *bytes, size_t len,
                        struct token_key *key)
{
    if (len < candidate->row->min || len > candidate->row->max) {
        (void)snprintf(candidate->why, WHY_BYTES, "the secret has %s%zu bytes",
                       len > candidate->row->max ? "at least " : "", len);
        return false;
    }
    memcpy(key->bytes, bytes, len);
    key->len = len;
    return true;
}

static bool parse_secret(const struct candidate *candidate, void *field)
{
    unsigned char
        bytes[TOKEN_KEY_BYTES_MAX + 3]; /* CR LF and one more, to see that it is too long */
    MUST(candidate->row->max <= TOKEN_KEY_BYTES_MAX, "a row's range fits its field");
    if (candidate->origin == ORIGIN_EXTRA_ENV)
        return keep_secret(candidate, (const unsigned char *)candidate->text,
                           strlen(candidate->text), field);
    ssize_t len = read_whole(candidate->text, bytes, sizeof bytes);
    if (len < 0) {
        (void)snprintf(candidate->why, WHY_BYTES, "cannot read it: %s", strerror(errno));
        return false;
    }
    bool ok = keep_secret(candidate, bytes, without_newline(bytes, (size_t)len), field);
    explicit_bzero(bytes, sizeof bytes);
    return ok;
}

static void show_secret(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    const struct token_key *key = field;
    (void)row;
    (void)snprintf(out, out_bytes, "%s", key->len > 0 ? "set" : "not set");
}

static void allowed_secret(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "a file with a secret of %" PRIu64 " to %" PRIu64 " bytes",
                   row->min, row->max);
}

static const struct kind kind_secret = {parse_secret, show_secret, allowed_secret};

/* ---- the table ---- */

#define FIELD(name)    offsetof(struct settings, name)
#define TEXT_MAX(name) (sizeof((struct settings *)0)->name - 1)

static const struct row rows[] = {
    {"listen", NULL, "127.0.0.1:8080", &kind_listen, 0, 65535, NULL,
     "address to serve on; port 0 picks a free one", 0},
    {"data", NULL, "./flashd-data", &kind_path, 1, TEXT_MAX(data_dir), NULL,
     "directory of flashd.db; created if missing", FIELD(data_dir)},
    {"net-threads", NULL, by_cores, &kind_threads, 1, NET_THREADS_MAX, NULL,
     "threads that serve connections", FIELD(net_threads)},
    {"workers", NULL, by_cores, &kind_threads, 1, WORKERS_MAX, NULL,
     "threads that decide about sales", FIELD(workers)},
    {"jwt-secret-file", "FLASHD_JWT_SECRET", NULL, &kind_secret, TOKEN_KEY_BYTES_MIN,
     TOKEN_KEY_BYTES_MAX, NULL,
     "HS256 key; without it every endpoint that needs a token answers 401", FIELD(jwt_secret)},
    {"payment-secret-file", "FLASHD_PAYMENT_SECRET", NULL, &kind_secret, 1, TOKEN_KEY_BYTES_MAX,
     NULL, "HMAC key; if set, /paid needs X-Flashd-Signature", FIELD(payment_secret)},
    {"state-interval-ms", "CRON_STATE_INTERVAL_MS", "100", &kind_u32, 1, 60000, NULL,
     "how often sales are started and ended, and holds expired", FIELD(state_interval_ms)},
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

/* FLASHD_ variables that are no settings: switches of the tests' builds. */
static bool is_test_variable(const char *name)
{
    return strcmp(name, "FLASHD_FAULT") == 0 || strncmp(name, "FLASHD_TEST_", 12) == 0;
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

/* One flag with its value, which may be the next argument. *used: how many arguments it took. */
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

/* ---- second pass: variables that nobody knows ---- */

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
    return is_test_variable(name);
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

static const char *env_value(const char *name)
{
    const char *value = name == NULL ? NULL : getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* Flag, then FLASHD_ name, then extra name, then default. name: NAME_BYTES, as the user gave it. */
static struct candidate winner(const struct row *row, const char *flag_value, char *name)
{
    struct candidate candidate = {.row = row, .text = flag_value, .origin = ORIGIN_FLAG};
    if (candidate.text != NULL) {
        (void)snprintf(name, NAME_BYTES, "--%s", row->flag);
        return candidate;
    }
    env_name_of(row, name);
    candidate.text = env_value(name);
    candidate.origin = ORIGIN_ENV;
    if (candidate.text == NULL && env_value(row->extra_env) != NULL) {
        (void)snprintf(name, NAME_BYTES, "%s", row->extra_env);
        candidate.text = env_value(name);
        candidate.origin = ORIGIN_EXTRA_ENV;
    }
    if (candidate.text == NULL) {
        (void)snprintf(name, NAME_BYTES, "default of --%s", row->flag);
        candidate.text = row->default_text;
        candidate.origin = ORIGIN_DEFAULT;
    }
    return candidate;
}

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
