"""
test_load.py: flashload from the outside: runs that balance, books that a lying proxy falsifies, thresholds, errors,
Ctrl-C, and its output. The flashload beside the flashd under test is the one that runs.
"""
import contextlib
import fcntl
import http.server
import itertools
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

from harness import binary, clean_environment, command_prefix, eventually, expect, patient, slack

QUICK = ["--hold-ms", "600", "--think-ms", "30", "--look-ms", "100"]


def flashload():
    return os.path.join(os.path.dirname(binary()), "flashload")


def command(t, args):
    return command_prefix() + [flashload()] + [str(arg) for arg in args], clean_environment({"TMPDIR": t.folder})


def run(t, *args, env=None, within_s=60):
    argv, environment = command(t, args)
    environment.update(env or {})
    return subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=within_s * slack())


def must(done, status):
    told = done.stdout[-3000:]
    if done.stdout.startswith("{"):
        told = json.loads(done.stdout)["audit"]
    assert done.returncode == status, f"exit status {done.returncode}\n{told}\n{done.stderr[-1500:]}"
    return done


def read_until(words, stream):
    """Reads lines until one holds the words."""
    seen = ""
    while words not in seen:
        line = stream.readline()
        assert line, f"it ended without {words!r}: {seen}"
        seen += line


def report(t, *args, status=0, env=None):
    return json.loads(must(run(t, "--json", *args, env=env), status).stdout)


def url(port):
    return f"http://127.0.0.1:{port}"


# -------------------------------------------------------------------------------- runs that balance

def test_load_small_on_a_server_of_its_own(t):
    done = must(run(t, "small", *QUICK, "--seed", 5), 0)
    assert "the books balance: " in done.stdout and "100 own streams" in done.stdout, done.stdout
    assert "seed 5" in done.stdout, done.stdout
    table = re.search(r"^latency .*?^frame:", done.stdout, re.M | re.S)[0].split("\n")
    assert len(table) > 9 and max(map(len, table)) <= 80, "\n".join(table)
    assert os.listdir(t.folder) == [], "its temporary directory is left behind"


@patient
def test_load_medium_on_a_running_server(t):
    shop = t.shop()
    seen = report(t, "medium", "--url", url(shop.port), *QUICK, "--server-pid", shop.process.pid,
                  env={"FLASHD_TOKEN": shop.admin})
    assert seen["cpu"]["serverSeconds"] > 0 and seen["cpu"]["serverUsPerAnswer"] > 0, seen["cpu"]
    counts = seen["counts"]
    assert seen["audit"]["balances"] and seen["audit"]["eventsHeld"], seen["audit"]
    assert counts["arrivals"] == 1000 and counts["errors"] == 0 and counts["unserved"] == 0, counts
    assert counts["accepted"] + counts["waiting"] + counts["refused"] == 1000, counts
    sale = expect(shop.get("/sales"), 200)["sales"][0]
    assert sale["sold"] == counts["paid"] and sale["state"] == "ENDED", (sale, counts)
    shop.balance_books()


@patient
def test_load_spreads_over_several_sales(t):
    seen = report(t, "--buyers", 120, "--stock", 30, "--sales", 7, *QUICK)
    assert seen["options"]["sales"] == 7 and seen["audit"]["balances"], seen["audit"]
    assert seen["counts"]["paid"] <= 30, seen["counts"]


def test_load_in_an_open_sale_without_a_token(t):
    shop = t.shop()
    sale = shop.open_sale(stock=20, holdMs=500)
    shop.must_pay(shop.must_hold(sale, "a stranger"))
    done = must(run(t, "--url", url(shop.port), "--sale", sale, "--buyers", 60, *QUICK), 0)
    assert "the books balance" in done.stdout and "without a token" in done.stdout, done.stdout
    assert shop.sale(sale)["state"] == "ACTIVE", "a sale of others was ended"
    with_token = must(run(t, "--url", url(shop.port), "--sale", sale, "--buyers", 10, *QUICK,
                          env={"FLASHD_TOKEN": shop.admin}), 0)
    assert "the books balance" in with_token.stdout, with_token.stdout


def arriving(t, shop, *arguments):
    """flashload with JSON at a rate, once its arrivals have begun; its process."""
    argv, environment = command(t, ["--json", "--url", url(shop.port), "--seed", 1, *arguments])
    environment["FLASHD_TOKEN"] = shop.admin
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until("arrivals", load.stderr)
    return load


@patient
def test_load_open_loop_counts_from_the_scheduled_time(t):
    """A server that stalls for a second shows it in every arrival of that second, not in one."""
    shop = t.shop()
    load = arriving(t, shop, "--rate", 300, "--duration", 3, "--connections", 4, "--watchers", 0, "--spectators", 1)
    time.sleep(1)
    shop.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    shop.process.send_signal(signal.SIGCONT)
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 0, err
    buy = json.loads(out)["latencyMs"]["buy"]
    assert 750 < buy["count"] < 1050, buy
    assert buy["max"] > 900 and buy["p90"] > 400, f"the stall is hidden: {buy}"


