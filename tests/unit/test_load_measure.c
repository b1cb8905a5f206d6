/*
 * test_load_measure.c: flashload's ticks: an hour of them is kept, and the view sees the newest also after it; the last
 * one closes with the load.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/clock.h"
#include "load/measure.h"

static void ticks_go_on_after_the_hour_that_is_kept(void **state)
{
    (void)state;
    static struct measures m;
    static const struct tick like;
    const uint64_t start_ns = 7, tick_ns = TICK_MS * NS_PER_MS;
    assert_true(measures_open(&m));
    for (uint32_t i = 1; i <= 2 * TICKS_MAX; i++) {
        m.counts[COUNT_ANSWERS] = i;
        measures_tick(&m, start_ns, start_ns + i * tick_ns, &like);
        assert_int_equal(m.ticks_done, i);
        assert_int_equal(measures_tick_at(&m, i - 1)->counts[COUNT_ANSWERS], i);
        if (i > 4)
            assert_int_equal(measures_tick_at(&m, i - 5)->counts[COUNT_ANSWERS], i - 4);
    }
    assert_int_equal(measures_tick_at(&m, 0)->counts[COUNT_ANSWERS], 1);
    assert_int_equal(measures_tick_at(&m, TICKS_MAX - 1)->counts[COUNT_ANSWERS], TICKS_MAX);
    measures_close(&m);
}

static void the_last_tick_closes_with_the_load_and_its_counts(void **state)
{
    (void)state;
    static struct measures m;
    static const struct tick like;
    const uint64_t start_ns = 7, tick_ns = TICK_MS * NS_PER_MS;
    assert_true(measures_open(&m));
    measures_count_carried(&m, COUNT_DURABLE);
    measures_tick(&m, start_ns, start_ns + tick_ns, &like);
    measures_count_carried(&m, COUNT_DURABLE);
    measures_end(&m, start_ns, start_ns + tick_ns * 3 / 2, &like);
    measures_count_carried(&m, COUNT_DURABLE);
    m.counts[COUNT_ERRORS]++; /* a request that is given up belongs to the load, however late */
    assert_int_equal(m.ticks_done, 2);
    assert_int_equal(measures_tick_at(&m, 0)->counts[COUNT_DURABLE], 1);
    assert_int_equal(measures_tick_at(&m, 1)->counts[COUNT_DURABLE], 2);
    assert_int_equal(m.counts[COUNT_DURABLE], 2);
    assert_int_equal(m.counts[COUNT_ERRORS], 1);
    measures_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_go_on_after_the_hour_that_is_kept),
        cmocka_unit_test(the_last_tick_closes_with_the_load_and_its_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
