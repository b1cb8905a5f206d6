"""
books.py: rebuilds every sale and order from domain_events alone, and says where the books do not balance.

Written against README.md and not against the engine, so that both can be wrong only in
different ways. It checks, event by event and in order of seq:
  - seq is gapless from 1
  - each order moves only as the contract allows; no buyer has two live orders in a sale (G3)
  - sold + held + available = stock, none of them below zero (G1): no unit is sold twice
  - the counters in the payload are the ones after the event
  - units go to the buyer who waited longest
and at the end, that the tables sales and orders hold what the events say (G4).

check(connection) returns Books or raises Unbalanced. `python3 books.py DIR` checks a data directory.
"""
import json
import sqlite3
import sys

LIVE = ("waiting", "payment", "paid")
# event: (states it may come from, state after it)
MOVES = {
    "order.reserved": ((None,), "payment"),
    "order.queued": ((None,), "waiting"),
    "order.promoted": (("waiting",), "payment"),
    "order.paid": (("payment", "expired"), "paid"),
    "order.expired": (("payment",), "expired"),
    "order.cancelled": (("payment", "waiting"), "cancelled"),
    "order.cleared": (("waiting",), "cleared"),
    "order.refund_due": (("expired",), "expired"),
}
SALE_STATES = {"sale.created": "UPCOMING", "sale.started": "ACTIVE", "sale.paused": "PAUSED",
               "sale.resumed": "ACTIVE", "sale.ended": "ENDED", "sale.sold_out": None}
SALE_MOVES = {"sale.started": ("UPCOMING",), "sale.paused": ("ACTIVE",), "sale.resumed": ("PAUSED",),
              "sale.ended": ("UPCOMING", "ACTIVE", "PAUSED"), "sale.sold_out": ("ACTIVE", "PAUSED", "ENDED")}


class Unbalanced(AssertionError):
    pass


class Sale:
    def __init__(self, stock):
        self.stock, self.state = stock, "UPCOMING"
        self.available, self.held, self.sold = stock, 0, 0
        self.sold_out = False
        self.queue = []          # transaction ids, longest waiting first
        self.live = {}           # buyer -> transaction id
        self.overtaken = set()   # waiting orders passed by a promotion: must turn out cancelled

    def counters(self):
        return {"available": self.available, "held": self.held, "sold": self.sold,
                "waiting": len(self.queue)}


class Order:
    def __init__(self, sale, buyer, quantity):
        self.sale, self.buyer, self.quantity, self.state = sale, buyer, quantity, None
        self.refund_due = False


