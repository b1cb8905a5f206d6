/*
 * errors.c: each durable call of a script fails once, in each way (see faults.h).
 *
 * For each call and way, on a disk of its own:
 *   1. a life plays the script while that call fails: it must stop with a line, or play to its end
 *   2. the power fails there: starts on what may be left are checked
 *   3. instead, it is restarted at once, on what the kernel still shows: nothing that was answered is
 *      missing; it plays on
 *   4. the power fails now: the disk must also have what the second life answered. This reveals trust in the
 *      kernel's cache: after a failed sync, what that shows may not be on the disk, nor ever get there.
 *
 * io, torn and kill strike once; full lasts to the life's end.
 *
 * A storm is several lives in a row on one disk, each with random faults by seed, also while it starts on what
 * the last one left; the power fails after each, and at the end one start without faults must find all that
 * any of them has answered.
 *
 * Two of three have a guest: a process that opens the database read-only, in the first life or after its end, and
 * keeps it open. SQLite then finds the index of the log as the dead life left it, or as the guest has made it.
 *
 * Thread: one per process; the calls are divided among the processes.
 */
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/check.h"
#include "tests/faults/faults.h"
#include "tests/faults/image.h"

enum {
    STATUS_DONE = 0,
    STATUS_NO_START = 1,
    STATUS_WRONG = 2,
    STATUS_STOPPED = 70,
    STATUS_KILLED = 256 + SIGKILL,
    WAYS = 4,
    STORM_LIVES = 5,
    ORDERS_AFTER = 12,
    CALLS_OF_A_START = 60, /* about; each may fail in its own way */
    OPS_BEFORE = 16,
    IMAGES_BEFORE = 3,
    IMAGES_LATER = 20,
    IMAGES_AFTER = 4,
};
enum {
    COUNT_RUNS,
    COUNT_NO_START,
    COUNT_STOPPED,
    COUNT_WENT_ON,
    COUNT_KILLED,
    COUNT_IMAGES,
    COUNT_STORMS
};

static const uint8_t ways[WAYS] = {VFS_IO, VFS_FULL, VFS_TORN, VFS_KILL};

enum { GUEST_NONE, GUEST_EARLY, GUEST_LATE, GUEST_COUNT };

struct trial {
    const struct options *options;
    struct vfs_plan plan;
    struct tape *tape;
    char dir[FOLDER_BYTES + 16], image_dir[FOLDER_BYTES + 16];
    struct image image;
    struct random dice;
    uint32_t number; /* of the life */
    uint32_t guest;  /* GUEST_…: when it comes */
    pid_t guest_pid;
    int guest_fd; /* a byte each way: come; here */
    char wrong[2 * TAPE_LINE_BYTES];
};

static struct life life; /* too large for a stack */

/* ---- a guest ---- */

/* Each connection of a process shares its locks, so a guest is a process of its own. */
static void visit(const struct trial *t, int fd)
{
    char byte, path[FOLDER_BYTES + 32];
    const struct vfs_plan sound = {.fault = VFS_NONE};
    sqlite3 *db = NULL;
    MUST(read(fd, &byte, 1) == 1, "to be asked");
    MUST(vfs_install(&sound, t->tape), "a VFS"); /* it may be the guest who creates a file */
    snprintf(path, sizeof path, "%s/flashd.db", t->dir);
    /* There may be no database yet, or not all of it. */
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK)
        (void)sqlite3_exec(db, "SELECT count(*) FROM event_rows", NULL, NULL, NULL);
    MUST(write(fd, &byte, 1) == 1, "somebody who waits");
    for (;;)
        (void)pause();
}

