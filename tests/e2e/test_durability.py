"""test_durability.py: what was answered is still there after a power loss, and damage is found at the start."""
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time

from harness import Ended, eventually, expect, expect_problem, ms_of, now_ms, raises, run_flashd


def test_everything_answered_is_there_after_a_kill(t):
    shop = t.shop()
    sale = shop.open_sale(stock=3, maxPerBuyer=2)
    ann, bob = shop.must_hold(sale, "ann", 2), shop.must_hold(sale, "bob")
    cid, dee = shop.must_wait(sale, "cid"), shop.must_wait(sale, "dee")
    shop.must_pay(ann)
    shop.must_cancel(cid)
    before = shop.sale(sale)
    orders = {order: shop.order(order) for order in (ann, bob, cid, dee)}
    shop.kill()
    shop.start()
    after = shop.sale(sale)
    assert after == before, f"{before} became {after}"
    for order, was in orders.items():
        now = shop.order(order)
        for key in ("state", "buyerName", "quantity", "saleId", "position"):
            assert now.get(key) == was.get(key), (key, was, now)
    assert [b["buyerName"] for b in expect(shop.get(f"/sales/{sale}/buyers"), 200)["buyers"]] == ["ann"]
    expect_problem(shop.buy(sale, "ann"), 400, "already-joined")
    shop.must_cancel(bob)
    shop.until_order(dee, "payment")  # the queue goes on where it stood
    shop.balance_books()


def test_the_answer_to_the_very_last_request_is_there_after_a_kill(t):
    shop = t.shop()
    sale = shop.open_sale(stock=100)
    for n in range(8):
        order = shop.must_hold(sale, f"buyer {n}")
        if n % 2:
            shop.must_pay(order)
        shop.kill()
        shop.start()
        assert shop.order(order)["state"] == ("paid" if n % 2 else "payment")
    now = shop.sale(sale)
    assert (now["sold"], now["held"]) == (4, 4)
    shop.balance_books()


def test_a_hold_keeps_its_remaining_time_over_a_restart(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, holdMs=2500)
    order = shop.must_buy(sale, "ann")
    due = ms_of(order["expiresAt"])
    time.sleep(0.5)
    shop.kill()
    shop.start()
    again = shop.order(order["transactionId"])
    assert again["state"] == "payment"
    assert abs(ms_of(again["expiresAt"]) - due) <= 100, (order, again)
    while now_ms() < due - 150:
        assert shop.order(order["transactionId"])["state"] == "payment"
        time.sleep(0.05)
    shop.until_order(order["transactionId"], "expired", within_s=1.5)
    assert now_ms() >= due - 150


def test_a_hold_that_ran_out_while_the_server_was_down_expires_at_once(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1, holdMs=300)
    ann, bob = shop.must_hold(sale, "ann"), shop.must_wait(sale, "bob")
    shop.kill()
    time.sleep(0.4)
    started = now_ms()
    shop.start()
    shop.until_order(ann, "expired", within_s=1)
    promoted = shop.until_order(bob, "payment", within_s=0.3)
    assert ms_of(promoted["expiresAt"]) >= started + 300, "who is promoted has the full time"
    shop.balance_books()


def test_a_sale_that_was_due_while_the_server_was_down_starts_and_ends_after(t):
    shop = t.shop()
    ends = shop.open_sale(stock=1, endsAt=now_ms() + 600)
    starts = shop.new_sale(stock=1, starts_in_ms=600)["id"]
    waiting = shop.must_buy(ends, "ann") and shop.must_wait(ends, "bob")
    shop.kill()
    time.sleep(0.7)
    shop.start()
    shop.until(ends, state="ENDED")
    shop.until(starts, state="ACTIVE")
    shop.until_order(waiting, "cleared")
    shop.balance_books()


