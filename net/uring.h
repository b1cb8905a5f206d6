/*
 * uring.h: what liburing 2.3 lacks.
 *
 * Thread: the thread that will be the ring's single issuer.
 */
#ifndef FLASHD_NET_URING_H
#define FLASHD_NET_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Enables a ring made with IORING_SETUP_R_DISABLED: the caller becomes its single issuer. liburing 2.3
 * declares io_uring_enable_rings() but does not export it. */
static inline bool uring_enable(const struct io_uring *ring)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) ==
           0;
}

#endif
