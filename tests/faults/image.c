/*
 * image.c: durable contents, and the fate of the rest (see image.h).
 *
 * Thread: any, one a disk. In: a tape, a moment, dice. Out: files.
 */
#include "tests/faults/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/check.h"

enum { PATH_BYTES = 512, SHM_GARBAGE_BYTES = 32768 };

static const char *const file_names[FILE_COUNT] = {"flashd.db", "flashd.db-wal",
                                                   "flashd.db-journal"};

const char *survival_name(enum survival survival)
{
    static const char *const names[SURVIVAL_COUNT] = {"none", "all", "prefix", "subset", "sectors"};
    return names[survival];
}

/* ---- contents ---- */

/* New bytes are zeros. */
static void resize(struct content *content, size_t size)
{
    if (size > content->room) {
        content->room = size * 2;
        content->bytes = realloc(content->bytes, content->room);
        MUST(content->bytes != NULL, "memory for a file");
    }
    if (size > content->size)
        memset(content->bytes + content->size, 0, size - content->size);
    content->size = size;
}

static void put(struct content *content, uint64_t at, const unsigned char *data, size_t bytes)
{
    if (bytes == 0)
        return;
    if (at + bytes > content->size)
        resize(content, at + bytes);
    memcpy(content->bytes + at, data, bytes);
}

static void copy(struct content *to, const struct content *from)
{
    to->size = 0;
    resize(to, from->size);
    if (from->size > 0)
        memcpy(to->bytes, from->bytes, from->size);
}

static void apply_op(const struct tape *tape, const struct op *op, struct content *content)
{
    if (op->kind == OP_TRUNCATE)
        resize(content, op->at);
    else
        put(content, op->at, tape->data + op->data, op->bytes);
}

/* ---- winding forward ---- */

void disk_begin(struct disk *disk, const struct tape *tape)
{
    *disk = (struct disk){.tape = tape, .dice = random_from(tape->disk_seed)};
}

void disk_end(struct disk *disk)
{
    for (int i = 0; i < TAPE_INODES_MAX; i++)
        free(disk->inodes[i].durable.bytes);
    free(disk->pending);
}

static const struct op *op_at(const struct disk *disk, uint32_t pending)
{
    return &disk->tape->ops[disk->pending[pending]];
}

static bool is_data(const struct op *op)
{
    return op->kind == OP_WRITE || op->kind == OP_TRUNCATE;
}

/* An inode's dirty data is settled: all of it is on the disk, or (some) what the dice choose, or none. */
static void settle_inode(struct disk *disk, uint16_t inode, bool all, bool some)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        const struct op *op = op_at(disk, i);
        if (!is_data(op) || op->inode != inode)
            disk->pending[kept++] = disk->pending[i];
        else if (all || (some && random_chance(&disk->dice, 1, 2)))
            apply_op(disk->tape, op, &disk->inodes[inode].durable);
    }
    disk->pending_count = kept;
}

static void apply_name(const struct op *op, int entries[FILE_COUNT])
{
    if (op->kind == OP_CREATE)
        entries[op->file] = op->inode;
    else if (entries[op->file] == op->inode)
        entries[op->file] = 0;
}

static void settle_names(struct disk *disk)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        if (is_data(op_at(disk, i)))
            disk->pending[kept++] = disk->pending[i];
        else
            apply_name(op_at(disk, i), disk->entries);
    }
    disk->pending_count = kept;
}

static void add_pending(struct disk *disk, uint32_t op)
{
    if (disk->tape->ops[op].forgotten)
        return; /* it never reaches the disk */
    if (disk->pending_count == disk->pending_room) {
        disk->pending_room = disk->pending_room * 2 + 64;
        disk->pending = realloc(disk->pending, disk->pending_room * sizeof *disk->pending);
        MUST(disk->pending != NULL, "memory for pending ops");
    }
    disk->pending[disk->pending_count++] = op;
}

static void wind_one(struct disk *disk, uint32_t at)
{
    const struct op *op = &disk->tape->ops[at];
    MUST(op->inode < TAPE_INODES_MAX, "too many files in one tape");
    switch ((enum op_kind)op->kind) {
    case OP_SYNC:
        settle_inode(disk, op->inode, true, true);
        return;
    case OP_SYNC_FAILED:
        settle_inode(disk, op->inode, false, op->at != 0);
        return;
    case OP_SYNC_DIR:
        settle_names(disk);
        return;
    case OP_MAKE_DIR:
        disk->dir_made = !op->forgotten;
        return;
    case OP_SYNC_PARENT:
        disk->dir_durable = disk->dir_made;
        return;
    case OP_CREATE:
        disk->inodes[op->inode].file = op->file;
        add_pending(disk, at);
        return;
    case OP_WRITE:
    case OP_TRUNCATE:
    case OP_DELETE:
        add_pending(disk, at);
        return;
    }
}

void disk_wind(struct disk *disk, uint32_t ops)
{
    MUST(ops >= disk->next_op && ops <= disk->tape->op_count, "a moment on the tape, ahead");
    while (disk->next_op < ops)
        wind_one(disk, disk->next_op++);
}

uint32_t disk_at_risk(const struct disk *disk)
{
    return disk->pending_count + (disk->dir_made && !disk->dir_durable);
}

/* ---- the power fails ---- */

/* How the power loss decides what survives. */
struct fate {
    enum survival survival;
    uint32_t whole; /* of a prefix: pending ops below this one are there */
    struct random *dice;
};

static bool name_survives(const struct fate *fate, uint32_t pending)
{
    if (fate->survival == SURVIVE_NONE || fate->survival == SURVIVE_ALL)
        return fate->survival == SURVIVE_ALL;
    if (fate->survival == SURVIVE_PREFIX)
        return pending < fate->whole;
    return random_chance(fate->dice, 1, 2);
}

