#!/usr/bin/env python3
"""CPU time per request of flashd, nginx and a server that does no work, in turns, in one run.

  compare.py purchase   durable purchases, every buyer new, every purchase accepted
  compare.py sold-out   purchases that a sold-out sale refuses

nginx answers `return 200` (`return 400` for sold-out) with a body of the same size to the same requests. The floor
(bench/floor.c) is io_uring alone: it repeats the bytes of one answer of flashd. No server that uses the kernel's TCP
as flashd does can cost less on this machine, so floor / nginx bounds flashd / nginx from below.
Load: wrk, 64 connections, keep-alive, no pipelining, on loopback. Compared is the user + system CPU
time of all of a server's processes per answered request; the ratio is taken round by round.
Needs: build/flashd, build/bench/floor, wrk, nginx (Debian's packages). With more peers: bench/peers/compare.py.
"""
import argparse, os, pathlib, shutil, statistics, sys, tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import measure  # noqa: E402


def sell_out(flashd, sale):
    bought = measure.http("POST", flashd.url + "/buy", {"saleId": sale, "buyerName": "the-one"})
    measure.http("POST", flashd.url + "/pay", {"transactionId": bought["transactionId"]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["purchase", "sold-out"])
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--seconds", type=measure.positive, default=3)
    parser.add_argument("flashd_args", nargs="*", help="after --: settings of flashd")
    args = parser.parse_args()
    selling = args.what == "purchase"
    folder = tempfile.mkdtemp(prefix="flashd-bench-", dir=os.environ.get("BENCH_DIR"))
    flashd = measure.Flashd(folder + "/data", args.flashd_args)
    if selling:
        sale, answer = flashd.sale(), measure.returning(200, measure.PURCHASED)
    else:
        sale, answer = flashd.sale(1), measure.returning(400, (
            '{"type":"urn:flashd:problem:sold-out","title":"Bad Request","status":400,'
            '"detail":"too few units are left unsold","code":"sold-out"}'))
        sell_out(flashd, sale)
    servers = (flashd, measure.Nginx(folder, answer),
               measure.Floor(folder, measure.answer_to(flashd.url, flashd.buy_request(sale))))
    rows = []
    try:
        for n in range(args.rounds + 1):
            row = [server.saturate([sale], args.seconds, refused=not selling) for server in servers]
            if n == 0:
                continue  # warm-up
            rows.append(row)
            print(f"round {n}: " + "; ".join(
                f"{server.name} {got['cpu_us']:.2f} us, {got['rate']:.0f}/s,"
                f" p50 {got['p50_us']} us, p99 {got['p99_us']} us" for server, got in zip(servers, row)), flush=True)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(folder)
    costs = [[got["cpu_us"] for got in row] for row in rows]
    for n, name in ((0, "flashd"), (2, "floor")):
        print(f"{args.what}: CPU time per request, {name} / nginx:"
              f" {measure.spread([cost[n] / cost[1] for cost in costs], 3)}")
    print("median us: " + ", ".join(f"{server.name} {statistics.median(cost[n] for cost in costs):.2f}"
                                    for n, server in enumerate(servers)))


if __name__ == "__main__":
    main()
