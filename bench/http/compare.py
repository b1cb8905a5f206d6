#!/usr/bin/env python3
"""CPU time per request of flashd beside nginx, in turns, in one run.

  compare.py purchase   durable purchases, every buyer new, every purchase accepted
  compare.py sold-out   purchases that a sold-out sale refuses

nginx answers `return 200` (`return 400` for sold-out) with a body of the same size to the same requests.
Load: wrk, 64 connections, keep-alive, no pipelining, on loopback. What is compared is user + system CPU
time of all of a server's processes per answered request; the ratio is taken round by round.
Needs: build/flashd, wrk, nginx (Debian's packages). With more peers: bench/peers/compare.py.
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
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
    nginx = measure.Nginx(folder, answer)
    rows = []
    try:
        for n in range(args.rounds + 1):
            mine, theirs = (server.saturate([sale], args.seconds, refused=not selling) for server in (flashd, nginx))
            if n == 0:
                continue  # warm-up
            ratio = mine["cpu_us"] / theirs["cpu_us"]
            rows.append((ratio, mine, theirs))
            print(f"round {n}: flashd {mine['cpu_us']:.2f} us, {mine['rate']:.0f}/s, p50 {mine['p50_us']} us,"
                  f" p99 {mine['p99_us']} us; nginx {theirs['cpu_us']:.2f} us, {theirs['rate']:.0f}/s;"
                  f" ratio {ratio:.3f}", flush=True)
    finally:
        flashd.stop()
        nginx.stop()
        shutil.rmtree(folder)
    print(f"{args.what}: CPU time per request, flashd / nginx: {measure.spread([row[0] for row in rows], 3)};"
          f" flashd {statistics.median(r[1]['cpu_us'] for r in rows):.2f} us,"
          f" nginx {statistics.median(r[2]['cpu_us'] for r in rows):.2f} us")


if __name__ == "__main__":
    main()
