/*
 * test_caps.c: the caps on streams beside a naive count of them, over many comings and goings.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/caps.h"
#include "tests/support/random.h"

enum { STREAMS = 300, ADDRESSES = 40, STEPS = 200000 };

struct stream {
    bool open;
    uint64_t address;
    struct caller *caller;
};

/* Some share their low bits, so that they share a chain. */
static uint64_t address_at(uint64_t n)
{
    return (n % 4) << 60 | n / 4;
}

static uint32_t count(const struct stream *streams, const uint64_t *address)
{
    uint32_t found = 0;
    for (int i = 0; i < STREAMS; i++)
        found += streams[i].open && (address == NULL || streams[i].address == *address);
    return found;
}

static void enter(struct caps *caps, struct stream *streams, struct stream *s, uint64_t address)
{
    bool full = count(streams, NULL) >= caps->streams_max;
    bool crowded = count(streams, &address) >= caps->per_address_max;
    const char *refused = caps_enter(caps, address, &s->caller);
    assert_int_equal(refused != NULL, full || crowded);
    if (refused != NULL)
        assert_non_null(strstr(refused, full ? "the server" : "this address"));
    s->open = refused == NULL;
    s->address = address;
}

static void the_caps_hold_exactly(void **state)
{
    (void)state;
    static struct stream streams[STREAMS];
    struct random dice = random_from(7);
    struct caps caps = {.streams_max = 200, .per_address_max = 6};
    assert_true(caps_init(&caps));
    uint32_t refused = 0;
    for (int step = 0; step < STEPS; step++) {
        struct stream *s = &streams[random_below(&dice, STREAMS)];
        if (s->open) {
            caps_leave(&caps, s->caller);
            s->open = false;
        } else {
            enter(&caps, streams, s, address_at(random_below(&dice, ADDRESSES)));
            refused += !s->open;
        }
        assert_int_equal(caps.streams, count(streams, NULL));
        if (step == STEPS / 2)
            caps.streams_max = 100; /* lower than what is there: nobody is sent away */
    }
    assert_in_range(refused, STEPS / 100, STEPS);
    caps_free(&caps);
}

static void a_slot_of_an_address_is_given_back(void **state)
{
    (void)state;
    struct caps caps = {.streams_max = 3, .per_address_max = 1};
    struct caller *one, *other, *none;
    assert_true(caps_init(&caps));
    assert_null(caps_enter(&caps, 0, &one));
    assert_non_null(caps_enter(&caps, 0, &none));
    assert_null(caps_enter(&caps, UINT64_MAX, &other));
    caps_leave(&caps, one);
    assert_null(caps_enter(&caps, 0, &one));
    caps_free(&caps); /* also with streams in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_caps_hold_exactly),
        cmocka_unit_test(a_slot_of_an_address_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
