/*
 * test_load_hdr.c: flashload's histogram against the values themselves: every percentile within its promised
 * error, whatever the spread of the values.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "load/draw.h"
#include "load/hdr.h"

enum { VALUES = 20000 };

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void percentiles_are_within_a_thousandth(void **state)
{
    (void)state;
    static const double percents[] = {1, 25, 50, 90, 99, 99.9, 99.99, 100};
    static uint64_t values[VALUES];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct hdr hdr;
        assert_true(hdr_open(&hdr, HDR_BITS));
        for (uint32_t i = 0; i < VALUES; i++) { /* from 1 ns to minutes */
            values[i] = (uint64_t)exp(draw(seed, i, 0) * 25);
            hdr_add(&hdr, values[i]);
        }
        qsort(values, VALUES, sizeof *values, by_size);
        for (size_t p = 0; p < sizeof percents / sizeof *percents; p++) {
            uint32_t rank = (uint32_t)ceil(percents[p] / 100 * VALUES - 1e-9);
            uint64_t truth = values[(rank > 0 ? rank : 1) - 1],
                     told = hdr_percentile(&hdr, percents[p]);
            assert_true(told >= truth);
            assert_true(told <= truth + truth / 1000 + 1);
        }
        assert_int_equal(hdr.min, values[0]);
        assert_int_equal(hdr_percentile(&hdr, 100), values[VALUES - 1]);
        hdr_close(&hdr);
    }
}

static void small_values_are_exact(void **state)
{
    (void)state;
    struct hdr hdr;
    assert_true(hdr_open(&hdr, HDR_BITS));
    for (uint64_t value = 1; value <= 1000; value++)
        hdr_add(&hdr, value);
    assert_int_equal(hdr_percentile(&hdr, 50), 500);
    assert_int_equal(hdr_percentile(&hdr, 99.9), 999);
    assert_int_equal(hdr_percentile(&hdr, 99.99), 1000);
    assert_true(fabs(hdr_mean(&hdr) - 500.5) < 1e-9);
    hdr_close(&hdr);
}

static void nothing_added_is_zero_and_the_longest_is_an_hour(void **state)
{
    (void)state;
    struct hdr hdr;
    assert_true(hdr_open(&hdr, HDR_BITS_COARSE));
    assert_int_equal(hdr_percentile(&hdr, 99), 0);
    hdr_add(&hdr, UINT64_MAX);
    assert_int_equal(hdr.max, UINT64_C(3600000000000));
    assert_int_equal(hdr_percentile(&hdr, 50), hdr.max);
    hdr_reset(&hdr);
    assert_int_equal(hdr.count, 0);
    for (uint32_t i = 0; i < hdr.cells; i++)
        assert_int_equal(hdr.counts[i], 0);
    hdr_close(&hdr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_within_a_thousandth),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(nothing_added_is_zero_and_the_longest_is_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
