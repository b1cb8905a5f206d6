/*
 * audience.h: the streams that only watch: spectators on the public stream, and one observer on the stream of all
 * events, for the audit.
 *
 * Thread: "audience" (audience_run). In: struct run. Out: run->audience, the ledger's events and public
 * states, findings. Fails: by run_fail() when a stream is refused or never begins, or without memory.
 */
#ifndef FLASHLOAD_AUDIENCE_H
#define FLASHLOAD_AUDIENCE_H

#include "load/run.h"

/* The thread's body; argument: struct run. */
void *audience_run(void *run);

#endif
