/*
 * test_load_thresholds.c: flashload's thresholds: what they mean, and what is refused, as tables.
 *
 * Thread: one.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "load/summary.h"
#include "load/thresholds.h"

/* Latencies are 4 ms at p50 and 40 ms at p99; of counts there are 200, 20 a second, a fiftieth of all. */
static double figure(const void *context, const char *name, enum statistic statistic,
                     double percent)
{
    (void)context;
    if (strcmp(name, "cancelled") == 0 && statistic_is_latency(statistic))
        return NAN;
    return statistic == STAT_COUNT   ? 200
           : statistic == STAT_RATE  ? 20
           : statistic == STAT_SHARE ? 0.02
           : statistic == STAT_MAX   ? 100e6
           : statistic == STAT_AVG   ? 6e6
           : statistic == STAT_MIN   ? 1000
           : percent >= 99           ? 40e6
                                     : 4e6;
}

static void thresholds_hold_or_break(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool holds;
    } rows[] = {
        {"p99(buy)<50ms", true},       {"p99(buy)<40ms", false},      {"p99(buy)<=40ms", true},
        {"p(99.9)(buy)<50ms", true},   {"p50(paid) < 4001 us", true}, {"med(paid)<3999us", false},
        {"p99.99(buy) > 39ms", true},  {"max(frame)<0.1s", false},    {"max(frame)<=0.1s", true},
        {"avg(accepted)>=6ms", true},  {"min(look)==1000ns", true},   {"count(errors)==200", true},
        {"count(errors)==0", false},   {"rate(accepted)>19.9", true}, {"share(errors)<2%", false},
        {"share(errors)<=2%", true},   {"share(refused)<0.03", true}, {"count(waiting)>200", false},
        {"p99(cancelled)<1s", false}, /* nothing was measured: that proves nothing */
        {"p99(cancelled)>1ns", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct threshold threshold;
        char error[256] = "";
        if (!threshold_parse(rows[i].text, summary_knows, &threshold, error, sizeof error))
            fail_msg("%s", error);
        if (threshold_holds(&threshold, figure, NULL) != rows[i].holds)
            fail_msg("%s: expected %d", rows[i].text, rows[i].holds);
    }
}

static void what_is_no_threshold_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", "p50 to p99.99"},
        {"p99", "(NAME)"},
        {"p101(buy)<1ms", "p50 to p99.99"},
        {"p99()<1ms", "a name"},
        {"p99(buy<1ms", ") after"},
        {"p99(nobody)<1ms", "a name that"},
        {"p99(errors)<1ms", "a name"},
        {"p99(buy)~1ms", "one of <"},
        {"p99(buy)<ms", "a number"},
        {"p99(buy)<5", "ns, us, ms"},
        {"p99(buy)<5ms!", "the end"},
        {"count(errors)==0ms", "the end"},
        {"p99(buy)<-5ms", "a number"},
        {"p99(buy)<nan ms", "a number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct threshold threshold;
        char error[256] = "";
        if (threshold_parse(rows[i].text, summary_knows, &threshold, error, sizeof error))
            fail_msg("%s was taken", rows[i].text);
        if (strstr(error, rows[i].expected) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].text, error, rows[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_hold_or_break),
        cmocka_unit_test(what_is_no_threshold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
