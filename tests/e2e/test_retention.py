"""test_retention.py: old events go in small steps; what audit, recovery and the streams need stays."""
import os
import random
import sqlite3
import threading
import time

from harness import Client, eventually, mint, now_ms, patient, slack
from history import make_past, must_balance
from sse import Stream

DAY_MS = 24 * 3600 * 1000
CONSUMER = mint(sub="auditor", role="consumer", exp=2000000000)


def old_shop(t, events, from_days=10, to_days=8, *flags):
    """A server, not started yet, on a past of so many events."""
    shop = t.server("--state-interval-ms", "20", *flags)
    shop.past = make_past(shop.data, events, from_days, to_days)
    return shop


def oldest(shop):
    return shop.rows("SELECT seq + 1 FROM baseline")[0][0]


def until_removed(shop, up_to, within_s=20):
    eventually(lambda: oldest(shop) > up_to, within_s, every_s=0.05, what=f"events up to {up_to} removed")


def test_published_events_older_than_the_retention_are_removed_and_younger_ones_stay(t):
    shop = old_shop(t, 20000, 10, 5, "--retention-days", "7")
    orders = shop.rows("SELECT id, sale_id, buyer, quantity, created_at_ms FROM orders ORDER BY id")
    sales = shop.rows("SELECT id, name, product_qty FROM sales ORDER BY id")
    young = shop.rows("SELECT min(seq) FROM domain_events WHERE created_at_ms > ?", now_ms() - 7 * DAY_MS + 60000)[0][0]
    assert 8000 < young < 16000, young
    shop.start()
    until_removed(shop, young - 100)
    time.sleep(0.3)
    first, count, born = shop.rows("SELECT min(seq), count(*), min(created_at_ms) FROM domain_events")[0]
    assert born >= now_ms() - 7 * DAY_MS - 60000 and young - 100 < first <= young, (born, first, young)
    assert count >= shop.past - first + 1, "one that is young enough was removed"
    told = must_balance(shop.data)
    assert told["baseline"] == first - 1 and told["orders"] >= len(orders), told
    assert shop.rows("SELECT id, sale_id, buyer, quantity, created_at_ms FROM orders ORDER BY id") == orders
    assert shop.rows("SELECT id, name, product_qty FROM sales ORDER BY id") == sales
    shop.restart()
    assert f"baseline={oldest(shop) - 1} " in shop.log(), shop.log()
    must_balance(shop.data)


def test_retention_0_keeps_every_event(t):
    shop = old_shop(t, 3000, 10, 8, "--retention-days", "0").start()
    time.sleep(1.5)
    assert shop.rows("SELECT min(seq) FROM domain_events") == [(1,)]
    assert oldest(shop) == 1
    must_balance(shop.data)


def test_a_sale_from_before_the_baseline_goes_on_after_it(t):
    """Every state that an order can be in when its events go, and what may still become of it."""
    shop = t.shop("--retention-days", "1")
    sale = shop.open_sale(stock=3, holdMs=3600000)
    late = shop.open_sale(stock=3, holdMs=300)
    ann, bob, cid = (shop.must_hold(sale, name) for name in ("ann", "bob", "cid"))
    dee, eve = shop.must_wait(sale, "dee"), shop.must_wait(sale, "eve")
    fay = shop.must_hold(late, "fay")
    shop.must_pay(ann)
    shop.until_order(fay, "expired")
    shop.stop()
    seqs = age_events(shop)
    shop.start()
    until_removed(shop, seqs)
    assert must_balance(shop.data)["baseline"] >= seqs
    shop.restart()
    assert [shop.order(o)["state"] for o in (ann, bob, cid, dee, eve, fay)] == [
        "paid", "payment", "payment", "waiting", "waiting", "expired"]
    assert (shop.order(dee)["position"], shop.order(eve)["position"]) == (1, 2)
    shop.must_pay(fay)  # too late, but the units are free
    shop.must_pay(bob), shop.must_cancel(cid)
    shop.until_order(dee, "payment")
    shop.must_cancel(eve)
    must_balance(shop.data)
    shop.kill()
    must_balance(shop.data)
    shop.start()
    assert [shop.order(o)["state"] for o in (ann, bob, cid, dee, eve, fay)] == [
        "paid", "paid", "cancelled", "payment", "cancelled", "paid"]
    must_balance(shop.data)


