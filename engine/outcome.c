/*
 * outcome.c: the table of outcome.h.
 *
 * Thread: any; constants. In: an outcome. Out: its row. Cannot fail.
 */
#include "engine/outcome.h"

#include "engine/check.h"

static const struct outcome_row rows[OUTCOME_COUNT] = {
#define X(name, status, code, detail) [OUTCOME_##name] = {status, code, detail},
    OUTCOMES(X)
#undef X
};

const struct outcome_row *outcome_row(enum outcome outcome)
{
    MUST(outcome < OUTCOME_COUNT, "an outcome outside the table");
    return &rows[outcome];
}
