"""
flashd audit: on running and on stopped data, before and after retention; what it finds, and where.

Each test of a finding changes a copy of real data through sqlite3, as a person or a broken disk might, and compares
the audit's first finding with the change.
"""
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import subprocess

from harness import (
    binary, clean_environment, command_prefix, eventually, expect, expect_problem, patient, raises, run_flashd)
from history import audit, make_past, must_balance
from test_retention import age_events

ONE_THREAD = True


def sold(t):
    """A server's data with 200 buyers, some of whom paid, some of whom wait."""
    shop = t.shop()
    sale = shop.open_sale(stock=150)
    for n in range(200):
        order = shop.must_buy(sale, f"buyer {n}")
        if n % 3 == 0 and order["state"] == "payment":
            shop.must_pay(order["transactionId"])
    return shop


class Data:
    """A stopped server's data, with or without a baseline; spoil() works on a copy."""

    def __init__(self, t, events=6000, retained=None):
        self.t, self.dir = t, t.new_data()
        self.last = make_past(self.dir, events, 10, 5)
        self.baseline = 0
        if retained:
            shop = t.server("--retention-days", retained, data=self.dir).start()
            eventually(lambda: shop.rows("SELECT seq FROM baseline")[0][0] > 2000, 10, what="a baseline")
            shop.stop()
            self.baseline = must_balance(self.dir)["baseline"]
            self.last = self.ask("SELECT max(seq) FROM event_rows")
            assert self.baseline > 1000 and self.last > self.baseline + 1000, (self.baseline, self.last)

    def ask(self, query, *values):
        database = sqlite3.connect(f"file:{self.dir}/flashd.db?mode=ro", uri=True)
        row = database.execute(query, values).fetchone()
        database.close()
        return row if row is None or len(row) > 1 else row[0]

    def spoil(self, *queries):
        """(first finding, all that was told) after the queries have changed a copy."""
        copy = self.t.new_data()
        shutil.copytree(self.dir, copy)
        database = sqlite3.connect(os.path.join(copy, "flashd.db"))
        for query, *values in queries:
            before = database.total_changes
            database.execute(query, values)
            changes_rows = query.split()[0] in ("INSERT", "UPDATE", "DELETE")
            assert database.total_changes > before or not changes_rows, f"{query} changed nothing"
        database.commit()
        database.close()
        status, told = audit(copy)
        assert status == 1 and told["ok"] is False, told
        assert told["seq"] == told["findings"][0]["seq"] and told["detail"] == told["findings"][0]["detail"], told
        return told["check"], told

    def order(self, condition, *values):
        """seq of an order in the middle of the retained events."""
        return self.ask(f"SELECT seq FROM order_rows WHERE seq > ? AND {condition} ORDER BY seq LIMIT 1",
                        (self.baseline + self.last) // 2, *values)

    def event(self, kind, condition="1"):
        return self.ask("SELECT e.seq, e.ord FROM event_rows e JOIN domain_events d USING (seq) WHERE d.event_type = ?"
                        f" AND e.seq > ? AND {condition} ORDER BY seq LIMIT 1", kind, (self.baseline + self.last) // 2)


def both(t):
    """As the first event was, and with a baseline left by retention."""
    return [Data(t), Data(t, retained="8")]


# ------------------------------------------------------------------------------------- it balances

def test_the_books_of_a_running_and_of_a_stopped_server_balance(t):
    shop = sold(t)
    told = must_balance(shop.data)
    assert (told["sales"], told["orders"], told["held"], told["waiting"]) == (1, 200, 100, 50), told
    assert told["baseline"] == 0 and told["events"] == told["lastSeq"], told
    assert shop.stop() == 0
    must_balance(shop.data)
    ended = run_flashd(["audit", shop.data])
    assert ended.returncode == 0 and "the books balance" in ended.stdout and ended.stderr == "", ended


def test_a_long_past_balances_with_every_kind_of_event(t):
    data = Data(t, events=20000)
    told = must_balance(data.dir)
    assert told["events"] == data.last, told
    kinds = data.ask("SELECT count(DISTINCT kind) FROM event_rows")
    assert kinds == 14, f"the past has only {kinds} kinds of events"


@patient
def test_an_audit_takes_3_us_an_event_and_little_memory(t):
    """A million events in 3 s. In CPU time and with twice as much allowed, since others run beside."""
    data = t.new_data()
    make_past(data, 100000, 10, 8)
    report = t.file("rusage", "")
    code = ("import json,resource,subprocess,sys\n"
            "p = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL)\n"
            "u = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "json.dump([p.returncode, u.ru_utime + u.ru_stime, u.ru_maxrss], open(sys.argv[1], 'w'))\n")
    subprocess.run(["python3", "-c", code, report] + command_prefix() + [binary(), "audit", data], check=True,
                   env=clean_environment(), timeout=120)
    with open(report, encoding="ascii") as file:
        status, cpu_s, rss_kib = json.load(file)
    assert status == 0
    assert cpu_s < 3 * 0.1 * 2, f"{cpu_s:.2f} s of CPU for 100,000 events"
    assert rss_kib < 64 * 1024, f"{rss_kib} KiB"


def test_a_bar_is_shown_on_a_terminal_only(t):
    import pty
    data = Data(t)
    master, slave = pty.openpty()
    ended = subprocess.run(command_prefix() + [binary(), "audit", data.dir, "--json"], stdout=subprocess.PIPE,
                           stderr=slave, env=clean_environment(), timeout=60)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed, and all of it was read
        while piece := os.read(master, 65536):
            shown += piece
    os.close(master)
    shown = shown.decode()
    assert ended.returncode == 0 and json.loads(ended.stdout)["ok"] is True, ended
    assert "checking every page" in shown and "auditing [" in shown and shown.endswith("\r\x1b[K"), repr(shown)
    assert run_flashd(["audit", data.dir]).stderr == ""


def test_an_audit_of_nothing_says_so(t):
    os.makedirs(t.new_data())
    for nothing in ("/nonexistent-flashd-data", t.file("no-directory", "x"), t.folder, "/" + "x" * 2000):
        ended = run_flashd(["audit", nothing])
        assert ended.returncode == 1 and "cannot be audited" in ended.stdout and "cannot open" in ended.stdout, ended
        assert "DIVERGENT" not in ended.stdout, ended
        status, told = audit(nothing)
        assert (status, told["ok"], told["check"], told["seq"]) == (1, False, "no-database", 0), told
    for wrong in ([], [""], ["--json"], ["a", "b"], ["--", "a"], ["a", "--jsn"]):
        ended = run_flashd(["audit"] + wrong)
        assert ended.returncode == 2 and "usage" in ended.stderr, (wrong, ended)


def test_an_audit_that_nobody_can_read_did_not_succeed(t):
    data = Data(t, events=500)
    with open("/dev/full", "w", encoding="ascii") as full:
        ended = subprocess.run(command_prefix() + [binary(), "audit", data.dir], stdout=full, stderr=subprocess.PIPE,
                               env=clean_environment(), timeout=60)
    assert ended.returncode == 1 and b"cannot write" in ended.stderr, ended


def test_a_database_of_somebody_else_is_not_touched(t):
    data = t.new_data()
    os.makedirs(data)
    database = sqlite3.connect(os.path.join(data, "flashd.db"))
    database.execute("CREATE TABLE users(name)")
    database.commit()
    database.close()
    with open(os.path.join(data, "flashd.db"), "rb") as file:
        before = file.read()
    status, told = audit(data)
    assert status == 1 and told["check"] == "no-database" and "not made by flashd" in told["detail"], told
    ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", data], timeout_s=20)
    assert ended.returncode == 1 and "not made by flashd" in ended.stderr, ended
    database = sqlite3.connect(os.path.join(data, "flashd.db"))
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]
    database.close()
    assert len(before) == os.path.getsize(os.path.join(data, "flashd.db"))


def test_without_the_key_of_its_ids_a_server_does_not_make_up_another(t):
    data = Data(t, events=500)
    for loss in ("DELETE FROM meta", "UPDATE meta SET value = x'00'"):
        copy = t.new_data()
        shutil.copytree(data.dir, copy)
        database = sqlite3.connect(os.path.join(copy, "flashd.db"))
        database.execute(loss)
        database.commit()
        left = database.execute("SELECT value FROM meta").fetchall()
        ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", copy], timeout_s=20)
        assert ended.returncode == 1 and "the key of its ids is missing" in ended.stderr, ended
        assert database.execute("SELECT value FROM meta").fetchall() == left
        database.close()


def test_an_audit_where_nothing_can_be_written(t):
    """Stopped data, and what a kill leaves, as somebody who may only read them: a backup, a read-only disk."""
    shop = sold(t)
    shop.kill()
    killed = t.new_data() + " ?#%20"
    os.makedirs(killed)
    for name in ("flashd.db", "flashd.db-wal"):
        shutil.copy(os.path.join(shop.data, name), killed)
    assert os.path.getsize(os.path.join(killed, "flashd.db-wal")) > 0
    shop.start()
    shop.stop()
    stopped = t.new_data() + " ?#%20"
    os.makedirs(stopped)
    shutil.copy(shop.db_path, stopped)
    os.chmod(t.folder, 0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for data, names in ((killed, ["flashd.db", "flashd.db-wal"]), (stopped, ["flashd.db"])):
        for name in names:
            os.chmod(os.path.join(data, name), 0o444)
        os.chmod(data, 0o555)
        ended = subprocess.run(as_nobody + command_prefix() + [binary(), "audit", data, "--json"], cwd="/",
                               env=clean_environment(), capture_output=True, timeout=60)
        assert ended.returncode == 0 and json.loads(ended.stdout)["orders"] == 200, ended
        assert sorted(os.listdir(data)) == names
        os.chmod(data, 0o755)


# --------------------------------------------------------------------------------- what it finds

def test_a_missing_event(t):
    for data in both(t):
        for gone in (data.baseline + 1, data.baseline + 57, data.last):
            check, told = data.spoil(("DELETE FROM event_rows WHERE seq = ?", gone))
            assert (check, told["seq"]) == ("missing-event", gone), (gone, told)
        half = (data.baseline + data.last) // 2
        check, told = data.spoil(("DELETE FROM event_rows WHERE seq > ?", half))
        assert (check, told["seq"]) == ("missing-event", half + 1), told
        check, told = data.spoil(("DELETE FROM event_rows",))
        assert (check, told["seq"]) == ("missing-event", data.baseline + 1), told


def test_a_duplicated_seq(t):
    """The tables do not let a seq stand twice; a file in which one does has other tables."""
    for data in both(t):
        twice = data.baseline + 60
        check, told = data.spoil(
            ("PRAGMA legacy_alter_table=ON",), ("CREATE TABLE other AS SELECT * FROM event_rows",), ("DROP TABLE event_rows",),
            ("ALTER TABLE other RENAME TO event_rows",),
            ("INSERT INTO event_rows SELECT * FROM event_rows WHERE seq = ?", twice))
        assert (check, told["seq"]) == ("duplicate-seq", twice), told


def test_an_event_that_was_removed_and_came_back(t):
    data = both(t)[1]
    check, told = data.spoil(("INSERT INTO event_rows SELECT ?, kind, sale, ord, created_at_ms, payload FROM event_rows"
                              " WHERE seq = ?", data.baseline, data.baseline + 1))
    assert (check, told["seq"]) == ("duplicate-seq", data.baseline), told


def test_a_changed_order(t):
    for data in both(t):
        paid, cancelled = data.order("state = 3 AND last_seq > seq"), data.order("state = 5")
        last = data.ask("SELECT last_seq FROM order_rows WHERE seq = ?", paid)
        for change, where in (("state = 4", last), ("buyer = buyer || '!'", paid), ("quantity = quantity + 1", paid),
                              ("sale = (SELECT min(seq) FROM sale_rows)", paid), ("tag = tag + 1", paid),
                              ("created_at_ms = created_at_ms - 1", paid), ("updated_at_ms = updated_at_ms + 1", last),
                              ("expires_at_ms = 5", None), ("refund_due = 1", last), ("last_seq = seq", paid),
                              ("last_seq = last_seq + 1", last + 1),
                              ("state = 77", paid), ("buyer = ''", paid)):
            check, told = data.spoil((f"UPDATE order_rows SET {change} WHERE seq = ?", paid))
            assert check == "changed-order", (change, told)
            assert told["seq"] == where or (where is None and paid <= told["seq"] < last), (change, paid, last, told)
        check, told = data.spoil(("UPDATE order_rows SET state = 3 WHERE seq = ?", cancelled))
        assert check == "changed-order" and "cancelled" in told["detail"], told


def test_a_missing_order_and_one_without_events(t):
    for data in both(t):
        gone = data.order("1")
        check, told = data.spoil(("DELETE FROM order_rows WHERE seq = ?", gone))
        assert (check, told["seq"]) == ("missing-order", gone), told
        paid_at, made_at = data.event("order.paid", "e.ord < e.seq")
        columns = "tag, sale, buyer, quantity, state, refund_due, created_at_ms, updated_at_ms, expires_at_ms, last_seq"
        check, told = data.spoil((f"INSERT INTO order_rows(seq, {columns}) SELECT ?, {columns} FROM order_rows"
                                  " WHERE seq = ?", paid_at, made_at))
        assert check == "changed-order" and told["seq"] in (paid_at, paid_at + 1), told


def test_a_changed_counter(t):
    for data in both(t):
        for change in ("sold = sold + 1, available = available - 1", "held = held + 1", "waiting = waiting + 1",
                       "available = 0, sold = product_qty + 1"):
            sale, last = data.ask("SELECT seq, last_seq FROM sale_rows ORDER BY seq DESC LIMIT 1")
            check, told = data.spoil((f"UPDATE sale_rows SET {change} WHERE seq = ?", sale))
            assert (check, told["seq"]) == ("changed-counter", last), (change, told)
        old, last = data.ask("SELECT seq, last_seq FROM sale_rows ORDER BY last_seq LIMIT 1")
        check, told = data.spoil(("UPDATE sale_rows SET sold = sold - 1 WHERE seq = ?", old))
        assert (check, told["seq"]) == ("changed-counter", last), told


def test_what_only_looks_like_the_number_that_it_was(t):
    """SQLite takes 7.5 and '7x' for 7, and 32 bits hold no more of 2^32 + 7 than that."""
    for data in both(t):
        sale, last = data.ask("SELECT seq, last_seq FROM sale_rows ORDER BY seq DESC LIMIT 1")
        for column in ("available", "held", "sold", "waiting"):
            check, told = data.spoil((f"UPDATE sale_rows SET {column} = {column} + 4294967296 WHERE seq = ?", sale))
            assert (check, told["seq"]) == ("changed-counter", last), (column, told)
        for change in ("max_per_buyer = max_per_buyer + 4294967296", "waitlist_max = waitlist_max + 4294967296",
                       "sold = sold + 0.5", "held = held || 'x'", "last_seq = last_seq || 'x'",
                       "sold_out = sold_out + 2", "name = name || char(0) || 'more'"):
            check, told = data.spoil((f"UPDATE sale_rows SET {change} WHERE seq = ?", sale))
            assert (check, told["seq"]) == ("changed-sale", sale), (change, told)
        paid = data.order("state = 3 AND last_seq > seq")
        for change in ("quantity = quantity + 0.5", "updated_at_ms = updated_at_ms || 'x'", "refund_due = 2 * refund_due + 2"):
            check, told = data.spoil((f"UPDATE order_rows SET {change} WHERE seq = ?", paid))
            assert (check, told["seq"]) == ("changed-order", paid), (change, told)
        for change in ("kind = kind || 'x'", "sale = sale || 'x'", "ord = ord || 'x'"):
            check, told = data.spoil((f"UPDATE event_rows SET {change} WHERE seq = ?", paid))
            assert (check, told["seq"]) == ("changed-event", paid), (change, told)
        data.spoil(("UPDATE baseline SET seq = 'x'",))


def test_orders_with_a_seq_below_the_first(t):
    columns = "tag, sale, buyer || '?', quantity, :state, refund_due, created_at_ms, updated_at_ms, expires_at_ms, 0"
    for data in both(t):
        paid = data.order("state = 3")
        for seq in (0, -5):
            for state in (3, 4, 1):
                check, told = data.spoil((f"INSERT INTO order_rows SELECT ?, {columns.replace(':state', str(state))}"
                                          " FROM order_rows WHERE seq = ?", seq, paid))
                assert (check, told["seq"]) == ("changed-order", 0), (seq, state, told)


def test_what_is_told_of_is_text_whatever_stands_there(t):
    data = Data(t)
    for payload in ("CAST(x'7bff' AS TEXT) || payload", "'x' || replace(hex(zeroblob(200)), '0', '\u00e9') || payload",
                    "char(27, 10) || payload", "CAST(x'eda080f4908080c080e09f' AS TEXT) || payload"):
        check, told = data.spoil((f"UPDATE event_rows SET payload = {payload} WHERE seq = ?", data.last))
        assert (check, told["seq"]) == ("changed-event", data.last), told
        assert not [c for c in told["detail"] if ord(c) < 32], told


def test_a_changed_sale(t):
    for data in both(t):
        sale, last = data.ask("SELECT seq, last_seq FROM sale_rows ORDER BY seq DESC LIMIT 1")
        for change, where in (("name = 'x'", sale), ("hold_ms = hold_ms + 1", sale), ("ends_at_ms = ends_at_ms + 1", sale),
                              ("max_per_buyer = 9", sale), ("tag = tag + 1", sale), ("state = 2", last),
                              ("starts_at_ms = -5", sale), ("last_seq = last_seq - 1", None)):
            check, told = data.spoil((f"UPDATE sale_rows SET {change} WHERE seq = ?", sale))
            assert check in ("changed-sale", "changed-counter"), (change, told)
            assert where is None or told["seq"] == where, (change, told)
        check, told = data.spoil(("DELETE FROM sale_rows WHERE seq = ?", sale))
        assert check == "missing-sale" and told["seq"] == sale, told


def test_a_changed_payload(t):
    for data in both(t):
        seq, _ = data.event("order.paid")
        for change, word in (("replace(payload, '\"sold\":', '\"sold\":1')", "sold"),
                             ("replace(payload, '\"held\":', '\"held\":1')", "held"),
                             ("replace(payload, '\"available\":', '\"available\":1')", "available"),
                             ("replace(payload, '\"waiting\":', '\"waiting\":1')", "waiting"),
                             ("replace(payload, '\"quantity\":', '\"quantity\":1')", "quantity"),
                             ("replace(payload, 'buyer', 'byer')", "byer"),
                             ("replace(payload, '\"transactionId\":\"0', '\"transactionId\":\"1')", "transactionId"),
                             ("replace(payload, '\"saleId\":\"0', '\"saleId\":\"1')", "saleId"),
                             ("payload || ' '", "malformed"), ("''", "malformed"), ("'{}'", "malformed")):
            check, told = data.spoil((f"UPDATE event_rows SET payload = {change} WHERE seq = ?", seq))
            assert told["seq"] == seq and word in told["detail"], (change, told)


def test_a_changed_event(t):
    for data in both(t):
        paid, order = data.event("order.paid", "e.ord < e.seq")
        names = data.ask("SELECT group_concat(kind) FROM (SELECT DISTINCT kind FROM event_rows)")
        for kind in names.split(","):
            if int(kind) != data.ask("SELECT kind FROM event_rows WHERE seq = ?", paid):
                check, told = data.spoil(("UPDATE event_rows SET kind = ? WHERE seq = ?", int(kind), paid))
                assert told["seq"] == paid, (kind, told)
        other = data.ask("SELECT min(seq) FROM order_rows WHERE seq > ? AND seq <> ?", data.baseline, order)
        sale = data.ask("SELECT max(s.seq) FROM sale_rows s, event_rows e WHERE e.seq = ? AND s.seq <> e.sale", paid)
        for change in (f"ord = {other}", "ord = NULL", f"sale = {sale}", "kind = 99"):
            check, told = data.spoil((f"UPDATE event_rows SET {change} WHERE seq = ?", paid))
            assert told["seq"] == paid, (change, told)


def test_an_oversold_prefix(t):
    """A history in which more units were held than there are, though at the end all of it looks right."""
    for data in both(t):
        # The last purchase that found units takes all there are, and one more.
        seq = data.ask("SELECT max(seq) FROM event_rows WHERE kind = (SELECT kind FROM event_rows e JOIN domain_events d"
                       " USING (seq) WHERE d.event_type = 'order.reserved' LIMIT 1)")
        left = data.ask("SELECT json_extract(payload, '$.available') + json_extract(payload, '$.quantity')"
                        " FROM event_rows WHERE seq = ?", seq)
        more = left + 1
        check, told = data.spoil(
            ("UPDATE order_rows SET quantity = ? WHERE seq = ?", more, seq),
            ("UPDATE event_rows SET payload = json_set(payload, '$.quantity', ?) WHERE ord = ?", more, seq))
        assert (check, told["seq"]) == ("oversold", seq) and "G1" in told["detail"], told


def test_oversold_tables_are_named_besides_the_first_event_that_diverges(t):
    data = Data(t)
    sale = data.ask("SELECT seq FROM sale_rows WHERE held + sold > 10 LIMIT 1")
    _, told = data.spoil(("UPDATE sale_rows SET product_qty = 5 WHERE seq = ?", sale))
    assert told["seq"] == sale and "oversold" in [finding["check"] for finding in told["findings"]], told


def test_a_buyer_with_two_live_orders(t):
    for data in both(t):
        sale = data.ask("SELECT max(seq) FROM sale_rows")
        first, buyer = data.ask("SELECT seq, buyer FROM order_rows WHERE sale = ? AND state = 3 ORDER BY seq LIMIT 1", sale)
        second = data.ask("SELECT max(seq) FROM order_rows WHERE sale = ? AND state = 3", sale)
        _, told = data.spoil(("UPDATE order_rows SET buyer = ? WHERE seq = ?", buyer, second))
        found = {finding["check"]: finding for finding in told["findings"]}
        assert told["seq"] == second and {"changed-order", "two-live-orders"} <= set(found), told
        # In the events as well: then it is all that is wrong there.
        check, told = data.spoil(
            ("UPDATE order_rows SET buyer = ? WHERE seq = ?", buyer, second),
            ("UPDATE event_rows SET payload = json_set(payload, '$.buyerName', ?) WHERE ord = ?", buyer, second))
        assert (check, told["seq"]) == ("two-live-orders", second), told
        assert buyer in told["detail"] and str(first) in told["detail"], told


def test_orders_from_before_the_baseline_changed_in_any_way(t):
    data = both(t)[1]
    b = data.baseline
    for what in ("state = 3", "state = 4 AND last_seq < :b", "state = 5", "last_seq > :b AND state = 3"):
        seq = data.ask(f"SELECT min(seq) FROM order_rows WHERE {what.replace(':b', str(b))}")
        assert seq and seq <= b, (what, seq)
        for change in ("buyer = buyer || '!'", "quantity = quantity + 1", "state = CASE state WHEN 3 THEN 5 ELSE 3 END",
                       "created_at_ms = created_at_ms + 1"):
            check, told = data.spoil((f"UPDATE order_rows SET {change} WHERE seq = ?", seq))
            assert check in ("changed-order", "two-live-orders"), (what, change, told)
            assert b <= told["seq"] <= data.last, told
        check, told = data.spoil(("DELETE FROM order_rows WHERE seq = ?", seq))
        assert check in ("changed-order", "missing-order") and told["seq"] >= b, told
    columns = "tag, sale, buyer || '?', quantity, 5, refund_due, created_at_ms, updated_at_ms, expires_at_ms, last_seq"
    free = data.ask("SELECT max(seq) + 1 FROM order_rows WHERE seq + 1 < ? AND seq + 1 NOT IN (SELECT seq FROM order_rows)", b)
    check, told = data.spoil((f"INSERT INTO order_rows SELECT ?, {columns} FROM order_rows WHERE seq = ?", free, seq))
    assert check == "changed-order", told


def test_a_changed_baseline(t):
    data = both(t)[1]
    order = data.ask("SELECT seq FROM baseline_orders LIMIT 1")
    for change in (("UPDATE baseline_sales SET sold = sold + 1, available = available - 1",),
                   ("UPDATE baseline_sales SET digest = digest + 1",), ("DELETE FROM baseline_sales WHERE seq = 1",),
                   ("UPDATE baseline_orders SET state = 3 - state WHERE seq = ?", order),
                   ("DELETE FROM baseline_orders WHERE seq = ?", order), ("DELETE FROM baseline_orders",),
                   ("INSERT INTO baseline_orders VALUES(1, 2, 0, 0, 1)",),
                   ("UPDATE baseline SET seq = seq - 1",), ("UPDATE baseline SET seq = seq + 1",),
                   ("UPDATE baseline SET seq = 0",), ("DELETE FROM baseline",)):
        _, told = data.spoil(change)
        assert told["detail"], (change, told)
    for data in both(t):
        for change, says in (("DELETE FROM baseline", "has no row"), ("UPDATE baseline SET seq = 'x'", "seq is not one"),
                             ("UPDATE baseline SET seq = -1", "seq is not one")):
            check, told = data.spoil((change,))
            assert (check, told["seq"]) == ("changed-baseline", 0) and says in told["detail"], (change, told)


def test_a_server_does_not_start_on_a_changed_baseline_either(t):
    data = both(t)[1]
    order = data.ask("SELECT seq FROM baseline_orders LIMIT 1")
    for change in (("UPDATE baseline_sales SET sold = sold + 1, available = available - 1",),
                   ("DELETE FROM baseline_sales WHERE seq = 1",),
                   ("UPDATE baseline_orders SET state = 3 - state WHERE seq = ?", order),
                   ("DELETE FROM baseline_orders WHERE seq = ?", order),
                   ("UPDATE baseline SET seq = seq - 1",), ("UPDATE baseline SET seq = seq + 1",),
                   ("DELETE FROM baseline",), ("DELETE FROM event_rows WHERE seq = ?", data.baseline + 1)):
        copy = t.new_data()
        shutil.copytree(data.dir, copy)
        database = sqlite3.connect(os.path.join(copy, "flashd.db"))
        assert database.execute(*(change[0], change[1:])).rowcount >= 1, change
        database.commit()
        database.close()
        ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", copy], timeout_s=20)
        assert ended.returncode == 1 and ended.stdout == "", (change, ended)
        assert "recovery of" in ended.stderr and "failed: " in ended.stderr, (change, ended)


# Each column of a row but its seq, with a change of it that leaves the row well-formed; o and s: the tables.
ORDER_CHANGES = {
    "tag": "tag + 1", "sale": "(SELECT max(seq) FROM sale_rows s WHERE s.seq <> o.sale)", "buyer": "buyer || '!'",
    "quantity": "quantity + 1", "state": "CASE state WHEN 5 THEN 6 ELSE 5 END", "refund_due": "1 - refund_due",
    "created_at_ms": "created_at_ms + 1", "updated_at_ms": "updated_at_ms + 1",
    "expires_at_ms": "coalesce(expires_at_ms + 1, created_at_ms)", "last_seq": "last_seq - 1",
}
SALE_CHANGES = {
    "tag": "tag + 1", "name": "name || '!'", "product_qty": "product_qty + 1", "max_per_buyer": "max_per_buyer + 1",
    "waitlist_max": "waitlist_max + 1", "hold_ms": "hold_ms + 1", "starts_at_ms": "starts_at_ms + 1",
    "ends_at_ms": "ends_at_ms + 1", "state": "(state + 1) % 4", "sold_out": "1 - sold_out",
    "available": "available + 1", "held": "held + 1", "sold": "sold + 1", "waiting": "waiting + 1",
    "last_seq": "last_seq - 1",
}


class OldData:
    """Stopped data with a row of each kind that there is; aged: the events up to the restart in its midst are gone."""

    def __init__(self, t, aged=True):
        shop = t.shop("--retention-days", "1")
        calm, brief = shop.open_sale(stock=4, holdMs=3600000), shop.open_sale(stock=20, holdMs=800)
        over = shop.open_sale(stock=1, holdMs=3600000)
        paid, held, pays, leaves = [shop.must_hold(calm, f"h{n}") for n in range(4)]
        promoted, quits, advances, goes, waits = [shop.must_wait(calm, f"w{n}") for n in range(5)]
        shop.must_pay(paid), shop.must_cancel(quits), shop.must_cancel(leaves)
        expired, returns, refunded, again = [shop.must_hold(brief, f"e{n}") for n in range(4)]
        shop.must_pay(shop.must_hold(over, "ann"))
        bought = shop.open_sale(stock=2, holdMs=3600000)
        shop.must_hold(bought, "bob"), shop.must_hold(bought, "cid")
        cleared = shop.must_wait(bought, "dee")
        expect(shop.post(f"/sales/{bought}/end", token=shop.admin), 200)
        shop.until_order(cleared, "cleared"), shop.until_order(again, "expired"), shop.until_order(promoted, "payment")
        for name in ("e2", "e3"):
            shop.must_pay(shop.must_hold(brief, name))
        expect_problem(shop.pay(refunded), 400, "hold-expired")
        shop.stop()
        gone = age_events(shop) if aged else 0
        shop.start()
        eventually(lambda: shop.rows("SELECT seq FROM baseline")[0][0] == gone, 20, what="a baseline")
        shop.must_pay(pays), shop.must_pay(returns)
        expect_problem(shop.pay(again), 400, "hold-expired")
        shop.must_cancel(promoted), shop.must_cancel(goes)
        shop.until_order(advances, "payment")
        assert shop.stop() == 0
        self.t, self.dir = t, shop.data
        must_balance(shop.data)
        self.orders = {kind: int(order[:12], 16) for kind, order in {
            "paid": paid, "in payment": held, "cancelled in payment": leaves, "cancelled while waiting": quits,
            "waiting": waits, "expired": expired, "refund due": refunded, "cleared": cleared, "paid since": pays,
            "cancelled since": promoted, "promoted since": advances, "left the list since": goes,
            "paid late since": returns, "refund due since": again}.items()}
        self.sales = {kind: int(sale[:12], 16) for kind, sale in {"going on": calm, "at rest": over, "ended": bought}.items()}

    def each_change(self, look):
        """look(copy, what) after each change of each column, each undone after it; the columns are all there are."""
        copy = self.t.new_data()
        shutil.copytree(self.dir, copy)
        database = sqlite3.connect(os.path.join(copy, "flashd.db"))
        for table, rows, changes in (("order_rows", self.orders, ORDER_CHANGES), ("sale_rows", self.sales, SALE_CHANGES)):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            assert set(names) == set(changes) | {"seq"}, names
            for (kind, seq), (column, change) in itertools.product(rows.items(), changes.items()):
                whole = database.execute(f"SELECT * FROM {table} WHERE seq = ?", (seq,)).fetchone()
                database.execute(f"UPDATE {table} AS {table[0]} SET {column} = {change} WHERE seq = ?", (seq,))
                changed = database.execute(f"SELECT * FROM {table} WHERE seq = ?", (seq,)).fetchone()
                database.commit()
                assert whole != changed, (kind, seq, column)
                look(copy, f"{column} of {table} {seq}, {kind}")
                database.execute(f"REPLACE INTO {table} VALUES({', '.join('?' * len(whole))})", whole)
                database.commit()
        database.close()
        must_balance(copy)


def each_column_is_vouched_for(data):
    missed = []

    def look(copy, what):
        status, told = audit(copy)
        if status != 1 or told["check"] not in ("changed-order", "changed-sale", "changed-counter", "two-live-orders",
                                                "broken-rule", "oversold"):
            missed.append((what, told.get("check")))
    data.each_change(look)
    assert not missed, missed


@patient
def test_each_column_of_each_kind_of_row_from_before_the_baseline(t):
    each_column_is_vouched_for(OldData(t))


@patient
def test_each_column_of_each_kind_of_row_whose_events_are_there(t):
    each_column_is_vouched_for(OldData(t, aged=False))


def does_not_start_on_any_change(data):
    missed = []

    def look(copy, what):
        ended = run_flashd(["serve", "--listen", "192.0.2.1:0", "--data", copy], timeout_s=20)
        if "recovery of" not in ended.stderr:
            missed.append((what, ended.stderr))
    data.each_change(look)
    assert not missed, missed


@patient
def test_a_server_does_not_start_on_a_change_from_before_the_baseline(t):
    does_not_start_on_any_change(OldData(t))


@patient
def test_a_server_does_not_start_on_a_change_of_what_the_events_say(t):
    does_not_start_on_any_change(OldData(t, aged=False))


def test_a_server_does_not_start_on_rows_that_only_look_right(t):
    data = Data(t)
    sale, paid, cancelled = data.ask("SELECT max(seq) FROM sale_rows"), data.order("state = 3"), data.order("state = 5")
    columns = "tag, sale, buyer || '?', quantity, 4, refund_due, created_at_ms, updated_at_ms, expires_at_ms, 0"
    for change, says in (
            (f"UPDATE sale_rows SET sold = sold + 4294967296 WHERE seq = {sale}", "a sale's row is malformed"),
            (f"UPDATE sale_rows SET hold_ms = hold_ms + 4294967296 WHERE seq = {sale}", "a sale's row is malformed"),
            (f"UPDATE sale_rows SET state = state + 256 WHERE seq = {sale}", "a sale's row is malformed"),
            (f"UPDATE order_rows SET quantity = quantity + 4294967296 WHERE seq = {paid}", "an order's row is malformed"),
            (f"UPDATE order_rows SET last_seq = last_seq + (1 << 56) WHERE seq = {paid}", "ahead of the events"),
            (f"INSERT INTO order_rows SELECT 0, {columns} FROM order_rows WHERE seq = {paid}", "an order's row is malformed"),
            (f"INSERT INTO order_rows SELECT -5, {columns} FROM order_rows WHERE seq = {paid}", "ahead of the events"),
            (f"INSERT INTO order_rows SELECT 1 << 40, {columns} FROM order_rows WHERE seq = {paid}", "ahead of the events"),
            ("DELETE FROM event_rows", "ahead of the events"),
            (f"UPDATE order_rows SET buyer = 'mallory' WHERE seq = {paid}", f"(seq {paid})"),
            (f"UPDATE order_rows SET quantity = quantity + 1 WHERE seq = {cancelled}", f"(seq {cancelled})"),
            (f"UPDATE sale_rows SET product_qty = product_qty + 5, available = available + 5 WHERE seq = {sale}",
             f"(seq {sale})"),
            (f"UPDATE sale_rows SET hold_ms = hold_ms + 1 WHERE seq = {sale}", f"(seq {sale})"),
            ("UPDATE meta SET value = randomblob(16)", "(seq 1)"),
            ("UPDATE baseline SET seq = 'x'", "the baseline's seq is not one"),
            ("DELETE FROM baseline", "the baseline has no row")):
        copy = t.new_data()
        shutil.copytree(data.dir, copy)
        database = sqlite3.connect(os.path.join(copy, "flashd.db"))
        assert database.execute(change).rowcount >= 1, change
        database.commit()
        database.close()
        ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", copy], timeout_s=20)
        assert ended.returncode == 1 and ended.stdout == "" and says in ended.stderr, (change, ended)


def test_a_damaged_page(t):
    for data in both(t):
        pages = os.path.getsize(os.path.join(data.dir, "flashd.db")) // 4096
        for page in (pages // 2, pages - 2):
            copy = t.new_data()
            shutil.copytree(data.dir, copy)
            with open(os.path.join(copy, "flashd.db"), "r+b") as file:
                file.seek(page * 4096)
                file.write(os.urandom(2048))
            status, told = audit(copy)
            assert status == 1 and told["check"] == "damaged-page", told
            assert f"page {page + 1}" in told["detail"].lower(), (page + 1, told)
        copy = t.new_data()
        shutil.copytree(data.dir, copy)
        os.truncate(os.path.join(copy, "flashd.db"), pages // 2 * 4096)
        status, told = audit(copy)
        assert status == 1 and told["check"] == "damaged-page", told


def test_a_database_of_another_version_is_not_called_damaged(t):
    data = Data(t, events=500)
    database = sqlite3.connect(os.path.join(data.dir, "flashd.db"))
    database.execute("PRAGMA user_version = 999")
    database.close()
    status, told = audit(data.dir)
    assert status == 1 and told["check"] == "no-database" and "another version" in told["detail"], told
    ended = run_flashd(["audit", data.dir])
    assert ended.returncode == 1 and "cannot be audited" in ended.stdout and "DIVERGENT" not in ended.stdout, ended


def test_a_byte_that_turned_within_a_payload(t):
    """A page with a wrong byte in its text is a sound page; the books know better."""
    data = Data(t)
    path = os.path.join(data.dir, "flashd.db")
    with open(path, "r+b") as file:
        content = file.read()
        at = content.rindex(b'"available":') + 12
        file.seek(at)
        file.write(b"9" if content[at:at + 1] != b"9" else b"8")
    status, told = audit(data.dir)
    assert status == 1 and told["seq"] > 0 and "available" in told["detail"], told


def test_a_changed_time_of_an_event(t):
    """Retention goes by it: who changes it decides when the event is removed."""
    for data in both(t):
        for change in ("created_at_ms + 1", "created_at_ms - 86400000", "created_at_ms || 'x'", "0"):
            check, told = data.spoil((f"UPDATE event_rows SET created_at_ms = {change} WHERE seq = ?", data.last - 7))
            assert (check, told["seq"]) == ("changed-event", data.last - 7), (change, told)
            assert "created_at_ms" in told["detail"], told


def test_stopped_data_can_be_changed_under_the_contracts_names_and_the_audit_finds_it(t):
    data = Data(t)
    paid, order_id, last = data.ask("SELECT first_seq, id, seq FROM orders WHERE state = 'paid' AND first_seq > 3000"
                                    " AND id IN (SELECT aggregate_id FROM domain_events WHERE event_type ="
                                    " 'order.expired') LIMIT 1")
    sale_id, sale_last = data.ask("SELECT id, seq FROM sales ORDER BY seq DESC LIMIT 1")
    other = data.ask("SELECT s.id FROM sales s, orders o WHERE o.id = ? AND s.id <> o.sale_id LIMIT 1", order_id)
    for change, value, check, where in (
            ("UPDATE orders SET state = 'cancelled' WHERE id = ?", order_id, "changed-order", last),
            ("UPDATE orders SET buyer = 'nobody' WHERE id = ?", order_id, "changed-order", paid),
            ("UPDATE orders SET quantity = quantity + 1 WHERE id = ?", order_id, "changed-order", paid),
            (f"UPDATE orders SET sale_id = '{other}' WHERE id = ?", order_id, "changed-order", paid),
            ("DELETE FROM orders WHERE id = ?", order_id, "missing-order", paid),
            ("UPDATE sales SET sold = sold + 1 WHERE id = ?", sale_id, "changed-counter", sale_last),
            ("UPDATE sales SET state = 'ENDED' WHERE id = ?", sale_id, "changed-sale", sale_last),
            ("DELETE FROM domain_events WHERE seq = ?", last, "missing-event", last),
            ("UPDATE domain_events SET seq = seq + 1000000 WHERE seq = ?", last, "missing-event", last),
            ("UPDATE domain_events SET event_type = 'order.expired' WHERE seq = ?", last, "broken-rule", last),
            ("UPDATE domain_events SET created_at_ms = created_at_ms + 1 WHERE seq = ?", last, "changed-event", last),
            ("UPDATE domain_events SET payload = '{}' WHERE seq = ?", last, "changed-event", last)):
        found, told = data.spoil((change, value))
        assert (found, told["seq"]) == (check, where), (change, told)
    for change in ("UPDATE orders SET state = 'strange'", "UPDATE sales SET state = ''",
                   "UPDATE domain_events SET event_type = 'x'", "UPDATE orders SET id = '0'"):
        database = sqlite3.connect(os.path.join(data.dir, "flashd.db"))
        raises(sqlite3.Error, database.execute, change)
        database.close()
    must_balance(data.dir)
