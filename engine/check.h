/*
 * check.h: asserts that stay on in release builds.
 *
 * Thread: any. A failed check ends the process: what is durable is recovered at the next start, and
 * nothing wrong is answered or written in between.
 * MUST(condition, what): `what` names the case that cannot happen.
 */
#ifndef FLASHD_ENGINE_CHECK_H
#define FLASHD_ENGINE_CHECK_H

#include <stdlib.h>

#include "engine/diag.h"

#define MUST(condition, what)                                                                      \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            diag(DIAG_ERROR, "cannot happen: %s (%s:%d)", what, __FILE__, __LINE__);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
