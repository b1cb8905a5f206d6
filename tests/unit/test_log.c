/*
 * test_log.c: the log by itself: what is claimed is read in that order, a gap holds readers back,
 * and room is what the slowest reader has left.
 *
 * Thread: one; the races belong to tests/sim and tests/stress.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/log.h"

static struct log log_under_test;

static struct log *fresh(uint64_t last_seq)
{
    assert_true(log_init(&log_under_test, last_seq));
    return &log_under_test;
}

static void publish(struct log *log, uint64_t seq, uint32_t quantity)
{
    log_publish(log, seq, &(struct event){.quantity = quantity});
}

static void seqs_go_on_after_the_last_durable_one(void **state)
{
    (void)state;
    struct log *log = fresh(41);
    struct log_credit credit = {0};
    assert_int_equal(log_last_claimed(log), 41);
    assert_int_equal(log_committed(log), 41);
    assert_true(log_reserve(log, &credit, 2));
    assert_int_equal(log_claim(log, &credit, 2), 42);
    assert_int_equal(log_last_claimed(log), 43);
    log_free(log);
}

static void events_are_read_in_claim_order_whatever_order_they_are_published_in(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit credit = {0};
    assert_true(log_reserve(log, &credit, 3));
    assert_int_equal(log_claim(log, &credit, 3), 1);
    publish(log, 3, 30);
    publish(log, 2, 20);
    assert_null(log_read(log, LOG_READER_JOURNAL, 0));
    publish(log, 1, 10);
    for (uint32_t i = 0; i < 3; i++) {
        const struct event *event = log_read(log, LOG_READER_JOURNAL, i);
        assert_non_null(event);
        assert_int_equal(event->seq, i + 1);
        assert_int_equal(event->quantity, 10 * (i + 1));
    }
    assert_null(log_read(log, LOG_READER_JOURNAL, 3));
    log_free(log);
}

static void each_reader_has_its_own_place(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit credit = {0};
    assert_true(log_reserve(log, &credit, 2));
    (void)log_claim(log, &credit, 2);
    publish(log, 1, 1);
    publish(log, 2, 2);
    log_advance(log, LOG_READER_JOURNAL, 2);
    assert_null(log_read(log, LOG_READER_JOURNAL, 0));
    assert_int_equal(log_read(log, LOG_READER_CLOCK, 0)->quantity, 1);
    assert_int_equal(log_lag(log, LOG_READER_JOURNAL), 0);
    assert_int_equal(log_lag(log, LOG_READER_CLOCK), 2);
    log_free(log);
}

/* Fills the log; returns how many events it took. */
static uint32_t fill(struct log *log, struct log_credit *credit)
{
    uint32_t n = 0;
    for (; log_reserve(log, credit, 1); n++)
        publish(log, log_claim(log, credit, 1), n);
    return n;
}

static void a_full_log_says_so_and_loses_nothing(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit credit = {0};
    assert_int_equal(fill(log, &credit), LOG_SLOTS);
    assert_int_equal(credit.slots, 0);
    for (uint32_t i = 0; i < LOG_SLOTS; i++)
        assert_int_equal(log_read(log, LOG_READER_JOURNAL, i)->quantity, i);
    assert_null(log_read(log, LOG_READER_JOURNAL, LOG_SLOTS));
    log_free(log);
}

static void room_comes_back_only_when_the_slowest_reader_moves_on(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit credit = {0};
    (void)fill(log, &credit);
    log_advance(log, LOG_READER_JOURNAL, LOG_CREDIT_CHUNK);
    assert_false(log_reserve(log, &credit, 1));
    log_advance(log, LOG_READER_CLOCK, LOG_CREDIT_CHUNK);
    assert_true(log_reserve(log, &credit, LOG_CREDIT_CHUNK));
    assert_false(log_reserve(log, &(struct log_credit){0}, 1));
    log_free(log);
}

static void a_slot_used_again_is_not_read_as_the_old_event(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit credit = {0};
    (void)fill(log, &credit);
    log_advance(log, LOG_READER_JOURNAL, LOG_SLOTS);
    log_advance(log, LOG_READER_CLOCK, LOG_SLOTS);
    assert_true(log_reserve(log, &credit, 1));
    uint64_t seq = log_claim(log, &credit, 1);
    assert_int_equal(seq, LOG_SLOTS + 1);
    assert_null(log_read(log, LOG_READER_JOURNAL, 0));
    publish(log, seq, 7);
    assert_int_equal(log_read(log, LOG_READER_JOURNAL, 0)->quantity, 7);
    log_free(log);
}

static void a_reservation_is_kept_until_it_is_claimed(void **state)
{
    (void)state;
    struct log *log = fresh(0);
    struct log_credit mine = {0}, other = {0};
    assert_true(log_reserve(log, &mine, 10));
    (void)fill(log, &other);
    assert_true(mine.slots >= 10);
    assert_true(log_reserve(log, &mine, 10));
    uint64_t first = log_claim(log, &mine, 10);
    assert_int_equal(first + 10 - 1, log_last_claimed(log));
    assert_true(log_last_claimed(log) <= LOG_SLOTS);
    log_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seqs_go_on_after_the_last_durable_one),
        cmocka_unit_test(events_are_read_in_claim_order_whatever_order_they_are_published_in),
        cmocka_unit_test(each_reader_has_its_own_place),
        cmocka_unit_test(a_full_log_says_so_and_loses_nothing),
        cmocka_unit_test(room_comes_back_only_when_the_slowest_reader_moves_on),
        cmocka_unit_test(a_slot_used_again_is_not_read_as_the_old_event),
        cmocka_unit_test(a_reservation_is_kept_until_it_is_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
