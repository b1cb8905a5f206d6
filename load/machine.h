/*
 * machine.h: what this machine gives a run, and what the run takes of it.
 *
 * Thread: main.
 */
#ifndef FLASHLOAD_MACHINE_H
#define FLASHLOAD_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "load/options.h"

/* Descriptors for all connections, and for a server of our own, raising the soft limit. False with a line that says
 * how many are needed. */
bool machine_has_descriptors(const struct options *options, char *error);
/* CPU time in ns so far: our own, and that of a process; 0 when unknown. */
uint64_t machine_own_cpu_ns(void);
uint64_t machine_cpu_ns_of(pid_t pid);

#endif
