/*
 * number.h: a number among a test's or benchmark's arguments. One that is malformed or too small ends the program
 * with its usage and status 2: a check of nothing proves nothing.
 *
 * Thread: main, at the start.
 */
#ifndef FLASHD_TESTS_SUPPORT_NUMBER_H
#define FLASHD_TESTS_SUPPORT_NUMBER_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* text: NULL if the argument is left out. */
static inline uint64_t number_of(const char *text, uint64_t otherwise, uint64_t least,
                                 const char *usage)
{
    if (text == NULL)
        return otherwise;
    errno = 0;
    uint64_t number = strtoull(text, NULL, 10);
    bool digits = *text != '\0' && strspn(text, "0123456789") == strlen(text);
    if (digits && errno == 0 && number >= least && number <= UINT32_MAX)
        return number;
    fprintf(stderr, "usage: %s\n", usage);
    exit(2);
}

#endif
