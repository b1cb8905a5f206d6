"""
record.py: records histories of sales on a running flashd, of several sales and clients at a time.

One thread; one connection per client, with one request in flight. All moments come from one monotonic clock: an
operation begins before its first byte is sent and has ended when its last byte has been read. Dice choose the
requests; the interleaving comes from the server's threads and the machine.
"""
import json
import random
import selectors
import socket
import time

from checker import Event, Op, Terms

CLIENTS = 6  # of each sale; the first is its admin too
MEMBERS = {"state": "phase", "available": "available", "held": "held", "sold": "sold", "waiting": "waiting"}


class Recording:
    """One sale and its history."""

    def __init__(self, seed, ops_count):
        dice = self.dice = random.Random(seed)
        self.seed, self.left, self.ops, self.flying = seed, ops_count, [], 0
        self.orders, self.live, self.paused, self.sale = [], {}, False, None
        self.buyers = [f"buyer {n}" for n in range(dice.choice((4, 12, 40)))]
        self.terms = Terms(stock=dice.choice((1, 2, 5, 20, 60)), max_per_buyer=dice.choice((1, 1, 3)),
                           waitlist_max=dice.choice((0, 2, 4, 1000)),
                           hold_ns=dice.choice((60000, 60000, 60000, 10, 40)) * 1000000)
        steering = dice.choice((0, 0, 2))
        self.kinds = ["buy", "cancel", "pay", "get", "look", "eligible", "buyers", "steer"]
        # Few payments in a small sale: it is to live for most of the history.
        paying = dice.choice((0, 1, 2)) * 100 * self.terms.stock / ops_count
        self.weights = [35, dice.choice((15, 30)), min(paying, 6), 18, 14, 6, 4, steering]

    def sale_body(self):
        now_ms = int(time.time() * 1000)
        return {"name": f"seed {self.seed}", "productQty": self.terms.stock, "startsAt": now_ms - 1000,
                "endsAt": now_ms + 3600000, "maxPerBuyer": self.terms.max_per_buyer,
                "waitlistMax": self.terms.waitlist_max, "holdMs": self.terms.hold_ns // 1000000}

    def next_op(self, admin):
        """(kind, method, path, body, {what it is about})"""
        self.left -= 1
        kind = self.dice.choices(self.kinds, self.weights)[0]
        if kind == "steer" and admin:
            kind = "end" if self.left < 50 else "resume" if self.paused else "pause"
            if kind == "end":
                self.weights[-1] = 0
            self.paused = kind == "pause"
            return kind, "POST", f"/sales/{self.sale}/{kind}", None, {}
        if kind == "get" or kind == "steer" or (kind in ("cancel", "pay", "look") and not self.orders):
            return "get", "GET", f"/sales/{self.sale}", None, {}
        if kind == "buyers":
            return kind, "GET", f"/sales/{self.sale}/buyers?limit=1000", None, {}
        if kind == "buy":
            body = {"buyerName": self.dice.choice(self.buyers), "saleId": self.sale}
            body["quantity"] = self.dice.randint(1, self.terms.max_per_buyer + (self.dice.random() < 0.02))
            return kind, "POST", "/buy", body, {"buyer": body["buyerName"], "quantity": body["quantity"]}
        if kind == "eligible":
            buyer = self.dice.choice(self.buyers)
            return kind, "POST", f"/sales/{self.sale}/eligible", {"buyerName": buyer}, {"buyer": buyer}
        # Mostly one that may still be paid and cancelled, as far as is known.
        order = self.dice.choice(list(self.live) if self.live and self.dice.random() < 0.7
                                 else self.orders[-len(self.buyers):])
        if kind == "look":
            return kind, "GET", f"/transactions/{order}", None, {"order": order}
        return kind, "POST", {"pay": "/paid", "cancel": "/cancel"}[kind], {"transactionId": order}, {"order": order}

    def note(self, kind, about, begin, end, status, answer):
        if status not in (200, 201, 400):
            raise AssertionError(f"{kind} {about}: {status} {answer}")
        told, seq = answer, answer.get("seq")
        if kind in ("pay", "cancel"):
            self.live.pop(about["order"], None)
        if status == 400:
            told = {name: answer[name] for name in ("code", "state") if name in answer}
        elif kind in ("get", "pause", "resume", "end"):
            told = {ours: answer[name] for name, ours in MEMBERS.items()}
        elif kind == "buy":
            told = {"order": answer["transactionId"], "state": answer["state"], "position": answer.get("position")}
            self.orders.append(answer["transactionId"])
            self.live[answer["transactionId"]] = True
        elif kind == "look":
            told = {"state": answer["state"], "position": answer.get("position")}
        elif kind == "buyers":
            told = {"buyers": [buyer["buyerName"] for buyer in answer["buyers"]]}
        else:
            told = {}
        self.ops.append(Op(kind, begin, end, status, told, seq, **about))


class Client:
    """One connection, with at most one request in flight."""

    def __init__(self, port, recording, admin_token):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.recording, self.admin_token, self.data = recording, admin_token, b""

    def send_next(self):
        """False when its recording is full."""
        if self.recording.left <= 0:
            return False
        self.kind, method, path, body, self.about = self.recording.next_op(self.admin_token is not None)
        self.socket.sendall(self.prepare(method, path, body))
        return True

    def prepare(self, method, path, body):
        """Ends with the moment at which the request begins."""
        head = f"{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\n"
        if self.kind in ("pause", "resume", "end"):
            head += f"Authorization: Bearer {self.admin_token}\r\n"
        text = json.dumps(body) if body else ""
        if body:
            head += "Content-Type: application/json\r\n"
        if method == "POST":
            head += f"Content-Length: {len(text)}\r\n"
        message = f"{head}\r\n{text}".encode()
        self.begin = time.monotonic_ns()
        return message

    def received(self):
        """Whether the whole answer is here."""
        piece = self.socket.recv(65536)
        self.end = time.monotonic_ns()
        assert piece, "the server closed a connection"
        self.data += piece
        head_end = self.data.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        at = self.data.index(b"Content-Length: ") + 16
        length = int(self.data[at:self.data.index(b"\r", at)])
        return len(self.data) >= head_end + 4 + length

    def finish(self):
        status, body = int(self.data[9:12]), self.data.partition(b"\r\n\r\n")[2]
        self.data = b""
        self.recording.note(self.kind, self.about, self.begin, self.end, status, json.loads(body))


def record(shop, recordings, seed):
    """Fills the recordings, all at the same time; their sales are made here."""
    for recording in recordings:
        reply = shop.post("/sales", recording.sale_body(), token=shop.admin)
        assert reply.status == 201, reply
        recording.sale = reply.json["id"]
    for recording in recordings:
        shop.until(recording.sale, state="ACTIVE")
    clients = [Client(shop.port, recording, shop.admin if n == 0 else None)
               for recording in recordings for n in range(CLIENTS)]
    random.Random(seed).shuffle(clients)
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            if not client.send_next():
                selector.unregister(client.socket)
        while selector.get_map():
            ready = selector.select(timeout=30)
            assert ready, "no answer within 30 s"
            for client in [key.data for key, _ in ready if key.data.received()]:
                client.finish()
                if not client.send_next():
                    selector.unregister(client.socket)
    for client in clients:
        client.socket.close()


def settle(shop, recordings):
    """Waits until flashd has nothing left to do by itself for these sales: nobody waits who could be served."""
    for recording in recordings:
        if recording.terms.hold_ns < 1000000000:
            shop.until(recording.sale, held=0, within_s=10)
    time.sleep(0.2)


def read_events(shop):
    """{sale: [Event]}"""
    found = {}
    for seq, kind, payload in shop.rows("SELECT seq, event_type, payload FROM domain_events ORDER BY seq"):
        payload = json.loads(payload)
        found.setdefault(payload["saleId"], []).append(
            Event(seq, kind, payload.get("transactionId"), payload.get("buyerName"), payload.get("quantity")))
    return found