@patient
def test_load_counts_those_whom_a_stalled_server_never_answers(t):
    """A purchase that got no answer in time waited at least so long."""
    shop = t.shop()
    load = arriving(t, shop, "--rate", 40, "--duration", 2, "--answer-timeout-ms", 400, "--watchers", 0,
                    "--spectators", 0)
    shop.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    shop.process.send_signal(signal.SIGCONT)
    out, err = load.communicate(timeout=60 * slack())
    seen = json.loads(out)
    unanswered, buy = seen["counts"]["errors"], seen["latencyMs"]["buy"]
    assert unanswered > 10 and buy["p50"] >= 400, (seen["counts"], buy, err)
    assert buy["count"] >= seen["counts"]["purchases"] + unanswered, (seen["counts"], buy)


@patient
def test_load_admits_who_was_due_while_it_stood_still_itself(t):
    """Stopped across the end of the arrivals: all come, as late as they are."""
    shop = t.shop()
    load = arriving(t, shop, "--rate", 200, "--duration", 1.5, "--watchers", 0, "--spectators", 0)
    time.sleep(0.5)
    load.send_signal(signal.SIGSTOP)
    time.sleep(2)
    load.send_signal(signal.SIGCONT)
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 0, err
    seen = json.loads(out)
    assert seen["counts"]["arrivals"] > 230 and seen["latencyMs"]["lag"]["max"] > 1000, (seen["counts"], seen["latencyMs"]["lag"])
    assert seen["latencyMs"]["buy"]["max"] > 1000, seen["latencyMs"]["buy"]


@patient
def test_load_counts_what_the_load_did_and_not_what_ends_its_sale(t):
    """Ended with a waiting list, which the server then clears, an event for each who waits."""
    argv, environment = command(t, ["--json", "--buyers", 2000, "--stock", 10, "--looks", 0, "--pay-ratio", 0,
                                    "--think-ms", 0, "--hold-ms", 60000, "--look-ms", 60000])
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until(" answers/s", load.stderr)
    load.send_signal(signal.SIGINT)
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 0, err
    seen = json.loads(out)
    counts, points = seen["counts"], seen["series"]["points"]
    waiting, clearing = points[-1]["queue"], seen["audit"]["events"] - counts["durable"]
    assert waiting > 500 and waiting <= clearing <= waiting + 4, (waiting, clearing, counts)
    assert sum(point["durable"] for point in points) == counts["durable"], (points, counts)
    assert abs(seen["rates"]["durable"]["mean"] * seen["seconds"] - counts["durable"]) < 1, seen["rates"]
    assert len(points) * seen["series"]["tickMs"] < seen["seconds"] * 1000 + 1000 * slack(), (len(points), seen["seconds"])


@patient
def test_load_ramp_looks_for_the_knee(t):
    seen = report(t, "--ramp", "50:400:3", *QUICK)
    assert seen["knee"].keys() == {"reached", "offered", "p99", "sign", "points"}, seen["knee"]
    assert len(seen["knee"]["points"]) == 3, seen["knee"]
    assert seen["options"]["loop"] == "open" and seen["audit"]["balances"], seen


# ------------------------------------------------------------------------------ servers that fail

