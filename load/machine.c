/*
 * machine.c: see machine.h.
 *
 * Thread: main.
 */
#include "load/machine.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "load/clock.h"
#include "load/error.h"

enum {
    OTHER_DESCRIPTORS = 96
}; /* rings, pipes, files; and what a server of our own needs besides */

bool machine_has_descriptors(const struct options *o, char *error)
{
    struct rlimit limit = {0};
    uint64_t streams = (uint64_t)o->spectators + o->watchers, rest = o->connections;
    /* A server of our own has the same limit, and gives streams three quarters of it. */
    if (o->url == NULL && rest < (streams + 1) / 3 + 1)
        rest = (streams + 1) / 3 + 1;
    uint64_t needed = streams + rest + OTHER_DESCRIPTORS;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= needed)
        return true;
    return complain(error,
                    "too few descriptors: %" PRIu64
                    " are needed (%u connections, %u spectators, %u watchers, and what flashload "
                    "and a server of its own need besides), the limit is %" PRIu64
                    "; raise it (ulimit -n %" PRIu64 ") or ask for less",
                    needed, o->connections, o->spectators, o->watchers, (uint64_t)limit.rlim_cur,
                    needed);
}

uint64_t machine_own_cpu_ns(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}

uint64_t machine_cpu_ns_of(pid_t pid)
{
    char path[96];
    uint64_t total_ns = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = pid > 0 ? opendir(path) : NULL;
    const struct dirent *entry;
    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        uint64_t ran_ns = 0;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.32s/schedstat", (int)pid, entry->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fscanf(file, "%" SCNu64, &ran_ns) == 1)
            total_ns += ran_ns;
        (void)fclose(file);
    }
    if (tasks != NULL)
        (void)closedir(tasks);
    return total_ns;
}
