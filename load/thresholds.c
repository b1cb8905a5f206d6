/*
 * thresholds.c: see thresholds.h.
 *
 *   threshold = statistic "(" name ")" compare number [unit]
 *   statistic = "p" number | "p(" number ")" | min | med | avg | max | rate | count | share
 *   compare   = "<" | "<=" | ">" | ">=" | "=="        unit = ns | us | ms | s | %
 *
 * Thread: main.
 */
#include "load/thresholds.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *at;
    const char *expected; /* what is missing; NULL: nothing so far */
};

static void skip_space(struct reader *r)
{
    while (isspace((unsigned char)*r->at))
        r->at++;
}

static bool take(struct reader *r, const char *word)
{
    skip_space(r);
    if (strncmp(r->at, word, strlen(word)) != 0)
        return false;
    r->at += strlen(word);
    return true;
}

static bool expect(struct reader *r, bool found, const char *what)
{
    if (!found && r->expected == NULL)
        r->expected = what;
    return found;
}

static bool take_number(struct reader *r, double *number)
{
    char *end = NULL;
    skip_space(r);
    if (!isdigit((unsigned char)*r->at) && *r->at != '.')
        return false;
    *number = strtod(r->at, &end);
    bool good = end != r->at && isfinite(*number);
    r->at = end;
    return good;
}

static bool take_statistic(struct reader *r, struct threshold *t)
{
    static const struct {
        const char *word;
        enum statistic statistic;
        double percent;
    } words[] = {{"min", STAT_MIN, 0},    {"med", STAT_PERCENTILE, 50}, {"avg", STAT_AVG, 0},
                 {"max", STAT_MAX, 0},    {"rate", STAT_RATE, 0},       {"count", STAT_COUNT, 0},
                 {"share", STAT_SHARE, 0}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!take(r, words[i].word))
            continue;
        t->statistic = words[i].statistic;
        t->percent = words[i].percent;
        return true;
    }
    t->statistic = STAT_PERCENTILE;
    if (!take(r, "p"))
        return false;
    bool bracket = take(r, "(");
    return take_number(r, &t->percent) && t->percent <= 100 && (!bracket || take(r, ")"));
}

static bool take_name(struct reader *r, struct threshold *t)
{
    skip_space(r);
    size_t len = 0;
    while (isalnum((unsigned char)r->at[len]) || r->at[len] == '_')
        len++;
    if (len == 0 || len >= sizeof t->name)
        return false;
    memcpy(t->name, r->at, len);
    t->name[len] = '\0';
    r->at += len;
    return true;
}

static bool take_compare(struct reader *r, struct threshold *t)
{
    static const char *const words[] = {"<=", ">=", "==", "<", ">"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (take(r, words[i])) {
            memcpy(t->compare, words[i], strlen(words[i]) + 1);
            return true;
        }
    }
    return false;
}

/* Latencies need a unit, so that nobody means ms and is held to ns. */
static bool take_bound(struct reader *r, struct threshold *t)
{
    static const struct {
        const char *word;
        double factor;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    if (!expect(r, take_number(r, &t->bound), "a number"))
        return false;
    if (!statistic_is_latency(t->statistic)) {
        if (take(r, "%"))
            t->bound /= 100;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (take(r, units[i].word)) {
            t->bound *= units[i].factor;
            return true;
        }
    }
    return expect(r, false, "ns, us, ms or s after the number");
}

bool threshold_parse(const char *text, figure_known *known, struct threshold *t, char *error,
                     size_t error_bytes)
{
    struct reader r = {.at = text};
    *t = (struct threshold){.text = text, .found = NAN};
    bool good = expect(&r, take_statistic(&r, t),
                       "p50 to p99.99, min, med, avg, max, rate, count or share") &&
                expect(&r, take(&r, "("), "(NAME) after the statistic") &&
                expect(&r, take_name(&r, t), "a name in the brackets") &&
                expect(&r, take(&r, ")"), ") after the name") &&
                expect(&r, known(t->name, t->statistic),
                       "a name that flashload --help lists for this statistic") &&
                expect(&r, take_compare(&r, t), "one of < <= > >= ==") && take_bound(&r, t);
    skip_space(&r);
    if (good && expect(&r, *r.at == '\0', "the end"))
        return true;
    (void)snprintf(error, error_bytes,
                   "--assert: \"%.80s\" is not allowed; expected %s at \"%.20s\"", text, r.expected,
                   r.at);
    return false;
}

bool threshold_holds(struct threshold *t, figure_of *figure, const void *context)
{
    t->found = figure(context, t->name, t->statistic, t->percent);
    bool equal = !(t->found < t->bound) && !(t->found > t->bound);
    if (isnan(t->found))
        t->holds = false;
    else if (t->compare[0] == '<')
        t->holds = t->found < t->bound || (t->compare[1] == '=' && equal);
    else if (t->compare[0] == '>')
        t->holds = t->found > t->bound || (t->compare[1] == '=' && equal);
    else
        t->holds = equal;
    return t->holds;
}
