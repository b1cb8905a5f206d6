#!/usr/bin/env python3
"""CPU time per request of the load generator itself: flashload and wrk, in turns, on the same server.

  generator.py [--rounds 5] [--seconds 3]

Both: 64 connections, keep-alive, closed loop, purchases by buyers whom the sale has not seen. For wrk, the
whole process is counted (it parses no answer in Lua, and checks none); for flashload, first the buyers' thread, which
does the same and also keeps the ledger, then the whole process, which also reads the stream of all events for the
audit. Prints a line per round, then medians.
"""
import argparse, json, os, resource, statistics, subprocess, sys, tempfile

import measure

UNITS = 100_000_000


def of_wrk(server, sale, tag, seconds):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrk = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", measure.LUA, server.url, "--", tag, sale],
                         capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(wrk.stdout.split("RESULT ", 1)[1])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / result["requests"] * 1e6, result["requests"] / seconds


def of_flashload(server, sale, seconds):
    ran = subprocess.run([measure.ROOT / "build/flashload", "--json", "--url", server.url, "--sale", sale, "--buyers",
                          "50000000", "--duration", str(seconds), "--connections", "64", "--looks", "0", "--pay-ratio",
                          "0", "--twice-ratio", "0", "--think-ms", "0", "--watchers", "0", "--spectators", "0"],
                         capture_output=True, text=True, env=dict(os.environ, FLASHD_TOKEN=server.token))
    if ran.returncode != 0:
        sys.exit(ran.stderr + ran.stdout[-2000:])
    report = json.loads(ran.stdout)
    cpu = report["cpu"]
    return cpu["buyersThreadUsPerAnswer"], cpu["flashloadUsPerAnswer"], report["counts"]["answers"] / report["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--seconds", type=measure.positive, default=3)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        server = measure.Flashd(folder + "/data")
        try:
            sale = server.sale(UNITS)
            for turn in range(args.rounds):
                wrk, wrk_rate = of_wrk(server, sale, f"w{turn}", args.seconds)
                buyers, whole, rate = of_flashload(server, sale, args.seconds)
                rows.append((wrk, buyers, whole, buyers / wrk))
                print(f"wrk {wrk:6.2f} us ({wrk_rate:7.0f}/s)   flashload: buyers' thread {buyers:6.2f} us, "
                      f"all {whole:6.2f} us ({rate:7.0f}/s)   ratio {buyers / wrk:.2f}", flush=True)
        finally:
            server.stop()
    wrk, buyers, whole, ratio = (statistics.median(column) for column in zip(*rows))
    print(f"median: wrk {wrk:.2f} us a request; flashload's buyers' thread {buyers:.2f} us, all of it {whole:.2f} us; "
          f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
