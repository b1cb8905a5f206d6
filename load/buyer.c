/*
 * buyer.c: one buyer's way from arrival to done (drawn in crowd.h): what follows each answer, and what the ledger
 * keeps of it.
 *
 * Whether somebody pays, cancels or walks away, and how long they think, is drawn from (seed, buyer).
 *
 * Thread: buyers. Fails: an impossible answer is a finding or counts as an error.
 */
#include <inttypes.h>
#include <string.h>

#include "load/clock.h"
#include "load/crowd.h"
#include "load/draw.h"

/* The questions that chance decides (draw.h). */
enum question { WILL_PAY = 1, WILL_CANCEL, PRESSES_TWICE, THINKS, GIVES_UP_WAITING, LOOKS_AGAIN };

static double chance(const struct crowd *c, uint32_t index, enum question question)
{
    return draw(c->run->options.seed, index, (uint32_t)question);
}

static bool will_pay(const struct crowd *c, uint32_t index)
{
    return chance(c, index, WILL_PAY) <= c->run->options.pay_share;
}

static bool will_cancel(const struct crowd *c, uint32_t index)
{
    return !will_pay(c, index) && chance(c, index, WILL_CANCEL) <= 0.5;
}

static uint64_t after_thinking(const struct crowd *c, uint32_t index)
{
    return c->loop.now_ns +
           (uint64_t)(draw_span(c->run->options.think_ms, c->run->options.seed, index, THINKS) *
                      (double)NS_PER_MS);
}

static void done(struct crowd *c, struct buyer *b)
{
    if (b->state != BUYER_DONE)
        c->active--;
    b->state = BUYER_DONE;
}

/* ---- coming ---- */

void buyer_arrives(struct crowd *c, uint32_t index, uint64_t due_ns)
{
    struct buyer *b = crowd_buyer(c, index);
    struct ledger_order *order = crowd_order(c, index);
    if (b == NULL || order == NULL)
        return; /* run_fail() was called */
    c->run->buyers.counts[COUNT_ARRIVALS]++;
    c->active++;
    b->looks_left = (uint8_t)c->run->options.looks;
    b->state = b->looks_left > 0 ? BUYER_LOOKING : BUYER_BUYING;
    crowd_plan(c, index, b->looks_left > 0 ? STEP_LOOK : STEP_BUY, due_ns);
}

bool buyer_still_wants(struct crowd *c, const struct task *task)
{
    const struct buyer *b = crowd_buyer(c, task->buyer);
    switch ((enum step)task->step) {
    case STEP_LOOK:
        return b->state == BUYER_LOOKING;
    case STEP_BUY:
        return b->state == BUYER_BUYING;
    case STEP_CHECK:
        return b->state == BUYER_WAITING;
    case STEP_PAY:
        return b->state == BUYER_HELD;
    case STEP_TWICE: /* not once the hold may have expired: a second order would be right then */
        if (c->loop.now_ns >
            crowd_order(c, task->buyer)->replied_ns + c->run->options.hold_ms * NS_PER_MS / 2)
            return false;
        return b->state == BUYER_HELD || b->state == BUYER_WAITING;
    default: /* cancels */
        return b->state == BUYER_HELD || b->state == BUYER_WAITING;
    }
}

void buyer_asks(struct crowd *c, const struct task *task, uint64_t at_ns)
{
    struct ledger_order *order = crowd_order(c, task->buyer);
    if (task->step == STEP_BUY)
        order->sent_ns = at_ns;
    if (task->step == STEP_PAY)
        c->run->sales[order->sale].pays_asked++;
}

/* ---- having a unit, or a place ---- */

static void holds(struct crowd *c, uint32_t index, struct buyer *b)
{
    b->state = BUYER_HELD;
    if (will_pay(c, index))
        crowd_plan(c, index, STEP_PAY, after_thinking(c, index));
    else if (will_cancel(c, index))
        crowd_plan(c, index, STEP_CANCEL, after_thinking(c, index));
    else
        done(c, b); /* walks away: the hold will expire */
}

