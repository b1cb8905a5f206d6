#!/usr/bin/env python3
"""What a purchase costs the server as things grow, measured with flashload, with a new server for each point:

  scale.py [--html FILE] [--json FILE] [--quick] [--rounds 3] [orders sales connections workers spectators]

  orders        1 thousand to 3 million in one sale
  sales         1 to 10,000 that share 50,000 purchases
  connections   10 to 10,000 that share 50,000 purchases
  workers       1 to the number of cores
  spectators    0 to 10,000 while 20,000 purchases are made

A purchase is a hold and its payment. Cost is the server's user and system CPU time, all threads, in microseconds per
purchase, from the first request to the last answer; the median of the rounds. Rates are those of a machine that
also runs the load. --quick takes fewer and smaller points. The points go into flashload's HTML report of one run of
the scenario large (--html, default scale.html), and into a file of their own (--json).
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile, time

from measure import positive

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLASHLOAD = ROOT / "build/flashload"
CORES = len(os.sched_getaffinity(0))
PLAIN = {"looks": 0, "pay-ratio": 1, "twice-ratio": 0, "think-ms": 0, "watchers": 0, "spectators": 0,
         "hold-ms": 600000, "connections": 64}


def flags(options):
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def measure(options, workers=None):
    """One run: (server's CPU us a purchase, purchases a second)."""
    env = dict(os.environ)
    if workers:
        env["FLASHD_WORKERS"] = str(workers)
    ran = subprocess.run([FLASHLOAD, "--json", *flags({**PLAIN, **options})], env=env, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"flashload {flags(options)}: exit status {ran.returncode}\n{ran.stderr}{ran.stdout[-2000:]}")
    report = json.loads(ran.stdout)
    paid = report["counts"]["paid"]
    return report["cpu"]["serverSeconds"] * 1e6 / paid, paid / report["seconds"]


def sized(buyers, **options):
    return {"buyers": buyers, "stock": buyers, **options}


def curve(name, values, point, rounds):
    """point(value): the arguments of measure()."""
    costs, rates = [], []
    for value in values:
        seen = [measure(*point(value)) for _ in range(rounds)]
        cost, rate = (statistics.median(column) for column in zip(*seen))
        costs.append([value, round(cost, 2)])
        rates.append([value, round(rate)])
        print(f"{name:12} {value:>9,}   {cost:8.2f} us a purchase   {rate:8,.0f} purchases/s", flush=True)
    return costs, rates


def steps(most, quick, quick_most):
    """1, 10, 100 ... and the largest."""
    most = min(most, quick_most) if quick else most
    return sorted({10 ** e for e in range(8) if 10 ** e < most} | {most})


def plan(quick):
    some, few = (10_000, 4_000) if quick else (50_000, 20_000)
    return {
        "orders": ("orders in one sale", True, [n for n in steps(3_000_000, quick, 100_000) if n >= 1000],
                   lambda n: (sized(n),)),
        "sales": ("sales", True, steps(10_000, quick, 300), lambda n: (sized(max(some, n), sales=n),)),
        "connections": ("connections", True, [n for n in steps(10_000, quick, 1000) if n >= 10],
                        lambda n: (sized(some, connections=n),)),
        "workers": ("workers", False, list(range(1, CORES + 1)), lambda n: (sized(some), n)),
        "spectators": ("spectators", False, [0] + [n for n in steps(10_000, quick, 1000) if n >= 10],
                       lambda n: (sized(few, spectators=n),)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--html", default="scale.html")
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("which", nargs="*")
    args = parser.parse_args()
    all_plans = plan(args.quick)
    unknown = set(args.which) - set(all_plans)
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}; known: {' '.join(all_plans)}")
    curves = []
    for name in args.which or all_plans:
        axis, log, values, point = all_plans[name]
        costs, rates = curve(name, values, point, args.rounds)
        curves.append({"title": f"Cost per purchase against {name}", "about": "Server's CPU, µs a purchase (hold and payment)",
                       "x": axis, "log": log, "series": [{"name": "µs of CPU a purchase", "points": costs}],
                       "rates": rates})
    about = (f"One server a point, median of {args.rounds}; {CORES} cores shared with the load; "
             f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC")
    points = json.dumps({"about": about, "curves": curves}, indent=1)
    if args.json:
        pathlib.Path(args.json).write_text(points)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(points)
        file.flush()
        subprocess.run([FLASHLOAD, "large", "--html", args.html, "--curves", file.name], check=True,
                       stdout=subprocess.DEVNULL)
    print(f"{args.html}: the points, plotted, in the report of one run")


if __name__ == "__main__":
    main()
