"""test_reconcile.py: the running server compares memory, tables and events; a difference stops its sale only."""
import os
import random
import sqlite3
import threading
import time

import harness
from harness import eventually, expect, expect_problem, mint, now_ms, ms_of, patient
from history import audit, make_past, must_balance
from test_metrics import metrics
from test_retention import age_events
from test_workers import stampede

PATH = "/admin/reconcile"


def reconcile(shop, client=None):
    """One run; what it found."""
    told = expect((client or shop.client()).post("/api/v1" + PATH, token=shop.admin), 200)
    assert "last" in told and "failure" not in told["last"], told
    return told["last"]


def tamper(shop, query, values=()):
    """What somebody does to the database behind the server's back."""
    database = sqlite3.connect(shop.db_path, timeout=10)
    database.execute("PRAGMA wal_autocheckpoint=0")
    changed = database.execute(query, values).rowcount
    database.commit()
    database.close()
    assert changed >= 1, f"{query} changed nothing"


def seq_of(identifier):
    """Of the event that made it: an id's first half."""
    return int(identifier[:12], 16)


def sold(shop, stock=6, buyers=9, promoted=True):
    """A sale with orders in most states."""
    sale = shop.open_sale(stock=stock, holdMs=600000)
    orders = [shop.must_buy(sale, f"buyer {n}")["transactionId"] for n in range(buyers)]
    shop.must_pay(orders[0])
    shop.must_pay(orders[1])
    shop.must_cancel(orders[2])
    if promoted:
        shop.until(sale, available=0, held=stock - 2, sold=2, waiting=buyers - stock - 1)
    return sale, orders


def assert_stopped(shop, sale, name="late"):
    now = shop.sale(sale)
    assert (now["state"], now.get("pauseReason")) == ("PAUSED", "reconcile-failed"), now
    expect_problem(shop.buy(sale, name), 400, "sale-not-active", naming="reconcile-failed")
    kind, payload = shop.events(sale=sale)[-1]
    assert (kind, payload.get("reason")) == ("sale.paused", "reconcile-failed"), (kind, payload)


def test_a_clean_run_says_what_it_looked_at(t):
    shop = t.shop("--reconcile-schedule", "*/7 * * * *")
    told = expect(shop.get(PATH, token=shop.admin), 200)
    assert told["runs"] == 0 and "last" not in told and not told["running"], told
    assert 0 < ms_of(told["nextAt"]) - now_ms() <= 7 * 60000 and ms_of(told["nextAt"]) % 60000 == 0, told
    sold(shop)
    ended, _ = sold(shop)
    shop.must_steer(ended, "end")
    shop.new_sale(starts_in_ms=3600000)
    last = reconcile(shop)
    assert (last["checked"], last["skipped"], last["divergent"]) == (2, 1, 0), last
    assert last["seq"] == shop.rows("SELECT max(seq) FROM domain_events")[0][0], last
    assert 0 < last["seconds"] < 5 and "firstDivergentSeq" not in last, last
    told = expect(shop.get(PATH, token=shop.admin), 200)
    assert told["runs"] == 1 and told["last"] == last, told
    seen = metrics(shop)
    for name, value in (("runs_total", "1"), ("runs_failed_total", "0"), ("checked_sales", "2"), ("skipped_sales", "1"),
                        ("divergent_sales", "0"), ("first_divergent_seq", "0")):
        assert seen["flashd_reconcile_" + name] == value, (name, seen)
    assert 0 < float(seen["flashd_reconcile_seconds"]) < 5, seen
    assert "reconciled seq=" in shop.log() and "checked=2 skipped=1 divergent=0" in shop.log(), shop.log()


