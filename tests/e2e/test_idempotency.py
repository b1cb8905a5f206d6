"""test_idempotency.py: Idempotency-Key: the same key and body get the same bytes, and have one effect."""
import collections
import json
import os
import random
import signal
import sqlite3
import threading
import time

from harness import (UNKNOWN_ID, Client, Ended, binary, eventually, expect, expect_problem, now_ms, patient,
                     raises, run_flashd, sign)

PREFIX = "/api/v1"


def ask(shop, path, key, body, client=None, **options):
    headers = dict(options.pop("headers", {}))
    headers["Idempotency-Key"] = key
    return (client or shop._client).post(PREFIX + path, body, headers=headers, **options)


def same(one, other):
    """Status, body to the byte, and every header but the date and what is about the connection."""
    def told(reply):
        return (reply.status, reply.body, [(k, v) for k, v in reply.fields if k not in ("date", "connection")])
    assert told(one) == told(other), f"{told(one)} became {told(other)}"
    return one


def asked_again(shop, path, key, body, status, code=None, settled=lambda: None):
    """Asks twice; the answers must be equal, and none may have had an effect but the first, whose is settled()."""
    first = ask(shop, path, key, body)
    assert (first.status, first.code) == (status, code), first
    settled()
    seq = last_seq(shop)
    same(first, ask(shop, path, key, body))
    assert last_seq(shop) == seq, "asking again had an effect"
    return first


def last_seq(shop):
    return shop.rows("SELECT coalesce(max(seq), 0) FROM domain_events")[0][0]


def each_kind_of_answer(shop):
    """Asks for every answer that is kept; returns [(path, key, body, reply)]."""
    sale = shop.open_sale(stock=2, maxPerBuyer=2, waitlistMax=1)
    over = shop.open_sale(stock=1)
    shop.must_pay(shop.must_hold(over, "first"))
    upcoming = shop.new_sale(starts_in_ms=600000)["id"]
    told = []

    def note(path, key, body, status, code=None, **options):
        told.append((path, key, body, asked_again(shop, path, key, body, status, code, **options)))
        return told[-1][3].json

    shop.until(over, sold=1)
    held = note("/buy", "held", {"buyerName": "ann", "saleId": sale}, 201)
    gone = note("/buy", "gone", {"buyerName": "bob", "saleId": sale, "quantity": 1}, 201)
    waits = note("/buy", "waits", {"buyerName": "cid", "saleId": sale}, 201)
    assert (held["state"], gone["state"], waits["state"]) == ("payment", "payment", "waiting")
    assert waits["position"] == 1 and "expiresAt" in held
    note("/buy", "again", {"buyerName": "ann", "saleId": sale}, 400, "already-joined")
    note("/buy", "full", {"buyerName": "dee", "saleId": sale}, 400, "waitlist-full")
    note("/buy", "much", {"buyerName": "dee", "saleId": sale, "quantity": 3}, 400, "quantity-over-limit")
    note("/buy", "over", {"buyerName": "dee", "saleId": over}, 400, "sold-out")
    note("/buy", "soon", {"buyerName": "dee", "saleId": upcoming}, 400, "sale-not-active")
    note("/buy", "which", {"buyerName": "dee"}, 400, "sale-required")
    note("/buy", "none", {"buyerName": "dee", "saleId": UNKNOWN_ID}, 404, "not-found")
    note("/paid", "held", {"transactionId": held["transactionId"]}, 200)
    note("/paid", "twice", {"transactionId": held["transactionId"]}, 400, "not-in-payment")
    note("/paid", "none", {"transactionId": UNKNOWN_ID}, 404, "not-found")
    note("/cancel", "gone", {"transactionId": gone["transactionId"]}, 200,
         settled=lambda: shop.until_order(waits["transactionId"], "payment"))  # promoted
    note("/cancel", "late", {"transactionId": held["transactionId"]}, 400, "not-cancellable")
    return sale, told


