"""
test_races.py: two requests, or a request and the clock, at the same moment: a thousand times each.

Each volley prepares its requests on several connections and sends them at once, to a server with two net
threads and two workers. Afterwards every answer must be what the log says, every unit must have exactly one
owner, and both possible ends of the race must have occurred: a race that always ends the same way is none.
The short forms (a tenth, with less to prove) run under the sanitisers.
"""
import json
import random
import statistics
import time

from harness import alone, ms_of, patient, run_flashd, slack

SEED = random.randrange(1 << 32)


class Volley:
    """Connections with requests laid ready."""

    def __init__(self, shop, connections):
        self.wires = [shop.wire(timeout_s=20) for _ in range(connections)]
        self.ready, self.sent = [[] for _ in self.wires], [0 for _ in self.wires]
        self.admin = f"Authorization: Bearer {shop.admin}\r\n"

    def lay(self, connection, path, body=None, admin=False):
        text = json.dumps(body) if body is not None else ""
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        self.ready[connection].append(f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\n{kind}{self.admin if admin else ''}"
                                      f"Content-Length: {len(text.encode())}\r\n\r\n{text}")

    def send(self, at_s=None, order=None, gap_s=0.0):
        """Sends everything, at a moment by time.time() if one is given, and the first connection's so much earlier
        than the others'. Returns the moment."""
        blobs = ["".join(requests).encode() for requests in self.ready]
        if at_s is not None:
            time.sleep(max(0, at_s - time.time() - 0.002))
            while time.time() < at_s:
                pass
        sent_s = time.time()
        for n in order or range(len(blobs)):
            self.wires[n].socket.sendall(blobs[n])
            self.sent[n] += len(self.ready[n])
            self.ready[n].clear()
            time.sleep(gap_s)
            gap_s = 0
        return sent_s

    def collect(self):
        """[[(status, json)]] by connection."""
        answers = [[(reply.status, reply.json) for reply in (wire.read_reply() for _ in range(count))]
                   for wire, count in zip(self.wires, self.sent)]
        self.sent = [0 for _ in self.wires]
        return answers

    def fire(self, **how):
        self.send(**how)
        return self.collect()

    def close(self):
        for wire in self.wires:
            wire.close()


def open_shop(t):
    return t.shop("--workers", "2", "--net-threads", "2")


def open_sales(shop, volley, count, **fields):
    """The ids of so many ACTIVE sales, made in one volley on the first connection."""
    now_s = int(time.time())
    body = {"name": "Race", "startsAt": (now_s - 1) * 1000, "endsAt": (now_s + 3600) * 1000, **fields}
    for _ in range(count):
        volley.lay(0, "/sales", body, admin=True)
    sales = [expect_created(answer)["id"] for answer in volley.fire()[0]]
    for sale in sales:
        shop.until(sale, state="ACTIVE", within_s=10)
    return sales


def expect_created(answer):
    assert answer[0] == 201, answer
    return answer[1]


def head_start(dice, first, others):
    """How to fire: at once in any order, or one connection's requests some milliseconds before the others'."""
    if dice.random() < 0.5:
        return {"order": dice.sample([first, *others], 1 + len(others))}
    return {"order": [first, *others], "gap_s": dice.uniform(0, 0.006)}


def balanced(shop, sale):
    now = shop.sale(sale)
    assert now["available"] + now["held"] + now["sold"] == now["productQty"], now
    return now


def audited(shop):
    """The books of the whole run, by two accountants."""
    audit = run_flashd(["audit", shop.data])
    assert audit.returncode == 0, audit.stdout + audit.stderr
    return shop.balance_books()


def events_by_order(shop):
    """{transaction: [(type, seq, at_ms)]}"""
    found = {}
    for seq, kind, order, at_ms in shop.rows("SELECT seq, event_type, aggregate_id, created_at_ms FROM domain_events"
                                             " WHERE aggregate_type = 'order' ORDER BY seq"):
        found.setdefault(order, []).append((kind, seq, at_ms))
    return found


def nothing_is_sold_while_closed(shop):
    """After sale.paused and before sale.resumed, and after sale.ended: no new order, no promotion."""
    closed = {}
    for seq, kind, payload in shop.rows("SELECT seq, event_type, payload FROM domain_events ORDER BY seq"):
        sale = json.loads(payload)["saleId"]
        if kind in ("sale.paused", "sale.ended"):
            closed[sale] = (kind, seq)
        elif kind == "sale.resumed":
            del closed[sale]
        elif kind in ("order.reserved", "order.queued", "order.promoted"):
            assert sale not in closed, f"seq {seq}: {kind} after {closed[sale]}: {payload}"


