"""test_streams.py: the three event streams: who gets what, in which order, how often, and what follows a mishap."""
import email.utils
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sqlite3
import threading
import time
from urllib.parse import quote, urlencode

from harness import (SECRET, UNKNOWN_ID, binary, clean_environment, command_prefix, eventually, expect,
                     expect_problem, mint, ms_of, now_ms, patient, run_flashd, slack)
from sse import Stream

PUBLIC = "/api/v1/sales/events"
EVENTS = "/api/v1/events/stream"
# what a sale in a snapshot has to say as GET /sales does
SALE_MEMBERS = ("id", "name", "state", "productQty", "remainingQty", "available", "held", "sold", "waiting")
ODD_NAMES = ['a"b', "back\\slash\\", "zoë\u2028line\u2029paragraph", "data: x", "id: 7", "event: reset", ": ping",
             "</script><b>", "'; DROP TABLE orders; --", "😀 &amp; %00 %0a", "\\n\\r\\u0000", "{}[],:"]


# ------------------------------------------------------------------------------------------- helpers

def token_for(sub, role=None, ttl_s=60):
    claims = {"sub": sub, "exp": now_ms() // 1000 + ttl_s}
    return mint(**claims, role=role) if role else mint(**claims)


def user_path(name):
    return f"/api/v1/users/{quote(name, safe='')}/notifications/stream"


def listen(shop, path, **options):
    stream = Stream(shop.port, path, **options)
    assert stream.is_stream, f"{path}: {stream.reply!r} {stream.reply.fields}"
    return stream


def public(shop, sale=None, **options):
    return listen(shop, PUBLIC + (f"?saleId={sale}" if sale else ""), **options)


def all_events(shop, query="", **options):
    return listen(shop, EVENTS + query, token=token_for("auditor", "consumer"), **options)


def notices(shop, user, **options):
    return listen(shop, user_path(user), token=token_for(user), **options)


def refused(shop, path, **options):
    with Stream(shop.port, path, **options) as stream:
        assert not stream.is_stream, f"{path} {options}: a stream where a refusal was expected"
        return stream.reply


def head(shop):
    return shop.rows("SELECT coalesce(max(seq), 0) FROM domain_events")[0][0]


def committed(shop, after=0, where="1", *values):
    """[(seq, type, payload)] as the database has them."""
    return [(seq, kind, json.loads(payload)) for seq, kind, payload in shop.rows(
        f"SELECT seq, event_type, payload FROM domain_events WHERE seq > ? AND ({where}) ORDER BY seq",
        after, *values)]


def heard(events):
    return [(event.id, event.name, event.json) for event in events]


def orders_only(events):
    """Without what is not a domain event and has no id: queue_switch, queue_position."""
    return [event for event in events if event.name.startswith("order.")]


def first_difference(got, wanted):
    for n, (one, other) in enumerate(zip(got, wanted)):
        if one != other:
            return f"at {n}: got {one}, expected {other}"
    return f"{len(got)} instead of {len(wanted)}; the next: {(got[len(wanted):] or wanted[len(got):])[:3]}"


def same(got, wanted):
    assert got == wanted, first_difference(got, wanted)


def health(shop):
    return expect(shop.get("/health/sse"), 200)


def until_connections(shop, count, within_s=1.0):
    eventually(lambda: health(shop)["connections"] == count, within_s, what=f"{count} streams; {health(shop)}")


class Load:
    """Threads that buy as fast as the server answers, for as many different buyers as it takes."""

    made = 0

    def __init__(self, shop, sale, threads=2, depth=16, pause_s=0.0, patient_with_restarts=False):
        Load.made += 1
        self.name = f"load {Load.made}"
        self.shop, self.sale, self.depth, self.pause_s = shop, sale, depth, pause_s
        self.patient, self.done, self.errors, self.answered = patient_with_restarts, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self._guard, args=(n,)) for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _guard(self, me):
        batch = 0
        while not self.done.is_set():
            try:
                with self.shop.wire() as wire:
                    while not self.done.is_set():
                        batch += 1
                        self._buy(wire, f"{me}-{batch}")
                        if self.pause_s:
                            time.sleep(self.pause_s)
            except (OSError, TypeError) as error:  # TypeError: no port while the server is down
                if not self.patient:
                    self.errors.append(error)
                    return
                time.sleep(0.01)
            except AssertionError as error:
                self.errors.append(error)
                return

    def _buy(self, wire, tag):
        requests = []
        for n in range(self.depth):
            body = json.dumps({"buyerName": f"{self.name}-{tag}-{n}", "saleId": self.sale})
            requests.append(f"POST /api/v1/buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}")
        wire.send("".join(requests))
        for _ in range(self.depth):
            reply = wire.read_reply()
            assert reply.status in ((201, 503) if self.patient else (201,)), reply
            self.answered += 1


def in_threads(*works):
    """Runs each in a thread; raises the first error."""
    errors = []

    def run(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# ------------------------------------------------------------------------------------ the first bytes

def assert_dated_now(reply):
    date = email.utils.parsedate_to_datetime(reply.header("date") or "no Date")
    assert abs(date.timestamp() - time.time()) < 2 * slack() and reply.header("date").endswith(" GMT"), reply.fields


def test_a_stream_begins_with_its_headers_a_comment_and_a_jittered_retry(t):
    shop = t.shop()
    sale = shop.open_sale()
    shop.must_hold(sale, "ann")
    retries = []
    for open_one in (lambda: public(shop), lambda: all_events(shop), lambda: notices(shop, "ann")):
        for _ in range(6):
            with open_one() as stream:
                assert stream.reply.header("content-type").lower().replace(" ", "") in (
                    "text/event-stream", "text/event-stream;charset=utf-8"), stream.reply.fields
                assert stream.reply.header("cache-control") == "no-store", stream.reply.fields
                assert stream.reply.header("x-accel-buffering") == "no", stream.reply.fields
                assert stream.reply.header("content-length") is None, stream.reply.fields
                assert_dated_now(stream.reply)
                eventually(lambda: stream.parser.retries or stream.pump(1.0) and None)
                assert re.match(rb": connected\n+retry: \d+\n", stream.raw), stream.raw[:80]
                retries += stream.parser.retries
                stream.tidy()
    assert len(retries) == 18 and all(100 <= retry <= 60000 for retry in retries), retries
    assert len(set(retries)) > 6, f"not jittered: {retries}"


def test_a_quiet_stream_gets_a_ping_at_the_heartbeat(t):
    shop = t.shop("--heartbeat-ms", "100")
    for open_one in (lambda: public(shop), lambda: all_events(shop), lambda: notices(shop, "ann")):
        with open_one() as stream:
            begin = time.monotonic()
            while sum(text == "ping" for text, _ in stream.parser.comments) < 5:
                assert time.monotonic() - begin < 3 * slack(), stream.parser.comments
                stream.pump(1.0)
            assert b": ping\n" in stream.raw
            pings = [when for text, when in stream.parser.comments if text == "ping"]
            assert pings[4] - pings[0] >= 0.25, "five pings came faster than the heartbeat"
            stream.tidy()


def test_without_asking_there_is_no_ping_for_half_a_minute(t):
    shop = t.shop()
    with public(shop) as stream:
        stream.rest(quiet_s=1.0)
        assert [text for text, _ in stream.parser.comments] == ["connected"]


def test_a_stream_path_takes_get_only(t):
    shop = t.shop()
    for path in (PUBLIC, EVENTS, user_path("ann")):
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            for token in (token_for("ann", "admin"), None):
                with shop.wire() as wire:
                    wire.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                              + (f"Authorization: Bearer {token}\r\n" if token else "") + "\r\n")
                    reply = wire.read_reply(head_only=method == "HEAD")
                    assert (reply.status, reply.header("allow")) == (405, "GET"), f"{method} {path}: {reply.fields}"
                    wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert wire.read_reply().status == 200, "a HEAD was answered with a body"
    until_connections(shop, 0)


