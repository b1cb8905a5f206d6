#!/usr/bin/env python3
"""
crash.py: kill -9 at random moments under load, with a ledger that only the clients keep.

    crash.py [KILLS=10] [--seed N] [--binary build/flashd] [--tally FILE]
    crash.py --fault NAME [KILLS=60]     with build/flashd_faults: exits 0 when the fault was caught

Several clients buy, pay and cancel, and write down each answer the moment they have it, while the server
is killed. After each start, the ledger is compared with the database and with the server:
  - every answer's seq is an event of that kind of that transaction, and the order is in a state that
    follows from it; a request without an answer may have happened or not
  - no unit is held or sold twice; seq has no gap; the tables are what the events say (e2e/books.py)
  - no buyer has two live orders; the server's memory agrees with the tables
A server that ends by itself under load is a failure, too; with --fault, the fault is caught by it.
Everything random comes from the seed, except the timing of the threads and the kill.
"""
import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True
import books  # noqa: E402
import harness  # noqa: E402

CLIENTS = 6
STOCK = 120          # small enough that units change hands and people wait
HOLD_MS = 1500       # short enough that some holds expire, long enough that most outlive a restart
FAULTS = ("ack-before-commit", "skip-seq", "forget-hold")
EVENT_OF = {"payment": "order.reserved", "waiting": "order.queued", "paid": "order.paid",
            "cancelled": "order.cancelled"}
# After an answer that left an order in a state, the states that it may be found in later when its own
# client did nothing more: promotion, expiry and clearing happen without the client.
LATER = {"payment": {"payment", "expired"}, "waiting": {"waiting", "payment", "expired", "cleared"},
         "paid": {"paid"}, "cancelled": {"cancelled"}}


class Caught(Exception):
    """The books of the clients and those of the server disagree."""


class Ledger:
    """What one client was told. Only its own thread writes it; it is read while that thread rests."""

    def __init__(self):
        self.answers = []      # (transaction, state answered, seq)
        self.state = {}        # transaction -> last state answered
        self.unknown = {}      # transaction -> {states that an unanswered request may have led to}
        self.buyers = {}       # transaction -> (sale, buyer)

    def note(self, transaction, state, seq):
        self.answers.append((transaction, state, seq))
        self.state[transaction] = state
        self.unknown.pop(transaction, None)

    def may_be(self, transaction):
        allowed = set(LATER[self.state[transaction]])
        if self.state[transaction] in ("payment", "waiting"):
            allowed |= self.unknown.get(transaction, set())
        return allowed


class Client:
    """Buys, pays and cancels until the server is gone. Each has its own dice and its own buyers."""

    def __init__(self, number, seed, fault):
        self.number, self.dice, self.ledger = number, random.Random(seed * 1000 + number), Ledger()
        # Answered before it is committed, an order is not to be seen for a moment. That alone would give the
        # fault away; here it is to be caught by what is lost in a crash.
        self.overlooked = {"not-found"} if fault == "ack-before-commit" else set()
        self.names, self.strange = 0, []

    def run(self, port, sale, stop):
        http = harness.Client(port, timeout_s=10)
        try:
            while not stop.is_set():
                self.step(http, sale)
        except OSError:
            pass  # the kill
        except Exception as error:  # reported by the checks
            self.strange.append(f"client {self.number}: {error!r}")
        http.close()

    def step(self, http, sale):
        open_orders = [order for order, state in self.ledger.state.items()
                       if state in ("payment", "waiting") and self.ledger.buyers[order][0] == sale]
        what = self.dice.random()
        if what < 0.55 or not open_orders:
            self.buy(http, sale)
        elif what < 0.68:
            self.change(http, "/api/v1/paid", "paid", self.dice.choice(open_orders[-40:]))
        else:
            self.change(http, "/api/v1/cancel", "cancelled", self.dice.choice(open_orders[-40:]))

    def buy(self, http, sale):
        # Mostly somebody new; sometimes one of a few names, who may have an order already.
        self.names += 1
        name = f"client {self.number} buyer {self.names}"
        if self.dice.random() < 0.15:
            name = f"client {self.number} regular {self.dice.randrange(5)}"
        reply = http.post("/api/v1/buy", {"buyerName": name, "saleId": sale})
        if reply.status == 201:
            order = reply.json
            self.ledger.buyers[order["transactionId"]] = (sale, name)
            self.ledger.note(order["transactionId"], order["state"], order["seq"])
        elif reply.code not in {"already-joined", "sold-out", "overload"} | self.overlooked:
            self.strange.append(f"buy: {reply!r}")

    def change(self, http, path, state, order):
        unknown = self.ledger.unknown.get(order, set())
        self.ledger.unknown[order] = unknown | {state}
        reply = http.post(path, {"transactionId": order})
        if reply.status == 200:
            self.ledger.note(order, state, reply.json["seq"])
            return
        self.ledger.unknown[order] = unknown  # this one did nothing; one before it may have
        if reply.code in ("not-in-payment", "not-cancellable", "hold-expired"):
            # It is waiting still, or ended without us; what it is now is asked of the server.
            seen = http.get("/api/v1/transactions/" + order)
            if seen.status != 200 and seen.code not in self.overlooked:
                self.strange.append(f"{order} was answered and is gone: {seen!r}")
            elif seen.status == 200 and seen.json["state"] not in self.ledger.may_be(order):
                self.strange.append(f"{order}, of which {self.ledger.state[order]} was answered,"
                                    f" is {seen.json['state']}")
            elif seen.json.get("state") in ("paid", "cancelled"):  # an unanswered request did happen
                self.ledger.state[order] = seen.json["state"]
            elif seen.json.get("state") in ("expired", "cleared"):
                self.ledger.state.pop(order)
        elif reply.code != "overload" and reply.code not in self.overlooked:
            self.strange.append(f"{path}: {reply!r}")