# ----------------------------------------------------------------------- payment against the deadline

def late_and_rightly(shop, kinds, order):
    """The machine slept for so long that those who waited have come and gone, and the unit is free again."""
    paid = shop.events(transaction=order)[-1][1]
    return kinds == ["order.reserved", "order.expired", "order.paid"] and paid["waiting"] == 0


def pay_against_expiry(t, wanted, close_wanted):
    """One who waits stands behind each hold: an expired unit goes to them at once, so nobody may pay it late."""
    shop, dice = open_shop(t), random.Random(SEED)
    volley, width, lead_ms, close, won = Volley(shop, 2), 40, 0.5, 0, {"paid": 0, "expired": 0}
    hold_ms, limit = 60, time.monotonic() + 60 * slack()
    while sum(won.values()) < wanted or close < close_wanted or min(won.values()) < close_wanted // 20:
        assert time.monotonic() < limit, f"{close} of {close_wanted} within a millisecond, {won}, seed {SEED}"
        sale = open_sales(shop, volley, 1, productQty=width, holdMs=hold_ms)[0]
        for n in range(width):
            volley.lay(n % 2, "/buy", {"buyerName": f"holds {n}", "saleId": sale})
        held = [expect_created(answer) for answers in volley.fire() for answer in answers]
        for n in range(width):
            volley.lay(n % 2, "/buy", {"buyerName": f"waits {n}", "saleId": sale})
        due_ms = sorted(ms_of(order["expiresAt"]) for order in held)
        waits = [expect_created(answer) for answers in volley.fire() for answer in answers]
        if time.time() * 1000 > due_ms[0] - 5 or any(order["state"] != "waiting" for order in waits):
            hold_ms = min(hold_ms * 2, 1000)  # too slow to be a race
            continue
        asked = [[], []]
        for due in sorted(set(due_ms)):
            now_due = [order for order in held if ms_of(order["expiresAt"]) == due]
            for n, order in enumerate(now_due):
                volley.lay(n % 2, "/paid", {"transactionId": order["transactionId"]})
                asked[n % 2].append(order["transactionId"])
            sent_s = volley.send((due - lead_ms + dice.uniform(-0.3, 0.3)) / 1000)
            close += len(now_due) if abs(sent_s * 1000 - due) <= 1 else 0
        asked, answers = asked[0] + asked[1], volley.collect()
        paid = {order for order, (status, _) in zip(asked, answers[0] + answers[1]) if status == 200}
        for order, (status, body) in zip(asked, answers[0] + answers[1]):
            assert status == 200 or body["code"] == "hold-expired", body
        log, late_ms = events_by_order(shop), []
        for order in held:
            kinds = [event[0] for event in log[order["transactionId"]]]
            if order["transactionId"] in paid:
                in_time = kinds == ["order.reserved", "order.paid"]
                assert in_time or late_and_rightly(shop, kinds, order["transactionId"]), (kinds, SEED)
            else:
                assert kinds == ["order.reserved", "order.expired", "order.refund_due"], (kinds, SEED)
            late_ms.append(log[order["transactionId"]][-1][2] - ms_of(order["expiresAt"]))
        hold_ms = max(60, hold_ms * 3 // 4)
        won["paid"] += len(paid)
        won["expired"] += width - len(paid)
        # When it was decided shows how early to send; more than a millisecond early is no race.
        lead_ms = max(-0.5, min(0.7, lead_ms + 0.3 * statistics.median(late_ms)))
        now = balanced(shop, sale)
        assert now["sold"] == len(paid), (now, len(paid), SEED)
    books = audited(shop)
    assert sum(order.state == "paid" for order in books.orders.values()) == won["paid"]
    volley.close()


# ----------------------------------------------------------------------------- cancel against promotion

def cancel_against_promotion(t, wanted):
    """Who holds cancels while who waits first cancels: the unit goes to the third, whoever was faster."""
    shop, dice = open_shop(t), random.Random(SEED)
    volley, width, served = Volley(shop, 2), 50, 0
    for _ in range(wanted // width):
        sale = open_sales(shop, volley, 1, productQty=width, holdMs=60000)[0]
        groups = []
        for group in ("holds", "first", "second"):
            for n in range(width):
                volley.lay(0, "/buy", {"buyerName": f"{group} {n}", "saleId": sale})
            groups.append([expect_created(answer)["transactionId"] for answer in volley.fire()[0]])
        for holds, first in zip(groups[0], groups[1]):
            volley.lay(0, "/cancel", {"transactionId": holds})
            volley.lay(1, "/cancel", {"transactionId": first})
        for answers in volley.fire(**head_start(dice, 0, [1])):
            for status, body in answers:
                assert status == 200, body
        now = shop.until(sale, waiting=0, held=width, within_s=10)
        assert (now["available"], now["sold"]) == (0, 0), now
        log = events_by_order(shop)
        for order in groups[1]:
            kinds = [event[0] for event in log[order]]
            assert kinds in (["order.queued", "order.cancelled"],
                             ["order.queued", "order.promoted", "order.cancelled"]), (kinds, SEED)
            served += len(kinds) == 3
        for order in groups[2]:
            assert [event[0] for event in log[order]] == ["order.queued", "order.promoted"], (log[order], SEED)
        for order in groups[2]:
            volley.lay(0, "/cancel", {"transactionId": order})
        volley.fire()
        assert balanced(shop, sale)["available"] == width
    assert wanted < 1000 or 0 < served < wanted, f"{served} of {wanted} were promoted before they cancelled"
    audited(shop)
    volley.close()


# --------------------------------------------------------------------------- buying against closing

def buy_against(t, wanted, verb):
    """Each sale: one unit, a buyer before and a buyer after the admin's request, on connections of their own."""
    shop, dice = open_shop(t), random.Random(SEED)
    volley, width, bought, refused, answered = Volley(shop, 3), 50, 0, 0, []
    for _ in range(wanted // width):
        sales = open_sales(shop, volley, width, productQty=1, waitlistMax=5)
        for sale in sales:
            volley.lay(0, "/buy", {"buyerName": "ann", "saleId": sale})
            volley.lay(1, f"/sales/{sale}/{verb}", admin=True)
            volley.lay(2, "/buy", {"buyerName": "bob", "saleId": sale})
        ann, admin, bob = volley.fire(**head_start(dice, 1, [0, 2]))
        closed = {"end": "ENDED", "pause": "PAUSED"}[verb]
        for status, body in admin:
            assert status == 200 and body["state"] == closed, body
        for status, body in ann + bob:
            assert status == 201 or body["code"] == "sale-not-active", body
            bought, refused = bought + (status == 201), refused + (status == 400)
        answered += [body for status, body in ann + bob if status == 201]
        for sale in sales:
            now = shop.until(sale, waiting=0) if verb == "end" else shop.sale(sale)
            assert now["state"] == closed and now["held"] <= 1, now
            balanced(shop, sale)
        if verb == "pause":
            sell_what_is_left(shop, volley, sales, dict(zip(sales, ann)), dict(zip(sales, bob)))
    log = events_by_order(shop)
    for order in answered:
        kind = {"payment": "order.reserved", "waiting": "order.queued"}[order["state"]]
        assert log[order["transactionId"]][0][:2] == (kind, order["seq"]), (order, log[order["transactionId"]])
        if verb == "end" and order["state"] == "waiting":
            assert log[order["transactionId"]][-1][0] == "order.cleared", (order, log[order["transactionId"]])
    assert wanted < 1000 or min(bought, refused) > wanted // 50, (bought, refused)
    nothing_is_sold_while_closed(shop)
    audited(shop)
    volley.close()


def sell_what_is_left(shop, volley, sales, *by_sale):
    """Who holds cancels in the pause, which promotes nobody; then the sale goes on, and who waited holds."""
    orders = [(sale, body) for sale in sales for status, body in (answers[sale] for answers in by_sale)
              if status == 201]
    for sale, order in orders:
        if order["state"] == "payment":
            volley.lay(0, "/cancel", {"transactionId": order["transactionId"]})
    volley.fire()
    for sale in sales:
        volley.lay(1, f"/sales/{sale}/resume", admin=True)
    volley.fire()
    for sale, order in orders:
        if order["state"] == "waiting":
            shop.until_order(order["transactionId"], "payment")


def promotion_against_pause(t, wanted):
    """A freed unit goes to who waits before the pause or after it, never in it."""
    shop, dice = open_shop(t), random.Random(SEED)
    volley, width = Volley(shop, 2), 50
    for _ in range(wanted // width):
        sales = open_sales(shop, volley, width, productQty=1)
        for sale in sales:
            volley.lay(0, "/buy", {"buyerName": "ann", "saleId": sale})
            volley.lay(0, "/buy", {"buyerName": "bob", "saleId": sale})
        answers = [expect_created(answer) for answer in volley.fire()[0]]
        for sale, ann in zip(sales, answers[0::2]):
            volley.lay(0, "/cancel", {"transactionId": ann["transactionId"]})
            volley.lay(1, f"/sales/{sale}/pause", admin=True)
        cancelled, paused = volley.fire(**head_start(dice, 0, [1]))
        assert all(status == 200 for status, _ in cancelled + paused), (cancelled, paused)
        for sale in sales:
            assert balanced(shop, sale)["state"] == "PAUSED"
            volley.lay(1, f"/sales/{sale}/resume", admin=True)
        volley.fire()
        for sale, bob in zip(sales, answers[1::2]):
            shop.until_order(bob["transactionId"], "payment")
            assert balanced(shop, sale)["held"] == 1
    nothing_is_sold_while_closed(shop)
    audited(shop)
    volley.close()


# ------------------------------------------------------------------------------ 64 equal requests at once

TABS = 64


class Tabs:
    """The same requests from 64 connections at once; counts answers, and reads them no closer than that."""

    def __init__(self, shop):
        self.volley = Volley(shop, TABS)

    def fire(self, path, bodies):
        """[(status, json) that won, codes of the others] for each of the requests."""
        for body in bodies:
            self.volley.lay(0, path, body)
        blob = "".join(self.volley.ready[0]).encode()
        self.volley.ready[0].clear()
        for wire in self.volley.wires:
            wire.socket.sendall(blob)
        answers = [self._read(wire, len(bodies)) for wire in self.volley.wires]
        return [[tab[n] for tab in answers] for n in range(len(bodies))]

    @staticmethod
    def _read(wire, count):
        data = b""
        while data.count(b"HTTP/1.1 ") < count or not data.endswith(b"}"):
            piece = wire.socket.recv(1 << 20)
            assert piece, data[-300:]
            data += piece
        return data.split(b"HTTP/1.1 ")[1:]


def one_of_64(answers, good, code):
    winners = [answer for answer in answers if answer.startswith(good)]
    assert len(winners) == 1, f"{len(winners)} of {len(answers)} got {good}"
    refused = sum(answer.startswith(b"400") and code in answer for answer in answers)
    assert refused == len(answers) - 1, (refused, answers[:3])
    return json.loads(winners[0].split(b"\r\n\r\n", 1)[1])


def equal_requests(t, wanted):
    """The same purchase, then the same payment or cancellation, from 64 tabs: one of them does it."""
    shop = open_shop(t)
    sale, tabs, width = shop.open_sale(stock=wanted * 2), Tabs(shop), 50
    for batch in range(wanted // width):
        bodies = [{"buyerName": f"eager {batch} {n}", "saleId": sale} for n in range(width)]
        orders = [one_of_64(answers, b"201", b'"already-joined"') for answers in tabs.fire("/buy", bodies)]
        ids = [{"transactionId": order["transactionId"]} for order in orders]
        for answers in tabs.fire("/paid", ids[0::2]):
            one_of_64(answers, b"200", b'"not-in-payment"')
        for answers in tabs.fire("/cancel", ids[1::2]):
            one_of_64(answers, b"200", b'"not-cancellable"')
        now = balanced(shop, sale)
        assert (now["sold"], now["held"]) == ((batch + 1) * width // 2, 0), now
    log = events_by_order(shop)
    assert len(log) == wanted and all(len(events) == 2 for events in log.values())
    audited(shop)
    tabs.volley.close()


# -------------------------------------------------------------------------------------------- the tests

@alone
def test_1000_payments_within_a_millisecond_of_the_deadline_have_one_winner_each(t):
    pay_against_expiry(t, 1000, close_wanted=1000)


def test_100_payments_near_the_deadline_have_one_winner_each(t):
    pay_against_expiry(t, 100, close_wanted=0)


@patient
def test_1000_cancellations_against_promotion_leak_no_unit(t):
    cancel_against_promotion(t, 1000)


def test_100_cancellations_against_promotion_leak_no_unit(t):
    cancel_against_promotion(t, 100)


@patient
def test_1000_ends_of_sale_against_buyers_leave_nobody_behind(t):
    buy_against(t, 1000, "end")


def test_100_ends_of_sale_against_buyers_leave_nobody_behind(t):
    buy_against(t, 100, "end")


@patient
def test_1000_pauses_against_buyers_sell_nothing_in_the_pause(t):
    buy_against(t, 1000, "pause")


def test_100_pauses_against_buyers_sell_nothing_in_the_pause(t):
    buy_against(t, 100, "pause")


@patient
def test_1000_pauses_against_promotion_promote_nobody_in_the_pause(t):
    promotion_against_pause(t, 1000)


def test_100_pauses_against_promotion_promote_nobody_in_the_pause(t):
    promotion_against_pause(t, 100)


@patient
def test_of_64_equal_requests_one_wins_1000_times(t):
    equal_requests(t, 1000)


def test_of_64_equal_requests_one_wins_50_times(t):
    equal_requests(t, 50)