def test_only_an_admin_may_ask(t):
    shop = t.shop()
    consumer = mint(sub="cy", role="consumer", exp=now_ms() // 1000 + 60)
    for ask in (shop.get, shop.post):
        expect_problem(ask(PATH), 401, "unauthorized")
        expect_problem(ask(PATH, token=consumer), 403, "forbidden")
    assert expect(shop.get(PATH, token=shop.admin), 200)["runs"] == 0


def test_who_asks_at_once_is_answered_with_a_run_that_began_after(t):
    shop = t.shop()
    sold(shop)
    asked = [now_ms()]
    answers = stampede(shop, 12, lambda client, _: reconcile(shop, client))
    assert all(ms_of(last["startedAt"]) >= asked[0] - 1 for last in answers), answers
    runs = expect(shop.get(PATH, token=shop.admin), 200)["runs"]
    assert 1 <= runs <= 12, runs
    # Other requests of the same connection wait; those of others do not.
    assert expect(shop.get("/health/live"), 200)


COLUMNS = "tag, sale, 'eve', quantity, 3, refund_due, created_at_ms, updated_at_ms, expires_at_ms, last_seq"

# Each: what somebody changes of the sale (S) and its fourth order (O), and a word of the field that is named.
TAMPERINGS = (
    ("UPDATE order_rows SET state = 3 WHERE seq = :o", "state"),
    ("UPDATE order_rows SET last_seq = last_seq - 1 WHERE seq = :o", "last seq"),
    ("UPDATE order_rows SET refund_due = 1 WHERE seq = :o", "refund_due"),
    ("UPDATE order_rows SET quantity = 2 WHERE seq = :o", "quantity"),
    ("UPDATE order_rows SET buyer = 'mallory' WHERE seq = :o", "buyer"),
    ("DELETE FROM order_rows WHERE seq = :o", "row"),
    ("DELETE FROM order_rows WHERE seq = (SELECT max(seq) FROM order_rows WHERE sale = :s)", "row"),
    ("UPDATE sale_rows SET sold = sold + 1, available = available - 1 WHERE seq = :s", "available"),
    ("UPDATE sale_rows SET waiting = waiting + 4294967296 WHERE seq = :s", "waiting"),
    ("UPDATE sale_rows SET state = 3 WHERE seq = :s", "state"),
    ("UPDATE sale_rows SET product_qty = product_qty + 1 WHERE seq = :s", "terms"),
    ("DELETE FROM sale_rows WHERE seq = :s", "row"),
    ("DELETE FROM event_rows WHERE seq = :o", "event"),
    ("DELETE FROM event_rows WHERE seq = (SELECT max(seq) FROM event_rows WHERE sale = :s)", ""),
    ("DELETE FROM event_rows WHERE seq = (SELECT min(seq) FROM event_rows WHERE sale = :s AND kind = 1)", ""),
    ("UPDATE event_rows SET kind = 10 WHERE seq = :o", ""),
    ("UPDATE event_rows SET ord = :o WHERE seq = (SELECT max(seq) FROM event_rows WHERE sale = :s)", ""),
    ("UPDATE event_rows SET payload = replace(payload, '\"sold\":', '\"sold\":1') WHERE seq = :o", "sold"),
    ("UPDATE event_rows SET payload = replace(payload, 'buyer 3', 'buyer x') WHERE seq = :o", "buyerName"),
    ("UPDATE event_rows SET payload = replace(payload, '\"quantity\":1', '\"quantity\":2') WHERE seq = :o", "quantity"),
    ("UPDATE event_rows SET payload = '{\"saleId\":7}' WHERE seq = :o", "payload"),
    ("UPDATE event_rows SET payload = replace(payload, '\"expiresAt\":\"2', '\"expiresAt\":\"3') WHERE seq = :o", "payload"),
    ("UPDATE event_rows SET payload = replace(payload, '}', ',\"more\":1}') WHERE seq = :o", "payload"),
    ("UPDATE event_rows SET payload = replace(payload, '\"productQty\":', '\"productQty\":1') WHERE seq = :s", "payload"),
    ("UPDATE order_rows SET last_seq = -1 WHERE seq = :o", "last seq"),
    ("UPDATE order_rows SET tag = tag + 1 WHERE seq = :o", "id"),
    (f"INSERT INTO order_rows SELECT 0, {COLUMNS} FROM order_rows WHERE seq = :o", "nobody has decided"),
    (f"INSERT INTO order_rows SELECT -4, {COLUMNS} FROM order_rows WHERE seq = :o", "nobody has decided"),
    (f"INSERT INTO order_rows SELECT 1000000, {COLUMNS} FROM order_rows WHERE seq = :o", "nobody has decided"),
    ("INSERT INTO event_rows SELECT 0, kind, sale, ord, created_at_ms, payload FROM event_rows WHERE seq = :o",
     "before the first"),
)


def test_each_change_behind_its_back_is_found_and_stops_that_sale_only(t):
    shop = t.shop("--workers", "2")
    good, _ = sold(shop)
    assert reconcile(shop)["divergent"] == 0
    lowest = None
    for number, (query, word) in enumerate(TAMPERINGS):
        sale, orders = sold(shop)
        before = shop.rows("SELECT max(seq) FROM domain_events")[0][0]
        known = reconcile(shop)["divergent"]  # a row of a sale that was changed is written anew when it is stopped
        tamper(shop, query, {"s": seq_of(sale), "o": seq_of(orders[3])})
        last = reconcile(shop)
        assert last["divergent"] == known + 1, f"{query}: {last}"
        lowest = lowest or last["firstDivergentSeq"]
        assert last["firstDivergentSeq"] == lowest and last["first"]["seq"] == lowest, last
        lines = [line for line in shop.log().splitlines() if "reconcile-failed" in line and sale in line]
        assert lines and word in lines[0].split("field=")[1].split(" memory=")[0], f"{query}: {lines}"
        assert seq_of(sale) <= int(lines[0].split("seq=")[1].split()[0]) <= before, lines
        for side in ("memory=", "tables=", "events="):
            assert side in lines[0], lines
        assert_stopped(shop, sale)
        assert shop.sale(good)["state"] == "ACTIVE"
        shop.must_buy(good, f"customer {number}")
    assert metrics(shop)["flashd_reconcile_divergent_sales"] == str(last["divergent"])


def test_orders_whose_rows_somebody_has_removed_end_no_process(t):
    shop = t.shop()
    sale, orders = sold(shop)
    other, _ = sold(shop)
    removed = [shop.rows("SELECT * FROM order_rows WHERE seq = ?", seq_of(order)) for order in orders[3:5]]
    tamper(shop, "DELETE FROM order_rows WHERE seq IN (?, ?)", (seq_of(orders[3]), seq_of(orders[4])))
    assert reconcile(shop)["divergent"] == 1
    assert_stopped(shop, sale)
    shop.must_pay(orders[3]), shop.must_cancel(orders[4])
    shop.must_buy(other, "customer")
    for order, (row,) in zip(orders[3:5], removed):
        (now,) = shop.rows("SELECT * FROM order_rows WHERE seq = ?", seq_of(order))
        assert now[:5] == row[:5] and now[7] == row[7] and now[9] == row[9], (row, now)
    assert "is written anew" in shop.log(), shop.log()
    assert reconcile(shop)["divergent"] == 0, shop.log()
    assert audit(shop.data)[0] == 0
    shop.restart()


def test_a_baseline_beyond_all_events_fails_the_run_and_no_more(t):
    for baseline in ("-5", "1 << 40", "'x'"):
        shop = t.shop()
        sale, _ = sold(shop)
        tamper(shop, f"UPDATE baseline SET seq = {baseline}")
        told = expect(shop.post(PATH, token=shop.admin), 200)
        assert "baseline" in told["last"]["failure"] and told["runsFailed"] == 1, told
        shop.must_buy(sale, "customer")
        assert shop.stop(within_s=5) == 0


def test_a_stopped_sale_is_an_admins_to_resume_and_stopped_again(t):
    shop = t.shop()
    sale, orders = sold(shop)
    tamper(shop, "UPDATE order_rows SET state = 3 WHERE seq = ?", (seq_of(orders[3]),))
    assert reconcile(shop)["divergent"] == 1
    assert_stopped(shop, sale)
    events = len(shop.events(sale=sale))
    assert reconcile(shop)["divergent"] == 1
    assert len(shop.events(sale=sale)) == events, "stopped twice"
    shop.must_pay(orders[4])  # holds stay payable
    assert shop.must_steer(sale, "resume")["state"] == "ACTIVE"
    assert "pauseReason" not in shop.sale(sale)
    shop.must_buy(sale, "lucky")
    assert reconcile(shop)["divergent"] == 1
    assert_stopped(shop, sale)
    tamper(shop, "UPDATE order_rows SET state = 2 WHERE seq = ?", (seq_of(orders[3]),))
    assert reconcile(shop)["divergent"] == 0
    shop.must_steer(sale, "resume")
    assert reconcile(shop)["divergent"] == 0
    shop.must_buy(sale, "luckier")


def test_a_sale_that_is_over_or_paused_is_compared_too(t):
    shop = t.shop()
    over, orders = sold(shop)
    shop.must_steer(over, "end")
    paused, others = sold(shop)
    shop.must_steer(paused, "pause")
    tamper(shop, "UPDATE order_rows SET state = 3 WHERE seq IN (?, ?)", (seq_of(orders[3]), seq_of(others[3])))
    last = reconcile(shop)
    assert (last["checked"], last["divergent"]) == (2, 2), last
    assert shop.sale(over)["state"] == "ENDED"  # there is nothing left to stop
    assert_stopped(shop, paused)


def faulty(t, fault):
    executable = os.path.join(os.path.dirname(harness.binary()), "flashd_faults")
    return t.shop("--workers", "2", "--net-threads", "2", executable=executable, env={"FLASHD_FAULT": fault})


def caught(t, fault, word):
    """The build that commits the fault in its first sale, in memory alone; that sale stops, another goes on."""
    shop = faulty(t, fault)
    sale, orders = sold(shop, promoted=fault != "lost-update")
    other, _ = sold(shop)
    for order in orders[3:6]:
        shop.must_pay(order)
    last = reconcile(shop)
    assert last["divergent"] == 1 and last["first"]["saleId"] == sale, last
    assert word in last["first"]["field"], last
    assert last["first"]["memory"] != last["first"]["events"] != "-", last
    assert_stopped(shop, sale)
    shop.must_buy(other, "customer")
    return shop, sale


def test_units_that_memory_has_lost_are_found(t):
    shop, sale = caught(t, "lost-update", "available in the stock word")
    # Memory is made anew from the tables, which were right all the time.
    shop.kill()
    shop.executable, shop.env = None, {"FLASHD_JWT_SECRET": shop.secret}
    shop.start()
    assert_stopped(shop, sale)
    assert reconcile(shop)["divergent"] == 0
    shop.must_steer(sale, "resume")
    shop.until(sale, waiting=2)
    assert reconcile(shop)["divergent"] == 0


def test_a_counter_that_flips_for_readers_is_found(t):
    caught(t, "flip-counter", "sold")


def test_an_order_that_flips_for_readers_is_found(t):
    caught(t, "flip-order", "state")


def test_an_order_that_flips_by_itself_is_found(t):
    caught(t, "flip-state", "own state")


def test_somebody_elses_short_write_lock_is_waited_for(t):
    shop = t.shop()
    sale, _ = sold(shop)
    database = sqlite3.connect(shop.db_path, timeout=10, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    buying = threading.Thread(target=lambda: expect(shop.client().post(
        "/api/v1/buy", {"buyerName": "patience", "saleId": sale}), 201))
    buying.start()
    time.sleep(0.4)
    database.execute("ROLLBACK")
    database.close()
    buying.join()
    assert reconcile(shop)["divergent"] == 0
    assert shop.rows("SELECT count(*) FROM orders WHERE buyer = 'patience'") == [(1,)]


def trade(shop, sales, stop, seed, me):
    """Buys, pays and cancels as fast as answers come."""
    dice, client, known, count = random.Random(seed * 100 + me), shop.client(), [], 0
    while not stop.is_set():
        what = dice.random()
        count += 1
        if what < 0.6 or not known:
            reply = client.post("/api/v1/buy", {"buyerName": f"{me}-{count}", "saleId": dice.choice(sales),
                                                "quantity": dice.randint(1, 3)})
            assert reply.status == 201 or reply.code in ("sold-out", "overload"), (seed, reply)
            if reply.status == 201:
                known.append(reply.json["transactionId"])
        else:
            path = "/api/v1/paid" if what < 0.62 else "/api/v1/cancel"
            reply = client.post(path, {"transactionId": known.pop(dice.randrange(len(known)))})
            assert reply.status == 200 or reply.code in (
                "not-in-payment", "hold-expired", "not-cancellable", "overload"), (seed, reply)
    client.close()
    return count


def under_load(shop, seconds, kinds=("expired", "promoted", "cancelled", "paid", "queued")):
    seed = random.randrange(1 << 32)
    sales = [shop.open_sale(stock=stock, maxPerBuyer=3, holdMs=hold)
             for stock, hold in ((40, 60), (400, 200), (100000, 30))]
    stop, runs = threading.Event(), []

    def work(_, me):
        if me > 0:
            return trade(shop, sales, stop, seed, me)
        client, began = shop.client(), time.monotonic()
        wanted = {"order." + kind for kind in kinds}
        try:
            while time.monotonic() < began + seconds or (
                    not wanted <= set(shop.event_types()) and time.monotonic() < began + 10 * seconds):
                runs.append(reconcile(shop, client))
        finally:
            stop.set()

    stampede(shop, 7, work)
    divergent = [last for last in runs if last["divergent"] != 0]
    assert not divergent, f"false alarm, seed {seed}: {divergent[0]}"
    assert len(runs) >= 5 and runs[-1]["seq"] > runs[0]["seq"] + 100, (len(runs), runs[0], runs[-1])
    for sale in sales:
        assert shop.sale(sale)["state"] == "ACTIVE"
    seen = set(shop.event_types())
    assert {"order." + kind for kind in kinds} <= seen, seen
    shop.balance_books()


def test_under_load_there_is_no_false_alarm(t):
    under_load(t.shop("--workers", "2", "--net-threads", "2"), 2)


def test_nor_while_readers_see_commits_late(t):
    under_load(faulty(t, "late-view"), 2, kinds=("expired", "cancelled"))


@patient
def test_under_longer_load_there_is_no_false_alarm(t):
    under_load(t.shop("--workers", "3", "--net-threads", "2"), 8)


@patient
def test_the_schedule_calls_by_itself(t):
    shop = t.shop("--reconcile-schedule", "* * * * *")
    sold(shop)
    due = ms_of(expect(shop.get(PATH, token=shop.admin), 200)["nextAt"])
    assert 0 <= due - now_ms() <= 60000, due
    told = eventually(lambda: (lambda told: told if told["runs"] else None)(
        expect(shop.get(PATH, token=shop.admin), 200)), within_s=62, every_s=0.5)
    assert 0 <= ms_of(told["last"]["startedAt"]) - due < 2000 * harness.slack(), (due, told)
    assert ms_of(told["nextAt"]) == due + 60000, (due, told)
    assert told["last"]["checked"] == 1 and told["last"]["divergent"] == 0, told


def test_after_retention_it_goes_by_the_baseline_and_while_events_are_removed(t):
    shop = t.server("--state-interval-ms", "20", "--retention-days", "9")
    make_past(shop.data, 30000, 10, 8)
    shop.start()
    sale = shop.open_sale(stock=10000, holdMs=600000)
    removed, runs = lambda: shop.rows("SELECT seq FROM baseline")[0][0], 0
    while runs < 3 or removed() < 10000:
        for number in range(20):
            shop.must_buy(sale, f"customer {runs} {number}")
        last = reconcile(shop)
        assert last["divergent"] == 0, (removed(), last, shop.log()[-2000:])
        runs += 1
        assert runs < 200, removed()
    assert "retention" in shop.log() or removed() >= 10000


# Each: what somebody changes of orders whose events are gone, and a word of the field that is named.
OLD_TAMPERINGS = (
    ("UPDATE order_rows SET quantity = quantity + 1 WHERE seq = :o", "quantity"),
    ("UPDATE order_rows SET buyer = 'mallory' WHERE seq = :o", "buyer"),
    ("DELETE FROM order_rows WHERE seq = :o", "digest"),
    ("UPDATE order_rows SET state = 1 WHERE seq = :o", "state"),
    ("UPDATE order_rows SET refund_due = 1 WHERE seq = :o", "digest"),
    ("UPDATE order_rows SET created_at_ms = created_at_ms + 1 WHERE seq = :o", "digest"),
    ("UPDATE order_rows SET updated_at_ms = updated_at_ms + 1 WHERE seq = :o", "digest"),
    ("UPDATE order_rows SET expires_at_ms = expires_at_ms + 1 WHERE seq = :o", "digest"),
    ("UPDATE order_rows SET last_seq = last_seq - 1 WHERE seq = :o", "last seq"),
    ("UPDATE order_rows SET updated_at_ms = updated_at_ms + 1 WHERE seq = :o + 3", "baseline"),
    ("UPDATE order_rows SET expires_at_ms = 1 WHERE seq = :o + 7", "baseline"),
    ("UPDATE sale_rows SET waitlist_max = waitlist_max + 1 WHERE seq = :s", "terms"),
    ("UPDATE baseline_sales SET terms = terms + 1 WHERE seq = :s", "terms"),
    ("UPDATE baseline_orders SET last_seq = last_seq - 1 WHERE seq = :o + 3", ""),
    ("UPDATE baseline_sales SET sold = sold + 1 WHERE seq = :s", ""),
)


def test_a_change_of_what_retention_left_is_found(t):
    shop = t.shop("--retention-days", "1")
    sales = [sold(shop) for _ in OLD_TAMPERINGS]
    shop.stop()
    last_seq = age_events(shop)
    shop.start()
    eventually(lambda: shop.rows("SELECT seq FROM baseline")[0][0] >= last_seq, 20, what="the events removed")
    assert reconcile(shop)["divergent"] == 0, shop.log()
    for number, ((query, word), (sale, orders)) in enumerate(zip(OLD_TAMPERINGS, sales)):
        paid = orders[0]
        tamper(shop, query, {"s": seq_of(sale), "o": seq_of(paid)})
        last = reconcile(shop)
        lines = [line for line in shop.log().splitlines() if "reconcile-failed" in line and sale in line]
        assert last["divergent"] == number + 1, f"{query}: {last}"
        assert lines and any(word in line.split("field=")[1].split(" memory=")[0] for line in lines), f"{query}: {lines}"
        assert_stopped(shop, sale)


def test_late_payments_of_orders_from_before_the_baseline_are_no_difference(t):
    """Nor is what retention makes of them later. The store keeps what their rows said, while runs read them."""
    shop, runs = t.shop("--retention-days", "1"), 0
    sale = shop.open_sale(stock=700, holdMs=100)
    orders = [shop.must_hold(sale, f"buyer {n}") for n in range(600)]
    shop.until(sale, held=0)

    def remove():
        shop.stop()
        gone = age_events(shop)
        shop.start()
        eventually(lambda: shop.rows("SELECT seq FROM baseline")[0][0] >= gone, 20, what="the events removed")
    remove()
    assert shop.rows("SELECT count(*) FROM baseline_orders") == [(0,)]
    payer = threading.Thread(target=lambda: [shop.client().post("/paid", {"transactionId": order}) for order in orders])
    payer.start()
    while payer.is_alive() or runs < 3:
        assert reconcile(shop)["divergent"] == 0, shop.log()
        runs += 1
    payer.join()
    shop.until(sale, sold=600)
    must_balance(shop.data)
    assert shop.rows("SELECT state, count(*) FROM baseline_orders GROUP BY 1") == [(4, 600)]
    shop.restart()
    assert reconcile(shop)["divergent"] == 0, shop.log()
    remove()
    must_balance(shop.data)
    assert shop.rows("SELECT count(*) FROM baseline_orders") == [(0,)]