static void look_later(struct crowd *c, uint32_t index)
{
    double wait_ms = c->run->options.look_ms * (0.5 + chance(c, index, LOOKS_AGAIN));
    crowd_plan(c, index, STEP_CHECK, c->loop.now_ns + (uint64_t)(wait_ms * (double)NS_PER_MS));
}

static void waits(struct crowd *c, uint32_t index, struct buyer *b)
{
    b->state = BUYER_WAITING;
    if (b->over_early) {
        done(c, b);
    } else if (b->promoted_early) {
        holds(c, index, b);
    } else {
        if (!b->watched)
            look_later(c, index);
        if (will_cancel(c, index) && chance(c, index, GIVES_UP_WAITING) <= 0.5)
            crowd_plan(c, index, STEP_CANCEL, after_thinking(c, index));
    }
}

/* ---- the ledger ---- */

static uint64_t keep_seq(struct crowd *c, const struct visit *v)
{
    uint64_t seq = span_number(field_named(v->body, v->body_bytes, "seq"), 0);
    ledger_note_reply(&c->run->ledger, seq, c->loop.now_ns);
    return seq;
}

static void keep_code(struct crowd *c, const struct visit *v, unsigned status)
{
    struct span code = field_named(v->body, v->body_bytes, "code");
    char text[28];
    if (code.data == NULL || code.len == 0 || code.len >= sizeof text) {
        text[0] = (char)('0' + status / 100 % 10), text[1] = (char)('0' + status / 10 % 10);
        text[2] = (char)('0' + status % 10), text[3] = '\0';
    } else {
        memcpy(text, code.data, code.len);
        text[code.len] = '\0';
    }
    for (size_t i = 0; i < sizeof c->run->codes / sizeof *c->run->codes; i++) {
        struct codes *row = &c->run->codes[i];
        if (row->count != 0 && (row->step != v->task.step || strcmp(row->code, text) != 0))
            continue;
        memcpy(row->code, text, sizeof row->code);
        row->step = v->task.step;
        row->count++;
        return;
    }
}

static void count(struct crowd *c, enum count counted)
{
    c->run->buyers.counts[counted]++;
}

static uint64_t span_of(const struct crowd *c, const struct visit *v)
{
    uint64_t from_ns = options_open_loop(&c->run->options) ? v->task.due_ns : v->sent_ns;
    return c->loop.now_ns > from_ns ? c->loop.now_ns - from_ns : 0;
}

/* Nobody knows what became of the request: it may have been done. */
static void outcome_unknown(struct crowd *c, const struct visit *v)
{
    static const uint8_t unknown[STEP_COUNT] = {[STEP_BUY] = ORDER_BUY_UNKNOWN,
                                                [STEP_TWICE] = ORDER_BUY_UNKNOWN,
                                                [STEP_PAY] = ORDER_PAY_UNKNOWN,
                                                [STEP_CANCEL] = ORDER_CANCEL_UNKNOWN};
    crowd_order(c, v->task.buyer)->flags |= unknown[v->task.step];
}

/* 503 says that the request was not done; other 5xx, such as a gateway's 502, do not tell. A failed purchase is not
 * among the others' latencies: a server that sheds its load must not look faster for it. */
static void fault(struct crowd *c, const struct visit *v, unsigned status)
{
    if (v->task.step == STEP_BUY)
        measure(&c->run->buyers, LATENCY_FAILED, span_of(c, v));
    if (status >= 500 && status != 503)
        outcome_unknown(c, v);
    count(c, COUNT_ERRORS);
    keep_code(c, v, status);
}

/* ---- answers ---- */

static bool is_refusal(unsigned status)
{
    return status >= 400 && status < 500;
}

static bool is_code(const struct visit *v, const char *code)
{
    return span_is(field_named(v->body, v->body_bytes, "code"), code);
}