class Books:
    def __init__(self, stocks):
        self.stocks, self.sales, self.orders, self.seq = stocks, {}, {}, 0
        self.by_seq = {}         # seq -> (type, transaction id)

    def apply(self, seq, aggregate_type, aggregate_id, kind, payload):
        if seq != self.seq + 1:
            raise Unbalanced(f"seq {self.seq} is followed by {seq}")
        self.seq = seq
        self.by_seq[seq] = (kind, payload.get("transactionId"))
        try:
            if kind in SALE_STATES:
                self._sale_event(kind, payload)
                expected = ("sale", payload["saleId"])
            elif kind in MOVES:
                self._order_event(kind, payload)
                expected = ("order", payload["transactionId"])
            else:
                raise Unbalanced(f"unknown event type {kind}")
            if (aggregate_type, aggregate_id) != expected:
                raise Unbalanced(f"aggregate {aggregate_type} {aggregate_id}, not {expected}")
        except Unbalanced as error:
            raise Unbalanced(f"seq {seq} {kind} {payload}: {error}") from None

    def _sale_event(self, kind, payload):
        sale_id = payload["saleId"]
        if kind == "sale.created":
            if sale_id in self.sales:
                raise Unbalanced("created twice")
            if sale_id not in self.stocks:
                raise Unbalanced("not in the table sales")
            self.sales[sale_id] = Sale(self.stocks[sale_id])
            return
        sale = self._sale(sale_id)
        if sale.state not in SALE_MOVES[kind]:
            raise Unbalanced(f"in state {sale.state}")
        if kind == "sale.sold_out" and sale.sold != sale.stock:
            raise Unbalanced(f"sold out at {sale.sold} of {sale.stock}")
        if kind == "sale.sold_out" and sale.sold_out:
            raise Unbalanced("sold out twice")
        sale.sold_out |= kind == "sale.sold_out"
        sale.state = SALE_STATES[kind] or sale.state

    def _sale(self, sale_id):
        if sale_id not in self.sales:
            raise Unbalanced("the sale was not created")
        return self.sales[sale_id]

    def _order_event(self, kind, payload):
        sale = self._sale(payload["saleId"])
        transaction, quantity = payload["transactionId"], payload["quantity"]
        if transaction not in self.orders:
            self.orders[transaction] = Order(payload["saleId"], payload["buyerName"], quantity)
        order = self.orders[transaction]
        if (order.sale, order.buyer, order.quantity) != (
                payload["saleId"], payload["buyerName"], quantity):
            raise Unbalanced("another sale, buyer or quantity than before")
        allowed, after = MOVES[kind]
        before = order.state
        if before not in allowed:
            raise Unbalanced(f"the order was {before}")
        self._one_live_order(sale, transaction, order, after)
        self._keep_order_of_waiting(sale, kind, transaction, before, after)
        self._move_units(sale, quantity, before, after)
        order.state = after
        if kind == "order.refund_due":
            order.refund_due = True
        says = {key: payload[key] for key in ("available", "held", "sold", "waiting")}
        if says != sale.counters():
            raise Unbalanced(f"counters are {sale.counters()}")

    @staticmethod
    def _one_live_order(sale, transaction, order, after):
        if after in LIVE:
            if sale.live.setdefault(order.buyer, transaction) != transaction:
                raise Unbalanced(f"{order.buyer} has the live order {sale.live[order.buyer]} too")
        elif sale.live.get(order.buyer) == transaction:
            del sale.live[order.buyer]

    @staticmethod
    def _keep_order_of_waiting(sale, kind, transaction, before, after):
        if transaction in sale.overtaken and kind != "order.cancelled":
            raise Unbalanced("somebody who waited less was promoted before")
        if before == "waiting" and after != "waiting":
            if kind == "order.promoted":
                # Who is ahead may only be cancelled already, with that event still to come.
                sale.overtaken.update(sale.queue[:sale.queue.index(transaction)])
            sale.overtaken.discard(transaction)
            sale.queue.remove(transaction)
        if after == "waiting" and before != "waiting":
            sale.queue.append(transaction)

    @staticmethod
    def _move_units(sale, quantity, before, after):
        place = {None: "available", "waiting": "available", "expired": "available",
                 "cancelled": "available", "cleared": "available", "payment": "held", "paid": "sold"}
        setattr(sale, place[before], getattr(sale, place[before]) - quantity)
        setattr(sale, place[after], getattr(sale, place[after]) + quantity)
        if sale.available < 0 or sale.held < 0 or sale.sold < 0:
            raise Unbalanced(f"units below zero: {sale.counters()}")

    def finish(self):
        for sale_id, sale in self.sales.items():
            if sale.overtaken:
                raise Unbalanced(f"sale {sale_id}: promoted past {sorted(sale.overtaken)}")


def replay(connection):
    stocks = dict(connection.execute("SELECT id, product_qty FROM sales"))
    result = Books(stocks)
    for seq, aggregate_type, aggregate_id, kind, payload in connection.execute(
            "SELECT seq, aggregate_type, aggregate_id, event_type, payload FROM domain_events"
            " ORDER BY seq"):
        result.apply(seq, aggregate_type, aggregate_id, kind, json.loads(payload))
    result.finish()
    return result


def compare_tables(connection, result):
    table = {row[0]: row[1:] for row in connection.execute("SELECT id, state, sold FROM sales")}
    told = {key: (sale.state, sale.sold) for key, sale in result.sales.items()}
    if table != told:
        raise Unbalanced("sales: " + difference(table, told))
    table = {row[0]: row[1:] for row in connection.execute(
        "SELECT id, sale_id, buyer, quantity, state FROM orders")}
    told = {key: (order.sale, order.buyer, order.quantity, order.state)
            for key, order in result.orders.items()}
    if table != told:
        raise Unbalanced("orders: " + difference(table, told))
    for sale_id, stock, taken in connection.execute(
            "SELECT s.id, s.product_qty, COALESCE(SUM(o.quantity), 0) FROM sales s LEFT JOIN orders o"
            " ON o.sale_id = s.id AND o.state IN ('payment', 'paid') GROUP BY s.id"):
        if taken > stock:
            raise Unbalanced(f"sale {sale_id}: {taken} units held or sold of {stock}")


def difference(table, told):
    for key in sorted(set(table) | set(told)):
        if table.get(key) != told.get(key):
            return f"{key}: table says {table.get(key)}, events say {told.get(key)}"
    return "no difference"


def check(connection):
    """Both comparisons at one moment, also while the server writes."""
    connection.isolation_level = None
    connection.execute("BEGIN")
    try:
        result = replay(connection)
        compare_tables(connection, result)
    finally:
        connection.execute("ROLLBACK")
    return result


if __name__ == "__main__":
    try:
        balanced = check(sqlite3.connect(f"file:{sys.argv[1]}/flashd.db?mode=ro", uri=True))
    except Unbalanced as unbalanced:
        sys.exit(f"books do not balance: {unbalanced}")
    print(f"books balance: {len(balanced.sales)} sales, {len(balanced.orders)} orders, seq {balanced.seq}")
