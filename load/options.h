/*
 * options.h: what flashload is asked to do, read by a table of options and completed by a scenario.
 *
 * Thread: main, before any other. In: argv and the environment (FLASHD_TOKEN). Out: a checked, complete
 * struct options. Fails: one line that names the option, the value and what is allowed.
 */
#ifndef FLASHLOAD_OPTIONS_H
#define FLASHLOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    ASSERTS_MAX = 32,
    BUYERS_MAX = 50000000,
    SALES_MAX = 65536,
};

struct scenario {
    const char *name;
    uint32_t buyers, stock, connections, spectators, watchers;
};

struct options {
    /* where */
    const char *url; /* NULL: start a server of our own */
    const char *token, *token_file;
    const char *sale_id; /* NULL: make sales */
    uint32_t server_pid; /* 0: not known */
    /* who */
    const struct scenario *scenario; /* never NULL */
    uint32_t buyers, sales, connections, spectators, watchers;
    uint32_t stock; /* units, shared evenly by the sales */
    /* how they behave */
    double pay_share, twice_share; /* 0..1 */
    uint32_t looks, think_ms, look_ms, hold_ms;
    /* when they come */
    double rate;                       /* a second; 0: closed loop */
    double ramp_from, ramp_to, ramp_s; /* ramp_s 0: none */
    double duration_s;                 /* arrivals end after it; 0: when all have come */
    uint64_t seed;
    bool seed_given;
    uint32_t answer_timeout_ms;
    /* what comes out */
    const char *asserts[ASSERTS_MAX];
    uint32_t assert_count;
    const char *html_path, *curves_path;
    bool json, help, version;
};

/* False with a line in error. */
bool options_load(struct options *options, int argc, char **argv, char *error);
void options_print_help(FILE *out);

static inline bool options_open_loop(const struct options *options)
{
    return options->rate > 0 || options->ramp_s > 0;
}

#endif
