/*
 * test_settings.c: each row of the table with good and bad values, and who wins.
 *
 * Thread: one. Every test begins with an environment that holds no setting. Secrets are written to
 * files in a fresh directory under /tmp.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "main/settings.h"

enum { ARGS_MAX = 8 };

#define KEY_32 "0123456789abcdef0123456789abcdef"

static struct settings settings;
static char error[SETTINGS_ERROR_BYTES];
static char directory[64];
static char secret_path[96];

static int forget_environment(void **state)
{
    (void)state;
    memset(&settings, 0xee, sizeof settings); /* nothing may be left as it was */
    return clearenv();
}

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/test_settings.XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    (void)snprintf(secret_path, sizeof secret_path, "%s/secret", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(secret_path);
    return rmdir(directory);
}

/* Loads with up to three arguments; NULL ends them. */
static bool load(const char *first, const char *second, const char *third)
{
    static char copies[ARGS_MAX][2048];
    const char *const given[] = {first, second, third};
    char *argv[ARGS_MAX] = {NULL};
    int argc = 0;
    for (size_t i = 0; i < 3 && given[i] != NULL; i++, argc++) {
        (void)snprintf(copies[i], sizeof copies[i], "%s", given[i]);
        argv[i] = copies[i];
    }
    return settings_load(&settings, argc, argv, error, sizeof error);
}

static void accepts(const char *flag, const char *value)
{
    if (!load(flag, value, NULL))
        fail_msg("%s %s: %s", flag, value == NULL ? "" : value, error);
    assert_string_equal(error, "");
}

/* A refusal is one line, and every part of it stands in it. */
static void refuses(const char *first, const char *second, const char *third, const char *part,
                    const char *other_part)
{
    if (load(first, second, third))
        fail_msg("%s %s %s was accepted", first == NULL ? "" : first, second == NULL ? "" : second,
                 third == NULL ? "" : third);
    assert_true(strlen(error) > 0 && strlen(error) < sizeof error - 1);
    assert_null(strchr(error, '\n'));
    if (strstr(error, part) == NULL || strstr(error, other_part) == NULL)
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error, part, other_part);
}

/* --flag VALUE is refused by a line that names flag, value and what is allowed. */
static void refuses_value(const char *flag, const char *value, const char *allowed)
{
    char quoted[256];
    (void)snprintf(quoted, sizeof quoted, "%s: \"%s\" is not allowed", flag, value);
    refuses(flag, value, NULL, quoted, allowed);
}

