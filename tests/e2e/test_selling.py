"""test_selling.py: the life of a sale and of its orders, driven by the clock and by requests."""
import time

from harness import eventually, expect_problem, ms_of, now_ms, patient, slack


# ------------------------------------------------------------------------------------- by the clock

def test_a_sale_starts_and_ends_by_the_clock_within_an_interval(t):
    shop = t.server().start()  # the default interval: 100 ms
    starts = now_ms() + 700
    ends = starts + 700
    sale = shop.new_sale(stock=1, startsAt=starts, endsAt=ends)["id"]
    changes = []
    while now_ms() < ends + 400 * slack():
        before = now_ms()
        state = shop.sale(sale)["state"]
        if not changes or changes[-1][0] != state:
            changes.append((state, before, now_ms()))
        time.sleep(0.005)
    assert [state for state, _, _ in changes] == ["UPCOMING", "ACTIVE", "ENDED"], changes
    for (_, before, after), due in zip(changes[1:], (starts, ends)):
        assert after >= due, "early"
        assert before <= due + 100 + 100 * slack(), f"{before - due} ms late"
    assert shop.event_types(sale=sale) == ["sale.created", "sale.started", "sale.ended"]


def test_a_sale_whose_start_is_past_is_active_within_an_interval(t):
    shop = t.server().start()
    sale = shop.new_sale(stock=1, starts_in_ms=-60000)["id"]
    shop.until(sale, within_s=0.4, state="ACTIVE")


def test_nobody_buys_before_the_start_in_a_pause_or_after_the_end(t):
    shop = t.shop()
    upcoming = shop.new_sale(stock=9, starts_in_ms=60000)["id"]
    expect_problem(shop.buy(upcoming, "ann"), 400, "sale-not-active")
    sale = shop.open_sale(stock=9)
    shop.must_steer(sale, "pause")
    expect_problem(shop.buy(sale, "ann"), 400, "sale-not-active")
    shop.must_steer(sale, "resume")
    shop.must_hold(sale, "ann")
    shop.must_steer(sale, "end")
    expect_problem(shop.buy(sale, "bob"), 400, "sale-not-active")
    assert shop.sale(sale)["held"] == 1


# ------------------------------------------------------------------------------------------ by hand

def test_a_sale_may_be_ended_early_also_before_it_starts(t):
    shop = t.shop()
    for starts_in_ms in (-1000, 60000):
        sale = shop.new_sale(stock=1, starts_in_ms=starts_in_ms)["id"]
        if starts_in_ms < 0:
            shop.until(sale, state="ACTIVE")
        assert shop.must_steer(sale, "end")["state"] == "ENDED"
        time.sleep(0.1)
        assert shop.sale(sale)["state"] == "ENDED"


def test_steering_a_sale_to_where_it_is_or_cannot_be_changes_nothing(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)

    def changes_nothing(sale, verb):
        before = shop.sale(sale)
        reply = shop.steer(sale, verb)
        assert reply.status == 200 or (400 <= reply.status < 500 and reply.code), reply
        assert shop.sale(sale) == before, verb

    changes_nothing(sale, "resume")
    shop.must_steer(sale, "pause")
    changes_nothing(sale, "pause")
    shop.must_steer(sale, "end")
    for verb in ("pause", "resume", "end"):
        changes_nothing(sale, verb)
    upcoming = shop.new_sale(stock=1, starts_in_ms=60000)["id"]
    changes_nothing(upcoming, "resume")
    for verb in ("pause", "resume"):  # nothing that was ended comes back
        reply = shop.steer(sale, verb)
        assert reply.status == 400 or reply.json["state"] == "ENDED", reply


def test_a_paused_sale_ends_by_the_clock(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, endsAt=now_ms() + 500)
    shop.must_steer(sale, "pause")
    shop.until(sale, state="ENDED")
    assert shop.event_types(sale=sale)[-2:] == ["sale.paused", "sale.ended"]


