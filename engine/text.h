/*
 * text.h: building JSON and other text in a bounded buffer.
 *
 * Usage: struct text t = text_in(buffer, sizeof buffer); text_str(&t, "…"); … if (t.overflow) it
 * did not fit. Appending past the end sets `overflow` and writes nothing more; it never writes
 * outside the buffer.
 *
 * Thread: the owner of the buffer.
 */
#ifndef FLASHD_ENGINE_TEXT_H
#define FLASHD_ENGINE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TEXT_TIME_CHARS = 24 /* 2026-01-02T03:04:05.678Z */ };

struct text {
    char *start;
    size_t len, room;
    bool overflow;
};

static inline struct text text_in(char *buffer, size_t bytes)
{
    return (struct text){.start = buffer, .room = bytes};
}

static inline void text_bytes(struct text *text, const char *bytes, size_t len)
{
    if (text->room - text->len < len) {
        text->overflow = true;
        text->room = text->len; /* nothing is appended any more, or the middle would be missing */
        return;
    }
    memcpy(text->start + text->len, bytes, len);
    text->len += len;
}

/* A string literal, or any terminated string. */
static inline void text_str(struct text *text, const char *string)
{
    text_bytes(text, string, strlen(string));
}

void text_number(struct text *text, uint64_t number);
/* wall_ms as ISO 8601 UTC with milliseconds; years 1970 to 9999. */
void text_time(struct text *text, int64_t wall_ms);
/* The inverse, for years from 1970. Reads the digits only, not what stands between them. False: a digit is missing, or
 * the year is before 1970. */
bool text_read_time(const char at[TEXT_TIME_CHARS], int64_t *wall_ms);
/* The length of the UTF-8 character at the front (len > 0), or 0 if it is not valid: overlong forms, surrogates
 * and values past U+10FFFF are refused by the range of the second byte (Unicode, table 3-7). */
size_t text_utf8_bytes(const char *text, size_t len);
/* Whether it can be a name, of a buyer, a user or a sale: UTF-8 without control characters. How long it may be is the
 * caller's. */
bool text_is_name(const char *text, size_t len);
/* Microseconds as seconds with a fraction: 0.001234 */
void text_seconds(struct text *text, uint64_t us);
/* bytes as a JSON string with its quotes; bytes are UTF-8 (checked on arrival). U+2028, U+2029,
 * "<" and control characters are escaped too, so that no frame, script or line can be broken by a
 * name. */
void text_json_string(struct text *text, const char *bytes, size_t len);

/* Text that needs no escaping (ids, names from our own tables) as a JSON string. */
static inline void text_plain_string(struct text *text, const char *bytes, size_t len)
{
    text_bytes(text, "\"", 1);
    text_bytes(text, bytes, len);
    text_bytes(text, "\"", 1);
}

/* "key":value pairs; a comma is written before every pair but the first after '{'. Inline, so that
 * the lengths of literal keys are known at compile time: replies and payloads are full of them. */
static inline void text_key(struct text *text, const char *key)
{
    if (text->len == 0 || text->start[text->len - 1] != '{')
        text_bytes(text, ",", 1);
    text_bytes(text, "\"", 1);
    text_str(text, key);
    text_bytes(text, "\":", 2);
}
static inline void text_pair_number(struct text *text, const char *key, uint64_t number)
{
    text_key(text, key);
    text_number(text, number);
}
static inline void text_pair_time(struct text *text, const char *key, int64_t wall_ms)
{
    text_key(text, key);
    text_bytes(text, "\"", 1);
    text_time(text, wall_ms);
    text_bytes(text, "\"", 1);
}
/* Escapes the value. */
static inline void text_pair_string(struct text *text, const char *key, const char *bytes,
                                    size_t len)
{
    text_key(text, key);
    text_json_string(text, bytes, len);
}
/* Does not escape it. */
static inline void text_pair_plain(struct text *text, const char *key, const char *bytes,
                                   size_t len)
{
    text_key(text, key);
    text_plain_string(text, bytes, len);
}

#endif
