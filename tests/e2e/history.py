"""
history.py: data directories with a long past, for tests of retention, audit and recovery.

The past is made by build/tests/history (tests/history/past.h): the engine itself, in its own time, so nothing in
it is backdated. The tests start a real server on it.
"""
import json
import os
import subprocess

from harness import binary, clean_environment, command_prefix, run_flashd, slack


def make_past(data, events, from_days, to_days, seed=1):
    """At least so many events, evenly between from_days and to_days before now; returns how many."""
    program = os.path.join(os.path.dirname(binary()), "tests", "history")
    made = subprocess.run(command_prefix() + [program, data, str(events), str(from_days), str(to_days), str(seed)],
                          env=clean_environment(), capture_output=True, text=True, timeout=60 * slack())
    assert made.returncode == 0, made.stderr
    return int(made.stdout)


def audit(data, *flags):
    """(exit status, what --json says)."""
    ended = run_flashd(["audit", data, "--json", *flags], timeout_s=60)
    return ended.returncode, json.loads(ended.stdout)


def must_balance(data):
    status, told = audit(data)
    assert status == 0 and told["ok"] is True, told
    return told
