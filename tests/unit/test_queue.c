/*
 * test_queue.c: first in, first out, also when the queue is longer than a chunk, runs empty, and
 * fills again.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/queue.h"

static void push(struct queue *queue, int64_t number)
{
    assert_true(queue_push(queue, (struct queue_entry){.deadline_mono_ms = number}));
}

static int64_t pop(struct queue *queue)
{
    const struct queue_entry *head = queue_head(queue);
    assert_non_null(head);
    int64_t number = head->deadline_mono_ms;
    queue_pop(queue);
    return number;
}

static void an_empty_queue_has_no_head(void **state)
{
    (void)state;
    struct queue queue = {0};
    assert_null(queue_head(&queue));
    push(&queue, 1);
    assert_int_equal(pop(&queue), 1);
    assert_null(queue_head(&queue));
    queue_free(&queue);
}

static void order_is_kept_over_many_chunks(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (int64_t i = 0; i < 10000; i++)
        push(&queue, i);
    for (int64_t i = 0; i < 10000; i++)
        assert_int_equal(pop(&queue), i);
    assert_null(queue_head(&queue));
    queue_free(&queue);
}

/* Lengths around a chunk's end, where head and tail meet. */
static void order_is_kept_while_the_queue_breathes(void **state)
{
    (void)state;
    struct queue queue = {0};
    int64_t pushed = 0, popped = 0;
    for (int64_t round = 0; round < 2000; round++) {
        for (int64_t i = 0; i < round % 7 + 250; i++)
            push(&queue, pushed++);
        for (int64_t i = 0; i < round % 5 + 252 && popped < pushed; i++)
            assert_int_equal(pop(&queue), popped++);
    }
    while (popped < pushed)
        assert_int_equal(pop(&queue), popped++);
    assert_null(queue_head(&queue));
    queue_free(&queue);
}

static void freeing_a_full_queue_leaves_an_empty_one(void **state)
{
    (void)state;
    struct queue queue = {0};
    for (int64_t i = 0; i < 1000; i++)
        push(&queue, i);
    queue_free(&queue);
    assert_null(queue_head(&queue));
    push(&queue, 5);
    assert_int_equal(pop(&queue), 5);
    queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_queue_has_no_head),
        cmocka_unit_test(order_is_kept_over_many_chunks),
        cmocka_unit_test(order_is_kept_while_the_queue_breathes),
        cmocka_unit_test(freeing_a_full_queue_leaves_an_empty_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
