#!/usr/bin/env python3
"""What the whole server costs: memory, flatness, recovery, latency. Prints figures, judges nothing.

  server_bench.py memory     bytes of RSS per order, at a million orders bought over HTTP
  server_bench.py recovery   SIGKILL at a million orders, start again: from exec to the ready line
  server_bench.py latency    p99 of a durable purchase at half the saturation rate, beside fdatasync
  server_bench.py flat       CPU time a purchase: 1,000 versus 1,000,000 orders, 1 versus 1,000 sales
  server_bench.py all        the four; several in one command share one fill of a million orders

Options: --orders N (default 1000000), --rounds N (default 5), --dir DIR (default: a new one in /tmp; should be
on a real disk). The server is build/flashd, or $FLASHD. Loopback only; needs wrk; latency also build/bench/openloop
(or $OPENLOOP). CPU time is user + system time of the server from /proc. What is compared runs in turns; a ratio
is the median of its rounds.
"""
import argparse, json, os, pathlib, re, shutil, signal, statistics, subprocess, sys, tempfile, threading, time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLASHD = os.environ.get("FLASHD", str(ROOT / "build/flashd"))
OPENLOOP = os.environ.get("OPENLOOP", str(ROOT / "build/bench/openloop"))
LUA = str(ROOT / "bench/purchases.lua")
SECRET = "bench-secret-bench-secret-bench-secret"
TICK = os.sysconf("SC_CLK_TCK")
READY_S, STEP_S = 120, 60  # bounds of every wait


class Server:
    """A flashd on a free port; .ready_s is the time from exec to its ready line."""

    def __init__(self, folder):
        self.folder = folder
        self.env = dict(os.environ, FLASHD_JWT_SECRET=SECRET)
        started = time.monotonic()
        self.process = subprocess.Popen([FLASHD, "serve", "--listen", "127.0.0.1:0", "--data", folder],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)
        self.lines = []
        reader = threading.Thread(target=self._drain, daemon=True)
        reader.start()
        guard = threading.Timer(READY_S, self.process.kill)
        guard.start()
        ready = self.process.stdout.readline()
        self.ready_s = time.monotonic() - started
        guard.cancel()
        if "listening on" not in ready:
            sys.exit("flashd does not start: " + "".join(self.lines[-3:]))
        self.url = ready.split()[-1]
        self.token = subprocess.run([FLASHD, "token", "--sub", "bench"], env=self.env, text=True,
                                    capture_output=True, check=True, timeout=STEP_S).stdout.strip()

    def _drain(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def line(self, word):
        return next((line.strip() for line in self.lines if word in line), "")

    def http(self, method, path, body=None):
        headers = {"Content-Type": "application/json", "Authorization": "Bearer " + self.token}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, headers,
                                         method=method)
        with urllib.request.urlopen(request, timeout=STEP_S) as reply:
            return json.loads(reply.read())

    def open_sales(self, count):
        """Opens sales that nobody sells out; a file with their ids."""
        now = int(time.time() * 1000)
        ids = [self.http("POST", "/api/v1/sales", {"name": f"bench {n}", "productQty": 900000000, "holdMs": 86400000,
                                                   "startsAt": now - 1000, "endsAt": now + 86400000})["id"]
               for n in range(count)]
        while self.http("GET", f"/sales/{ids[-1]}")["state"] != "ACTIVE":
            time.sleep(0.02)
        path = pathlib.Path(self.folder) / "sales.txt"
        path.write_text("".join(sale + "\n" for sale in ids))
        return path

    def wrk(self, sales, seconds):
        """Buys at full speed; every purchase must be accepted. The figures of this run."""
        Server.runs += 1
        before = self.cpu_s()
        command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "30s", "-s", LUA, self.url, "--",
                   f"r{Server.runs}", str(sales)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + STEP_S)
        used = self.cpu_s() - before
        result = json.loads(done.stdout.split("RESULT ", 1)[1])
        if result["not_2xx"] or result["socket_errors"]:
            sys.exit(f"not every purchase was accepted: {result}")
        result["cpu_us"] = used / result["requests"] * 1e6
        result["rate"] = result["requests"] / result["seconds"]
        return result

    def buy(self, sale, count):
        for n in range(count):
            self.http("POST", "/buy", {"saleId": sale, "buyerName": f"one-{n}"})

    def fill(self, sales, orders):
        """Buys until at least that many orders are there; how many."""
        sale = sales.read_text().split()[0]
        while (held := self.http("GET", f"/sales/{sale}")["held"]) < orders:
            rate = self.wrk(sales, 1)["rate"]
            left = orders - held - rate
            if left > rate:
                self.wrk(sales, min(int(left / rate), 5))
        return held

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STEP_S)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STEP_S)
        except subprocess.TimeoutExpired:
            self.kill()


