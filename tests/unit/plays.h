/*
 * plays.h: a unit test that is a text for the rig (tests/support/rig.h): it opens an engine with
 * two workers, plays the text, and fails with the line that did not come true.
 *
 * Usage: static void a_sentence(void **state) { (void)state; plays("buy ann 1 -> …\n"); }
 * After each line memory is compared with the history (model_compare), whatever the line asks.
 *
 * Thread: the test's.
 */
#ifndef FLASHD_TESTS_UNIT_PLAYS_H
#define FLASHD_TESTS_UNIT_PLAYS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/rig.h"

static inline void plays(const char *text)
{
    static struct rig rig;
    rig_open(&rig, 2);
    const char *wrong = rig_play(&rig, text);
    if (wrong != NULL)
        fail_msg("%s", wrong);
    rig_close(&rig);
}

#endif
