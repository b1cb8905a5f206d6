#!/usr/bin/env python3
"""The event streams: what they cost the server, beside nginx with nchan, in turns, in one run.

  compare.py fanout   1,000 streams, one event at a time: CPU time per delivered frame, and the delay to each client
  compare.py burst    10,000 events at once to 100 streams: CPU time per event and stream
  compare.py memory   RSS per idle stream at 8,000 streams
  compare.py mute     purchases at full rate without and with 1,000 streams that never read
  compare.py all      the four, one after another

The streams are build/bench/audience's, everything is on loopback. flashd's are /api/v1/events/stream with a
consumer's token; nchan's are EventSource subscribers of one channel, whose publisher posts as many bytes as an
event of flashd has. CPU time is user + system of the whole server, whatever it is that it spent it on: flashd's
purchases and commits are in it. A delay begins when the purchase's answer arrives at the client (the event's commit
is just before it), and may be negative: the frame can overtake the answer.
Needs: build/flashd, build/bench/, wrk, nginx-light, libnginx-mod-nchan (Debian's packages).
"""
import argparse, contextlib, json, os, pathlib, resource, select, shutil, socket, statistics, subprocess, sys, tempfile
import time, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import measure  # noqa: E402

AUDIENCE = measure.ROOT / "build/bench/audience"
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
DEADLINE_S = 120


def request(method, target, headers=(), body=""):
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines) + "\r\n\r\n" + body


class Flashd(measure.Flashd):
    def __init__(self, folder):
        super().__init__(f"{folder}/data", ["--max-streams", "20000", "--max-streams-per-address", "20000"])
        self.selling = self.sale()

    def subscribe(self):
        return request("GET", "/api/v1/events/stream", ["Accept: text/event-stream",
                                                        "Authorization: Bearer " + self.token])

    def shot(self):
        return self.buy_request(self.selling)

    def prepare_burst(self, events):
        """A sale whose only unit is held, and about so many orders that wait for it. Its end is the burst."""
        self.ending, per_s = self.sale(1), 4000
        return self.at_rate(self.ending, per_s, events / per_s)["scheduled"] - 1

    def burst(self, _):
        measure.http("POST", f"{self.url}/api/v1/sales/{self.ending}/end", {}, self.token)


