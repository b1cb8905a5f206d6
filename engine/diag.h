/*
 * diag.h: one line on stderr for the operator, as text or as JSON.
 *
 * Thread: any; each line is one write(2), so lines never mix. diag_configure() before threads
 * start. Callers never pass tokens, query strings or (at info and above) transaction ids and buyer
 * names.
 *
 * text: "2026-01-02T03:04:05.678Z info  recovered sales=1 orders=2 ms=13"
 * json: {"time":"…","level":"info","message":"recovered sales=1 orders=2 ms=13"}
 */
#ifndef FLASHD_ENGINE_DIAG_H
#define FLASHD_ENGINE_DIAG_H

#include <stdbool.h>

enum diag_level { DIAG_DEBUG, DIAG_INFO, DIAG_WARN, DIAG_ERROR };

/* False: no level has that name. */
bool diag_level_of(const char *name, enum diag_level *level);
void diag_configure(enum diag_level minimum, bool json);
void diag(enum diag_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
