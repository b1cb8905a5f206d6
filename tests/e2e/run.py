#!/usr/bin/env python3
"""
run.py: finds every test_*(t) in tests/e2e/test_*.py and runs them, several at a time, each in a process of its
own with servers of its own. Failing tests show what they expected and what the server said.

    run.py [--binary build/flashd] [--jobs 6] [--short] [--threaded] [--slack 3] [--list] [--tally FILE] [WORD...]

WORD: only tests whose file or name holds one of the words. --short leaves out @patient and @alone. --threaded leaves
out the files that say ONE_THREAD: they test code of a single thread, where ThreadSanitizer would see nothing.
--tally appends "passed failed" to a file, for ./run test.
"""
import argparse
import concurrent.futures
import importlib
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import harness  # noqa: E402


def find_tests(words):
    found = []
    for name in sorted(os.listdir(HERE)):
        if not (name.startswith("test_") and name.endswith(".py")):
            continue
        module = importlib.import_module(name[:-3])
        for function, value in vars(module).items():
            if function.startswith("test_") and callable(value):
                title = f"{name[5:-3]}: {function[5:].replace('_', ' ')}"
                if not words or any(word in title or word in f"{name} {function}" for word in words):
                    found.append((name[:-3], function, title, value))
    return found


def run_one(module, function):
    """In a process of its own: (error text or None, seconds)."""
    begin = time.monotonic()
    test, error = harness.Test(), None
    try:
        getattr(importlib.import_module(module), function)(test)
    except Exception:  # the test's verdict, whatever it is
        error = traceback.format_exc()
    wrong = test.end()
    if wrong:
        error = (error or "") + "\n".join(wrong) + "\n"
    if error:
        error += test.logs()
    test.remove()
    return error, time.monotonic() - begin


def report(title, error, seconds, failed):
    print(f"{'FAIL' if error else 'ok  '} {title} ({seconds:.1f} s)", flush=True)
    if error:
        failed.append(title)
        print("     | " + error.rstrip().replace("\n", "\n     | "), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--threaded", action="store_true")
    parser.add_argument("--slack")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--tally")
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    if args.binary:
        os.environ["FLASHD_BINARY"] = os.path.abspath(args.binary)
    if args.slack:
        os.environ["FLASHD_TEST_SLACK"] = args.slack
    tests = find_tests(args.words)
    if args.short:
        tests = [test for test in tests
                 if not getattr(test[3], "patient", False) and not getattr(test[3], "alone", False)]
    if args.threaded:
        tests = [test for test in tests if not getattr(importlib.import_module(test[0]), "ONE_THREAD", False)]
    if args.list:
        print("\n".join(title for _, _, title, _ in tests))
        return 0
    if not os.access(harness.binary(), os.X_OK):
        sys.exit(f"no binary at {harness.binary()}")

    failed, begin = [], time.monotonic()
    together = [test for test in tests if not getattr(test[3], "alone", False)]
    together.sort(key=lambda test: not getattr(test[3], "patient", False))  # the long ones first
    with concurrent.futures.ProcessPoolExecutor(args.jobs, max_tasks_per_child=1) as pool:
        running = {pool.submit(run_one, module, function): title
                   for module, function, title, _ in together}
        for done in concurrent.futures.as_completed(running):
            report(running[done], *done.result(), failed)
    for module, function, title, _ in [test for test in tests if test not in together]:
        with concurrent.futures.ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:
            report(title, *pool.submit(run_one, module, function).result(), failed)

    print(f"e2e: {len(tests) - len(failed)} of {len(tests)} in {time.monotonic() - begin:.0f} s"
          + "".join(f"\n  failed: {title}" for title in failed))
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{len(tests) - len(failed)} {len(failed)}\n")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
