"""
test_time.py: the wall clock jumps an hour either way under a running server (Debian's libfaketime).

Holds run on the monotonic clock, sales and tokens on the wall clock; a deadline that has fired does not fire again.
Across a restart only the wall clock is left: remaining hold times come from it, clamped to [0, holdMs].
"""
import glob
import os
import time

from harness import (SECRET, eventually, expect_problem, mint, ms_of, now_ms, patient, slack)
from sse import Stream
from test_streams import EVENTS, Load, committed, head, heard, same

HOUR_S = 3600
HOLD_MS = 2000
DAY_MS = 24 * 3600 * 1000
EARLY_MS = 400  # a thread reads the clock before it takes a round's requests; on a busy machine, long before
LATE_MS = 700  # how much later than due a thing may be seen, on a busy machine


class Wall:
    """The server's wall clock: the machine's, and as many seconds more as the test says."""

    def __init__(self, t, name="wall"):
        self.path = os.path.join(t.folder, name)
        self.jump(0)

    def jump(self, to_s):
        with open(self.path + ".new", "w", encoding="ascii") as out:
            out.write(f"{to_s:+d}\n")
        os.replace(self.path + ".new", self.path)  # it is read at every look at the clock
        self.now_s = to_s

    def environment(self):
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        assert library, "no libfaketime: `./run test` installs it"
        return {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def open_shop(t, *flags):
    """A shop and its wall clock, shown to follow it."""
    wall = Wall(t)
    shop = t.shop(*flags, env=wall.environment())
    shop._admin = mint(SECRET, sub="boss", role="admin", exp=now_ms() // 1000 + 24 * HOUR_S)
    return shop, wall


def server_now_ms(shop):
    """By the Date field: whole seconds."""
    from email.utils import parsedate_to_datetime
    date = shop.get("/health/live").header("date")
    assert date, "no Date to tell the server's clock by"
    return int(parsedate_to_datetime(date).timestamp() * 1000)


def until_jumped(shop, wall):
    eventually(lambda: abs(server_now_ms(shop) - now_ms() - wall.now_s * 1000) < 2500, 2,
               what=f"the server's clock at {wall.now_s:+d} s")


def ended_after_ms(shop, order, since):
    """Looks until the order is no longer held; ms since then."""
    eventually(lambda: shop.order(order)["state"] != "payment", 3 + HOLD_MS / 1000, every_s=0.005,
               what=f"the end of {shop.order(order)}")
    return (time.monotonic() - since) * 1000


def within(value, low, high):
    assert low <= value <= high * slack(), f"{value:.0f} is not in {low:.0f} to {high * slack():.0f}"


def holds_keep_their_length(t, jump_s):
    shop, wall = open_shop(t)
    sale = shop.open_sale(stock=1, holdMs=HOLD_MS, lasts_ms=DAY_MS)
    asked = time.monotonic()
    ann = shop.must_hold(sale, "ann")
    bob = shop.must_wait(sale, "bob")
    time.sleep(0.4)
    wall.jump(jump_s)
    until_jumped(shop, wall)
    within(ended_after_ms(shop, ann, asked), HOLD_MS - EARLY_MS, HOLD_MS + LATE_MS)
    promoted = time.monotonic()
    assert shop.order(ann)["state"] == "expired"
    shop.until_order(bob, "payment")
    left_ms = ms_of(shop.order(bob)["expiresAt"]) - now_ms() - jump_s * 1000
    within(left_ms, HOLD_MS - LATE_MS, HOLD_MS)  # what is told is the time by the wall as it is now
    time.sleep(0.4)
    wall.jump(0)
    until_jumped(shop, wall)
    within(ended_after_ms(shop, bob, promoted), HOLD_MS - EARLY_MS, HOLD_MS + LATE_MS)
    cid = shop.must_hold(sale, "cid")
    wall.jump(jump_s)
    until_jumped(shop, wall)
    shop.must_pay(cid)
    kinds = shop.event_types(sale=sale)
    assert kinds.count("order.expired") == 2 and kinds.count("order.promoted") == 1, kinds
    shop.balance_books()


@patient
def test_a_hold_keeps_its_length_when_the_wall_clock_jumps_forward(t):
    holds_keep_their_length(t, HOUR_S)


@patient
def test_a_hold_keeps_its_length_when_the_wall_clock_jumps_back(t):
    holds_keep_their_length(t, -HOUR_S)


def lifecycle(shop, sale):
    return [kind for kind in shop.event_types(sale=sale) if kind.startswith("sale.")]


@patient
def test_sales_start_and_end_by_the_new_wall_time_and_never_twice(t):
    shop, wall = open_shop(t)
    minute = 60000
    lasting = shop.new_sale(starts_in_ms=30 * minute, lasts_ms=120 * minute)["id"]
    passed = shop.new_sale(starts_in_ms=20 * minute, lasts_ms=20 * minute)["id"]
    later = shop.new_sale(starts_in_ms=90 * minute, lasts_ms=20 * minute)["id"]
    wall.jump(HOUR_S)
    shop.until(lasting, state="ACTIVE")
    shop.until(passed, state="ENDED")  # both its moments lay in the jump
    assert shop.sale(later)["state"] == "UPCOMING"
    ann = shop.must_hold(lasting, "ann")
    for jump_s in (0, HOUR_S, -HOUR_S, 0, HOUR_S):  # its start passes again and again
        wall.jump(jump_s)
        until_jumped(shop, wall)
        time.sleep(0.1)
        assert [shop.sale(sale)["state"] for sale in (lasting, passed, later)] == ["ACTIVE", "ENDED", "UPCOMING"]
        expect_problem(shop.buy(passed, "bob"), 400, "sale-not-active")
    shop.must_pay(ann)
    wall.jump(3 * HOUR_S)
    for sale in (lasting, later):
        shop.until(sale, state="ENDED")
    wall.jump(HOUR_S)
    until_jumped(shop, wall)
    time.sleep(0.1)
    for sale in (lasting, passed, later):
        assert shop.sale(sale)["state"] == "ENDED"
        assert lifecycle(shop, sale) == ["sale.created", "sale.started", "sale.ended"], lifecycle(shop, sale)
    shop.restart()
    wall.jump(0)
    time.sleep(0.1)
    assert shop.sale(lasting)["state"] == "ENDED" and lifecycle(shop, lasting).count("sale.ended") == 1
    shop.balance_books()


@patient
def test_an_end_that_was_near_is_an_hour_away_when_the_wall_clock_jumps_back(t):
    shop, wall = open_shop(t)
    sale = shop.open_sale(lasts_ms=2500)
    wall.jump(-HOUR_S)
    until_jumped(shop, wall)
    time.sleep(2.2)
    assert shop.sale(sale)["state"] == "ACTIVE"
    shop.must_hold(sale, "ann")
    wall.jump(0)
    shop.until(sale, state="ENDED")
    assert lifecycle(shop, sale).count("sale.ended") == 1


@patient
def test_jumps_under_load_lose_and_repeat_no_event_and_cut_off_nobody(t):
    shop, wall = open_shop(t, "--workers", "2", "--net-threads", "2")
    busy = shop.open_sale(stock=1000000, holdMs=300, lasts_ms=DAY_MS)
    starting = [shop.new_sale(starts_in_ms=1800000 + n * 1000)["id"] for n in range(20)]
    stream = Stream(shop.port, EVENTS, token=shop.admin, last=0)
    idle = shop.wire()
    with Load(shop, busy, depth=8, pause_s=0.01):
        for n in range(24):
            wall.jump((HOUR_S, -HOUR_S, 0)[n % 3])
            time.sleep(0.07)
    wall.jump(0)
    eventually(lambda: shop.sale(busy)["held"] == 0, 3, what="every hold expired")
    end = head(shop)
    got = heard(stream.until(lambda event: event.id == end, within_s=20))
    same(got, committed(shop))
    kinds = [kind for _, kind, _ in got]
    assert kinds.count("order.expired") == kinds.count("order.reserved") > 100
    for sale in starting:
        assert lifecycle(shop, sale) == ["sale.created", "sale.started"], (sale, lifecycle(shop, sale))
    idle.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.read_reply().status == 200
    stream.close()
    shop.balance_books()


@patient
def test_a_token_expires_by_the_wall_clock(t):
    shop, wall = open_shop(t)
    token = mint(SECRET, sub="auditor", role="consumer", exp=now_ms() // 1000 + HOUR_S // 2)
    with Stream(shop.port, EVENTS, token=token) as stream:
        assert stream.is_stream
        wall.jump(HOUR_S)
        assert stream.ends(within_s=3), "a stream outlived its token"
    with Stream(shop.port, EVENTS, token=token) as stream:
        assert stream.reply.status == 401, stream.reply
    wall.jump(0)
    until_jumped(shop, wall)
    with Stream(shop.port, EVENTS, token=token) as stream:
        assert stream.is_stream


def hold_over_a_restart(t, jump_s):
    """(ms from the purchase to its end, ms from the restart, holdMs); it was killed half a second in."""
    shop, wall = open_shop(t)
    sale = shop.open_sale(stock=1, holdMs=HOLD_MS, lasts_ms=DAY_MS)
    bought = time.monotonic()
    ann = shop.must_hold(sale, "ann")
    bob = shop.must_wait(sale, "bob")
    time.sleep(0.5)
    shop.kill()
    wall.jump(jump_s)
    shop.start()
    ready = time.monotonic()
    order = shop.order(ann)
    if order["state"] == "payment":  # what it is told now is what is left, by the new wall
        left_ms = ms_of(order["expiresAt"]) - now_ms() - jump_s * 1000
        assert -LATE_MS <= left_ms <= HOLD_MS + 50, left_ms
    since_restart = ended_after_ms(shop, ann, ready)
    since_purchase = (time.monotonic() - bought) * 1000
    shop.until_order(bob, "payment")
    assert shop.event_types(transaction=ann) == ["order.reserved", "order.expired"]
    shop.balance_books()
    return since_purchase, since_restart


@patient
def test_a_holds_remaining_time_survives_a_kill(t):
    since_purchase, _ = hold_over_a_restart(t, 0)
    within(since_purchase, HOLD_MS - EARLY_MS, HOLD_MS + LATE_MS)


@patient
def test_a_hold_is_over_when_the_wall_clock_jumped_past_it_while_the_server_was_down(t):
    _, since_restart = hold_over_a_restart(t, HOUR_S)
    within(since_restart, 0, LATE_MS)


@patient
def test_a_hold_is_never_longer_than_it_was_when_the_wall_clock_jumped_back_while_the_server_was_down(t):
    _, since_restart = hold_over_a_restart(t, -HOUR_S)
    within(since_restart, HOLD_MS - EARLY_MS, HOLD_MS + LATE_MS)


@patient
def test_a_sales_start_that_passed_while_the_server_was_down_happens_once(t):
    shop, wall = open_shop(t)
    sale = shop.new_sale(starts_in_ms=1800000)["id"]
    shop.stop()
    wall.jump(HOUR_S)
    shop.start()
    shop.until(sale, state="ACTIVE")
    shop.stop()
    wall.jump(0)
    shop.start()
    time.sleep(0.1)
    assert shop.sale(sale)["state"] == "ACTIVE"
    wall.jump(HOUR_S)
    time.sleep(0.2)
    assert lifecycle(shop, sale) == ["sale.created", "sale.started"]