# -------------------------------------------------------------------------------------------- checks

def check_ledgers(clients, told):
    """told: the replayed books. Every answer is an event at its seq, and stands."""
    for client in clients:
        if client.strange:
            raise Caught(client.strange[0])
        for order, state, seq in client.ledger.answers:
            if told.by_seq.get(seq) != (EVENT_OF[state], order):
                raise Caught(f"answered: {order} {state} at seq {seq}; the events have"
                             f" {told.by_seq.get(seq)} there, up to seq {told.seq}")
        for order in client.ledger.state:
            found = told.orders[order].state if order in told.orders else None
            if found not in client.ledger.may_be(order):
                raise Caught(f"answered: {order} {client.ledger.state[order]}; the events say {found}")
        for order, who in client.ledger.buyers.items():
            if (told.orders[order].sale, told.orders[order].buyer) != who:
                raise Caught(f"{order} was {who}'s and is {vars(told.orders[order])}")


def check_database(path):
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return books.check(connection)
    except (books.Unbalanced, KeyError) as error:
        raise Caught(f"books: {error}") from None
    finally:
        connection.close()


def check_memory(server, sale):
    """The server's own view of a sale agrees with its tables, at a moment when the two can be compared."""
    for _ in range(50):
        told = check_database(server.db_path)
        now = server.sale(sale)
        seen = {key: now[key] for key in ("available", "held", "sold", "waiting")}
        if seen == told.sales[sale].counters():
            return
        time.sleep(0.02)
    raise Caught(f"memory says {seen}, the events say {told.sales[sale].counters()}")


def check_no_hold_outlives_its_time(server):
    """Also what was held before the kill must expire: a recovery that forgets a hold keeps its units for ever."""
    connection = sqlite3.connect(f"file:{server.db_path}?mode=ro", uri=True, timeout=10)
    try:
        for _ in range(200):
            overdue = connection.execute(
                "SELECT count(*), min(created_at_ms) FROM orders WHERE state = 'payment' AND expires_at_ms < ?",
                (harness.now_ms() - 300,)).fetchone()
            if not overdue[0]:
                return
            time.sleep(0.01 * harness.slack())
    finally:
        connection.close()
    raise Caught(f"{overdue[0]} holds stay though their time is over")


def check_orders_by_http(server, clients, told, dice):
    """A sample of orders as the server itself shows them; holds that the tables know must be known."""
    orders = sorted(told.orders)
    for order in dice.sample(orders, min(20, len(orders))):
        seen = server.get("/transactions/" + order)
        if seen.status != 200:
            raise Caught(f"{order} is in the tables and not in memory: {seen!r}")
        may = {told.orders[order].state} | LATER.get(told.orders[order].state, set())
        if seen.json["state"] not in may:
            raise Caught(f"{order} is {told.orders[order].state} in the tables, {seen.json['state']} in memory")


