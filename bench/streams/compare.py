#!/usr/bin/env python3
"""What event streams cost the server: flashd and nginx with nchan, in turns, in one run.

  compare.py fanout   1,000 streams, one event at a time: CPU time per delivered frame, and the delay to each client
  compare.py burst    10,000 events at once to 100 streams: CPU time per event and stream
  compare.py memory   RSS per idle stream at 8,000 streams
  compare.py mute     purchases at full rate without and with 1,000 streams that never read
  compare.py all      the four, one after another

build/bench/audience opens the streams; everything is on loopback. flashd's are /api/v1/events/stream with a
consumer's token; nchan's are EventSource subscribers of one channel, whose publisher posts as many bytes as an
event of flashd has. CPU time is user + system of the whole server: flashd's purchases and commits are included.
A delay begins when the purchase's answer arrives at the client (the event's commit is just before that), and may be
negative: the frame can overtake the answer. fanout has a third server, the floor (bench/floor.c): io_uring that
sends as many bytes to as many sockets and does nothing else.
Needs: build/flashd, build/bench/, wrk, nginx-light, libnginx-mod-nchan (Debian's packages).
"""
import argparse, contextlib, os, pathlib, shutil, statistics, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import measure  # noqa: E402
from audience import Audience, Flashd, Floor, Nchan, at_once, memory_of, one_by_one  # noqa: E402


def in_turns(part, servers, rounds, *args):
    """Rounds of what each server did, after one to warm up."""
    rows = []
    for n in range(rounds + 1):
        row = [part(server, *args) for server in servers]
        if n > 0:
            rows.append(row)
            print(f"  round {n}: " + ", ".join(f"{server.name} {got['us']:.3f} us ({got['seconds']:.2f} s)"
                                               for server, got in zip(servers, row)), flush=True)
    return rows


def median(rows, server, key):
    return statistics.median(row[server][key] for row in rows)


def tell_ratio(what, rows, target, server=0, name="flashd"):
    ratios = [row[server]["us"] / row[1]["us"] for row in rows]
    print(f"{what}: {name} {median(rows, server, 'us'):.3f} us, nchan {median(rows, 1, 'us'):.3f} us; {name} / nchan"
          f" {measure.spread(ratios, 3)}; target {target}")


def fanout(args, folder):
    with all_of((Flashd, Nchan, Floor), folder) as servers:
        rows = in_turns(one_by_one, servers, args.rounds, 1000, args.events, folder)
    tell_ratio("fanout, CPU per delivered frame", rows, 0.45)
    tell_ratio("fanout, CPU per delivered frame", rows, "none: it bounds the line above", 2, "floor")
    for i, name in enumerate(("flashd", "nchan")):
        print(f"delay to a client at 1,000 streams, {name}: " + ", ".join(
            f"{since} p50 {median(rows, i, key + '_p50_us'):.0f} us p99 {median(rows, i, key + '_p99_us'):.0f} us"
            for since, key in (("since the answer arrived", "answered"), ("since the request left", "sent"))))
    return median(rows, 1, "us")


def burst(args, folder, one=None):
    with all_of((Flashd, Nchan), folder) as servers:
        if one is None:
            one = statistics.median(one_by_one(servers[1], 1000, args.events, folder)["us"] for _ in range(3))
        rows = in_turns(at_once, servers, args.rounds, 100, 10000, folder)
    tell_ratio("burst, CPU per event and stream", rows, "0.1 of the next line's")
    print(f"nchan's frame one at a time: {one:.3f} us; flashd's in a burst / that:"
          f" {median(rows, 0, 'us') / one:.3f}; target 0.1")


def memory(args, folder, streams=8000):
    flashd = Flashd(folder)
    try:
        idle, used, rss = memory_of(flashd, streams, folder)
        print(f"memory: {streams} idle streams: {idle:.0f} bytes of RSS each, {used:.0f} after 20 events to all;"
              f" target 1024 (RSS {' -> '.join(str(at // 1024) for at in rss)} KiB)")
    finally:
        flashd.stop()


def mute(args, folder):
    flashd, ratios = Flashd(folder), []
    try:
        for n in range(args.rounds + 1):
            plain = flashd.saturate([flashd.selling], args.seconds)
            with Audience(flashd, 1000, folder, mute=True):
                heard = flashd.saturate([flashd.selling], args.seconds)
            rates = [row["rate"] for row in (plain, heard)]
            if n > 0:
                ratios.append(rates[1] / rates[0])
                print(f"  round {n}: {rates[0]:.0f}/s without, {rates[1]:.0f}/s with, ratio {ratios[-1]:.3f};"
                      f" p99 {plain['p99_us']} us, {heard['p99_us']} us;"
                      f" CPU {plain['cpu_us']:.1f} us, {heard['cpu_us']:.1f} us a purchase", flush=True)
            time.sleep(1)  # the audience's slots are freed
    finally:
        flashd.stop()
    print(f"mute: purchases with 1,000 streams that never read / without: median {statistics.median(ratios):.3f}"
          f" (min {min(ratios):.3f}, max {max(ratios):.3f}); target 0.8")


@contextlib.contextmanager
def all_of(kinds, folder):
    with contextlib.ExitStack() as stack:
        servers = []
        for kind in kinds:
            servers.append(kind(folder))
            stack.callback(servers[-1].stop)
        yield servers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fanout", "burst", "memory", "mute", "all"])
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--events", type=measure.positive, default=200, help="fanout: events a round")
    parser.add_argument("--seconds", type=measure.positive, default=4, help="mute: of purchases a turn; below the 10 s of a cut")
    args = parser.parse_args()
    parts, one = {"fanout": fanout, "burst": burst, "memory": memory, "mute": mute}, None
    for what, part in parts.items():
        if args.what not in (what, "all"):
            continue
        folder = tempfile.mkdtemp(prefix="flashd-streams-", dir=os.environ.get("BENCH_DIR"))
        try:
            one = part(args, folder, one) if what == "burst" and one is not None else part(args, folder)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
