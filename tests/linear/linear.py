#!/usr/bin/env python3
"""
linear.py: records histories of flashd under load and checks that each is linearizable (checker.py).

    linear.py [HISTORIES=20] [OPERATIONS=500] [--seed N] [--binary build/flashd] [--tally FILE] [--keep DIR]
    linear.py --self-test [--tally FILE]     shows the checker rejecting wrong histories (test_checker.py)

Eight sales at a time, six clients each, against a server with two workers and two net threads; a fresh server
for every forty sales. A wrong history is kept in DIR as text. Everything random comes from the seed, except the
interleaving, which the machine gives.
"""
import argparse
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
sys.dont_write_bytecode = True
import checker  # noqa: E402
import harness  # noqa: E402
import record  # noqa: E402

AT_A_TIME = 8
A_SERVER = 40


def keep(folder, recording, events, error):
    path = os.path.join(folder, f"history-{recording.seed}.txt")
    with open(path, "w", encoding="utf-8") as out:
        print(error, recording.terms, sep="\n", file=out)
        for op in sorted(recording.ops, key=lambda op: op.begin):
            print(op, op.k, file=out)
        for k, event in enumerate(events, 1):
            print(k, event, file=out)
    return path


def histories_of_one_server(test, seeds, ops_count):
    """Yields (recording, events) of so many sales."""
    shop = test.shop("--workers", "2", "--net-threads", "2")
    done = []
    for begin in range(0, len(seeds), AT_A_TIME):
        recordings = [record.Recording(seed, ops_count) for seed in seeds[begin:begin + AT_A_TIME]]
        record.record(shop, recordings, seeds[begin])
        done += recordings
    record.settle(shop, done)
    events = record.read_events(shop)
    shop.balance_books()
    wrong = test.end()
    assert not wrong, wrong
    for recording in done:
        yield recording, events[recording.sale]


def run(args):
    seed = args.seed if args.seed is not None else random.randrange(1 << 32)
    seeds = [seed + n for n in range(args.histories)]
    failed, begin = 0, time.monotonic()
    counts = {"operations": 0, "events": 0, "refusals": 0}
    explained = dict.fromkeys((checker.IN_ORDER, checker.REORDERED, checker.OVERLOOKED), 0)
    for first in range(0, len(seeds), A_SERVER):
        test = harness.Test()
        try:
            for recording, events in histories_of_one_server(test, seeds[first:first + A_SERVER], args.operations):
                counts["operations"] += len(recording.ops)
                counts["events"] += len(events)
                counts["refusals"] += sum(op.status == 400 for op in recording.ops)
                try:
                    explained[checker.check(recording.terms, recording.ops, events)] += 1
                except checker.Wrong as error:
                    failed += 1
                    path = keep(args.keep, recording, events, error) if args.keep else "not kept"
                    print(f"FAIL history {recording.seed}: {error} ({path})", flush=True)
        finally:
            test.end()
            test.remove()
    print(f"linear: {args.histories - failed} of {args.histories} histories ("
          + ", ".join(f"{count} {what}" for what, count in counts.items()) + ") explained: "
          + ", ".join(f"{count} {how}" for how, count in explained.items())
          + f"; seed {seed}, {time.monotonic() - begin:.0f} s")
    return args.histories - failed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("histories", nargs="?", type=harness.positive, default=20)
    parser.add_argument("operations", nargs="?", type=harness.positive, default=500)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--binary")
    parser.add_argument("--tally")
    parser.add_argument("--keep")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.binary:
        os.environ["FLASHD_BINARY"] = os.path.abspath(args.binary)
    if args.self_test:
        import test_checker
        passed, failed = test_checker.run()
    else:
        passed, failed = run(args)
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{passed} {failed}\n")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
