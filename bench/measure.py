"""Servers under measurement: start one, drive it, read what it cost. Shared by every comparison in bench/.

A Server is the processes that this program started, and the URL they serve. The kernel says what it costs: CPU
time (user + system, to the nanosecond) and memory of all its processes together. There are two loads; both are
purchases over HTTP by new buyers, 64 connections, keep-alive, no pipelining, on loopback:

  saturate()   wrk, closed loop: as fast as the server answers
  at_rate()    bench/openloop, open loop: at times set beforehand, from which latency counts

Both end the program when an answer is not the expected one. Every wait is bounded, and all that was started is
stopped when the program ends.
"""
import atexit, itertools, json, os, pathlib, re, socket, statistics, subprocess, sys, tempfile
import threading, time, urllib.error, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLASHD = os.environ.get("FLASHD", str(ROOT / "build/flashd"))
FLOOR = str(ROOT / "build/bench/floor")
OPENLOOP = os.environ.get("OPENLOOP", str(ROOT / "build/bench/openloop"))
LUA = str(ROOT / "bench/purchases.lua")
SECRET = "bench-secret-bench-secret-bench-secret"
READY_S, STEP_S = 120, 60  # bounds of every wait
DAY_MS = 86400000
tags = map("t{}".format, itertools.count())  # what tells one run's buyers from another's


def positive(text):
    """For argparse: a whole number above 0."""
    if not (number := int(text)) > 0:
        raise ValueError
    return number


def http(method, url, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=STEP_S) as reply:
        return json.loads(reply.read())


def answer_to(url, request):
    """The bytes that a server answers this request with."""
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), STEP_S) as asked:
        asked.sendall(request.encode())
        answer = b""
        while not (whole := re.match(rb".*?Content-Length: (\d+).*?\r\n\r\n", answer, re.S | re.I)) \
                or len(answer) < whole.end() + int(whole[1]):
            if not (more := asked.recv(1 << 16)):
                sys.exit(f"{url} answers {answer!r}")
            answer += more
        return answer


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def family(pid):
    """A process and its descendants."""
    yield pid
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


class Server:
    """Processes and what they cost. A subclass starts them with spawn() and sets .url."""

    name, url, accepted = "", "", "201"

    def __init__(self):
        self.processes = []
        self.store = self  # whose memory the orders are in
        atexit.register(self.stop)

    def spawn(self, command, **options):
        process = subprocess.Popen(command, text=True, **options)
        self.processes.append(process)
        return process

    def spawn_until_ready(self, command, log, **options):
        """Spawns what prints a line ending in its URL once it serves; its stderr goes to a file."""
        began = time.monotonic()
        with open(log, "a") as stderr:
            process = self.spawn(command, stdout=subprocess.PIPE, stderr=stderr, **options)
        ready = first_line(process)
        self.ready_s = time.monotonic() - began
        if "listening on" not in ready:
            sys.exit(f"{self.name} does not start: {pathlib.Path(log).read_text()[-600:]}")
        self.url = ready.split()[-1]

    def until_it_answers(self, asked):
        """asked() raises OSError until the server is there."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end and self.processes[-1].poll() is None:
            try:
                return asked()
            except urllib.error.HTTPError as answer:
                return answer.close()
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not start")

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def pids(self):
        return [pid for process in self.processes for pid in family(process.pid)]

    def cpu_s(self):
        """User and system time of all processes that live; the clocks of clock_getcpuclockid(3)."""
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids())

    def memory_bytes(self, kind="Pss"):
        """Resident memory of all processes; Pss counts a page that several share once, Rss in each."""
        rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids())
        return sum(int(re.search(rf"^{kind}:\s+(\d+) kB", rollup, re.M)[1]) for rollup in rollups) * 1024

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(STEP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self.processes = []

    # --- load

    def saturate(self, sales, seconds, refused=False):
        """Purchases in these sales in turn, as fast as they are answered; all accepted, or all refused."""
        before = self.cpu_s()
        done = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "30s", "-s", LUA, self.url, "--",
                               next(tags), *sales], capture_output=True, text=True, check=True,
                              timeout=seconds + STEP_S)
        used = self.cpu_s() - before
        result = json.loads(done.stdout.split("RESULT ", 1)[1])
        if result["not_2xx"] != (result["requests"] if refused else 0) or result["socket_errors"]:
            sys.exit(f"{self.name}: not every answer was as expected: {result}")
        return dict(result, cpu_us=used / result["requests"] * 1e6, rate=result["requests"] / result["seconds"])

    def buy_request(self, sale):
        """What at_rate() sends: the text of a purchase, with ######## where the buyer's number goes."""
        body = json.dumps({"saleId": sale, "buyerName": next(tags) + "-########"}, separators=(",", ":"))
        return (f"POST /buy HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}")

    def at_rate(self, sale, rate, seconds):
        """Purchases at so many a second; all accepted. Latencies, and what a purchase cost."""
        with tempfile.NamedTemporaryFile("w", newline="") as request:
            request.write(self.buy_request(sale))
            request.flush()
            before = self.cpu_s()
            done = subprocess.run([OPENLOOP, str(self.port), request.name, str(rate), str(seconds)],
                                  capture_output=True, text=True, timeout=seconds + STEP_S)
        used = self.cpu_s() - before
        if done.returncode != 0:
            sys.exit(f"{self.name} at {rate}/s: {done.stderr.strip()}")
        row = json.loads(done.stdout)
        if row["refused"] or row["accepted"] != row["scheduled"]:
            sys.exit(f"{self.name}: not every purchase was accepted: {row}")
        return dict(row, cpu_us=used / row["accepted"] * 1e6, rate=rate)


