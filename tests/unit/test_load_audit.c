/*
 * test_load_audit.c: flashload's audit accepts right books and rejects wrong ones, of every kind.
 *
 * A small shop keeps right books: each act writes what the server would have answered, streamed and listed. A
 * test then damages one thing, as a wrong server would have, and expects the finding that names it.
 *
 * Thread: one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "load/audit.h"

enum { STOCK = 3, LISTED_MAX = 16 };

static struct shop {
    struct ledger ledger;
    struct final_sale sale;
    struct listed_buyer listed[LISTED_MAX];
    struct books books;
    uint64_t seq, now_ns;
} shop;

/* ---- right books ---- */

static struct ledger_order *order(uint32_t buyer)
{
    struct ledger_order *o = chunks_make(&shop.ledger.orders, buyer);
    if (buyer >= shop.ledger.buyer_count)
        shop.ledger.buyer_count = buyer + 1;
    if (o->id_bytes == 0)
        o->id_bytes = (uint8_t)snprintf(o->id, sizeof o->id, "order-of-%u", buyer);
    return o;
}

static uint64_t id_of(uint32_t buyer)
{
    const struct ledger_order *o = order(buyer);
    return ledger_hash((struct span){o->id, o->id_bytes});
}

static struct seen_event *event_at(uint64_t index)
{
    return chunks_make(&shop.ledger.events, index);
}

/* The event of a seq that the shop has told. */
static struct seen_event *event_of_seq(uint64_t seq)
{
    for (uint64_t i = 0; i < shop.ledger.event_count; i++)
        if (event_at(i)->seq == seq)
            return event_at(i);
    fail_msg("no seq %u", (unsigned)seq);
    return NULL;
}

/* Everybody has a stream of their own. */
static struct own_stream *own_stream_of(uint32_t buyer)
{
    struct own_stream *own = chunks_make(&shop.ledger.owns, buyer);
    own->buyer = buyer;
    for (; shop.ledger.own_count <= buyer; shop.ledger.own_count++) {
        struct own_stream *next = chunks_make(&shop.ledger.owns, shop.ledger.own_count);
        next->buyer = shop.ledger.own_count;
    }
    return own;
}

static uint64_t tell(enum seen_kind kind, uint32_t buyer)
{
    struct final_sale *s = &shop.sale;
    s->seq = ++shop.seq;
    s->remaining = s->stock - s->sold;
    *event_at(shop.ledger.event_count++) = (struct seen_event){.seq = shop.seq,
                                                               .id_hash = id_of(buyer),
                                                               .buyer = buyer,
                                                               .sale = 0,
                                                               .quantity = 1,
                                                               .available = (uint32_t)s->available,
                                                               .held = (uint32_t)s->held,
                                                               .sold = (uint32_t)s->sold,
                                                               .waiting = (uint32_t)s->waiting,
                                                               .kind = (uint8_t)kind};
    struct own_stream *own = own_stream_of(buyer);
    own->events[own->count++] = (struct own_event){shop.seq, (uint8_t)kind};
    struct public_state *p = chunks_make(&shop.ledger.publics, shop.seq);
    *p = (struct public_state){(uint32_t)s->remaining, (uint32_t)s->available, 1};
    return shop.seq;
}

static void tell_of_the_sale(enum seen_kind kind)
{
    (void)tell(kind, 0);
    struct own_stream *own = own_stream_of(0);
    own->count--; /* nobody's own */
    event_at(shop.ledger.event_count - 1)->buyer = NO_BUYER;
}

static void buys(uint32_t buyer)
{
    struct ledger_order *o = order(buyer);
    bool waits = shop.sale.available == 0 || shop.sale.waiting > 0;
    shop.sale.available -= !waits;
    shop.sale.held += !waits;
    shop.sale.waiting += waits;
    o->joined = waits ? JOINED_WAITING : JOINED_PAYMENT;
    o->sent_ns = shop.now_ns += 100;
    o->replied_ns = shop.now_ns += 100;
    o->joined_seq = tell(waits ? SEEN_QUEUED : SEEN_RESERVED, buyer);
}

static void pays(uint32_t buyer)
{
    shop.sale.held--;
    shop.sale.sold++;
    order(buyer)->flags |= ORDER_PAID;
    order(buyer)->paid_seq = tell(SEEN_PAID, buyer);
    shop.listed[shop.books.listed_count++] =
        (struct listed_buyer){.sale = 0, .buyer = buyer, .quantity = 1, .id_hash = id_of(buyer)};
}

static void cancels(uint32_t buyer)
{
    shop.sale.held--;
    shop.sale.available++;
    order(buyer)->flags |= ORDER_CANCELLED;
    order(buyer)->cancelled_seq = tell(SEEN_CANCELLED, buyer);
}

