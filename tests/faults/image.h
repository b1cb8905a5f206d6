/*
 * image.h: from a tape to the disks that a power loss may leave.
 *
 * A disk is wound forward along the tape and keeps two things apart: what has been synced, which stays, and
 * what has not, of which a power loss keeps any part:
 *
 *   none      all of it is lost
 *   all       all of it is there, as after a kill
 *   prefix    it is there up to a moment; the write of that moment is torn at a sector's edge
 *   subset    each write is there, lost, or torn: the disk has reordered them
 *   sectors   each sector (512 or 4096 bytes) of each write is there or not, or, now and then, garbage
 *
 * A write harms nothing outside of its own bytes (SQLite calls it "powersafe overwrite"). A file's size may
 * have reached the disk without its data (which then is zeros), and the other way round. Names in the
 * directory, and the data directory's own name, are like data: before their sync they may be there or
 * not.
 *
 * Thread: any, one a disk. Fails: out of memory ends the process.
 */
#ifndef FLASHD_TESTS_FAULTS_IMAGE_H
#define FLASHD_TESTS_FAULTS_IMAGE_H

#include "tests/faults/tape.h"
#include "tests/support/random.h"

enum survival {
    SURVIVE_NONE,
    SURVIVE_ALL,
    SURVIVE_PREFIX,
    SURVIVE_SUBSET,
    SURVIVE_SECTORS,
    SURVIVAL_COUNT
};

struct content {
    unsigned char *bytes;
    size_t size, room;
};

struct inode {
    uint8_t file; /* enum tape_file */
    struct content durable;
};

struct disk {
    const struct tape *tape;
    uint32_t next_op;
    struct inode inodes[TAPE_INODES_MAX];
    int entries[FILE_COUNT]; /* durable names: inode, or 0 */
    bool dir_made, dir_durable;
    uint32_t *pending; /* ops that no sync has covered, in order */
    uint32_t pending_count, pending_room;
    struct random dice; /* decide what a failed sync has left */
};

struct image {
    bool dir;
    bool exists[FILE_COUNT];
    struct content files[FILE_COUNT];
};

/* tape->disk_seed decides what a failed sync has left. */
void disk_begin(struct disk *disk, const struct tape *tape);
void disk_end(struct disk *disk);
/* Winds to the moment before op `ops`; never back. */
void disk_wind(struct disk *disk, uint32_t ops);
/* How many writes, truncates and names a power loss now would put at risk. */
uint32_t disk_at_risk(const struct disk *disk);
/* What a power loss now leaves. The image's memory is used again; free with image_free(). */
void disk_crash(const struct disk *disk, enum survival survival, struct random *dice,
                struct image *image);
void image_free(struct image *image);
/* Writes the files to dir, which is emptied before, and made if it survived. */
void image_write(const struct image *image, const char *dir, struct random *dice);
const char *survival_name(enum survival survival);

/* Removes a data directory and what flashd keeps in it. */
void remove_data(const char *dir);

#endif