static void refuses_values(const char *flag, const char *const values[], const char *allowed)
{
    for (size_t i = 0; values[i] != NULL; i++)
        refuses_value(flag, values[i], allowed);
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void write_secret(const char *bytes, size_t len)
{
    FILE *file = fopen(secret_path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* ---- defaults and forms ---- */

static void without_arguments_every_setting_has_its_default(void **state)
{
    (void)state;
    accepts(NULL, NULL);
    assert_string_equal(settings.listen_host, "127.0.0.1");
    assert_int_equal(settings.listen_port, 8080);
    assert_string_equal(settings.data_dir, "./flashd-data");
    assert_int_equal(settings.jwt_secret.len, 0);
    assert_int_equal(settings.payment_secret.len, 0);
    assert_int_equal(settings.state_interval_ms, 100);
    assert_string_equal(settings.reconcile_schedule, "*/5 * * * *");
    assert_int_equal(settings.retention_days, 7);
    assert_int_equal(settings.heartbeat_ms, 30000);
    assert_int_equal(settings.stream_tick_ms, 50);
    assert_true(settings.buyer_names_shown);
    assert_string_equal(settings.log_level, "info");
    assert_false(settings.log_json);
    assert_int_equal(settings.min_free_bytes, 67108864);
    assert_int_equal(settings.max_connections, 0);
}

static void thread_counts_go_by_cores(void **state)
{
    (void)state;
    static const struct {
        uint32_t cores, net_threads, workers;
    } rows[] = {{1, 1, 1},  {2, 1, 1},   {3, 1, 1},    {4, 2, 1},     {8, 4, 2},
                {16, 8, 4}, {32, 16, 8}, {64, 16, 16}, {1024, 16, 16}};
    uint32_t net_threads, workers;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        settings_by_cores(rows[i].cores, &net_threads, &workers);
        assert_int_equal(net_threads, rows[i].net_threads);
        assert_int_equal(workers, rows[i].workers);
    }
    settings_by_cores((uint32_t)sysconf(_SC_NPROCESSORS_ONLN), &net_threads, &workers);
    accepts(NULL, NULL);
    assert_int_equal(settings.net_threads, net_threads);
    assert_int_equal(settings.workers, workers);
    accepts("--workers", "by cores");
    assert_int_equal(settings.workers, workers);
}

static void a_value_follows_its_flag_or_an_equals_sign(void **state)
{
    (void)state;
    accepts("--retention-days", "3");
    assert_int_equal(settings.retention_days, 3);
    accepts("--retention-days=4", NULL);
    assert_int_equal(settings.retention_days, 4);
    accepts("--data=a=b", NULL);
    assert_string_equal(settings.data_dir, "a=b");
    accepts("--data=--odd", NULL);
    assert_string_equal(settings.data_dir, "--odd");
    assert_true(load("--retention-days=5", "--workers", "2"));
    assert_int_equal(settings.retention_days, 5);
    assert_int_equal(settings.workers, 2);
}

static void unknown_flags_are_refused(void **state)
{
    (void)state;
    static const char *const unknown[] = {"--no-such-flag", "--listenx", "--liste",
                                          "--Listen",       "--",        "--help"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        refuses(unknown[i], "1", NULL, unknown[i], "unknown flag");
    refuses("--=1", NULL, NULL, "--", "unknown flag");
}

static void a_secret_on_the_command_line_is_an_unknown_flag_and_not_repeated(void **state)
{
    (void)state;
    refuses("--jwt-secret", KEY_32, NULL, "\"--jwt-secret\"", "unknown flag");
    refuses("--jwt-secret=" KEY_32, NULL, NULL, "\"--jwt-secret\"", "unknown flag");
    assert_null(strstr(error, KEY_32));
    refuses("--payment-secret=" KEY_32, NULL, NULL, "\"--payment-secret\"", "unknown flag");
    assert_null(strstr(error, KEY_32));
}

static void missing_values_are_refused(void **state)
{
    (void)state;
    refuses("--listen", NULL, NULL, "--listen: lacks its value", "HOST:PORT");
    refuses("--data", "--workers", "1", "--data: lacks its value", "a path");
    refuses("--data=", NULL, NULL, "--data: \"\" is not allowed", "a path");
    refuses("--workers", "", NULL, "--workers: \"\" is not allowed", "1 to 16");
}

static void repeated_flags_are_refused(void **state)
{
    (void)state;
    refuses("--workers=1", "--workers=1", NULL, "--workers: given twice", "once, with 1 to 16");
    refuses("--workers=1", "--workers", "2", "--workers: given twice", "once, with 1 to 16");
}

static void other_arguments_are_refused(void **state)
{
    (void)state;
    refuses("8080", NULL, NULL, "\"8080\"", "unexpected argument");
    refuses("--workers", "1", "x", "\"x\"", "unexpected argument");
    refuses("-v", NULL, NULL, "\"-v\"", "unexpected argument");
    refuses("", NULL, NULL, "\"\"", "unexpected argument");
}

/* ---- rows ---- */

static void listen_takes_an_address_and_a_port(void **state)
{
    (void)state;
    static const struct {
        const char *given, *host;
        uint16_t port;
    } rows[] = {
        {"0.0.0.0:80", "0.0.0.0", 80},        {"127.0.0.1:0", "127.0.0.1", 0},
        {"localhost:9", "127.0.0.1", 9},      {"[::1]:8080", "::1", 8080},
        {"[::]:65535", "::", 65535},          {"[fe80::1:2]:1", "fe80::1:2", 1},
        {"10.1.2.3:08080", "10.1.2.3", 8080},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        accepts("--listen", rows[i].given);
        assert_string_equal(settings.listen_host, rows[i].host);
        assert_int_equal(settings.listen_port, rows[i].port);
    }
    static const char *const bad[] = {
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:http",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        "1.2.3:80",
        "256.0.0.1:80",
        "::1:8080",
        "[::1]",
        "[::1]8080",
        "[::1:8080",
        "[127.0.0.1]:1",
        "[localhost]:80",
        "example.org:80",
        "*:80",
        "[]:80",
        "LOCALHOST:80",
        "[::1%lo]:80",
        ":",
        "http://127.0.0.1:80",
        "127.0.0.1:18446744073709551617",
        NULL,
    };
    refuses_values("--listen", bad, "allowed: HOST:PORT, where HOST is");
    refuses_value("--listen", "8080", "(it lacks HOST: or :PORT)");
    refuses_value("--listen", "example.org:80", "(HOST is not an address)");
    refuses_value("--listen", "127.0.0.1:x", "(PORT is not a port number)");
}

static void data_takes_a_path_of_up_to_511_bytes(void **state)
{
    (void)state;
    char path[513];
    memset(path, 'd', sizeof path);
    path[511] = '\0';
    accepts("--data", path);
    assert_string_equal(settings.data_dir, path);
    path[511] = 'd';
    path[512] = '\0';
    refuses("--data", path, NULL, "--data: \"ddd",
            "ddd...\" is not allowed; allowed: a path of 1 to 511 bytes");
}

static void whole_numbers_are_held_to_their_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *flag, *least, *most, *too_small, *too_big, *allowed;
    } rows[] = {
        {"--net-threads", "1", "16", "0", "17", "1 to 16, or \"by cores\""},
        {"--workers", "1", "16", "0", "17", "1 to 16, or \"by cores\""},
        {"--state-interval-ms", "1", "60000", "0", "60001", "1 to 60000"},
        {"--retention-days", "0", "36500", "-1", "36501", "0 to 36500"},
        {"--heartbeat-ms", "10", "3600000", "9", "3600001", "10 to 3600000"},
        {"--stream-tick-ms", "0", "60000", "-1", "60001", "0 to 60000"},
        {"--min-free-bytes", "0", "1125899906842624", "-1", "1125899906842625",
         "0 to 1125899906842624"},
        {"--max-connections", "0", "1000000", "-1", "1000001", "0 to 1000000"},
        {"--max-streams", "1", "1000000", "0", "1000001", "1 to 1000000"},
        {"--max-streams-per-address", "1", "1000000", "0", "1000001", "1 to 1000000"},
        {"--idempotency-keys", "1", "8388608", "0", "8388609", "1 to 8388608"},
    };
    static const char *const never[] = {"x",
                                        "1x",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "-0",
                                        "0x1",
                                        "1.0",
                                        "1e1",
                                        "",
                                        "4294967297",
                                        "18446744073709551617",
                                        "99999999999999999999999",
                                        NULL};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char allowed[64];
        (void)snprintf(allowed, sizeof allowed, "; allowed: %s", rows[i].allowed);
        accepts(rows[i].flag, rows[i].least);
        accepts(rows[i].flag, rows[i].most);
        refuses_value(rows[i].flag, rows[i].too_small, allowed);
        refuses_value(rows[i].flag, rows[i].too_big, allowed);
        for (size_t j = 0; never[j] != NULL; j++) {
            bool fits = strcmp(rows[i].flag, "--min-free-bytes") == 0 && strlen(never[j]) == 10;
            if (!fits)
                refuses_value(rows[i].flag, never[j], allowed);
        }
    }
}

