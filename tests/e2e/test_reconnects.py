"""
test_reconnects.py: a thousand forced reconnects and twenty restarts under load, and every event exactly once.

Many clients at a time follow the streams by last id and are cut off again and again: by themselves in the middle
of an event, by kill -9 and by a clean stop. In the end each has received what the database has: no gap, no
repetition, no reordering; and followers of the public stream have the last state.
"""
import contextlib
import threading
import time

from harness import Ended, lasting_port, patient, raises, slack
from test_streams import Follower, Load, Watcher, committed, head, heard, in_threads, notices, same


class Away(threading.Thread):
    """One client that reconnects until it is told to stop. read: one connection, however it ends."""

    def __init__(self, read, done):
        super().__init__()
        self.read, self.done, self.connections, self.error = read, done, 0, None

    def run(self):
        while not self.done.is_set():
            try:
                self.read()
                self.connections += 1
            except OSError:  # the server is down
                time.sleep(0.005)
            except BaseException as error:
                self.error = error
                return


class Ann:
    """A buyer who buys and cancels, and two of whose devices follow her own stream."""

    def __init__(self, shop, sale):
        self.shop, self.sale, self.devices = shop, sale, [[], []]

    def trade(self):
        client = self.shop.client()
        with contextlib.closing(client):
            reply = client.post("/api/v1/buy", {"buyerName": "ann", "saleId": self.sale})
            order = reply.json.get("transactionId") or self.shop.rows(
                "SELECT id FROM orders WHERE buyer = 'ann' ORDER BY id DESC LIMIT 1")[0][0]
            client.post("/api/v1/cancel", {"transactionId": order})
        time.sleep(0.01)

    def follow(self, device, most=6, for_s=0.2):
        seen = self.devices[device]
        with notices(self.shop, "ann", last=seen[-1][0] if seen else 0) as stream:
            end = time.monotonic() + for_s
            while time.monotonic() < end and most > 0 and not stream.ended:
                stream.pump(end - time.monotonic())
                seen.extend(heard(stream.waiting[:most]))
                most, stream.waiting = most - len(stream.waiting), []


def restart(shop, times, up_s, enough):
    """Every other time without warning."""
    for n in range(times):
        time.sleep(up_s)
        shop.stop() if n % 2 else shop.kill()
        shop.start()
    while not enough():
        time.sleep(0.02)


def reconnect(t, restarts, reconnects, up_s, followers):
    shop = t.shop("--workers", "2", "--net-threads", "2", port=lasting_port())
    sale = shop.open_sale(stock=1000000)
    everything = [Follower(shop, seed) for seed in range(followers)]
    narrowed = Follower(shop, 101, query="?types=order.cancelled")
    watchers = [Watcher(shop, sale) for _ in range(2)]
    ann = Ann(shop, sale)
    done, limit = threading.Event(), time.monotonic() + 60 * slack()
    clients = [Away(follower.hop, done) for follower in everything + [narrowed]]
    clients += [Away(lambda watcher=watcher: watcher.read(0.1), done) for watcher in watchers]
    clients += [Away(lambda device=device: ann.follow(device), done) for device in range(2)]
    trader = Away(ann.trade, done)

    def enough():
        assert time.monotonic() < limit, f"{[client.connections for client in clients]} connections"
        broken = [client.error for client in clients + [trader] if client.error]
        return broken or sum(client.connections for client in clients) >= reconnects + len(clients)

    with Load(shop, sale, threads=1, depth=8, pause_s=0.03, patient_with_restarts=True) as load:
        for thread in clients + [trader]:
            thread.start()
        try:
            restart(shop, restarts, up_s, enough)
        finally:
            done.set()
            load.done.set()
            for thread in clients + [trader]:
                thread.join()
    for thread in clients + [trader]:
        if thread.error:
            raise thread.error
    end, wanted = head(shop), committed(shop)
    same([seq for seq, _, _ in wanted], list(range(1, end + 1)))
    assert load.answered > 20 * restarts, load.answered
    in_threads(*[lambda follower=follower: follower.read(until_id=end, for_s=20 * slack())
                 for follower in everything])
    for follower in everything:
        same(follower.seen, wanted)
    cancelled = [event for event in wanted if event[1] == "order.cancelled"]
    narrowed.read(until_id=cancelled[-1][0], for_s=20 * slack())
    same(narrowed.seen, cancelled)
    own = [event for event in wanted if event[2].get("buyerName") == "ann"]
    assert len(own) > 2 * restarts, len(own)
    for device in range(2):
        ann.follow(device, most=1 << 30, for_s=0.5 * slack())
        same(ann.devices[device], own)
    now = shop.sale(sale)
    for watcher in watchers:
        watcher.read(0.3 * slack())
        assert watcher.state == (now["remainingQty"], now["available"]), (watcher.state, now)
    shop.balance_books()


@patient
def test_1000_reconnects_and_20_restarts_under_load_lose_and_repeat_no_event(t):
    reconnect(t, restarts=20, reconnects=1000, up_s=0.5, followers=6)


def test_60_reconnects_and_2_restarts_under_load_lose_and_repeat_no_event(t):
    reconnect(t, restarts=2, reconnects=60, up_s=0.4, followers=3)


@patient
def test_a_killed_server_starts_again_on_its_port_at_once(t):
    """The kernel may close the listener of a process with io_uring some time after that process."""
    shop = t.shop("--net-threads", "2", port=lasting_port())
    for _ in range(60):
        wires = [shop.wire() for _ in range(20)]
        for wire in wires:
            wire.send("GET /api/v1/sales/events HTTP/1.1\r\nHost: x\r\n\r\n")
        shop.kill()
        shop.start()
        for wire in wires:
            wire.close()


def test_a_port_that_stays_in_use_is_refused(t):
    shop = t.shop()
    other = t.server(port=shop.port)
    ended = raises(Ended, other.start)
    assert ended.status == 1 and "Address already in use" in ended.stderr, ended.stderr
