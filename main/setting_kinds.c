/*
 * setting_kinds.c: see setting_kinds.h.
 *
 * Thread: main, before any other thread starts.
 * In:     a text, and the secret file that it may name. Nothing is written or created.
 * Out:    a field of struct settings, or false.
 */
#include "main/setting_kinds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/check.h"
#include "engine/cron.h"

/* ---- kind: whole numbers ---- */

/* Digits only: no sign, no white space. False for any other text, or a number outside min to max. */
static bool read_decimal(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    if (text[0] == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (max - digit) / 10 || digit > max)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return value >= min;
}

static bool parse_u64(const struct candidate *candidate, void *field)
{
    const struct row *row = candidate->row;
    return read_decimal(candidate->text, row->min, row->max, field);
}

static void show_u64(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%" PRIu64, *(const uint64_t *)field);
}

static bool parse_u32(const struct candidate *candidate, void *field)
{
    uint64_t number;
    MUST(candidate->row->max <= UINT32_MAX, "a row's range fits its field");
    if (!parse_u64(candidate, &number))
        return false;
    *(uint32_t *)field = (uint32_t)number;
    return true;
}

static void show_u32(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%" PRIu32, *(const uint32_t *)field);
}

static void allowed_number(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%" PRIu64 " to %" PRIu64, row->min, row->max);
}

const struct kind kind_u32 = {parse_u32, show_u32, allowed_number};
const struct kind kind_u64 = {parse_u64, show_u64, allowed_number};

/* ---- kind: a number of threads, or "by cores", which is 0 until settings_load() knows the cores ---- */

static bool parse_threads(const struct candidate *candidate, void *field)
{
    if (strcmp(candidate->text, BY_CORES) != 0)
        return parse_u32(candidate, field);
    *(uint32_t *)field = 0;
    return true;
}

static void allowed_threads(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%" PRIu64 " to %" PRIu64 ", or \"%s\"", row->min, row->max,
                   BY_CORES);
}

const struct kind kind_threads = {parse_threads, show_u32, allowed_threads};

/* ---- kind: text of a bounded length ---- */

static bool parse_text(const struct candidate *candidate, void *field)
{
    size_t len = strlen(candidate->text);
    if (len < candidate->row->min || len > candidate->row->max)
        return false;
    memcpy(field, candidate->text, len + 1);
    return true;
}

static void show_text(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    (void)row;
    (void)snprintf(out, out_bytes, "%s", (const char *)field);
}

static void allowed_path(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "a path of %" PRIu64 " to %" PRIu64 " bytes", row->min,
                   row->max);
}

const struct kind kind_path = {parse_text, show_text, allowed_path};

/* ---- kind: a cron schedule ---- */

static bool parse_cron(const struct candidate *candidate, void *field)
{
    struct cron cron;
    const char *problem;
    if (!cron_parse(candidate->text, &cron, &problem)) {
        (void)snprintf(candidate->why, WHY_BYTES, "%s", problem);
        return false;
    }
    return parse_text(candidate, field);
}

static void allowed_cron(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes,
                   "five cron fields, minute hour day-of-month month day-of-week, in at most "
                   "%" PRIu64 " bytes, such as \"%s\"",
                   row->max, row->default_text);
}

const struct kind kind_cron = {parse_cron, show_text, allowed_cron};

/* ---- kind: one word of several ---- */

/* The position of text among "a/b/c", or -1. */
static int32_t choice_index(const char *choices, const char *text)
{
    size_t len = strlen(text);
    int32_t index = 0;
    for (const char *word = choices;; index++) {
        size_t word_len = strcspn(word, "/");
        if (word_len == len && memcmp(word, text, len) == 0)
            return index;
        if (word[word_len] == '\0')
            return -1;
        word += word_len + 1;
    }
}

static bool parse_choice(const struct candidate *candidate, void *field)
{
    return choice_index(candidate->row->choices, candidate->text) >= 0 &&
           parse_text(candidate, field);
}

/* Two words: the first sets the field, the second clears it. */
static bool parse_switch(const struct candidate *candidate, void *field)
{
    int32_t index = choice_index(candidate->row->choices, candidate->text);
    MUST(index <= 1, "a switch has two words");
    if (index < 0)
        return false;
    *(bool *)field = index == 0;
    return true;
}

static void show_switch(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    int first_len = (int)strcspn(row->choices, "/");
    if (*(const bool *)field)
        (void)snprintf(out, out_bytes, "%.*s", first_len, row->choices);
    else
        (void)snprintf(out, out_bytes, "%s", row->choices + first_len + 1);
}

static void allowed_choice(const struct row *row, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (const char *at = row->choices; *at != '\0' && used + 3 < out_bytes; at++) {
        if (*at == '/')
            used += (size_t)snprintf(out + used, out_bytes - used, ", ");
        else
            out[used++] = *at;
    }
    out[used] = '\0';
}