static void whole_numbers_reach_their_fields(void **state)
{
    (void)state;
    accepts("--net-threads", "3");
    assert_int_equal(settings.net_threads, 3);
    accepts("--workers", "5");
    assert_int_equal(settings.workers, 5);
    accepts("--state-interval-ms", "250");
    assert_int_equal(settings.state_interval_ms, 250);
    accepts("--retention-days", "0");
    assert_int_equal(settings.retention_days, 0);
    accepts("--heartbeat-ms", "1000");
    assert_int_equal(settings.heartbeat_ms, 1000);
    accepts("--stream-tick-ms", "0");
    assert_int_equal(settings.stream_tick_ms, 0);
    accepts("--min-free-bytes", "1099511627776");
    assert_true(settings.min_free_bytes == UINT64_C(1099511627776));
    accepts("--max-connections", "10000");
    assert_int_equal(settings.max_connections, 10000);
}

static void reconcile_schedule_takes_five_cron_fields(void **state)
{
    (void)state;
    accepts("--reconcile-schedule", "0,30 8-18/2 * 1-6 7");
    assert_string_equal(settings.reconcile_schedule, "0,30 8-18/2 * 1-6 7");
    refuses_value("--reconcile-schedule", "60 * * * *", "(minute must be 0-59)");
    refuses_value("--reconcile-schedule", "* * * *", "(fewer than five fields)");
    refuses_value("--reconcile-schedule", "* * * * * *", "(more than five fields)");
    refuses_value("--reconcile-schedule", "@hourly", "allowed: five cron fields");
    char longest[130];
    (void)snprintf(longest, sizeof longest, "%-127s", "* * * * *");
    accepts("--reconcile-schedule", longest);
    (void)snprintf(longest, sizeof longest, "%-128s", "* * * * *");
    refuses_value("--reconcile-schedule", longest, "at most 127 bytes");
}

