"""Servers of event streams, and audience.c's clients for them: compare.py here and in peers/ measure with both.

A server says how one subscribes (subscribe()), what makes one event (shot()), and how many come at once
(prepare_burst(), burst()). A measurement ends the program if frames are missing.
"""
import json, pathlib, resource, select, socket, subprocess, sys, time, urllib.request

import measure

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
    name = "nginx + nchan"

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


class Floor(measure.Floor):
    """As many bytes a frame as nchan's."""

    def __init__(self, folder):
        frame = f"id: 1234567\nevent: order.reserved\ndata: {'m' * 230}\n\n".encode()
        super().__init__(folder, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", frame)

    def subscribe(self):
        return request("GET", "/stream")

    def shot(self):
        return request("POST", "/frame", body="{}")


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
