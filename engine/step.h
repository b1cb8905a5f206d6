/*
 * step.h: the two seams that tests use, both empty in the product.
 *
 * STEP(name)    a point between two shared-memory operations. With FLASHD_SIM the simulation runs every
 *               thread as a coroutine and may switch to another, or crash, at each such point.
 * FAULT(which)  true when the test build (FLASHD_FAULTS) was told to commit that deliberate fault, by
 *               fault_set() or the environment variable FLASHD_FAULT. Constant false in the product.
 */
#ifndef FLASHD_ENGINE_STEP_H
#define FLASHD_ENGINE_STEP_H

#include <stdbool.h>

/* tests/mutants/mutants.py tells what each of them breaks and which test catches it. */
#define FAULTS(X)                                                                                  \
    X(NONE, "none")                                                                                \
    X(ACK_BEFORE_COMMIT, "ack-before-commit")                                                      \
    X(RELEASE_BEFORE_CLAIM, "release-before-claim")                                                \
    X(SKIP_SEQ, "skip-seq")                                                                        \
    X(FORGET_HOLD, "forget-hold")                                                                  \
    X(FORGET_BUYER, "forget-buyer")                                                                \
    X(JOIN_AT_ONCE, "join-at-once")                                                                \
    X(DOUBLE_RELEASE, "double-release")                                                            \
    X(CLOSE_AT_ONCE, "close-at-once")                                                              \
    X(PLACE_BEFORE_SLOT, "place-before-slot")                                                      \
    X(PROMOTE_OUT_OF_ORDER, "promote-out-of-order")                                                \
    X(PROMOTE_WHILE_PAUSED, "promote-while-paused")                                                \
    X(FORGET_PROMOTED, "forget-promoted")                                                          \
    X(FORGET_CLEARING, "forget-clearing")                                                          \
    X(OVERTAKE, "overtake")                                                                        \
    X(SECOND_ORDER, "second-order")                                                                \
    X(PAY_OVER_EXPIRY, "pay-over-expiry")                                                          \
    X(CANCEL_OVER_PROMOTION, "cancel-over-promotion")                                              \
    X(PAY_EXPIRED_TWICE, "pay-expired-twice")                                                      \
    X(LOST_WAKE, "lost-wake")                                                                      \
    X(LOST_CALL, "lost-call")                                                                      \
    X(SHARED_SEAT, "shared-seat")                                                                  \
    X(LOST_UPDATE, "lost-update")                                                                  \
    X(FLIP_COUNTER, "flip-counter")                                                                \
    X(FLIP_ORDER, "flip-order")                                                                    \
    X(FLIP_STATE, "flip-state")                                                                    \
    X(LATE_VIEW,                                                                                   \
      "late-view") /* no fault: a commit is seen later, and slowly; nothing may go wrong */        \
    X(BLIND_ARCHIVE, "blind-archive") /* nor this: a read error, for the streams' reader only */   \
    X(KEY_AFTER_COMMIT, "key-after-commit")                                                        \
    X(KEY_TWICE, "key-twice")                                                                      \
    X(FORGET_KEYS, "forget-keys")                                                                  \
    X(FORGET_DIRECTORY, "forget-directory")                                                        \
    X(COMMIT_WITHOUT_SYNC, "commit-without-sync")                                                  \
    X(TRUST_CACHE, "trust-cache")                                                                  \
    X(IGNORE_SYNC_ERROR, "ignore-sync-error")                                                      \
    X(TRUST_INDEX, "trust-index")                                                                  \
    X(FORGET_LOST_PIECE, "forget-lost-piece")                                                      \
    X(STALE_TABLE, "stale-table")                                                                  \
    X(DROP_EVENT, "drop-event")                                                                    \
    X(PUBLISH_AHEAD, "publish-ahead")                                                              \
    X(LATE_STREAM, "late-stream")                                                                  \
    X(RESUME_OFF_BY_ONE, "resume-off-by-one")                                                      \
    X(CURSOR_PAST_RING, "cursor-past-ring")                                                        \
    X(SILENT_GAP, "silent-gap")                                                                    \
    X(BOTH_FRAMINGS, "both-framings")                                                              \
    X(TOKEN_EXPIRED, "token-expired")                                                              \
    X(TOKEN_UNSIGNED, "token-unsigned")                                                            \
    X(ANY_ROLE, "any-role")                                                                        \
    X(PAYMENT_UNSIGNED, "payment-unsigned")

enum fault {
#define X(name, text) FAULT_##name,
    FAULTS(X)
#undef X
        FAULT_COUNT
};

#ifdef FLASHD_SIM
void sim_step(const char *point);
#define STEP(point) sim_step(point)
#else
#define STEP(point) ((void)0)
#endif

#ifdef FLASHD_FAULTS
bool fault_active(enum fault fault);
void fault_set(enum fault fault);
/* The environment's and the tests' name of a fault; NULL past the last. */
const char *fault_name(enum fault fault);
#define FAULT(which) fault_active(which)
#else
#define FAULT(which) false
#endif

#endif