static void words_are_taken_from_their_list_only(void **state)
{
    (void)state;
    accepts("--buyer-names", "hidden");
    assert_false(settings.buyer_names_shown);
    accepts("--buyer-names", "shown");
    assert_true(settings.buyer_names_shown);
    accepts("--log-format", "json");
    assert_true(settings.log_json);
    accepts("--log-format", "text");
    assert_false(settings.log_json);
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        accepts("--log-level", levels[i]);
        assert_string_equal(settings.log_level, levels[i]);
    }
    static const char *const bad[] = {"",  "INFO",  "inf",    "infos", "debug/info",
                                      "/", " info", "shown,", NULL};
    refuses_values("--log-level", bad, "; allowed: debug, info, warn, error");
    refuses_values("--log-format", bad, "; allowed: json, text");
    refuses_values("--buyer-names", bad, "; allowed: shown, hidden");
}

/* ---- secrets ---- */

static void expect_secret(const struct token_key *key, const char *bytes, size_t len)
{
    assert_int_equal(key->len, len);
    assert_memory_equal(key->bytes, bytes, len);
}

static void a_secret_file_is_read_whole_without_its_last_newline(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        size_t content_len, key_len;
    } rows[] = {
        {KEY_32, 32, 32},        {KEY_32 "\n", 33, 32}, {KEY_32 "\r\n", 34, 32},
        {KEY_32 "\n\n", 34, 33}, {KEY_32 "\r", 33, 33}, {KEY_32 "\0\n", 34, 33},
        {KEY_32 " \n", 34, 33},  {"\n" KEY_32, 33, 33}, {KEY_32 "\n\r\n", 35, 33},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_secret(rows[i].content, rows[i].content_len);
        accepts("--jwt-secret-file", secret_path);
        expect_secret(&settings.jwt_secret, rows[i].content, rows[i].key_len);
        accepts("--payment-secret-file", secret_path);
        expect_secret(&settings.payment_secret, rows[i].content, rows[i].key_len);
    }
}

static void a_jwt_secret_has_32_to_1024_bytes(void **state)
{
    (void)state;
    char bytes[2000];
    memset(bytes, 'k', sizeof bytes);
    bytes[1024] = '\r';
    bytes[1025] = '\n';
    write_secret(bytes, 1026);
    accepts("--jwt-secret-file", secret_path);
    expect_secret(&settings.jwt_secret, bytes, 1024);
    bytes[1024] = 'k';
    write_secret(bytes, 1025);
    refuses_value("--jwt-secret-file", secret_path, "(the secret has at least 1025 bytes)");
    write_secret(bytes, sizeof bytes);
    refuses_value("--jwt-secret-file", secret_path, "32 to 1024 bytes");
    write_secret(bytes, 31);
    refuses_value("--jwt-secret-file", secret_path, "(the secret has 31 bytes)");
    write_secret(KEY_32 "\n", 32 - 1);
    refuses_value("--jwt-secret-file", secret_path, "32 to 1024 bytes");
    write_secret("", 0);
    refuses_value("--jwt-secret-file", secret_path, "(the secret has 0 bytes)");
}

