#!/usr/bin/env python3
"""
fuzz.py: runs every fuzz target for a while, a few at a time, from the seeds in tests/fuzz/corpus.

    fuzz.py [--seconds 120] [--jobs 2] [--build build-fuzz] [--seed N] [--tally FILE] [TARGET...]

Each target begins with its seeds, so what they once found is found again. A target passes when it has run
its time and nothing failed; an input that failed is left in the build folder and named, with the command
that replays it. Inputs found on the way are not kept. Everything random comes from the seed.
"""
import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True
from harness import positive  # noqa: E402

INPUT_BYTES_MAX = {"request": 40000, "json": 16385, "tokens": 4200, "query": 1500, "cron": 80}
PATIENCE_S = 60  # beyond its time, for a machine that is busy


def fuzz(target, build, seconds, seed):
    """(passed, executions, what to say)"""
    binary = os.path.join(build, "tests", "fuzz_" + target)
    seeds = os.path.join(HERE, "corpus", target)
    found = os.path.join(build, "found-" + target + "-")
    environment = dict(os.environ, ASAN_OPTIONS="detect_stack_use_after_return=1:quarantine_size_mb=16",
                       UBSAN_OPTIONS="print_stacktrace=1")
    with tempfile.TemporaryDirectory(prefix="flashd-fuzz-") as learnt:
        command = [binary, f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=10", "-rss_limit_mb=1024",
                   f"-max_len={INPUT_BYTES_MAX[target]}", "-print_final_stats=1", "-reduce_inputs=0",
                   "-dict=" + os.path.join(HERE, "words.dict"), "-artifact_prefix=" + found, learnt, seeds]
        try:
            ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, errors="replace",
                                 timeout=seconds + PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return False, 0, str(error)
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", ran.stdout)
    executions = int(executions[1]) if executions else 0
    covered = re.findall(r" cov: (\d+) ", ran.stdout)
    if ran.returncode == 0 and executions > len(os.listdir(seeds)):
        return True, executions, f"{executions} executions, {covered[-1] if covered else 0} edges"
    shown = ran.stdout.find("does not hold") if "does not hold" in ran.stdout else -4000
    artifact = re.search(r"Test unit written to (\S+)", ran.stdout)
    again = f"\nagain: {binary} {artifact[1]}" if artifact else ""
    return False, executions, f"status {ran.returncode}\n{ran.stdout[shown:][:4000]}{again}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=positive, default=120)
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--build", default=os.path.join(ROOT, "build-fuzz"))
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    parser.add_argument("--tally")
    parser.add_argument("targets", nargs="*", default=list(INPUT_BYTES_MAX), metavar="TARGET")
    args = parser.parse_args()
    unknown = set(args.targets) - set(INPUT_BYTES_MAX)
    if unknown:
        sys.exit(f"no target is called {', '.join(sorted(unknown))}; there are {', '.join(INPUT_BYTES_MAX)}")
    failed = total = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        running = {pool.submit(fuzz, target, args.build, args.seconds, args.seed): target
                   for target in args.targets}
        for done in concurrent.futures.as_completed(running):
            passed, executions, told = done.result()
            failed, total = failed + (not passed), total + executions
            print(f"{'ok  ' if passed else 'FAIL'} fuzz {running[done]}: " + told.replace("\n", "\n     | "), flush=True)
    print(f"fuzz: {total} executions, {failed} of {len(args.targets)} targets found something,"
          f" {args.seconds} s each, seed {args.seed}")
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{len(args.targets) - failed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