static void expires(uint32_t buyer)
{
    shop.sale.held--;
    shop.sale.available++;
    (void)tell(SEEN_EXPIRED, buyer);
}

static void is_promoted(uint32_t buyer)
{
    shop.sale.waiting--;
    shop.sale.available--;
    shop.sale.held++;
    (void)tell(SEEN_PROMOTED, buyer);
}

static void is_cleared(uint32_t buyer)
{
    shop.sale.waiting--;
    (void)tell(SEEN_CLEARED, buyer);
}

/* Eight buyers for three units: 0 to 2 hold, 3 to 6 wait; 1 cancels, 2 walks away; 0, 3 and 4 pay. */
static void a_day(void)
{
    for (uint32_t buyer = 0; buyer <= 6; buyer++)
        buys(buyer);
    pays(0);
    cancels(1);
    is_promoted(3);
    expires(2);
    is_promoted(4);
    pays(4);
    pays(3);
    tell_of_the_sale(SEEN_SALE_SOLD_OUT);
    is_cleared(5);
    is_cleared(6);
    (void)order(7); /* refused */
    (void)own_stream_of(7);
}

static int open_shop(void **state)
{
    (void)state;
    memset(&shop, 0, sizeof shop);
    shop.sale =
        (struct final_sale){.id = "sale", .stock = STOCK, .available = STOCK, .remaining = STOCK};
    shop.books = (struct books){.ledger = &shop.ledger,
                                .sales = &shop.sale,
                                .sale_count = 1,
                                .listed = shop.listed,
                                .ours_alone = true,
                                .gapless = true,
                                .events_held = true};
    return ledger_open(&shop.ledger, "t") ? 0 : -1;
}

static int close_shop(void **state)
{
    (void)state;
    ledger_close(&shop.ledger);
    return 0;
}

/* ---- the audit's words ---- */

static struct verdict audited(void)
{
    static struct verdict verdict;
    memset(&verdict, 0, sizeof verdict);
    assert_true(audit_books(&shop.books, &verdict));
    return verdict;
}

static void must_balance(void)
{
    struct verdict verdict = audited();
    for (int kind = 0; kind < FINDING_COUNT; kind++)
        if (verdict.findings.of[kind].count > 0)
            fail_msg("%s: %s", finding_name((enum finding_kind)kind),
                     verdict.findings.of[kind].first);
}

static void must_find(enum finding_kind kind)
{
    struct verdict verdict = audited();
    if (verdict.findings.of[kind].count == 0)
        fail_msg("%s was not found", finding_name(kind));
}

/* ---- right books balance ---- */

static void a_days_books_balance(void **state)
{
    (void)state;
    a_day();
    must_balance();
    struct verdict verdict = audited();
    assert_int_equal(verdict.answers, 7 + 3 + 1);
    assert_int_equal(verdict.events, shop.ledger.event_count);
    assert_int_equal(verdict.rows, 3);
    assert_int_equal(verdict.own_streams, 8);
    shop.books.events_held = false; /* without a token, too */
    must_balance();
}

static void a_second_order_after_expiry_balances(void **state)
{
    (void)state;
    buys(0);
    buys(1);
    expires(0);
    order(0)->id_bytes = 1; /* the same buyer, with an order of another id */
    shop.sale.available--;
    shop.sale.held++;
    (void)tell(SEEN_RESERVED, 0);
    order(0)->id_bytes = (uint8_t)strlen("order-of-0");
    (void)tell(SEEN_REFUND_DUE, 0);
    order(0)->flags |= ORDER_PAY_REFUSED | ORDER_REFUND_DUE | ORDER_BUY_UNKNOWN;
    pays(1);
    must_balance();
}

static void whoever_is_passed_may_turn_out_cancelled(void **state)
{
    (void)state;
    for (uint32_t buyer = 0; buyer <= 4; buyer++)
        buys(buyer);
    cancels(0);
    is_promoted(4); /* 3 has cancelled, and its event is still to come */
    shop.sale.waiting--;
    order(3)->flags |= ORDER_CANCELLED;
    order(3)->cancelled_seq = tell(SEEN_CANCELLED, 3);
    must_balance();
}

static void what_happens_after_the_sale_was_read_is_no_fault(void **state)
{
    (void)state;
    buys(0);
    buys(1);
    pays(0);
    const struct final_sale read = shop.sale;
    expires(1);
    shop.sale = read;
    must_balance();
}

static void an_own_stream_may_be_ahead_in_the_end(void **state)
{
    (void)state;
    buys(0);
    buys(1);
    pays(0);
    const struct final_sale read = shop.sale;
    expires(1);
    shop.sale = read;
    shop.ledger.event_count--;
    must_balance();
}

