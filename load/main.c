/*
 * main.c: flashload's course: options, server, sales, load, books, report.
 *
 *   ready     every stream and connection is open; then the clock starts
 *   load      the buyers' and the audience's threads work, main draws
 *   count     the streams have delivered what the load caused; from then on nothing counts
 *   settle    the sales are ended, the streams get time to deliver what they owe
 *   books     both threads have ended; the ledger is compared with the server's books
 *
 * Ctrl-C ends the load; the audit is still made and the report written. A second Ctrl-C leaves at once.
 *
 * Thread: main, and it starts the other two and "signals". Exit status: 0 the books balance and the thresholds
 * hold, 99 a threshold does not, 1 the books do not balance, 2 there was nothing to run, 3 all holds but the report
 * could not be written, 130 a second Ctrl-C.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "load/audience.h"
#include "load/clock.h"
#include "load/crowd.h"
#include "load/error.h"
#include "load/machine.h"
#include "load/own_server.h"
#include "load/report.h"
#include "load/target.h"
#include "load/view.h"

enum {
    EXIT_NOTHING_RUN = 2,
    EXIT_NO_REPORT = 3,
    EXIT_LEFT_AT_ONCE = 130,
    READY_PATIENCE_MS = 10000, /* since the last link opened */
    COUNT_PATIENCE_MS = 3000,
    SETTLE_PATIENCE_MS = 10000,
    OWN_PATIENCE_MS = 3000
};

static struct process {
    struct run run;
    struct summary summary;
    struct own_server own;
    struct view view;
    pthread_t crowd, audience;
    struct final_sale *sales;
    struct listed_buyer *listed;
    uint64_t listed_count, own_cpu_ns,
        server_cpu_ns; /* CPU: at the start; after the load, what that took */
    const char *url;
    char error[ERROR_BYTES];
} process;

/* ---- signals ---- */

/* The thread that takes it ends the process: once "signals" has killed the server, main must not exit with its own
 * status. */
static pthread_mutex_t ending = PTHREAD_MUTEX_INITIALIZER;

/* In a thread of its own, so that the second signal is heard whatever main waits for. */
static void *hear_signals(void *stop)
{
    int number;
    (void)pthread_setname_np(pthread_self(), "signals");
    (void)sigwait(stop, &number);
    atomic_store_explicit(&process.run.interrupted, true, memory_order_relaxed);
    (void)sigwait(stop, &number);
    (void)pthread_mutex_lock(&ending);
    own_server_kill(&process.own);
    _exit(EXIT_LEFT_AT_ONCE);
}

/* Called before any other thread starts, so that all of them leave the signals to hear_signals(). */
static bool catch_signals(char *error)
{
    static sigset_t stop;
    struct sigaction hangup;
    pthread_t thread;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigaction(SIGHUP, NULL, &hangup);
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGINT);
    (void)sigaddset(&stop, SIGTERM);
    if (hangup.sa_handler != SIG_IGN) /* ignored under nohup: leave it so */
        (void)sigaddset(&stop, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &stop, NULL);
    return pthread_create(&thread, NULL, hear_signals, &stop) == 0 ||
           complain(error, "cannot start threads");
}

static bool interrupted(const struct run *run)
{
    return atomic_load_explicit(&run->interrupted, memory_order_relaxed);
}

/* ---- before the load ---- */

static bool read_thresholds(struct process *p)
{
    const struct options *o = &p->run.options;
    for (uint32_t i = 0; i < o->assert_count; i++)
        if (!threshold_parse(o->asserts[i], summary_knows, &p->summary.thresholds[i], p->error,
                             sizeof p->error))
            return false;
    p->summary.threshold_count = o->assert_count;
    return true;
}

