#!/usr/bin/env python3
"""What the whole server costs: memory, recovery, latency, growth, a long past. Prints figures, judges nothing.

  server_bench.py memory     bytes of RSS per order, at a million orders bought over HTTP
  server_bench.py recovery   SIGKILL at a million orders, start again: the time from exec to the ready line
  server_bench.py latency    p99 of a durable purchase at half the saturation rate, and that of fdatasync
  server_bench.py flat       CPU time a purchase: 1,000 versus 1,000,000 orders, 1 versus 1,000 sales
  server_bench.py retention  CPU time a purchase at 300/s, with and without removing a backlog of a million events
  server_bench.py audit      time and peak memory of flashd audit at a million events
  server_bench.py all        all of these; several in one command share one fill of a million orders

Options: --orders N (default 1000000), --rounds N (default 5), --dir DIR (default: a new one in /tmp; it should be
on a real disk). The server is build/flashd, or $FLASHD. Loopback only; needs wrk; latency also build/bench/openloop
(or $OPENLOOP). CPU time is user + system time of the server from /proc. Things compared run in turns; a ratio
is the median over the rounds.
"""
import argparse, os, re, shutil, signal, sqlite3, statistics, subprocess, tempfile, time

import measure

HISTORY = os.environ.get("HISTORY", str(measure.ROOT / "build/tests/history"))
FIGURES = ("memory", "recovery", "latency", "retention", "audit", "flat")


class Server(measure.Flashd):
    """A flashd whose folder outlives a kill."""

    def __init__(self, folder, *flags):
        self.folder = folder
        super().__init__(folder, flags)

    def buy(self, sale, count):
        for n in range(count):
            measure.http("POST", self.url + "/buy", {"saleId": sale, "buyerName": f"one-{n}"})

    def fill(self, sale, orders):
        """Buys until at least that many orders are there; how many."""
        while (held := self.orders(sale)) < orders:
            rate = self.saturate([sale], 1)["rate"]
            left = orders - held - rate
            if left > rate:
                self.saturate([sale], min(int(left / rate), 5))
        return held

    def kill(self):
        self.processes[0].send_signal(signal.SIGKILL)
        self.processes.pop().wait(measure.STEP_S)


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder, self.filled = args, folder, None

    def fresh(self, name):
        return Server(os.path.join(self.folder, name))

    def full(self):
        """The server with a million orders; filled once."""
        if self.filled is None:
            self.filled = self.fresh("full")
            self.sale = self.filled.sale()
            self.empty_rss = self.filled.memory_bytes("Rss")
            self.orders = self.filled.fill(self.sale, self.args.orders)
            print(f"filled: {self.orders} orders in one sale, over HTTP", flush=True)
        return self.filled

    def memory(self):
        rss = self.full().memory_bytes("Rss")
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
              f" RSS then {self.filled.memory_bytes('Rss') / self.orders:.1f} bytes an order", flush=True)

    def latency(self):
        server = self.full()
        rates = [server.saturate([self.sale], 3)["rate"] for _ in range(3)]
        half, rows = int(statistics.median(rates) / 2), []
        for n in range(self.args.rounds):
            sync = measure.time_syncs(self.folder)
            row = server.at_rate(self.sale, half, 4)
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

    def past(self):
        """A data directory with a million events, all of them a week old and more; made once."""
        folder = os.path.join(self.folder, "past")
        if not os.path.exists(folder):
            subprocess.run([HISTORY, folder, str(self.args.orders), "10", "8"], check=True,
                           timeout=10 * measure.STEP_S, stdout=subprocess.DEVNULL)
        return folder

    def beside_retention(self, days):
        """Latencies of purchases in the first seconds on a copy of the past; how many events were left after."""
        folder = os.path.join(self.folder, "copy")
        shutil.copytree(self.past(), folder)
        server = Server(folder, "--retention-days", days)
        try:
            row = server.at_rate(server.sale(), 300, 8)
            database = sqlite3.connect(f"file:{folder}/flashd.db?mode=ro", uri=True)
            left = database.execute("SELECT max(seq) - (SELECT seq FROM baseline) FROM event_rows").fetchone()[0]
            database.close()
            return row, left
        finally:
            server.stop()
            shutil.rmtree(folder)

    def retention(self):
        for n in range(self.args.rounds):
            for days, name in (("0", "nothing removed"), ("1", "a backlog removed")):
                row, left = self.beside_retention(days)
                print(f"retention {n + 1}: {name}: p50 {row['p50_us'] / 1e3:.2f} ms, p99 {row['p99_us'] / 1e3:.2f} ms,"
                      f" max {row['max_us'] / 1e3:.2f} ms; {left} events left", flush=True)

    def audit(self):
        past = self.past()  # made before the clock starts
        for n in range(self.args.rounds):
            began = time.monotonic()
            process = subprocess.Popen([measure.FLASHD, "audit", past], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            print(f"audit {n + 1}: status {status}, {time.monotonic() - began:.2f} s, CPU"
                  f" {usage.ru_utime + usage.ru_stime:.2f} s, peak {usage.ru_maxrss / 1024:.1f} MiB", flush=True)

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
        return self.full().saturate([self.sale], 3)["cpu_us"]

    def some_sales(self, count):
        return self.once(f"sales-{count}", count, 0)

    def once(self, name, sales, orders):
        server = self.fresh(name)
        try:
            ids = server.sales(sales)
            server.buy(ids[0], orders)
            return server.saturate(ids, 3)["cpu_us"]
        finally:
            server.stop()
            shutil.rmtree(server.folder)

    def close(self):
        if self.filled:
            self.filled.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[*FIGURES, "all"])
    parser.add_argument("--orders", type=measure.positive, default=1000000)
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--dir", default=None)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="flashd-bench-", dir=args.dir)
    bench = Bench(args, folder)
    try:
        for what in FIGURES if "all" in args.what else args.what:
            getattr(bench, what)()
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