static void an_own_stream_of_one_who_never_came_is_silent(void **state)
{
    (void)state;
    a_day();
    must_balance();
    struct own_stream *own = own_stream_of(9);
    own->events[own->count++] = (struct own_event){3, SEEN_RESERVED};
    must_find(FINDING_REPEATED_EVENT);
}

/* ---- wrong books, of every kind ---- */

static void oversold_in_the_list(void **state)
{
    (void)state;
    a_day();
    shop.sale.sold = STOCK + 1;
    must_find(FINDING_OVERSOLD);
}

static void oversold_in_an_event(void **state)
{
    (void)state;
    a_day();
    event_of_seq(shop.ledger.event_count)->held = 1;
    must_find(FINDING_OVERSOLD);
}

static void oversold_by_payments(void **state)
{
    (void)state;
    a_day();
    order(5)->flags |= ORDER_PAID;
    must_find(FINDING_OVERSOLD);
}

static void lost_from_the_list(void **state)
{
    (void)state;
    a_day();
    shop.books.listed_count--;
    must_find(FINDING_LOST);
}

static void lost_purchase(void **state)
{
    (void)state;
    a_day();
    order(7)->joined = JOINED_PAYMENT; /* it was answered 201, and the server knows nothing */
    order(7)->joined_seq = 99;
    must_find(FINDING_LOST);
}

static void lost_payment(void **state)
{
    (void)state;
    a_day();
    order(2)->flags |= ORDER_PAID;
    order(2)->paid_seq = 77;
    must_find(FINDING_LOST);
}

static void a_refused_payment_of_a_live_hold_is_lost(void **state)
{
    (void)state;
    buys(0);
    must_balance();
    order(0)->flags |= ORDER_PAY_REFUSED;
    must_find(FINDING_LOST);
}

static void doubled_in_the_list(void **state)
{
    (void)state;
    a_day();
    shop.listed[2] = shop.listed[1];
    must_find(FINDING_DOUBLED);
}

static void doubled_order(void **state)
{
    (void)state;
    buys(0);
    order(0)->id_bytes = 1;
    shop.sale.available--;
    shop.sale.held++;
    (void)tell(SEEN_RESERVED, 0);
    order(0)->id_bytes = (uint8_t)strlen("order-of-0");
    must_find(FINDING_DOUBLED);
}

static void doubled_by_pressing_twice(void **state)
{
    (void)state;
    a_day();
    order(0)->flags |= ORDER_TWICE;
    must_find(FINDING_DOUBLED);
}

static void a_strangers_row_is_doubled(void **state)
{
    (void)state;
    a_day();
    shop.listed[1].buyer = NO_BUYER;
    must_find(FINDING_DOUBLED);
}

static void promoted_out_of_order(void **state)
{
    (void)state;
    for (uint32_t buyer = 0; buyer <= 4; buyer++)
        buys(buyer);
    cancels(0);
    is_promoted(4);
    must_find(FINDING_OUT_OF_FIFO);
}

static void served_before_who_waits(void **state)
{
    (void)state;
    for (uint32_t buyer = 0; buyer <= 3; buyer++)
        buys(buyer);
    cancels(0);
    shop.sale.available--;
    shop.sale.held++;
    order(4)->joined = JOINED_PAYMENT;
    order(4)->sent_ns = shop.now_ns += 100;
    order(4)->replied_ns = shop.now_ns += 100;
    order(4)->joined_seq = tell(SEEN_RESERVED, 4);
    must_find(FINDING_OUT_OF_FIFO);
}

static void listed_out_of_order(void **state)
{
    (void)state;
    a_day();
    struct listed_buyer first = shop.listed[0];
    shop.listed[0] = shop.listed[1];
    shop.listed[1] = first;
    must_find(FINDING_OUT_OF_FIFO);
}

static void drop_event(uint64_t index)
{
    for (uint64_t i = index; i + 1 < shop.ledger.event_count; i++)
        *event_at(i) = *event_at(i + 1);
    shop.ledger.event_count--;
}

static void missing_event(void **state)
{
    (void)state;
    a_day();
    drop_event(9); /* a promotion */
    must_find(FINDING_MISSING_EVENT);
    shop.books.gapless = false; /* also when seqs may have gaps */
    must_find(FINDING_MISSING_EVENT);
}

static void missing_last_event(void **state)
{
    (void)state;
    a_day();
    shop.ledger.event_count--;
    must_find(FINDING_MISSING_EVENT);
}

static void missing_on_an_own_stream(void **state)
{
    (void)state;
    a_day();
    own_stream_of(5)->count--;
    must_find(FINDING_MISSING_EVENT);
}

