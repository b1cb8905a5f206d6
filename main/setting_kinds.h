/*
 * setting_kinds.h: the rows of the table of settings, and the kinds of values that they may have.
 *
 * A kind turns a text into the field of struct settings, shows the field, and says in words what is
 * allowed. It knows no flags, no environment and no other setting; settings.c does. A new kind is
 * needed only for a new sort of value.
 *
 * Thread: main, before any other thread starts. No state.
 * Fails:  parse() returns false; where "not allowed" says too little, the candidate's why says more.
 * Memory: everything is borrowed for the call; a field is of the type named beside its kind below.
 */
#ifndef FLASHD_MAIN_SETTING_KINDS_H
#define FLASHD_MAIN_SETTING_KINDS_H

#include "main/settings.h"

enum { WHY_BYTES = 160 }; /* of a candidate's why */

/* The default of kind_threads. */
#define BY_CORES "by cores"

struct row;

/* A text on its way into a field. why is empty, or says what is wrong with the text. */
struct candidate {
    const struct row *row;
    const char *text;
    enum setting_origin origin;
    char *why; /* WHY_BYTES */
};

struct kind {
    bool (*parse)(const struct candidate *candidate, void *field);
    void (*show)(const struct row *row, const void *field, char *out, size_t out_bytes);
    void (*allowed)(const struct row *row, char *out, size_t out_bytes);
};

struct row {
    const char *flag;         /* without the dashes; the environment name derives from it */
    const char *extra_env;    /* another variable with the same meaning, or NULL */
    const char *default_text; /* NULL: none */
    const struct kind *kind;
    uint64_t min, max;   /* of a number, or of a length in bytes */
    const char *choices; /* "a/b/c"; of a switch: the word for true, then for false */
    const char *help;
    size_t offset; /* of the field in struct settings */
};

extern const struct kind kind_u32, kind_u64; /* uint32_t, uint64_t: whole numbers */
extern const struct kind kind_threads;       /* uint32_t: a number, or BY_CORES, which is 0 */
extern const struct kind kind_path;          /* char[]: text of a bounded length */
extern const struct kind kind_cron;          /* char[]: five fields, see engine/cron.h */
extern const struct kind kind_choice;        /* char[]: one of the row's words */
extern const struct kind kind_switch;        /* bool: true for the first of two words */
extern const struct kind kind_listen;        /* struct settings: its listen_host and listen_port */
extern const struct kind kind_secret; /* struct token_key: a file's content, or extra_env's */

#endif
