"""
test_clients.py: clients of the streams that are not ours: npm's `eventsource` in Node, and a page in Chromium.

Each follows a sale, every domain event and one buyer's own events, loses the server (kill -9 under load, and once a
clean stop), reconnects by itself with only what the stream gave it, and ends with the right state.
The clients are in tests/clients/; `./run test` installs what they need.
"""
import contextlib
import json
import os
import subprocess
import threading
import time

from harness import (ROOT, SECRET, eventually, expect, expect_problem, lasting_port, mint, now_ms, patient, slack)
from test_streams import ODD_NAMES, Load, committed, head

CLIENTS = os.path.join(ROOT, "tests", "clients")
STREAMS = ("sale", "events", "user")
# A browser waits for as long as `retry:` said (1 to 5 s) before each try to come back.
RECONNECT_S = 12
ODDER_NAMES = ODD_NAMES + ["\ufeffbyte order mark", "\u2028", "\u2029\u2028", '"', "'", "`${1}`", "\\u000a", "%0D%0A",
                           "\\", "]]>", "ann\u00a0", "\u202eright to left", "id: 1\\n\\nevent: x", "\U0001f469\u200d\U0001f680"]
BREAKING = ("\r", "\n", "\0", "\r\n\r\n", "\ndata: {}\n\n", "\rid: 1\r\r")


