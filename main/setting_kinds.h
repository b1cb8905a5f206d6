/*
 * setting_kinds.h: what a row of the table of settings is, and the kinds of values that it may have.
 *
 * A kind turns a text into the field of struct settings, shows the field, and says in words what is
 * allowed. It knows no flags, no environment and no other setting; settings.c does. A new kind is
 * needed only for a new sort of value.
 *
 * Thread: main, before any other thread starts. No state.
 * Fails:  parse() returns false; what "not allowed" would not say stands in the candidate's why.
 * Memory: everything is borrowed for the call; a field is of the type named beside its kind below.
 */
#ifndef FLASHD_MAIN_SETTING_KINDS_H
#define FLASHD_MAIN_SETTING_KINDS_H

#include "main/settings.h"

enum { WHY_BYTES = 160 }; /* what is wrong with a value, when "not allowed" does not say it */

/* The default of kind_threads. */
#define BY_CORES "by cores"

struct row;

/* A text on its way into a field. why is empty, or says what is wrong with it. */
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
    const char *choices; /* "a/b/c"; the first is what a true flag means */
    const char *help;
    size_t offset; /* of the field in struct settings */
};

extern const struct kind kind_u32, kind_u64; /* uint32_t, uint64_t: whole numbers */
extern const struct kind kind_threads;       /* uint32_t: a number, or BY_CORES, which is 0 */
extern const struct kind kind_path;          /* char[]: text of a bounded length */
extern const struct kind kind_cron;          /* char[]: five fields, see engine/cron.h */
extern const struct kind kind_choice;        /* char[]: one of the row's words */
extern const struct kind kind_switch;        /* bool: whether it is the first of two words */
extern const struct kind kind_listen;        /* struct settings: its listen_host and listen_port */
extern const struct kind kind_secret; /* struct token_key: in a file; as it stands in extra_env */

#endif