def test_every_answer_comes_again_and_stays_over_restarts(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale, told = each_kind_of_answer(shop)
    shop.until_order(told[2][3].json["transactionId"], "payment")  # promoted since: the answer says "waiting"
    for how in ("running", "kill", "term", "kill"):
        if how == "kill":
            shop.kill()
            shop.start()
        elif how == "term":
            assert shop.stop() == 0
            shop.start()
        seq = last_seq(shop)
        for path, key, body, reply in told:
            same(reply, ask(shop, path, key, body))
            expect_problem(ask(shop, path, key, dict(body, more=1)), 422, "idempotency-mismatch")
        assert last_seq(shop) == seq, "asking again had an effect"
    assert f"keys={len(told)} " in shop.log(), shop.log()
    shop.balance_books()


def test_a_late_payment_is_refused_once_and_again_the_same(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=1500)  # bob's is as long: what is asked here must come within it
    order = shop.must_hold(sale, "ann")
    shop.must_wait(sale, "bob")
    shop.until_order(order, "expired")
    body = {"transactionId": order}
    first = asked_again(shop, "/paid", "late", body, 400, "hold-expired")
    assert shop.event_types(transaction=order).count("order.refund_due") == 1
    shop.kill()
    shop.start()
    same(first, ask(shop, "/paid", "late", body))


def test_a_cancelled_purchase_is_not_made_again_by_its_key(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    body = {"buyerName": "ann", "saleId": sale}
    first = ask(shop, "/buy", "k", body)
    shop.must_cancel(first.json["transactionId"])
    same(first, ask(shop, "/buy", "k", body))
    assert shop.sale(sale)["held"] == 0
    other = ask(shop, "/buy", "k2", body)
    assert other.status == 201 and other.json["transactionId"] != first.json["transactionId"]


def test_a_key_belongs_to_its_path_and_the_prefix_does_not_matter(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = {"buyerName": "ann", "saleId": sale}
    first = ask(shop, "/buy", "k", body)
    order = {"transactionId": first.json["transactionId"]}
    same(first, shop.request("POST", "/buy", body, headers={"Idempotency-Key": "k"}))
    same(first, shop.request("POST", "/buy?x=1", body, headers={"idempotency-KEY": " k\t"}))
    expect(ask(shop, "/paid", "k", order), 200)
    expect_problem(ask(shop, "/cancel", "k", order), 400, "not-cancellable")
    same(first, ask(shop, "/buy", "k", body))
    # /pay calls back without a key; the header means nothing there.
    other = shop.must_hold(sale, "bob")
    expect(ask(shop, "/pay", "k", {"transactionId": other}), 200)
    expect_problem(ask(shop, "/pay", "k", {"transactionId": other}), 400, "not-in-payment")


def test_another_body_is_a_mismatch_even_if_it_means_the_same(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = {"buyerName": "ann", "saleId": sale}
    first = ask(shop, "/buy", "k", body)
    for other in (dict(body, buyerName="bob"), json.dumps(body, indent=1).encode(), b"{", b"",
                  {"buyerName": ""}, {"buyerName": "x" * 65}):
        expect_problem(ask(shop, "/buy", "k", other), 422, "idempotency-mismatch")
    same(first, ask(shop, "/buy", "k", body))
    assert shop.sale(sale)["held"] == 1


def test_what_was_not_understood_is_not_kept(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    good = {"buyerName": "ann", "saleId": sale}
    expect_problem(ask(shop, "/buy", "k", b"{"), 400, "invalid-json")
    expect_problem(ask(shop, "/buy", "k", {"buyerName": 5}), 400, "invalid-request")
    expect_problem(ask(shop, "/buy", "k", good, content_type="text/plain"), 415, "unsupported-media-type")
    assert ask(shop, "/buy", "k", good).status == 201
    assert shop.rows("SELECT count(*) FROM key_rows") == [(1,)]


def test_a_known_key_does_not_make_another_content_type_json(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    body = json.dumps({"transactionId": shop.must_hold(sale, "ann")}).encode()
    for path, asked, status in (("/buy", {"buyerName": "bob", "saleId": sale}, 201), ("/paid", body, 200), ("/cancel", body, 400)):
        first = ask(shop, path, "k", asked)
        assert first.status == status, first
        for kind in ("text/plain", None):
            expect_problem(ask(shop, path, "k", asked, content_type=kind), 415, "unsupported-media-type")
        same(first, ask(shop, path, "k", asked))


def test_a_header_that_is_no_key_is_refused_by_its_name(t):
    shop = t.shop()
    sale = shop.open_sale(stock=9)
    for n, key in enumerate(("", " ", "a b", "k\u00e9", "\u20ac", "x" * 256)):
        reply = ask(shop, "/buy", key, {"buyerName": f"b{n}", "saleId": sale})
        expect_problem(reply, 400, "invalid-request", naming="Idempotency-Key")
    for n, key in enumerate(("x", "x" * 255, '"a-quoted-one"', "!~", "a,b;c=d")):
        assert ask(shop, "/buy", key, {"buyerName": f"g{n}", "saleId": sale}).status == 201
    data = json.dumps({"buyerName": "two", "saleId": sale})
    with shop.wire() as wire:
        wire.send(f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: a\r\n"
                  f"Idempotency-Key: a\r\nContent-Length: {len(data)}\r\n\r\n{data}")
        expect_problem(wire.read_reply(), 400, "bad-request")
        assert wire.closed()
    assert shop.sale(sale)["held"] == 5


def test_the_signature_is_asked_for_before_the_answer_is_told_again(t):
    shop = t.shop(env={"FLASHD_PAYMENT_SECRET": "pay-secret"})
    sale = shop.open_sale(stock=1)
    body = json.dumps({"transactionId": shop.must_hold(sale, "ann")}).encode()
    signed = {"X-Flashd-Signature": sign("pay-secret", body)}
    expect_problem(ask(shop, "/paid", "k", body), 401, "bad-signature")
    first = ask(shop, "/paid", "k", body, headers=signed)
    expect(first, 200)
    expect_problem(ask(shop, "/paid", "k", body), 401, "bad-signature")
    same(first, ask(shop, "/paid", "k", body, headers=signed))


def test_duplicates_on_one_connection_get_the_same_answer(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    for body, status in (({"buyerName": "ann", "saleId": sale}, 201), ({"buyerName": "ann", "saleId": sale}, 400)):
        data = json.dumps(body)
        request = (f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   f"Idempotency-Key: k{status}\r\nContent-Length: {len(data)}\r\n\r\n{data}")
        with shop.wire() as wire:
            wire.send(request * 20)
            first = wire.read_reply()
            assert first.status == status, first
            for _ in range(19):
                same(first, wire.read_reply())
    assert shop.sale(sale)["held"] == 1


def at_once(shop, path, key, bodies):
    """Each body over a connection of its own, all sent before any answer is read."""
    wires = [shop.wire() for _ in bodies]
    for wire, body in zip(wires, bodies):
        data = json.dumps(body)
        wire.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Idempotency-Key: {key}\r\nContent-Length: {len(data)}\r\n\r\n{data}")
    replies = [wire.read_reply() for wire in wires]
    for wire in wires:
        wire.close()
    return replies


def test_equal_requests_at_once_have_one_effect(t):
    shop = t.shop("--workers", "2", "--net-threads", "4")
    sale = shop.open_sale(stock=1000)
    in_flight = 0
    for n in range(20):
        body = {"buyerName": f"b{n}", "saleId": sale}
        replies = at_once(shop, "/buy", f"k{n}", [body] * 64)
        good = [reply for reply in replies if reply.status != 409]
        assert good and good[0].status == 201, replies
        for reply in good:
            same(good[0], reply)
        for reply in replies:
            if reply.status == 409:
                expect_problem(reply, 409, "idempotency-in-flight")
                assert reply.header("retry-after") == "1"
                in_flight += 1
        for _ in range(3):
            same(good[0], ask(shop, "/buy", f"k{n}", body))
    assert in_flight > 0, "no two requests were in flight together: nothing was shown"
    assert shop.sale(sale)["held"] == 20
    shop.balance_books()


def test_one_key_with_different_bodies_at_once_has_one_effect(t):
    shop = t.shop("--workers", "2", "--net-threads", "4")
    sale = shop.open_sale(stock=1000)
    for n in range(20):
        bodies = [{"buyerName": f"b{n}-{m}", "saleId": sale} for m in range(48)]
        replies = at_once(shop, "/buy", f"k{n}", bodies)
        statuses = collections.Counter(reply.status for reply in replies)
        assert statuses[201] == 1 and set(statuses) <= {201, 409, 422}, statuses
        winner = [reply.status for reply in replies].index(201)
        for m in range(48):
            again = ask(shop, "/buy", f"k{n}", bodies[m])
            if m == winner:
                same(replies[m], again)
            else:
                expect_problem(again, 422, "idempotency-mismatch")
    assert shop.sale(sale)["held"] == 20


def test_too_many_keys_are_refused_and_known_ones_still_answered(t):
    shop = t.shop("--idempotency-keys", "1")
    sale = shop.open_sale(stock=1000)
    told, full = [], None
    for n in range(200):
        body = {"buyerName": f"b{n}", "saleId": sale}
        reply = ask(shop, "/buy", f"k{n}", body)
        if reply.status == 503:
            full = reply
            break
        told.append((f"k{n}", body, reply))
    assert full and 1 <= len(told) <= 63, len(told)
    expect_problem(full, 503, "idempotency-keys-full")
    assert full.header("retry-after").isdigit()
    for _ in range(2):
        for key, body, reply in told:
            same(reply, ask(shop, "/buy", key, body))
        assert shop.sale(sale)["held"] == len(told), "what was refused had an effect"
        assert shop.rows("SELECT count(*) FROM key_rows") == [(len(told),)]
        shop.restart()
    assert shop.buy(sale, "without a key").status == 201


def test_keys_older_than_a_day_make_room_in_memory_and_on_disk(t):
    shop = t.shop("--idempotency-keys", "1")
    sale = shop.open_sale(stock=1000)
    for n in range(63):
        assert ask(shop, "/buy", f"old{n}", {"buyerName": f"b{n}", "saleId": sale}).status == 201
    shop.stop()
    moved = sqlite3.connect(shop.db_path)  # as if all but the last had been asked a day before
    moved.execute("UPDATE key_rows SET asked_at_ms = asked_at_ms - 86400000 - 1000 WHERE id < 63")
    moved.commit()
    moved.close()
    shop.start()
    assert "keys=1 " in shop.log(), shop.log()
    kept = ask(shop, "/buy", "old62", {"buyerName": "b62", "saleId": sale})
    assert kept.status == 201
    expect_problem(ask(shop, "/buy", "old0", {"buyerName": "b0", "saleId": sale}), 400, "already-joined")
    for n in range(61):
        assert ask(shop, "/buy", f"new{n}", {"buyerName": f"n{n}", "saleId": sale}).status == 201
    expect_problem(ask(shop, "/buy", "one more", {"buyerName": "x", "saleId": sale}), 400, "invalid-request")
    expect_problem(ask(shop, "/buy", "one-more", {"buyerName": "x", "saleId": sale}), 503, "idempotency-keys-full")
    shop.restart()
    same(kept, ask(shop, "/buy", "old62", {"buyerName": "b62", "saleId": sale}))


def rows_after(t, old, moved, new):
    """How many keys' rows are left of so many old ones, whose times SQL has moved, after so many new ones."""
    shop = t.shop()
    sale = shop.open_sale(stock=1000)
    for n in range(old):
        ask(shop, "/buy", f"old{n}", {"buyerName": f"b{n}", "saleId": sale})
    shop.stop()
    database = sqlite3.connect(shop.db_path)
    database.execute(f"UPDATE key_rows SET asked_at_ms = asked_at_ms {moved}")
    database.commit()
    database.close()
    shop.start()
    for n in range(new):
        ask(shop, "/buy", f"new{n}", {"buyerName": f"n{n}", "saleId": sale})
    return shop.rows("SELECT count(*) FROM key_rows")


def test_old_rows_are_removed_as_new_ones_come(t):
    assert rows_after(t, 100, "- 86400000 - 1000", 70) == [(70,)]


def test_fewer_keys_than_are_kept_is_refused_at_the_start(t):
    shop = t.shop("--idempotency-keys", "1000")
    sale = shop.open_sale(stock=1000)
    for n in range(200):
        ask(shop, "/buy", f"k{n}", {"buyerName": f"b{n}", "saleId": sale})
    shop.stop()
    shop.flags[shop.flags.index("--idempotency-keys") + 1] = "1"
    error = raises(Ended, shop.start)
    assert error.status == 1 and "--idempotency-keys" in error.stderr, error.stderr


def test_with_a_full_disk_nothing_is_kept(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    kept = ask(shop, "/buy", "k", {"buyerName": "ann", "saleId": sale})
    order = {"transactionId": shop.must_hold(sale, "bob")}
    shop.stop()
    shop.flags += ["--min-free-bytes", str(10 ** 15)]
    shop.start()
    eventually(lambda: shop.buy(sale, f"b{now_ms()}").status == 503, within_s=2)
    body = {"buyerName": "cid", "saleId": sale}
    for _ in range(2):
        expect_problem(ask(shop, "/buy", "c", body), 503, "storage-full")
        expect_problem(ask(shop, "/buy", "d", {"buyerName": "x", "saleId": UNKNOWN_ID}), 503, "storage-full")
    same(kept, ask(shop, "/buy", "k", {"buyerName": "ann", "saleId": sale}))
    expect(ask(shop, "/paid", "p", order), 200)
    shop.stop()
    del shop.flags[-2:]
    shop.start()
    assert ask(shop, "/buy", "c", body).status == 201, "503 was kept"


def test_an_audit_finds_an_answer_without_its_event_and_a_key_with_two(t):
    shop = t.shop()
    each_kind_of_answer(shop)

    def audited():
        told = run_flashd(["audit", shop.data, "--json"])
        assert told.returncode in (0, 1), told
        assert json.loads(told.stdout)["ok"] == (told.returncode == 0), told
        return json.loads(told.stdout)

    assert audited()["ok"]
    shop.stop()
    def again(*hours):
        """The first key once more, so many hours later."""
        return ("INSERT INTO key_rows(tag, body, kind, outcome, state, seq, value, asked_at_ms, seal) SELECT tag, body, kind,"
                " outcome, state, seq, value, asked_at_ms + 3600000 * column1, seal FROM key_rows, (VALUES "
                + ", ".join(f"({h})" for h in hours) + ") WHERE id = 1 ORDER BY column1")

    for damage, rows, says in (("UPDATE key_rows SET seq = seq - 1 WHERE kind = 2 AND outcome = 0", 1, "no event"),
                               ("UPDATE key_rows SET kind = 3 WHERE kind = 2 AND outcome = 0", 1, "no event"),
                               (again(0), 1, "two answers"), (again(22), 1, "two answers"),
                               (again(25, 25.5), 2, "two answers"),
                               (again(23.9), 1, None),  # a clock that was set back: the day had passed
                               (again(25, 50), 2, None)):
        database = sqlite3.connect(shop.db_path, isolation_level=None)
        whole = database.execute("SELECT * FROM key_rows").fetchall()
        assert database.execute(damage).rowcount == rows, damage
        told = audited()
        assert told["ok"] == (says is None), (damage, told)
        assert says is None or (says in told["detail"] and told["seq"] > 0), told
        database.execute("DELETE FROM key_rows")
        database.executemany("INSERT INTO key_rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", whole)
        database.close()
        assert audited()["ok"]


def test_a_row_that_is_no_answer_is_refused_and_found(t):
    """It would end the process, at the start or when the key is asked again."""
    shop = t.shop()
    each_kind_of_answer(shop)
    shop.stop()
    for damage in ("tag = tag + 7", "tag = 7", "kind = 99", "kind = 0, outcome = 0", "outcome = 200", "state = 6, kind = 0, outcome = 1"):
        database = sqlite3.connect(shop.db_path, isolation_level=None)
        row = database.execute("SELECT * FROM key_rows WHERE kind = 2 AND outcome = 0").fetchone()
        assert database.execute(f"UPDATE key_rows SET {damage} WHERE id = ?", row[:1]).rowcount == 1
        told = json.loads(run_flashd(["audit", shop.data, "--json"]).stdout)
        assert told["check"] == "changed-answer" and "malformed" in told["detail"], (damage, told)
        error = raises(Ended, shop.start)
        assert error.status == 1 and "a key's row is malformed" in error.stderr, (damage, error.stderr)
        database.execute("REPLACE INTO key_rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.close()
    shop.start()


def test_an_answer_that_was_changed_to_another_is_refused_and_found(t):
    """Each looks like an answer that a server gives; one would tell a buyer another one's transaction."""
    shop = t.shop()
    sale = shop.open_sale(stock=10)
    bought = [expect(ask(shop, "/buy", f"buy-{n}", {"buyerName": f"b{n}", "saleId": sale}), 201) for n in range(3)]
    for n in range(2):
        expect(ask(shop, "/paid", f"pay-{n}", {"transactionId": bought[n]["transactionId"]}), 200)
    expect_problem(ask(shop, "/buy", "again", {"buyerName": "b0", "saleId": sale}), 400, "already-joined")
    shop.stop()
    first, other = 1, "(SELECT seq FROM key_rows WHERE id = %d)"
    for row, change in ((first, f"seq = {other % 2}"), (4, f"seq = {other % 5}"), (first, "value = value + 1"),
                        (first, "body = body + 1"), (first, "state = 3 - state"), (6, "state = state % 2 + 1"),
                        (first, "tag = tag + 8"), (6, "seq = seq - 1"), (first, "seal = seal + 1"),
                        (first, "kind = kind + 256"), (first, "value = value || 'x'")):
        database = sqlite3.connect(shop.db_path, isolation_level=None)
        whole = database.execute("SELECT * FROM key_rows WHERE id = ?", (row,)).fetchone()
        assert database.execute(f"UPDATE key_rows SET {change} WHERE id = ?", (row,)).rowcount == 1
        told = json.loads(run_flashd(["audit", shop.data, "--json"]).stdout)
        assert told["ok"] is False and told["check"] == "changed-answer" and told["seq"] > 0, (change, told)
        error = raises(Ended, shop.start)
        assert error.status == 1 and "recovery of" in error.stderr and "a key's row is" in error.stderr, (change, error.stderr)
        database.execute("REPLACE INTO key_rows VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", whole)
        database.close()
    shop.start()
    assert ask(shop, "/buy", "buy-0", {"buyerName": "b0", "saleId": sale}).json == bought[0]


def test_keys_from_a_clock_that_was_far_ahead_do_not_keep_those_behind_them(t):
    assert rows_after(t, 200, "+ CASE WHEN id <= 128 THEN 1 ELSE -1 END * 400 * 86400000", 140) == [(140,)]


class KeyedClient:
    """Buys, pays and cancels with keys, each key asked until it has an answer; its ledger outlives the server."""

    def __init__(self, number, seed):
        self.number, self.dice = number, random.Random(seed * 100 + number)
        self.answered, self.open, self.asked = [], None, 0
        self.orders, self.strange = [], []

    def next_request(self, sale):
        self.asked += 1
        key, what = f"{self.number}-{self.asked}", self.dice.random()
        if what < 0.5 or not self.orders:
            name = f"{key}" if self.dice.random() < 0.8 else f"regular {self.number}"
            return "/buy", key, {"buyerName": name, "saleId": sale}
        order = self.orders.pop(self.dice.randrange(len(self.orders)))
        return self.dice.choice(("/paid", "/cancel")), key, {"transactionId": order}

    def take(self, reply):
        """The answer of the open request; whatever happened before, it must be one that its only effect gives."""
        path, key, body = self.open
        if reply.status in (409, 503):
            return
        new = path == "/buy" and body["buyerName"] == key
        wanted = {"/buy": (201, 400), "/paid": (200,), "/cancel": (200,)}[path]
        if reply.status not in wanted or (new and reply.status != 201 and reply.code != "sold-out"):
            self.strange.append(f"{path} {key} {body}: {reply!r}")
        if path == "/buy" and reply.status == 201 and reply.json["state"] == "payment":
            self.orders.append(reply.json["transactionId"])
        self.answered.append((self.open, reply))
        self.open = None

    def run(self, port, sale, stop):
        client = Client(port)
        try:
            while not stop.is_set():
                if self.open is None:
                    if self.answered and self.dice.random() < 0.2:
                        (path, key, body), reply = self.dice.choice(self.answered)
                        same(reply, ask(None, path, key, body, client=client))
                    self.open = self.next_request(sale)
                path, key, body = self.open
                self.take(ask(None, path, key, body, client=client))
        except OSError:
            pass  # the kill
        except Exception as error:  # told by the test
            self.strange.append(f"client {self.number}: {error!r}")
        client.close()


def one_effect_each(shop, clients):
    """Every answer stands in the events at its seq, and no two answers are the same event."""
    events = {payload_seq: (kind, payload) for payload_seq, kind, payload in (
        (seq, kind, json.loads(payload)) for seq, kind, payload in
        shop.rows("SELECT seq, event_type, payload FROM domain_events"))}
    kinds = {"/paid": ("order.paid",), "/cancel": ("order.cancelled",), "/buy": ("order.reserved", "order.queued")}
    seen = {}
    for client in clients:
        for (path, key, body), reply in client.answered:
            if reply.status >= 300:
                continue
            seq = reply.json["seq"]
            assert seq not in seen, f"{key} and {seen[seq]} were answered with the same event"
            seen[seq] = key
            assert seq in events and events[seq][0] in kinds[path], (key, reply, events.get(seq))
    # Every buyer is named after the key that he came with: two orders would be two effects.
    orders = collections.Counter(payload["buyerName"] for kind, payload in events.values()
                                 if kind in kinds["/buy"] and not payload["buyerName"].startswith("regular"))
    twice = [name for name, count in orders.items() if count > 1]
    assert not twice, f"bought twice with one key: {twice[:5]}"


def crash_rounds(t, rounds, seed, **options):
    shop = t.server("--workers", "2", "--net-threads", "2", "--state-interval-ms", "20", **options).start()
    dice = random.Random(seed)
    clients = [KeyedClient(number, seed) for number in range(8)]
    sale = shop.open_sale(stock=100000)
    for _ in range(rounds):
        stop = threading.Event()
        threads = [threading.Thread(target=client.run, args=(shop.port, sale, stop)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(dice.uniform(0.1, 0.5))
        how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        shop.process.send_signal(how)
        if how == signal.SIGKILL:
            stop.set()  # at SIGTERM they go on until they are cut off
        for thread in threads:
            thread.join()
        status = shop.process.wait(10)
        shop._gone()
        assert how == signal.SIGKILL or status == 0, status
        shop.start()
        for client in clients:
            if client.open is not None:  # the server may have done it or not: asked again, it is done once
                path, key, body = client.open
                client.take(ask(shop, path, key, body))
            for (path, key, body), reply in client.answered[-30:]:
                same(reply, ask(shop, path, key, body))
            assert not client.strange, client.strange[:3]
        one_effect_each(shop, clients)
    shop.balance_books()
    return sum(len(client.answered) for client in clients)


@patient
def test_under_kill_9_and_sigterm_a_key_has_one_effect_and_one_answer(t):
    answers = crash_rounds(t, 8, int(os.environ.get("FLASHD_TEST_SEED", "7")))
    assert answers > 100, answers


@patient
def test_each_fault_of_the_keys_is_caught(t):
    """Deliberate ones (engine/step.h): the test above must not pass with them. The third is the simulation's."""
    executable = binary() + "_faults"
    assert os.access(executable, os.X_OK), executable
    for fault in ("key-after-commit", "forget-keys"):
        raises(AssertionError, lambda: crash_rounds(t, 40, 11, env={"FLASHD_FAULT": fault},
                                                    executable=executable))