static void another_event_on_an_own_stream(void **state)
{
    (void)state;
    a_day();
    own_stream_of(5)->events[1].kind = SEEN_PROMOTED;
    must_find(FINDING_MISSING_EVENT);
}

static void repeated_event(void **state)
{
    (void)state;
    a_day();
    *event_at(shop.ledger.event_count) = *event_at(shop.ledger.event_count - 1);
    shop.ledger.event_count++;
    must_find(FINDING_REPEATED_EVENT);
}

static void repeated_step_with_a_new_seq(void **state)
{
    (void)state;
    a_day();
    (void)tell(SEEN_PAID, 3);
    order(3)->paid_seq = shop.seq;
    must_find(FINDING_REPEATED_EVENT);
}

static void repeated_on_an_own_stream(void **state)
{
    (void)state;
    a_day();
    struct own_stream *own = own_stream_of(3);
    own->events[own->count++] = own->events[0];
    must_find(FINDING_REPEATED_EVENT);
}

static void wrong_counter_in_an_event(void **state)
{
    (void)state;
    a_day();
    event_at(8)->waiting++;
    must_find(FINDING_WRONG_COUNTER);
}

static void wrong_units_in_an_event(void **state)
{
    (void)state;
    a_day();
    event_at(8)->available++;
    must_find(FINDING_WRONG_COUNTER);
}

static void wrong_counter_in_the_sale(void **state)
{
    (void)state;
    a_day();
    shop.sale.waiting = 1;
    must_find(FINDING_WRONG_COUNTER);
}

static void wrong_remaining(void **state)
{
    (void)state;
    a_day();
    shop.sale.remaining = 1;
    must_find(FINDING_WRONG_COUNTER);
}

static void wrong_public_frame(void **state)
{
    (void)state;
    a_day();
    struct public_state *p = chunks_get(&shop.ledger.publics, 9);
    p->remaining++;
    must_find(FINDING_WRONG_COUNTER);
}

static void more_sold_than_was_paid(void **state)
{
    (void)state;
    buys(0);
    buys(1);
    pays(0);
    must_balance();
    order(0)->flags = 0;
    shop.books.events_held = false;
    must_find(FINDING_WRONG_COUNTER);
}

static void missing_what_no_counter_shows(void **state)
{
    (void)state;
    a_day();
    for (uint64_t i = 0; i < shop.ledger.event_count; i++)
        if (event_at(i)->kind == SEEN_SALE_SOLD_OUT)
            event_at(i)->kind = SEEN_SALE_RESUMED;
    must_find(FINDING_MISSING_EVENT);
    shop.books.ours_alone = false; /* of others' sales the beginning was not seen */
    must_balance();
}

static void missing_refund(void **state)
{
    (void)state;
    buys(0);
    expires(0);
    order(0)->flags |= ORDER_PAY_REFUSED;
    must_balance(); /* sold out, say */
    order(0)->flags |= ORDER_REFUND_DUE;
    must_find(FINDING_MISSING_EVENT);
}

static void missing_the_end(void **state)
{
    (void)state;
    a_day();
    shop.sale.ended = true;
    must_find(FINDING_MISSING_EVENT);
    tell_of_the_sale(SEEN_SALE_ENDED);
    must_balance();
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, open_shop, close_shop)
    const struct CMUnitTest tests[] = {
        T(a_days_books_balance),
        T(a_second_order_after_expiry_balances),
        T(whoever_is_passed_may_turn_out_cancelled),
        T(what_happens_after_the_sale_was_read_is_no_fault),
        T(an_own_stream_may_be_ahead_in_the_end),
        T(an_own_stream_of_one_who_never_came_is_silent),
        T(oversold_in_the_list),
        T(oversold_in_an_event),
        T(oversold_by_payments),
        T(lost_from_the_list),
        T(lost_purchase),
        T(lost_payment),
        T(a_refused_payment_of_a_live_hold_is_lost),
        T(doubled_in_the_list),
        T(doubled_order),
        T(doubled_by_pressing_twice),
        T(a_strangers_row_is_doubled),
        T(promoted_out_of_order),
        T(served_before_who_waits),
        T(listed_out_of_order),
        T(missing_event),
        T(missing_last_event),
        T(missing_what_no_counter_shows),
        T(missing_refund),
        T(missing_the_end),
        T(missing_on_an_own_stream),
        T(another_event_on_an_own_stream),
        T(repeated_event),
        T(repeated_step_with_a_new_seq),
        T(repeated_on_an_own_stream),
        T(wrong_counter_in_an_event),
        T(wrong_units_in_an_event),
        T(wrong_counter_in_the_sale),
        T(wrong_remaining),
        T(wrong_public_frame),
        T(more_sold_than_was_paid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
