"""
harness.py: starts the real flashd and talks to it as a client would, so that tests read as sentences.

    def test_a_bought_unit_is_held(t):
        shop = t.shop()                       # a server of its own: free port, temporary data directory
        sale = shop.open_sale(stock=5)
        order = shop.must_buy(sale, "ann")
        assert shop.sale(sale)["held"] == 1

Everything a test starts is stopped and removed after it. A server that did not end as the test asked
(an exit status other than 0, a sanitiser's report on stderr) fails the test, whatever the test found.

The binary: FLASHD_BINARY, else build/flashd. FLASHD_TEST_SLACK multiplies every time limit (sanitisers).
Python's standard library only.
"""
import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECRET = "an-e2e-secret-of-at-least-32-bytes!!"
ID = re.compile(r"^[0-9a-f]{24}$")
ISO_MS = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
SANITISER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|FATAL: ThreadSanitizer|runtime error:")
UNKNOWN_ID = "0123456789abcdef01234567"


def binary():
    return os.path.abspath(os.environ.get("FLASHD_BINARY") or os.path.join(ROOT, "build", "flashd"))


def slack():
    return float(os.environ.get("FLASHD_TEST_SLACK", "1"))


def command_prefix():
    """What stands before the binary: `setarch -R` for a TSan build on a kernel that scatters memory."""
    return os.environ.get("FLASHD_TEST_PREFIX", "").split()


def positive(text):
    """For argparse: a whole number above 0, so that nothing passes by testing nothing."""
    if not (number := int(text)) > 0:
        raise ValueError
    return number


# ---------------------------------------------------------------------------------------------- time

def now_ms():
    return int(time.time() * 1000)


def iso(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + ".%03dZ" % (ms % 1000)


def ms_of(text):
    """Epoch milliseconds of a reply's time; refuses any other format than the contract's."""
    assert isinstance(text, str) and ISO_MS.match(text), f"not ISO 8601 UTC with milliseconds: {text!r}"
    import calendar
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) * 1000 + int(text[20:23])


def eventually(look, within_s=3.0, every_s=0.01, what=None):
    """Looks until it is true; returns what it saw. within_s is patience, not a measurement."""
    end = time.monotonic() + within_s * slack()
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s * slack():g} s: {what or look}")
        time.sleep(every_s)


def raises(errors, action, *args):
    try:
        action(*args)
    except errors as error:
        return error
    raise AssertionError(f"{action} was expected to fail with {errors}")


# ------------------------------------------------------------------------------------------- replies

class Reply:
    def __init__(self, status, reason, fields, body, version):
        self.status, self.reason, self.fields, self.body, self.version = (
            status, reason, fields, body, version)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"

    def header(self, name):
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) <= 1, f"{name} appears {len(values)} times in {self.fields}"
        return values[0] if values else None

    @property
    def json(self):
        kind = (self.header("content-type") or "").split(";")[0].strip()
        assert kind in ("application/json", "application/problem+json"), f"{kind!r} in {self!r}"
        return json.loads(self.body.decode("utf-8"))

    @property
    def code(self):
        return self.json.get("code") if self.status >= 400 else None


def expect(reply, status):
    assert reply.status == status, f"expected {status}, got {reply!r}"
    return reply.json


def expect_problem(reply, status, code, naming=None):
    """An RFC 9457 problem with all the contract's members; naming: words that the detail must hold."""
    assert reply.status == status, f"expected {status} {code}, got {reply!r}"
    kind = reply.header("content-type").split(";")[0].strip()
    assert kind == "application/problem+json", f"{kind!r} in {reply!r}"
    problem = reply.json
    for member in ("type", "title", "detail", "code"):
        assert isinstance(problem.get(member), str) and problem[member], f"{member} in {problem}"
    assert problem["status"] == status, problem
    assert problem["code"] == code, f"expected {code}: {problem}"
    if naming:
        assert naming.lower() in problem["detail"].lower(), f"{naming!r} not in {problem['detail']!r}"
    return problem