static void a_payment_secret_has_1_to_1024_bytes(void **state)
{
    (void)state;
    write_secret("s", 1);
    accepts("--payment-secret-file", secret_path);
    expect_secret(&settings.payment_secret, "s", 1);
    write_secret("\r\n", 2);
    refuses_value("--payment-secret-file", secret_path, "1 to 1024 bytes");
    set("FLASHD_PAYMENT_SECRET", "p");
    accepts(NULL, NULL);
    expect_secret(&settings.payment_secret, "p", 1);
}

static void a_secret_file_that_cannot_be_read_is_refused(void **state)
{
    (void)state;
    refuses_value("--jwt-secret-file", "/no/such/file",
                  "(cannot read it: No such file or directory)");
    refuses_value("--jwt-secret-file", directory, "(cannot read it: Is a directory)");
    refuses_value("--payment-secret-file", "/no/such/file", "allowed: a file with a secret");
}

static void a_secret_in_the_environment_is_taken_as_it_stands_and_never_shown(void **state)
{
    (void)state;
    set("FLASHD_JWT_SECRET", KEY_32 "\n");
    accepts(NULL, NULL);
    expect_secret(&settings.jwt_secret, KEY_32 "\n", 33);
    set("FLASHD_JWT_SECRET", "hunter2");
    refuses(NULL, NULL, NULL,
            "FLASHD_JWT_SECRET: its value (not shown) is not allowed (the secret has 7 bytes)",
            "; allowed: a secret of 32 to 1024 bytes");
    assert_null(strstr(error, "hunter2"));
    assert_int_equal(settings.jwt_secret.len, 0);
}

static void after_a_failure_no_secret_is_left_in_memory(void **state)
{
    (void)state;
    static const struct settings zero;
    set("FLASHD_JWT_SECRET", KEY_32);
    refuses("--log-level", "loud", NULL, "--log-level", "loud");
    assert_memory_equal(&settings, &zero, sizeof zero);
}

static void a_secret_file_wins_over_a_secret_in_the_environment(void **state)
{
    (void)state;
    write_secret("file" KEY_32, 36);
    set("FLASHD_JWT_SECRET", "variable" KEY_32);
    set("FLASHD_JWT_SECRET_FILE", secret_path);
    accepts(NULL, NULL);
    expect_secret(&settings.jwt_secret, "file" KEY_32, 36);
    set("FLASHD_JWT_SECRET_FILE", "/no/such/file");
    refuses(NULL, NULL, NULL, "FLASHD_JWT_SECRET_FILE: \"/no/such/file\"", "cannot read it");
    accepts("--jwt-secret-file", secret_path);
    expect_secret(&settings.jwt_secret, "file" KEY_32, 36);
}

/* ---- environment ---- */

