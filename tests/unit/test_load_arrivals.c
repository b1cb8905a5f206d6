/*
 * test_load_arrivals.c: flashload's open-loop schedule (fixed by its seed, at the rate that was asked) and the
 * search for a knee.
 *
 * Thread: one.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/arrivals.h"

static uint32_t count_until(struct arrivals *a, double until_s)
{
    uint32_t count = 0;
    for (uint64_t last_ns = 0; arrivals_next_ns(a) < (uint64_t)(until_s * 1e9);
         arrivals_advance(a)) {
        assert_true(arrivals_next_ns(a) >= last_ns);
        last_ns = arrivals_next_ns(a);
        count++;
    }
    return count;
}

/* Within five standard deviations of a Poisson process. */
static void assert_about(uint32_t count, double expected)
{
    if (fabs(count - expected) > 5 * sqrt(expected))
        fail_msg("%u arrivals, expected about %g", count, expected);
}

static void arrivals_come_at_their_rate_and_end(void **state)
{
    (void)state;
    struct arrivals a = arrivals_at(2000, 2000, 10, 42);
    assert_about(count_until(&a, 5), 10000);
    assert_about(count_until(&a, 100), 10000);
    assert_true(arrivals_next_ns(&a) == UINT64_MAX);
}

static void a_ramp_rises_evenly(void **state)
{
    (void)state;
    struct arrivals a = arrivals_at(100, 2100, 20, 7);
    assert_about(count_until(&a, 10), 10 * (100 + 1100) / 2.0);
    assert_about(count_until(&a, 20), 10 * (1100 + 2100) / 2.0);
    assert_true(fabs(arrivals_rate_at(&a, 5) - 600) < 1e-9);
}

static void the_seed_decides(void **state)
{
    (void)state;
    struct arrivals a = arrivals_at(50, 50, 2, 1), same = a, other = arrivals_at(50, 50, 2, 2);
    uint32_t differ = 0;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(arrivals_next_ns(&a), arrivals_next_ns(&same));
        differ += arrivals_next_ns(&a) != arrivals_next_ns(&other);
        arrivals_advance(&a);
        arrivals_advance(&same);
        arrivals_advance(&other);
    }
    assert_true(differ > 45);
}

static void a_knee_is_the_last_point_before_it_falls_behind(void **state)
{
    (void)state;
    struct ramp_point points[20];
    for (int i = 0; i < 20; i++)
        points[i] = (struct ramp_point){100.0 * (i + 1), 100.0 * (i + 1), 1};
    struct knee knee = knee_find(points, 20);
    assert_false(knee.reached);
    assert_true(knee.offered == 2000 && knee.sign == NULL);

    points[5].served = 100; /* one hiccup is no knee */
    assert_false(knee_find(points, 20).reached);

    for (int i = 12; i < 20; i++)
        points[i].served = 1200;
    knee = knee_find(points, 20);
    assert_true(knee.reached && knee.offered == 1200);
    assert_string_equal(knee.sign, "served less than offered");
}

static void a_knee_shows_in_the_latency_too(void **state)
{
    (void)state;
    struct ramp_point points[12];
    for (int i = 0; i < 12; i++)
        points[i] = (struct ramp_point){100.0 * (i + 1), 100.0 * (i + 1), i < 8 ? 2 : 200};
    struct knee knee = knee_find(points, 12);
    assert_true(knee.reached && knee.offered == 800 && knee.p99_ms == 2);
    assert_string_equal(knee.sign, "p99 above five times its calm");
    assert_false(knee_find(NULL, 0).reached);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrivals_come_at_their_rate_and_end),
        cmocka_unit_test(a_ramp_rises_evenly),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(a_knee_is_the_last_point_before_it_falls_behind),
        cmocka_unit_test(a_knee_shows_in_the_latency_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
