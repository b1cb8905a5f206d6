#!/usr/bin/env python3
"""flashd compared with what people use today, in turns, in one run: ./run bench peers

  compare.py [--rounds N] [--seconds S] [--json FILE] [--readme] [--update-readme]
  compare.py --from FILE [--readme] [--update-readme]       shows again what --json wrote; measures nothing

Purchases, every buyer new, every purchase accepted, 64 connections on loopback:
  flashd           POST /buy: the order and its event in SQLite, synced
  Fastify + Redis  the usual flash-sale stack at its best: compiled schemas, automatic pipelining, one Lua
                   script per purchase, Redis's append-only file synced always; with one process and with two
  NestJS + Redis   the same script, on Nest's Fastify adapter
  Redis            by itself: the same script over its own protocol, driven by redis-benchmark
  nginx            `return 201` with as many bytes: what HTTP alone costs here
Streams, 1,000 of them, one event at a time: flashd and nginx with nchan (bench/streams/compare.py).

Each round measures each server at full speed (bench/measure.py: wrk; Redis: redis-benchmark), then with random
arrivals at half of the rate that it just reached (openloop); each round begins with the next server. Before the first,
every shop must show that it does the job: check_job(). The peers do less than flashd: no events, no streams, no
queue of holds that will expire. Redis neither snapshots nor rewrites its file meanwhile.
Needs what ./run bench peers installs. Uses free loopback ports and a folder of its own in $BENCH_DIR or /tmp.
"""
import argparse, contextlib, csv, datetime, json, os, pathlib, platform, re, resource, shutil, signal, subprocess, sys
import tempfile, time, urllib.error

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "streams")]
import audience, measure, report  # noqa: E402

STREAMS, MEMORY_STREAMS = 1000, 4000
ORDERS_TO_TELL = 20000  # below that, the memory of an order is lost in what else moves


# --------------------------------------------------------------------------------------------- peers

