"""test_books.py: the replay that other tests rely on (books.py) rejects every wrong history."""
import json
import sqlite3

import books

STOCK = 2


def history():
    """[(kind, order or None, counters)]: two units, three buyers, one of each move."""
    return [("sale.created", None), ("sale.started", None),
            ("order.reserved", "a", 1, 1, 0, 0), ("order.reserved", "b", 0, 2, 0, 0),
            ("order.queued", "c", 0, 2, 0, 1), ("order.queued", "d", 0, 2, 0, 2),
            ("order.expired", "a", 1, 1, 0, 2), ("order.promoted", "c", 0, 2, 0, 1),
            ("order.refund_due", "a", 0, 2, 0, 1), ("order.paid", "b", 0, 1, 1, 1),
            ("order.paid", "c", 0, 0, 2, 1), ("sale.sold_out", None), ("order.cleared", "d", 0, 0, 2, 0),
            ("sale.ended", None)]


STATES = {"a": "expired", "b": "paid", "c": "paid", "d": "cleared"}


def database(events, states=None, sold=2, sale_state="ENDED", buyer=str, first_seq=1, skip=None):
    made = sqlite3.connect(":memory:")
    made.executescript(
        "CREATE TABLE sales(id, name, state, product_qty, sold);"
        "CREATE TABLE orders(id, sale_id, buyer, quantity, state);"
        "CREATE TABLE domain_events(seq, aggregate_type, aggregate_id, event_type, payload)")
    made.execute("INSERT INTO sales VALUES('s', 'n', ?, ?, ?)", (sale_state, STOCK, sold))
    for order, state in (states or STATES).items():
        made.execute("INSERT INTO orders VALUES(?, 's', ?, 1, ?)", (order, buyer(order), state))
    seq = first_seq
    for kind, order, *counters in events:
        payload = {"saleId": "s"}
        if order:
            payload.update(transactionId=order, buyerName=buyer(order), quantity=1)
            payload.update(zip(("available", "held", "sold", "waiting"), counters))
        seq += seq == skip
        made.execute("INSERT INTO domain_events VALUES(?, ?, ?, ?, ?)",
                     (seq, kind.split(".")[0], order or "s", kind, json.dumps(payload)))
        seq += 1
    return made


def rejects(word, connection):
    try:
        books.check(connection)
    except books.Unbalanced as unbalanced:
        assert word in str(unbalanced), f"{word!r} not in {unbalanced}"
        return
    raise AssertionError(f"a history with {word!r} was accepted")


def replaced(old, *new):
    events = history()
    at = events.index(old)
    return events[:at] + list(new) + events[at + 1:]


def test_a_right_history_balances(t):
    told = books.check(database(history()))
    assert told.seq == 14 and told.sales["s"].counters() == {"available": 0, "held": 0, "sold": 2, "waiting": 0}


def test_a_gap_or_a_wrong_first_seq_is_found(t):
    rejects("followed by", database(history(), skip=7))
    rejects("followed by", database(history(), first_seq=2))


def test_a_missing_or_doubled_event_is_found(t):
    for at in range(len(history())):
        if at not in (8, 11):  # no state follows from a refund that is due, nor from being sold out
            events = history()
            del events[at]
            rejects("", database(events))
    for event in history():
        if event[0] != "order.refund_due":
            rejects("", database(replaced(event, event, event)))


def test_a_unit_sold_twice_is_found(t):
    events = history()[:4] + [("order.reserved", "x", -1, 3, 0, 0)]
    rejects("below zero", database(events))


def test_a_wrong_counter_is_found(t):
    rejects("counters are", database(replaced(("order.paid", "b", 0, 1, 1, 1), ("order.paid", "b", 1, 1, 1, 1))))


def test_somebody_who_overtakes_is_found(t):
    events = replaced(("order.promoted", "c", 0, 2, 0, 1), ("order.promoted", "d", 0, 2, 0, 1))
    events = [("order.paid", "d", *event[2:]) if event[:2] == ("order.paid", "c") else
              ("order.cleared", "c", *event[2:]) if event[:2] == ("order.cleared", "d") else event for event in events]
    rejects("waited less", database(events, states={"a": "expired", "b": "paid", "d": "paid", "c": "cleared"}))


def test_two_live_orders_of_a_buyer_are_found(t):
    rejects("live order", database(history(), buyer=lambda order: "bob" if order in "bc" else order))


def test_a_move_that_is_not_allowed_is_found(t):
    rejects("the order was", database(replaced(("order.promoted", "c", 0, 2, 0, 1), ("order.promoted", "a", 0, 2, 0, 1))))
    rejects("in state", database(replaced(("sale.started", None), ("sale.resumed", None))))


def test_tables_that_differ_from_the_events_are_found(t):
    rejects("orders:", database(history(), states={**STATES, "a": "payment"}))
    rejects("orders:", database(history(), states={**STATES, "x": "paid"}))
    rejects("orders:", database(history(), states={key: STATES[key] for key in "abc"}))
    rejects("sales:", database(history(), sold=1))
    rejects("sales:", database(history(), sale_state="ACTIVE"))