static void keep_part(const struct tape *tape, const struct op *op, struct content *content,
                      struct random *dice)
{
    uint64_t sector = random_chance(dice, 1, 2) ? 512 : 4096;
    uint64_t end = (op->at + random_below(dice, op->bytes + 1)) / sector * sector;
    if (op->kind == OP_WRITE && end > op->at)
        put(content, op->at, tape->data + op->data, end - op->at);
}

static void scramble(struct content *content, uint64_t at, uint64_t bytes, struct random *dice)
{
    if (at + bytes > content->size)
        resize(content, at + bytes);
    for (uint64_t i = 0; i < bytes; i++)
        content->bytes[at + i] = (unsigned char)random_next(dice);
}

/* Each sector of the write survives or not, on its own. */
static void keep_sectors(const struct tape *tape, const struct op *op, struct content *content,
                         struct random *dice)
{
    uint64_t sector = random_chance(dice, 1, 2) ? 512 : 4096, at = op->at;
    bool garbage = random_chance(dice, 1, 8);
    while (at < op->at + op->bytes) {
        uint64_t end = (at / sector + 1) * sector;
        if (end > op->at + op->bytes)
            end = op->at + op->bytes;
        if (random_chance(dice, 1, 2))
            put(content, at, tape->data + op->data + (at - op->at), end - at);
        else if (garbage)
            scramble(content, at, end - at, dice);
        at = end;
    }
}

static void keep_some(const struct tape *tape, const struct op *op, struct content *content,
                      const struct fate *fate)
{
    uint32_t throw = random_below(fate->dice, 8);
    if (op->kind == OP_WRITE && fate->survival == SURVIVE_SECTORS)
        keep_sectors(tape, op, content, fate->dice);
    else if (throw < 4)
        apply_op(tape, op, content);
    else if (throw < 6)
        keep_part(tape, op, content, fate->dice);
}

/* The size is metadata: it may lag behind the data, or be ahead of it. */
static void lose_size(struct content *content, size_t synced, size_t seen, struct random *dice)
{
    uint32_t throw = random_below(dice, 4);
    if (throw == 0 && content->size > synced)
        content->size = synced;
    else if (throw == 1 && content->size < seen)
        resize(content, seen);
}

static void crash_file(const struct disk *disk, int inode, const struct fate *fate,
                       struct content *out)
{
    const struct content *durable = &disk->inodes[inode].durable;
    size_t seen = durable->size;
    copy(out, durable);
    for (uint32_t i = 0; i < disk->pending_count; i++) {
        const struct op *op = op_at(disk, i);
        if (!is_data(op) || op->inode != inode)
            continue;
        if (op->kind == OP_TRUNCATE || op->at + op->bytes > seen)
            seen = op->at + op->bytes;
        if (fate->survival == SURVIVE_ALL || (fate->survival == SURVIVE_PREFIX && i < fate->whole))
            apply_op(disk->tape, op, out);
        else if (fate->survival == SURVIVE_PREFIX && i == fate->whole)
            keep_part(disk->tape, op, out, fate->dice);
        else if (fate->survival >= SURVIVE_SUBSET)
            keep_some(disk->tape, op, out, fate);
    }
    if (fate->survival >= SURVIVE_SUBSET)
        lose_size(out, durable->size, seen, fate->dice);
}

void disk_crash(const struct disk *disk, enum survival survival, struct random *dice,
                struct image *image)
{
    struct fate fate = {.survival = survival, .dice = dice};
    if (disk->pending_count > 0)
        fate.whole = random_below(dice, disk->pending_count);
    int entries[FILE_COUNT];
    memcpy(entries, disk->entries, sizeof entries);
    for (uint32_t i = 0; i < disk->pending_count; i++)
        if (!is_data(op_at(disk, i)) && name_survives(&fate, i))
            apply_name(op_at(disk, i), entries);
    image->dir = disk->dir_durable || (disk->dir_made && survival != SURVIVE_NONE &&
                                       (survival == SURVIVE_ALL || random_chance(dice, 1, 2)));
    for (int file = 0; file < FILE_COUNT; file++) {
        image->exists[file] = image->dir && entries[file] != 0;
        if (image->exists[file])
            crash_file(disk, entries[file], &fate, &image->files[file]);
    }
}

void image_free(struct image *image)
{
    for (int file = 0; file < FILE_COUNT; file++)
        free(image->files[file].bytes);
}

/* ---- as files ---- */

void remove_data(const char *dir)
{
    char path[PATH_BYTES];
    for (int file = 0; file <= FILE_COUNT; file++) {
        snprintf(path, sizeof path, "%s/%s", dir,
                 file < FILE_COUNT ? file_names[file] : "flashd.db-shm");
        MUST(unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR, "a file to remove");
    }
    MUST(rmdir(dir) == 0 || errno == ENOENT, "an empty directory");
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t count)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, bytes, count) == (ssize_t)count, "a file for an image");
    (void)close(fd);
}

void image_write(const struct image *image, const char *dir, struct random *dice)
{
    remove_data(dir);
    if (!image->dir)
        return;
    MUST(mkdir(dir, 0700) == 0, "a directory for an image");
    for (int file = 0; file < FILE_COUNT; file++)
        if (image->exists[file])
            write_file(dir, file_names[file], image->files[file].bytes, image->files[file].size);
    if (random_chance(dice, 1, 8)) { /* what shared memory held must mean nothing after a start */
        static uint64_t garbage[SHM_GARBAGE_BYTES / sizeof(uint64_t)];
        for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
            garbage[i] = random_next(dice);
        write_file(dir, "flashd.db-shm", garbage, sizeof garbage);
    }
}