class Till:
    """A server with one sale, for --sale: it answers a purchase with the status and code that `buy` gives; without a
    status not at all, but hangs up. With by_end each answer ends with its connection."""

    SALE = {"id": "0" * 24, "state": "ACTIVE", "productQty": 10, "available": 10, "held": 0, "sold": 0, "waiting": 0,
            "remainingQty": 10, "holdMs": 1000, "seq": 1}

    def __init__(self, buy, by_end=False):
        till = self
        self.connections = self.requests = 0
        self.lock = threading.Lock()

        class Clerk(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                with till.lock:
                    till.connections += 1

            def do_GET(self):
                path = self.path.removeprefix("/api/v1/sales")
                self.answer(200, {"sales": []} if path == "" else {"buyers": []} if "/buyers?" in path else till.SALE)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with till.lock:
                    status, code = buy()
                self.answer(status, {"code": code})

            def answer(self, status, told):
                if status is None:
                    self.close_connection = True
                    return
                body = json.dumps(told).encode()
                length = b"" if by_end else b"Content-Length: %d\r\n" % len(body)
                self.wfile.write(b"HTTP/1.1 %d -\r\n%b\r\n%b" % (status, length, body))
                self.close_connection |= by_end
                with till.lock:
                    till.requests += 1

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512
        self.server = Server(("127.0.0.1", 0), Clerk)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def report(self, t, *args, status=0):
        """What flashload reports of this server, which then ends."""
        try:
            return report(t, "--url", url(self.server.server_port), "--sale", self.SALE["id"], "--spectators", 0,
                          "--looks", 0, *args, status=status)
        finally:
            self.server.shutdown()
            self.server.server_close()


def test_load_tells_the_share_of_errors_among_all_requests(t):
    for answers in ([(503, "busy")], [(503, "busy"), (None, "hangs up")]):
        turns = itertools.cycle(answers)
        seen = Till(lambda turns=turns: next(turns)).report(t, "--buyers", 40, "--assert", "share(errors)==100%")
        assert [row["found"] for row in seen["thresholds"]] == [1.0], (seen["thresholds"], seen["counts"])
        assert seen["counts"]["errors"] == 40, seen["counts"]


def test_load_connects_once_for_each_answer_that_ends_with_its_connection(t):
    till = Till(lambda: (409, "sold-out"), by_end=True)
    counts = till.report(t, "--buyers", 200, "--connections", 8)["counts"]
    assert counts["refused"] == 200 and counts["errors"] == 0, counts
    assert till.requests >= 200 and till.connections <= till.requests + 8, (till.connections, till.requests)


def no_more_than(rate):
    """Refuses so many a second, and sheds the rest with a fast 503."""
    state = {"at": time.monotonic(), "left": 1.0}

    def buy():
        now = time.monotonic()
        state["left"] = min(10, state["left"] + (now - state["at"]) * rate)
        state["at"] = now
        if state["left"] < 1:
            return 503, "busy"
        state["left"] -= 1
        return 409, "sold-out"
    return buy


@patient
def test_load_finds_the_knee_of_a_server_that_sheds_load(t):
    seen = Till(no_more_than(100)).report(t, "--ramp", "20:400:4", "--seed", 1)
    counts, knee, latencies = seen["counts"], seen["knee"], seen["latencyMs"]
    assert counts["errors"] > 200 and counts["refused"] > 100, counts
    assert knee["reached"] and knee["offered"] < 150 and knee["sign"] == "served less than offered", knee
    assert counts["purchases"] == latencies["buy"]["count"] == counts["refused"], (counts, latencies["buy"])
    assert latencies["failed"]["count"] == counts["errors"], (counts, latencies["failed"])


# ---------------------------------------------------------------------------- books that are wrong

class Liar:
    """Stands between flashload and the server and passes on every byte, but for what `lie` makes of an answer."""

    def __init__(self, port, path, lie):
        self.upstream, self.path, self.lie = port, path.encode(), lie
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.upstream)) as server, contextlib.suppress(OSError):
            lies = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    data = client.recv(65536)
                    lies |= self.path in data.split(b"\r\n")[0]
                    server.sendall(data)
                else:
                    data = server.recv(65536)
                    client.sendall(self.lie(data) if lies and data else data)
                if not data:
                    return


def once(change):
    """Applies change(bytes) until it has changed something."""
    state = {"done": False}

    def lie(data):
        if state["done"]:
            return data
        changed = change(data)
        state["done"] = changed != data
        return changed
    return lie


def frame_of(data, kind):
    match = re.search(rb"id: \d+\nevent: " + kind + rb"\n[^\n]*\n\n", data)
    return match[0] if match else None


def each_frame(change, kind=rb"order\.paid"):
    return lambda data: data.replace(frame_of(data, kind), change(frame_of(data, kind)), 1) if frame_of(data, kind) else data


def second_as_first(data):
    names = re.findall(rb'"buyerName":"([^"]*)"', data)
    if len(names) < 2:
        return data
    head, _, body = data.partition(b"\r\n\r\n")
    body = body.replace(b'"' + names[1] + b'"', b'"' + names[0] + b'"', 1)
    return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


def no_update(data):
    return re.sub(rb"id: \d+\nevent: sale_update\n[^\n]*\n\n", b"", data)


LIES = {
    "repeated event": ("GET /api/v1/events/stream", each_frame(lambda frame: frame + frame)),
    "missing event": ("GET /api/v1/events/stream", each_frame(lambda frame: b"")),
    "wrong counter": ("GET /api/v1/events/stream",
                      each_frame(lambda frame: re.sub(rb'"waiting":(\d)', lambda m: b'"waiting":%d' % (9 - int(m[1])), frame))),
    "doubled": ("/buyers?", second_as_first),
}
QUIET_LIES = {  # what shows in no counter: the kind that is found, the stream, the lie
    "sold out": ("missing event", "GET /api/v1/events/stream", once(each_frame(lambda frame: b"", rb"sale\.sold_out"))),
    "ended": ("missing event", "GET /api/v1/events/stream", once(each_frame(lambda frame: b"", rb"sale\.ended"))),
    "no update": ("missing event", "GET /api/v1/sales/events", no_update),
}


