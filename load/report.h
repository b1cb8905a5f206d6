/*
 * report.h: a summary as text for a person, as JSON for a machine, as one HTML page to look at.
 *
 * Thread: main. Fails: false with a line in error; report_text(): ferror(out) and errno.
 */
#ifndef FLASHLOAD_REPORT_H
#define FLASHLOAD_REPORT_H

#include <stdio.h>

#include "load/summary.h"

struct json_t;

void report_text(const struct summary *summary, FILE *out);
/* The caller must json_decref() it. `plots`: also what only the page needs. NULL without memory. */
struct json_t *report_json(const struct summary *summary, bool plots);
/* Before the run: whether report_html() can write there and read the curves. */
bool report_html_possible(const char *path, const char *curves_path, char *error,
                          size_t error_bytes);
/* curves_path: points of bench/scale.py, or NULL. */
bool report_html(const struct summary *summary, const char *path, const char *curves_path,
                 char *error, size_t error_bytes);

#endif
