/*
 * main.c: wires engine/, net/ and persist/ together; the only file that sees all three.
 *
 *   flashd serve | demo | audit | token | config | --help | --version
 *
 * Thread: main: configuration, start order, signals, stop in reverse order.
 * Exit status: 0 after a clean stop; 2 for bad arguments (nothing created); 1 when something needed is
 *         missing or damaged; 70 when a commit failed (engine.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/diag.h"
#include "engine/engine.h"
#include "main/audit.h"
#include "main/complain.h"
#include "main/demo.h"
#include "main/hash.h"
#include "main/mint.h"
#include "main/settings.h"
#include "net/broadcast.h"
#include "net/server.h"
#include "persist/archive.h"
#include "persist/keys.h"
#include "persist/reconcile.h"
#include "persist/recovery.h"
#include "persist/store.h"

enum { LINE_BYTES_MAX = 1024, DAY_MS = 24 * 3600 * 1000 };

/* What a running flashd consists of; main owns it. */
struct process {
    struct settings settings;
    struct store *store;
    struct engine engine;
    struct archive *archive;
    struct ledger *ledger;
    struct broadcaster *broadcaster;
    struct server *server;
    bool engine_made;
};

static int usage(FILE *out, int status)
{
    fprintf(out,
            "flashd %s: a flash-sale engine in one process\n\n"
            "  flashd serve [SETTINGS]   serve until SIGTERM or SIGINT\n"
            "  flashd demo [SETTINGS]    the same, with one sale that is open\n"
            "  flashd audit DIR [--json] rebuild a data directory from its events and compare\n"
            "  flashd config [SETTINGS]  show every setting and where it comes from\n"
            "  flashd token [--role admin|consumer] --sub NAME [--ttl SECONDS]\n"
            "  flashd --help | --version\n\n"
            "Settings, each also an environment variable (--some-name: FLASHD_SOME_NAME):\n",
            FLASHD_VERSION);
    settings_print_help(out);
    return status;
}

/* ---- serving ---- */

static bool open_engine(struct process *p, bool demo, char *error)
{
    p->store = store_open(p->settings.data_dir, p->settings.min_free_bytes, error, LINE_BYTES_MAX);
    if (p->store == NULL)
        return false;
    p->ledger =
        ledger_open(p->settings.data_dir, store_retention_gate(p->store), error, LINE_BYTES_MAX);
    if (p->ledger == NULL)
        return false;
    hash_set_key(store_key(p->store));
    struct engine_options options = {
        .workers = p->settings.workers,
        .ports = p->settings.net_threads + 2 + demo,
        .keys = p->settings.idempotency_keys,
        .state_interval_ms = p->settings.state_interval_ms,
        .hash = keyed_siphash,
        .last_seq = store_last_seq(p->store),
        .published = store_published(p->store),
        .reconcile = {.store = ledger_store(p->ledger), .port = p->settings.net_threads + 1}};
    (void)cron_parse(p->settings.reconcile_schedule, &options.reconcile.schedule, NULL);
    p->engine_made = true;
    if (engine_init(&p->engine, options, store_journal(p->store, keyed_siphash)))
        return true;
    snprintf(error, LINE_BYTES_MAX, "out of memory");
    return false;
}

static bool recover_engine(struct process *p, char *error)
{
    struct recovery found;
    struct now began = now_read();
    uint64_t keys;
    if (!recover(store_db(p->store), &p->engine, began, &found, error, LINE_BYTES_MAX) ||
        !keys_recover(store_db(p->store), &p->engine, began, &keys, error, LINE_BYTES_MAX))
        return false;
    diag(DIAG_INFO,
         "recovered sales=%" PRIu64 " orders=%" PRIu64 " held=%" PRIu64 " waiting=%" PRIu64
         " baseline=%" PRIu64 " events=%" PRIu64 " keys=%" PRIu64 " republished=%" PRIu64
         " ms=%" PRId64,
         found.sales, found.orders, found.held, found.waiting, found.baseline, found.events, keys,
         store_last_seq(p->store) - store_published(p->store), now_read().mono_ms - began.mono_ms);
    if (store_retain(p->store, (int64_t)p->settings.retention_days * DAY_MS))
        return true;
    snprintf(error, LINE_BYTES_MAX, "out of memory, or the baseline cannot be read");
    return false;
}

static bool open_broadcaster(struct process *p, char *error)
{
    p->archive = archive_open(p->settings.data_dir, error, LINE_BYTES_MAX);
    if (p->archive == NULL)
        return false;
    const struct broadcast_options options = {.net_threads = p->settings.net_threads,
                                              .port = p->settings.net_threads,
                                              .heartbeat_ms = p->settings.heartbeat_ms,
                                              .tick_ms = p->settings.stream_tick_ms,
                                              .streams_max = p->settings.max_streams,
                                              .streams_per_address_max =
                                                  p->settings.max_streams_per_address,
                                              .buyer_names_shown = p->settings.buyer_names_shown,
                                              .archive = archive_reader(p->archive)};
    p->broadcaster = broadcast_open(&options, &p->engine, error, LINE_BYTES_MAX);
    return p->broadcaster != NULL;
}