/* Whether the report can be written: better known now than after hours. */
static bool report_is_possible(struct process *p)
{
    const struct options *o = &p->run.options;
    if ((fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return complain(p->error, "stdout is closed: there is nowhere to report to");
    return o->html_path == NULL ||
           report_html_possible(o->html_path, o->curves_path, p->error, sizeof p->error);
}

static bool find_server(struct process *p)
{
    struct run *run = &p->run;
    p->url = run->options.url;
    run->server_is_ours = p->url == NULL;
    if (run->server_is_ours) {
        if (!own_server_start(&p->own, &run->options, &run->site, p->error))
            return false;
        p->url = p->own.url;
        run->options.server_pid = (uint32_t)p->own.pid;
    } else if (!site_take_token(&run->site, &run->options, p->error)) {
        return false;
    }
    if (!site_parse(&run->site, p->url, p->error) || !site_probe(&run->site, p->url, p->error))
        return false;
    if (!run_has_token(run))
        run->options.watchers = 0; /* own streams need a token */
    return true;
}

static bool prepare(struct process *p)
{
    struct run *run = &p->run;
    char tag[TAG_BYTES_MAX];
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof random, 0);
    (void)snprintf(tag, sizeof tag, "fl%08" PRIx32, random);
    p->sales = calloc(run->options.sales, sizeof *p->sales);
    if (!ledger_open(&run->ledger, tag) || !measures_open(&run->buyers) ||
        !measures_open(&run->audience) || p->sales == NULL)
        return complain(p->error, "no memory");
    /* Descriptors first: a server of our own inherits the limit. */
    return machine_has_descriptors(&run->options, p->error) && find_server(p) &&
           target_open_sales(run, p->error);
}

static bool all_open(const struct run *run)
{
    return atomic_load(&run->connections_open) >= run->options.connections &&
           atomic_load(&run->watchers_open) >= run->options.watchers &&
           atomic_load(&run->spectators_open) >= run->options.spectators &&
           atomic_load(&run->observer_open) >= (run_has_token(run) ? 1u : 0u);
}

static uint32_t open_count(const struct run *run)
{
    return atomic_load(&run->connections_open) + atomic_load(&run->watchers_open) +
           atomic_load(&run->spectators_open) + atomic_load(&run->observer_open);
}

static void say_what_opened(struct run *run)
{
    const struct options *o = &run->options;
    run_fail(run,
             "the server answers on %u of %u connections, %u of %u own streams and %u of %u "
             "spectators' streams, and for %d s on no other: it may lack descriptors (ulimit -n) "
             "or limit its connections or streams",
             run->connections_open, o->connections, run->watchers_open, o->watchers,
             run->spectators_open, o->spectators, READY_PATIENCE_MS / 1000);
}

/* Starts the threads, and waits until every connection and stream is open. */
static bool get_ready(struct process *p)
{
    struct run *run = &p->run;
    if (pthread_create(&p->crowd, NULL, crowd_run, run) != 0 ||
        pthread_create(&p->audience, NULL, audience_run, run) != 0)
        return complain(p->error, "cannot start threads");
    uint32_t seen = 0, open;
    uint64_t end_ns = 0;
    while (!all_open(run) && !atomic_load(&run->failed) && !interrupted(run)) {
        if ((open = open_count(run)) != seen || end_ns == 0)
            end_ns = clock_ns() + READY_PATIENCE_MS * NS_PER_MS;
        seen = open;
        if (clock_ns() > end_ns)
            say_what_opened(run);
        clock_sleep_ms(2);
    }
    while (atomic_load(&run->failed) && !atomic_load(&run->failure_written))
        clock_sleep_ms(1);
    if (all_open(run) && !atomic_load(&run->failed))
        return true;
    return complain(p->error, "%s",
                    interrupted(run) ? "interrupted before the start" : run->failure);
}

/* ---- the load ---- */

static void watch_load(struct process *p)
{
    struct run *run = &p->run;
    p->own_cpu_ns = machine_own_cpu_ns();
    p->server_cpu_ns = machine_cpu_ns_of((pid_t)run->options.server_pid);
    run->started_at = time(NULL);
    run->start_ns = clock_ns();
    atomic_store_explicit(&run->started, true, memory_order_release);
    while (!atomic_load_explicit(&run->loaded, memory_order_acquire)) {
        if (interrupted(run)) {
            p->summary.interrupted = true;
            atomic_store(&run->stop, true);
        }
        clock_sleep_ms(5);
        view_update(&p->view, run);
    }
    p->own_cpu_ns = machine_own_cpu_ns() - p->own_cpu_ns;
    uint64_t server_ns = machine_cpu_ns_of((pid_t)run->options.server_pid);
    p->server_cpu_ns = server_ns > p->server_cpu_ns ? server_ns - p->server_cpu_ns : 0;
}

/* ---- after the load ---- */

static bool own_streams_owe_nothing(const struct run *run)
{
    return atomic_load(&run->own_frames) >= atomic_load(&run->own_frames_owed);
}

static bool streams_caught_up(const struct run *run)
{
    return atomic_load_explicit(&run->observed_seq, memory_order_acquire) >= run->loaded_seq &&
           own_streams_owe_nothing(run) &&
           atomic_load_explicit(&run->spectators_behind, memory_order_acquire) == 0;
}

/* Ends the counting before the sales are: clearing their waiting lists is no part of the load. Sleeps first, for longer
 * than a round of the audience, which then has counted how many spectators are behind. */
static void end_counts(struct run *run)
{
    uint64_t end_ns = clock_ns() + COUNT_PATIENCE_MS * NS_PER_MS;
    do
        clock_sleep_ms(25);
    while (run_has_token(run) && !streams_caught_up(run) && !atomic_load(&run->failed) &&
           clock_ns() < end_ns);
    atomic_store_explicit(&run->count_end, true, memory_order_relaxed);
    while (atomic_load_explicit(&run->counts_over, memory_order_acquire) < 2)
        clock_sleep_ms(1);
}

static bool streams_owe_nothing(const struct process *p)
{
    const struct run *run = &p->run;
    uint64_t seq = 0;
    uint32_t sold_out = 0; /* their events may come after the sale was read */
    for (uint32_t i = 0; i < run->options.sales; i++) {
        seq = p->sales[i].seq > seq ? p->sales[i].seq : seq;
        sold_out += run->sales_are_ours && p->sales[i].sold == p->sales[i].stock;
    }
    bool heard_all = seq <= run->ledger.base_seq ||
                     atomic_load_explicit(&run->observed_seq, memory_order_acquire) >= seq;
    return heard_all && own_streams_owe_nothing(run) &&
           atomic_load_explicit(&run->sold_out_told, memory_order_acquire) >= sold_out &&
           atomic_load_explicit(&run->spectators_behind, memory_order_acquire) == 0;
}

static void wait_while_owed(const struct process *p, uint64_t end_ns)
{
    while (!streams_owe_nothing(p) && clock_ns() < end_ns)
        clock_sleep_ms(5);
}

/* Waits until the streams have delivered what they owe; if time runs out, the audit finds what is missing. */
static void wait_for_streams(struct process *p)
{
    struct run *run = &p->run;
    uint64_t end_ns = clock_ns() + SETTLE_PATIENCE_MS * NS_PER_MS;
    wait_while_owed(p, end_ns);
    /* The audience, whose rounds are shorter, counts again how many spectators are behind; and an event that ought not
     * to come has time to. */
    clock_sleep_ms(TICK_MS + 50);
    wait_while_owed(p, end_ns);
    uint32_t behind = atomic_load(&run->spectators_behind);
    if (behind > 0)
        finding(&p->summary.verdict.findings, FINDING_MISSING_EVENT,
                "%" PRIu32 " spectators were not told the last change", behind);
}

/* Ends the sales and reads their books. */
static void settle(struct process *p)
{
    struct run *run = &p->run;
    bool good = target_end_sales(run, p->error) && target_read_sales(run, p->sales, p->error) &&
                target_read_buyers(run, &p->listed, &p->listed_count, p->error);
    if (!good)
        (void)snprintf(p->summary.audit_error, sizeof p->summary.audit_error, "%s", p->error);
    else if (run_has_token(run))
        wait_for_streams(p);
}

/* The audience's first: holds may expire at any moment, but once it has ended, what own streams owe is fixed. */
static void end_threads(struct process *p)
{
    struct run *run = &p->run;
    atomic_store(&run->stop, true);
    atomic_store(&run->audience_end, true);
    if (p->audience != 0)
        (void)pthread_join(p->audience, NULL);
    uint64_t end_ns = clock_ns() + OWN_PATIENCE_MS * NS_PER_MS;
    while (!own_streams_owe_nothing(run) && !atomic_load(&run->failed) && clock_ns() < end_ns)
        clock_sleep_ms(2);
    clock_sleep_ms(20);
    atomic_store(&run->end, true);
    if (p->crowd != 0)
        (void)pthread_join(p->crowd, NULL);
}

/* Whether the lists hide names. One row without a name of ours proves nothing: its buyer may be a stranger. */
static bool nobody_is_named(const struct process *p)
{
    for (uint64_t i = 0; i < p->listed_count; i++)
        if (p->listed[i].named)
            return false;
    return p->listed_count > 0;
}

static void make_books(struct process *p)
{
    struct run *run = &p->run;
    struct verdict *verdict = &p->summary.verdict;
    findings_merge(&verdict->findings, &run->buyers_findings);
    findings_merge(&verdict->findings, &run->audience_findings);
    p->summary.events_held = run_has_token(run);
    if (p->summary.audit_error[0] != '\0')
        return;
    const struct books books = {.ledger = &run->ledger,
                                .sales = p->sales,
                                .sale_count = run->options.sales,
                                .listed = p->listed,
                                .listed_count = p->listed_count,
                                .ours_alone = run->sales_are_ours,
                                .gapless = run->server_is_ours,
                                .events_held = run_has_token(run),
                                .names_hidden = !run_has_token(run) && nobody_is_named(p)};
    if (!audit_books(&books, verdict))
        (void)snprintf(p->summary.audit_error, sizeof p->summary.audit_error,
                       "no memory for the audit");
}

static bool write_json(const struct summary *s)
{
    json_t *json = report_json(s, false);
    bool good = json != NULL &&
                json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
                fputc('\n', stdout) != EOF;
    json_decref(json);
    return good;
}

static bool write_reports(struct process *p)
{
    const struct options *o = &p->run.options;
    errno = 0;
    bool good = o->json ? write_json(&p->summary) : (report_text(&p->summary, stdout), true);
    good = good && fflush(stdout) == 0 && ferror(stdout) == 0;
    if (!good)
        (void)fprintf(stderr, "flashload: the report cannot be written to stdout: %s\n",
                      errno != 0 ? strerror(errno) : "it ended early");
    if (o->html_path != NULL &&
        !report_html(&p->summary, o->html_path, o->curves_path, p->error, sizeof p->error)) {
        (void)fprintf(stderr, "flashload: %s\n", p->error);
        good = false;
    }
    return good;
}

static int finish(struct process *p)
{
    struct run *run = &p->run;
    struct summary *s = &p->summary;
    end_counts(run);
    if (atomic_load(&run->failed))
        (void)snprintf(s->audit_error, sizeof s->audit_error, "%s", run->failure);
    else
        settle(p);
    end_threads(p);
    view_close(&p->view, run);
    if (!summary_open(s, run)) {
        (void)fprintf(stderr, "flashload: no memory for the report\n");
        return EXIT_NO_REPORT;
    }
    s->own_cpu_ns = p->own_cpu_ns;
    s->server_cpu_ns = p->server_cpu_ns;
    (void)snprintf(s->url, sizeof s->url, "%s", p->url);
    make_books(p);
    if (!own_server_stop(&p->own, p->error))
        (void)snprintf(s->audit_error, sizeof s->audit_error, "%s", p->error);
    for (uint32_t i = 0; i < s->threshold_count; i++)
        (void)threshold_holds(&s->thresholds[i], summary_figure, s);
    int status = summary_exit_status(s);
    return write_reports(p) || status != EXIT_SUCCESS ? status : EXIT_NO_REPORT;
}

static void close_all(struct process *p)
{
    summary_close(&p->summary);
    ledger_close(&p->run.ledger);
    measures_close(&p->run.buyers);
    measures_close(&p->run.audience);
    free(p->run.sales);
    free(p->run.index.slots);
    free(p->sales);
    free(p->listed);
}

static int refuse(const char *error)
{
    (void)fprintf(stderr, "flashload: %s\n", error);
    return EXIT_NOTHING_RUN;
}

/* A closed standard descriptor must not become a socket: /dev/null takes its place, read-only, so writes to it fail. */
static void fill_standard_descriptors(void)
{
    int fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDONLY);
    (void)close(fd);
}

int main(int argc, char **argv)
{
    struct process *p = &process;
    struct options *o = &p->run.options;
    fill_standard_descriptors();
    if (!options_load(o, argc - 1, argv + 1, p->error))
        return refuse(p->error);
    if (o->help)
        return options_print_help(stdout), EXIT_SUCCESS;
    if (o->version)
        return printf("flashload %s\n", FLASHD_VERSION) > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (!read_thresholds(p) || !report_is_possible(p) || !catch_signals(p->error))
        return refuse(p->error);
    int status = EXIT_NOTHING_RUN;
    bool ready = prepare(p) && get_ready(p);
    if (ready) {
        view_open(&p->view, o->json ? stderr : stdout);
        view_head(&p->view, &p->run, p->url);
        watch_load(p);
        status = finish(p);
    } else {
        end_threads(p);
        (void)own_server_stop(&p->own, p->error); /* if it had died, the error now says so */
        (void)refuse(p->error);
    }
    close_all(p);
    (void)pthread_mutex_lock(&ending);
    return status;
}
