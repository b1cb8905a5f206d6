/*
 * errors.c: each durable call of a script fails once, in each way (see faults.h).
 *
 * For each call and way, on a disk of its own:
 *   1. a life plays the script while that call fails: it must stop with a line, or play to its end
 *   2. the power fails there: starts on what may be left are checked
 *   3. instead, it is started again at once, on what the kernel still shows: nothing that was answered is
 *      missing; it plays on
 *   4. the power fails now: what the second life had answered is held against the disk as well. This is
 *      where trust in the kernel's cache shows: after a sync that failed, what it shows may not be on the
 *      disk, nor ever come there.
 *
 * io and torn strike once, full from there on to the life's end.
 *
 * Thread: one a process; the calls are shared out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "tests/faults/faults.h"
#include "tests/faults/image.h"

enum {
    STATUS_DONE = 0,
    STATUS_NO_START = 1,
    STATUS_WRONG = 2,
    STATUS_STOPPED = 70,
    WAYS = VFS_TORN - VFS_IO + 1,
    ORDERS_AFTER = 12,
    CALLS_OF_A_START = 60, /* about: each is a moment of its own, so all are tried */
    OPS_BEFORE = 16,
    IMAGES_BEFORE = 3,
    IMAGES_LATER = 20,
    IMAGES_AFTER = 4,
};
enum { COUNT_RUNS, COUNT_NO_START, COUNT_STOPPED, COUNT_WENT_ON, COUNT_IMAGES };

struct trial {
    const struct options *options;
    struct vfs_plan plan;
    struct tape *tape;
    char dir[FOLDER_BYTES + 16], image_dir[FOLDER_BYTES + 16];
    struct image image;
    struct random dice;
    char wrong[2 * TAPE_LINE_BYTES];
};

static struct life life; /* too large for a stack */

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
    t->tape->ready_op = t->tape->op_count;
    if (!life_play(&life, SCRIPT_ORDERS))
        leave(t, STATUS_STOPPED);
    life_close(&life);
    t->tape->ended_well = true;
    leave(t, STATUS_DONE);
}

/* Ends without closing anything: the power fails. */
static void second_life(void *arg)
{
    struct trial *t = arg;
    const struct vfs_plan sound = {.fault = VFS_NONE};
    struct check check = {.tape = t->tape, .ops = t->tape->op_count};
    MUST(vfs_install(&sound, t->tape), "a VFS");
    /* What readers saw in the first life stands on the tape until this life's start has been checked. */
    bool opened = life_open(&life, t->dir, NULL, t->options->seed + 1, 1);
    if (!opened || !check_life(&check, &life)) {
        snprintf(t->tape->line, sizeof t->tape->line, "%.500s", opened ? check.wrong : life.error);
        _exit(STATUS_WRONG);
    }
    life_begin_tape(&life, t->tape);
    t->tape->ready_op = t->tape->op_count;
    if (!life_play(&life, ORDERS_AFTER))
        leave(t, STATUS_STOPPED);
    t->tape->cut = false;
    leave(t, STATUS_DONE);
}

/* ---- power losses ---- */

static bool check_images(struct trial *t, uint32_t from, uint32_t count, struct findings *findings)
{
    struct disk disk;
    bool good = true;
    disk_begin(&disk, t->tape, t->options->seed ^ t->plan.at);
    for (uint32_t i = 0; i < count && good; i++) {
        /* Spread from there to the end. */
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

static bool first_ended_rightly(struct trial *t, int status, struct findings *findings)
{
    findings->counts[status == STATUS_NO_START  ? COUNT_NO_START
                     : status == STATUS_STOPPED ? COUNT_STOPPED
                                                : COUNT_WENT_ON]++;
    if (status == STATUS_DONE)
        return t->tape->ended_well || is_wrong(t, "it did not end well", status);
    if (status != STATUS_NO_START && status != STATUS_STOPPED)
        return is_wrong(t, "it neither stopped nor went on", status);
    return strlen(t->tape->line) > 10 || is_wrong(t, "it stopped without a clear line", status);
}

static bool run_trial(struct trial *t, struct findings *findings)
{
    remove_data(t->dir);
    tape_rewind(t->tape);
    int status = in_child(first_life, t);
    bool good = first_ended_rightly(t, status, findings);
    t->tape->cut = status != STATUS_DONE;
    /* From a little before the error on; who went on has more behind it. */
    uint32_t from = t->tape->struck_op < t->tape->op_count ? t->tape->struck_op : t->tape->op_count;
    from -= from < OPS_BEFORE ? from : OPS_BEFORE;
    good = good &&
           check_images(t, from, status == STATUS_DONE ? IMAGES_LATER : IMAGES_BEFORE, findings);
    if (good) {
        t->tape->line[0] = 0;
        int again = in_child(second_life, t);
        good = again == STATUS_DONE || is_wrong(t, "started again", again);
    }
    good = good && check_images(t, t->tape->ready_op, IMAGES_AFTER, findings);
    findings->counts[COUNT_RUNS]++;
    remove_data(t->dir);
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

static void try_share(struct options *options, uint32_t share, uint32_t of,
                      struct findings *findings)
{
    static struct trial t;
    t.options = options;
    t.tape = tape_new();
    snprintf(t.dir, sizeof t.dir, "%s/live", options->folder);
    snprintf(t.image_dir, sizeof t.image_dir, "%s/image", options->folder);
    uint64_t calls = calls_of_script(&t);
    for (uint64_t number = share; number < calls * WAYS; number += of) {
        uint64_t call = number / WAYS + 1;
        enum vfs_fault how = (enum vfs_fault)(VFS_IO + number % WAYS);
        bool wanted = options->call != 0 ? call == options->call
                                         : call <= CALLS_OF_A_START ||
                                               (call + options->seed) % options->every == 0;
        if (!wanted || (options->how != VFS_NONE && how != options->how))
            continue;
        t.plan = (struct vfs_plan){.fault = how,
                                   .at = call,
                                   .until = how == VFS_FULL ? UINT64_MAX : call,
                                   .seed = options->seed};
        t.dice = random_from(options->seed ^ random_mix(number)); /* the same alone as among all */
        if (!run_trial(&t, findings)) {
            char wrong[sizeof findings->wrong];
            snprintf(wrong, sizeof wrong, "--call %" PRIu64 " --how %s (of %" PRIu64 "): %.800s",
                     call, vfs_fault_name(how), calls, t.wrong);
            note_failure(findings, call, wrong);
        }
        if (findings->failures > 0 && options->expects_caught)
            break;
    }
    image_free(&t.image);
}

int run_errors(struct options *options)
{
    struct findings found = in_shares(options, try_share);
    printf("faults errors: seed %" PRIu64 ": %" PRIu64
           " runs of %u orders with one call in error: %" PRIu64 " did not start, %" PRIu64
           " stopped, %" PRIu64 " went on; %" PRIu64 " power losses before and after the restart\n",
           options->seed, found.counts[COUNT_RUNS], SCRIPT_ORDERS, found.counts[COUNT_NO_START],
           found.counts[COUNT_STOPPED], found.counts[COUNT_WENT_ON], found.counts[COUNT_IMAGES]);
    if (found.failures > 0)
        printf("faults errors: %u runs fail; the first: --seed %" PRIu64 " %s\n", found.failures,
               options->seed, found.wrong);
    if (!options->expects_caught)
        return found.failures > 0 || found.counts[COUNT_RUNS] == 0;
    printf("faults errors: %s is %s\n", options->fault,
           found.failures > 0 ? "caught" : "NOT CAUGHT");
    return found.failures == 0;
}
