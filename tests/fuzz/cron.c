/*
 * cron.c: fuzz target: the cron field (see fuzz.h). Two bytes choose a moment, the rest is the schedule.
 *
 * Must hold for any text:
 *   - it is accepted exactly if a second, independently written reading of the rules accepts it
 *   - the next time lies after the moment, on a full minute, and fits the fields, by libc's calendar
 *   - it is the earliest: no minute of the next three days, and no day of the years between, fits
 *   - from any moment in between, the next time is the same; "never" stays never
 *
 * Thread: libFuzzer's one.
 */
#include <string.h>
#include <time.h>

#include "engine/cron.h"
#include "tests/fuzz/fuzz.h"

enum { FIELDS = 5, TEXT_MAX = 200, MINUTE_S = 60, DAY_S = 86400, LOOK_MINUTES = 3 * 1440 };

static const int lowest[FIELDS] = {0, 0, 1, 1, 0}, highest[FIELDS] = {59, 23, 31, 12, 7};

struct schedule {
    bool on[FIELDS][64];
    bool star[FIELDS];
};

/* A number of one to three digits that is all of text; -1 for anything else. */
static int number_of(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 3 && strspn(text, "0123456789") == len ? (int)strtol(text, NULL, 10)
                                                                     : -1;
}

/* "*", "a", "a-b", the first and the last with "/step". */
static bool read_item(struct schedule *s, int field, char *item)
{
    char *step_text = strchr(item, '/');
    if (step_text != NULL)
        *step_text++ = '\0';
    char *last_text = strchr(item, '-');
    if (last_text != NULL)
        *last_text++ = '\0';
    bool star = strcmp(item, "*") == 0;
    int first = star ? lowest[field] : number_of(item), last = first, step = 1;
    if (star)
        last = highest[field];
    if (last_text != NULL)
        last = number_of(last_text);
    if (step_text != NULL)
        step = number_of(step_text);
    if ((star && last_text != NULL) || (step_text != NULL && !star && last_text == NULL))
        return false;
    if (first < lowest[field] || last < first || last > highest[field] || step < 1)
        return false;
    for (int value = first; value <= last; value += step)
        s->on[field][value] = true;
    s->star[field] = s->star[field] || star;
    return true;
}

static bool read_field(struct schedule *s, int field, char *text)
{
    for (char *rest = text; rest != NULL;) {
        char *item = strsep(&rest, ",");
        if (!read_item(s, field, item))
            return false;
    }
    return true;
}

static bool read_schedule(struct schedule *s, const char *from)
{
    char text[TEXT_MAX + 1], *rest = NULL;
    int field = 0;
    snprintf(text, sizeof text, "%s", from);
    for (char *word = strtok_r(text, " \t", &rest); word != NULL;
         word = strtok_r(NULL, " \t", &rest), field++)
        if (field == FIELDS || !read_field(s, field, word))
            return false;
    s->on[4][0] = s->on[4][0] || s->on[4][7];
    return field == FIELDS;
}

static bool day_fits(const struct schedule *s, const struct tm *tm)
{
    bool day = s->on[2][tm->tm_mday], weekday = s->on[4][tm->tm_wday];
    return s->on[3][tm->tm_mon + 1] && (s->star[2] || s->star[4] ? day && weekday : day || weekday);
}

static bool fits(const struct schedule *s, int64_t at_s)
{
    time_t at = (time_t)at_s;
    struct tm tm;
    return gmtime_r(&at, &tm) != NULL && s->on[0][tm.tm_min] && s->on[1][tm.tm_hour] &&
           day_fits(s, &tm);
}

/* No minute of the first days fits, and no later day. */
static void check_earliest(const struct schedule *s, int64_t after_s, int64_t next_s)
{
    int64_t minute_s = (after_s / MINUTE_S + 1) * MINUTE_S;
    for (int i = 0; i < LOOK_MINUTES && minute_s < next_s; i++, minute_s += MINUTE_S)
        HOLDS(!fits(s, minute_s), "no earlier minute fits");
    for (int64_t day_s = (minute_s / DAY_S + 1) * DAY_S; day_s + DAY_S <= next_s; day_s += DAY_S) {
        time_t at = (time_t)day_s;
        struct tm tm;
        HOLDS(gmtime_r(&at, &tm) != NULL && !day_fits(s, &tm), "no earlier day fits");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MAX + 1];
    if (size < 2 || size - 2 > TEXT_MAX)
        return 0;
    memcpy(text, data + 2, size - 2);
    text[size - 2] = '\0';
    struct random dice = random_of(data, size);
    struct schedule schedule = {0};
    struct cron cron;
    const char *problem = NULL;
    bool taken = cron_parse(text, &cron, &problem);
    HOLDS(taken == (problem == NULL), "a problem is named when there is one");
    HOLDS(taken == read_schedule(&schedule, text), "both readings of the rules agree");
    if (!taken)
        return 0;
    /* From 1970 to 2149, by days, at any millisecond. */
    int64_t after_ms =
        ((int64_t)data[0] << 8 | data[1]) * DAY_S * 1000 + random_below(&dice, DAY_S * 1000);
    int64_t next_ms = cron_next_ms(&cron, after_ms);
    if (next_ms < 0) {
        check_earliest(&schedule, after_ms / 1000, (int64_t)(400.25 * 365.25 * DAY_S));
        return 0;
    }
    HOLDS(next_ms > after_ms && next_ms % (MINUTE_S * 1000) == 0, "it lies after, on a minute");
    HOLDS(fits(&schedule, next_ms / 1000), "it fits the fields");
    check_earliest(&schedule, after_ms / 1000, next_ms / 1000);
    int64_t between_ms = after_ms + (int64_t)(random_next(&dice) % (uint64_t)(next_ms - after_ms));
    HOLDS(cron_next_ms(&cron, between_ms) == next_ms, "it is the next from any moment between");
    HOLDS(cron_next_ms(&cron, next_ms) > next_ms, "after it comes another");
    return 0;
}