/* Finds refusals that are impossible when nobody but us buys in the sale. */
static void check_refusal(struct crowd *c, const struct visit *v, const struct ledger_order *order)
{
    const struct sale *sale = &c->run->sales[order->sale];
    if (!c->run->sales_are_ours)
        return;
    if (is_code(v, "sold-out") && sale->pays_asked < sale->stock)
        finding(&c->run->buyers_findings, FINDING_WRONG_COUNTER,
                "buyer %" PRIu32 " was refused as sold out when %" PRIu64 " of %" PRIu64
                " payments had been asked",
                v->task.buyer, sale->pays_asked, sale->stock);
    if (is_code(v, "already-joined") && v->task.step == STEP_BUY)
        finding(&c->run->buyers_findings, FINDING_DOUBLED,
                "buyer %" PRIu32 " was refused as joined already, and had never asked before",
                v->task.buyer);
}

/* The server has decided the purchase, one way or the other. */
static void served(struct crowd *c, const struct visit *v, enum count outcome, enum latency latency)
{
    count(c, COUNT_PURCHASES);
    count(c, outcome);
    measure(&c->run->buyers, LATENCY_BUY, span_of(c, v));
    measure(&c->run->buyers, latency, span_of(c, v));
}

static void accepted(struct crowd *c, const struct visit *v, struct buyer *b,
                     struct ledger_order *order)
{
    struct span id = field_named(v->body, v->body_bytes, "transactionId");
    bool waiting = span_is(field_named(v->body, v->body_bytes, "state"), "waiting");
    order->joined = waiting ? JOINED_WAITING : JOINED_PAYMENT;
    order->joined_seq = keep_seq(c, v);
    order->replied_ns = c->loop.now_ns;
    order->id_bytes = (uint8_t)(id.len <= ID_BYTES_MAX ? id.len : 0);
    if (order->id_bytes == 0) {
        fault(c, v, 201);
        done(c, b);
        return;
    }
    memcpy(order->id, id.data, order->id_bytes);
    served(c, v, waiting ? COUNT_WAITING : COUNT_ACCEPTED,
           waiting ? LATENCY_WAITING : LATENCY_ACCEPTED);
    if (will_pay(c, v->task.buyer) &&
        chance(c, v->task.buyer, PRESSES_TWICE) <= c->run->options.twice_share)
        crowd_plan(c, v->task.buyer, STEP_TWICE, c->loop.now_ns);
    if (waiting)
        waits(c, v->task.buyer, b);
    else
        holds(c, v->task.buyer, b);
}

static void bought(struct crowd *c, const struct visit *v, struct buyer *b, unsigned status)
{
    struct ledger_order *order = crowd_order(c, v->task.buyer);
    if (status == 201) {
        accepted(c, v, b, order);
        return;
    }
    done(c, b);
    if (!is_refusal(status)) {
        fault(c, v, status);
        return;
    }
    served(c, v, COUNT_REFUSED, LATENCY_REFUSED);
    keep_code(c, v, status);
    check_refusal(c, v, order);
}

/* A second order is right only when the first one's hold could have expired meanwhile. */
static void pressed_twice(struct crowd *c, const struct visit *v, unsigned status)
{
    struct ledger_order *order = crowd_order(c, v->task.buyer);
    if (status == 201) {
        uint64_t since_ns = c->loop.now_ns - order->replied_ns;
        bool may_have_expired = since_ns > (uint64_t)c->run->options.hold_ms * NS_PER_MS / 2;
        order->flags |= may_have_expired ? ORDER_BUY_UNKNOWN : ORDER_TWICE;
        (void)keep_seq(c, v);
    } else if (is_refusal(status)) {
        count(c, COUNT_TWICE_REFUSED);
        keep_code(c, v, status);
    } else {
        fault(c, v, status);
    }
}

