/*
 * complain.h: how every command of flashd says that it was called wrongly.
 *
 * Thread: main.
 */
#ifndef FLASHD_MAIN_COMPLAIN_H
#define FLASHD_MAIN_COMPLAIN_H

#include <stdio.h>

enum { EXIT_USAGE = 2 };

/* One line on stderr. Returns the exit status. */
static inline int complain(const char *line)
{
    fprintf(stderr, "flashd: %s\n", line);
    return EXIT_USAGE;
}

#endif