def test_a_paused_sale_is_still_paused_after_a_restart(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    shop.must_steer(sale, "pause")
    shop.kill()
    shop.start()
    time.sleep(0.1)
    assert shop.sale(sale)["state"] == "PAUSED"
    shop.must_steer(sale, "resume")
    shop.must_hold(sale, "ann")


def test_a_restart_without_traffic_writes_no_events(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    shop.must_hold(sale, "ann")
    before = shop.rows("SELECT max(seq), count(*) FROM domain_events")
    for _ in range(2):
        shop.restart()
    assert shop.rows("SELECT max(seq), count(*) FROM domain_events") == before
    assert shop.must_buy(sale, "bob")["seq"] == before[0][0] + 1


def test_ids_are_not_given_twice_over_restarts(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1000)
    seen = []
    for n in range(4):
        seen += [shop.must_hold(sale, f"buyer {n} {m}") for m in range(10)]
        shop.kill()
        shop.start()
    assert len(set(seen)) == 40 and seen == sorted(seen)


def test_a_start_says_in_one_line_what_was_found_and_how_long_it_took(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    shop.kill()
    shop.start()
    lines = [line for line in shop.log().splitlines() if "recover" in line]
    assert len(lines) == 1, shop.log()
    for word in ("sales=1", "orders=2", "ms="):
        assert word in lines[0], lines[0]


def test_sigterm_and_sigint_end_it_with_status_0(t):
    for how in (signal.SIGTERM, signal.SIGINT):
        shop = t.shop()
        sale = shop.open_sale(stock=5)
        order = shop.must_hold(sale, "ann")
        idle = shop.wire()
        assert shop.stop(how, within_s=5) == 0
        idle.close()
        shop.start()
        assert shop.order(order)["state"] == "payment"


def test_a_half_sent_request_does_not_keep_it_from_ending(t):
    shop = t.shop()
    wires = [shop.wire().send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Le") for _ in range(10)]
    assert shop.stop(within_s=5) == 0
    for wire in wires:
        wire.close()


def test_a_client_that_reads_no_answer_does_not_keep_it_from_ending(t):
    shop = t.shop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(1)
        deaf.connect(("127.0.0.1", shop.port))
        with contextlib.suppress(TimeoutError):
            deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        time.sleep(0.5)  # until the answers fill what the kernel keeps of them
        assert shop.stop(within_s=5) == 0


def test_what_was_sent_before_the_signal_is_answered(t):
    for how in ("on connections that are open", "on connections that nobody has accepted yet"):
        shop = t.shop("--net-threads", "2")
        sale = shop.open_sale(stock=100)
        fresh = "accepted" in how
        wires = [] if fresh else [shop.wire() for _ in range(10)]
        for wire in wires:
            assert wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n\r\n").read_reply().status == 200
        shop.process.send_signal(signal.SIGSTOP)  # so that the signal is there when it reads the requests
        wires = wires or [shop.wire() for _ in range(10)]
        for n, wire in enumerate(wires):
            body = json.dumps({"buyerName": f"buyer {n}", "saleId": sale})
            wire.send(f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}GET /sales HTTP/1.1\r\nHost: x\r\n\r\n")
        shop.process.send_signal(signal.SIGTERM)
        shop.process.send_signal(signal.SIGCONT)
        for wire in wires:
            for status in (201, 200):
                reply = wire.read_reply()
                assert reply.status == status, (how, reply)
            assert wire.closed()
            wire.close()
        assert shop.stop(within_s=5) == 0


def test_a_request_half_sent_at_the_signal_may_be_finished(t):
    shop = t.shop()
    body = json.dumps({"buyerName": "ann", "saleId": shop.open_sale(stock=1)})
    message = (f"POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\n\r\n{body}")
    for cut in (20, len(message) - 5):
        wire, idle = shop.wire().send(message[:cut]), shop.wire()
        time.sleep(0.1)
        shop.process.send_signal(signal.SIGTERM)
        assert idle.closed(), "nothing was in flight there"
        reply = wire.send(message[cut:]).read_reply()
        assert reply.status == (201 if cut == 20 else 400) and reply.header("connection") == "close", reply
        assert wire.closed() and shop.stop(within_s=5) == 0
        wire.close(), idle.close()
        shop.start()


def test_who_is_told_to_go_on_after_the_signal_is_answered(t):
    shop = t.shop()
    body = json.dumps({"buyerName": "ann", "saleId": shop.open_sale(stock=1)})
    wire = shop.wire().send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n")
    time.sleep(0.1)
    shop.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert wire.send("\r\n").read_reply().status == 100
    reply = wire.send(body).read_reply()
    assert reply.status == 201 and reply.header("connection") == "close", reply
    assert wire.closed() and shop.stop(within_s=5) == 0
    wire.close()


def test_ending_under_load_answers_what_it_took_and_keeps_what_it_answered(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    sale = shop.open_sale(stock=100000)
    answered, strange, stop = [], [], threading.Event()

    def load(me):
        client, n = shop.client(), 0
        while not stop.is_set():
            n += 1
            try:
                reply = client.post("/buy", {"buyerName": f"{me} {n}", "saleId": sale})
            except OSError:
                return
            if reply.status == 201:
                answered.append(reply.json["transactionId"])
            elif reply.status != 503:
                strange.append(reply)

    threads = [threading.Thread(target=load, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert shop.stop(within_s=5) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert not strange, strange[:3]
    assert len(answered) > 50
    kept = {row[0] for row in shop.rows("SELECT id FROM orders")}
    assert set(answered) <= kept, f"{len(set(answered) - kept)} answered orders are lost"
    shop.balance_books()


def test_a_second_server_on_the_same_data_refuses_to_start(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    kept = sorted(os.listdir(shop.data))
    assert all(name.startswith("flashd.db") for name in kept), f"a lock that can be removed: {kept}"
    error = raises(Ended, t.server(data=shop.data).start)
    assert error.status == 1 and shop.data in error.stderr and "another flashd" in error.stderr, error.stderr
    assert shop.must_hold(sale, "ann"), "the first goes on"
    shop.kill()
    shop.start()
    assert shop.sale(sale)["held"] == 1, "after a kill nothing keeps it from starting"


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def shop_with_a_past(t):
    """Stopped after 200 orders."""
    shop = t.shop()
    sale = shop.open_sale(stock=150)
    for n in range(200):
        order = shop.must_buy(sale, f"buyer {n}")
        if n % 3 == 0 and order["state"] == "payment":
            shop.must_pay(order["transactionId"])
    assert shop.stop() == 0
    return shop


def damaged(t, damage):
    """A server's data after a past and `damage(path)`; asserts that it refuses, returns its words."""
    shop = shop_with_a_past(t)
    damage(shop.db_path)
    error = raises(Ended, shop.start)
    assert error.status == 1, error.status
    assert error.stdout == "", "no ready line"
    assert len(error.stderr.strip()) > 20, "no line that says why"
    return error.stderr.lower()


def statement(*queries):
    """Damage to the tables behind the contract's views (persist/schema.c)."""
    def damage(path):
        database = sqlite3.connect(path)
        for query in queries:
            changed = database.execute(query).rowcount
            assert changed >= 1, f"{query} changed nothing"
        database.commit()
        database.close()
    return damage


def test_a_file_that_is_no_database_is_refused(t):
    def damage(path):
        with open(path, "r+b") as file:
            file.write(b"this is not a database file at all")
    said = damaged(t, damage)
    assert "not a database" in said, said


def tear_pages(path):
    size = os.path.getsize(path)
    assert size >= 8 * 4096
    with open(path, "r+b") as file:
        for page in range(4, size // 4096 - 1, 3):
            file.seek(page * 4096)
            file.write(os.urandom(2048))


def test_a_torn_page_is_refused_by_the_name_of_the_check(t):
    said = damaged(t, tear_pages)
    assert any(word in said for word in ("quick_check", "integrity", "malformed", "corrupt")), said


def test_a_file_that_fails_its_check_is_left_as_it_is(t):
    """SQLite's last connection copies the log into the file and deletes it; the two may be needed as they are."""
    shop = shop_with_a_past(t)
    shop.start()
    shop.open_sale(stock=3)
    shop.kill()
    tear_pages(shop.db_path)
    before = [contents(path) for path in (shop.db_path, shop.db_path + "-wal")]
    assert before[1], "the log is empty"
    raises(Ended, shop.start)
    assert [contents(path) for path in (shop.db_path, shop.db_path + "-wal")] == before, "it was touched"


def test_a_truncated_file_is_refused(t):
    def damage(path):
        os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)
    damaged(t, damage)


def test_a_log_without_its_database_is_refused_and_left_alone(t):
    """SQLite takes it for a leftover and deletes it, and it may be all that is left of the data."""
    shop = t.shop()
    order = shop.must_hold(shop.open_sale(stock=3), "ann")
    shop.kill()
    log = shop.db_path + "-wal"
    whole, before = contents(shop.db_path), contents(log)
    assert before, "the log is empty"
    for lose in (lambda: os.truncate(shop.db_path, 0), lambda: os.unlink(shop.db_path)):
        lose()
        ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", shop.data], timeout_s=20)
        assert ended.returncode == 1 and 'check "log"' in ended.stderr and "flashd.db-wal" in ended.stderr, ended
        ended = run_flashd(["audit", shop.data])
        assert ended.returncode == 1 and ("cannot open" in ended.stdout or "flashd.db-wal" in ended.stdout), ended
        assert contents(log) == before, "the log was touched"
    with open(shop.db_path, "wb") as database:
        database.write(whole)
    shop.start()
    assert shop.order(order)["state"] == "payment"
    shop.balance_books()


def test_a_missing_event_is_refused(t):
    said = damaged(t, statement("DELETE FROM event_rows WHERE seq = 57"))
    assert "57" in said or "58" in said or "56" in said, said


def test_a_missing_last_event_is_refused(t):
    damaged(t, statement("DELETE FROM event_rows WHERE seq = (SELECT max(seq) FROM event_rows)"))


def test_a_changed_order_is_refused(t):
    damaged(t, statement("UPDATE order_rows SET state = (SELECT state FROM order_rows ORDER BY seq LIMIT 1)"
                         " WHERE seq = (SELECT max(seq) FROM order_rows)"))


def test_a_missing_order_is_refused(t):
    damaged(t, statement("DELETE FROM order_rows WHERE seq = (SELECT min(seq) FROM order_rows)"))


def test_a_changed_counter_is_refused(t):
    damaged(t, statement("UPDATE sale_rows SET sold = sold + 1, available = available - 1"))


def test_below_the_free_space_threshold_orders_are_refused_and_reads_go_on(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    order, other, dropped = (shop.must_hold(sale, name) for name in ("ann", "bob", "cid"))
    shop.stop()
    shop.flags += ["--min-free-bytes", str(10 ** 15)]
    shop.start()

    def full():
        reply = shop.buy(sale, f"buyer {now_ms()}")
        return reply if reply.status == 503 else None
    reply = eventually(full, within_s=2, what="503")
    expect_problem(reply, 503, "storage-full")
    assert (reply.header("retry-after") or "").isdigit(), reply.fields
    assert shop.order(order)["state"] == "payment"
    shop.must_pay(other), shop.must_cancel(dropped)
    body = {"name": "x", "productQty": 1, "startsAt": 1, "endsAt": now_ms() + 60000}
    expect_problem(shop.post("/sales", body, token=shop.admin), 503, "storage-full")
    assert shop.sale(sale)["id"] == sale
    assert expect(shop.get("/sales"), 200)["sales"]
    expect(shop.get(f"/sales/{sale}/buyers"), 200)
    assert shop.get("/health/live").status == 200


def test_the_database_can_be_read_by_anyone_while_the_server_writes(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2)
    ann, bob, cid = shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob"), shop.must_wait(sale, "cid")
    shop.must_pay(ann)
    rows = shop.rows("SELECT id, name, state, product_qty, sold, starts_at_ms, ends_at_ms FROM sales")
    told = shop.sale(sale)
    assert rows == [(sale, "Trainers", "ACTIVE", 2, 1, ms_of(told["startsAt"]), ms_of(told["endsAt"]))], rows
    rows = shop.rows("SELECT id, sale_id, buyer, quantity, state, created_at_ms, updated_at_ms FROM orders"
                     " ORDER BY id")
    assert [row[:5] for row in rows] == [(ann, sale, "ann", 1, "paid"), (bob, sale, "bob", 1, "payment"),
                                         (cid, sale, "cid", 1, "waiting")], rows
    assert all(now_ms() - 60000 < row[5] <= row[6] <= now_ms() for row in rows), rows
    rows = shop.rows("SELECT seq, aggregate_type, aggregate_id, event_type, created_at_ms, published_at_ms"
                     " FROM domain_events ORDER BY seq")
    assert [row[:4] for row in rows] == [
        (1, "sale", sale, "sale.created"), (2, "sale", sale, "sale.started"),
        (3, "order", ann, "order.reserved"), (4, "order", bob, "order.reserved"),
        (5, "order", cid, "order.queued"), (6, "order", ann, "order.paid")], rows
    assert all(now_ms() - 60000 < row[4] <= now_ms() for row in rows), rows
    assert all(row[5] is None or row[5] >= row[4] for row in rows), f"published before it was there: {rows}"
    shop.balance_books()


def test_a_reader_who_stays_does_not_stop_the_sale(t):
    shop = t.shop()
    sale = shop.open_sale(stock=500)
    with shop.database() as reader:
        cursor = reader.execute("SELECT seq FROM domain_events")
        cursor.fetchone()
        for n in range(100):
            shop.must_hold(sale, f"buyer {n}")
    shop.balance_books()


def test_a_reader_who_stays_over_a_restart_does_not_keep_it_from_starting(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    order = shop.must_hold(sale, "ann")
    with shop.database() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM domain_events").fetchone()
        shop.must_pay(order)
        shop.kill()
        shop.start()
        assert shop.order(order)["state"] == "paid"
        shop.must_hold(sale, "bob")
    shop.balance_books()


def test_the_journal_is_synced_at_each_commit(t):
    """No power can be cut here; that the file is in WAL mode is what can be seen from outside."""
    shop = t.shop()
    shop.open_sale(stock=5)
    assert shop.rows("PRAGMA journal_mode") == [("wal",)]


def test_a_failed_commit_stops_the_process_with_a_clear_line(t):
    """The file-size limit makes the next write to the database fail, as a broken disk would."""
    import resource
    shop = t.shop()
    sale = shop.open_sale(stock=100000)
    size = max(os.path.getsize(os.path.join(shop.data, name)) for name in os.listdir(shop.data))
    resource.prlimit(shop.process.pid, resource.RLIMIT_FSIZE, (size, size))
    refused = None
    for n in range(2000):
        try:
            reply = shop.buy(sale, f"buyer {n}")
        except OSError:
            refused = "closed"
            break
        assert reply.status in (201, 503), reply
        if reply.status == 503:
            refused = reply
            break
    assert refused, "2000 orders were written into a file that may not grow"
    status = shop.process.wait(10)
    assert status != 0, "it ended with status 0"
    assert status == 70, f"it ended with {status}"
    said = shop.log().strip().splitlines()[-1].lower()
    assert "stopping" in said and ("commit" in said or "writ" in said), said
    after = int(re.search(r"\(after seq (\d+)\)", said)[1])
    assert after >= 2, said  # the sale and its start, and the orders that were answered
    shop._gone()
    shop.start()
    shop.balance_books()
