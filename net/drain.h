/*
 * drain.h: whether a client takes what was sent to it: by what its kernel acknowledges.
 *
 * That a send is complete says neither: it completes when the socket's buffer has room, with a client that reads nothing,
 * too; and in a full buffer only when about a third of it is free, for which a slow client needs its time. Nor does
 * TCP_USER_TIMEOUT tell a slow client from one that reads nothing: to Linux, a window that closes again and again is
 * closed all the time.
 * Source: sk_stream_is_writeable(), tcp_probe_timer() and SIOCOUTQ in tcp_ioctl(), in Linux's net/.
 *
 * Thread: the one that sends on the socket.
 */
#ifndef FLASHD_NET_DRAIN_H
#define FLASHD_NET_DRAIN_H

#include <linux/sockios.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* Before the first look, as *acknowledged_bytes. */
#define DRAIN_UNKNOWN INT64_MIN

/* given_bytes: what the kernel has taken for this socket, counted from anywhere. True if the client has acknowledged
 * more of it since the last look, or all of it; also at the first look. */
static inline bool drain_moves(int fd, int64_t given_bytes, int64_t *acknowledged_bytes)
{
    int left_bytes = 0;
    int64_t before = *acknowledged_bytes;
    if (before == given_bytes)
        return true;
    if (ioctl(fd, SIOCOUTQ, &left_bytes) != 0)
        return false;
    *acknowledged_bytes = given_bytes - left_bytes;
    return left_bytes == 0 || *acknowledged_bytes > before;
}

#endif