class Wire:
    """One TCP connection, with every byte in the test's hands."""

    def __init__(self, port, timeout_s=10.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s * slack())
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed before a whole reply; had " + repr(self.pending[:200]))
        self.pending += data

    def read_reply(self, head_only=False):
        """One reply, read strictly: the framing has to be right for the next one to be readable."""
        while b"\r\n\r\n" not in self.pending:
            self._more()
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"^(HTTP/1\.[01]) (\d{3}) (.*)$", lines[0])
        assert match, f"no status line: {lines[0]!r}"
        fields = []
        for line in lines[1:]:
            assert re.match(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+:", line), f"no header field: {line!r}"
            key, value = line.split(":", 1)
            fields.append((key.lower(), value.strip()))
        reply = Reply(int(match[2]), match[3], fields, b"", match[1])
        length = reply.header("content-length")
        if 100 <= reply.status < 200 or reply.status == 204:
            return reply
        assert length is not None and length.isdigit(), f"no Content-Length: {lines}"
        if not head_only:
            while len(self.pending) < int(length):
                self._more()
            reply.body, self.pending = self.pending[:int(length)], self.pending[int(length):]
        return reply

    def closed(self, within_s=2.0):
        """Whether the server ends the connection, sending nothing more."""
        if self.pending:
            return False
        self.socket.settimeout(within_s * slack())
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False


class Client:
    """A keep-alive client of one server, for one thread."""

    def __init__(self, port, timeout_s=10.0):
        self.port, self.timeout_s, self.wire = port, timeout_s, None

    def close(self):
        if self.wire:
            self.wire.close()
        self.wire = None

    def request(self, method, path, body=None, token=None, headers=None, content_type="application/json"):
        fields = {"Host": f"127.0.0.1:{self.port}"}
        data = b""
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            if content_type:
                fields["Content-Type"] = content_type
        if data or method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(data))
        if token:
            fields["Authorization"] = "Bearer " + token
        fields.update(headers or {})
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
        message = head.encode("utf-8") + b"\r\n" + data
        fresh = self.wire is None
        if fresh:
            self.wire = Wire(self.port, self.timeout_s)
        try:
            self.wire.send(message)
            reply = self.wire.read_reply(head_only=method == "HEAD")
        except (ConnectionError, OSError):
            self.close()
            raise
        if (reply.header("connection") or "").lower() == "close":
            self.close()
        return reply

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body, **options)


# -------------------------------------------------------------------------------------------- tokens

def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint(secret=SECRET, header=None, **claims):
    """A JWT as a third party would make it, to be checked against flashd's own idea of one."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = _b64(json.dumps(head).encode()) + "." + _b64(json.dumps(claims).encode())
    if head.get("alg") == "none":
        return signed + "."
    digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(head.get("alg"), hashlib.sha256)
    return signed + "." + _b64(hmac.new(secret.encode(), signed.encode(), digest).digest())


def sign(secret, body):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


# -------------------------------------------------------------------------------------------- server

def lasting_port():
    """A free port that stays a server's own while it is down: none that the kernel gives to others."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as limits:
        lowest = int(limits.read().split()[0])
    while True:
        port = random.randrange(1024, lowest)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Ended(Exception):
    """The server ended before it was ready; .status and .stderr say how."""

    def __init__(self, status, stdout, stderr):
        super().__init__(f"flashd ended with {status}: {stderr.strip()[-600:]}")
        self.status, self.stdout, self.stderr = status, stdout, stderr


def clean_environment(extra=None):
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("FLASHD_", "CRON_", "LOG_LEVEL")) or key == "FLASHD_FAULT"}
    kept.update(extra or {})
    return kept


def run_flashd(args, env=None, timeout_s=20.0, cwd=None):
    """A command of the binary that ends by itself."""
    return subprocess.run(command_prefix() + [binary()] + args, env=clean_environment(env), cwd=cwd,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout_s * slack())