Server.runs = 0


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder, self.filled = args, folder, None

    def fresh(self, name):
        return Server(os.path.join(self.folder, name))

    def full(self):
        """The server with a million orders; filled once."""
        if self.filled is None:
            self.filled = self.fresh("full")
            self.sales = self.filled.open_sales(1)
            self.empty_rss = self.filled.rss_bytes()
            self.orders = self.filled.fill(self.sales, self.args.orders)
            print(f"filled: {self.orders} orders in one sale, over HTTP", flush=True)
        return self.filled

    def memory(self):
        rss = self.full().rss_bytes()
        print(f"memory: RSS {rss} bytes at {self.orders} orders, {self.empty_rss} with none: "
              f"{(rss - self.empty_rss) / self.orders:.1f} bytes an order on top of the empty server, "
              f"{rss / self.orders:.1f} all in all", flush=True)

    def recovery(self):
        self.full()
        times, logged = [], []
        for n in range(self.args.rounds):
            self.filled.kill()
            self.filled = self.fresh("full")
            line = self.filled.line("recovered")
            times.append(self.filled.ready_s)
            logged.append(int(re.search(r"\bms=(\d+)", line)[1]))
            print(f"recovery {n + 1}: ready {times[-1]:.2f} s after exec; {line}", flush=True)
        print(f"recovery of {self.orders} orders after SIGKILL: median {statistics.median(times):.2f} s from exec to"
              f" ready (min {min(times):.2f}, max {max(times):.2f}); logged {statistics.median(logged):.0f} ms;"
              f" RSS then {self.filled.rss_bytes() / self.orders:.1f} bytes an order", flush=True)

    def latency(self):
        server = self.full()
        rates = [server.wrk(self.sales, 3)["rate"] for _ in range(3)]
        half = int(statistics.median(rates) / 2)
        sale, port = self.sales.read_text().split()[0], server.url.rsplit(":", 1)[1]
        rows = []
        for n in range(self.args.rounds):
            sync = time_syncs(self.folder)
            run = subprocess.run([OPENLOOP, port, sale, f"o{n}", str(half), "4"], capture_output=True, text=True,
                                 check=True, timeout=STEP_S)
            row = json.loads(run.stdout)
            if row["refused"] or row["accepted"] < row["scheduled"]:
                sys.exit(f"not every purchase was accepted: {row}")
            rows.append((row, sync))
            print(f"latency {n + 1}: {half}/s scheduled: p50 {row['p50_us'] / 1e3:.2f} ms,"
                  f" p99 {row['p99_us'] / 1e3:.2f} ms, max {row['max_us'] / 1e3:.2f} ms;"
                  f" fdatasync p50 {sync[0]:.2f} ms, p99 {sync[1]:.2f} ms", flush=True)
        print(f"latency of a durable purchase at half of saturation ({half} of {half * 2}/s), open loop, 64"
              f" connections: median p99 {statistics.median(r['p99_us'] for r, _ in rows) / 1e3:.2f} ms, p50"
              f" {statistics.median(r['p50_us'] for r, _ in rows) / 1e3:.2f} ms; 4 KiB pwrite + fdatasync there: p99"
              f" {statistics.median(s[1] for _, s in rows):.2f} ms,"
              f" p50 {statistics.median(s[0] for _, s in rows):.2f} ms",
              flush=True)

    def flat(self):
        self.compare("orders", "1,000 orders", self.few_orders, f"{self.args.orders:,} orders", self.many_orders)
        if self.filled:
            self.filled.stop()
            self.filled = None
        self.compare("sales", "1 sale", lambda: self.some_sales(1), "1,000 sales", lambda: self.some_sales(1000))

    def compare(self, what, name_a, run_a, name_b, run_b):
        ratios, a_us, b_us = [], [], []
        for n in range(self.args.rounds):
            a_us.append(run_a())
            b_us.append(run_b())
            ratios.append(b_us[-1] / a_us[-1])
            print(f"flat {n + 1}: {name_a} {a_us[-1]:.2f} us, {name_b} {b_us[-1]:.2f} us, ratio {ratios[-1]:.3f}",
                  flush=True)
        print(f"flat, by {what}: CPU time a purchase {statistics.median(a_us):.2f} us with {name_a},"
              f" {statistics.median(b_us):.2f} us with {name_b}: ratio {statistics.median(ratios):.3f}"
              f" (min {min(ratios):.3f}, max {max(ratios):.3f})", flush=True)

    def few_orders(self):
        return self.once("few", 1, 1000)

    def many_orders(self):
        return self.full().wrk(self.sales, 3)["cpu_us"]

    def some_sales(self, count):
        return self.once(f"sales-{count}", count, 0)

    def once(self, name, sales, orders):
        server = self.fresh(name)
        try:
            path = server.open_sales(sales)
            server.buy(path.read_text().split()[0], orders)
            return server.wrk(path, 3)["cpu_us"]
        finally:
            server.stop()
            shutil.rmtree(server.folder)

    def close(self):
        if self.filled:
            self.filled.kill()


def time_syncs(folder, count=300):
    """p50 and p99, in ms, of writing 4 KiB and fdatasync, in turn over a file of 8 MiB in that directory."""
    path = os.path.join(folder, "sync")
    times, block = [], os.urandom(4096)
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(8 << 20))
        os.fsync(file.fileno())
        for n in range(count):
            at = time.perf_counter()
            os.pwrite(file.fileno(), block, n * 4096)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - at) * 1e3)
    os.unlink(path)
    times.sort()
    return times[count // 2], times[count * 99 // 100]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["memory", "recovery", "latency", "flat", "all"])
    parser.add_argument("--orders", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="flashd-bench-", dir=args.dir)
    bench = Bench(args, folder)
    try:
        for what in ["memory", "recovery", "latency", "flat"] if "all" in args.what else args.what:
            getattr(bench, what)()
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
