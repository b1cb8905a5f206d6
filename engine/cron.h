/*
 * cron.h: a five-field cron schedule, parsed once into bit masks, and the next time it fires.
 *
 * Thread: any; a struct cron is plain data, read-only after cron_parse(). No I/O, no clock: time
 *         comes in as an argument.
 * In:     "minute hour day-of-month month day-of-week", separated by spaces or tabs. A field is a
 *         comma list of `*`, `A` or `A-B`; `*` and `A-B` may be followed by a step, as in 0-30/10;
 *         numbers only; Sunday is 0 or 7.
 * Out:    wall-clock milliseconds in UTC of the first firing after a given moment, at second 0.
 * Fails:  cron_parse() names the first bad field. A date that never comes (31 February) parses,
 *         and cron_next_ms() answers -1.
 *
 * Day of month and day of week follow crontab(5): if neither field contains a `*`, a day matches
 * when either does; else both must match. So "0 0 13 * 5" is every 13th and every Friday.
 */
#ifndef FLASHD_ENGINE_CRON_H
#define FLASHD_ENGINE_CRON_H

#include <stdbool.h>
#include <stdint.h>

struct cron {
    uint64_t minutes; /* bits 0..59 */
    uint32_t hours;   /* bits 0..23 */
    uint32_t days;    /* bits 1..31 */
    uint16_t months;  /* bits 1..12 */
    uint8_t weekdays; /* bits 0..6, Sunday is 0 */
    bool days_star;   /* the field contains a `*` */
    bool weekdays_star;
};

/* On failure *problem (unless NULL) is a static text such as "hour must be 0-23"; cron is
 * undefined. */
bool cron_parse(const char *text, struct cron *cron, const char **problem);

/* The first firing strictly after after_wall_ms; -1 if there is none in the 400 years that follow,
 * after which the calendar repeats. Times before 1970 count as 1970; after the year 9999: -1. */
int64_t cron_next_ms(const struct cron *cron, int64_t after_wall_ms);

#endif
