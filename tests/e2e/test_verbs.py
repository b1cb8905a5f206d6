"""
test_verbs.py: a verb of ./run, or a test's program, that would test nothing or gets an unknown argument says so and
fails.
"""
import os
import subprocess
import sys

from harness import ROOT, binary, clean_environment, command_prefix, slack

BUILD = os.path.dirname(binary())


def asked(*argv):
    return subprocess.run(argv, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20 * slack())


def refuses(*argv):
    done = asked(*argv)
    assert done.returncode == 2 and done.stderr.strip(), (argv, done)
    assert "Traceback" not in done.stderr, (argv, done)


def test_run_refuses_what_it_cannot_count(t):
    run = os.path.join(ROOT, "run")
    for verb in ("stress", "fuzz"):
        for wrong in (["abc"], ["0"], ["00"], ["-5"], [""], ["1", "2"], ["--seconds"]):
            refuses(run, verb, *wrong)
    for verb in ("test", "faults"):
        refuses(run, verb, "1")
    for verb in ("test", "faults", "stress", "fuzz"):
        done = asked(run, verb, "--help")
        assert done.returncode == 0 and "./run stress [SECS]" in done.stdout, (verb, done)


def test_scripts_refuse_to_test_nothing(t):
    def script(*path):
        return sys.executable, os.path.join(ROOT, "tests", *path)
    for wrong in ("-1", "0", "some"):
        refuses(*script("crash", "crash.py"), wrong)
        refuses(*script("linear", "linear.py"), wrong)
        refuses(*script("fuzz", "fuzz.py"), "--seconds", wrong)
        refuses(*script("faults", "process.py"), "kills", wrong)
    refuses(*script("linear", "linear.py"), "1", "0")
    refuses(*script("mutants", "mutants.py"), "nosuch")


def test_programs_refuse_to_test_nothing(t):
    for wrong in ("abc", "0", "-5", "", "1x", "99999999999999999999"):
        refuses(*command_prefix(), os.path.join(BUILD, "tests", "stress"), wrong)
    refuses(*command_prefix(), os.path.join(BUILD, "tests", "faults"), "power", "--images", "0")
    for name in ("store_bench", "reconcile_bench", "engine_bench"):
        for wrong in ("--help", "0", "-1", "x"):
            refuses(*command_prefix(), os.path.join(BUILD, "bench", name), wrong)