static void every_flag_is_also_a_variable(void **state)
{
    (void)state;
    write_secret(KEY_32, 32);
    set("FLASHD_LISTEN", "[::1]:1");
    set("FLASHD_DATA", "/var/d");
    set("FLASHD_NET_THREADS", "2");
    set("FLASHD_WORKERS", "3");
    set("FLASHD_JWT_SECRET_FILE", secret_path);
    set("FLASHD_PAYMENT_SECRET_FILE", secret_path);
    set("FLASHD_STATE_INTERVAL_MS", "4");
    set("FLASHD_RECONCILE_SCHEDULE", "1 2 3 4 5");
    set("FLASHD_RETENTION_DAYS", "6");
    set("FLASHD_HEARTBEAT_MS", "70");
    set("FLASHD_STREAM_TICK_MS", "8");
    set("FLASHD_BUYER_NAMES", "hidden");
    set("FLASHD_LOG_LEVEL", "warn");
    set("FLASHD_LOG_FORMAT", "json");
    set("FLASHD_MIN_FREE_BYTES", "9");
    set("FLASHD_MAX_CONNECTIONS", "10");
    accepts(NULL, NULL);
    assert_string_equal(settings.listen_host, "::1");
    assert_int_equal(settings.listen_port, 1);
    assert_string_equal(settings.data_dir, "/var/d");
    assert_int_equal(settings.net_threads, 2);
    assert_int_equal(settings.workers, 3);
    assert_int_equal(settings.jwt_secret.len, 32);
    assert_int_equal(settings.payment_secret.len, 32);
    assert_int_equal(settings.state_interval_ms, 4);
    assert_string_equal(settings.reconcile_schedule, "1 2 3 4 5");
    assert_int_equal(settings.retention_days, 6);
    assert_int_equal(settings.heartbeat_ms, 70);
    assert_int_equal(settings.stream_tick_ms, 8);
    assert_false(settings.buyer_names_shown);
    assert_string_equal(settings.log_level, "warn");
    assert_true(settings.log_json);
    assert_int_equal(settings.min_free_bytes, 9);
    assert_int_equal(settings.max_connections, 10);
}

/* Each row with a second name: default, then extra name, then FLASHD_ name, then flag. */
static void a_flag_wins_over_its_variable_and_that_over_the_extra_name(void **state)
{
    (void)state;
    set("CRON_STATE_INTERVAL_MS", "11");
    set("CRON_RECONCILIATION_SCHEDULE", "1 1 1 1 1");
    set("LOG_LEVEL", "debug");
    accepts(NULL, NULL);
    assert_int_equal(settings.state_interval_ms, 11);
    assert_string_equal(settings.reconcile_schedule, "1 1 1 1 1");
    assert_string_equal(settings.log_level, "debug");
    set("FLASHD_STATE_INTERVAL_MS", "22");
    set("FLASHD_RECONCILE_SCHEDULE", "2 2 2 2 2");
    set("FLASHD_LOG_LEVEL", "warn");
    accepts(NULL, NULL);
    assert_int_equal(settings.state_interval_ms, 22);
    assert_string_equal(settings.reconcile_schedule, "2 2 2 2 2");
    assert_string_equal(settings.log_level, "warn");
    assert_true(
        load("--state-interval-ms=33", "--reconcile-schedule=3 3 3 3 3", "--log-level=error"));
    assert_int_equal(settings.state_interval_ms, 33);
    assert_string_equal(settings.reconcile_schedule, "3 3 3 3 3");
    assert_string_equal(settings.log_level, "error");
}

static void only_the_winner_is_looked_at(void **state)
{
    (void)state;
    set("LOG_LEVEL", "verbose");
    refuses(NULL, NULL, NULL, "LOG_LEVEL: \"verbose\" is not allowed", "debug, info, warn, error");
    accepts("--log-level", "info");
    set("FLASHD_LOG_LEVEL", "error");
    accepts(NULL, NULL);
    assert_string_equal(settings.log_level, "error");
}

static void an_error_names_the_variable_as_it_was_given(void **state)
{
    (void)state;
    set("CRON_STATE_INTERVAL_MS", "0");
    refuses(NULL, NULL, NULL, "CRON_STATE_INTERVAL_MS: \"0\" is not allowed", "1 to 60000");
    set("FLASHD_STATE_INTERVAL_MS", "soon");
    refuses(NULL, NULL, NULL, "FLASHD_STATE_INTERVAL_MS: \"soon\" is not allowed", "1 to 60000");
    refuses("--state-interval-ms", "never", NULL, "--state-interval-ms: \"never\"", "1 to 60000");
}

static void an_empty_variable_counts_as_unset(void **state)
{
    (void)state;
    set("FLASHD_LISTEN", "");
    set("FLASHD_NO_SUCH_THING", "");
    set("FLASHD_LOG_LEVEL", "");
    set("LOG_LEVEL", "warn");
    accepts(NULL, NULL);
    assert_int_equal(settings.listen_port, 8080);
    assert_string_equal(settings.log_level, "warn");
}