def test_in_a_pause_nobody_is_promoted_and_holds_are_paid_or_expire(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3, holdMs=600)
    ann, bob, cid = (shop.must_hold(sale, name) for name in ("ann", "bob", "cid"))
    dee, eve = shop.must_wait(sale, "dee"), shop.must_wait(sale, "eve")
    shop.must_steer(sale, "pause")
    shop.must_pay(ann)
    shop.must_cancel(bob)
    shop.until_order(cid, "expired")
    time.sleep(0.15)
    now = shop.sale(sale)
    assert (now["state"], now["available"], now["held"], now["sold"], now["waiting"]) == (
        "PAUSED", 2, 0, 1, 2)
    assert shop.order(dee)["state"] == "waiting"
    resumed = now_ms()
    shop.must_steer(sale, "resume")
    promoted = shop.until_order(dee, "payment")
    assert ms_of(promoted["expiresAt"]) >= resumed + 600, "a promoted hold has its full length"
    shop.until_order(eve, "payment")
    shop.balance_books()


def test_when_a_sale_ends_its_waiting_list_is_cleared_and_holds_stay_payable(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, holdMs=700)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    cid = shop.must_wait(sale, "cid")
    shop.must_steer(sale, "end")
    shop.until_order(cid, "cleared")
    assert shop.sale(sale)["waiting"] == 0
    shop.must_pay(ann)
    shop.until_order(bob, "expired")
    time.sleep(0.1)
    assert shop.order(cid)["state"] == "cleared", "nobody is promoted after the end"
    now = shop.sale(sale)
    assert (now["state"], now["sold"], now["held"], now["available"]) == ("ENDED", 1, 0, 1)
    shop.balance_books()


def test_when_a_sale_ends_by_the_clock_its_waiting_list_is_cleared(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, endsAt=now_ms() + 500)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    shop.until_order(bob, "cleared")
    assert shop.sale(sale)["state"] == "ENDED"
    shop.must_pay(ann)


# ----------------------------------------------------------------------------------------- the units

