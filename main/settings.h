/*
 * settings.h: every setting of `flashd serve` in one table: flag, environment name, default, range, help.
 *
 * Thread: main, before any other thread starts; read-only afterwards.
 * In:     argv and the environment. A flag wins over its environment variable; FLASHD_SOME_NAME wins over
 *         the extra names (CRON_STATE_INTERVAL_MS, CRON_RECONCILIATION_SCHEDULE, LOG_LEVEL, and
 *         FLASHD_JWT_SECRET, FLASHD_PAYMENT_SECRET, which hold the secret itself). An empty variable
 *         counts as unset, except for these two. Only the winner is looked at.
 * Out:    struct settings, or one line that names the setting, the value and what is allowed. A secret is
 *         never part of that line.
 * Fails:  on the first bad or unknown flag, FLASHD_ variable or value, in this order; nothing has been
 *         created by then. FLASHD_FAULT and FLASHD_TEST_* belong to the tests, FLASHD_TOKEN to flashload and
 *         scripts; all are let through.
 *
 * A new setting is a field here and a row of the table in settings.c.
 */
#ifndef FLASHD_MAIN_SETTINGS_H
#define FLASHD_MAIN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "net/token.h"

enum {
    SETTINGS_ROWS_MAX = 32,
    SETTINGS_ERROR_BYTES = 1024, /* enough for any error line */
};

/* Where a setting's value came from, in order of precedence. */
enum setting_origin { ORIGIN_DEFAULT, ORIGIN_EXTRA_ENV, ORIGIN_ENV, ORIGIN_FLAG };

struct settings {
    char
        listen_host[64]; /* numeric IPv4 or IPv6, without brackets; "localhost" becomes 127.0.0.1 */
    uint16_t listen_port; /* 0: any free one */
    char data_dir[512];
    uint32_t net_threads;            /* 1..16; the default "by cores" is resolved here */
    uint32_t workers;                /* 1..16; likewise */
    struct token_key jwt_secret;     /* len 0: none; else TOKEN_KEY_BYTES_MIN..MAX */
    struct token_key payment_secret; /* len 0: none; else 1..TOKEN_KEY_BYTES_MAX */
    uint32_t state_interval_ms;      /* 1..60000 */
    char reconcile_schedule[128];    /* cron_parse() has accepted it */
    uint32_t retention_days;         /* 0..36500 */
    uint32_t heartbeat_ms;           /* 10..3600000 */
    uint32_t stream_tick_ms;         /* 0..60000 */
    bool buyer_names_shown;
    char log_level[8]; /* debug info warn error */
    bool log_json;
    uint64_t min_free_bytes; /* --min-free-bytes, default 67108864: below it no new orders */
    uint32_t
        max_connections;  /* --max-connections, 1..1000000, default 0: by the descriptor limit */
    uint32_t max_streams; /* --max-streams, 1..1000000 */
    uint32_t max_streams_per_address;   /* --max-streams-per-address, 1..1000000 */
    uint32_t idempotency_keys;          /* --idempotency-keys, 1..KEYS_MAX */
    uint8_t origins[SETTINGS_ROWS_MAX]; /* enum setting_origin by table row, for settings_print() */
};

/* Fills settings from the arguments that follow the subcommand (argv[0] is the first flag, not the
 * program) and from the environment. On failure writes one line, without a newline, to error and
 * returns false; settings then holds no secret. */
bool settings_load(struct settings *settings, int argc, char **argv, char *error,
                   size_t error_bytes);
/* One line per setting: flag, help, allowed, default. */
void settings_print_help(FILE *out);
/* `flashd config`: every setting with its effective value and where it came from (flag, environment
 * name, default); secrets only as "set" or "not set". */
void settings_print(const struct settings *settings, FILE *out);

/* What "by cores" means on a machine with this many cores. */
void settings_by_cores(uint32_t cores, uint32_t *net_threads, uint32_t *workers);

#endif
