/*
 * wake.c: the futex under ck_ec (see wake.h).
 *
 * Thread: any. No spinning before the sleep: on a small machine the waker needs the core.
 * Fails: never; a spurious return only makes the caller look for work once more.
 */
#include "engine/wake.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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
    .initial_wait_ns = 1000000000,
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

void wake_wait(struct wake *wake, uint32_t seen, int64_t timeout_ms)
{
    if (timeout_ms < 0) {
        (void)ck_ec_wait(&wake->count, &many_wakers, seen, NULL);
        return;
    }
    const struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    struct timespec deadline;
    if (ck_ec_deadline(&deadline, &many_wakers, &timeout) == 0)
        (void)ck_ec_wait(&wake->count, &many_wakers, seen, &deadline);
}