def lying(t, name):
    kind, path, lie = QUIET_LIES[name] if name in QUIET_LIES else (name, LIES[name][0], once(LIES[name][1]))
    shop = t.shop()
    liar = Liar(shop.port, path, lie)
    seen = report(t, "small", "--url", url(liar.port), *QUICK, "--watchers", 10, "--assert", "p50(buy)<1ns", status=1,
                  env={"FLASHD_TOKEN": shop.admin})
    liar.listener.close()
    assert not seen["audit"]["balances"] and seen["exitStatus"] == 1, seen["audit"]
    assert kind in [found["kind"] for found in seen["audit"]["findings"]], seen["audit"]
    shop.balance_books()


def test_load_finds_a_repeated_event(t):
    lying(t, "repeated event")


@patient
def test_load_finds_a_missing_event(t):
    lying(t, "missing event")


@patient
def test_load_finds_a_missing_event_that_shows_in_no_counter(t):
    for name in QUIET_LIES:
        lying(t, name)


@patient
def test_load_finds_a_wrong_counter(t):
    lying(t, "wrong counter")


@patient
def test_load_finds_a_buyer_listed_twice(t):
    lying(t, "doubled")


def without_the_last_row(data):
    head, _, body = data.partition(b"\r\n\r\n")
    rows = json.loads(body)["buyers"]
    body = json.dumps({"buyers": rows[:-1]}).encode() if len(rows) > 1 else body
    return re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


def test_load_finds_a_lost_payment_without_a_token_and_behind_a_stranger(t):
    shop = t.shop()
    sale = shop.open_sale(stock=20, holdMs=5000)
    shop.must_pay(shop.must_hold(sale, "a stranger"))
    liar = Liar(shop.port, "/buyers?", once(without_the_last_row))
    seen = report(t, "--url", url(liar.port), "--sale", sale, "--buyers", 5, "--pay-ratio", 1, *QUICK, status=1)
    liar.listener.close()
    assert "lost" in [found["kind"] for found in seen["audit"]["findings"]], seen["audit"]


@patient
def test_load_finds_nothing_wrong_behind_an_honest_proxy(t):
    shop = t.shop()
    honest = Liar(shop.port, "/", lambda data: data)
    seen = report(t, "small", "--url", url(honest.port), *QUICK, "--watchers", 10, env={"FLASHD_TOKEN": shop.admin})
    honest.listener.close()
    assert seen["audit"]["balances"], seen["audit"]


@patient
def test_load_does_not_take_a_gateways_502_for_a_refusal(t):
    """Behind a gateway that lost the answers to a purchase and to a payment: both were made all the same."""
    shop = t.shop()
    for path, status in (("POST /api/v1/buy", b"201 Created"), ("POST /api/v1/pay", b"200 OK")):
        gateway = Liar(shop.port, path, once(lambda data, status=status: data.replace(status, b"502 Bad Gateway", 1)))
        seen = report(t, "small", "--url", url(gateway.port), *QUICK, "--watchers", 10, env={"FLASHD_TOKEN": shop.admin})
        gateway.listener.close()
        assert seen["counts"]["errors"] == 1 and seen["audit"]["balances"], (path, seen["counts"], seen["audit"])


def test_load_does_not_take_an_answer_that_never_came_for_a_refusal(t):
    """Ctrl-C while a purchase is under way, which the server has made: nobody knows, and nothing is wrong."""
    shop = t.shop()
    swallower = Liar(shop.port, "POST /api/v1/buy", once(lambda data: b""))
    argv, environment = command(t, ["--url", url(swallower.port), "--rate", 20, "--duration", 60, "--seed", 1,
                                    "--watchers", 0, *QUICK])
    environment["FLASHD_TOKEN"] = shop.admin
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until(" answers/s", load.stdout)
    load.send_signal(signal.SIGINT)
    out, err = load.communicate(timeout=30 * slack())
    swallower.listener.close()
    assert load.returncode == 0, (load.returncode, out, err)
    assert re.search(r"^errors +1 ", out, re.M), out


@patient
def test_load_times_frames_alike_that_come_before_their_reply(t):
    """Behind a proxy that is slow with replies only."""
    def slow(data):
        time.sleep(0.2 * slack())
        return data
    shop = t.shop()
    proxy = Liar(shop.port, "POST /api/v1/", slow)
    latencies = report(t, "--url", url(proxy.port), "--buyers", 10, "--stock", 10, "--pay-ratio", 1, "--twice-ratio", 0, *QUICK,
                       "--hold-ms", 60000, "--connections", 2, "--spectators", 3, "--watchers", 10, env={"FLASHD_TOKEN": shop.admin})["latencyMs"]
    proxy.listener.close()
    seen = {name: latencies[name] for name in ("frame", "frame_events", "frame_public")}
    assert seen["frame"]["count"] == seen["frame_events"]["count"] == 20, seen
    assert 20 <= seen["frame_public"]["count"] <= 60, seen
    assert all(0 <= one["p50"] < 1 for one in seen.values()), seen


