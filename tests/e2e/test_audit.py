"""flashd audit: on running and on stopped data; what it finds, and where."""
import json
import os
import sqlite3

from harness import run_flashd


def sold(t):
    """A server's data with 200 buyers, some of whom paid, some of whom wait."""
    shop = t.shop()
    sale = shop.open_sale(stock=150)
    for n in range(200):
        order = shop.must_buy(sale, f"buyer {n}")
        if n % 3 == 0 and order["state"] == "payment":
            shop.must_pay(order["transactionId"])
    return shop


def audit(shop):
    ended = run_flashd(["audit", os.path.dirname(shop.db_path), "--json"])
    return ended.returncode, json.loads(ended.stdout)


def audit_after(t, query):
    shop = sold(t)
    assert shop.stop() == 0
    database = sqlite3.connect(shop.db_path)
    assert database.execute(query).rowcount >= 1, f"{query} changed nothing"
    database.commit()
    database.close()
    status, told = audit(shop)
    assert status == 1 and told["ok"] is False and told["detail"], told
    return told


def test_the_books_of_a_running_and_of_a_stopped_server_balance(t):
    shop = sold(t)
    status, told = audit(shop)
    assert status == 0 and told["ok"] is True, told
    assert (told["sales"], told["orders"], told["held"], told["waiting"]) == (1, 200, 100, 50), told
    assert shop.stop() == 0
    assert audit(shop)[0] == 0
    ended = run_flashd(["audit", os.path.dirname(shop.db_path)])
    assert ended.returncode == 0 and "the books balance" in ended.stdout, ended


def test_an_audit_finds_a_missing_event_and_says_which(t):
    assert audit_after(t, "DELETE FROM event_rows WHERE seq = 57")["seq"] == 57


def test_an_audit_finds_a_changed_order_at_its_last_event(t):
    told = audit_after(t, "UPDATE order_rows SET state = 3, last_seq = seq"
                          " WHERE seq = (SELECT max(seq) FROM order_rows)")
    assert told["seq"] > 0, told


def test_an_audit_finds_a_missing_order(t):
    assert audit_after(t, "DELETE FROM order_rows WHERE seq = (SELECT min(seq) FROM order_rows)")["seq"] > 0


def test_an_audit_finds_a_changed_counter(t):
    assert audit_after(t, "UPDATE sale_rows SET sold = sold + 1, available = available - 1")["seq"] > 0


def test_an_audit_finds_a_buyer_with_two_live_orders(t):
    told = audit_after(t, "UPDATE order_rows SET buyer = 'buyer 0' WHERE buyer = 'buyer 1'")
    assert "two live orders" in told["detail"], told


def test_an_audit_finds_a_damaged_page(t):
    shop = sold(t)
    assert shop.stop() == 0
    with open(shop.db_path, "r+b") as file:
        for page in range(4, os.path.getsize(shop.db_path) // 4096 - 1, 3):
            file.seek(page * 4096)
            file.write(os.urandom(2048))
    status, told = audit(shop)
    assert status == 1 and told["ok"] is False, told


def test_an_audit_of_nothing_says_so(t):
    ended = run_flashd(["audit", "/nonexistent-flashd-data"])
    assert ended.returncode == 1 and "cannot open" in ended.stdout, ended
    ended = run_flashd(["audit"])
    assert ended.returncode == 2 and "usage" in ended.stderr, ended
