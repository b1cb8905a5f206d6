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

/* One of the characters in `any`; returns it. */
static char mark(struct cursor *c, const char *any)
{
    if (c->at == c->end || strchr(any, *c->at) == NULL || *c->at == '\0') {
        c->bad = true;
        return '\0';
    }
    return *c->at++;
}

static int fraction_ms(struct cursor *c)
{
    int ms = 0, weight = 100;
    if (c->at == c->end || *c->at != '.')
        return 0;
    c->at++;
    c->bad = c->bad || c->at == c->end || *c->at < '0' || *c->at > '9';
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        ms += (*c->at++ - '0') * weight;
        weight /= 10;
    }
    return ms;
}

/* Seconds east of UTC. */
static int zone_s(struct cursor *c)
{
    char sign = mark(c, "Zz+-");
    if (sign != '+' && sign != '-')
        return 0;
    int hours = digits(c, 2);
    (void)mark(c, ":");
    int minutes = digits(c, 2);
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
    int minute = digits(&c, 2);
    (void)mark(&c, ":");
    int second = digits(&c, 2), ms = fraction_ms(&c), zone = zone_s(&c);
    if (c.bad || c.at != c.end || hour > 23 || minute > 59 || second > 60)
        return false;
    time_t day = timegm(&date);
    if (!date_exists(&tm, day))
        return false;
    *wall_ms = ((int64_t)day + hour * 3600 + minute * 60 + second - zone) * 1000 + ms;
    return *wall_ms >= 0;
}
