#!/usr/bin/env python3
"""
mutants.py: switches on each deliberate fault (engine/step.h) once, and checks that a named test catches it.

    mutants.py [--jobs 4] [--build build] [--quick] [--tally FILE] [FAULT...]

Each row of MUTANTS is a fault and a test that must fail with it. `sim` is the simulation, any check of which may
catch it; `race NAME` is one of its directed races; `disk KIND` the failing disks of tests/faults; `crash` kills the
server under load; anything else is the name of an end-to-end test. The controls are the same tests without a fault,
by the same programs and by the shipped one, which must not even contain the faults' names.
Exit status 0 only when every fault was caught and every control passed.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SEEDS, CONTROL_SEEDS, RACE_SEEDS = "20000", "2000", "2000"

CLEAN = "reconcile: a clean run says what it looked at"

# fault, guarantee, what it breaks, the test that catches it
MUTANTS = (
    ("ack-before-commit", "G2", "answers before the commit", "sim"),
    ("ack-before-commit", "G2", "answers before the commit", "crash"),
    ("ack-before-commit", "G2", "answers before the commit", "disk power"),
    ("commit-without-sync", "G2", "a commit does not wait for the disk", "disk power"),
    ("forget-directory", "G2", "the names of the files are not synced", "disk power"),
    ("trust-cache", "G2", "a start takes the kernel's cache for the disk", "disk errors"),
    ("trust-index", "G2", "a start takes an index of the log that a reader kept", "disk errors"),
    ("ignore-sync-error", "G2", "a failed commit goes on as if it had not", "disk errors"),
    ("ignore-sync-error", "G2", "a failed commit goes on as if it had not",
     "durability: a failed commit stops the process with a clear line"),
    ("forget-lost-piece", "G2", "a checkpoint whose sync failed is taken for one to try again", "disk errors"),
    ("release-before-claim", "G1", "gives units back before the log says so", "race cancel-promotion"),
    ("double-release", "G1", "an expiry gives its units back twice", "race pay-expiry"),
    ("pay-over-expiry", "G1", "a payment that lost to the expiry counts", "race pay-expiry"),
    ("cancel-over-promotion", "G1", "a cancel that lost to a promotion counts", "race cancel-promotion"),
    ("pay-expired-twice", "G1", "a late payment is taken twice", "race pay-expiry"),
    ("forget-hold", "G1", "a restart forgets holds", "sim"),
    ("forget-hold", "G1", "a restart forgets holds", "crash"),
    ("forget-promoted", "G1", "a promoted hold never expires", "sim"),
    ("second-order", "G3", "a buyer with an order gets another", "race equal-requests"),
    ("forget-buyer", "G3", "a restart forgets who has an order", "sim"),
    ("key-after-commit", "G3", "a key's answer is kept a commit late", "sim"),
    ("key-twice", "G3", "two threads may begin the same key", "sim"),
    ("forget-keys", "G3", "a restart forgets the keys' answers", "sim"),
    ("skip-seq", "G4", "one event gets no row", "sim"),
    ("skip-seq", "G4", "one event gets no row", "crash"),
    ("stale-table", "G4", "an order's row does not follow its events",
     "durability: the database can be read by anyone while the server writes"),
    ("lost-update", "G1", "a cancellation gives nothing back", CLEAN),
    ("flip-counter", "G4", "readers see one sold unit too many", "reconcile: under load there is no false alarm"),
    ("flip-order", "G4", "readers see another state of an order", CLEAN),
    ("flip-state", "G4", "a paid order's own state changes", CLEAN),
    ("overtake", "order", "a purchase takes units past who waits", "sim"),
    ("promote-out-of-order", "order", "who waits longest goes to the back", "sim"),
    ("promote-while-paused", "order", "a pause does not hold promotions", "sim"),
    ("place-before-slot", "order", "a promotion leaves the list too early", "sim"),
    ("join-at-once", "order", "a join does not wait for the takes it lost to", "sim"),
    ("close-at-once", "order", "a sale closes before earlier decisions do", "race pause-buy"),
    ("forget-clearing", "order", "a sale that is over leaves its list waiting", "race end-buy"),
    ("lost-wake", "liveness", "a worker does not wake the writer", "sim"),
    ("lost-call", "liveness", "who leaves a worker's seat forgets who called", "sim"),
    ("shared-seat", "G1", "two threads play one worker at once", "sim"),
    ("drop-event", "G5", "one event never leaves the outbox",
     "streams: every domain event comes once with its type seq and payload"),
    ("late-stream", "G5", "a stream skips the event after its snapshot",
     "streams: a user hears of their own orders and of nothing else"),
    ("resume-off-by-one", "G5", "a resumed stream skips one event",
     "streams: an events stream goes on exactly after its last id"),
    ("cursor-past-ring", "G5", "a cursor behind the ring reads the ring",
     "streams: an events stream goes on after a kill"),
    ("publish-ahead", "G5", "marked published before it is",
     "durability: the database can be read by anyone while the server writes"),
    ("silent-gap", "G6", "an id that is not ours gets no reset",
     "streams: an id from another database gives a reset and the oldest retained events"),
    ("both-framings", "input", "two lengths of one body are taken",
     "framing: content length and transfer encoding together are refused"),
    ("token-expired", "access", "a token is good for ever", "tokens: a token expires"),
    ("token-unsigned", "access", "a token's signature is not looked at",
     "tokens: a token that is not right in every way is 401"),
    ("any-role", "access", "whoever has a token is an admin",
     "tokens: what needs an administrator is 401 without a token and 403 with another role"),
    ("payment-unsigned", "access", "a payment needs no signature",
     "tokens: a payment needs a signature when a secret is set"),
)


def command_of(test, build, fault, binary):
    """The command that runs a test, with a fault or (None) as its control."""
    sim = os.path.join(build, "tests", "sim")
    if test.split()[0] in ("sim", "race"):
        race = ["--race", test.split()[1]] if test != "sim" else []
        if fault:
            return [sim, *race, "--fault", fault, "--seeds", SEEDS]
        return [sim, *race, "--seeds", RACE_SEEDS if race else CONTROL_SEEDS]
    if test.startswith("disk "):
        kind = test.split()[1]
        how = {"power": [], "errors": ["--how", "io", "--every", "5"]} if fault else {
            "power": ["--images", "300"], "errors": ["--every", "100"]}
        return [os.path.join(build, "tests", "faults"), kind, *how[kind], *(["--fault", fault] if fault else [])]
    if test == "crash":
        crash = [os.path.join(ROOT, "tests", "crash", "crash.py"), "--binary", binary]
        return crash + (["--fault", fault] if fault else ["2"])
    function = "test_" + test.split(": ")[1].replace(" ", "_")
    return [os.path.join(ROOT, "tests", "e2e", "run.py"), "--binary", binary, "--jobs", "1", function]


def run(command, fault):
    environment = {key: value for key, value in os.environ.items() if key != "FLASHD_FAULT"}
    if fault and not command[0].endswith(("sim", "faults", "crash.py")):
        environment["FLASHD_FAULT"] = fault
    begin = time.monotonic()
    ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300)
    return ran.returncode, ran.stdout, time.monotonic() - begin


def verdict(test, fault, build, binary):
    """(caught, after how many seeds or kills, seconds, what the test said)"""
    status, said, seconds = run(command_of(test, build, fault, binary), fault)
    if test.startswith("disk "):
        first = re.search(r" fail; the first: (.*)", said)
        return status == 0 and first, "1 run", seconds, first[1] if first else said[-300:]
    if test.split()[0] in ("sim", "race"):
        seed = re.search(r"^seed \d+: (.*)", said, re.M) or re.search(r"cannot happen: (.*) \(", said)
        seeds = re.search(r" is caught \((\d+) seeds\)", said)
        return status == 0 and seeds, f"{seeds[1]} seeds" if seeds else "", seconds, seed[1] if seed else said[-300:]
    if test == "crash":
        caught = re.search(r"^     \| (?:kill (\d+): )?(.*)", said, re.M)
        return (status == 0 and caught, f"{caught[1] or 1} kills" if caught else "", seconds,
                caught[2] if caught else said[-300:])
    title = re.search(r"^FAIL " + re.escape(test) + r" \(", said, re.M)
    why = re.findall(r"^     \| (?:\w*\.)?\w*(?:Error|Ended|Exception|the server ended)\b:? ?(.*)", said, re.M)
    return status == 1 and title, "1 run", seconds, why[-1] if why else said[-300:]


def controls(build):
    """(name, passed, seconds, what was said) of each test without a fault, as a generator of thunks."""
    faulty, shipped = (os.path.join(build, name) for name in ("flashd_faults", "flashd"))
    for test in dict.fromkeys(test for _, _, _, test in MUTANTS):
        programs = (build,) if test.split()[0] in ("sim", "race", "disk") else (faulty, shipped)
        for program in programs:
            def control(test=test, program=program):
                status, said, seconds = run(command_of(test, build, None, program), None)
                passed = status == 0 and (": " not in test or f"ok   {test} (" in said)
                return f"{test} ({os.path.basename(program)})", passed, seconds, said
            yield control


def without_names(build):
    """Complaints when the shipped program knows a fault."""
    with open(os.path.join(build, "flashd"), "rb") as program, \
            open(os.path.join(build, "flashd_faults"), "rb") as other:
        shipped, faulty = program.read(), other.read()
    names = sorted({fault for fault, _, _, _ in MUTANTS})
    wrong = [f"{name} is not in flashd_faults" for name in names if b"\0" + name.encode() + b"\0" not in faulty]
    return wrong + [f"{name} is in flashd" for name in names if b"\0" + name.encode() + b"\0" in shipped]


def unlisted(build):
    """Faults that the programs know and the table does not."""
    said = run([os.path.join(build, "tests", "sim"), "--fault", "?"], None)[1]
    known = set(re.search(r"there are: (.*)", said)[1].split()) - {"none", "late-view", "blind-archive"}  # break nothing of ours
    return sorted(known - {fault for fault, _, _, _ in MUTANTS})


def known_fault(name):
    """An argument's type: `choices` would refuse an empty list of them."""
    if name not in {row[0] for row in MUTANTS}:
        raise argparse.ArgumentTypeError(f"{name!r} is no fault of this list")
    return name


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--quick", action="store_true", help="without the crash runs")
    parser.add_argument("--tally")
    parser.add_argument("faults", nargs="*", metavar="FAULT", type=known_fault)
    args = parser.parse_args()
    rows = [row for row in MUTANTS if (not args.faults or row[0] in args.faults)
            and not (args.quick and row[3] == "crash")]
    faulty, begin = os.path.join(args.build, "flashd_faults"), time.monotonic()
    bad = [f"the fault {name} stands in no row" for name in unlisted(args.build)] + without_names(args.build)
    caught_count, control_count = 0, 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        verdicts = [pool.submit(verdict, test, fault, args.build, faulty) for fault, _, _, test in rows]
        checks = [] if args.faults else [pool.submit(control) for control in controls(args.build)]
        print(f"{'fault':21} {'':8} {'breaks':46} {'caught after':>20}  by")
        for (fault, guarantee, breaks, test), waited in zip(rows, verdicts):
            caught, after, seconds, said = waited.result()
            caught_count += bool(caught)
            how = f"{after}, {seconds:.1f} s" if caught else "NOT CAUGHT"
            print(f"{fault:21} {guarantee:8} {breaks:46} {how:>20}  {test}\n{'':22}{said.strip()[:150]}", flush=True)
            if not caught:
                bad.append(f"{fault} is not caught by {test}")
        for waited in checks:
            name, passed, _, said = waited.result()
            control_count += passed
            if not passed:
                bad.append(f"without a fault, {name} fails:\n{said[-2000:]}")
    print("".join(f"FAIL {line}\n" for line in bad), end="")
    print(f"mutants: {caught_count} of {len(rows)} caught, {control_count} of {len(checks)} controls passed,"
          f" {time.monotonic() - begin:.0f} s")
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{caught_count + control_count} {len(bad)}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