static void an_empty_secret_is_refused_and_not_taken_for_none(void **state)
{
    (void)state;
    set("FLASHD_PAYMENT_SECRET", "");
    refuses(NULL, NULL, NULL, "FLASHD_PAYMENT_SECRET: its value (not shown) is not allowed",
            "0 bytes");
    unsetenv("FLASHD_PAYMENT_SECRET");
    set("FLASHD_JWT_SECRET", "");
    refuses(NULL, NULL, NULL, "FLASHD_JWT_SECRET: its value (not shown) is not allowed", "0 bytes");
}

static void unknown_flashd_variables_are_refused_by_name_only(void **state)
{
    (void)state;
    static const char *const unknown[] = {
        "FLASHD_LISTEN_",
        "FLASHD_",
        "FLASHD_WORKER",
        "FLASHD_JWT_SECRETS",
        "FLASHD_listen",
        "FLASHD_TEST",
        "FLASHD_FAULTS",
        "FLASHD_TOKENS",
        "FLASHD_LISTEN-ON",
        "FLASHD_A_NAME_LONGER_THAN_ANY_FLAG_COULD_EVER_BE_AND_THEN_SOME_MORE_OF_IT_STILL"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        set(unknown[i], "hunter2");
        refuses(NULL, NULL, NULL, unknown[i], "unknown environment variable");
        assert_null(strstr(error, "hunter2"));
        assert_int_equal(unsetenv(unknown[i]), 0);
    }
}

static void variables_of_the_tests_and_of_others_pass(void **state)
{
    (void)state;
    set("FLASHD_TOKEN", "a.b.c");
    set("FLASHD_FAULT", "commit:3");
    set("FLASHD_TEST_ANYTHING", "1");
    set("FLASHD_TEST_OF_A_NAME_LONGER_THAN_ANY_FLAG_COULD_EVER_BE_AND_THEN_SOME", "1");
    set("FLASHDX", "1");
    set("XFLASHD_LISTEN", "1");
    set("flashd_listen", "1");
    accepts(NULL, NULL);
}

/* ---- error lines and printing ---- */

static void an_odd_value_stays_on_one_line_and_is_cut(void **state)
{
    (void)state;
    char value[1024];
    refuses("--workers", "a\nb\x1b[31m", NULL, "--workers: \"a?b?[31m\"", "1 to 16");
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    refuses("--log-level", value, NULL, "vvv...\" is not allowed", "debug");
    assert_true(strlen(error) < 400);
    refuses(value, NULL, NULL, "vvv...\"", "unexpected argument");
}

static void an_error_fits_the_smallest_buffer(void **state)
{
    (void)state;
    char small[8], flag[] = "--no-such-flag", *argv[] = {flag};
    assert_false(settings_load(&settings, 1, argv, small, sizeof small));
    assert_int_equal(strlen(small), sizeof small - 1);
}