class Server:
    """One flashd process and, over restarts, its data directory."""

    def __init__(self, data, flags=(), env=None, secret=SECRET, descriptors=None, executable=None,
                 ignored=(), port=0):
        self.data, self.flags, self.secret, self.asked_port = data, list(flags), secret, port
        self.env = {} if secret is None else {"FLASHD_JWT_SECRET": secret}
        self.env.update(env or {})
        self.descriptors, self.executable, self.ignored = descriptors, executable, ignored
        self.process, self.port, self.log_path = None, None, data + ".log"
        self._client, self._admin = None, None
        self.expected_status = 0

    # --- process

    def command(self):
        return command_prefix() + [self.executable or binary(), "serve", "--listen",
                                   f"127.0.0.1:{self.asked_port}", "--data", self.data] + self.flags

    def start(self, within_s=15.0):
        limit = self.descriptors

        def before():
            if limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            for number in self.ignored:
                signal.signal(number, signal.SIG_IGN)

        log = open(self.log_path, "ab")
        self.log_start = log.tell()
        self.process = subprocess.Popen(self.command(), env=clean_environment(self.env),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                        preexec_fn=before)
        log.close()
        self.ready_line = self._ready_line(within_s * slack())
        match = re.match(r"^flashd listening on http://127\.0\.0\.1:(\d+)\n$", self.ready_line)
        if not match:
            status = self.process.wait(10)
            self.process.stdout.close()
            self.process = None
            raise Ended(status, self.ready_line, self.log())
        self.port = int(match[1])
        self._client = Client(self.port)
        return self

    def _ready_line(self, within_s):
        import select
        end, line = time.monotonic() + within_s, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            if not ready:
                self.process.kill()
                raise AssertionError(f"no ready line within {within_s} s; stderr: {self.log()[-800:]}")
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                break
            line += byte
        return line.decode()

    def log(self):
        """What this run of the process wrote on stderr."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode("utf-8", "replace")

    def whole_log(self):
        with open(self.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def _gone(self):
        self.rest_of_stdout = self.process.stdout.read().decode()
        self.process.stdout.close()
        for name in ("faketime_shm_", "sem.faketime_sem_"):  # libfaketime's, which a killed process leaves
            pathlib.Path(f"/dev/shm/{name}{self.process.pid}").unlink(missing_ok=True)
        self.process = None
        if self._client:
            self._client.close()

    def kill(self):
        """Power off, as far as a process can feel it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._gone()

    def stop(self, how=signal.SIGTERM, within_s=5.0):
        """Asks it to end; returns its exit status and leaves the seconds it took in .stop_s."""
        begin = time.monotonic()
        self.process.send_signal(how)
        try:
            status = self.process.wait(within_s * slack())
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {within_s * slack():g} s after {how}")
        self.stop_s = time.monotonic() - begin
        self._gone()
        return status

    def restart(self):
        if self.process:
            self.stop()
        return self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    # --- requests

    def client(self):
        return Client(self.port)

    def wire(self, timeout_s=10.0):
        return Wire(self.port, timeout_s)

    @property
    def admin(self):
        """An administrator's token, from flashd's own mint."""
        if self._admin is None:
            minted = run_flashd(["token", "--role", "admin", "--sub", "boss", "--ttl", "3600"],
                                env={"FLASHD_JWT_SECRET": self.secret})
            assert minted.returncode == 0, f"flashd token: {minted.returncode} {minted.stderr}"
            self._admin = minted.stdout.strip()
        return self._admin

    def get(self, path, **options):
        return self._client.get("/api/v1" + path, **options)

    def post(self, path, body=None, **options):
        return self._client.post("/api/v1" + path, body, **options)

    def request(self, method, path, body=None, **options):
        return self._client.request(method, path, body, **options)

    # --- the words that tests use

    def new_sale(self, stock=10, starts_in_ms=-1000, lasts_ms=3600000, **fields):
        """Creates a sale and returns it; it need not be ACTIVE yet."""
        body = {"name": "Trainers", "productQty": stock, "startsAt": iso(now_ms() + starts_in_ms),
                "endsAt": iso(now_ms() + starts_in_ms + lasts_ms)}
        body.update(fields)
        return expect(self.post("/sales", body, token=self.admin), 201)

    def open_sale(self, stock=10, **fields):
        """Creates a sale, waits until it is ACTIVE, returns its id."""
        sale = self.new_sale(stock, **fields)["id"]
        self.until(sale, state="ACTIVE")
        return sale

    def sale(self, sale):
        return expect(self.get("/sales/" + sale), 200)

    def until(self, sale, within_s=3.0, **wanted):
        def look():
            seen = self.sale(sale)
            return seen if all(seen[key] == value for key, value in wanted.items()) else None
        return eventually(look, within_s, what=f"sale with {wanted}")

    def buy(self, sale, buyer, quantity=None):
        body = {"buyerName": buyer}
        if sale is not None:
            body["saleId"] = sale
        if quantity is not None:
            body["quantity"] = quantity
        return self.post("/buy", body)

    def must_buy(self, sale, buyer, quantity=None):
        return expect(self.buy(sale, buyer, quantity), 201)

    def must_hold(self, sale, buyer, quantity=None):
        order = self.must_buy(sale, buyer, quantity)
        assert order["state"] == "payment", order
        return order["transactionId"]

    def must_wait(self, sale, buyer, quantity=None):
        order = self.must_buy(sale, buyer, quantity)
        assert order["state"] == "waiting", order
        return order["transactionId"]

    def pay(self, transaction):
        return self.post("/paid", {"transactionId": transaction})

    def must_pay(self, transaction):
        return expect(self.pay(transaction), 200)

    def cancel(self, transaction):
        return self.post("/cancel", {"transactionId": transaction})

    def must_cancel(self, transaction):
        return expect(self.cancel(transaction), 200)

    def steer(self, sale, verb):
        return self.post(f"/sales/{sale}/{verb}", token=self.admin)

    def must_steer(self, sale, verb):
        return expect(self.steer(sale, verb), 200)

    def order(self, transaction):
        return expect(self.get("/transactions/" + transaction), 200)

    def until_order(self, transaction, state, within_s=3.0):
        def look():
            seen = self.order(transaction)
            return seen if seen["state"] == state else None
        return eventually(look, within_s, what=f"order {state}; now {self.order(transaction)}")

    # --- the books

    @property
    def db_path(self):
        return os.path.join(self.data, "flashd.db")

    @contextlib.contextmanager
    def database(self):
        """A read-only connection, as anybody may open one while the server runs."""
        connection = sqlite3.connect(f"file:{self.db_path}?mode=ro", uri=True, timeout=10)
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, query, *values):
        with self.database() as database:
            return database.execute(query, values).fetchall()

    def events(self, sale=None, transaction=None):
        """[(type, payload)] in order of seq."""
        seen = [(kind, json.loads(payload)) for kind, payload in self.rows(
            "SELECT event_type, payload FROM domain_events ORDER BY seq")]
        return [(kind, payload) for kind, payload in seen
                if (sale is None or payload["saleId"] == sale)
                and (transaction is None or payload.get("transactionId") == transaction)]

    def event_types(self, **which):
        return [kind for kind, _ in self.events(**which)]

    def balance_books(self):
        """Replays every event and compares with the tables; returns the replayed books."""
        import books
        with self.database() as database:
            return books.check(database)


