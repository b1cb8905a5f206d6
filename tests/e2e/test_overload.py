"""test_overload.py: slow clients and too many clients, and how the good ones fare meanwhile. All on loopback."""
import os
import resource
import select
import socket
import time

from harness import Wire, alone, binary, eventually, expect_problem, patient, slack
from sse import Stream


@patient
def test_a_header_that_takes_longer_than_5_seconds_is_408(t):
    shop = t.shop()
    shop.open_sale(stock=5)
    begin = time.monotonic()
    with shop.wire(timeout_s=15) as wire:
        wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n")
        for _ in range(4):  # a byte a second must not put the deadline off
            time.sleep(1)
            wire.send("X")
        reply = wire.read_reply()
        took = time.monotonic() - begin
        expect_problem(reply, 408, "request-timeout", naming="5")
        assert 4.8 <= took <= 6 + 2 * (slack() - 1), f"cut after {took:.2f} s"
        assert wire.closed()


@patient
def test_a_body_that_takes_longer_than_5_seconds_is_408(t):
    shop = t.shop()
    begin = time.monotonic()
    with shop.wire(timeout_s=15) as wire:
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(4):
            time.sleep(1)
            wire.send(" ")
        expect_problem(wire.read_reply(), 408, "request-timeout")
        took = time.monotonic() - begin
        assert 4.8 <= took <= 6 + 2 * (slack() - 1), f"cut after {took:.2f} s"
        assert wire.closed()


@patient
def test_the_second_request_of_a_connection_has_its_own_5_seconds(t):
    shop = t.shop()
    with shop.wire(timeout_s=15) as wire:
        for _ in range(3):
            wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n")
            time.sleep(2.2)
            assert wire.send("\r\n").read_reply().status == 200


@alone
def test_1500_half_sent_requests_do_not_keep_a_good_one_waiting_and_each_is_cut(t):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    shop = t.shop()
    sale = shop.open_sale(stock=100)
    half = ["GET /sales HTTP/1.1\r\nHost: x\r\nX-Half", "POST /buy HTTP/1.1\r\nHost: x\r\n",
            "POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{", "G"]
    begin = time.monotonic()
    wires = [Wire(shop.port).send(half[n % len(half)]) for n in range(1500)]
    worst = 0.0
    for n in range(40):
        before = time.monotonic()
        shop.must_hold(sale, f"buyer {n}")
        with shop.wire() as wire:  # and a new connection
            assert wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n\r\n").read_reply().status == 200
        worst = max(worst, time.monotonic() - before)
    assert worst < 0.5 * slack(), f"a good request took {worst:.3f} s"
    poll = select.poll()
    waiting = {wire.socket.fileno(): wire for wire in wires}
    for number in waiting:
        poll.register(number, select.POLLIN)
    cut = 0
    while waiting and time.monotonic() - begin < 5 + 5 * slack():
        for number, _ in poll.poll(200):
            wire = waiting.pop(number)
            poll.unregister(number)
            try:
                reply = wire.read_reply()
                assert reply.status == 408, reply
                cut += wire.closed()
            except ConnectionError:
                cut += 1
            wire.close()
    assert cut == 1500, f"{cut} of 1500 cut {time.monotonic() - begin:.1f} s after the first byte"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@patient
def test_when_descriptors_run_out_accepting_stops_and_resumes(t):
    shop = t.shop("--net-threads", "1", "--workers", "1", descriptors=100)
    sale = shop.open_sale(stock=100)
    shop.must_hold(sale, "before")
    idle = [Wire(shop.port) for _ in range(160)]  # the kernel's backlog takes what the server does not
    time.sleep(0.3)
    assert shop.running(), shop.log()
    shop.must_hold(sale, "during")  # a connection that stood before is served on
    cpu = cpu_seconds(shop.process.pid)
    time.sleep(1)
    spent = cpu_seconds(shop.process.pid) - cpu
    assert spent < 0.2, f"it spins while it cannot accept: {spent:.2f} s of CPU in 1 s"
    for wire in idle:
        wire.close()
    shop._client.close()

    def served():
        try:
            return shop.buy(sale, "after").status == 201
        except OSError:
            shop._client.close()
            return False
    eventually(served, within_s=4, what="served again")
    shop.balance_books()