def test_a_stream_may_follow_an_ordinary_request_on_the_same_connection(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale()
    for pause_s in (0.0, 0.05):
        with shop.wire() as wire:
            wire.send("GET /api/v1/sales HTTP/1.1\r\nHost: x\r\n\r\n")
            if pause_s:
                assert wire.read_reply().status == 200
                time.sleep(pause_s)
            wire.send(f"GET {PUBLIC} HTTP/1.1\r\nHost: x\r\n\r\n")
            if not pause_s:
                assert wire.read_reply().status == 200
            while b"snapshot" not in wire.pending:
                wire._more()
            assert wire.pending.count(b"HTTP/1.1 200") == 1, wire.pending
            shop.must_cancel(shop.must_hold(sale, "ann"))
            while wire.pending.count(b"sale_update") < 2:
                wire._more()


def test_bytes_sent_into_a_stream_harm_nobody(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale()
    with public(shop) as noisy, public(shop) as quiet:
        quiet.until_named("snapshot")
        noisy.socket.settimeout(2.0)
        try:
            noisy.socket.sendall(b"GET /api/v1/sales HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(40):
                noisy.socket.sendall(b"x" * 65536)
        except OSError:
            pass  # closed, or not read: both are fine
        shop.must_hold(sale, "ann")
        assert quiet.until_named("sale_update")[-1].json["available"] == 9
        assert b"HTTP/1.1" not in noisy.raw


# ------------------------------------------------------------------------------- the public stream

def test_the_public_stream_begins_with_a_snapshot_of_the_sales(t):
    shop = t.shop()
    one, two = shop.open_sale(stock=5, name="One"), shop.open_sale(stock=7, name="Two")
    later = shop.new_sale(stock=3, starts_in_ms=3600000, name="Later")["id"]
    shop.must_pay(shop.must_hold(one, "ann"))
    shop.must_hold(one, "bob")
    shop.must_steer(two, "pause")
    with public(shop) as stream:
        snapshot = stream.next()
        assert snapshot.name == "snapshot" and snapshot.id == head(shop), snapshot
        told = {sale["id"]: sale for sale in snapshot.json["sales"]}
        assert set(told) == {one, two, later}, snapshot
        for sale, seen in told.items():
            real = shop.sale(sale)
            for member in SALE_MEMBERS:
                assert seen.get(member) == real[member], f"{member}: {seen} is not {real}"
        assert stream.rest(0.2) == [], "nothing happened, so nothing comes"
        stream.tidy()


def test_a_public_stream_without_any_sale_has_an_empty_snapshot(t):
    shop = t.shop()
    with public(shop) as stream:
        snapshot = stream.next()
        assert snapshot.name == "snapshot" and snapshot.json["sales"] == [] and snapshot.id == 0, snapshot


def test_buyers_see_the_remaining_units_change(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    with public(shop) as stream:
        stream.until_named("snapshot")
        bought = shop.must_buy(sale, "ann")
        update = stream.until_named("sale_update")[-1]
        assert (update.json["saleId"], update.json["remainingQty"], update.json["available"]) == (sale, 5, 4)
        assert update.json["buyerName"] == "ann" and update.id == bought["seq"], update
        paid = shop.must_pay(bought["transactionId"])
        update = stream.until_named("sale_update")[-1]
        assert (update.json["saleId"], update.json["remainingQty"], update.json["available"]) == (sale, 4, 4)
        assert update.id == paid["seq"], update
        shop.must_cancel(shop.must_hold(sale, "bob", 1))
        update = stream.until(lambda event: event.name == "sale_update" and event.json["available"] == 4)[-1]
        assert update.json["remainingQty"] == 4
        stream.tidy()


def test_a_burst_gives_few_updates_and_the_last_one_is_right(t):
    tick_s = 0.2
    shop = t.shop("--stream-tick-ms", "200")
    one, two = shop.open_sale(stock=1000), shop.open_sale(stock=1000)
    with public(shop) as stream:
        stream.until_named("snapshot")
        begin = time.monotonic()
        for n in range(150):
            shop.must_hold(one, f"buyer {n}")
            shop.must_hold(two, f"buyer {n}")
        took = time.monotonic() - begin
        events = stream.rest(3 * tick_s)
        for sale in (one, two):
            updates = [event for event in events if event.name == "sale_update" and event.json["saleId"] == sale]
            assert 1 <= len(updates) <= took / tick_s + 3, f"{len(updates)} updates in {took:.2f} s"
            assert updates[-1].json["available"] == 850, updates[-1]
            assert [event.json["available"] for event in updates] == sorted(
                (event.json["available"] for event in updates), reverse=True)
        assert [event.id for event in events] == sorted(event.id for event in events)
        assert events[-1].id == head(shop)


def test_with_a_tick_of_zero_every_change_is_an_update_of_its_own(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=50)
    with public(shop) as stream:
        stream.until_named("snapshot")
        bought = [shop.must_buy(sale, f"buyer {n}") for n in range(20)]
        updates = stream.take(20)
        assert [event.id for event in updates] == [order["seq"] for order in bought]
        assert [event.json["available"] for event in updates] == list(range(49, 29, -1))
        assert [event.json["buyerName"] for event in updates] == [f"buyer {n}" for n in range(20)]
        paid = [shop.must_pay(order["transactionId"])["seq"] for order in bought]
        updates = stream.take(20)
        assert [event.id for event in updates] == paid
        assert [event.json["remainingQty"] for event in updates] == list(range(49, 29, -1))
        assert {event.name for event in updates} == {"sale_update"}
        assert stream.rest(0.2) == []


def lifecycle(events):
    return [event.json["event"] for event in events if event.name == "sale_event"]


def test_the_public_stream_tells_when_a_sale_starts_pauses_resumes_and_ends(t):
    for tick in ("0", "50"):
        shop = t.shop("--stream-tick-ms", tick)
        sale = shop.new_sale(stock=5, starts_in_ms=300)
        with public(shop, sale["id"]) as stream:
            stream.until_named("snapshot")
            shop.until(sale["id"], state="ACTIVE")
            shop.must_steer(sale["id"], "pause")
            shop.must_steer(sale["id"], "resume")
            shop.must_steer(sale["id"], "end")
            events = stream.rest(0.3)
            assert lifecycle(events) == ["start", "pause", "resume", "end"], events
            started = [event.json for event in events if event.name == "sale_started"]
            ended = [event.json for event in events if event.name == "sale_ended"]
            assert [(e["saleId"], e["startsAt"]) for e in started] == [(sale["id"], sale["startsAt"])], events
            assert len(ended) == 1 and ended[0]["saleId"] == sale["id"], events
            assert ms_of(ended[0]["endsAt"]) < ms_of(sale["endsAt"]) == ms_of(shop.sale(sale["id"])["endsAt"]), "the real, the announced end"
            for event in events:
                assert event.json["saleId"] == sale["id"], event
                if event.name == "sale_event":
                    assert abs(ms_of(event.json["at"]) - now_ms()) < 5000 * slack(), event
            ids = [int(event.last_id) for event in events]
            assert ids == sorted(ids) and ids[-1] == head(shop), (ids, head(shop))
            stream.tidy()


def test_a_sale_that_runs_out_of_time_ends_on_the_public_stream(t):
    shop = t.shop()
    sale = shop.new_sale(stock=5, lasts_ms=1600)
    with public(shop) as stream:
        stream.until_named("snapshot")
        events = stream.until(lambda event: event.name == "sale_event" and event.json["event"] == "end")
        events += stream.rest(0.2)
        ended = [event.json for event in events if event.name == "sale_ended"]
        assert [(e["saleId"], e["endsAt"]) for e in ended] == [(sale["id"], sale["endsAt"])], events


def live_through_everything(shop, sale, prefix):
    """Every kind of order event, on a sale of 2 units and holds of 500 ms; returns the transaction ids."""
    names = [f"{prefix} {n}" for n in range(5)]
    first, second = shop.must_hold(sale, names[0]), shop.must_hold(sale, names[1])
    third, fourth = shop.must_wait(sale, names[2]), shop.must_wait(sale, names[3])
    shop.must_cancel(fourth)
    shop.must_pay(first)
    shop.until_order(second, "expired")
    shop.until_order(third, "payment")
    fifth = shop.must_wait(sale, names[4])
    shop.pay(second)  # too late, and somebody waits: a refund is due
    shop.must_pay(third)
    shop.until_order(fifth, "cleared")
    return [first, second, third, fourth, fifth]


def test_transaction_ids_never_appear_in_the_public_stream(t):
    for tick in ("0", "20"):
        shop = t.shop("--stream-tick-ms", tick)
        sale = shop.open_sale(stock=2, holdMs=500)
        with public(shop) as stream:
            orders = live_through_everything(shop, sale, "buyer")
            with public(shop) as late, public(shop, last=0) as resumed:
                for one in (stream, late, resumed):
                    assert one.rest(0.2), "it says something at all"
                    for order in orders:
                        assert order.encode() not in one.raw, f"{order} in {bytes(one.raw)}"
                    assert b"transactionId" not in one.raw
                    one.tidy()


def test_hidden_buyer_names_are_not_in_the_public_stream(t):
    shop = t.shop("--buyer-names", "hidden", "--stream-tick-ms", "0")
    sale = shop.open_sale(stock=2, holdMs=500)
    with public(shop) as stream:
        live_through_everything(shop, sale, "secretive")
        with public(shop) as late, public(shop, last=0) as resumed:
            for one in (stream, late, resumed):
                assert one.rest(0.2)
                assert b"secretive" not in one.raw and b"buyerName" not in one.raw, bytes(one.raw)


def test_hidden_buyer_names_are_still_in_the_streams_of_those_who_may_know(t):
    shop = t.shop("--buyer-names", "hidden")
    sale = shop.open_sale()
    with all_events(shop, last=head(shop)) as everything, notices(shop, "ann") as own:
        own.until_named("snapshot")
        shop.must_hold(sale, "ann")
        assert everything.next().json["buyerName"] == "ann" and own.next().json["buyerName"] == "ann"


def test_a_public_stream_of_one_sale_tells_of_no_other(t):
    shop = t.shop("--stream-tick-ms", "0")
    one, two = shop.open_sale(), shop.open_sale()
    with public(shop, one) as stream:
        snapshot = stream.next()
        assert [sale["id"] for sale in snapshot.json["sales"]] == [one], snapshot
        shop.must_hold(two, "ann")
        shop.must_hold(one, "bob")
        shop.must_steer(two, "pause")
        shop.must_steer(one, "pause")
        events = stream.rest(0.3)
        assert events and {event.json["saleId"] for event in events} == {one}, events
        assert [event.json["buyerName"] for event in events if event.name == "sale_update"][0] == "bob", events


def test_a_public_stream_of_an_unknown_sale_is_404(t):
    shop = t.shop()
    shop.open_sale()
    expect_problem(refused(shop, f"{PUBLIC}?saleId={UNKNOWN_ID}"), 404, "not-found")
    for wrong in ("x", "0" * 25, "%0a", "A" * 24):
        assert refused(shop, f"{PUBLIC}?saleId={wrong}").status in (400, 404), wrong


def test_a_public_stream_goes_on_after_its_last_id(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=50)
    with public(shop) as stream:
        stream.until_named("snapshot")
        first = shop.must_buy(sale, "ann")
        assert stream.next().id == first["seq"]
    missed = [shop.must_buy(sale, f"buyer {n}")["seq"] for n in range(10)]
    shop.must_steer(sale, "pause")
    for last_by in ("header", "query"):
        with public(shop, last=first["seq"], last_by=last_by) as stream:
            events = stream.rest(0.3)
            assert [e.id for e in events if e.name == "sale_update" and e.id <= missed[-1]] == missed, events
            assert lifecycle(events) == ["pause"], events
            assert not {"snapshot", "reset"} & {event.name for event in events}, events
    with public(shop, last=head(shop)) as stream:
        assert stream.rest(0.2) == [], "nothing was missed"
        resumed = shop.must_steer(sale, "resume")
        assert lifecycle(stream.rest(0.3)) == ["resume"], resumed


def test_a_public_stream_goes_on_after_a_kill_with_the_last_state_right(t):
    for tick in ("0", "50"):
        shop = t.shop("--stream-tick-ms", tick)
        one, two = shop.open_sale(stock=50), shop.open_sale(stock=50)
        with public(shop) as stream:
            last = stream.next().id
        for n in range(10):
            shop.must_hold(one, f"buyer {n}")
        shop.must_hold(two, "ann", 1)
        shop.must_steer(two, "pause")
        shop.kill()
        shop.start()
        with public(shop, last=last) as stream:
            events = stream.rest(0.3)
            assert not {"snapshot", "reset"} & {event.name for event in events}, events
            assert lifecycle(events) == ["pause"], events
            left = {event.json["saleId"]: event.json["available"]
                    for event in events if event.name == "sale_update"}
            assert left == {one: 40, two: 49}, events


def test_a_public_stream_that_cannot_go_on_gets_a_reset_and_a_snapshot(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=5)
    for last_by in ("header", "query"):
        with public(shop, last=head(shop) + 1000, last_by=last_by) as stream:
            reset, snapshot = stream.take(2)
            assert (reset.name, snapshot.name) == ("reset", "snapshot"), (reset, snapshot)
            assert snapshot.id == head(shop) and snapshot.json["sales"][0]["id"] == sale
            seq = shop.must_buy(sale, "buyer " + last_by)["seq"]
            assert stream.next().id == seq
            stream.tidy()


# --------------------------------------------------------------------------------- all domain events

def test_all_events_are_for_consumers_and_admins_only(t):
    shop = t.shop()
    for token, status, code in ((None, 401, "unauthorized"), ("nonsense", 401, "unauthorized"),
                                (token_for("ann"), 403, "forbidden"),
                                (token_for("ann", "consumer", ttl_s=-1), 401, "unauthorized"),
                                (mint("x" * 32, sub="ann", role="admin", exp=now_ms()), 401, "unauthorized")):
        reply = refused(shop, EVENTS, token=token)
        expect_problem(reply, status, code)
        if status == 401:
            assert "bearer" in (reply.header("www-authenticate") or "").lower(), reply.fields
    for role in ("consumer", "admin"):
        with listen(shop, EVENTS, token=token_for("ann", role)):
            pass
    # who may not listen learns nothing about the rest of the request
    expect_problem(refused(shop, EVENTS + "?types=nonsense", last="x"), 401, "unauthorized")


def test_every_domain_event_comes_once_with_its_type_seq_and_payload(t):
    shop = t.shop()
    with all_events(shop) as stream:
        sale = shop.open_sale(stock=2, holdMs=500)
        live_through_everything(shop, sale, "buyer")
        other = shop.open_sale(stock=5)
        for verb in ("pause", "resume", "end"):
            shop.must_steer(other, verb)
        wanted = committed(shop)
        kinds = {kind for _, kind, _ in wanted}
        assert len(kinds) == 14, f"the test is meant to see every type, lacks some of: {kinds}"
        same(heard(stream.take(len(wanted))), wanted)
        assert stream.rest(0.2) == []
        stream.tidy()
    with all_events(shop, last=0) as again:
        same(heard(again.take(len(wanted))), wanted)
        assert again.rest(0.2) == []


def test_a_fresh_events_stream_starts_with_what_happens_next(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    for n in range(10):
        shop.must_hold(sale, f"before {n}")
    time.sleep(0.1)
    with all_events(shop) as stream:
        seq = shop.must_buy(sale, "after")["seq"]
        event = stream.next()
        assert (event.id, event.name, event.json["buyerName"]) == (seq, "order.reserved", "after")


def test_the_events_stream_can_be_narrowed_to_types(t):
    shop = t.shop()
    kinds = ["order.paid", "sale.started", "order.refund_due"]
    with all_events(shop, "?types=" + ",".join(kinds)) as live:
        sale = shop.open_sale(stock=2, holdMs=500)
        live_through_everything(shop, sale, "buyer")
        wanted = committed(shop, 0, "event_type IN (?, ?, ?)", *kinds)
        assert len(wanted) == 4, wanted
        with all_events(shop, "?types=" + ",".join(kinds), last=0) as replayed, \
                all_events(shop, "?" + urlencode({"types": ",".join(kinds)}), last=0) as encoded, \
                all_events(shop, "?types=order.paid,order.paid", last=wanted[0][0]) as one:
            same(heard(live.rest(0.2)), wanted)
            same(heard(replayed.rest(0.2)), wanted)
            same(heard(encoded.rest(0.2)), wanted)
            same(heard(one.rest(0.2)), [w for w in wanted if w[1] == "order.paid" and w[0] > wanted[0][0]])


def test_the_events_stream_can_be_narrowed_to_a_sale(t):
    shop = t.shop()
    one, two = shop.open_sale(stock=5), shop.open_sale(stock=5)
    with all_events(shop, f"?saleId={one}", last=0) as both_ways, \
            all_events(shop, f"?types=order.reserved&saleId={two}", last=0) as narrow:
        shop.must_hold(one, "ann")
        shop.must_hold(two, "ann")
        shop.must_steer(one, "pause")
        same(heard(both_ways.rest(0.2)), [e for e in committed(shop) if e[2]["saleId"] == one])
        same(heard(narrow.rest(0.2)),
             [e for e in committed(shop) if e[2]["saleId"] == two and e[1] == "order.reserved"])
    assert refused(shop, f"{EVENTS}?saleId={UNKNOWN_ID}", token=shop.admin).status in (400, 404)
    assert refused(shop, f"{EVENTS}?saleId=x", token=shop.admin).status in (400, 404)


def test_an_unknown_type_is_refused(t):
    shop = t.shop()
    for wrong in ("order.bought", "order", "order.paid,x", "order.paid,,order.expired", "ORDER.PAID", "order.paid%0a",
                  "order.paid%2", "order.paid%2C%2Corder.expired", "%00"):
        expect_problem(refused(shop, f"{EVENTS}?types={wrong}", token=shop.admin), 400, "invalid-request",
                       naming="types")


def test_an_events_stream_goes_on_exactly_after_its_last_id(t):
    shop = t.shop()
    sale = shop.open_sale(stock=500)
    for n in range(60):
        shop.must_hold(sale, f"buyer {n}")
    wanted = committed(shop)
    for last_by in ("header", "query"):
        for last in (0, 1, 17, len(wanted) - 1):
            with all_events(shop, last=last, last_by=last_by) as stream:
                same(heard(stream.take(len(wanted) - last)), wanted[last:])
    with all_events(shop, last=len(wanted)) as stream:
        seq = shop.must_buy(sale, "live")["seq"]
        assert stream.next().id == seq == len(wanted) + 1


def test_an_events_stream_goes_on_after_a_kill(t):
    shop = t.shop()
    sale = shop.open_sale(stock=500)
    with all_events(shop, last=0) as stream:
        for n in range(30):
            shop.must_hold(sale, f"before {n}")
        last = stream.take(20)[-1].id
        shop.kill()
        assert stream.ends()
    for round_ in range(2):
        shop.start()
        for n in range(10):
            shop.must_hold(sale, f"after {round_} {n}")
        wanted = committed(shop)
        with all_events(shop, last=last) as stream:
            same(heard(stream.take(len(wanted) - last)), wanted[last:])
        shop.kill()
    shop.start()


def test_an_events_stream_that_is_cut_off_before_its_first_event_can_go_on(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    for last, at in ((None, head(shop)), (head(shop) + 100, 0)):  # fresh, and after a reset: from the oldest
        with all_events(shop, last=last) as stream:
            eventually(lambda: stream.parser.last_id or stream.pump(1.0) and None, what="a place to go on from")
            assert re.search(rb"\nid: (\d+)\n\n", stream.raw)[1] == b"%d" % at, stream.raw[:200]
        shop.kill()
        shop.start()
        seq = shop.must_buy(sale, f"meanwhile {last}")["seq"]
        with all_events(shop, last=at) as again:
            same([event.id for event in again.until(lambda event: event.id == seq)], list(range(at + 1, seq + 1)))


def test_a_browsers_header_counts_more_than_the_query_it_started_with(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    for n in range(10):
        shop.must_hold(sale, f"buyer {n}")
    with all_events(shop, "?lastEventId=1", last=8) as stream:
        assert stream.next().id == 9


def test_an_id_from_another_database_gives_a_reset_and_the_oldest_retained_events(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    shop.must_hold(sale, "ann")
    for last, last_by in ((head(shop) + 1, "header"), (head(shop) + 100000, "query"), (1 << 53, "header")):
        with all_events(shop, last=last, last_by=last_by) as stream:
            reset = stream.next()
            assert reset.name == "reset", f"after {last}: {reset}"
            wanted = committed(shop)
            events = stream.take(len(wanted))
            same(heard(events), wanted)
            seq = shop.must_buy(sale, f"buyer {last}")["seq"]
            assert stream.next().id == seq
            stream.tidy()
        with all_events(shop, last=events[0].last_id) as stream:
            assert stream.next().id == wanted[0][0] + 1, "the id that came after the reset is good for resuming"


def test_a_last_event_id_that_cannot_be_one_of_ours_is_a_reset(t):
    """Never a 400: after one, an EventSource does not come back."""
    shop = t.shop()
    sale = shop.open_sale()
    order = shop.must_hold(sale, "boss")
    larger = ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, (1 << 64) + 1, int("1" * 21), int("1" * 300))
    no_numbers = ("x", "abc", "-1", "+1", "1x", "0x10", "1.0", "1 2", "1,2", "1\t2", "\u0661")
    for path in (PUBLIC, EVENTS, user_path("boss")):
        for last in larger + no_numbers:
            for last_by in ("header", "query"):
                with listen(shop, path, token=shop.admin, last=last, last_by=last_by) as stream:
                    reset, after = stream.take(2)
                    assert reset.name == "reset", f"{path} {last_by} {last!r}: {reset}"
                    if path == EVENTS:
                        assert (after.id, after.name) == (1, "sale.created"), after
                    else:
                        assert (after.id, after.name) == (head(shop), "snapshot"), after
                        told = after.json["sales" if path == PUBLIC else "orders"]
                        assert [one["saleId" if path != PUBLIC else "id"] for one in told] == [sale], after
    assert shop.order(order)["state"] == "payment"


# ----------------------------------------------------------------------------------- a user's stream

def test_a_users_stream_is_for_that_user_and_admins_only(t):
    shop = t.shop()
    path = user_path("ann")
    expect_problem(refused(shop, path), 401, "unauthorized")
    expect_problem(refused(shop, path, token="x.y.z"), 401, "unauthorized")
    for token in (token_for("bob"), token_for("Ann"), token_for("ann "), token_for("ann2"), token_for("an"),
                  token_for("bob", "consumer")):
        expect_problem(refused(shop, path, token=token), 403, "forbidden")
    for token in (token_for("ann"), token_for("ann", "consumer"), token_for("boss", "admin"), shop.admin):
        with listen(shop, path, token=token) as stream:
            assert stream.next().name == "snapshot"


def test_a_users_snapshot_has_their_latest_order_of_each_sale(t):
    shop = t.shop()
    one, two = shop.open_sale(stock=1, holdMs=60000), shop.open_sale(stock=1)
    three = shop.open_sale(stock=5)
    shop.must_cancel(shop.must_hold(one, "ann"))
    latest = shop.must_hold(one, "ann")
    shop.must_hold(two, "bob")
    waits = shop.must_wait(two, "ann")
    paid = shop.must_hold(three, "ann")
    shop.must_pay(paid)
    with notices(shop, "ann") as stream:
        snapshot = stream.next()
        assert snapshot.name == "snapshot" and snapshot.id == head(shop), snapshot
        told = {order["saleId"]: order for order in snapshot.json["orders"]}
        assert len(told) == len(snapshot.json["orders"]) == 3, snapshot
        for sale, transaction in ((one, latest), (two, waits), (three, paid)):
            real = shop.order(transaction)
            for member in ("transactionId", "saleId", "buyerName", "quantity", "state", "expiresAt", "position"):
                assert told[sale].get(member) == real.get(member), f"{member}: {told[sale]} is not {real}"
        later = stream.rest(0.2)
        assert all(event.name == "queue_position" and event.json["position"] == 1 for event in later), later
        stream.tidy()
    with notices(shop, "nobody") as stream:
        assert stream.next().json["orders"] == []


def test_a_users_snapshot_is_there_after_a_kill(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    shop.must_hold(sale, "bob")
    waits = shop.must_wait(sale, "ann")
    with notices(shop, "ann") as stream:
        before = stream.next()
    shop.kill()
    shop.start()
    with notices(shop, "ann") as stream:
        after = stream.next()
    assert [order["transactionId"] for order in after.json["orders"]] == [waits]
    assert (after.name, after.id, after.json) == (before.name, before.id, before.json)


def test_a_user_hears_of_their_own_orders_and_of_nothing_else(t):
    shop = t.shop()
    sale, other = shop.open_sale(stock=2, holdMs=500), shop.open_sale(stock=5)
    users = [f"buyer {n}" for n in range(5)]
    streams = {user: notices(shop, user) for user in users}
    for stream in streams.values():
        assert stream.next().name == "snapshot"
    live_through_everything(shop, sale, "buyer")
    shop.must_cancel(shop.must_hold(other, "buyer 0"))
    wanted = committed(shop, 0, "aggregate_type = 'order'")
    for user, stream in streams.items():
        events = stream.rest(0.2)
        same(heard(orders_only(events)), [event for event in wanted if event[2]["buyerName"] == user])
        assert {event.name for event in events} <= {event[1] for event in wanted} | {
            "queue_switch", "queue_position"}, events
        stream.tidy()


def test_a_waiting_buyer_hears_that_they_may_pay(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    with notices(shop, "bob") as stream, notices(shop, "ann") as other:
        last = stream.next().id
        shop.must_cancel(ann)
        events = stream.until_named("order.promoted")
        switch, promoted = events[-2], events[-1]
        order = shop.order(bob)
        assert switch.name == "queue_switch", events
        assert switch.json == {"transactionId": bob, "buyerName": "bob", "saleId": sale,
                               "expiresAt": order["expiresAt"]}, switch
        assert switch.own_id is None, "an id here would lose the promotion to who resumes after it"
        assert promoted.json["transactionId"] == bob and promoted.json["expiresAt"] == order["expiresAt"]
        assert "queue_switch" not in [event.name for event in other.rest(0.1)]
        stream.tidy()
    with notices(shop, "bob", last=last) as again:
        names = [event.name for event in again.rest(0.2) if event.name != "queue_position"]
        assert names == ["queue_switch", "order.promoted"], names
    with notices(shop, "bob", last=promoted.id) as again:
        assert again.rest(0.2) == []


def test_two_devices_of_a_user_get_everything(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    first, second = notices(shop, "ann"), notices(shop, "ann")
    third = listen(shop, user_path("ann"), token=shop.admin)
    for stream in (first, second, third):
        stream.until_named("snapshot")
    for _ in range(10):
        shop.must_cancel(shop.must_hold(sale, "ann"))
    bob = shop.must_hold(sale, "bob")
    shop.must_wait(sale, "ann")
    shop.must_cancel(bob)
    told = [stream.until_named("order.promoted") for stream in (first, second, third)]
    wanted = committed(shop, 0, "aggregate_type = 'order' AND payload LIKE '%\"buyerName\":\"ann\"%'")
    assert len(wanted) == 22
    for events in told:
        same(heard(orders_only(events)), wanted)
        assert [event.name for event in events].count("queue_switch") == 1


def test_a_users_stream_goes_on_after_its_last_id_and_after_a_kill(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    with notices(shop, "ann") as stream:
        stream.until_named("snapshot")
        order = shop.must_buy(sale, "ann")
        assert stream.next().id == order["seq"]
    shop.must_hold(sale, "bob")
    shop.must_cancel(order["transactionId"])
    shop.must_hold(sale, "ann")
    ann = "aggregate_type = 'order' AND payload LIKE '%\"buyerName\":\"ann\"%'"
    wanted = committed(shop, order["seq"], ann)
    assert len(wanted) == 2
    for killed in (False, True):
        for last_by in ("header", "query"):
            with notices(shop, "ann", last=order["seq"], last_by=last_by) as stream:
                same(heard(stream.rest(0.2)), wanted)
        if not killed:
            shop.kill()
            shop.start()


def test_a_users_stream_that_cannot_go_on_gets_a_reset_and_a_snapshot(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    order = shop.must_hold(sale, "ann")
    with notices(shop, "ann", last=head(shop) + 1000) as stream:
        reset, snapshot = stream.take(2)
        assert (reset.name, snapshot.name) == ("reset", "snapshot"), (reset, snapshot)
        assert snapshot.id == head(shop)
        assert [told["transactionId"] for told in snapshot.json["orders"]] == [order]
        shop.must_cancel(order)
        assert stream.next().name == "order.cancelled"
        stream.tidy()


def test_a_waiting_buyer_sees_their_place_in_the_queue_move_at_most_once_a_second(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    shop.must_hold(sale, "ann")
    others = [shop.must_wait(sale, f"buyer {n}") for n in range(8)]
    mine = shop.must_wait(sale, "zoe")
    assert shop.order(mine)["position"] == 9
    with notices(shop, "zoe") as stream:
        stream.until_named("snapshot")
        seen = []
        for order in others:
            shop.must_cancel(order)
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                stream.pump(end - time.monotonic())
                seen += [(event, time.monotonic()) for event in stream.waiting]
                stream.waiting = []
        end = time.monotonic() + 2.5 * slack()
        while time.monotonic() < end and not (seen and seen[-1][0].json.get("position") == 1):
            stream.pump(0.1)
            seen += [(event, time.monotonic()) for event in stream.waiting]
            stream.waiting = []
    assert seen and all(event.name == "queue_position" for event, _ in seen), seen
    assert all(event.own_id is None and event.json["transactionId"] == mine for event, _ in seen), seen
    positions = [event.json["position"] for event, _ in seen]
    assert positions[-1] == 1 and positions == sorted(set(positions), reverse=True), positions
    assert 2 <= len(positions) <= 6, positions
    gaps = [later - earlier for (_, earlier), (_, later) in zip(seen, seen[1:])]
    assert all(gap > 0.8 for gap in gaps), gaps


@patient
def test_a_buyer_who_waits_in_many_sales_hears_of_a_place_once(t):
    shop = t.shop()
    sales, waits = [shop.open_sale(stock=1) for _ in range(6)], []
    for n, sale in enumerate(sales):
        for ahead in range(n + 1):  # in each another place
            (shop.must_wait if ahead else shop.must_hold)(sale, f"buyer {ahead}")
        waits.append(shop.must_wait(sale, "zoe"))
    with notices(shop, "zoe") as fresh, notices(shop, "zoe", last=head(shop)) as resumed:
        fresh.until_named("snapshot")
        told = resumed.rest(2.0)
        assert [(event.json["transactionId"], event.json["position"]) for event in told] == [
            (order, n + 1) for n, order in enumerate(waits)], told
        assert fresh.rest(0.1) == [], "the snapshot has told them"
        shop.must_cancel(shop.rows("SELECT id FROM orders WHERE sale_id = ? AND buyer = 'buyer 1'", sales[5])[0][0])
        for stream in (fresh, resumed):
            assert [(event.name, event.json) for event in stream.rest(2.0)] == [
                ("queue_position", {"transactionId": waits[5], "position": 5})]


def test_odd_names_have_streams_too(t):
    shop = t.shop()
    sale = shop.open_sale(stock=50)
    for name in ODD_NAMES + ["a b", "a/b", "a+b", "a?b#c", "..", "ä" * 32, "%41"]:
        with notices(shop, name) as stream:
            stream.until_named("snapshot")
            order = shop.must_hold(sale, name)
            event = stream.next()
            assert event.json["buyerName"] == name and event.json["transactionId"] == order, event
            stream.tidy()


# --------------------------------------------------------------------------------------- the seams

class Follower:
    """Follows the events stream by last id over any number of connections; refuses a gap or a repetition."""

    def __init__(self, shop, seed, query="", last=0):
        self.shop, self.query, self.last, self.seen = shop, query, last, []
        self.random, self.connections = random.Random(seed), 0

    def read(self, most=1 << 30, for_s=3600.0, until_id=None):
        """One connection: so many events at most, so long at most, up to this id."""
        end = time.monotonic() + for_s
        with all_events(self.shop, self.query, last=self.last,
                        last_by=self.random.choice(("header", "query"))) as stream:
            self.connections += 1
            while most > 0 and time.monotonic() < end and not stream.ended:
                if until_id is not None and self.last >= until_id:
                    break
                if not stream.waiting:
                    stream.pump(min(0.5, end - time.monotonic()), most=self.random.choice((100, 4096, 262144)))
                taken, stream.waiting = stream.waiting[:most], stream.waiting[most:]
                most -= len(taken)
                for event in taken:
                    assert event.name != "reset", f"a reset after {self.last}"
                    assert event.id == self.last + 1 or (self.query and event.id > self.last), (
                        f"{self.last} is followed by {event.id}, connection {self.connections}")
                    self.last = event.id
                    self.seen.append((event.id, event.name, event.json))
            stream.tidy()

    def hop(self):
        """A connection of a random kind: a few events, a moment, or away for a while first."""
        if self.random.random() < 0.2:
            time.sleep(self.random.random() * 0.1)
        if self.random.random() < 0.5:
            self.read(most=self.random.randrange(1, 400), for_s=1.0)
        else:
            self.read(for_s=self.random.random() * 0.03)


@patient
def test_followers_who_reconnect_under_full_load_get_every_event_once_in_order(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=1000000)
    near, far = Follower(shop, seed=1), Follower(shop, seed=2)
    kinds = Follower(shop, seed=3, query="?types=order.paid,order.cancelled")

    def trade():
        while not load.done.is_set():
            ann, bob = shop_client("ann"), shop_client("bob")
            trader.post("/api/v1/paid", {"transactionId": ann})
            expect(trader.post("/api/v1/cancel", {"transactionId": bob}), 200)

    def shop_client(name):
        trade.count = getattr(trade, "count", 0) + 1
        return expect(trader.post("/api/v1/buy", {"buyerName": f"{name} {trade.count}", "saleId": sale}),
                      201)["transactionId"]

    def follow_near():
        for _ in range(60):
            near.hop()

    def follow_far():
        for _ in range(40):
            if far.random.random() < 0.1:
                time.sleep(0.3)
            far.hop()

    def follow_kinds():
        for _ in range(40):
            kinds.hop()

    def follow_all():
        try:
            in_threads(follow_near, follow_far, follow_kinds)
        finally:
            load.done.set()

    trader = shop.client()
    with Load(shop, sale) as load:
        in_threads(trade, follow_all)
    end = head(shop)
    assert load.answered > 500 and near.connections + far.connections + kinds.connections >= 140
    wanted = committed(shop)
    in_threads(lambda: near.read(until_id=end, for_s=20 * slack()), lambda: far.read(until_id=end, for_s=20 * slack()))
    same(near.seen, wanted)
    same(far.seen, wanted)
    narrowed = [event for event in wanted if event[1] in ("order.paid", "order.cancelled")]
    kinds.read(until_id=narrowed[-1][0], for_s=20 * slack())
    same(kinds.seen, narrowed)
    shop.balance_books()


@patient
def test_who_was_away_for_long_comes_back_through_the_database_to_the_live_events(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    constant = Follower(shop, seed=5)  # somebody always listens: what is kept in memory is more than nothing

    def come_back(seed):
        dice = random.Random(seed)
        for _ in range(8):
            now = head(shop)
            begin = dice.choice((0, dice.randrange(now), max(0, now - 16384 - dice.randrange(-300, 300)),
                                 now - dice.randrange(300)))
            follower = Follower(shop, seed, last=begin)
            follower.read(until_id=now + 100, for_s=20 * slack())
            assert follower.last >= now + 100, f"from {begin}: only up to {follower.last} of {now + 100}"

    def come_back_twice():
        try:
            eventually(lambda: load.answered > 18000, within_s=40, what="18000 orders: more than are kept in memory")
            in_threads(lambda: come_back(1), lambda: come_back(2))
        finally:
            load.done.set()
            come_back_twice.done = True

    def listen_on():
        while not getattr(come_back_twice, "done", False):
            constant.read(for_s=0.5)

    with Load(shop, sale, depth=64) as load:
        in_threads(come_back_twice, listen_on)
    end = head(shop)
    constant.read(until_id=end, for_s=20 * slack())
    same(constant.seen, committed(shop))


@patient
def test_what_a_stream_tells_of_an_order_can_be_asked_at_once(t):
    """The build in which readers see a commit some milliseconds after the file has it."""
    shop, done, asked = t.shop(), threading.Event(), []
    sale = shop.open_sale(stock=1000000)
    make_many_sales(shop, 3000)
    shop.executable = os.path.join(os.path.dirname(binary()), "flashd_faults")
    shop.env["FLASHD_FAULT"] = "late-view"
    shop.restart()

    def keep_busy():  # large snapshots, so that the broadcaster comes late to new events
        while not done.is_set():
            with public(shop) as stream:
                stream.next(within_s=10)

    def ask():
        try:
            with all_events(shop, "?types=order.reserved") as stream, shop.wire() as wire:
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    piece = stream.socket.recv(1 << 20)
                    order = re.search(rb'"transactionId":"([0-9a-f]{24})"', piece[piece.rfind(b"\ndata: "):])
                    if order:
                        wire.send(b"GET /transactions/%s HTTP/1.1\r\nHost: x\r\n\r\n" % order[1])
                        asked.append(wire.read_reply().status)
        finally:
            done.set()

    with Load(shop, sale, depth=8):
        in_threads(keep_busy, ask)
    assert len(asked) > 10 and set(asked) == {200}, f"{asked.count(404)} of {len(asked)} unknown"


@patient
def test_a_snapshot_and_the_updates_after_it_leave_no_gap_under_load(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=1000000)
    rounds = []
    with Load(shop, sale, depth=8):
        for n in range(60):
            with public(shop, sale if n % 2 else None) as stream:
                rounds.append(stream.take(1 + 40, within_s=10))
    payloads = {seq: payload for seq, _, payload in committed(shop)}
    for events in rounds:
        snapshot, updates = events[0], events[1:]
        assert snapshot.name == "snapshot", events[:3]
        assert snapshot.json["sales"][0]["available"] == payloads[snapshot.id]["available"], (
            f"the snapshot as of {snapshot.id} shows another state: {snapshot}")
        same([event.id for event in updates], list(range(snapshot.id + 1, snapshot.id + 41)))
        for event in updates:
            assert event.json["available"] == payloads[event.id]["available"], (event, payloads[event.id])
            assert event.json["buyerName"] == payloads[event.id]["buyerName"], (event, payloads[event.id])


@patient
def test_public_streams_that_reconnect_under_load_end_with_the_right_state(t):
    shop = t.shop("--stream-tick-ms", "20")
    one, two = shop.open_sale(stock=1000000), shop.open_sale(stock=1000000)
    dice, state, last = random.Random(7), {}, None

    def absorb(events):
        nonlocal last
        for event in events:
            assert event.name in ("snapshot", "sale_update"), event
            assert last is None or event.id > last, f"{last} is followed by {event.id}"
            last = event.id
            for sale in event.json["sales"] if event.name == "snapshot" else [event.json]:
                state[sale.get("saleId") or sale["id"]] = (sale["remainingQty"], sale["available"])

    with Load(shop, one, threads=1), Load(shop, two, threads=1):
        for _ in range(60):
            with public(shop, last=last) as stream:
                end = time.monotonic() + dice.random() * 0.06
                while last is None or time.monotonic() < end:
                    stream.pump(0.05)
                    absorb(stream.waiting)
                    stream.waiting = []
    with public(shop, last=last) as stream:
        absorb(stream.rest(0.3))
    for sale in (one, two):
        now = shop.sale(sale)
        assert state[sale] == (now["remainingQty"], now["available"]), (state, now)


@patient
def test_a_users_stream_has_no_gap_and_no_repetition_over_100_reconnects_under_load(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    dice, seen, fresh = random.Random(11), [], []
    trader = shop.client()

    def trade():
        while not load.done.is_set():
            order = expect(trader.post("/api/v1/buy", {"buyerName": "ann", "saleId": sale}), 201)["transactionId"]
            expect(trader.post("/api/v1/cancel", {"transactionId": order}), 200)

    def follow():
        try:
            with notices(shop, "ann") as stream:
                snapshot = stream.next()
                fresh.append((snapshot, []))
                last = begin = snapshot.id
            for n in range(100):
                with notices(shop, "ann", last=last) as stream:
                    for event in stream.take(dice.randrange(1, 8), within_s=5):
                        seen.append((event.id, event.name, event.json))
                        last = event.id
                if n % 4 == 0:
                    with notices(shop, "ann") as stream:
                        fresh.append((stream.next(), stream.take(3, within_s=5)))
            follow.begin, follow.end = begin, last
        finally:
            load.done.set()

    with Load(shop, sale, threads=1) as load:
        in_threads(trade, follow)
    wanted = committed(shop, 0, "aggregate_type = 'order' AND payload LIKE '%\"buyerName\":\"ann\"%'")
    same(seen, [event for event in wanted if follow.begin < event[0] <= follow.end])
    for snapshot, events in fresh:
        later = [event for event in wanted if event[0] > snapshot.id]
        same(heard(events), later[:len(events)])
        earlier = [event for event in wanted if event[0] <= snapshot.id]
        states = {"order.reserved": "payment", "order.cancelled": "cancelled"}
        if earlier:
            assert [order["state"] for order in snapshot.json["orders"]] == [states[earlier[-1][1]]], (
                f"as of {snapshot.id}: {snapshot} after {earlier[-1]}")


class Watcher:
    """Follows one sale's public stream by last id; knows the state that it would show a buyer."""

    def __init__(self, shop, sale):
        self.shop, self.sale, self.last, self.state = shop, sale, None, None

    def read(self, for_s):
        end = time.monotonic() + for_s
        with public(self.shop, self.sale, last=self.last) as stream:
            while time.monotonic() < end and not stream.ended:
                stream.pump(end - time.monotonic())
                for event in stream.waiting:
                    assert event.name in ("snapshot", "sale_update"), event
                    assert self.last is None or event.id > self.last, f"{self.last} is followed by {event.id}"
                    told = event.json["sales"][0] if event.name == "snapshot" else event.json
                    self.last, self.state = event.id, (told["remainingQty"], told["available"])
                stream.waiting = []


@patient
def test_five_kills_under_load_lose_and_repeat_no_event(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=1000000)
    followers, watcher = [Follower(shop, seed=21), Follower(shop, seed=22)], Watcher(shop, sale)
    done, own = threading.Event(), []

    def until_done(work):
        while not done.is_set():
            try:
                work()
            except OSError:  # the server is down
                time.sleep(0.01)

    def trade():  # ann buys and cancels, and may be cut off at any moment
        client = shop.client()
        try:
            reply = client.post("/api/v1/buy", {"buyerName": "ann", "saleId": sale})
            if reply.status == 400:  # bought, but the answer was lost
                client.post("/api/v1/cancel", {"transactionId": latest_order("ann")})
            elif reply.status == 201:
                client.post("/api/v1/cancel", {"transactionId": reply.json["transactionId"]})
        finally:
            client.close()

    def latest_order(buyer):
        return shop.rows("SELECT id FROM orders WHERE buyer = ? ORDER BY id DESC LIMIT 1", buyer)[0][0]

    def follow_ann(most=20, for_s=0.3):
        with notices(shop, "ann", last=own[-1][0] if own else 0) as stream:
            end = time.monotonic() + for_s
            while time.monotonic() < end and most > 0 and not stream.ended:
                stream.pump(end - time.monotonic())
                own.extend(heard(stream.waiting[:most]))
                most, stream.waiting = most - len(stream.waiting), []

    def kill_and_start():
        try:
            for _ in range(5):
                time.sleep(0.7)
                shop.kill()
                shop.start()
            time.sleep(0.3)
        finally:
            done.set()
            load.done.set()

    with Load(shop, sale, depth=8, patient_with_restarts=True) as load:
        in_threads(kill_and_start, lambda: until_done(trade), lambda: until_done(follow_ann),
                   lambda: until_done(lambda: watcher.read(0.1)),
                   *[lambda follower=follower: until_done(follower.hop) for follower in followers])
    end, wanted = head(shop), committed(shop)
    assert load.answered > 50 and end > load.answered
    same([seq for seq, _, _ in wanted], list(range(1, end + 1)))
    for follower in followers:
        follower.read(until_id=end, for_s=20 * slack())
        same(follower.seen, wanted)
    follow_ann(most=1 << 30, for_s=0.5 * slack())
    same(own, [event for event in wanted if event[2].get("buyerName") == "ann"])
    watcher.read(0.3 * slack())
    now = shop.sale(sale)
    assert watcher.state == (now["remainingQty"], now["available"]), (watcher.state, now)
    shop.balance_books()


def make_many_sales(shop, count):
    body = json.dumps({"name": "One of many", "productQty": 5, "startsAt": now_ms() + 3600000, "endsAt": 4102444800000})
    request = (f"POST /api/v1/sales HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.admin}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    with shop.wire() as wire:
        for _ in range(count // 20):
            wire.send(request * 20)
            for _ in range(20):
                assert wire.read_reply().status == 201


def resident_bytes(shop):
    with open(f"/proc/{shop.process.pid}/smaps_rollup", encoding="ascii") as rollup:
        return int(re.search(r"^Rss:\s+(\d+) kB", rollup.read(), re.M)[1]) * 1024


def test_a_long_snapshot_is_there_once_for_all_who_read_it_and_never_older_than_what_they_know(t):
    shop = t.shop()
    sale = shop.open_sale(stock=100)
    make_many_sales(shop, 1500)
    with public(shop) as first:
        size = len(first.next(within_s=10).data)
    before = resident_bytes(shop)
    slow = [public(shop, receive_buffer=4096) for _ in range(60)]
    until_connections(shop, 60)
    assert size > 300000 and resident_bytes(shop) - before < 20 * size, (size, before, resident_bytes(shop))
    for n in range(5):  # each knows of its own purchase
        order = shop.must_buy(sale, f"buyer {n}")
        with public(shop) as stream:
            snapshot = stream.next(within_s=10)
            told = {one["id"]: one for one in snapshot.json["sales"]}
            assert snapshot.id >= order["seq"] and told[sale]["available"] == 99 - n, (snapshot.id, told[sale])
    for stream in slow[::20]:  # the old ones go on with theirs, and with what came after
        snapshot = stream.next(within_s=10)
        assert len(snapshot.json["sales"]) == 1501 and snapshot.json["sales"][0]["available"] == 100, snapshot
        update = stream.next(within_s=5)
        while update.json["available"] != 95:
            update = stream.next(within_s=5)
        assert update.id > snapshot.id and update.json["saleId"] == sale, update
    for stream in slow:
        stream.close()


@patient
def test_snapshots_of_thousands_of_sales_under_load_do_not_hold_up_the_other_streams(t):
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=1000000)
    make_many_sales(shop, 3000)
    done, delays = threading.Event(), []

    def buy_until_told():  # a process of its own, so that the load does not wait for this one's threads
        load = Load(shop, sale, threads=1, depth=32)
        load.name = f"process {os.getpid()}"
        with load:
            time.sleep(60)

    def keep_asking():
        while not done.is_set():
            with public(shop) as stream:
                assert len(stream.next(within_s=10).json["sales"]) == 3001

    def measure():
        try:
            client = shop.client()
            with notices(shop, "ann") as stream:
                stream.until_named("snapshot")
                for _ in range(30):
                    order = expect(client.post("/api/v1/buy", {"buyerName": "ann", "saleId": sale}), 201)
                    begin = time.monotonic()
                    assert stream.next(within_s=10).id == order["seq"]
                    delays.append(time.monotonic() - begin)
                    expect(client.post("/api/v1/cancel", {"transactionId": order["transactionId"]}), 200)
                    stream.next(within_s=10)
        finally:
            done.set()

    loads = [multiprocessing.get_context("fork").Process(target=buy_until_told) for _ in range(2)]
    for load in loads:
        load.start()
    try:
        in_threads(keep_asking, measure)
    finally:
        for load in loads:
            load.kill()
            load.join()
    delays.sort()
    assert delays[22] < 0.2 * slack() and delays[-1] < 0.8 * slack(), [f"{delay:.3f}" for delay in delays]


# --------------------------------------------------------------------------------------- tokens

def test_a_stream_is_closed_when_its_token_expires(t):
    shop = t.shop("--heartbeat-ms", "60000")
    until = now_ms() // 1000 + 2
    consumer, ann = mint(sub="ann", role="consumer", exp=until), mint(sub="ann", exp=until)
    with listen(shop, EVENTS, token=consumer) as events, listen(shop, user_path("ann"), token=ann) as own, \
            all_events(shop) as other:
        for stream in (events, own):
            assert not stream.ended
            assert stream.ends(within_s=4), "still open two seconds after its token expired"
            assert now_ms() >= until * 1000 - 20, "closed before its token expired"
        expect_problem(refused(shop, EVENTS, token=consumer), 401, "unauthorized")
        expect_problem(refused(shop, user_path("ann"), token=ann), 401, "unauthorized")
        until_connections(shop, 1)
        shop.open_sale()
        assert other.next().name == "sale.created", "the others stay"


def test_a_stream_takes_its_token_from_header_cookie_or_query(t):
    shop = t.shop("--log-level", "debug")
    for path, token in ((EVENTS, token_for("ann", "consumer")), (user_path("ann"), token_for("ann"))):
        for token_by in ("header", "cookie", "query"):
            with listen(shop, path, token=token, token_by=token_by):
                pass
            with listen(shop, path + "?lastEventId=0", token=token, token_by=token_by):
                pass
        assert token.split(".")[2] not in shop.log(), "a token was logged"
    assert "lastEventId" not in shop.log(), "a query string was logged"


def test_without_a_configured_key_only_the_public_stream_is_served(t):
    shop = t.shop(secret=None)
    with public(shop) as stream:
        assert stream.next().name == "snapshot"
    expect_problem(refused(shop, EVENTS, token=token_for("a", "admin")), 401, "unauthorized")
    expect_problem(refused(shop, user_path("a"), token=token_for("a")), 401, "unauthorized")


# ------------------------------------------------------------------------------- slow and gone clients

@patient
def test_a_client_that_never_reads_is_cut_after_10_seconds_and_nobody_else_notices(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    worst, cut_after = 0.0, None
    with Load(shop, sale, depth=64) as load:
        eventually(lambda: load.answered > 15000, within_s=40, what="15000 orders")
    with Load(shop, sale, threads=1, depth=10, pause_s=0.02) as load, \
            notices(shop, "idle") as idle, public(shop, sale) as watcher, \
            all_events(shop, last=0, receive_buffer=65536) as steady, \
            all_events(shop, last=0, receive_buffer=4096) as deaf:
        begin, last_steady = time.monotonic(), 0
        until_connections(shop, 4)
        while time.monotonic() - begin < 13 + 4 * (slack() - 1):
            before = time.monotonic()
            shop.must_hold(sale, f"good {before}")
            with all_events(shop, last=head(shop) - 1) as fresh:
                fresh.next()
            watcher.until_named("sale_update")
            watcher.waiting = []
            worst = max(worst, time.monotonic() - before)
            for _ in range(10):  # about 200 kB a second: slow, but it reads
                steady.pump(0.01, most=4096)
            for event in steady.waiting:
                assert event.id == last_steady + 1
                last_steady = event.id
            steady.waiting = []
            if cut_after is None and health(shop)["connections"] == 3:
                cut_after = time.monotonic() - begin
            time.sleep(0.1)
        assert cut_after is not None, f"after {time.monotonic() - begin:.1f} s not cut: {health(shop)}"
        assert 9 <= cut_after <= 12 + 4 * (slack() - 1), f"cut after {cut_after:.1f} s"
        assert worst < 0.7 * slack(), f"a purchase and its event took the others {worst:.2f} s"
        assert not steady.ended, f"who reads slowly was cut: {steady.why_ended}"
        assert not idle.ended and idle.until_named("snapshot") and not idle.pump(0.05) and not idle.ended
        events = []
        while deaf.pump(1.0 * slack()):
            events += deaf.waiting
            deaf.waiting = []
        assert deaf.ended, "it was told so"
        same([event.id for event in events], list(range(1, len(events) + 1)))
        with all_events(shop, last=events[-1].id if events else 0) as resumed:
            assert resumed.next().id == len(events) + 1, "and it can resume"


@patient
def test_a_client_that_never_reads_is_cut_too_when_all_that_waits_for_it_fits_into_the_sockets(t):
    shop = t.shop()
    sale = shop.open_sale(stock=100)
    for n in range(100):
        shop.must_hold(sale, f"buyer {n}")
    begin = time.monotonic()
    with all_events(shop, last=0, receive_buffer=2048, segment=1448):
        eventually(lambda: health(shop)["clientsCut"] == 1, within_s=15, what="it is cut")
        assert time.monotonic() - begin > 9, "cut too early"


@patient
def test_a_client_that_reads_slowly_is_not_cut(t):
    """Its window closes again and again, and a send completes only when a third of the server's buffer is free."""
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    with Load(shop, sale, depth=64) as load:
        eventually(lambda: load.answered > 8000, within_s=40, what="8000 orders")
    with all_events(shop, last=0, receive_buffer=16384, segment=1448) as slow:
        begin = time.monotonic()
        while time.monotonic() - begin < 15:
            slow.pump(0.1, most=600)
            time.sleep(0.1)
            assert not slow.ended, f"cut after {time.monotonic() - begin:.1f} s: {slow.why_ended}"
        assert health(shop)["clientsCut"] == 0


def test_events_that_cannot_be_read_back_cost_a_line_a_second_and_no_sale(t):
    shop = t.shop(executable=os.path.join(os.path.dirname(binary()), "flashd_faults"),
                  env={"FLASHD_FAULT": "blind-archive"})
    sale = shop.open_sale(stock=500)
    with all_events(shop), notices(shop, "ann", last=head(shop)):
        for n in range(50):
            shop.must_hold(sale, f"buyer {n}")
        time.sleep(1)
        assert 1 <= shop.log().count("reading events back failed") < 10, shop.log()[-300:]
        assert health(shop)["connections"] == 2, "they wait for better times"


def test_a_users_snapshot_does_not_wait_for_events_that_cannot_be_read_back(t):
    shop = t.shop(executable=os.path.join(os.path.dirname(binary()), "flashd_faults"),
                  env={"FLASHD_FAULT": "blind-archive"})
    sale = shop.open_sale(stock=500)
    with all_events(shop):
        order = shop.must_hold(sale, "ann")
        time.sleep(0.1)
        for _ in range(3):
            with notices(shop, "ann") as stream:
                snapshot = stream.next(within_s=2)
                assert [told["transactionId"] for told in snapshot.json["orders"]] == [order], snapshot
                assert snapshot.id < head(shop), "what has happened since could not be read"


def test_a_disconnect_is_noticed_at_once(t):
    shop = t.shop()
    sale = shop.open_sale()
    streams = [public(shop), all_events(shop), notices(shop, "ann"), public(shop, sale), notices(shop, "bob"),
               all_events(shop)]
    until_connections(shop, 6)
    streams[0].close()
    streams[1].vanish()
    until_connections(shop, 4)
    streams[2].vanish()
    streams[3].close()
    until_connections(shop, 2)
    shop.must_hold(sale, "bob")
    streams[4].until_named("order.reserved")
    streams[5].until_named("order.reserved")
    streams[4].close()
    streams[5].close()
    until_connections(shop, 0)


def test_health_counts_connections_users_and_devices(t):
    shop = t.shop()
    nothing = health(shop)
    assert (nothing["connections"], nothing["users"], nothing["maxPerUser"]) == (0, 0, 0), nothing
    first, second, other = notices(shop, "ann"), notices(shop, "ann"), notices(shop, "bob")

    def counts():
        seen = health(shop)
        return seen["connections"], seen["users"], seen["maxPerUser"]

    eventually(lambda: counts() == (3, 2, 2), what=f"3 streams of 2 users: {health(shop)}")
    with public(shop):
        eventually(lambda: counts() == (4, 2, 2), what=f"and a public one: {health(shop)}")
    first.close()
    eventually(lambda: counts() == (2, 2, 1), what=f"a device less: {health(shop)}")
    second.close()
    eventually(lambda: counts() == (1, 1, 1), what=f"a user less: {health(shop)}")
    other.close()
    eventually(lambda: counts() == (0, 0, 0), what=f"nobody: {health(shop)}")


def test_health_and_metrics_count_every_frame_that_the_streams_get(t):
    shop = t.shop("--stream-tick-ms", "0")
    make_many_sales(shop, 300)  # so that their snapshot is a long one
    assert health(shop)["framesSent"] == 0
    sale = shop.open_sale(stock=1)
    ann, carl, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "carl"), shop.must_wait(sale, "bob")
    streams = [public(shop), public(shop, sale), all_events(shop), notices(shop, "bob")]
    shop.must_cancel(carl)
    got = [event.name for event in streams[-1].until_named("queue_position")]
    shop.must_cancel(ann)
    shop.must_pay(bob)
    expect(shop.post(f"/sales/{sale}/end", token=shop.admin), 200)
    for last in (1, 1 << 40):
        streams += [public(shop, sale, last=last), all_events(shop, last=last), notices(shop, "bob", last=last)]
    got += [event.name for stream in streams for event in stream.rest(0.2)]
    assert {"snapshot", "reset", "sale_started", "sale_ended", "sale_event", "sale_update", "queue_switch", "queue_position"} <= set(got)
    assert health(shop)["framesSent"] == len(got), (health(shop), len(got))
    assert f"\nflashd_stream_frames_total {len(got)}\n" in shop.get("/metrics").body.decode()


def test_a_public_stream_that_has_everything_is_not_said_to_lag(t):
    shop = t.shop()
    with public(shop) as stream:
        stream.until_named("snapshot")
        make_many_sales(shop, 40)  # events that the public stream does not show
        assert stream.rest(0.5) == []  # long enough for the figures to be made again
        assert health(shop)["furthestLag"] == 0, health(shop)


def test_500_streams_that_come_and_go_leave_nothing_behind(t):
    shop = t.shop()
    sale = shop.open_sale()
    for n in range(10):
        streams = [(public(shop), all_events(shop), notices(shop, f"user {m % 7}"))[m % 3] for m in range(50)]
        for stream in streams:
            stream.vanish() if n % 2 else stream.close()
    until_connections(shop, 0, within_s=2)
    assert (health(shop)["users"], health(shop)["maxPerUser"]) == (0, 0)
    shop.must_hold(sale, "ann")


# ----------------------------------------------------------------------------------------- caps

def expect_full(reply):
    assert reply.status == 503, f"expected 503, got {reply!r}"
    assert (reply.header("retry-after") or "").isdigit() and int(reply.header("retry-after")) >= 1, reply.fields
    assert reply.json["status"] == 503 and reply.json["code"], reply
    assert_dated_now(reply)


def test_rows_of_events_that_somebody_changed_end_no_process(t):
    """What cannot be told is a gap, and told as one; what comes after it goes on."""
    for change in ("kind = 99", "sale = 12345", "ord = 12345", "ord = NULL", "payload = '{\"at\":\"'", "payload = '{}' || char(10)",
                   "payload = zeroblob(3000000)", None):
        shop = t.shop("--stream-tick-ms", "0")
        sale = shop.open_sale(stock=10)
        orders = [shop.must_buy(sale, f"buyer {n}") for n in range(6)]
        broken, last = orders[2]["seq"], orders[-1]["seq"]
        database = sqlite3.connect(shop.db_path, timeout=10)
        database.execute(f"UPDATE event_rows SET {change} WHERE seq = ?" if change else "DELETE FROM event_rows WHERE seq = ?",
                         (broken,))
        database.commit()
        database.close()
        with all_events(shop, last=1) as stream, public(shop, sale, last=1) as open_to_all, \
                notices(shop, "buyer 2", last=1) as own:
            seen = [stream.next() for _ in range(last - 1)]
            if change != "payload = '{\"at\":\"'":
                assert [event.id for event in seen if event.name != "reset"] == [
                    seq for seq in range(2, last + 1) if seq != broken], (change, seen)
                assert [event.name for event in seen].index("reset") == broken - 2, (change, seen)
            shop.must_buy(sale, "afterwards")
            for other in (stream, open_to_all):
                while other.next().last_id != str(last + 1):
                    pass
            own.rest()
        assert shop.running()


def test_rows_of_events_that_are_changed_before_the_streams_read_them_end_no_process(t):
    """The same as the events come: a trigger spoils the row in the transaction that writes it."""
    for change in ("kind = 99", "sale = 12345", "ord = NULL", "payload = '{}' || char(10)", "payload = zeroblob(3000000)",
                   "seq = new.seq + 1000000", None):
        shop = t.shop("--stream-tick-ms", "0")
        sale = shop.open_sale(stock=10)
        first = head(shop)
        broken = first + 3
        database = sqlite3.connect(shop.db_path, timeout=10)
        spoil = f"UPDATE event_rows SET {change} WHERE seq = new.seq" if change else "DELETE FROM event_rows WHERE seq = new.seq"
        database.execute(f"CREATE TRIGGER spoil AFTER INSERT ON event_rows WHEN new.seq IN ({broken}, {broken + 3})"
                         f" BEGIN {spoil}; END")
        database.commit()
        database.close()
        with all_events(shop) as stream, public(shop, sale) as open_to_all, notices(shop, "buyer 4") as own:
            for other in (open_to_all, own):
                assert other.next().name == "snapshot"
            seqs = [shop.must_buy(sale, f"buyer {n}")["seq"] for n in range(8)]
            assert seqs == list(range(first + 1, first + 9))
            told = []
            while not told or told[-1] != seqs[-1]:
                event = stream.next()
                told.append("reset" if event.name == "reset" else event.id)
            assert [seq for seq in told if seq != "reset"] == [
                seq for seq in seqs if seq not in (broken, broken + 3)], (change, told)
            assert 1 <= told.count("reset") <= 2 and told.index("reset") == 2, (change, told)
            while open_to_all.next().last_id != str(seqs[-1]):
                pass
            seen = own.rest()
            assert any(event.name == "order.reserved" or event.name == "snapshot" and event.json["orders"]
                       for event in seen), (change, seen)
            assert 1 <= shop.log().count("cannot be told") <= 2, shop.log()
        assert shop.running()


def test_a_row_behind_the_last_event_is_none(t):
    shop = t.shop()
    sale = shop.open_sale(stock=10)
    order = shop.must_buy(sale, "ann")
    with all_events(shop) as stream:
        database = sqlite3.connect(shop.db_path, timeout=10)
        database.execute("INSERT INTO event_rows SELECT 1000000, kind, sale, ord, created_at_ms, payload FROM event_rows"
                         " WHERE seq = ?", (order["seq"],))
        database.commit()
        database.close()
        assert shop.must_buy(sale, "bob")["seq"] == stream.next().id == order["seq"] + 1


def test_more_streams_than_the_cap_are_told_to_come_back_later(t):
    shop = t.shop("--max-streams", "4")
    sale = shop.open_sale()
    streams = [public(shop), all_events(shop), notices(shop, "ann"), public(shop)]
    for path, token in ((PUBLIC, None), (EVENTS, shop.admin), (user_path("ann"), shop.admin)):
        expect_full(refused(shop, path, token=token))
    shop.must_hold(sale, "ann")  # a cap on streams is none on purchases
    until_connections(shop, 4)
    streams.pop().close()
    until_connections(shop, 3)
    streams.append(public(shop))
    expect_full(refused(shop, PUBLIC))
    for stream in streams:
        assert not stream.ended


@patient
def test_of_many_streams_at_once_each_gets_an_answer(t):
    """More than the broadcaster's inbox holds, while it is busy with the first: a stream or 503, never nothing."""
    shop = t.shop("--net-threads", "1")
    sockets = [socket.create_connection(("127.0.0.1", shop.port)) for _ in range(1800)]
    for one in sockets:
        one.sendall(f"GET {PUBLIC} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    answers = []
    for one in sockets:
        one.settimeout(20)
        answers.append(one.recv(4096).split(b"\r\n")[0])
        one.close()
    assert set(answers) <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable"}, set(answers)
    assert answers.count(b"HTTP/1.1 200 OK") >= 1000, len(answers)


def test_more_streams_from_one_address_than_its_cap_do_not_keep_out_the_others(t):
    shop = t.shop("--max-streams-per-address", "3")
    streams = [public(shop, source="127.0.0.1") for _ in range(3)]
    expect_full(refused(shop, PUBLIC, source="127.0.0.1"))
    streams += [public(shop, source="127.0.0.2") for _ in range(3)]
    expect_full(refused(shop, PUBLIC, source="127.0.0.2"))
    expect_full(refused(shop, PUBLIC, source="127.0.0.1"))
    streams.pop(0).close()
    until_connections(shop, 5)
    streams.append(public(shop, source="127.0.0.1"))
    expect_full(refused(shop, PUBLIC, source="127.0.0.1"))


def test_who_comes_by_ipv4_to_a_listener_for_both_has_a_cap_of_their_own_too(t):
    process = subprocess.Popen(command_prefix() + [binary(), "serve", "--listen", "[::]:0", "--data", t.new_data(),
                                                   "--max-streams-per-address", "2"],
                               env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    try:
        port = int(re.search(r":(\d+)\n$", process.stdout.readline())[1])
        streams = [Stream(port, PUBLIC, source=source) for source in ("127.0.0.1", "127.0.0.2") * 3]
        assert [stream.reply.status for stream in streams] == [200] * 4 + [503] * 2
        with socket.create_connection(("::1", port), timeout=5) as wire:
            wire.sendall(f"GET {PUBLIC} HTTP/1.1\r\nHost: [::1]\r\n\r\n".encode())
            assert wire.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


def test_a_cap_that_is_no_number_is_refused_at_start(t):
    for flag in ("--max-streams", "--max-streams-per-address"):
        ended = run_flashd(["serve", "--data", t.new_data(), flag, "many"], env={"FLASHD_JWT_SECRET": SECRET})
        assert ended.returncode == 2 and flag in ended.stderr and ended.stderr.count("\n") == 1, ended


# -------------------------------------------------------------------------------------- injection

LINE = re.compile(rb"(: (connected|ping)|retry: \d+|id: \d+|event: [a-z_.]+|data: \{.*\}|)", re.S)


def test_no_name_can_break_a_frame(t):
    shop = t.shop("--stream-tick-ms", "0")
    with public(shop) as watcher, all_events(shop, last=0) as everything:
        watcher.until_named("snapshot")
        for name in ODD_NAMES:
            sale = shop.open_sale(stock=5, name=name)
            user = notices(shop, name)
            user.until_named("snapshot")
            shop.must_pay(shop.must_hold(sale, name))
            with public(shop, sale) as late:
                assert late.next().json["sales"][0]["name"] == name
            assert [event.json["buyerName"] for event in user.take(2)] == [name, name]
            watcher.until(lambda event: event.json.get("saleId") == sale and event.json.get("buyerName") == name)
            user.tidy()
            for line in bytes(user.raw).split(b"\n"):
                assert LINE.fullmatch(line), line
        same(heard(everything.take(head(shop))), committed(shop))
        watcher.rest(0.1)
        for stream in (watcher, everything):
            stream.tidy()
            assert b"\r" not in stream.raw and b"\0" not in stream.raw
            for line in bytes(stream.raw).split(b"\n"):
                assert LINE.fullmatch(line), line


def test_control_characters_are_refused_at_the_door(t):
    shop = t.shop()
    sale = shop.open_sale()
    for wrong in ("a\rb", "a\nb", "a\0b", "\r\nid: 9\r\n\r\n", "a\x1bb", "a\x7fb", "a\x80b", "a\x9f"):
        assert expect(shop.buy(sale, wrong), 400)["code"] in ("invalid-request", "invalid-json")
    for path in ("/api/v1/users/a%0ab/notifications/stream", "/api/v1/users/a%0d%0ab/notifications/stream",
                 "/api/v1/users/%00/notifications/stream", "/api/v1/users/%ff/notifications/stream",
                 "/api/v1/users/a%c2%85/notifications/stream", "/api/v1/users/a%7f/notifications/stream",
                 "/api/v1/users//notifications/stream", f"/api/v1/users/{'x' * 65}/notifications/stream"):
        reply = refused(shop, path, token=shop.admin)
        assert reply.status in (400, 404), f"{path}: {reply!r}"


# ------------------------------------------------------------------------------------- published_at_ms

# The watermark is written with the next commit, or when a second has passed without one.

def unpublished(shop):
    return shop.rows("SELECT count(*) FROM domain_events WHERE published_at_ms IS NULL")[0][0]


def test_every_event_is_marked_published_within_about_a_second(t):
    shop = t.shop()
    sale = shop.open_sale(stock=500)
    for n in range(100):
        shop.must_hold(sale, f"buyer {n}")
    eventually(lambda: unpublished(shop) == 0, within_s=1.5, what=f"all published; {unpublished(shop)} are not")
    first = shop.rows("SELECT seq, created_at_ms, published_at_ms FROM domain_events ORDER BY seq")
    times = [published for _, _, published in first]
    assert times == sorted(times)
    assert all(created - 50 <= published <= now_ms() + 50 for _, created, published in first), first
    with all_events(shop, last=0) as stream:
        stream.take(len(first))
        shop.must_hold(sale, "one more")
        eventually(lambda: unpublished(shop) == 0, within_s=1.5, what="the last one published")
    same(shop.rows("SELECT seq, created_at_ms, published_at_ms FROM domain_events ORDER BY seq")[:len(first)], first)


def test_what_was_committed_before_a_kill_is_published_after_it(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    for _ in range(3):
        with Load(shop, sale, patient_with_restarts=True) as load:
            time.sleep(0.3)
            shop.kill()
            load.done.set()
        count = head(shop)
        shop.start()
        eventually(lambda: unpublished(shop) == 0, within_s=2, what=f"all published; {unpublished(shop)} are not")
        assert head(shop) >= count > 10
        seq = shop.must_buy(sale, f"buyer {count}")["seq"]
        eventually(lambda: unpublished(shop) == 0, within_s=1.5, what="the new one published")
        assert shop.rows("SELECT published_at_ms FROM domain_events WHERE seq = ?", seq)[0][0] is not None
    assert None not in [row[0] for row in shop.rows("SELECT published_at_ms FROM domain_events")]


def test_publishing_writes_no_event_and_survives_a_clean_restart(t):
    shop = t.shop()
    shop.must_hold(shop.open_sale(), "ann")
    eventually(lambda: unpublished(shop) == 0, within_s=1.5)
    before = shop.rows("SELECT seq, event_type, payload, created_at_ms, published_at_ms FROM domain_events")
    shop.restart()
    time.sleep(0.3)
    same(shop.rows("SELECT seq, event_type, payload, created_at_ms, published_at_ms FROM domain_events"), before)


# ---------------------------------------------------------------------------------------- the end

def test_sigterm_closes_50_streams_and_exits_0_within_5_seconds(t):
    for busy in (False, True):
        shop = t.shop()
        sale = shop.open_sale(stock=1000000)
        streams = []
        for n in range(50):
            streams.append((public(shop), all_events(shop, last=0), notices(shop, f"user {n}"))[n % 3])
            streams[-1].kind = n % 3
        if busy:
            with Load(shop, sale, patient_with_restarts=True) as load:
                time.sleep(0.3)
                status = shop.stop(signal.SIGTERM, within_s=5)
                load.done.set()
        else:
            shop.must_hold(sale, "user 2")
            status = shop.stop(signal.SIGTERM, within_s=5)
        assert status == 0, status
        wanted = committed(shop)
        for stream in streams:
            assert stream.ends(within_s=1)
            stream.tidy()
            if stream.kind == 1:  # what it got is a beginning, and it can go on from there
                got = heard(stream.waiting)
                same(got, wanted[:len(got)])
        shop.start()
        with all_events(shop, last=len(wanted) - 1) as again:
            assert again.next().id == len(wanted)
        assert shop.stop() == 0


def test_sigterm_closes_the_streams_a_few_at_a_time(t):
    shop = t.shop()
    streams = [public(shop) for _ in range(60)]
    closing = threading.Thread(target=shop.stop)
    closing.start()
    ends = []
    for stream in streams:
        assert stream.ends(within_s=5)
        ends.append(time.monotonic())
    closing.join()
    assert ends[-1] - ends[0] > 0.2, f"all within {ends[-1] - ends[0]:.3f} s: they come back in one instant"


def test_sigterm_does_not_wait_for_clients_that_never_read(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000000)
    with Load(shop, sale, depth=64) as load:
        eventually(lambda: load.answered > 5000, within_s=20, what="5000 orders")
    deaf = [all_events(shop, last=0, receive_buffer=4096) for _ in range(10)]
    assert shop.stop(signal.SIGTERM, within_s=5) == 0
    for stream in deaf:
        stream.close()