static char *printed(bool help)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    if (help)
        settings_print_help(out);
    else
        settings_print(&settings, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void help_has_a_line_for_each_flag(void **state)
{
    (void)state;
    static const char *const flags[] = {
        "--listen ",
        "--data ",
        "--net-threads ",
        "--workers ",
        "--jwt-secret-file ",
        "--payment-secret-file ",
        "--state-interval-ms ",
        "--reconcile-schedule ",
        "--retention-days ",
        "--heartbeat-ms ",
        "--stream-tick-ms ",
        "--buyer-names ",
        "--log-level ",
        "--log-format ",
        "--min-free-bytes ",
        "--max-connections ",
        "--max-streams ",
        "--max-streams-per-address ",
        "--idempotency-keys ",
    };
    char *text = printed(true);
    size_t lines = 0;
    for (const char *at = text; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, sizeof flags / sizeof flags[0]);
    for (size_t i = 0; i < lines; i++)
        assert_non_null(strstr(text, flags[i]));
    assert_non_null(strstr(text, "CRON_STATE_INTERVAL_MS"));
    assert_non_null(strstr(text, "default: */5 * * * *"));
    assert_non_null(strstr(text, "default: none; also FLASHD_JWT_SECRET)"));
    free(text);
}

/* The line of a setting, white space between words squeezed to one blank. */
static void expect_printed(const char *setting, const char *expected)
{
    char *text = printed(false), squeezed[256];
    size_t len = 0;
    const size_t setting_len = strlen(setting);
    const char *line = text;
    while (strncmp(line, setting, setting_len) != 0 || line[setting_len] != ' ') {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    for (; *line != '\n' && len < sizeof squeezed - 1; line++) {
        if (line[0] != ' ' || line[1] != ' ')
            squeezed[len++] = *line;
    }
    squeezed[len] = '\0';
    free(text);
    assert_string_equal(squeezed, expected);
}

static void config_shows_values_and_where_they_came_from_but_no_secret(void **state)
{
    (void)state;
    set("LOG_LEVEL", "warn");
    set("FLASHD_LISTEN", "[::1]:80");
    set("FLASHD_JWT_SECRET", KEY_32);
    assert_true(load("--workers", "3", "--buyer-names=hidden"));
    expect_printed("listen", "listen [::1]:80 (FLASHD_LISTEN)");
    expect_printed("workers", "workers 3 (flag)");
    expect_printed("log-level", "log-level warn (LOG_LEVEL)");
    expect_printed("log-format", "log-format text (default)");
    expect_printed("buyer-names", "buyer-names hidden (flag)");
    expect_printed("retention-days", "retention-days 7 (default)");
    expect_printed("min-free-bytes", "min-free-bytes 67108864 (default)");
    expect_printed("reconcile-schedule", "reconcile-schedule */5 * * * * (default)");
    expect_printed("jwt-secret-file", "jwt-secret-file set (FLASHD_JWT_SECRET)");
    expect_printed("payment-secret-file", "payment-secret-file not set (default)");
    char *text = printed(false);
    assert_null(strstr(text, KEY_32));
    free(text);
}

#define FRESH(test) cmocka_unit_test_setup(test, forget_environment)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(without_arguments_every_setting_has_its_default),
        FRESH(thread_counts_go_by_cores),
        FRESH(a_value_follows_its_flag_or_an_equals_sign),
        FRESH(unknown_flags_are_refused),
        FRESH(a_secret_on_the_command_line_is_an_unknown_flag_and_not_repeated),
        FRESH(missing_values_are_refused),
        FRESH(repeated_flags_are_refused),
        FRESH(other_arguments_are_refused),
        FRESH(listen_takes_an_address_and_a_port),
        FRESH(data_takes_a_path_of_up_to_511_bytes),
        FRESH(whole_numbers_are_held_to_their_ranges),
        FRESH(whole_numbers_reach_their_fields),
        FRESH(reconcile_schedule_takes_five_cron_fields),
        FRESH(words_are_taken_from_their_list_only),
        FRESH(a_secret_file_is_read_whole_without_its_last_newline),
        FRESH(a_jwt_secret_has_32_to_1024_bytes),
        FRESH(a_payment_secret_has_1_to_1024_bytes),
        FRESH(a_secret_file_that_cannot_be_read_is_refused),
        FRESH(a_secret_in_the_environment_is_taken_as_it_stands_and_never_shown),
        FRESH(after_a_failure_no_secret_is_left_in_memory),
        FRESH(a_secret_file_wins_over_a_secret_in_the_environment),
        FRESH(every_flag_is_also_a_variable),
        FRESH(a_flag_wins_over_its_variable_and_that_over_the_extra_name),
        FRESH(only_the_winner_is_looked_at),
        FRESH(an_error_names_the_variable_as_it_was_given),
        FRESH(an_empty_variable_counts_as_unset),
        FRESH(an_empty_secret_is_refused_and_not_taken_for_none),
        FRESH(unknown_flashd_variables_are_refused_by_name_only),
        FRESH(variables_of_the_tests_and_of_others_pass),
        FRESH(an_odd_value_stays_on_one_line_and_is_cut),
        FRESH(an_error_fits_the_smallest_buffer),
        FRESH(help_has_a_line_for_each_flag),
        FRESH(config_shows_values_and_where_they_came_from_but_no_secret),
    };
    return cmocka_run_group_tests_name("settings", tests, make_directory, remove_directory);
}
