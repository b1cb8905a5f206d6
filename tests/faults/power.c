/*
 * power.c: what power losses at many moments of a script may leave (see faults.h).
 *
 * The script is three lives on one disk: one that stops cleanly, one that is killed, one that stops. Their
 * tape is wound to each of N moments, spread evenly over all durable calls; at each, the dice choose what
 * survives, and a start on it is checked.
 *
 * Thread: one per process; the moments are divided among the processes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "tests/faults/faults.h"
#include "tests/faults/image.h"

enum { LIVES = 3, COUNT_IMAGES = 0, COUNT_AT_RISK, COUNT_LOST, AUDIT_EVERY = 4, GO_ON_EVERY = 8 };

static struct tape *tape;

struct recording {
    const struct options *options;
    char dir[FOLDER_BYTES + 16];
    uint32_t number;
};

static void record_life(void *arg)
{
    static const uint32_t orders[LIVES] = {100, 60, SCRIPT_ORDERS - 160};
    static struct life life;
    const struct recording *r = arg;
    struct vfs_plan plan = {.fault = r->options->lying_disk ? VFS_FORGET : VFS_NONE,
                            .one_in = 1,
                            .calls = 1u << CALL_SYNC};
    MUST(vfs_install(&plan, tape), "a VFS");
    if (!life_open(&life, r->dir, tape, r->options->seed + r->number, r->number) ||
        !life_play(&life, orders[r->number])) {
        fprintf(stderr, "faults: the script fails by itself: %s\n", life.error);
        _exit(1);
    }
    if (r->number != 1)
        life_close(&life);
    _exit(0);
}

static bool record(const struct options *options)
{
    struct recording r = {.options = options};
    snprintf(r.dir, sizeof r.dir, "%s/live", options->folder);
    bool good = true;
    for (r.number = 0; good && r.number < LIVES; r.number++) {
        tape_new_life(tape);
        good = in_child(record_life, &r) == 0;
    }
    remove_data(r.dir);
    return good;
}

/* Mostly those that keep a part: that is where the surprises are. */
static enum survival choose_survival(struct random *dice)
{
    static const uint8_t choices[] = {
        SURVIVE_NONE,   SURVIVE_ALL,    SURVIVE_PREFIX,  SURVIVE_PREFIX,  SURVIVE_SUBSET,
        SURVIVE_SUBSET, SURVIVE_SUBSET, SURVIVE_SECTORS, SURVIVE_SECTORS, SURVIVE_SECTORS};
    return (enum survival)choices[random_below(dice, sizeof choices)];
}

static void check_image(const struct options *options, uint64_t number, struct disk *disk,
                        struct image *image, struct findings *findings)
{
    struct random dice = random_from(options->seed ^ random_mix(number));
    uint32_t ops = (uint32_t)(number * tape->op_count / (options->images - 1));
    struct check check = {.tape = tape,
                          .ops = ops,
                          .audit = number % AUDIT_EVERY == 0,
                          .go_on = number % GO_ON_EVERY == 1};
    char dir[FOLDER_BYTES + 16];
    snprintf(dir, sizeof dir, "%s/image", options->folder);
    disk_wind(disk, ops);
    enum survival survival = choose_survival(&dice);
    disk_crash(disk, survival, &dice, image);
    image_write(image, dir, &dice);
    if (!check_start(&check, dir)) {
        char wrong[sizeof findings->wrong];
        snprintf(wrong, sizeof wrong, "op %u of %u, %s survives of %u at risk: %.700s", ops,
                 tape->op_count, survival_name(survival), disk_at_risk(disk), check.wrong);
        note_failure(findings, number, wrong);
        if (options->trace)
            tape_print(tape, stdout);
    }
    findings->counts[COUNT_IMAGES]++;
    findings->counts[COUNT_AT_RISK] += disk_at_risk(disk) > 0;
    findings->counts[COUNT_LOST] += check.last < tape->event_count;
    remove_data(dir);
}

static void check_share(struct options *options, uint32_t share, uint32_t of,
                        struct findings *findings)
{
    struct disk disk;
    struct image image = {0};
    disk_begin(&disk, tape);
    for (uint64_t number = share; number < options->images; number += of) {
        if (options->image >= 0 && number != (uint64_t)options->image)
            continue;
        check_image(options, number, &disk, &image, findings);
        if (findings->failures > 0 && options->expects_caught)
            break;
    }
    image_free(&image);
    disk_end(&disk);
}

static int report(const struct options *options, const struct findings *found)
{
    printf("faults power: seed %" PRIu64
           ": %u orders, %u answers and views, %u durable calls; %" PRIu64 " images, %" PRIu64
           " with something at risk, %" PRIu64 " in the midst of the script\n",
           options->seed, SCRIPT_ORDERS, tape->answer_count, tape->op_count,
           found->counts[COUNT_IMAGES], found->counts[COUNT_AT_RISK], found->counts[COUNT_LOST]);
    if (found->failures > 0)
        printf("faults power: %u images fail; the first: --seed %" PRIu64
               " --images %u --image %" PRIu64 ": %s\n",
               found->failures, options->seed, options->images, found->first, found->wrong);
    if (!options->expects_caught)
        return found->failures > 0;
    printf("faults power: %s is %s\n", options->lying_disk ? "a lying disk" : options->fault,
           found->failures > 0 ? "caught" : "NOT CAUGHT");
    return found->failures == 0;
}

int run_power(struct options *options)
{
    tape = tape_new();
    tape_rewind(tape);
    MUST(options->images >= 2, "two images or more");
    make_folder(options);
    bool recorded = record(options);
    MUST(rmdir(options->folder) == 0, "an empty folder at the end");
    if (!recorded)
        return 1;
    struct findings found = in_shares(options, check_share);
    return report(options, &found);
}