const struct kind kind_choice = {parse_choice, show_text, allowed_choice};
const struct kind kind_switch = {parse_switch, show_switch, allowed_choice};

/* ---- kind: HOST:PORT, which fills listen_host and listen_port ---- */

static bool parse_host(const char *text, size_t len, char *host, size_t host_bytes)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool bracketed = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= host_bytes)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (!bracketed && strcmp(host, "localhost") == 0)
        (void)snprintf(host, host_bytes, "127.0.0.1");
    return inet_pton(bracketed ? AF_INET6 : AF_INET, host, address) == 1;
}

static bool parse_listen(const struct candidate *candidate, void *field)
{
    struct settings *settings = field; /* the row's offset is 0: this kind fills two fields */
    const char *colon = strrchr(candidate->text, ':');
    uint64_t port;
    if (colon == NULL || strchr(colon, ']') != NULL) {
        (void)snprintf(candidate->why, WHY_BYTES, "it lacks HOST: or :PORT");
        return false;
    }
    if (!parse_host(candidate->text, (size_t)(colon - candidate->text), settings->listen_host,
                    sizeof settings->listen_host)) {
        (void)snprintf(candidate->why, WHY_BYTES, "HOST is not an address");
        return false;
    }
    if (!read_decimal(colon + 1, candidate->row->min, candidate->row->max, &port)) {
        (void)snprintf(candidate->why, WHY_BYTES, "PORT is not a port number");
        return false;
    }
    settings->listen_port = (uint16_t)port;
    return true;
}

static void show_listen(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    const struct settings *settings = field;
    bool brackets = strchr(settings->listen_host, ':') != NULL;
    (void)row;
    (void)snprintf(out, out_bytes, "%s%s%s:%" PRIu16, brackets ? "[" : "", settings->listen_host,
                   brackets ? "]" : "", settings->listen_port);
}

static void allowed_listen(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes,
                   "HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets or "
                   "localhost, and PORT is %" PRIu64 " to %" PRIu64,
                   row->min, row->max);
}

const struct kind kind_listen = {parse_listen, show_listen, allowed_listen};

/* ---- kind: a secret, in a file or (extra environment name) as it stands ---- */

/* Reads up to bytes_max bytes; returns how many, or -1 with errno. */
static ssize_t read_whole(const char *path, unsigned char *bytes, size_t bytes_max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t got;
    do {
        got = read(fd, bytes + len, bytes_max - len);
        if (got > 0)
            len += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    int error = errno;
    (void)close(fd);
    errno = error;
    return got < 0 ? -1 : (ssize_t)len;
}

static size_t without_newline(const unsigned char *bytes, size_t len)
{
    if (len > 0 && bytes[len - 1] == '\n')
        len--;
    else
        return len;
    return len > 0 && bytes[len - 1] == '\r' ? len - 1 : len;
}

static bool keep_secret(const struct candidate *candidate, const unsigned char *bytes, size_t len,
                        struct token_key *key)
{
    if (len < candidate->row->min || len > candidate->row->max) {
        (void)snprintf(candidate->why, WHY_BYTES, "the secret has %s%zu bytes",
                       len > candidate->row->max ? "at least " : "", len);
        return false;
    }
    memcpy(key->bytes, bytes, len);
    key->len = len;
    return true;
}

static bool parse_secret(const struct candidate *candidate, void *field)
{
    unsigned char
        bytes[TOKEN_KEY_BYTES_MAX + 3]; /* CR LF and one more, to see that it is too long */
    MUST(candidate->row->max <= TOKEN_KEY_BYTES_MAX, "a row's range fits its field");
    if (candidate->origin == ORIGIN_EXTRA_ENV)
        return keep_secret(candidate, (const unsigned char *)candidate->text,
                           strlen(candidate->text), field);
    ssize_t len = read_whole(candidate->text, bytes, sizeof bytes);
    if (len < 0) {
        (void)snprintf(candidate->why, WHY_BYTES, "cannot read it: %s", strerror(errno));
        return false;
    }
    bool ok = keep_secret(candidate, bytes, without_newline(bytes, (size_t)len), field);
    explicit_bzero(bytes, sizeof bytes);
    return ok;
}

static void show_secret(const struct row *row, const void *field, char *out, size_t out_bytes)
{
    const struct token_key *key = field;
    (void)row;
    (void)snprintf(out, out_bytes, "%s", key->len > 0 ? "set" : "not set");
}

static void allowed_secret(const struct row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "a file with a secret of %" PRIu64 " to %" PRIu64 " bytes",
                   row->min, row->max);
}

const struct kind kind_secret = {parse_secret, show_secret, allowed_secret};
