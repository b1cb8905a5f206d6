/*
 * outcome.h: every answer that the engine gives to a command, as one table.
 *
 * Thread: any; constants.
 * Each row: the HTTP status that net/ answers with, the problem's code (clients rely on it: never
 * change one), and a sentence. Adding an outcome touches one row here and the decision that names it.
 * flashd.db keeps answers under idempotency keys by the outcome's number: a new outcome goes to the
 * end, or SCHEMA_VERSION goes up.
 */
#ifndef FLASHD_ENGINE_OUTCOME_H
#define FLASHD_ENGINE_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

/*    name                 HTTP  problem code            detail */
#define OUTCOMES(X)                                                                                \
    X(DONE, 200, "", "")                                                                           \
    X(CREATED, 201, "", "")                                                                        \
    X(SALE_NOT_ACTIVE, 400, "sale-not-active", "the sale is not active")                           \
    X(SOLD_OUT, 400, "sold-out", "too few units are left unsold")                                  \
    X(ALREADY_JOINED, 400, "already-joined", "the buyer already has an order in this sale")        \
    X(QUANTITY_OVER_LIMIT, 400, "quantity-over-limit",                                             \
      "quantity is above what one buyer may take, or all that the sale has")                       \
    X(WAITLIST_FULL, 400, "waitlist-full", "the waiting list is full")                             \
    X(NOT_IN_PAYMENT, 400, "not-in-payment", "the order is not waiting for payment")               \
    X(HOLD_EXPIRED, 400, "hold-expired",                                                           \
      "the hold has expired and its units are gone; a refund is due")                              \
    X(NOT_CANCELLABLE, 400, "not-cancellable", "the order is neither waiting nor in payment")      \
    X(NO_SALE_ACTIVE, 400, "sale-required", "saleId is required: no sale is active")               \
    X(SEVERAL_SALES_ACTIVE, 400, "sale-required", "saleId is required: several sales are active")  \
    X(NO_SUCH_SALE, 404, "not-found", "saleId: no sale has this id")                               \
    X(NO_SUCH_ORDER, 404, "not-found", "transactionId: no transaction has this id")                \
    X(TOO_MANY_SALES, 400, "too-many-sales", "no more sales fit into this server")                 \
    X(STORAGE_FULL, 503, "storage-full",                                                           \
      "free disk space is below the threshold; no new orders are taken")                           \
    X(OVERLOAD, 503, "overload", "the server is busy; ask again")                                  \
    X(SALE_STOPPED, 400, "sale-not-active", "the sale is paused: reconcile-failed")

enum outcome {
#define X(name, status, code, detail) OUTCOME_##name,
    OUTCOMES(X)
#undef X
        OUTCOME_COUNT
};

struct outcome_row {
    uint16_t http_status;
    const char *code;
    const char *detail;
};

/* The row of an outcome; static. */
const struct outcome_row *outcome_row(enum outcome outcome);
/* Whether the client may ask the same again: then nothing is kept under its idempotency key. */
static inline bool outcome_is_passing(enum outcome outcome)
{
    return outcome_row(outcome)->http_status == 503;
}

#endif