def test_load_says_when_the_server_dies(t):
    shop = t.shop()
    argv, environment = command(t, ["--json", "--url", url(shop.port), "--rate", 200, "--duration", 30])
    environment["FLASHD_TOKEN"] = shop.admin
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until("arrivals", load.stderr)
    time.sleep(0.5)
    shop.kill()
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 1, (load.returncode, out[-500:], err)
    assert "server" in json.loads(out)["audit"]["error"], out[-2000:]


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_load_says_how_its_own_server_died(t):
    argv, environment = command(t, ["--rate", 100, "--duration", 60])
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until(" answers/s", load.stdout)
    os.kill(children(load.pid)[0], signal.SIGKILL)
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 1 and "flashd was killed by signal 9 (Killed)" in out, (load.returncode, out, err)
    assert os.listdir(t.folder) == [], "its temporary directory is left behind"


@patient
def test_load_says_what_its_own_server_said_at_last(t):
    argv, environment = command(t, ["medium", "--pay-ratio", 1])
    full = subprocess.run(["bash", "-c", 'ulimit -f 800; exec "$@"', "bash", *argv], env=environment, capture_output=True,
                          text=True, timeout=60 * slack())
    assert full.returncode == 1, (full.returncode, full.stdout, full.stderr)
    assert re.search(r"flashd ended with status 70: .*commit: disk I/O error", full.stdout), full.stdout
    refused(t, env={"FLASHD_WORKERS": "none"}, saying=["flashd did not start", "FLASHD_WORKERS", '"none"'])


# -------------------------------------------------------------------------------------- thresholds

@patient
def test_load_thresholds_decide_the_exit_status(t):
    good = report(t, "small", *QUICK, "--assert", "count(errors)==0", "--assert", "p99(buy)<60s")
    assert [row["holds"] for row in good["thresholds"]] == [True, True], good["thresholds"]
    bad = report(t, "small", *QUICK, "--assert", "count(errors)==0", "--assert", "p50(buy)<1ns", status=99)
    assert [row["holds"] for row in bad["thresholds"]] == [True, False] and bad["exitStatus"] == 99, bad
    assert bad["audit"]["balances"], bad["audit"]


# ------------------------------------------------------------------------------------------ errors

def refused(t, *args, saying, env=None, prefix=()):
    argv, environment = command(t, args)
    environment.update(env or {})
    done = subprocess.run(list(prefix) + argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=30 * slack())
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1 and lines[0].startswith("flashload: "), done.stderr
    for words in saying:
        assert re.search(words, lines[0]) if isinstance(words, re.Pattern) else words in lines[0], \
            f"{words!r} not in {lines[0]!r}"


def test_load_refuses_wrong_options(t):
    refused(t, "--stock", "some", saying=["--stock", '"some"', "1 to 1000000000"])
    refused(t, "huge", saying=['"huge"', "xlarge"])
    refused(t, "--assert", "p99(bye)<5ms", saying=["p99(bye)<5ms"])
    refused(t, "--rate", "5", "--ramp", "1:2:3", saying=["exclude"])
    refused(t, "--pay-ratio", "120%", saying=["--pay-ratio", "0 to 1"])
    refused(t, "--nonsense", saying=["--nonsense", "--help"])
    for ramp in (":1:2:3", "1:2:3:", "1::2:3", "1:2", "1:2:", "2:1:3", "0x1:2:3", "1: 2:3"):
        refused(t, "--ramp", ramp, saying=["--ramp", f'"{ramp}"', "FROM:TO:SECONDS"])
    for number in ("0x10", " 5", "5 ", "+5", "-5", "", "5.5", "nan"):
        refused(t, "--buyers", number, saying=["--buyers", f'"{number}"', "1 to 50000000"])
    refused(t, "--seed", " 5", saying=["--seed", '" 5"'])
    for switch in ("--json=1", "--help=1", "--version="):
        refused(t, switch, saying=[f'"{switch}"', "takes no value"])
    for port in ("", "x", "0", "73616"):  # 73616 is 8080 in sixteen bits
        refused(t, "--url", f"http://127.0.0.1:{port}", saying=["--url", f'"http://127.0.0.1:{port}"', "HOST:PORT"])


def test_load_says_what_is_wrong_with_the_server(t):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    refused(t, "--url", url(port), saying=["no server answers", url(port), "refused"])

    class NoFlashd(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoFlashd)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    refused(t, "--url", url(other.server_port), saying=["no flashd", "404"])
    other.shutdown()


