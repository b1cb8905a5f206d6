#!/usr/bin/env python3
"""CPU time per request of flashd beside nginx, in turns, in one run.

  compare.py purchase   durable purchases, every buyer new, every purchase accepted
  compare.py sold-out   purchases that a sold-out sale refuses

nginx answers `return 200` (`return 400` for sold-out) with a body of the same size to the same requests.
Load: wrk, 64 connections, keep-alive, no pipelining, on loopback. What is compared is user + system CPU
time of all of a server's processes, from /proc, per answered request; the ratio is taken round by round.
Needs: build/flashd, wrk, nginx (Debian's packages).
"""
import argparse, json, os, pathlib, shutil, statistics, subprocess, sys, tempfile, time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
LUA = ROOT / "bench/http/purchase.lua"
SECRET = "bench-secret-bench-secret-bench-secret"
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process and of its children that still run."""
    total = 0.0
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def http(method, url, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + token
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as reply:
        return json.loads(reply.read())


class Flashd:
    def __init__(self, folder, args=()):
        self.env = dict(os.environ, FLASHD_JWT_SECRET=SECRET)
        binary = ROOT / "build/flashd"
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--data", folder, "--log-level", "error", *args],
            stdout=subprocess.PIPE, env=self.env, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.token = subprocess.run([binary, "token", "--sub", "bench"], env=self.env, text=True,
                                    capture_output=True, check=True).stdout.strip()
        self.pid = self.process.pid

    def sale(self, units):
        now = int(time.time() * 1000)
        made = http("POST", self.url + "/api/v1/sales", token=self.token, body={
            "name": "bench", "productQty": units, "startsAt": now - 1000, "endsAt": now + 3600000,
            "holdMs": 3600000})
        while http("GET", f"{self.url}/sales/{made['id']}")["state"] != "ACTIVE":
            time.sleep(0.01)
        return made["id"]

    def sell_out(self, sale):
        bought = http("POST", self.url + "/buy", {"saleId": sale, "buyerName": "the-one"})
        http("POST", self.url + "/pay", {"transactionId": bought["transactionId"]})

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Nginx:
    def __init__(self, folder, status, body, port=18480):
        self.url = f"http://127.0.0.1:{port}"
        conf = pathlib.Path(folder) / "nginx.conf"
        conf.write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; default_type application/json;
    location / {{ return {status} '{body}'; }} }} }}
""")
        self.process = subprocess.Popen(["nginx", "-c", str(conf), "-p", folder],
                                        stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        for _ in range(100):
            try:
                urllib.request.urlopen(self.url, timeout=1)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        sys.exit("nginx does not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def load(server, tag, sale, seconds):
    before = cpu_seconds(server.pid)
    wrk = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", LUA, server.url, "--", tag, sale],
                         capture_output=True, text=True, check=True)
    used = cpu_seconds(server.pid) - before
    result = json.loads(wrk.stdout.split("RESULT ", 1)[1])
    result["cpu_us"] = used / result["requests"] * 1e6
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["purchase", "sold-out"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("flashd_args", nargs="*", help="after --: settings of flashd")
    args = parser.parse_args()
    selling = args.what == "purchase"
    folder = tempfile.mkdtemp(prefix="flashd-bench-", dir=os.environ.get("BENCH_DIR"))
    flashd = Flashd(folder + "/data", args.flashd_args)
    sale = flashd.sale(900000000 if selling else 1)
    body = ('{"transactionId":"0000000000035458939cdac9","saleId":"000000000001f36c2f764590","buyerName":"r0-0-12345",'
            '"quantity":1,"state":"payment","expiresAt":"2026-11-21T03:41:57.492Z","seq":123456}')
    if not selling:
        flashd.sell_out(sale)
        body = ('{"type":"urn:flashd:problem:sold-out","title":"Bad Request","status":400,'
                '"detail":"too few units are left unsold","code":"sold-out"}')
    nginx = Nginx(folder, 200 if selling else 400, body)
    rows = []
    try:
        for n in range(args.rounds + 1):
            mine = load(flashd, f"r{n}", sale, args.seconds)
            theirs = load(nginx, f"r{n}", sale, args.seconds)
            refused = 0 if selling else mine["requests"]
            if mine["not_2xx"] != refused or mine["socket_errors"]:
                sys.exit(f"not every answer was as expected: {mine}")
            if n == 0:
                continue  # warm-up
            ratio = mine["cpu_us"] / theirs["cpu_us"]
            rows.append((ratio, mine, theirs))
            print(f"round {n}: flashd {mine['cpu_us']:.2f} us, {mine['requests'] / mine['seconds']:.0f}/s,"
                  f" p50 {mine['p50_us']} us, p99 {mine['p99_us']} us;"
                  f" nginx {theirs['cpu_us']:.2f} us, {theirs['requests'] / theirs['seconds']:.0f}/s; ratio {ratio:.3f}",
                  flush=True)
    finally:
        flashd.stop()
        nginx.stop()
        shutil.rmtree(folder)
    ratios = [row[0] for row in rows]
    print(f"{args.what}: CPU time per request, flashd / nginx: median {statistics.median(ratios):.3f}"
          f" (min {min(ratios):.3f}, max {max(ratios):.3f});"
          f" flashd {statistics.median(r[1]['cpu_us'] for r in rows):.2f} us,"
          f" nginx {statistics.median(r[2]['cpu_us'] for r in rows):.2f} us")


if __name__ == "__main__":
    main()
