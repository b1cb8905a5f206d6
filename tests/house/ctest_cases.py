#!/usr/bin/env python3
"""
ctest_cases.py: runs ctest in a build folder, shows what failed, and counts test cases, not programs.

    ctest_cases.py BUILD_DIR [--tally FILE] [--prefix COMMAND] [-- CTEST ARGS]

A cmocka program counts as its cases; any other program as one. A program that failed without a failing
case (it crashed, or a sanitiser ended it) adds one failure. No test at all is a failure too.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml


def count(case):
    """(passed, failed, output) of one ctest entry."""
    output = case.findtext("system-out") or ""
    passed = len(re.findall(r"^\[ +OK \] ", output, re.M))
    failed = len(set(re.findall(r"^\[  (?:FAILED|ERROR)  \] (\w+)$", output, re.M)))
    if case.get("status") == "run":
        return (passed, 0, output) if passed else (1, 0, output)
    return passed, max(failed, 1), output


def main():
    args, rest = sys.argv[1:], []
    if "--" in args:
        args, rest = args[:args.index("--")], args[args.index("--") + 1:]
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--tally")
    parser.add_argument("--prefix", default="")
    args = parser.parse_args(args)
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.xml")
        ran = subprocess.run(args.prefix.split() + ["ctest", "--parallel", "2", "--test-dir", args.build,
                                                    "--output-junit", report,
                                                    "--test-output-size-passed", "10000000",
                                                    "--test-output-size-failed", "10000000"] + rest,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if not os.path.exists(report):
            sys.exit(f"ctest did not run:\n{ran.stdout[-3000:]}")
        cases = xml.parse(report).getroot().findall("testcase")
    passed = failed = 0
    for case in cases:
        good, bad, output = count(case)
        passed, failed = passed + good, failed + bad
        print(f"{'FAIL' if bad else 'ok  '} {case.get('name')}: {good} of {good + bad}"
              f" ({float(case.get('time') or 0):.1f} s)")
        if bad:
            print("     | " + output.strip()[-6000:].replace("\n", "\n     | "))
    if ran.returncode != 0 and not failed:
        print(f"FAIL ctest ended with {ran.returncode}:\n{ran.stdout[-3000:]}")
        failed += 1
    if not cases:
        print("FAIL ctest found no test")
        failed += 1
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{passed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
