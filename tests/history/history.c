/*
 * history.c: past.h as a program.
 *
 *   history DIR EVENTS FROM_DAYS TO_DAYS [SEED]
 *
 * Makes a data directory with at least EVENTS events, evenly between FROM_DAYS and TO_DAYS before now, and
 * prints how many. For end-to-end tests, and for measuring: a million events take some seconds.
 *
 * Thread: main. Fails: by ending the process with a line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/history/past.h"

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: history DIR EVENTS FROM_DAYS TO_DAYS [SEED]\n");
        return 2;
    }
    uint64_t events = strtoull(argv[2], NULL, 10),
             seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 1;
    struct past *past =
        past_open(argv[1], events, strtod(argv[3], NULL), strtod(argv[4], NULL), seed);
    past_make(past, events);
    past_publish(past);
    printf("%" PRIu64 "\n", past_events(past));
    past_close(past);
    return EXIT_SUCCESS;
}