def first_line(process):
    guard = threading.Timer(READY_S, process.kill)
    guard.start()
    try:
        return process.stdout.readline()
    finally:
        guard.cancel()


class Flashd(Server):
    """build/flashd, or $FLASHD, on a free port; what it logs goes to the file DATA.log."""

    name = "flashd"

    def __init__(self, data, args=()):
        super().__init__()
        self.env, self.log = dict(os.environ, FLASHD_JWT_SECRET=SECRET), f"{data}.log"
        self.spawn_until_ready([FLASHD, "serve", "--listen", "127.0.0.1:0", "--data", str(data), *args], self.log,
                               env=self.env)
        self.pid = self.processes[0].pid
        self.token = subprocess.run([FLASHD, "token", "--role", "admin", "--sub", "bench"], env=self.env, text=True,
                                    capture_output=True, check=True, timeout=STEP_S).stdout.strip()

    def line(self, word):
        """The latest line of the log with that word."""
        lines = pathlib.Path(self.log).read_text().splitlines()
        return next((line for line in reversed(lines) if word in line), "")

    def sales(self, count, units=900000000):
        """So many open sales; their ids."""
        now = int(time.time() * 1000)
        ids = [http("POST", self.url + "/api/v1/sales", token=self.token, body={
            "name": f"bench {n}", "productQty": units, "startsAt": now - 1000, "endsAt": now + DAY_MS,
            "holdMs": DAY_MS})["id"] for n in range(count)]
        while http("GET", f"{self.url}/sales/{ids[-1]}")["state"] != "ACTIVE":
            time.sleep(0.01)
        return ids

    def sale(self, units=900000000):
        return self.sales(1, units)[0]

    def orders(self, sale):
        """How many live orders the sale has."""
        seen = http("GET", f"{self.url}/sales/{sale}")
        return seen["held"] + seen["sold"] + seen["waiting"]


class Floor(Server):
    """bench/floor.c: the bytes of an answer, and of a frame to every stream, and nothing else."""

    name = "floor"

    def __init__(self, folder, answer, frame=b""):
        super().__init__()
        paths = [pathlib.Path(folder) / name for name in ("floor-answer", "floor-frame")]
        for path, content in zip(paths, (answer, frame)):
            path.write_bytes(content)
        self.spawn_until_ready([FLOOR, *map(str, paths)], f"{folder}/floor.log")


class Nginx(Server):
    """Debian's nginx with one worker process and these locations; nothing of the system's own nginx is touched."""

    name = "nginx"

    def __init__(self, folder, locations, modules="", files=1024):
        super().__init__()
        self.url = f"http://127.0.0.1:{free_port()}"
        conf = pathlib.Path(folder) / f"nginx-{self.port}.conf"
        temporary = "".join(f"{kind}_temp_path {folder};"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        conf.write_text(f"""
{modules} daemon off; pid {conf}.pid; error_log {conf}.log; worker_processes 1; worker_rlimit_nofile {files};
events {{ worker_connections {files - 100}; }}
http {{ access_log off; keepalive_requests 1000000000; {temporary}
  server {{ listen 127.0.0.1:{self.port}; default_type application/json; {locations} }} }}
""")
        self.spawn(["nginx", "-c", str(conf), "-p", str(folder)], stderr=subprocess.DEVNULL)
        self.until_it_answers(lambda: urllib.request.urlopen(self.url, timeout=1).close())


def returning(status, body):
    """The location of an nginx that answers everything so."""
    return f"location / {{ return {status} '{body}'; }}"


# As long as flashd's own.
PURCHASED = ('{"transactionId":"0000000000035458939cdac9","saleId":"000000000001f36c2f764590","buyerName":"r0-0-12345",'
             '"quantity":1,"state":"payment","expiresAt":"2026-11-21T03:41:57.492Z","seq":123456}')


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


def spread(values, digits=2):
    """The median, and the least and the most of them."""
    return (f"median {statistics.median(values):.{digits}f} (min {min(values):.{digits}f},"
            f" max {max(values):.{digits}f})")