def test_sold_out_clears_the_waiting_list_and_refuses_from_then_on(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    cid, dee = shop.must_wait(sale, "cid"), shop.must_wait(sale, "dee")
    shop.must_pay(ann)
    assert shop.order(cid)["state"] == "waiting"
    shop.must_pay(bob)
    shop.until_order(cid, "cleared"), shop.until_order(dee, "cleared")
    now = shop.sale(sale)
    assert (now["sold"], now["remainingQty"], now["waiting"], now["held"]) == (2, 0, 0, 0)
    expect_problem(shop.buy(sale, "eve"), 400, "sold-out")
    expect_problem(shop.buy(sale, "cid"), 400, "sold-out")
    kinds = shop.event_types(sale=sale)
    assert kinds.count("sale.sold_out") == 1 and kinds.count("order.cleared") == 2, kinds
    assert kinds.index("sale.sold_out") < kinds.index("order.cleared")
    shop.balance_books()


def test_as_long_as_units_are_held_one_waits_and_is_not_told_sold_out(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    shop.must_pay(shop.must_hold(sale, "ann"))
    shop.must_hold(sale, "bob")
    shop.must_wait(sale, "cid")


def test_those_who_wait_are_promoted_in_the_order_they_came(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3)
    holds = [shop.must_hold(sale, f"holder {n}") for n in range(3)]
    waits = [shop.must_wait(sale, f"waiter {n}") for n in range(8)]
    shop.must_cancel(waits[1])  # leaves the middle of the list
    for n, hold in enumerate(holds):
        shop.must_cancel(hold)
        shop.until(sale, waiting=7 - n - 1)
    assert [shop.order(wait)["state"] for wait in waits] == (
        ["payment", "cancelled", "payment", "payment"] + ["waiting"] * 4)
    assert [shop.order(wait)["position"] for wait in waits[4:]] == [1, 2, 3, 4]
    promoted = [payload["transactionId"] for kind, payload in shop.events(sale=sale)
                if kind == "order.promoted"]
    assert promoted == [waits[0], waits[2], waits[3]]
    shop.balance_books()


def test_nobody_overtakes_a_head_that_wants_more(t):
    shop = t.shop()
    sale = shop.open_sale(stock=4, maxPerBuyer=3)
    ann, bob = shop.must_hold(sale, "ann", 2), shop.must_hold(sale, "bob", 1)
    # one unit is left, the head wants three
    big, small = shop.must_wait(sale, "big", 3), shop.must_wait(sale, "small", 1)
    late = shop.must_wait(sale, "late", 1)  # one unit is free, yet nobody overtakes
    shop.must_cancel(bob)
    time.sleep(0.15)
    now = shop.sale(sale)
    assert (now["available"], now["held"], now["waiting"]) == (2, 2, 3), now
    assert [shop.order(order)["state"] for order in (big, small, late)] == ["waiting"] * 3
    shop.must_cancel(ann)
    shop.until_order(big, "payment")
    shop.until_order(small, "payment")
    assert shop.order(late)["state"] == "waiting"
    shop.balance_books()


def test_when_the_head_that_wants_more_gives_up_the_next_are_promoted(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, maxPerBuyer=2)
    shop.must_hold(sale, "ann", 1)
    big, small = shop.must_wait(sale, "big", 2), shop.must_wait(sale, "small", 1)
    shop.must_cancel(big)
    shop.until_order(small, "payment")
    shop.balance_books()


def test_a_hold_expires_after_its_time_and_the_unit_goes_to_who_waited_longest(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=400)
    bought = shop.must_buy(sale, "ann")
    bob, cid = shop.must_wait(sale, "bob"), shop.must_wait(sale, "cid")
    due = ms_of(bought["expiresAt"])
    while now_ms() < due - 60:
        assert shop.order(bought["transactionId"])["state"] == "payment"
        time.sleep(0.01)
    shop.until_order(bought["transactionId"], "expired", within_s=0.5)
    assert now_ms() >= due - 20, "expired early"
    promoted = shop.until_order(bob, "payment", within_s=0.5)
    assert ms_of(promoted["expiresAt"]) >= due + 400 - 20, "a promoted hold has its full length"
    assert shop.order(cid)["state"] == "waiting"
    shop.until_order(bob, "expired")
    shop.until_order(cid, "payment")
    kinds = shop.event_types(sale=sale)
    assert kinds[2:] == ["order.reserved", "order.queued", "order.queued", "order.expired",
                         "order.promoted", "order.expired", "order.promoted"], kinds
    shop.balance_books()


# -------------------------------------------------------------------------------------- late payment

def test_a_late_payment_is_taken_when_the_unit_is_free_and_nobody_waits(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=100)
    ann = shop.must_hold(sale, "ann")
    shop.until_order(ann, "expired")
    assert shop.must_pay(ann)["success"] is True
    assert shop.order(ann)["state"] == "paid"
    now = shop.sale(sale)
    assert (now["sold"], now["available"], now["held"]) == (1, 0, 0)
    expect_problem(shop.buy(sale, "bob"), 400, "sold-out")
    shop.balance_books()


def test_a_late_payment_whose_unit_went_to_another_is_refused_and_a_refund_is_due(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=300)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    shop.until_order(ann, "expired")
    shop.until_order(bob, "payment")
    expect_problem(shop.pay(ann), 400, "hold-expired")
    due = [payload for kind, payload in shop.events(transaction=ann) if kind == "order.refund_due"]
    assert len(due) == 1, "the answer comes after its event is durable"
    assert (due[0]["saleId"], due[0]["buyerName"], due[0]["quantity"]) == (sale, "ann", 1)
    assert shop.order(ann)["state"] == "expired"
    shop.must_pay(bob)
    shop.balance_books()


def test_a_refund_that_is_due_is_told_once_however_often_it_is_asked(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=150)
    ann = shop.must_hold(sale, "ann")
    bob = shop.must_wait(sale, "bob")
    shop.until_order(bob, "payment")
    shop.must_pay(bob)
    for _ in range(3):
        expect_problem(shop.pay(ann), 400, "hold-expired")
    shop.restart()
    expect_problem(shop.pay(ann), 400, "hold-expired")
    assert shop.event_types(transaction=ann).count("order.refund_due") == 1


def test_who_waits_for_more_than_can_ever_be_free_does_not_jam_the_list(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3, maxPerBuyer=3)
    ann, bob = shop.must_hold(sale, "ann", 2), shop.must_hold(sale, "bob", 1)
    big, small = shop.must_wait(sale, "big", 3), shop.must_wait(sale, "small", 1)
    shop.must_pay(ann)
    shop.until_order(big, "cleared")
    assert shop.order(small)["state"] == "waiting"
    expect_problem(shop.buy(sale, "greedy", 3), 400, "sold-out")
    shop.must_cancel(bob)
    shop.until_order(small, "payment")
    shop.balance_books()


def test_a_late_payment_does_not_overtake_somebody_who_waits(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, maxPerBuyer=2, holdMs=300)
    ann = shop.must_hold(sale, "ann", 1)
    big = shop.must_wait(sale, "big", 2)  # one unit is free, one is held
    shop.must_steer(sale, "pause")        # so that expiry does not promote at once
    shop.until_order(ann, "expired")
    expect_problem(shop.pay(ann), 400, "hold-expired")
    assert "order.refund_due" in shop.event_types(transaction=ann)
    shop.must_steer(sale, "resume")
    shop.until_order(big, "payment")
    shop.balance_books()


def test_a_late_payment_never_gives_a_buyer_two_live_orders(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5, holdMs=150)
    first = shop.must_hold(sale, "ann")
    shop.until_order(first, "expired")
    shop.must_hold(sale, "ann")
    expect_problem(shop.pay(first), 400, "hold-expired")
    assert shop.order(first)["state"] == "expired"
    live = shop.rows("SELECT count(*) FROM orders WHERE buyer = 'ann' AND state IN ('payment','paid','waiting')")
    assert live[0][0] <= 1, live
    shop.balance_books()


# ------------------------------------------------------------------------------------ who may do what

def test_only_a_held_order_can_be_paid(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    cid = shop.must_wait(sale, "cid")
    shop.must_pay(ann)
    expect_problem(shop.pay(ann), 400, "not-in-payment")
    expect_problem(shop.pay(cid), 400, "not-in-payment")
    shop.must_cancel(cid)
    expect_problem(shop.pay(cid), 400, "not-in-payment")
    shop.must_cancel(bob)
    expect_problem(shop.pay(bob), 400, "not-in-payment")
    assert shop.sale(sale)["sold"] == 1


def test_only_a_held_or_waiting_order_can_be_cancelled(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, holdMs=60000)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    cid = shop.must_wait(sale, "cid")
    shop.must_pay(ann)
    expect_problem(shop.cancel(ann), 400, "not-cancellable")
    shop.must_cancel(cid)
    expect_problem(shop.cancel(cid), 400, "not-cancellable")
    shop.must_cancel(bob)
    expect_problem(shop.cancel(bob), 400, "not-cancellable")
    brief = shop.open_sale(stock=1, holdMs=100)
    dee = shop.must_hold(brief, "dee")
    shop.until_order(dee, "expired")
    expect_problem(shop.cancel(dee), 400, "not-cancellable")
    shop.balance_books()


def test_a_buyer_has_one_live_order_and_is_told_its_state_but_not_its_id(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=60000)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    for buyer, order, state in (("ann", ann, "payment"), ("bob", bob, "waiting")):
        reply = shop.buy(sale, buyer)
        problem = expect_problem(reply, 400, "already-joined")
        assert problem.get("state") == state, problem
        assert order not in reply.body.decode(), "a transaction id is a capability"
    roomy = shop.open_sale(stock=3)
    shop.must_pay(shop.must_hold(roomy, "ann"))  # one sale does not keep her from another
    assert expect_problem(shop.buy(roomy, "ann"), 400, "already-joined")["state"] == "paid"


def test_after_expiry_or_cancellation_a_buyer_may_buy_again(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, holdMs=250)
    first = shop.must_hold(sale, "ann")
    shop.must_cancel(first)
    second = shop.must_hold(sale, "ann")
    assert second != first
    shop.until_order(second, "expired")
    third = shop.must_hold(sale, "ann")
    shop.must_pay(third)
    assert [shop.order(order)["state"] for order in (first, second, third)] == [
        "cancelled", "expired", "paid"]
    shop.balance_books()


def test_names_that_differ_in_a_byte_are_different_buyers(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9)
    for name in ("ann", "Ann", "ann ", " ann", "änn", "a\u0308nn", "ann\u200b"):
        shop.must_hold(sale, name)
    assert shop.sale(sale)["held"] == 7


def test_a_quantity_above_the_limit_per_buyer_is_refused(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9, maxPerBuyer=3)
    for many in (4, 10 ** 9 + 1, 2 ** 32 + 1, 2 ** 53):
        expect_problem(shop.buy(sale, "ann", many), 400, "quantity-over-limit")
    assert shop.must_buy(sale, "ann", 3)["quantity"] == 3
    single = shop.open_sale(stock=9)
    expect_problem(shop.buy(single, "ann", 2), 400, "quantity-over-limit")


def test_a_full_waiting_list_refuses_and_takes_again_when_one_leaves(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, waitlistMax=2)
    shop.must_hold(sale, "ann")
    bob, _ = shop.must_wait(sale, "bob"), shop.must_wait(sale, "cid")
    expect_problem(shop.buy(sale, "dee"), 400, "waitlist-full")
    shop.must_cancel(bob)
    shop.must_wait(sale, "dee")
    expect_problem(shop.buy(sale, "eve"), 400, "waitlist-full")
    shop.balance_books()


def test_a_sale_without_a_waiting_list_refuses_at_once(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, waitlistMax=0)
    shop.must_hold(sale, "ann")
    expect_problem(shop.buy(sale, "bob"), 400, "waitlist-full")


def test_without_a_sale_id_the_only_active_sale_is_meant(t):
    shop = t.shop()
    expect_problem(shop.buy(None, "ann"), 400, "sale-required")
    shop.new_sale(stock=5, starts_in_ms=60000)
    expect_problem(shop.buy(None, "ann"), 400, "sale-required")
    first = shop.open_sale(stock=5)
    assert shop.must_buy(None, "ann")["saleId"] == first
    second = shop.open_sale(stock=5)
    expect_problem(shop.buy(None, "bob"), 400, "sale-required")
    shop.must_steer(first, "pause")
    assert shop.must_buy(None, "bob")["saleId"] == second
    shop.must_steer(second, "end")
    expect_problem(shop.buy(None, "cid"), 400, "sale-required")


def test_two_sales_do_not_touch_each_other(t):
    shop = t.shop()
    one, two = shop.open_sale(stock=1), shop.open_sale(stock=1)
    ann = shop.must_hold(one, "ann")
    shop.must_hold(two, "ann")
    shop.must_wait(one, "bob")
    shop.must_cancel(ann)
    shop.until(one, waiting=0)
    assert (shop.sale(two)["held"], shop.sale(two)["waiting"]) == (1, 0)
    shop.balance_books()


def test_every_order_event_carries_the_counters_after_it(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    ann = shop.must_hold(sale, "ann")
    shop.must_hold(sale, "bob")
    shop.must_wait(sale, "cid")
    shop.must_pay(ann)
    told = [(kind, payload["available"], payload["held"], payload["sold"], payload["waiting"])
            for kind, payload in shop.events(sale=sale) if kind.startswith("order.")]
    assert told == [("order.reserved", 1, 1, 0, 0), ("order.reserved", 0, 2, 0, 0),
                    ("order.queued", 0, 2, 0, 1), ("order.paid", 0, 1, 1, 1)], told


@patient
def test_a_thousand_orders_later_the_books_balance(t):
    import random
    shop = t.shop()
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    sale = shop.open_sale(stock=40, maxPerBuyer=3, holdMs=250)
    known = []
    for n in range(1000):
        what = dice.random()
        if what < 0.5 or not known:
            reply = shop.buy(sale, f"buyer {dice.randrange(200)}", dice.randint(1, 3))
            assert reply.status == 201 or reply.code in ("already-joined", "sold-out"), (seed, reply)
            if reply.status == 201:
                known.append(reply.json["transactionId"])
        elif what < 0.6:
            reply = shop.pay(dice.choice(known))
            assert reply.status == 200 or reply.code in ("not-in-payment", "hold-expired"), (seed, reply)
        else:
            reply = shop.cancel(dice.choice(known))
            assert reply.status == 200 or reply.code == "not-cancellable", (seed, reply)
    shop.balance_books()
    now = shop.sale(sale)
    books = eventually(lambda: _same(shop, sale), what=f"counters as in the books, seed {seed}")
    assert books and now["productQty"] == 40


def _same(shop, sale):
    told = shop.balance_books().sales[sale]
    now = shop.sale(sale)
    return all(now[key] == value for key, value in told.counters().items()) and now["state"] == told.state
