/*
 * civil.h: the civil date (year, month, day) of a day number.
 *
 * Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: its years start in March, so
 * that the leap day is the last day of a year. Thread: any.
 */
#ifndef FLASHD_ENGINE_CIVIL_H
#define FLASHD_ENGINE_CIVIL_H

#include <stdint.h>

struct civil_date {
    int64_t year, month, day; /* month and day from 1 */
};

/* days: since 1970-01-01, 0 or more. */
static inline struct civil_date civil_of_days(int64_t days)
{
    int64_t shifted = days + 719468, era = shifted / 146097, day_of_era = shifted % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct civil_date){.year = year_of_era + era * 400 + (month <= 2),
                               .month = month,
                               .day = day_of_year - (153 * month_from_march + 2) / 5 + 1};
}

#endif
