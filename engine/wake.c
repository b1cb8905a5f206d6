/*
 * wake.c: the futex under ck_ec (see wake.h).
 *
 * Thread: any. No spinning before the sleep: on a small machine the waker needs the core.
 * Fails: never; a spurious return only makes the caller look for work once more.
 */
#include "engine/wake.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t FOREVER_MS = INT64_C(1000) * 3600 * 24 * 365;

static int clock_now(const struct ck_ec_ops *ops, struct timespec *out)
{
    (void)ops;
    return clock_gettime(CLOCK_MONOTONIC, out);
}

static void futex_wait(const struct ck_ec_wait_state *state, const uint32_t *address,
                       uint32_t expected, const struct timespec *deadline)
{
    (void)state;
    /* WAIT_BITSET takes an absolute CLOCK_MONOTONIC deadline. */
    syscall(SYS_futex, address, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, deadline, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

static void futex_wake(const struct ck_ec_ops *ops, const uint32_t *address)
{
    (void)ops;
    syscall(SYS_futex, address, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

static const struct ck_ec_ops ops = {
    .gettime = clock_now,
    .wait32 = futex_wait,
    .wake32 = futex_wake,
    .busy_loop_iter = 1,
};
static const struct ck_ec_mode many_wakers = {.ops = &ops, .single_producer = false};

void wake_init(struct wake *wake)
{
    ck_ec_init(&wake->count, 0);
}

uint32_t wake_seen(const struct wake *wake)
{
    return ck_ec_value(&wake->count);
}

void wake_up(struct wake *wake)
{
    ck_ec_inc(&wake->count, &many_wakers);
}

/* By default ck_ec sleeps in slices of growing length, which overshoot the caller's deadline; here one
 * slice is the whole wait. */
static int sleep_until_deadline(const struct ck_ec_wait_state *state, struct timespec *slice_end)
{
    *slice_end = *(const struct timespec *)state->data;
    return 0;
}

void wake_wait(struct wake *wake, uint32_t seen, int64_t timeout_ms)
{
    int64_t ms = timeout_ms < 0 ? FOREVER_MS : timeout_ms;
    const struct timespec timeout = {ms / 1000, ms % 1000 * 1000000};
    struct timespec deadline;
    if (ck_ec_deadline(&deadline, &many_wakers, &timeout) == 0)
        (void)ck_ec_wait_pred(&wake->count, &many_wakers, seen, sleep_until_deadline, &deadline,
                              &deadline);
}

void wake_for_batches(void)
{
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
}
