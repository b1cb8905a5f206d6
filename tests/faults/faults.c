/*
 * faults.c: disk faults: `faults power`, `faults errors`, `faults delay`.
 *
 *   faults power [--images N] [--seed S] [--image I] [--lying-disk] [--fault NAME]
 *       plays a script of SCRIPT_ORDERS orders, and checks a start on each of N disks that a power loss at
 *       some moment of it may have left (image.h)
 *   faults errors [--every N] [--seed S] [--call K] [--how io|full|torn|kill] [--storms N] [--storm I]
 *                 [--fault NAME]
 *       plays the script once for each durable call (or each Nth), which fails; checks the restart, and power
 *       losses before and after the restart; then plays N storms of random faults
 *   faults delay
 *       every sync takes 50 ms, under more load than fits
 *
 * With --fault (a deliberate one of engine/step.h) or --lying-disk it exits 0 when the check has caught it.
 * Everything random comes from the seed; a failure names the image, call or storm to
 * replay, with --trace to see the tape.
 */
#include "tests/faults/faults.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/step.h"
#include "tests/faults/image.h"

enum { SHARES_MAX = 8 };

/* ---- processes ---- */

int in_child(life_body *body, void *arg)
{
    (void)fflush(stdout);
    pid_t child = fork();
    MUST(child >= 0, "a process");
    if (child == 0) {
        body(arg);
        _exit(1);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child, "a child's status");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

void note_failure(struct findings *findings, uint64_t which, const char *wrong)
{
    if (findings->failures++ > 0)
        return;
    findings->first = which;
    snprintf(findings->wrong, sizeof findings->wrong, "%s", wrong);
}

static void merge(struct findings *into, const struct findings *from)
{
    if (from->failures > 0 && (into->failures == 0 || from->first < into->first)) {
        into->first = from->first;
        memcpy(into->wrong, from->wrong, sizeof into->wrong);
    }
    into->failures += from->failures;
    for (size_t i = 0; i < sizeof into->counts / sizeof *into->counts; i++)
        into->counts[i] += from->counts[i];
}

/* Memory is faster than a disk, and what a sync does is the fault VFS's business here. */
void make_folder(struct options *options)
{
    snprintf(options->folder, sizeof options->folder, "%s/flashd-faults-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    MUST(mkdtemp(options->folder) != NULL, "a temporary folder");
}

static void run_share(const struct options *options, share_body *body, uint32_t share, uint32_t of,
                      struct findings *findings)
{
    struct options own = *options;
    make_folder(&own);
    body(&own, share, of, findings);
    (void)fflush(stdout);
    MUST(rmdir(own.folder) == 0, "an empty folder at the end");
    _exit(0);
}

struct findings in_shares(const struct options *options, share_body *body)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t of = cores < 1 ? 1 : cores > SHARES_MAX ? SHARES_MAX : (uint32_t)cores;
    struct findings *shared = mmap(NULL, SHARES_MAX * sizeof *shared, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared != MAP_FAILED, "memory for findings");
    pid_t children[SHARES_MAX];
    (void)fflush(stdout);
    for (uint32_t i = 0; i < of; i++) {
        children[i] = fork();
        MUST(children[i] >= 0, "a process");
        if (children[i] == 0)
            run_share(options, body, i, of, &shared[i]);
    }
    struct findings all = {0};
    for (uint32_t i = 0; i < of; i++) {
        int status = 0;
        MUST(waitpid(children[i], &status, 0) == children[i], "a child's status");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            note_failure(&shared[i], UINT64_MAX, "the process that checks has died");
        merge(&all, &shared[i]);
    }
    (void)munmap(shared, SHARES_MAX * sizeof *shared);
    return all;
}

/* ---- the command line ---- */

static enum vfs_fault how_of(const char *name)
{
    for (int i = VFS_IO; i < VFS_FAULT_COUNT; i++)
        if (strcmp(name, vfs_fault_name((enum vfs_fault)i)) == 0)
            return (enum vfs_fault)i;
    return VFS_NONE;
}

static bool choose_fault(struct options *options, const char *name)
{
    for (int i = 1; i < FAULT_COUNT; i++) {
        if (strcmp(name, fault_name((enum fault)i)) == 0) {
            fault_set((enum fault)i);
            options->fault = fault_name((enum fault)i);
            options->expects_caught = true;
            return true;
        }
    }
    return false;
}

static bool take_option(struct options *options, const char *name, const char *value)
{
    char *end = NULL;
    uint64_t number = strtoull(value, &end, 10);
    bool is_number = end != value && *end == 0;
    if (strcmp(name, "--fault") == 0)
        return choose_fault(options, value);
    if (strcmp(name, "--how") == 0)
        return (options->how = how_of(value)) != VFS_NONE;
    if (!is_number)
        return false;
    if (strcmp(name, "--images") == 0 && number > 0)
        options->images = (uint32_t)number;
    else if (strcmp(name, "--seed") == 0)
        options->seed = number;
    else if (strcmp(name, "--image") == 0)
        options->image = (int64_t)number;
    else if (strcmp(name, "--every") == 0 && number > 0)
        options->every = (uint32_t)number;
    else if (strcmp(name, "--storms") == 0)
        options->storms = (uint32_t)number;
    else if (strcmp(name, "--storm") == 0)
        options->storm = (int64_t)number;
    else if (strcmp(name, "--call") == 0)
        options->call = number;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1,
                              .images = FAULTS_IMAGES_DEFAULT,
                              .image = -1,
                              .every = FAULTS_EVERY_DEFAULT,
                              .storms = 1000 / FAULTS_EVERY_DEFAULT,
                              .storm = -1};
    static const struct {
        const char *verb;
        int (*run)(struct options *options);
    } verbs[] = {{"power", run_power}, {"errors", run_errors}, {"delay", run_delay}};
    int (*run)(struct options * options) = NULL;
    for (size_t i = 0; argc >= 2 && i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(argv[1], verbs[i].verb) == 0)
            run = verbs[i].run;
    bool good = run != NULL;
    for (int i = 2; good && i < argc; i++) {
        if (strcmp(argv[i], "--lying-disk") == 0)
            options.lying_disk = options.expects_caught = true;
        else if (strcmp(argv[i], "--trace") == 0)
            options.trace = true;
        else if (i + 1 < argc)
            good = take_option(&options, argv[i], argv[i + 1]), i++;
        else
            good = false;
    }
    if (!good) {
        fprintf(stderr, "usage: faults power|errors|delay [OPTIONS], see tests/faults/faults.c\n");
        return 2;
    }
    diag_configure(DIAG_ERROR + 1, false); /* every planned failure would be logged */
    return run(&options);
}
