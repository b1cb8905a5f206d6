/*
 * environment.c: puts the fault VFS under flashd_faults when FLASHD_TEST_VFS holds a plan (vfs.h).
 *
 * Part of the test build only; the product has neither this file nor the VFS. A malformed plan ends the process
 * with status 2, so that no test runs without its fault.
 *
 * Thread: main, before main().
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/faults/vfs.h"

__attribute__((constructor)) static void vfs_from_environment(void)
{
    const char *text = getenv("FLASHD_TEST_VFS");
    struct vfs_plan plan;
    char error[512] = "SQLite does not take the fault VFS";
    if (text == NULL || text[0] == 0)
        return;
    if (vfs_plan_parse(text, &plan, error, sizeof error) && vfs_install(&plan, NULL))
        return;
    fprintf(stderr, "flashd: %s\n", error);
    exit(2);
}
