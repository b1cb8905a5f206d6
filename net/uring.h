/*
 * uring.h: a thread's io_uring, and the eventfd by which other threads wake it.
 *
 * Usage, main:       uring_init -> uring_open … (the thread has ended) -> uring_close
 * Usage, the thread: uring_enable -> uring_arm_wake, and again at each of its completions; uring_sqe
 *
 * Thread: main opens and closes. In between everything belongs to the thread that has called uring_enable(), the
 *         ring's single issuer, except uring_wake(), which any thread may call.
 * Fails:  uring_open() with one line that says what the kernel refused and what can be done about it.
 */
#ifndef FLASHD_NET_URING_H
#define FLASHD_NET_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uring {
    struct io_uring ring; /* its ring_fd is -1 while there is none */
    int event_fd;         /* -1 while there is none */
    uint64_t event_value;
};

/* Nothing to close yet. */
static inline void uring_init(struct uring *uring)
{
    uring->ring.ring_fd = uring->event_fd = -1;
}

/* False and a line in error (no newline) on failure; the caller calls uring_close() in either case. */
bool uring_open(struct uring *uring, unsigned sq_entries, unsigned cq_entries, char *error,
                size_t error_bytes);
void uring_close(struct uring *uring);
/* Writes the line that says that `what` failed with `code`, a -errno of the kernel. Returns false. */
bool uring_explain(char *error, size_t error_bytes, const char *what, int code);

/* The caller becomes the ring's single issuer. */
bool uring_enable(const struct uring *uring);
/* A submission entry, never NULL: if the queue is full, submits it first. */
struct io_uring_sqe *uring_sqe(struct uring *uring);
/* The next uring_wake(), or an earlier one that is not read yet, completes with this user_data. */
void uring_arm_wake(struct uring *uring, uint64_t user_data);
/* A port's wake (port.h): arg is the struct uring. */
void uring_wake(void *arg);

#endif
