/*
 * findings.c: see findings.h.
 *
 * Thread: as there. In: a kind and words. Out: a count and the first words. Cannot fail.
 */
#include "load/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[FINDING_COUNT] = {
#define X(name, text) text,
    FINDINGS(X)
#undef X
};

const char *finding_name(enum finding_kind kind)
{
    return names[kind];
}

void finding(struct findings *findings, enum finding_kind kind, const char *format, ...)
{
    if (findings->of[kind].count++ != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(findings->of[kind].first, FINDING_TEXT_BYTES, format, arguments);
    va_end(arguments);
}

void findings_merge(struct findings *into, const struct findings *from)
{
    for (int kind = 0; kind < FINDING_COUNT; kind++) {
        if (into->of[kind].count == 0)
            memcpy(into->of[kind].first, from->of[kind].first, FINDING_TEXT_BYTES);
        into->of[kind].count += from->of[kind].count;
    }
}

uint64_t findings_total(const struct findings *findings)
{
    uint64_t total = 0;
    for (int kind = 0; kind < FINDING_COUNT; kind++)
        total += findings->of[kind].count;
    return total;
}