@patient
def test_load_says_what_is_wrong_with_the_token(t):
    shop = t.shop()
    refused(t, "--url", url(shop.port), saying=["token is missing", "--token", "--sale"])
    refused(t, "--url", url(shop.port), "--token", "x.y.z", saying=["401", "admin's token"])
    refused(t, "--url", url(shop.port), "--token-file", t.folder + "/none", saying=["--token-file", "No such file"])
    refused(t, "--url", url(shop.port), "--token-file", t.file("empty", ""), saying=["--token-file", "/empty"])
    spaced = t.file("spaced", f" {shop.admin} \n")
    refused(t, "--url", url(shop.port), "--token-file", spaced, saying=["flashload: --token-file: ", "no token"])
    refused(t, "--url", url(shop.port), "--token", f" {shop.admin}", saying=["flashload: --token or FLASHD_TOKEN: ", "no token"])
    refused(t, "--url", url(shop.port), "--sale", "0" * 24, saying=["404"])


def test_load_says_how_many_descriptors_it_needs(t):
    limited = {"prefix": ["bash", "-c", 'ulimit -n 400; exec "$@"', "bash"]}
    refused(t, "--connections", 200, "--spectators", 300, "--watchers", 0, **limited,
            saying=["too few descriptors", "596", "ulimit -n"])
    # enough for flashload, not for its server, which gives streams three quarters of them
    refused(t, "--connections", 10, "--spectators", 190, "--watchers", 100, **limited,
            saying=["too few descriptors", "484", "ulimit -n"])


@patient
def test_load_says_what_a_server_without_descriptors_answers_on(t):
    """Its kernel takes connections that it never will."""
    shop = t.shop(descriptors=100)
    token = {"FLASHD_TOKEN": shop.admin}
    refused(t, "--url", url(shop.port), "--connections", 300, "--watchers", 0, env=token, saying=[
        "descriptors", re.compile(r"answers on ([1-9]|[1-9]\d) of 300 connections, 0 of 0 own streams")])
    refused(t, "--url", url(shop.port), "--connections", 2, "--spectators", 90, "--watchers", 0, env=token, saying=[
        "a spectator's stream was refused with status 503: the server has as many streams as it may", "descriptors"])


# ----------------------------------------------------------------------------------- the view, Ctrl-C