@patient
def test_streams_leave_descriptors_to_those_who_buy(t):
    shop = t.shop("--net-threads", "1", descriptors=200)
    sale = shop.open_sale(stock=100)
    streams = [Stream(shop.port, "/api/v1/sales/events") for _ in range(160)]
    assert {stream.reply.status for stream in streams} == {200, 503}
    with shop.wire() as wire:
        body = f'{{"buyerName":"ann","saleId":"{sale}"}}'
        wire.send("POST /buy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n{body}")
        assert wire.read_reply().status == 201
    taken = sum(stream.is_stream for stream in streams)
    assert f" {taken} streams" in shop.log(), f"{taken} of those that fit: {shop.log()}"


@patient
def test_connections_above_the_limit_wait_or_are_turned_away_and_are_served_later(t):
    shop = t.shop("--max-connections", "20")
    sale = shop.open_sale(stock=100)
    wires = [Wire(shop.port) for _ in range(60)]
    time.sleep(0.2)
    shop.must_hold(sale, "ann")
    for wire in wires:
        wire.close()

    def served():
        try:
            with shop.wire(timeout_s=1) as wire:
                return wire.send("GET /sales HTTP/1.1\r\nHost: x\r\n\r\n").read_reply().status == 200
        except OSError:
            return False
    eventually(served, within_s=4, what="a new connection is served again")


@patient
def test_a_client_that_never_reads_its_replies_holds_up_nobody(t):
    shop = t.shop("--net-threads", "1")
    sale = shop.open_sale(stock=100)
    deaf = socket.create_connection(("127.0.0.1", shop.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    request, sent = b"GET /sales HTTP/1.1\r\nHost: x\r\n\r\n" * 200, 0
    try:
        while sent < 64 << 20:
            sent += deaf.send(request)
    except BlockingIOError:
        pass
    assert sent < 64 << 20, "the server reads on although nobody takes its replies"
    for n in range(20):
        before = time.monotonic()
        shop.must_hold(sale, f"buyer {n}")
        assert time.monotonic() - before < 0.5 * slack()
    deaf.close()


@alone
def test_an_idle_server_uses_under_one_percent_of_a_core(t):
    shop = t.server().start()  # every setting at its default
    sale = shop.open_sale(stock=2)
    shop.must_hold(sale, "ann"), shop.must_hold(sale, "bob")
    shop.must_wait(sale, "cid")
    keep = [Wire(shop.port) for _ in range(20)]
    time.sleep(0.5)
    before, begin = cpu_seconds(shop.process.pid), time.monotonic()
    time.sleep(4)
    share = (cpu_seconds(shop.process.pid) - before) / (time.monotonic() - begin)
    assert share < 0.01, f"{share:.2%} of a core"
    for wire in keep:
        wire.close()


def cpu_seconds(pid):
    """All threads' CPU time, from schedstat: in nanoseconds, where /proc/PID/stat counts in hundredths."""
    spent = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            spent += int(stat.read().split()[0])
    return spent / 1e9


def test_the_threads_bear_the_names_that_the_readme_gives_them(t):
    shop = t.shop("--workers", "2", "--net-threads", "2")
    folder, drawn = f"/proc/{shop.process.pid}/task", {"net-0", "net-1", "worker-0", "worker-1", "clock", "writer"}

    def names():
        seen = []
        for thread in os.listdir(folder):
            with open(f"{folder}/{thread}/comm", encoding="utf-8") as comm:
                seen.append(comm.read().strip())
        return seen
    eventually(lambda: drawn <= set(names()), what=f"threads {sorted(drawn)}")
    assert all(names().count(name) == 1 for name in drawn), names()
    with open(f"/proc/{shop.process.pid}/comm", encoding="utf-8") as own:
        assert own.read().strip() == os.path.basename(binary())[:15], "pgrep and pkill look for it"