/* The answer to a payment or a cancellation. */
static void settled(struct crowd *c, const struct visit *v, struct buyer *b, unsigned status)
{
    struct ledger_order *order = crowd_order(c, v->task.buyer);
    bool paying = v->task.step == STEP_PAY;
    if (status == 200) {
        *(paying ? &order->paid_seq : &order->cancelled_seq) = keep_seq(c, v);
        order->flags |= paying ? ORDER_PAID : ORDER_CANCELLED;
        count(c, paying ? COUNT_PAID : COUNT_CANCELLED);
        measure(&c->run->buyers, paying ? LATENCY_PAID : LATENCY_CANCELLED, span_of(c, v));
    } else if (is_refusal(status)) {
        order->flags |= paying ? ORDER_PAY_REFUSED : 0;
        order->flags |= paying && is_code(v, "hold-expired") ? ORDER_REFUND_DUE : 0;
        count(c, paying ? COUNT_PAY_REFUSED : COUNT_CANCEL_REFUSED);
        keep_code(c, v, status);
    } else {
        fault(c, v, status);
    }
    done(c, b);
}

static void looked(struct crowd *c, const struct visit *v, struct buyer *b, unsigned status)
{
    if (status == 200)
        measure(&c->run->buyers, LATENCY_LOOK, span_of(c, v));
    else
        fault(c, v, status);
    if (b->looks_left > 0)
        b->looks_left--;
    b->state = b->looks_left > 0 ? BUYER_LOOKING : BUYER_BUYING;
    crowd_plan(c, v->task.buyer, b->looks_left > 0 ? STEP_LOOK : STEP_BUY, c->loop.now_ns);
}

static void checked(struct crowd *c, const struct visit *v, struct buyer *b, unsigned status)
{
    struct span state = field_named(v->body, v->body_bytes, "state");
    if (status == 200)
        measure(&c->run->buyers, LATENCY_ORDER, span_of(c, v));
    else
        fault(c, v, status);
    if (b->state != BUYER_WAITING)
        return;
    if (span_is(state, "payment"))
        holds(c, v->task.buyer, b);
    else if (span_is(state, "waiting"))
        look_later(c, v->task.buyer);
    else
        done(c, b);
}

void buyer_answered(struct crowd *c, const struct visit *v, unsigned status)
{
    struct buyer *b = crowd_buyer(c, v->task.buyer);
    count(c, COUNT_ANSWERS);
    switch ((enum step)v->task.step) {
    case STEP_LOOK:
        looked(c, v, b, status);
        return;
    case STEP_BUY:
        bought(c, v, b, status);
        return;
    case STEP_TWICE:
        pressed_twice(c, v, status);
        return;
    case STEP_PAY:
    case STEP_CANCEL:
        settled(c, v, b, status);
        return;
    case STEP_CHECK:
        checked(c, v, b, status);
        return;
    default:
        return;
    }
}

/* Measures the wait so far: a server that does not answer at all must not look faster than a slow one. */
void buyer_waited_in_vain(struct crowd *c, const struct visit *v)
{
    if (v->task.step == STEP_BUY)
        measure(&c->run->buyers, LATENCY_BUY, span_of(c, v));
}

void buyer_unanswered(struct crowd *c, const struct visit *v)
{
    outcome_unknown(c, v);
    count(c, COUNT_UNANSWERED);
    count(c, COUNT_ERRORS);
    if (v->task.step != STEP_TWICE)
        done(c, crowd_buyer(c, v->task.buyer));
}

void buyer_hears(struct crowd *c, uint32_t index, enum seen_kind kind)
{
    struct buyer *b = crowd_buyer(c, index);
    bool promoted = kind == SEEN_PROMOTED, over = kind == SEEN_CLEARED;
    if (b->state == BUYER_BUYING) { /* the reply is still on its way */
        b->promoted_early |= promoted;
        b->over_early |= over;
    } else if (b->state == BUYER_WAITING && promoted) {
        holds(c, index, b);
    } else if (b->state == BUYER_WAITING && over) {
        done(c, b);
    }
}