static void invite(struct trial *t)
{
    int ends[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a pair of sockets");
    t->guest = random_below(&t->dice, GUEST_COUNT);
    t->guest_fd = ends[0];
    t->guest_pid = fork();
    MUST(t->guest_pid >= 0, "a process");
    if (t->guest_pid == 0)
        visit(t, ends[1]);
    (void)close(ends[1]);
}

/* Returns when it has opened the database, if it is the guest's time. */
static void let_in(const struct trial *t, uint32_t when)
{
    char byte = 0;
    if (t->guest == when)
        MUST(write(t->guest_fd, &byte, 1) == 1 && read(t->guest_fd, &byte, 1) == 1, "a guest");
}

static void see_off(struct trial *t)
{
    (void)kill(t->guest_pid, SIGKILL);
    MUST(waitpid(t->guest_pid, NULL, 0) == t->guest_pid, "a guest's end");
    (void)close(t->guest_fd);
}

/* ---- the two lives ---- */

static void leave(struct trial *t, int status)
{
    snprintf(t->tape->line, sizeof t->tape->line, "%s", life.error);
    _exit(status);
}

static void first_life(void *arg)
{
    struct trial *t = arg;
    MUST(vfs_install(&t->plan, t->tape), "a VFS");
    if (!life_open(&life, t->dir, t->tape, t->options->seed, 0))
        leave(t, STATUS_NO_START);
    let_in(t, GUEST_EARLY);
    t->tape->ready_op = t->tape->op_count;
    if (!life_play(&life, SCRIPT_ORDERS))
        leave(t, STATUS_STOPPED);
    life_close(&life);
    t->tape->ended_well = true;
    leave(t, STATUS_DONE);
}

/* A life on what an earlier one left. It ends without closing anything: the power fails. */
static void later_life(void *arg)
{
    struct trial *t = arg;
    struct check check = {.tape = t->tape, .ops = t->tape->op_count};
    MUST(vfs_install(&t->plan, t->tape), "a VFS");
    /* What readers saw before stays on the tape until this life's start has been checked. */
    if (!life_open(&life, t->dir, NULL, t->options->seed + t->number, t->number))
        leave(t, STATUS_NO_START);
    if (!check_life(&check, &life)) {
        snprintf(life.error, sizeof life.error, "%.500s", check.wrong);
        leave(t, STATUS_WRONG);
    }
    life_begin_tape(&life, t->tape);
    t->tape->ready_op = t->tape->op_count;
    leave(t, life_play(&life, ORDERS_AFTER) ? STATUS_DONE : STATUS_STOPPED);
}

/* ---- power losses ---- */

static bool check_images(struct trial *t, uint32_t from, uint32_t count, struct findings *findings)
{
    struct disk disk;
    bool good = true;
    disk_begin(&disk, t->tape);
    for (uint32_t i = 0; i < count && good; i++) {
        /* Spread evenly from there to the end. */
        uint32_t ops = from + (t->tape->op_count - from) * (i + 1) / count;
        struct check check = {.tape = t->tape, .ops = ops, .audit = i == 0};
        enum survival survival = (enum survival)random_below(&t->dice, SURVIVAL_COUNT);
        disk_wind(&disk, ops);
        disk_crash(&disk, survival, &t->dice, &t->image);
        image_write(&t->image, t->image_dir, &t->dice);
        good = check_start(&check, t->image_dir);
        if (!good)
            snprintf(t->wrong, sizeof t->wrong,
                     "then the power fails at op %u of %u, %s survives: %.700s", ops,
                     t->tape->op_count, survival_name(survival), check.wrong);
        findings->counts[COUNT_IMAGES]++;
    }
    disk_end(&disk);
    remove_data(t->image_dir);
    return good;
}

/* ---- a trial ---- */

static bool is_wrong(struct trial *t, const char *what, int status)
{
    snprintf(t->wrong, sizeof t->wrong, "%s: status %d, \"%.400s\"", what, status, t->tape->line);
    return false;
}

/* Whether a life that met a fault stopped with a line, died of it, or went on. */
static bool ended_rightly(struct trial *t, int status, struct findings *findings)
{
    bool killed = status == STATUS_KILLED && t->plan.fault == VFS_KILL;
    findings->counts[killed                      ? COUNT_KILLED
                     : status == STATUS_NO_START ? COUNT_NO_START
                     : status == STATUS_STOPPED  ? COUNT_STOPPED
                                                 : COUNT_WENT_ON]++;
    if (status == STATUS_DONE || killed)
        return true;
    if (status != STATUS_NO_START && status != STATUS_STOPPED)
        return is_wrong(t, "it neither stopped nor went on", status);
    return strlen(t->tape->line) > 10 || is_wrong(t, "it stopped without a clear line", status);
}

/* Without a fault it must start, find everything, and play on. */
static bool goes_on(struct trial *t)
{
    t->plan = (struct vfs_plan){.fault = VFS_NONE};
    t->tape->line[0] = 0;
    int status = in_child(later_life, t);
    return status == STATUS_DONE || is_wrong(t, "started again", status);
}

static void begin_trial(struct trial *t, uint64_t seed)
{
    remove_data(t->dir);
    tape_rewind(t->tape);
    t->dice = random_from(seed); /* the same alone as among all */
    t->tape->disk_seed = seed;
    t->number = 0;
    invite(t);
}

static void end_trial(struct trial *t)
{
    see_off(t);
    remove_data(t->dir);
}

static bool run_trial(struct trial *t, uint64_t seed, struct findings *findings)
{
    begin_trial(t, seed);
    int status = in_child(first_life, t);
    bool good = ended_rightly(t, status, findings);
    if (good && status == STATUS_DONE && !t->tape->ended_well)
        good = is_wrong(t, "it did not end well", status);
    t->tape->cut = status != STATUS_DONE;
    /* From a little before the error on; a life that went on has more after it. */
    uint32_t from = t->tape->struck_op < t->tape->op_count ? t->tape->struck_op : t->tape->op_count;
    from -= from < OPS_BEFORE ? from : OPS_BEFORE;
    good = good &&
           check_images(t, from, status == STATUS_DONE ? IMAGES_LATER : IMAGES_BEFORE, findings);
    t->number = 1;
    let_in(t, GUEST_LATE);
    good = good && goes_on(t) && check_images(t, t->tape->ready_op, IMAGES_AFTER, findings);
    findings->counts[COUNT_RUNS]++;
    end_trial(t);
    return good;
}

static bool run_storm(struct trial *t, uint64_t seed, struct findings *findings)
{
    begin_trial(t, seed);
    bool good = true;
    while (good && t->number < STORM_LIVES) {
        uint32_t before = t->tape->op_count;
        t->plan = (struct vfs_plan){.fault = ways[random_below(&t->dice, WAYS)],
                                    .one_in = random_between(&t->dice, 10, 400),
                                    .seed = random_next(&t->dice)};
        t->tape->line[0] = 0;
        good = ended_rightly(t, in_child(later_life, t), findings);
        t->tape->cut = true;
        uint32_t from = t->tape->ready_op > before ? t->tape->ready_op : before;
        good = good && check_images(t, from, IMAGES_BEFORE, findings);
        let_in(t, ++t->number); /* early: after the first life; late: after the second */
    }
    good = good && goes_on(t) && check_images(t, t->tape->ready_op, IMAGES_AFTER, findings);
    findings->counts[COUNT_STORMS]++;
    end_trial(t);
    return good;
}

static void count_calls(void *arg)
{
    struct trial *t = arg;
    const struct vfs_plan sound = {.fault = VFS_NONE};
    MUST(vfs_install(&sound, t->tape), "a VFS");
    if (!life_open(&life, t->dir, NULL, t->options->seed, 0) || !life_play(&life, SCRIPT_ORDERS))
        _exit(1);
    life_close(&life);
    t->tape->event_count = vfs_calls();
    _exit(0);
}

static uint64_t calls_of_script(struct trial *t)
{
    remove_data(t->dir);
    tape_rewind(t->tape);
    MUST(in_child(count_calls, t) == 0, "a script that works");
    remove_data(t->dir);
    return t->tape->event_count;
}

/* More of a start's calls are wanted than of later ones. */
static bool is_wanted(const struct options *options, uint64_t call)
{
    if (options->call != 0)
        return call == options->call;
    bool starting = call <= CALLS_OF_A_START && !options->expects_caught;
    uint32_t every = starting ? 1 + options->every / 32 : options->every;
    return (call + options->seed) % every == 0;
}

static void note_trial(const struct trial *t, uint64_t number, const char *name, uint64_t which,
                       struct findings *findings)
{
    char wrong[sizeof findings->wrong];
    snprintf(wrong, sizeof wrong, "%s %" PRIu64 " --how %s: %.800s", name, which,
             vfs_fault_name(t->plan.fault), t->wrong);
    note_failure(findings, number, wrong);
    if (t->options->trace)
        tape_print(t->tape, stdout);
}

static void try_calls(struct trial *t, uint32_t share, uint32_t of, struct findings *findings)
{
    const struct options *options = t->options;
    uint64_t calls = calls_of_script(t);
    for (uint64_t number = share; number < calls * WAYS; number += of) {
        uint64_t call = number / WAYS + 1;
        enum vfs_fault how = (enum vfs_fault)ways[number % WAYS];
        if (!is_wanted(options, call) || (options->how != VFS_NONE && how != options->how))
            continue;
        t->plan = (struct vfs_plan){.fault = how,
                                    .at = call,
                                    .until = how == VFS_FULL ? UINT64_MAX : call,
                                    .seed = options->seed};
        if (!run_trial(t, options->seed ^ random_mix(number), findings)) {
            t->plan.fault = how;
            note_trial(t, number, "--call", call, findings);
        }
        if (findings->failures > 0 && options->expects_caught)
            break;
    }
}

static void try_storms(struct trial *t, uint32_t share, uint32_t of, struct findings *findings)
{
    const struct options *options = t->options;
    for (uint64_t storm = share; storm < options->storms; storm += of)
        if ((options->storm < 0 || (uint64_t)options->storm == storm) &&
            !run_storm(t, options->seed + random_mix(storm), findings))
            note_trial(t, storm, "--storm", storm, findings);
}

static void try_share(struct options *options, uint32_t share, uint32_t of,
                      struct findings *findings)
{
    static struct trial t;
    t.options = options;
    t.tape = tape_new();
    snprintf(t.dir, sizeof t.dir, "%s/live", options->folder);
    snprintf(t.image_dir, sizeof t.image_dir, "%s/image", options->folder);
    if (options->storm < 0)
        try_calls(&t, share, of, findings);
    if (options->call == 0 && !options->expects_caught)
        try_storms(&t, share, of, findings);
    image_free(&t.image);
}

int run_errors(struct options *options)
{
    struct findings found = in_shares(options, try_share);
    printf("faults errors: seed %" PRIu64 ": %" PRIu64
           " runs of %u orders with one call in error, %" PRIu64 " storms: %" PRIu64
           " did not start, %" PRIu64 " stopped, %" PRIu64 " were killed, %" PRIu64
           " went on; %" PRIu64 " power losses before and after the restart\n",
           options->seed, found.counts[COUNT_RUNS], SCRIPT_ORDERS, found.counts[COUNT_STORMS],
           found.counts[COUNT_NO_START], found.counts[COUNT_STOPPED], found.counts[COUNT_KILLED],
           found.counts[COUNT_WENT_ON], found.counts[COUNT_IMAGES]);
    if (found.failures > 0)
        printf("faults errors: %u runs fail; the first: --seed %" PRIu64 " %s\n", found.failures,
               options->seed, found.wrong);
    if (!options->expects_caught)
        return found.failures > 0 || found.counts[COUNT_RUNS] == 0;
    printf("faults errors: %s is %s\n", options->fault,
           found.failures > 0 ? "caught" : "NOT CAUGHT");
    return found.failures == 0;
}