class Nchan(measure.Nginx):
    name = "nchan"

    def __init__(self, folder):
        self.message = "m" * 230
        super().__init__(folder, """
    location = /sub { nchan_subscriber eventsource; nchan_channel_id x; nchan_subscriber_first_message newest; }
    location = /pub { nchan_publisher; nchan_channel_id x; }
""", f"load_module {NCHAN_MODULE};", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        urllib.request.urlopen(urllib.request.Request(self.url + "/pub", b"first"), timeout=10).close()

    def subscribe(self):
        return request("GET", "/sub", ["Accept: text/event-stream"])

    def shot(self):
        return request("POST", "/pub", ["X-EventSource-Event: order.reserved"], self.message)

    def prepare_burst(self, events):
        return events

    def burst(self, events):
        """One publisher, as fast as it is answered, 20 requests at a time on one connection."""
        one = self.shot().encode()
        with socket.create_connection(("127.0.0.1", self.port), 10) as publisher:
            for _ in range(events // 20):
                publisher.sendall(one * 20)
                answered = b""
                while answered.count(b"HTTP/1.1 20") < 20:
                    answered += publisher.recv(1 << 16)


class Audience:
    """Streams of one server, held by the C client; ends with the block."""

    def __init__(self, server, streams, folder, mute=False):
        paths = [pathlib.Path(folder) / name for name in ("subscribe", "shot")]
        for path, text in zip(paths, (server.subscribe(), server.shot())):
            path.write_text(text, newline="")
        self.process = subprocess.Popen(
            [AUDIENCE, str(server.port), str(streams), *map(str, paths), *["--mute"] * mute],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)

    def order(self, what, count):
        self.process.stdin.write(f"{what} {count} {DEADLINE_S // 2}\n")
        self.process.stdin.flush()

    def answer(self):
        if not select.select([self.process.stdout], [], [], DEADLINE_S)[0]:
            self.process.kill()
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the audience has ended")
        return json.loads(line)


def one_by_one(server, streams, events, folder):
    with Audience(server, streams, folder) as audience:
        audience.order("shots", 20)  # warm-up
        audience.answer()
        before = server.cpu_s()
        audience.order("shots", events)
        got = audience.answer()
        used = server.cpu_s() - before
    if got["frames"] != streams * events:
        sys.exit(f"{server.name}: {got['frames']} frames instead of {streams * events}")
    return dict(got, us=used / got["frames"] * 1e6)


def at_once(server, streams, events, folder):
    events = server.prepare_burst(events)
    with Audience(server, streams, folder) as audience:
        before = server.cpu_s()
        audience.order("wait", streams * events)
        server.burst(events)
        got = audience.answer()
        used = server.cpu_s() - before
    if got["frames"] < streams * events:
        sys.exit(f"{server.name}: {got['frames']} frames instead of {streams * events}")
    return dict(got, us=used / got["frames"] * 1e6)


def in_turns(part, servers, rounds, *args):
    """Rounds of (flashd, nchan), after one to warm up."""
    rows = []
    for n in range(rounds + 1):
        row = [part(server, *args) for server in servers]
        if n > 0:
            rows.append(row)
            print(f"  round {n}: flashd {row[0]['us']:.3f} us, nchan {row[1]['us']:.3f} us, ratio"
                  f" {row[0]['us'] / row[1]['us']:.3f}; {row[0]['seconds']:.2f} s, {row[1]['seconds']:.2f} s", flush=True)
    return rows


def median(rows, server, key):
    return statistics.median(row[server][key] for row in rows)


def tell_ratio(what, rows, target):
    ratios = [row[0]["us"] / row[1]["us"] for row in rows]
    print(f"{what}: flashd {median(rows, 0, 'us'):.3f} us, nchan {median(rows, 1, 'us'):.3f} us; flashd / nchan median"
          f" {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}); target {target}")


def fanout(args, folder):
    with both(folder) as servers:
        rows = in_turns(one_by_one, servers, args.rounds, 1000, args.events, folder)
    tell_ratio("fanout, CPU per delivered frame", rows, 0.45)
    for i, name in enumerate(("flashd", "nchan")):
        print(f"delay to a client at 1,000 streams, {name}: " + ", ".join(
            f"{since} p50 {median(rows, i, key + '_p50_us'):.0f} us p99 {median(rows, i, key + '_p99_us'):.0f} us"
            for since, key in (("since the answer arrived", "answered"), ("since the request left", "sent"))))
    return median(rows, 1, "us")


def burst(args, folder, one=None):
    with both(folder) as servers:
        if one is None:
            one = statistics.median(one_by_one(servers[1], 1000, args.events, folder)["us"] for _ in range(3))
        rows = in_turns(at_once, servers, args.rounds, 100, 10000, folder)
    tell_ratio("burst, CPU per event and stream", rows, "0.1 of the next line's")
    print(f"nchan's frame one at a time: {one:.3f} us; flashd's in a burst / that:"
          f" {median(rows, 0, 'us') / one:.3f}; target 0.1")


def memory_of(server, streams, folder):
    """Bytes of RSS for each of so many streams: idle, and after 20 events to all; and the RSS of the three moments."""
    with Audience(server, 1, folder) as audience:  # whatever comes with the first stream
        audience.order("shots", 20)
        audience.answer()
    rss = [server.memory_bytes("Rss")]
    with Audience(server, streams, folder) as audience:
        time.sleep(1)
        rss.append(server.memory_bytes("Rss"))
        audience.order("shots", 20)
        audience.answer()
        time.sleep(1)
        rss.append(server.memory_bytes("Rss"))
    return (rss[1] - rss[0]) / streams, (rss[2] - rss[0]) / streams, rss


def memory(args, folder, streams=8000):
    flashd = Flashd(folder)
    try:
        idle, used, rss = memory_of(flashd, streams, folder)
        print(f"memory: {streams} idle streams: {idle:.0f} bytes of RSS each, {used:.0f} after 20 events to all;"
              f" target 1024 (RSS {' -> '.join(str(at // 1024) for at in rss)} KiB)")
    finally:
        flashd.stop()


def mute(args, folder):
    flashd, ratios = Flashd(folder), []
    try:
        for n in range(args.rounds + 1):
            plain = flashd.saturate([flashd.selling], args.seconds)
            with Audience(flashd, 1000, folder, mute=True):
                heard = flashd.saturate([flashd.selling], args.seconds)
            rates = [row["rate"] for row in (plain, heard)]
            if n > 0:
                ratios.append(rates[1] / rates[0])
                print(f"  round {n}: {rates[0]:.0f}/s without, {rates[1]:.0f}/s with, ratio {ratios[-1]:.3f};"
                      f" p99 {plain['p99_us']} us, {heard['p99_us']} us;"
                      f" CPU {plain['cpu_us']:.1f} us, {heard['cpu_us']:.1f} us a purchase", flush=True)
            time.sleep(1)  # the audience's slots are freed
    finally:
        flashd.stop()
    print(f"mute: purchases with 1,000 streams that never read / without: median {statistics.median(ratios):.3f}"
          f" (min {min(ratios):.3f}, max {max(ratios):.3f}); target 0.8")


@contextlib.contextmanager
def both(folder):
    with contextlib.ExitStack() as stack:
        servers = []
        for kind in (Flashd, Nchan):
            servers.append(kind(folder))
            stack.callback(servers[-1].stop)
        yield servers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fanout", "burst", "memory", "mute", "all"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=200, help="fanout: events a round")
    parser.add_argument("--seconds", type=int, default=4, help="mute: of purchases a turn; below the 10 s of a cut")
    args = parser.parse_args()
    parts, one = {"fanout": fanout, "burst": burst, "memory": memory, "mute": mute}, None
    for what, part in parts.items():
        if args.what not in (what, "all"):
            continue
        folder = tempfile.mkdtemp(prefix="flashd-streams-", dir=os.environ.get("BENCH_DIR"))
        try:
            one = part(args, folder, one) if what == "burst" and one is not None else part(args, folder)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