def age_events(shop):
    """Ten days pass for the events of a stopped server: retention goes by created_at_ms. Returns the last seq."""
    database = sqlite3.connect(shop.db_path)
    database.execute("UPDATE event_rows SET created_at_ms = created_at_ms - ?", (10 * DAY_MS,))
    database.commit()
    last = database.execute("SELECT max(seq) FROM event_rows").fetchone()[0]
    database.close()
    return last


class Buyers:
    """Threads that buy and pay until the server is gone, and remember what they were told."""

    def __init__(self, shop, sale, number=3):
        self.answers, self.strange, self.slowest_ms = [], [], 0.0
        self.threads = [threading.Thread(target=self.run, args=(shop.port, sale, f"{now_ms()} {n}"))
                        for n in range(number)]
        self.stop = threading.Event()
        for thread in self.threads:
            thread.start()

    def run(self, port, sale, name):
        client, n = Client(port), 0
        try:
            while not self.stop.is_set():
                n += 1
                at = time.monotonic()
                reply = client.post("/buy", {"buyerName": f"{name} {n}", "saleId": sale})
                self.slowest_ms = max(self.slowest_ms, (time.monotonic() - at) * 1000)
                if reply.status != 201:
                    self.strange.append(reply)
                    return
                self.answers.append((reply.json["transactionId"], "payment"))
                if n % 2 and client.post("/paid", {"transactionId": reply.json["transactionId"]}).status == 200:
                    self.answers.append((reply.json["transactionId"], "paid"))
        except OSError:
            pass
        client.close()

    def join(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@patient
def test_kills_between_steps_lose_nothing_and_leave_books_that_balance(t):
    dice = random.Random(5)
    shop = old_shop(t, 120000, 10, 8, "--retention-days", "1", "--workers", "2")
    answers, baselines, sale = {}, [], None
    for _ in range(8):
        shop.start()
        for order, state in answers.items():
            assert shop.order(order)["state"] in (("paid",) if state == "paid" else ("payment", "paid")), (order, state)
        sale = sale or shop.open_sale(stock=1000000, holdMs=3600000)
        buyers = Buyers(shop, sale)
        time.sleep(dice.uniform(0.2, 0.6))
        shop.kill()
        buyers.join()
        assert not buyers.strange, buyers.strange[0]
        answers.update(buyers.answers)
        told = must_balance(shop.data)
        assert told["baseline"] >= (baselines or [0])[-1], (told, baselines)
        baselines.append(told["baseline"])
        if len(baselines) == 4:
            answers = dict(list(answers.items())[-50:])  # enough to ask one by one
    working = [baseline for baseline in baselines if 0 < baseline < shop.past]
    assert len(set(working)) >= 3, f"the kills did not fall between steps: {baselines}"


@patient
def test_audits_beside_a_running_server_see_each_baseline_balance(t):
    shop = old_shop(t, 60000, 10, 8, "--retention-days", "1").start()
    sale = shop.open_sale(stock=1000000, holdMs=3600000)
    buyers, seen = Buyers(shop, sale, 2), []
    while (not seen or seen[-1] < shop.past) and len(set(seen)) < 5:
        told = must_balance(shop.data)
        assert told["baseline"] >= (seen or [0])[-1]
        seen.append(told["baseline"])
    buyers.join()
    assert not buyers.strange and len(buyers.answers) > 10, buyers.strange
    assert len({baseline for baseline in seen if 0 < baseline < shop.past}) >= 2, seen


@patient
def test_a_backlog_at_start_does_not_delay_the_first_purchase(t):
    fresh = t.shop("--retention-days", "1")
    shop = old_shop(t, 60000, 10, 8, "--retention-days", "1").start()
    took_ms = []
    for server in (fresh, shop):
        sale = server.open_sale(stock=1000, holdMs=3600000)
        at = time.monotonic()
        server.must_buy(sale, "ann")
        took_ms.append((time.monotonic() - at) * 1000)
    assert oldest(shop) <= shop.past, "nothing was left to remove when the purchase came"
    assert took_ms[1] < took_ms[0] + 200 * slack(), took_ms
    assert shop.stop(within_s=5) == 0, "nor does it delay the end"


@patient
def test_a_log_that_grew_behind_a_reader_is_given_back(t):
    shop = old_shop(t, 60000, 10, 8, "--retention-days", "1").start()
    size = lambda: os.path.getsize(shop.db_path + "-wal")
    with shop.database() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event_rows").fetchall()
        eventually(lambda: size() > 20 << 20, 30, every_s=0.1, what="a log of 20 MiB")
    sale = shop.open_sale(stock=1000)
    eventually(lambda: shop.must_buy(sale, f"ann {time.monotonic()}") and size() <= 16 << 20, 10, every_s=0.1,
               what="the log given back")
    must_balance(shop.data)


# ------------------------------------------------------------------------------------------ streams

def streams_of(shop, last):
    """The three streams, resumed after `last`."""
    user = mint(sub="ann", exp=2000000000)
    return [(kind, Stream(shop.port, f"/api/v1{path}?lastEventId={last}", token=token)) for kind, path, token in (
        ("public", "/sales/events", None), ("user", "/users/ann/notifications/stream", user),
        ("events", "/events/stream", CONSUMER))]


def aged_shop(t):
    """A server whose first events are gone: (shop, sale, the last seq that is gone)."""
    shop = t.shop("--retention-days", "1", "--stream-tick-ms", "0")
    sale = shop.open_sale(stock=10, holdMs=3600000)
    shop.must_cancel(shop.must_hold(sale, "ann"))
    shop.must_hold(sale, "bob")
    shop.stop()
    gone = age_events(shop)
    shop.start()
    until_removed(shop, gone)
    shop.must_hold(sale, "ann"), shop.must_hold(sale, "cid")
    assert shop.rows("SELECT min(seq), max(seq) FROM domain_events") == [(gone + 1, gone + 2)]
    return shop, sale, gone


def test_ids_from_before_the_baseline_give_a_reset_and_a_snapshot(t):
    shop, sale, gone = aged_shop(t)
    for last in (1, gone - 1):
        for kind, stream in streams_of(shop, last):
            with stream:
                assert stream.next().name == "reset", (kind, last)
                after = stream.next()
                if kind == "events":
                    assert (after.name, after.id) == ("order.reserved", gone + 1), after
                    assert stream.next().id == gone + 2
                else:
                    assert after.name == "snapshot" and after.id == gone + 2, (kind, last, after)
                    listed = after.json["sales" if kind == "public" else "orders"]
                    assert len(listed) == 1, after
                assert not [event for event in stream.rest() if event.name in ("reset", "snapshot")]


def test_ids_at_and_after_the_baseline_go_on_without_a_gap(t):
    shop, sale, gone = aged_shop(t)
    for last in (gone, gone + 1, gone + 2):
        for kind, stream in streams_of(shop, last):
            with stream:
                shop.must_cancel(shop.must_hold(sale, f"{kind} {last}"))
                wanted = [seq for (seq,) in shop.rows(
                    "SELECT seq FROM domain_events WHERE seq > ? AND (? <> 'user' OR payload LIKE '%\"ann\"%')"
                    " ORDER BY seq", last, kind)]
                seen = stream.take(len(wanted)) if wanted else stream.rest()
                assert [event.id for event in seen] == wanted, (kind, last, seen, wanted)


@patient
def test_a_reader_that_retention_overtakes_is_told_so(t):
    shop = old_shop(t, 60000, 10, 8, "--retention-days", "1").start()
    at = eventually(lambda: oldest(shop), what="a server") + 2000
    with Stream(shop.port, f"/api/v1/events/stream?lastEventId={at}", token=CONSUMER,
                receive_buffer=16384) as stream:
        last, expected, resets = stream.next().id, None, 0
        assert last == at + 1, last
        until_removed(shop, at + 15000)  # more than what is on its way; and it reads nothing meanwhile
        while last < shop.past:
            event = stream.next(within_s=10)
            if event.name == "reset":
                resets, expected = resets + 1, None
                continue
            assert expected is None or event.id == expected, f"{event.id} after {last}, without a reset"
            last = event.id
            expected = last + 1
        assert resets >= 1, "it read everything before it was removed: the test has not tested"