class Redis(measure.Server):
    """Debian's redis-server, with the purchase as a script; the package redis-tools is enough, as its redis-check-rdb
    is the server under another name. .socket is its Unix socket."""

    name, durable = "Redis by itself", "order in Redis's file, synced"

    def __init__(self, folder, name):
        super().__init__()
        port, self.socket, data = measure.free_port(), f"{folder}/{name}.sock", pathlib.Path(folder) / name
        self.url, self.rate = f"redis://127.0.0.1:{port}", 0
        data.mkdir()
        self.spawn(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--unixsocket", self.socket, "--dir",
                    str(data), "--save", "", "--appendonly", "yes", "--appendfsync", "always",
                    "--auto-aof-rewrite-percentage", "0", "--loglevel", "warning"],
                   executable=shutil.which("redis-server") or shutil.which("redis-check-rdb"),
                   stdout=subprocess.DEVNULL)
        self.until_it_answers(self.until_pong)
        self.script = self.ask("-x", "SCRIPT", "LOAD", stdin=(HERE / "buy.lua").read_text())

    def ask(self, *words, stdin=None):
        return subprocess.run(["redis-cli", "-e", "-s", self.socket, *words], input=stdin, text=True, check=True,
                              capture_output=True, timeout=measure.STEP_S).stdout.strip()

    def until_pong(self):
        try:
            self.ask("PING")
        except subprocess.CalledProcessError as error:
            raise OSError from error

    def sale(self, units=900000000):
        sale, now = next(measure.tags), int(time.time() * 1000)
        self.ask("HSET", f"sale:{sale}", *map(str, (
            "id", sale, "endsAt", now + measure.DAY_MS, "holdMs", measure.DAY_MS, "maxPerBuyer", 1, "productQty", units,
            "sold", 0, "available", units, "waiting", 0, "seq", 0)))
        return sale

    def orders(self, sale):
        return int(self.ask("HLEN", f"buyers:{sale}"))

    def command(self, sale, buyer):
        return ["EVALSHA", self.script, "3", f"sale:{sale}", f"buyers:{sale}", f"waiting:{sale}", buyer, "1"]

    def buy_request(self, sale):
        words = self.command(sale, next(measure.tags) + "-########")
        return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)

    def saturate(self, sales, seconds, refused=False):
        """redis-benchmark runs a count, not a time: what the run before could do in these seconds. It can only draw its
        buyers at random and ends at a refusal: two draws a name, so that none comes twice."""
        assert len(sales) == 1 and not refused
        count, had, before = int(self.rate * seconds) or 20000, self.orders(sales[0]), self.cpu_s()
        buyer = next(measure.tags) + "-__rand_int__-__rand_int__"
        done = subprocess.run(["redis-benchmark", "-p", str(self.port), "-c", "64", "-n", str(count), "-r",
                               "2000000000", "--csv", *self.command(sales[0], buyer)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds * 10 + measure.STEP_S)
        used, bought = self.cpu_s() - before, self.orders(sales[0]) - had
        if done.returncode != 0 or bought != count:
            sys.exit(f"{self.name}: {bought} of {count} purchases were accepted: {done.stdout.strip()[-300:]}")
        row = list(csv.reader(done.stdout.splitlines()))[-1]
        self.rate = float(row[1])
        return {"requests": count, "rate": self.rate, "cpu_us": used / count * 1e6, "p50_us": float(row[4]) * 1e3,
                "p99_us": float(row[6]) * 1e3}

    def stop(self):
        """Tells if the file was not kept as the table says."""
        if self.processes and self.processes[0].poll() is None:
            with contextlib.suppress(subprocess.CalledProcessError):  # ended just now, by Ctrl-C
                seen = self.ask("INFO", "persistence") + self.ask("CONFIG", "GET", "appendfsync")
                if any(word not in seen for word in ("aof_enabled:1", "aof_last_write_status:ok", "always")):
                    print(f"{self.name}: its file was not kept as it should be:\n{seen}", file=sys.stderr)
        super().stop()


class NodeShop(measure.Server):
    """One of the shops in Node.js, and the Redis behind it."""

    durable = Redis.durable

    def __init__(self, folder, program, processes=1):
        super().__init__()
        self.name = f"{'Fastify' if program == 'fastify' else 'NestJS'}{f' ×{processes}' * (processes > 1)} + Redis"
        self.redis = Redis(folder, f"{program}-{processes}")
        self.spawn_until_ready(["node", str(HERE / f"{program}.js"), self.redis.socket, str(processes)],
                               f"{folder}/{program}-{processes}.log", env=dict(os.environ, NODE_ENV="production"))
        self.sale, self.orders, self.store = self.redis.sale, self.redis.orders, self.redis

    def pids(self):
        return super().pids() + self.redis.pids()

    def stop(self):
        super().stop()
        self.redis.stop()


class Yardstick(measure.Nginx):
    name, durable = "nginx `return`", "nothing is stored"

    def __init__(self, folder):
        super().__init__(folder, measure.returning(201, measure.PURCHASED))

    def sale(self):
        return "0" * 24

    def orders(self, _):
        return None


class Flashd(measure.Flashd):
    durable = "order and event in SQLite, synced"


def shops(folder):
    """What starts each server under measurement, in the order of the table; flashd first."""
    return [lambda: Flashd(f"{folder}/flashd"), lambda: NodeShop(folder, "fastify"),
            lambda: NodeShop(folder, "fastify", 2), lambda: NodeShop(folder, "nest"), lambda: Redis(folder, "alone"),
            lambda: Yardstick(folder)]


# ----------------------------------------------------------------------------------------------- job

def ask(shop, **order):
    """(status, answer) of a purchase."""
    try:
        return 201, measure.http("POST", shop.url + "/buy", order)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def check_job(shop):
    """A list of what a shop does not do as flashd does: one live order a buyer, a stock that ends, a waiting list,
    limits, checks of what comes in, and an answer with the same fields."""
    sale = shop.sale(1)
    for_sale = {"saleId": sale, "buyerName": "ada"}
    wrong = []
    for order, status, expected in [
            (for_sale, 201, {**for_sale, "quantity": 1, "state": "payment"}),
            (for_sale, 400, {"code": "already-joined"}),
            ({**for_sale, "buyerName": "bob"}, 201, {"buyerName": "bob", "state": "waiting", "position": 1}),
            ({**for_sale, "buyerName": "bob"}, 400, {"code": "already-joined"}),
            ({**for_sale, "buyerName": "eve"}, 201, {"state": "waiting", "position": 2}),
            ({**for_sale, "buyerName": "cyd", "quantity": 2}, 400, {"code": "quantity-over-limit"}),
            ({**for_sale, "buyerName": "c\nd"}, 400, {"code": "invalid-request"}),
            ({**for_sale, "buyerName": ""}, 400, {"code": "invalid-request"}),
            ({"buyerName": "ada", "saleId": "f" * 24}, 404, {"code": "not-found"})]:
        got, answer = ask(shop, **order)
        if got != status or any(answer.get(key) != value for key, value in expected.items()):
            wrong.append(f"{order}: {status} {expected} expected, not {got} {answer}")
        elif got == 201:
            fields = {"transactionId", "saleId", "buyerName", "quantity", "state", "seq",
                      "expiresAt" if answer["state"] == "payment" else "position"}
            if set(answer) != fields or not re.fullmatch("[0-9a-f]{24}", answer["transactionId"]):
                wrong.append(f"{order}: {sorted(fields)} expected, not {answer}")
    if shop.orders(sale) != 3:
        wrong.append(f"{shop.orders(sale)} live orders instead of 3")
    return wrong


# ------------------------------------------------------------------------------------------ measuring

def one_turn(shop, sale, seconds):
    full = shop.saturate([sale], seconds)
    half = shop.at_rate(sale, max(int(full["rate"] / 2), 1), seconds)
    return {"cpu_us": full["cpu_us"], "rate": full["rate"], "full_p50_us": full["p50_us"],
            "full_p99_us": full["p99_us"], "half_cpu_us": half["cpu_us"], "p50_us": half["p50_us"],
            "p99_us": half["p99_us"]}


def order_bytes(orders, grown_bytes):
    """Memory of an order, or None where orders are not kept or too few were made."""
    return grown_bytes / orders if orders is not None and orders >= ORDERS_TO_TELL else None


def rotated(things, n):
    return things[n % len(things):] + things[:n % len(things)]


def purchases(args, folder):
    """Rows of the first table."""
    with contextlib.ExitStack() as stack:
        turns = []
        for start in shops(folder):
            shop = start()
            stack.callback(shop.stop)
            row = {"name": shop.name, "durable": shop.durable, "rounds": [], "empty_bytes": shop.memory_bytes(),
                   "order_bytes": shop.store.memory_bytes()}  # of none, so far
            if not isinstance(shop, (Redis, Yardstick)):
                wrong = check_job(shop)
                if wrong:
                    sys.exit(f"{shop.name} does another job:\n  " + "\n  ".join(wrong))
            turns.append((shop, shop.sale(), row))
        for shop, sale, _ in turns:  # warm-up
            one_turn(shop, sale, args.seconds)
        for n in range(args.rounds):
            for shop, sale, row in rotated(turns, n):
                row["rounds"].append(one_turn(shop, sale, args.seconds))
                print(f"round {n + 1}: {report.one_line(row)}", flush=True)
        for shop, sale, row in turns:
            row["order_bytes"] = order_bytes(shop.orders(sale), shop.store.memory_bytes() - row["order_bytes"])
    return [row for _, _, row in turns]


def streams(args, folder):
    """Rows of the second table."""
    with contextlib.ExitStack() as stack:
        turns = []
        for kind, durable in ((audience.Flashd, "event in SQLite, synced"), (audience.Nchan, "nothing: memory")):
            server = kind(folder)
            stack.callback(server.stop)
            turns.append((server, {"name": server.name, "durable": durable, "rounds": [],
                                   "stream_bytes": audience.memory_of(server, MEMORY_STREAMS, folder)[1]}))
        for n in range(args.rounds + 1):
            for server, row in rotated(turns, n):
                got = audience.one_by_one(server, STREAMS, 100, folder)
                if n == 0:
                    continue  # warm-up
                row["rounds"].append({"cpu_us": got["us"], "rate": got["frames"] / got["seconds"],
                                      "p50_us": got["sent_p50_us"], "p99_us": got["sent_p99_us"]})
                print(f"round {n}: {report.one_line(row)}", flush=True)
    return [row for _, row in turns]


def said(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=measure.STEP_S)
    return done.stdout.strip()


def package(name):
    return json.loads((HERE / "node_modules" / name / "package.json").read_text())["version"]


def file_system(folder):
    """By its mount, or, where that cannot be seen (in a chroot), by its magic number."""
    mounted = said("df", "--output=fstype", folder).split()[-1]
    return mounted if mounted != "-" else said("stat", "-f", "-c", "%T", folder)


def machine(folder):
    def field(path, name):
        return re.search(rf"^{name}\s*:\s*(.+)$", pathlib.Path(path).read_text(), re.M)[1]
    p50, p99 = measure.time_syncs(folder)
    return {
        "at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": field("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
        "memory_gib": round(int(field("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"], "kernel": platform.release(),
        "file_system": file_system(folder),
        "sync_p50_ms": p50, "sync_p99_ms": p99,
        "versions": {"flashd": said(measure.FLASHD, "--version").split()[-1],
                     "Redis": re.search(r"[\d.]+", said("redis-cli", "--version"))[0],
                     "Node.js": said("node", "--version").lstrip("v"), "Fastify": package("fastify"),
                     "NestJS": package("@nestjs/core"), "ioredis": package("ioredis"),
                     "nginx": said("nginx", "-v").rsplit("/")[-1],
                     "nchan": said("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")}}


def cpu_times():
    """Seconds of CPU time since the start: the machine's in all, what of it was not idle, and what this program and
    all that it has waited for used."""
    first = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in first.split()[1:9]]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4], sum(one.ru_utime + one.ru_stime for one in used)


def run_all(args):
    folder = tempfile.mkdtemp(prefix="flashd-peers-", dir=os.environ.get("BENCH_DIR"))
    try:
        result = {"rounds": args.rounds, "seconds": args.seconds, "machine": machine(folder)}
        before = cpu_times()
        result["purchases"] = purchases(args, folder)
        result["streams"] = streams(args, folder)
        total, busy, ours = (now - then for now, then in zip(cpu_times(), before))
        result["others_share"] = max(0, busy - ours) / total
        return result
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--seconds", type=measure.positive, default=3, help="of each load, two a server and round")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--from", metavar="FILE", dest="source", help="measure nothing, take these")
    parser.add_argument("--readme", action="store_true", help="print the README's section")
    parser.add_argument("--update-readme", action="store_true", help="put it there")
    args = parser.parse_args()
    if not (1 <= args.rounds <= 100 and 1 <= args.seconds <= 60):
        parser.error("--rounds is 1 to 100, --seconds 1 to 60")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that the servers are stopped
    result = json.loads(pathlib.Path(args.source).read_text()) if args.source else run_all(args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    print(report.terminal(result))
    if args.readme:
        print(report.section(result))
    if args.update_readme:
        readme = measure.ROOT / "README.md"
        readme.write_text(report.with_section(readme.read_text(), report.section(result)))


if __name__ == "__main__":
    main()
