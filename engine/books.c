/*
 * books.c: the effect of every event on a sale's counters, and the rules that each must keep.
 *
 * Rules: sold + held + available = product_qty after every event (G1); an order moves only along
 * the arrows of order.h (G4); units are taken only when they are available, and never past the
 * waiting list. Thread: the owner of the books. Fails: returns the rule that an event breaks.
 */
#include "engine/books.h"

static const char *apply_sale(struct books *b, struct books_entry e)
{
    if ((e.kind == EVENT_SALE_CREATED) != (b->seq == 0))
        return "a sale's first event, and only that, is sale.created";
    switch (e.kind) {
    case EVENT_SALE_CREATED:
        b->product_qty = b->available = e.product_qty;
        b->state = SALE_UPCOMING;
        return NULL;
    case EVENT_SALE_STARTED:
        if (b->state != SALE_UPCOMING)
            return "only an upcoming sale starts";
        b->state = SALE_ACTIVE;
        return NULL;
    case EVENT_SALE_PAUSED:
        if (b->state != SALE_ACTIVE)
            return "only an active sale is paused";
        b->state = SALE_PAUSED;
        return NULL;
    case EVENT_SALE_STOPPED:
        if (b->state != SALE_ACTIVE && b->state != SALE_PAUSED)
            return "only an active or paused sale is stopped";
        b->state = SALE_STOPPED;
        return NULL;
    case EVENT_SALE_RESUMED:
        if (b->state != SALE_PAUSED && b->state != SALE_STOPPED)
            return "only a paused sale is resumed";
        b->state = SALE_ACTIVE;
        return NULL;
    case EVENT_SALE_ENDED:
        if (b->state == SALE_ENDED)
            return "a sale ends once";
        b->state = SALE_ENDED;
        return NULL;
    default: /* EVENT_SALE_SOLD_OUT */
        if (b->sold_out || b->sold != b->product_qty)
            return "a sale is sold out once, when every unit is paid";
        b->sold_out = true;
        return NULL;
    }
}

static const char *hold(struct books *b, uint32_t units)
{
    if (b->available < units)
        return "units are held that are not available";
    b->available -= units;
    b->held += units;
    return NULL;
}

static const char *free_held(struct books *b, uint32_t units)
{
    if (b->held < units)
        return "units are freed that nobody holds";
    b->held -= units;
    b->available += units;
    return NULL;
}

static const char *leave_queue(struct books *b)
{
    if (b->waiting == 0)
        return "an order leaves an empty waiting list";
    b->waiting--;
    return NULL;
}

static const char *pay(struct books *b, struct books_entry e)
{
    if (e.from == ORDER_EXPIRED) {
        if (b->waiting != 0)
            return "a late payment takes units past the waiting list";
        const char *wrong = hold(b, e.quantity);
        if (wrong != NULL)
            return wrong;
    }
    if (b->held < e.quantity)
        return "units are paid that nobody holds";
    b->held -= e.quantity;
    b->sold += e.quantity;
    return NULL;
}

static const char *apply_order(struct books *b, struct books_entry e)
{
    if (b->seq == 0)
        return "an order stands before its sale";
    if (!order_move_allowed(e.from, event_row(e.kind)->state_after))
        return "an order makes a move that its states do not have";
    const char *wrong;
    switch (e.kind) {
    case EVENT_ORDER_RESERVED:
        if (e.from != ORDER_NONE)
            return "a new order that is not new";
        if (b->state != SALE_ACTIVE)
            return "a new order in a sale that is not active";
        return b->waiting != 0 ? "a new order overtakes the waiting list" : hold(b, e.quantity);
    case EVENT_ORDER_QUEUED:
        if (b->state != SALE_ACTIVE)
            return "a new order in a sale that is not active";
        b->waiting++;
        return NULL;
    case EVENT_ORDER_PROMOTED:
        if (e.from != ORDER_WAITING)
            return "a promotion of an order that does not wait";
        if (b->state != SALE_ACTIVE)
            return "a promotion in a sale that is not active";
        wrong = leave_queue(b);
        return wrong != NULL ? wrong : hold(b, e.quantity);
    case EVENT_ORDER_PAID:
        return pay(b, e);
    case EVENT_ORDER_EXPIRED:
        return e.from == ORDER_PAYMENT ? free_held(b, e.quantity)
                                       : "an expiry of an order that holds nothing";
    case EVENT_ORDER_CANCELLED:
        return e.from == ORDER_WAITING ? leave_queue(b) : free_held(b, e.quantity);
    case EVENT_ORDER_CLEARED:
        return leave_queue(b);
    default: /* EVENT_ORDER_REFUND_DUE */
        return e.from == ORDER_EXPIRED ? NULL : "a refund for an order that has not expired";
    }
}

const char *books_apply(struct books *books, struct books_entry entry)
{
    struct books next = *books;
    if (entry.seq <= books->seq)
        return "a seq that does not rise";
    const char *wrong =
        event_is_of_order(entry.kind) ? apply_order(&next, entry) : apply_sale(&next, entry);
    if (wrong != NULL)
        return wrong;
    if ((uint64_t)next.sold + next.held + next.available != next.product_qty)
        return "sold + held + available is not the sale's stock";
    next.seq = entry.seq;
    *books = next;
    return NULL;
}
