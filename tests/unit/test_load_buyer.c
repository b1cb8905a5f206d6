/*
 * test_load_buyer.c: what an answer to a purchase counts as, and whose latency it is.
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

#include "load/clock.h"
#include "load/crowd.h"

enum { TASKS = 16, ANSWERED_MS = 7 };

static struct run run;
static struct crowd crowd;
static struct sale sale;

static int begin(void **state)
{
    (void)state;
    run = (struct run){.options = {.sales = 1, .pay_share = 1}, .sales = &sale};
    crowd = (struct crowd){.run = &run, .heap_room = TASKS, .line_room = TASKS};
    crowd.heap = calloc(TASKS, sizeof *crowd.heap);
    crowd.line = calloc(TASKS, sizeof *crowd.line);
    return crowd.heap == NULL || crowd.line == NULL || !ledger_open(&run.ledger, "tag") ||
           !measures_open(&run.buyers) || !chunks_open(&crowd.buyers, sizeof(struct buyer));
}

static int end(void **state)
{
    (void)state;
    chunks_close(&crowd.buyers);
    measures_close(&run.buyers);
    ledger_close(&run.ledger);
    free(crowd.heap);
    free(crowd.line);
    return 0;
}

/* The next buyer comes, asks, and is answered so. */
static void answered(unsigned status, const char *body)
{
    uint32_t index = crowd.arrived++;
    struct visit visit = {.task = {.buyer = index, .step = STEP_BUY}, .sent_ns = NS_PER_S};
    buyer_arrives(&crowd, index, 0);
    crowd.loop.now_ns = visit.sent_ns + ANSWERED_MS * NS_PER_MS;
    visit.body_bytes = (uint32_t)strlen(body);
    memcpy(visit.body, body, visit.body_bytes);
    buyer_answered(&crowd, &visit, status);
}

static uint64_t counted(enum count count)
{
    return run.buyers.counts[count];
}

static uint64_t timed(enum latency latency)
{
    return run.buyers.latencies[latency].count;
}

static void a_purchase_is_served_when_the_server_decides_it(void **state)
{
    (void)state;
    answered(201, "{\"transactionId\":\"t1\",\"state\":\"payment\",\"seq\":2}");
    answered(201, "{\"transactionId\":\"t2\",\"state\":\"waiting\",\"seq\":3}");
    answered(409, "{\"code\":\"sold-out\"}");
    assert_int_equal(counted(COUNT_PURCHASES), 3);
    assert_int_equal(counted(COUNT_ACCEPTED), 1);
    assert_int_equal(counted(COUNT_WAITING), 1);
    assert_int_equal(counted(COUNT_REFUSED), 1);
    assert_int_equal(counted(COUNT_ERRORS), 0);
    assert_int_equal(timed(LATENCY_BUY), 3);
    assert_int_equal(timed(LATENCY_ACCEPTED), 1);
    assert_int_equal(timed(LATENCY_WAITING), 1);
    assert_int_equal(timed(LATENCY_REFUSED), 1);
    assert_int_equal(timed(LATENCY_FAILED), 0);
}

static void an_error_serves_nobody_however_fast(void **state)
{
    (void)state;
    answered(503, "{\"code\":\"busy\"}");
    answered(500, "");
    answered(302, "");
    answered(201, "{\"state\":\"payment\"}");
    assert_int_equal(counted(COUNT_ANSWERS), 4);
    assert_int_equal(counted(COUNT_ERRORS), 4);
    assert_int_equal(counted(COUNT_PURCHASES), 0);
    assert_int_equal(timed(LATENCY_BUY), 0);
    assert_int_equal(run.buyers.tick_buy.count, 0);
    assert_int_equal(timed(LATENCY_FAILED), 4);
    assert_int_equal(run.buyers.latencies[LATENCY_FAILED].max, ANSWERED_MS * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_purchase_is_served_when_the_server_decides_it, begin,
                                        end),
        cmocka_unit_test_setup_teardown(an_error_serves_nobody_however_fast, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