static bool open_server(struct process *p, char *error)
{
    const struct server_options options = {.host = p->settings.listen_host,
                                           .port = p->settings.listen_port,
                                           .net_threads = p->settings.net_threads,
                                           .max_connections = p->settings.max_connections,
                                           .jwt_key = &p->settings.jwt_secret,
                                           .payment_key = &p->settings.payment_secret,
                                           .buyer_names_shown = p->settings.buyer_names_shown,
                                           .broadcaster = p->broadcaster};
    p->server = server_open(&options, &p->engine, error, LINE_BYTES_MAX);
    if (p->server == NULL)
        return false;
    diag(DIAG_INFO,
         "room for %" PRIu32 " connections and %" PRIu32 " streams, %" PRIu32
         " net threads, %" PRIu32 " workers",
         server_connections_max(p->server), server_streams_max(p->server), p->settings.net_threads,
         p->settings.workers);
    return true;
}

static bool run_threads(struct process *p, char *error)
{
    if (engine_start(&p->engine) && broadcast_start(p->broadcaster) && server_start(p->server))
        return true;
    snprintf(error, LINE_BYTES_MAX, "cannot start threads: %s", strerror(errno));
    return false;
}

/* Blocks them before any thread starts, so that only main's sigwait() sees them. */
static sigset_t block_stop_signals(void)
{
    sigset_t stop;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTERM);
    (void)sigaddset(&stop, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &stop, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file at its size limit is a failed commit, with a line */
    return stop;
}

static void url_of(const struct process *p, char *url, size_t url_bytes)
{
    const char *host = p->settings.listen_host;
    bool v6 = strchr(host, ':') != NULL;
    snprintf(url, url_bytes, "http://%s%s%s:%" PRIu16, v6 ? "[" : "", host, v6 ? "]" : "",
             server_port(p->server));
}

static void close_all(struct process *p)
{
    server_close(p->server);
    broadcast_close(p->broadcaster);
    archive_close(p->archive);
    ledger_close(p->ledger);
    if (p->engine_made)
        engine_free(&p->engine);
    store_close(p->store);
    sodium_memzero(&p->settings, sizeof p->settings);
}

static int serve(struct process *p, bool demo)
{
    char error[LINE_BYTES_MAX] = "";
    enum diag_level level;
    MUST(diag_level_of(p->settings.log_level, &level), "a level that the settings allow");
    diag_configure(level, p->settings.log_json);
    sigset_t stop = block_stop_signals();
    bool opened = open_engine(p, demo, error) && recover_engine(p, error) &&
                  open_broadcaster(p, error) && open_server(p, error);
    if (!opened) {
        diag(DIAG_ERROR, "cannot start: %s", error);
        close_all(p);
        return EXIT_FAILURE;
    }
    if (!run_threads(p, error)) {
        diag(DIAG_ERROR, "cannot start: %s", error);
        return EXIT_FAILURE; /* some threads run: free nothing, the exit ends them */
    }
    char url[96];
    url_of(p, url, sizeof url);
    printf("flashd listening on %s\n", url);
    (void)fflush(stdout);
    struct port *own = &p->engine.ports[p->settings.net_threads + 2];
    if (demo && !demo_open_sale(&p->engine, own, url, p->settings.data_dir, stdout))
        diag(DIAG_ERROR, "the demo sale could not be opened");
    int signal_number = 0;
    (void)sigwait(&stop, &signal_number);
    diag(DIAG_INFO, "stopping on signal %d", signal_number);
    reconcile_leave(&p->engine.reconciler);
    server_stop(p->server);
    broadcast_stop(p->broadcaster);
    engine_stop(&p->engine);
    close_all(p);
    diag(DIAG_INFO, "stopped");
    return EXIT_SUCCESS;
}

/* ---- commands ---- */

static int run_command(struct process *p, const char *command, int argc, char **argv)
{
    char error[SETTINGS_ERROR_BYTES];
    if (!settings_load(&p->settings, argc, argv, error, sizeof error))
        return complain(error);
    if (strcmp(command, "config") == 0) {
        settings_print(&p->settings, stdout);
        return EXIT_SUCCESS;
    }
    return serve(p, strcmp(command, "demo") == 0);
}

/* What was closed at the start: else the next file that is opened, such as the database, would be stdout or stderr. */
static void open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {"serve", "demo", "config"};
    static struct process process; /* too large for a stack */
    open_standard_streams();
    /* Threads' heaps grow and shrink in large steps: fewer system calls under load. */
    (void)mallopt(M_TOP_PAD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (sodium_init() < 0)
        return complain("libsodium does not start");
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return usage(stdout, EXIT_SUCCESS);
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("flashd %s\n", FLASHD_VERSION) > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (argc >= 2 && strcmp(argv[1], "audit") == 0)
        return audit_run(argc - 2, argv + 2);
    if (argc >= 2 && strcmp(argv[1], "token") == 0)
        return mint_run(argc - 2, argv + 2);
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i]) == 0)
            return run_command(&process, argv[1], argc - 2, argv + 2);
    char line[LINE_BYTES_MAX];
    snprintf(line, sizeof line,
             "%s%s%s; known: serve, demo, audit, config, token, --help, --version",
             argc >= 2 ? "unknown command \"" : "a command is missing", argc >= 2 ? argv[1] : "",
             argc >= 2 ? "\"" : "");
    return complain(line);
}
