/*
 * cron.c: cron fields to bit masks, and a walk over the calendar, day by day, then within the day.
 *
 * Thread: any; nothing here is shared or kept.
 * In:     cron.h says which text is accepted.
 * Out:    struct cron; or a firing time in UTC milliseconds.
 * Fails:  on the first field that breaks its rule in field_rules, or on too many or too few fields.
 *
 * The walk is bounded: the Gregorian calendar repeats after 400 years (146097 days, a whole number
 * of weeks), so a date not found in them never comes.
 */
#include "engine/cron.h"

#include <stddef.h>

#include "engine/check.h"
#include "engine/civil.h"
#include "engine/now.h"

enum { FIELD_MINUTE, FIELD_HOUR, FIELD_DAY, FIELD_MONTH, FIELD_WEEKDAY, FIELD_COUNT };

enum {
    CALENDAR_CYCLE_DAYS = 146097,
    MINUTES_PER_DAY = 1440,
    STEP_MAX = 999, /* a step past the field's end is odd but clear: only the first value fires */
};

static const int64_t ms_per_minute = 60000;

struct field_rule {
    uint32_t min, max;
    const char *problem;
};

static const struct field_rule field_rules[FIELD_COUNT] = {
    [FIELD_MINUTE] = {0, 59, "minute must be 0-59"},
    [FIELD_HOUR] = {0, 23, "hour must be 0-23"},
    [FIELD_DAY] = {1, 31, "day of month must be 1-31"},
    [FIELD_MONTH] = {1, 12, "month must be 1-12"},
    [FIELD_WEEKDAY] = {0, 7, "day of week must be 0-7"},
};

/* A parsed field: a bit for each value, and whether it contained a `*`. */
struct field {
    uint64_t bits;
    bool star;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool ends_field(char c)
{
    return c == '\0' || is_blank(c);
}

/* One to three digits, at most max. Moves *at past them. */
static bool read_number(const char **at, uint32_t max, uint32_t *number)
{
    uint32_t value = 0;
    size_t digits = 0;
    while (**at >= '0' && **at <= '9' && digits < 4) {
        value = value * 10 + (uint32_t)(**at - '0');
        (*at)++;
        digits++;
    }
    *number = value;
    return digits >= 1 && digits <= 3 && value <= max;
}

/* `*`, A or A-B; after `*` and A-B, perhaps a step. */
static bool read_item(const char **at, const struct field_rule *rule, struct field *field)
{
    uint32_t first = rule->min, last = rule->max, step = 1;
    bool may_step = true;
    if (**at == '*') {
        (*at)++;
        field->star = true;
    } else {
        if (!read_number(at, rule->max, &first) || first < rule->min)
            return false;
        last = first;
        may_step = **at == '-';
        if (may_step) {
            (*at)++;
            if (!read_number(at, rule->max, &last) || last < first)
                return false;
        }
    }
    if (may_step && **at == '/') {
        (*at)++;
        if (!read_number(at, STEP_MAX, &step) || step == 0)
            return false;
    }
    for (uint32_t value = first; value <= last; value += step)
        field->bits |= UINT64_C(1) << value;
    return true;
}

static bool read_field(const char **at, const struct field_rule *rule, struct field *field)
{
    *field = (struct field){0};
    for (;;) {
        if (!read_item(at, rule, field))
            return false;
        if (**at != ',')
            return ends_field(**at);
        (*at)++;
    }
}

static void skip_blanks(const char **at)
{
    while (is_blank(**at))
        (*at)++;
}

static void fill(struct cron *cron, const struct field fields[FIELD_COUNT])
{
    uint64_t weekdays = fields[FIELD_WEEKDAY].bits;
    weekdays |= weekdays >> 7; /* 7 is Sunday too */
    *cron = (struct cron){
        .minutes = fields[FIELD_MINUTE].bits,
        .hours = (uint32_t)fields[FIELD_HOUR].bits,
        .days = (uint32_t)fields[FIELD_DAY].bits,
        .months = (uint16_t)fields[FIELD_MONTH].bits,
        .weekdays = (uint8_t)(weekdays & 0x7f),
        .days_star = fields[FIELD_DAY].star,
        .weekdays_star = fields[FIELD_WEEKDAY].star,
    };
}

bool cron_parse(const char *text, struct cron *cron, const char **problem)
{
    MUST(text != NULL && cron != NULL, "a text and a place for the schedule");
    struct field fields[FIELD_COUNT];
    const char *why = NULL;
    const char *at = text;
    skip_blanks(&at);
    for (size_t i = 0; i < FIELD_COUNT && why == NULL; i++) {
        if (*at == '\0')
            why = "fewer than five fields";
        else if (!read_field(&at, &field_rules[i], &fields[i]))
            why = field_rules[i].problem;
        skip_blanks(&at);
    }
    if (why == NULL && *at != '\0')
        why = "more than five fields";
    if (why == NULL)
        fill(cron, fields);
    if (problem != NULL)
        *problem = why;
    return why == NULL;
}

static bool day_matches(const struct cron *cron, uint32_t day_number)
{
    const struct civil_date date = civil_of_days(day_number);
    MUST(date.month >= 1 && date.month <= 12 && date.day >= 1 && date.day <= 31, "a civil date");
    if ((cron->months >> date.month & 1U) == 0)
        return false;
    bool day = (cron->days >> date.day & 1U) != 0;
    bool weekday =
        (cron->weekdays >> ((day_number + 4) % 7) & 1U) != 0; /* 1970 began on Thursday */
    if (cron->days_star || cron->weekdays_star)
        return day && weekday;
    return day || weekday;
}

/* The first matching minute of the day at or after from; -1 if the day has no more. */
static int32_t next_minute_of_day(const struct cron *cron, uint32_t from)
{
    for (uint32_t minute = from; minute < MINUTES_PER_DAY; minute++) {
        if ((cron->hours >> (minute / 60) & 1U) != 0 && (cron->minutes >> (minute % 60) & 1U) != 0)
            return (int32_t)minute;
    }
    return -1;
}

int64_t cron_next_ms(const struct cron *cron, int64_t after_wall_ms)
{
    MUST(cron != NULL, "a schedule to follow");
    if (after_wall_ms > WALL_MS_MAX)
        return -1;
    int64_t first_minute = after_wall_ms < 0 ? 0 : after_wall_ms / ms_per_minute + 1;
    uint32_t first_day = (uint32_t)(first_minute / MINUTES_PER_DAY);
    uint32_t from = (uint32_t)(first_minute % MINUTES_PER_DAY);
    for (uint32_t day = first_day; day <= first_day + CALENDAR_CYCLE_DAYS; day++) {
        if (day_matches(cron, day)) {
            int32_t minute = next_minute_of_day(cron, from);
            if (minute >= 0)
                return ((int64_t)day * MINUTES_PER_DAY + minute) * ms_per_minute;
        }
        from = 0;
    }
    return -1;
}