# ---------------------------------------------------------------------------------------------- rounds

class Run:
    def __init__(self, folder, seed, executable, fault):
        self.dice, self.folder, self.fault = random.Random(seed), folder, fault
        env = {"FLASHD_FAULT": fault} if fault else {}
        self.server = harness.Server(os.path.join(folder, "data"),
                                     ("--workers", "2", "--net-threads", "2", "--state-interval-ms", "20"),
                                     env=env, executable=executable)
        self.clients = [Client(number, seed, fault) for number in range(CLIENTS)]
        self.sale = None

    def start(self):
        try:
            self.server.start()
        except harness.Ended as error:
            raise Caught(f"it does not start again: {error}") from None

    def next_sale(self):
        """A sale of its own for most rounds; now and then the last one goes on."""
        if self.sale and self.dice.random() < 0.4 and self.server.sale(self.sale)["sold"] < STOCK:
            return
        self.sale = self.server.new_sale(stock=STOCK, holdMs=HOLD_MS)["id"]
        time.sleep(0.05)
        self.server.until(self.sale, state="ACTIVE")

    def load_and_kill(self):
        stop = threading.Event()
        threads = [threading.Thread(target=client.run, args=(self.server.port, self.sale, stop))
                   for client in self.clients]
        for thread in threads:
            thread.start()
        time.sleep(self.dice.uniform(0.05, 0.6))
        ended = self.server.process.poll()
        self.server.process.send_signal(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join()
        self.server.process.wait()
        self.server._gone()
        if ended is not None:
            raise Caught(f"it ended by itself with status {ended}: {self.server.log().strip()[-400:]}")

    def verify_file(self):
        """Before the restart, so that recovery cannot paper over what is missing."""
        check_ledgers(self.clients, check_database(self.server.db_path))

    def verify_running(self):
        told = check_database(self.server.db_path)
        check_ledgers(self.clients, told)
        check_memory(self.server, self.sale)
        check_orders_by_http(self.server, self.clients, told, self.dice)
        check_no_hold_outlives_its_time(self.server)

    def round(self):
        self.next_sale()
        self.load_and_kill()
        # SQLite may have to recover its WAL for a reader; a read-only connection may do so.
        self.verify_file()
        self.start()
        self.verify_running()

    def all_rounds(self, kills):
        self.start()
        for number in range(1, kills + 1):
            try:
                self.round()
            except (AssertionError, OSError) as error:
                raise Caught(f"{type(error).__name__}: {error}") from None
            except Caught as caught:
                raise Caught(f"kill {number}: {caught}") from None
        if self.server.stop() != 0:
            raise Caught("it does not end with status 0 on SIGTERM")

    def answers(self):
        return sum(len(client.ledger.answers) for client in self.clients)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", nargs="?", type=harness.positive)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--binary")
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--tally")
    args = parser.parse_args()
    kills = args.kills or (60 if args.fault else 10)
    executable = args.binary or os.path.join(harness.ROOT, "build", "flashd_faults" if args.fault else "flashd")
    if not os.access(executable, os.X_OK):
        sys.exit(f"no binary at {executable}")
    begin, caught = time.monotonic(), None
    with tempfile.TemporaryDirectory(prefix="flashd-crash-") as folder:
        run = Run(folder, args.seed, os.path.abspath(executable), args.fault)
        try:
            run.all_rounds(kills)
        except Caught as error:
            caught = str(error)
        finally:
            if run.server.process is not None:
                run.server.kill()
        report = None
        if os.path.exists(run.server.log_path):
            report = harness.SANITISER_REPORT.search(run.server.whole_log())
        if report and not args.fault:
            caught = (caught or "") + " " + run.server.whole_log()[report.start():][:3000]
    passed = (caught is not None) == (args.fault is not None)
    told = f"{run.answers()} answers, {time.monotonic() - begin:.0f} s, seed {args.seed}"
    if args.fault:
        what = f"the fault {args.fault} is caught" + ("" if caught else f": NOT within {kills} kills")
    else:
        what = f"{kills} kills lose and double nothing"
    print(f"{'ok  ' if passed else 'FAIL'} crash: {what} ({told})" + (f"\n     | {caught}" if caught else ""))
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write("1 0\n" if passed else "0 1\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
