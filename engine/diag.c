/*
 * diag.c: builds one line in a buffer on the stack and hands it to write(2) in one piece.
 *
 * Thread: any. The two statics are written by diag_configure() before threads start.
 * In:     a level and a printf format. The caller keeps secrets out of it; see diag.h.
 * Out:    one line of at most LINE_BYTES_MAX bytes on stderr. What a buyer or a file name smuggled
 *         in cannot break the line: control characters are escaped, invalid UTF-8 becomes U+FFFD.
 *         A longer message is cut between characters and ends in "...".
 * Fails:  silently. If stderr is full or closed the line is lost; errno is as it was before.
 */
#include "engine/diag.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/text.h"

enum { LINE_BYTES_MAX = 2048, STAMP_BYTES = 32, PIECE_BYTES_MAX = 8 };

static const char *const level_names[] = {
    [DIAG_DEBUG] = "debug",
    [DIAG_INFO] = "info",
    [DIAG_WARN] = "warn",
    [DIAG_ERROR] = "error",
};

static enum diag_level minimum_level = DIAG_INFO;
static bool as_json = false;

/* A line under construction; text has no terminating NUL. */
struct line {
    size_t len;
    char text[LINE_BYTES_MAX];
};

/* One character as it will be written: itself, or its escape. */
struct piece {
    size_t taken; /* bytes of input */
    size_t len;
    char text[PIECE_BYTES_MAX];
};

bool diag_level_of(const char *name, enum diag_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum diag_level)i;
            return true;
        }
    return false;
}

void diag_configure(enum diag_level minimum, bool json)
{
    minimum_level = minimum;
    as_json = json;
}

static void append(struct line *line, const char *bytes, size_t len)
{
    assert(len <= sizeof line->text - line->len);
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
}

static void append_text(struct line *line, const char *text)
{
    append(line, text, strlen(text));
}

/* Text mode escapes as C does, so that a line stays a line and a terminal is left alone. */
static void escape(unsigned char byte, bool json, struct piece *piece)
{
    char letter = '\0';
    if (byte == '\n')
        letter = 'n';
    else if (byte == '\r')
        letter = 'r';
    else if (byte == '\t')
        letter = 't';
    else if (byte == '"' || byte == '\\')
        letter = (char)byte;
    int len;
    if (letter != '\0')
        len = snprintf(piece->text, sizeof piece->text, "\\%c", letter);
    else
        len = json ? snprintf(piece->text, sizeof piece->text, "\\u%04x", byte)
                   : snprintf(piece->text, sizeof piece->text, "\\x%02x", byte);
    assert(len > 0 && (size_t)len < sizeof piece->text);
    piece->len = (size_t)len;
}

static struct piece next_piece(const char *message, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd";
    unsigned char first = (unsigned char)message[0];
    size_t bytes = text_utf8_bytes(message, len);
    struct piece piece = {.taken = bytes == 0 ? 1 : bytes};
    if (bytes == 0) {
        piece.len = sizeof replacement - 1;
        memcpy(piece.text, replacement, piece.len);
    } else if (first < 0x20 || first == 0x7f || (as_json && (first == '"' || first == '\\'))) {
        escape(first, as_json, &piece);
    } else {
        piece.len = bytes;
        memcpy(piece.text, message, bytes);
    }
    return piece;
}

/* Appends the message and leaves room for the tail; one that is too long is cut and ends in "...". */
static void append_message(struct line *line, const char *message, size_t tail_bytes)
{
    static const char ellipsis[] = "...";
    const size_t limit = sizeof line->text - tail_bytes;
    size_t len = strlen(message);
    size_t cut = line->len; /* the last place where the ellipsis still fits */
    while (len > 0) {
        struct piece piece = next_piece(message, len);
        if (piece.len > limit - line->len) {
            line->len = cut;
            append_text(line, ellipsis);
            return;
        }
        append(line, piece.text, piece.len);
        message += piece.taken;
        len -= piece.taken;
        if (limit - line->len >= sizeof ellipsis - 1)
            cut = line->len;
    }
}

static void format_stamp(char stamp[STAMP_BYTES])
{
    struct timespec now;
    struct tm utc;
    char seconds[STAMP_BYTES - 6];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) == NULL ||
        strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        seconds[0] = '\0';
    unsigned ms = (unsigned)(now.tv_nsec / 1000000) % 1000;
    (void)snprintf(stamp, STAMP_BYTES, "%s.%03uZ", seconds, ms);
}

static void build_line(struct line *line, enum diag_level level, const char *message)
{
    char stamp[STAMP_BYTES], head[96];
    const char *name = level_names[level];
    const char *tail = as_json ? "\"}\n" : "\n";
    format_stamp(stamp);
    if (as_json)
        (void)snprintf(head, sizeof head, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", stamp,
                       name);
    else
        (void)snprintf(head, sizeof head, "%s %-5s ", stamp, name);
    append_text(line, head);
    append_message(line, message, strlen(tail));
    append_text(line, tail);
}

void diag(enum diag_level level, const char *format, ...)
{
    assert(level <= DIAG_ERROR && format != NULL);
    if (level < minimum_level)
        return;
    int errno_before = errno;
    char message[LINE_BYTES_MAX]; /* no shorter than a line: what does not fit here is cut anyway */
    va_list args;
    va_start(args, format);
    if (vsnprintf(message, sizeof message, format, args) < 0)
        (void)snprintf(message, sizeof message, "(a message that could not be formatted)");
    va_end(args);
    struct line line;
    line.len = 0;
    build_line(&line, level, message);
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line.text, line.len);
    } while (written < 0 && errno == EINTR);
    errno = errno_before;
}