# ---------------------------------------------------------------------------------------------- test

class Test:
    """What a test function gets: servers and folders that vanish after it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="flashd-e2e-")
        self.servers, self.wires, self.count = [], [], 0

    def new_data(self):
        self.count += 1
        return os.path.join(self.folder, f"data-{self.count}")

    def server(self, *flags, **options):
        """Not started yet."""
        server = Server(options.pop("data", None) or self.new_data(), flags, **options)
        self.servers.append(server)
        return server

    def shop(self, *flags, **options):
        """Started, with sale states that follow the clock closely."""
        if "--state-interval-ms" not in flags:
            flags = ("--state-interval-ms", "20") + flags
        return self.server(*flags, **options).start()

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def end(self):
        """Stops everything; returns what was wrong with how it ended."""
        wrong = []
        for server in self.servers:
            if server.process is not None:
                died = server.process.poll()
                try:
                    status = server.stop(within_s=10.0)
                except AssertionError as error:
                    wrong.append(str(error))
                    continue
                if died is not None:
                    wrong.append(f"the server had ended by itself with status {died}")
                elif status != server.expected_status:
                    wrong.append(f"the server ended with status {status} on SIGTERM")
            if os.path.exists(server.log_path):
                report = SANITISER_REPORT.search(server.whole_log())
                if report:
                    wrong.append("a sanitiser reported: " + server.whole_log()[report.start():][:3000])
        return wrong

    def logs(self):
        return "".join(f"--- stderr of {server.data}\n{server.whole_log()[-1500:]}"
                       for server in self.servers if os.path.exists(server.log_path))

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def patient(test):
    """Marks a test that spends seconds waiting or loads the machine: left out of the short form."""
    test.patient = True
    return test


def alone(test):
    """Marks a test that measures: it runs when nothing else does."""
    test.alone = True
    return test
