/*
 * uring.c: see uring.h.
 *
 * Thread: main opens and closes; the ring's owner does the rest, except uring_wake().
 */
#include "net/uring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- opening ---- */

static const char *hint_for(int code, bool disabled)
{
    switch (-code) {
    case EPERM:
        return disabled ? ": kernel.io_uring_disabled is set"
                        : ": blocked, probably by a container's seccomp profile";
    case ENOSYS:
        return ": blocked, probably by a container's seccomp profile";
    case ENOMEM:
        return ": raise RLIMIT_MEMLOCK";
    case EMFILE:
        return ": raise RLIMIT_NOFILE";
    case EINVAL:
        return ": the kernel is older than 6.1";
    default:
        return "";
    }
}

bool uring_explain(char *error, size_t error_bytes, const char *what, int code)
{
    char setting[8] = "?";
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file != NULL) {
        if (fgets(setting, sizeof setting, file) != NULL)
            setting[strcspn(setting, "\n")] = '\0';
        (void)fclose(file);
    }
    bool disabled = setting[0] != '0' && setting[0] != '?';
    snprintf(error, error_bytes, "io_uring: %s: %s (kernel.io_uring_disabled=%s)%s", what,
             strerror(-code), setting, hint_for(code, disabled));
    return false;
}

bool uring_open(struct uring *uring, unsigned sq_entries, unsigned cq_entries, char *error,
                size_t error_bytes)
{
    /* The ring is made disabled: the thread that enables it is its single issuer. */
    struct io_uring_params params = {.cq_entries = cq_entries,
                                     .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED};
    uring->event_fd = eventfd(0, EFD_CLOEXEC);
    if (uring->event_fd < 0)
        return uring_explain(error, error_bytes, "making an eventfd", -errno);
    int rc = io_uring_queue_init_params(sq_entries, &uring->ring, &params);
    if (rc == 0)
        return true;
    uring->ring.ring_fd = -1;
    return uring_explain(error, error_bytes, "setting up a ring", rc);
}

void uring_close(struct uring *uring)
{
    if (uring->ring.ring_fd >= 0)
        io_uring_queue_exit(&uring->ring);
    if (uring->event_fd >= 0)
        (void)close(uring->event_fd);
    uring_init(uring);
}

/* ---- the owner's ---- */

/* liburing 2.3 declares io_uring_enable_rings() but does not export it. */
bool uring_enable(const struct uring *uring)
{
    return syscall(SYS_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                   0) == 0;
}

struct io_uring_sqe *uring_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    while (sqe == NULL) {
        (void)io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

void uring_arm_wake(struct uring *uring, uint64_t user_data)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    io_uring_prep_read(sqe, uring->event_fd, &uring->event_value, sizeof uring->event_value, 0);
    io_uring_sqe_set_data64(sqe, user_data);
}

/* ---- anybody's ---- */

void uring_wake(void *arg)
{
    const struct uring *uring = arg;
    const uint64_t one = 1;
    /* Fails only when the counter is full, and then the thread is being woken anyway. */
    ssize_t written = write(uring->event_fd, &one, sizeof one);
    (void)written;
}
