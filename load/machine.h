/*
 * machine.h: the descriptors that this machine allows a run, and the CPU time that the run takes.
 *
 * Thread: main.
 */
#ifndef FLASHLOAD_MACHINE_H
#define FLASHLOAD_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "load/options.h"

/* Raises the soft limit of descriptors. False, with a line that says how many are needed, if it is too low for all
 * connections, or for a server of our own. */
bool machine_has_descriptors(const struct options *options, char *error);
/* CPU time in ns so far: our own, and that of a process; 0 when unknown. */
uint64_t machine_own_cpu_ns(void);
uint64_t machine_cpu_ns_of(pid_t pid);

#endif
