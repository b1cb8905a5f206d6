/*
 * data_dir.h: removes a data directory that a test or a benchmark has made.
 *
 * Thread: any, once the store is closed. Missing files are passed over; files that are not flashd's
 * stay, and so does the directory.
 */
#ifndef FLASHD_TESTS_SUPPORT_DATA_DIR_H
#define FLASHD_TESTS_SUPPORT_DATA_DIR_H

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

static inline void data_dir_remove(const char *dir)
{
    static const char *const files[] = {"flashd.db", "flashd.db-wal", "flashd.db-shm"};
    char path[256];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

#endif
