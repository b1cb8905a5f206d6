/*
 * fuzz.h: what the fuzz targets share: one target a file, run by tests/fuzz/fuzz.py.
 *
 *   request.c  bytes on a connection: parser, router, handlers, engine
 *   json.c     bodies, by both of the parsers that read them
 *   tokens.c   tokens and signatures
 *   query.c    Last-Event-ID, query strings, user ids in paths
 *   cron.c     the cron field
 *
 * A target does more than wait for a crash: it says what must hold for every input, and HOLDS() ends
 * the run with that sentence when it does not. A target is a function of its input: its random
 * choices come from the input's hash, so that an input that failed fails again.
 *
 * Thread: libFuzzer's one.
 */
#ifndef FLASHD_TESTS_FUZZ_FUZZ_H
#define FLASHD_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/http.h"
#include "tests/support/model.h"
#include "tests/support/random.h"

#define HOLDS(condition, sentence)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "\n%s:%d: does not hold: %s\n", __FILE__, __LINE__, sentence);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* libFuzzer's entry. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Dice seeded by the input. */
static inline struct random random_of(const uint8_t *data, size_t size)
{
    return random_from(model_hash(data, size));
}

/* The next line of *rest, without its newline; what follows stays in *rest. */
static inline struct slice take_line(struct slice *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    struct slice line = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->len};
    size_t taken = line.len + (end != NULL);
    *rest = (struct slice){rest->data + taken, rest->len - taken};
    return line;
}

#endif
