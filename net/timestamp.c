/*
 * timestamp.c: see timestamp.h. Fields are read by position; the calendar is libc's timegm().
 *
 * Thread: any. Fails: by returning false.
 */
#include "net/timestamp.h"

#include <string.h>
#include <time.h>

struct cursor {
    const char *at, *end;
    bool bad;
};

static int digits(struct cursor *c, int width)
{
    int value = 0;
    for (int i = 0; i < width; i++) {
        if (c->at == c->end || *c->at < '0' || *c->at > '9') {
            c->bad = true;
            return 0;
        }
        value = value * 10 + (*c->at++ - '0');
    }
    return value;
}

static bool next_is(const struct cursor *c, const char *any)
{
    return c->at < c->end && *c->at != '\0' && strchr(any, *c->at) != NULL;
}

static bool next_is_digit(const struct cursor *c)
{
    return next_is(c, "0123456789");
}

/* Takes one of the characters in `any` and returns it. */
static char mark(struct cursor *c, const char *any)
{
    if (!next_is(c, any)) {
        c->bad = true;
        return '\0';
    }
    return *c->at++;
}

static int fraction_ms(struct cursor *c)
{
    int ms = 0, weight = 100;
    if (!next_is(c, ".,"))
        return 0;
    c->at++;
    c->bad = c->bad || !next_is_digit(c);
    while (next_is_digit(c)) {
        ms += (*c->at++ - '0') * weight;
        weight /= 10;
    }
    return ms;
}

/* Seconds east of UTC: Z, +hh:mm, +hhmm or +hh. */
static int zone_s(struct cursor *c)
{
    char sign = mark(c, "Zz+-");
    if (sign != '+' && sign != '-')
        return 0;
    int hours = digits(c, 2), minutes = 0;
    bool colon = next_is(c, ":");
    c->at += colon;
    if (colon || c->at < c->end)
        minutes = digits(c, 2);
    c->bad = c->bad || hours > 23 || minutes > 59;
    return (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
}

static bool date_exists(const struct tm *asked, time_t at)
{
    struct tm real;
    return gmtime_r(&at, &real) != NULL && real.tm_year == asked->tm_year &&
           real.tm_mon == asked->tm_mon && real.tm_mday == asked->tm_mday;
}

bool timestamp_parse(const char *text, size_t len, int64_t *wall_ms)
{
    struct cursor c = {text, text + len, false};
    struct tm tm = {0};
    tm.tm_year = digits(&c, 4) - 1900;
    (void)mark(&c, "-");
    tm.tm_mon = digits(&c, 2) - 1;
    (void)mark(&c, "-");
    tm.tm_mday = digits(&c, 2);
    (void)mark(&c, "Tt ");
    struct tm date = tm;
    int hour = digits(&c, 2);
    (void)mark(&c, ":");
    int minute = digits(&c, 2), second = 0, ms = 0;
    if (next_is(&c, ":")) {
        c.at++;
        second = digits(&c, 2);
        ms = fraction_ms(&c);
    }
    int zone = zone_s(&c);
    if (c.bad || c.at != c.end || hour > 23 || minute > 59 || second > 60)
        return false;
    time_t day = timegm(&date);
    if (!date_exists(&tm, day))
        return false;
    *wall_ms = ((int64_t)day + hour * 3600 + minute * 60 + second - zone) * 1000 + ms;
    return *wall_ms >= 0;
}

void timestamp_http(int64_t wall_ms, char date[TIMESTAMP_HTTP_BYTES])
{
    time_t second = (time_t)(wall_ms / 1000);
    struct tm tm;
    (void)strftime(date, TIMESTAMP_HTTP_BYTES, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&second, &tm));
}