class Outside:
    """A client in a process of its own; says what it has seen when it is asked."""

    def __init__(self, script, shop, sale, user):
        token = mint(SECRET, sub=user, role="consumer", exp=now_ms() // 1000 + 3600)
        given = {"base": f"http://127.0.0.1:{shop.port}", "sale": sale, "user": user, "token": token}
        assert os.path.isdir(os.path.join(CLIENTS, "node_modules")), "no node_modules: `./run test` installs them"
        self.process = subprocess.Popen(["node", os.path.join(CLIENTS, script), json.dumps(given)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.patience = threading.Timer(120 * slack(), self.process.kill)
        self.patience.start()

    def __enter__(self):
        try:
            assert self._answer() == "ready"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """The end of stdin is its end; it must find that by itself."""
        self.process.stdin.close()
        try:
            self.process.wait(20 * slack())
        finally:
            self.patience.cancel()
            self.process.kill()
            self.process.stdout.close()
            self.process.stderr.close()

    def _answer(self):
        line = self.process.stdout.readline()
        assert line, "the client ended: " + self.process.stderr.read()[-2000:]
        return json.loads(line)

    def ask(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def state(self):
        return self.ask("state")

    def until(self, wanted, within_s, what):
        def look():
            state = self.state()
            look.brief = {key: state[key] for key in ("shown", "resets", "opened", "lost")}
            look.brief["events"] = len(state["events"])
            return state if wanted(state) else None
        try:
            return eventually(look, within_s, every_s=0.1, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {look.brief}") from None


def payloads(shop, where="1", *values):
    """What a client has to have seen, to the byte: [[id, type, data]]."""
    return [[str(seq), kind, payload] for seq, kind, payload in shop.rows(
        f"SELECT seq, event_type, payload FROM domain_events WHERE {where} ORDER BY seq", *values)]


def first_difference(got, wanted):
    for n, (one, other) in enumerate(zip(got, wanted)):
        if one != other:
            return f"at {n}: got {one}, expected {other}"
    return f"{len(got)} instead of {len(wanted)}"


class Ann:
    """A buyer who buys, pays for nothing and cancels, all through the kills: her own stream has to tell it all."""

    def __init__(self, shop, sale):
        self.shop, self.sale, self.done = shop, sale, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.done.is_set():
            with contextlib.suppress(OSError, TypeError):  # TypeError: no port while the server is down
                client = self.shop.client()
                while not self.done.is_set():
                    reply = client.post("/api/v1/buy", {"buyerName": "ann", "saleId": self.sale})
                    for order, in self.shop.rows("SELECT id FROM orders WHERE buyer = 'ann' AND state = 'payment'"):
                        client.post("/api/v1/cancel", {"transactionId": order})
                    assert reply.status in (201, 400), reply
                    time.sleep(0.05)
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def follows_through_kills(t, script, kills, look=None):
    shop = t.shop(port=lasting_port())
    sale = shop.open_sale(stock=1000000, name="Sneakers, \u2028live\u2028 & \"quoted\"")
    begin = head(shop)
    with Outside(script, shop, sale, "ann") as client:
        client.until(lambda state: state["shown"] and all(state["opened"].values()), 20, "three open streams")
        with Load(shop, sale, threads=1, depth=8, pause_s=0.02, patient_with_restarts=True), Ann(shop, sale):
            for kill in range(kills):
                time.sleep(0.7)
                shop.stop() if kill == 1 else shop.kill()
                client.until(lambda state: min(state["lost"].values()) > kill, RECONNECT_S, "that it noticed")
                shop.start()
                client.until(lambda state: min(state["opened"].values()) >= kill + 2, RECONNECT_S,
                             f"all streams open again after loss {kill + 1}")
        order = expect(shop.buy(sale, "zoë \u2028\"last\""), 201)
        shop.must_pay(order["transactionId"])
        shop.must_steer(sale, "pause")
        state = client.until(lambda state: state["events"] and int(state["events"][-1][0]) == head(shop)
                             and state["shown"]["phase"] == "PAUSED", 20, f"everything up to {head(shop)}")
        now = shop.sale(sale)
        shown = client.until(lambda state: state["shown"]["available"] == now["available"], 3, f"{now}")["shown"]
        for member in ("name", "productQty", "remainingQty", "available", "sold"):
            assert shown[member] == now[member], (member, shown, now)
        if look:
            look(client, now)
    assert not state["resets"], state["resets"]
    wanted = payloads(shop, "seq > ?", int(state["events"][0][0]) - 1)
    assert int(wanted[0][0]) == begin + 1 and len(wanted) > 300, (begin, wanted[0], len(wanted))
    assert state["events"] == wanted, first_difference(state["events"], wanted)
    snapshots = [notice for notice in state["notices"] if notice[1] == "snapshot"]
    assert len(snapshots) == 1 and state["notices"][0] == snapshots[0], "one snapshot, and never again"
    own = payloads(shop, "json_extract(payload, '$.buyerName') = 'ann' AND seq > ?", int(snapshots[0][0]))
    assert state["notices"][1:] == own and len(own) > 20, first_difference(state["notices"][1:], own)
    shop.balance_books()


@patient
def test_npms_eventsource_follows_a_sale_through_three_losses_of_the_server(t):
    follows_through_kills(t, "eventsource.js", kills=3)


@patient
def test_a_page_in_chromium_follows_a_sale_through_three_losses_of_the_server(t):
    def look(client, now):
        assert client.ask("text", "name") == now["name"]
        eventually(lambda: client.ask("text", "sold") == str(now["sold"]), what=f"sold {now['sold']} on the page")
        assert client.ask("text", "remaining") == f"{now['remainingQty']} of {now['productQty']}"
        assert client.ask("text", "phase") == "PAUSED"
        assert "zoë \u2028\"last\"" in client.ask("text", "buyers")
        assert client.state()["errors"] == []
        if os.environ.get("FLASHD_SCREENSHOT"):
            client.ask("screenshot", os.environ["FLASHD_SCREENSHOT"])

    follows_through_kills(t, "browser.js", kills=3, look=look)


def no_name_breaks_a_frame(t, script):
    """Every name comes out as it went in; one that could end a line is refused, raw and escaped."""
    shop = t.shop("--stream-tick-ms", "0")
    sale = shop.open_sale(stock=1000, name=ODDER_NAMES[2])
    with Outside(script, shop, sale, "ann") as client:
        client.until(lambda state: state["shown"] and all(state["opened"].values()), 20, "three open streams")
        begin = head(shop)
        for name in ODDER_NAMES:
            shop.must_pay(shop.must_hold(sale, name))
            expect(shop.post("/sales", {"name": name, "productQty": 1, "startsAt": now_ms() + 3600000,
                                        "endsAt": now_ms() + 7200000}, token=shop.admin), 201)
        for breaking in BREAKING:
            for name in (breaking, "a" + breaking + "b"):
                expect_problem(shop.buy(sale, name), 400, "invalid-request", naming="buyerName")
                reply = shop.post("/sales", {"name": name, "productQty": 1, "startsAt": now_ms(),
                                             "endsAt": now_ms() + 7200000}, token=shop.admin)
                expect_problem(reply, 400, "invalid-request", naming="name")
                raw = b'{"saleId":"' + sale.encode() + b'","buyerName":"' + name.encode() + b'"}'
                assert shop.post("/buy", raw).status == 400
        shop.must_hold(sale, "the last one")
        state = client.until(lambda state: "the last one" in state["buyers"] and state["events"] and
                             int(state["events"][-1][0]) == head(shop), 10, "the last one")
        assert state["shown"]["name"] == ODDER_NAMES[2]
        assert state["lost"] == {stream: 0 for stream in STREAMS}, "no frame made it reconnect"
    wanted = payloads(shop, "seq > ?", begin)
    assert state["events"] == wanted, first_difference(state["events"], wanted)
    told = [name for n, name in enumerate(state["buyers"]) if n == 0 or state["buyers"][n - 1] != name]
    assert told == ODDER_NAMES + ["the last one"], told
    named = [json.loads(data).get("name") for _, kind, data in state["events"] if kind == "sale.created"]
    assert named == ODDER_NAMES, named
    assert [row[2]["buyerName"] for row in committed(shop, begin, "event_type = 'order.paid'")] == ODDER_NAMES


def test_no_name_breaks_a_frame_for_npms_eventsource(t):
    no_name_breaks_a_frame(t, "eventsource.js")


@patient
def test_no_name_breaks_a_frame_for_chromium(t):
    no_name_breaks_a_frame(t, "browser.js")
