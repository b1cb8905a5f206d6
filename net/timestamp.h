/*
 * timestamp.h: reads the ISO 8601 times of requests as wall-clock ms: RFC 3339's, and what `date` and others write;
 * writes the Date of an answer.
 *
 * Thread: any; pure.
 */
#ifndef FLASHD_NET_TIMESTAMP_H
#define FLASHD_NET_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TIMESTAMP_HTTP_BYTES = 32 };

/* "2026-01-02T03:04:05Z", with an optional fraction of seconds (cut to ms) after a point or a comma, or
 * without seconds; "Z", "+hh:mm", "+hhmm" or "+hh". False for anything else (no zone, week and ordinal dates,
 * the basic format), dates that do not exist, and times before 1970. A leap second counts as the second after it. */
bool timestamp_parse(const char *text, size_t len, int64_t *wall_ms);
/* Writes a time as Date has it, such as "Fri, 02 Jan 2026 03:04:05 GMT"; terminated. */
void timestamp_http(int64_t wall_ms, char date[TIMESTAMP_HTTP_BYTES]);

#endif
