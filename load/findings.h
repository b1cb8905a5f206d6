/*
 * findings.h: what is wrong with the books, by kind: how often, and the first one in words.
 *
 *   oversold          more units promised than there are
 *   lost              an accepted request that the server no longer knows
 *   doubled           one buyer, order or unit twice
 *   out of FIFO       a buyer served before one who had waited longer; buyers not in order of payment
 *   missing event     an answer or a change without its event
 *   repeated event    an event twice, or a step that its order had already made
 *   wrong counter     figures that do not follow from the events
 *
 * Thread: each struct findings belongs to one thread; main merges them after the others have ended.
 */
#ifndef FLASHLOAD_FINDINGS_H
#define FLASHLOAD_FINDINGS_H

#include <stdint.h>

#define FINDINGS(X)                                                                                \
    X(OVERSOLD, "oversold")                                                                        \
    X(LOST, "lost")                                                                                \
    X(DOUBLED, "doubled")                                                                          \
    X(OUT_OF_FIFO, "out of FIFO order")                                                            \
    X(MISSING_EVENT, "missing event")                                                              \
    X(REPEATED_EVENT, "repeated event")                                                            \
    X(WRONG_COUNTER, "wrong counter")

enum finding_kind {
#define X(name, text) FINDING_##name,
    FINDINGS(X)
#undef X
        FINDING_COUNT
};

enum { FINDING_TEXT_BYTES = 200 };

struct findings {
    struct {
        uint64_t count;
        char first[FINDING_TEXT_BYTES];
    } of[FINDING_COUNT];
};

/* Counts one finding; the words of the first of its kind are kept. */
void finding(struct findings *findings, enum finding_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void findings_merge(struct findings *into, const struct findings *from);
uint64_t findings_total(const struct findings *findings);
const char *finding_name(enum finding_kind kind);

#endif