def ends_on(t, number):
    argv, environment = command(t, ["--rate", 200, "--duration", 60, "--hold-ms", 600])
    heeding = ["env", "--default-signal=INT,HUP"]  # the suite itself may run under nohup
    load = subprocess.Popen(heeding + argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until(" answers/s", load.stdout)
    load.send_signal(number)
    out, err = load.communicate(timeout=30 * slack())
    assert load.returncode == 0, (load.returncode, out, err)
    assert "interrupted after" in out and "the books balance" in out, out
    assert os.listdir(t.folder) == [], "its temporary directory is left behind"


def test_load_ends_on_ctrl_c_with_the_report_so_far(t):
    ends_on(t, signal.SIGINT)


def test_load_ends_when_its_terminal_goes(t):
    ends_on(t, signal.SIGHUP)


@patient
def test_load_goes_on_without_a_terminal_under_nohup(t):
    argv, environment = command(t, ["small", *QUICK])
    load = subprocess.Popen(["nohup", *argv], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    read_until("closed loop", load.stdout)
    load.send_signal(signal.SIGHUP)
    out, err = load.communicate(timeout=30 * slack())
    assert load.returncode == 0 and "interrupted" not in out, (load.returncode, out, err)


def test_load_ends_on_ctrl_c_while_it_makes_its_sales(t):
    argv, environment = command(t, ["--sales", 20000, "--buyers", 20000])
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: [path for path, _, names in os.walk(t.folder) if "flashd.db" in names], what="its own server")
    time.sleep(0.5)
    load.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out, err = load.communicate(timeout=60 * slack())
    assert load.returncode == 2 and "interrupted" in err, (load.returncode, out, err)
    assert time.monotonic() - begin < 3 * slack(), "it made all of them first"
    assert os.listdir(t.folder) == [], "its temporary directory is left behind"


def on_terminal(t, columns, rows, *args):
    """What flashload writes to a terminal of that size."""
    argv, environment = command(t, [*args, *QUICK])
    environment["TERM"] = "xterm"
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    load = subprocess.Popen(argv, env=environment, stdin=side, stdout=side, stderr=side)
    os.close(side)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the last writer is gone
        while data := os.read(main, 65536):
            seen += data
    os.close(main)
    assert load.wait(30 * slack()) == 0, seen
    return seen.decode()


@patient
def test_load_tells_the_p99_of_the_whole_second_in_a_plain_line(t):
    """All purchases come in its first half, and somebody thinks longer than that."""
    out = run(t, "--rate", 100, "--buyers", 20, "--pay-ratio", 1, "--think-ms", 1000, "--hold-ms", 60000).stdout
    line = re.search(r"^ +1\.\d s .*$", out, re.M)[0]
    assert "accepted 20 " in line and re.search(r"buy p99 \d+\.\d\d ms", line), line


def drawn_lines(seen):
    return re.findall(r"\r([^\r\n]*)\x1b\[K\r\n", seen)


def test_load_leaves_at_once_on_a_second_ctrl_c(t):
    """Also while it waits for a server that takes connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        argv, environment = command(t, ["--url", url(silent.getsockname()[1])])
        load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        asked, _ = silent.accept()
        with asked:
            for _ in range(2):
                assert load.poll() is None, load.stderr.read()
                load.send_signal(signal.SIGINT)
                time.sleep(0.2)
            assert load.wait(3 * slack()) == 130, load.stderr.read()


def test_load_leaves_nothing_behind_on_a_second_ctrl_c(t):
    argv, environment = command(t, ["--rate", 100, "--duration", 60, "--hold-ms", 600000])
    load = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    read_until(" answers/s", load.stdout)
    server = children(load.pid)[0]
    os.kill(server, signal.SIGSTOP)
    for _ in range(2):
        load.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert load.wait(3 * slack()) == 130
    assert not os.path.exists(f"/proc/{server}") and os.listdir(t.folder) == [], os.listdir(t.folder)


@patient
def test_load_draws_in_place_on_a_terminal(t):
    seen = on_terminal(t, 80, 24, "--rate", 100, "--duration", 1)
    assert re.search(r"\r\[[#.]{32}\] +\d+ %", seen), seen
    assert re.search(r"\x1b\[\d+A\r\[", seen), f"nothing was drawn over: {seen}"
    assert "\x1b" not in run(t, "small", *QUICK).stdout


@patient
def test_load_draws_whole_fields_only_however_wide_the_terminal(t):
    for columns in (45, 80):
        lines = drawn_lines(on_terminal(t, columns, 24, "--rate", 500, "--duration", 1))
        assert lines and max(map(len, lines)) < columns, (columns, lines)
        fields = [field for line in lines for field in re.split(r"  +(?=[a-z])", line[10:])]
        for name, value in (("durable", r"\d+"), ("waiting", r"\d+"), ("sold", r"\d+ of \d+"), ("max", r" *\d+\.\d\d ms")):
            shown = [field for field in fields if field.startswith(name)]
            assert shown and all(re.fullmatch(f"{name} {value}", field.rstrip()) for field in shown), (columns, name, lines)


@patient
def test_load_draws_nothing_in_place_where_it_does_not_fit(t):
    for columns, rows in ((20, 24), (80, 6)):
        seen = on_terminal(t, columns, rows, "--rate", 100, "--duration", 1)
        assert "\x1b" not in seen and re.search(r"\d+ answers/s", seen), (columns, rows, seen)
        assert seen.count("answers/s") < 8, seen


# ----------------------------------------------------------------------------------- what it writes

@patient
def test_load_says_that_its_report_could_not_be_written(t):
    def redirected(how, *args):
        argv, environment = command(t, ["small", *QUICK, *args])
        return subprocess.run(["bash", "-c", f'"$@" {how}; exit ${{PIPESTATUS[0]}}', "bash", *argv], env=environment,
                              capture_output=True, text=True, timeout=60 * slack())
    for how, args, why in ((">/dev/full", (), "No space left"), (">/dev/full", ("--json",), "No space left"),
                           ("| head -1", (), "Broken pipe")):
        done = redirected(how, *args)
        assert done.returncode == 3, (how, done)
        assert f"flashload: the report cannot be written to stdout: {why}" in done.stderr.split("\n")[-2], (how, done)
    assert redirected(">/dev/full", "--assert", "p50(buy)<1ns").returncode == 99
    closed = redirected(">&-")
    assert closed.returncode == 2 and closed.stderr == "flashload: stdout is closed: there is nowhere to report to\n", closed


LATENCY = {"count": int, "min": float, "mean": float, "max": float, "p50": float, "p75": float, "p90": float,
           "p95": float, "p99": float, "p99.9": float, "p99.99": float, "about": str}
SHAPE = {
    "format": int, "flashload": str, "server": str, "startedAt": str, "interrupted": bool, "seconds": float, "exitStatus": int,
    "options": dict, "latencyMs": {name: LATENCY for name in (
        "look", "buy", "accepted", "waiting", "refused", "paid", "cancelled", "order", "frame", "frame_public",
        "frame_events")},
    "counts": dict, "rates": {name: {"mean": float, "peak": float} for name in ("accepted", "refused", "durable")},
    "refusals": list, "cpu": {"flashloadUsPerAnswer": float, "serverUsPerDurable": float}, "knee": type(None),
    "thresholds": list, "audit": {"balances": bool, "eventsHeld": bool, "answers": int, "findings": list},
    "series": {"tickMs": int, "points": list},
}


def has_shape(value, shape, where="report"):
    if not isinstance(shape, dict):
        assert isinstance(value, (int, float) if shape is float else shape), f"{where}: {value!r} is no {shape}"
        return
    for name, inner in shape.items():
        assert name in value, f"{where} lacks {name}: {sorted(value)}"
        has_shape(value[name], inner, f"{where}.{name}")


@patient
def test_load_json_is_for_machines(t):
    seen = report(t, "small", *QUICK)
    has_shape(seen, SHAPE)
    assert seen["latencyMs"]["buy"]["count"] == seen["counts"]["purchases"] == 100, seen["counts"]
    counts = seen["counts"]
    assert counts["durable"] >= sum(counts[name] for name in ("accepted", "waiting", "paid", "cancelled")), counts
    points = seen["series"]["points"]
    for ticks, whole in (("frame", "frame"), ("framePublic", "frame_public"), ("buy", "buy"), ("pay", "paid")):
        kept = [point[ticks] for point in points]
        assert 0 < sum(one["count"] for one in kept) <= seen["latencyMs"][whole]["count"], (ticks, kept, seen["latencyMs"])
        assert max(one["max"] for one in kept) <= seen["latencyMs"][whole]["max"] + 0.001, (ticks, kept, seen["latencyMs"])
    assert sum(point["purchases"] for point in points) <= 100 and points[-1]["stockSold"] == seen["counts"]["paid"], points


@patient
def test_load_html_speaks_of_one_buyer_for_one_unit(t):
    path = os.path.join(t.folder, "report.html")
    done = must(run(t, "--buyers", 1, "--stock", 1, *QUICK, "--pay-ratio", 1, "--html", path), 0)
    page = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + t.folder + "/chromium",
                           "--dump-dom", "file://" + path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60 * slack()).stdout
    assert "<h1>1 buyer for 1 unit</h1>" in page and "of 1 unit sold" in page and ">buyer in " in page, page[-3000:]
    assert "1 buyer for 1 unit," in done.stdout and re.search(r"^\d\.\d\d s, 1 buyer$", done.stdout, re.M), done.stdout


@patient
def test_load_html_is_one_page_that_needs_no_network(t):
    path = os.path.join(t.folder, "report.html")
    curves = t.file("curves.json", json.dumps({"about": "a test", "curves": [
        {"title": "</script><b>", "x": "orders", "log": True, "series": [{"name": "us", "points": [[1, 2], [10, 3]]}]}]}))
    must(run(t, "small", *QUICK, "--html", path, "--curves", curves), 0)
    with open(path, encoding="utf-8") as file:
        page = file.read()
    seen = json.loads(re.search(r"^const report = (.*);$", page, re.M)[1])
    assert seen["curves"]["curves"][0]["title"] == "</script><b>", seen["curves"]
    assert len(seen["latencyMs"]["buy"]["curve"]) > 20, seen["latencyMs"]["buy"]
    assert page.count("</script>") == 2, "text of the data ends a script"
    outside = [found for found in re.findall(r"https?://[^\s\"'`]+", page)
               if not found.startswith(("http://127.0.0.1", "http://www.w3.org/2000/svg"))]
    assert outside == [] and not re.search(r"<link|\ssrc=|@import|url\(|fetch\(|XMLHttpRequest", page), outside
    refused(t, "small", "--html", "/nowhere/at/all.html", saying=["--html", '"/nowhere/at/all.html"', "No such file"])
    refused(t, "small", "--html", path + "2", "--curves", path, saying=["--curves", path])
    refused(t, "small", "--curves", curves, saying=["--curves", "--html"])
    one = {"title": "a", "x": "b", "series": [{"name": "c", "points": [[1, 2], [3, None]]}]}
    for wrong in ({}, [], {"curves": {}}, {"curves": [{}]}, {"curves": [1]}, {"curves": [dict(one, title=1)]},
                  {"curves": [dict(one, series=[])]}, {"curves": [dict(one, series=[{"name": "c"}])]},
                  {"curves": [one, dict(one, series=[{"name": "c", "points": [[1]]}])]},
                  {"curves": [dict(one, series=[{"name": "c", "points": [["1", 2]]}])]}, {"curves": [one], "about": 1}):
        file = t.file("wrong.json", json.dumps(wrong))
        refused(t, "small", "--html", path + "2", "--curves", file, saying=["--curves", file, re.compile(r" (has|is) no |title")])
    assert not os.path.exists(path + "2")
