/*
 * fault.c: deliberate faults by name, for the build that tests the tests (see step.h).
 *
 * Thread: fault_set() before the threads start; fault_active() from any.
 * In the product this file is empty.
 */
#include "engine/step.h"

#ifdef FLASHD_FAULTS
#include <stdlib.h>
#include <string.h>

static const char *const fault_names[FAULT_COUNT] = {
#define X(name, text) [FAULT_##name] = text,
    FAULTS(X)
#undef X
};

static enum fault chosen = FAULT_NONE;

const char *fault_name(enum fault fault)
{
    return fault < FAULT_COUNT ? fault_names[fault] : NULL;
}

__attribute__((constructor)) static void fault_from_environment(void)
{
    const char *wanted = getenv("FLASHD_FAULT");
    for (unsigned i = 0; wanted != NULL && i < FAULT_COUNT; i++)
        if (strcmp(wanted, fault_names[i]) == 0)
            chosen = (enum fault)i;
}

void fault_set(enum fault fault)
{
    chosen = fault;
}

bool fault_active(enum fault fault)
{
    return chosen == fault;
}
#else
typedef int fault_not_in_the_product; /* ISO C forbids an empty translation unit */
#endif
