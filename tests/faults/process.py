#!/usr/bin/env python3
"""
process.py: the real process on a failing disk, or killed during a write; checked with the clients' own ledger.

    process.py kills [COUNT|all]     SIGKILL at a pwrite64 or fdatasync of a script of 200 orders, by strace
    process.py errors [COUNT|all]    flashd_faults: a durable call fails (io, full, torn): tests/faults/vfs.h
    process.py delay                 flashd_faults: every sync takes 50 ms
    process.py caught                flashd_faults: ignores a commit's failed sync, which must be noticed

Options: [--seed N] [--binary build/flashd] [--faults-binary build/flashd_faults] [--jobs N] [--tally FILE]

COUNT calls are spread evenly over all calls of the script; `all` takes every one. After each, the files are
audited as they are and must have every answer; so must the next start, which goes on selling.

Where ptrace is not permitted (some containers), the test build's VFS does the kills instead, during the same
calls; the printed line says so.
"""
import argparse
import concurrent.futures
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("e2e", "crash"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), folder))
sys.dont_write_bytecode = True
import crash  # noqa: E402
import harness  # noqa: E402

SHOPPERS, ORDERS, STEPS_MAX = 6, 200, 400
FLAGS = ("--workers", "2", "--net-threads", "1", "--state-interval-ms", "20")
CALLS = ("pwrite64", "fdatasync")
WAYS = ("io", "full", "torn")
DELAY_MS = 50


class Shopper(crash.Client):
    """The crash test's client with an end: its share of the 200 orders; or, where a kill is to come, that."""

    def __init__(self, number, seed, until_gone):
        super().__init__(number, seed, None)
        self.took_s, self.until_gone = [], until_gone

    def run(self, port, sale, _):
        http = harness.Client(port, timeout_s=20)
        try:
            for _ in range(STEPS_MAX):
                if len(self.ledger.buyers) * SHOPPERS >= ORDERS and not self.until_gone:
                    break
                begin = time.monotonic()
                self.step(http, sale)
                self.took_s.append(time.monotonic() - begin)
        except OSError:
            pass  # the server is gone
        except Exception as error:  # reported by the checks
            self.strange.append(f"client {self.number}: {error!r}")
        http.close()


class Traced(harness.Server):
    """Its start under strace, which is not to outlive what it traces."""

    def __init__(self, data, strace, **options):
        super().__init__(data, FLAGS, **options)
        self.strace = strace

    def command(self):
        return self.strace + super().command()

    def signal(self, how):
        """To flashd itself, which may be strace's child."""
        pid = self.process.pid
        if self.strace:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                pid = int((children.read().split() or [pid])[0])
        os.kill(pid, how)


# strace's --seccomp-bpf would be faster, but with it 6.1 injects nothing.
def inject(call, number):
    return ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]


def attach(pid, arguments):
    """strace on one thread that runs already; None when it may not."""
    strace = subprocess.Popen(["strace", "-p", str(pid)] + arguments, stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    if "attached" in strace.stderr.readline():
        return strace
    strace.kill()
    strace.wait()
    strace.stderr.close()
    return None


def let_go(strace):
    strace.terminate()
    strace.wait()
    strace.stderr.close()


def thread_called(pid, name):
    """A thread names itself, a moment after it was started."""
    def look():
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as comm:
                if comm.read().strip() == name:
                    return int(thread)
        return None
    return harness.eventually(look, what=f"a thread called {name}")


def may_trace():
    """Whether ptrace is permitted: of a child from its start, and of a process that runs."""
    try:
        if subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, timeout=20).returncode:
            return False
        with subprocess.Popen(["sleep", "20"]) as sleeper:
            strace = attach(sleeper.pid, ["-o", "/dev/null"])
            if strace:
                let_go(strace)
            sleeper.kill()
        return strace is not None
    except (OSError, subprocess.TimeoutExpired):
        return False


# ------------------------------------------------------------------------------------------- a trial

class Trial:
    """One life that meets a fault, and the start after it."""

    def __init__(self, folder, seed, binaries, strace=(), plan=None, fault=None, at_writer=()):
        """strace: before the command; at_writer: strace's arguments for the thread that writes."""
        self.plan, self.binaries, self.at_writer = plan, binaries, list(at_writer)
        env = {"FLASHD_TEST_VFS": plan} if plan else {}
        env.update({"FLASHD_FAULT": fault} if fault else {})
        executable = binaries["faults"] if env else binaries["flashd"]
        os.makedirs(folder, exist_ok=True)
        self.server = Traced(os.path.join(folder, "data"), list(strace), env=env, executable=executable)
        self.server._admin = harness.mint(role="admin", sub="boss", exp=int(time.time()) + 3600)
        self.shoppers = [Shopper(number, seed, self.kills()) for number in range(SHOPPERS)]
        self.sale, self.status = None, None

    def kills(self):
        return any("inject=" in word for word in self.server.strace + self.at_writer) or (
            self.plan or "").startswith("kill")

    def live(self):
        """Until the end of the script or of the process; self.status is how it ended."""
        try:
            self.server.start()
        except harness.Ended as ended:
            self.status = ended.status
            return
        strace = attach(thread_called(self.server.process.pid, "writer"), self.at_writer) if self.at_writer else None
        try:
            self.sale = self.server.new_sale(stock=crash.STOCK, holdMs=crash.HOLD_MS)["id"]
            self.server.until(self.sale, state="ACTIVE")
            self.shop()
        except OSError:
            pass  # the server is gone
        self.end()
        if strace:
            let_go(strace)

    def shop(self):
        threads = [threading.Thread(target=shopper.run, args=(self.server.port, self.sale, None))
                   for shopper in self.shoppers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def end(self):
        try:
            self.status = self.server.process.wait(0.05)
        except subprocess.TimeoutExpired:
            self.server.signal(signal.SIGTERM)
            self.status = self.server.process.wait(10 * harness.slack())
        self.server._gone()

    def said(self):
        return self.server.log().strip()

    def audit(self):
        done = subprocess.run([self.binaries["flashd"], "audit", self.server.data], capture_output=True, text=True,
                              timeout=30)
        if done.returncode != 0:
            raise crash.Caught(f"audit: {done.stdout} {done.stderr}")

    def verify(self):
        """The bare files, then a start, then the files that it leaves."""
        if self.answers():
            self.audit()
            crash.check_ledgers(self.shoppers, crash.check_database(self.server.db_path))
        self.server.strace, self.server.env = [], {"FLASHD_JWT_SECRET": harness.SECRET}
        self.server.executable = self.binaries["flashd"]
        try:
            self.server.start()
        except harness.Ended as error:
            raise crash.Caught(f"it does not start again: {error}") from None
        told = crash.check_database(self.server.db_path)
        crash.check_ledgers(self.shoppers, told)
        if self.answers():
            crash.check_orders_by_http(self.server, self.shoppers, told, random.Random(1))
        after = self.server.open_sale(stock=2)
        self.server.must_pay(self.server.must_hold(after, "somebody new"))
        if self.server.stop() != 0:
            raise crash.Caught("it does not end with status 0 on SIGTERM")
        self.audit()
        crash.check_ledgers(self.shoppers, crash.check_database(self.server.db_path))

    def answers(self):
        return sum(len(shopper.ledger.answers) for shopper in self.shoppers)

    def close(self):
        if self.server.process is not None:
            self.server.signal(signal.SIGKILL)
            self.server.kill()


def check_ending(trial):
    """Killed, stopped with a clear line, or gone on to the end of the script. Which calls are made depends on how
    requests meet, so the last few numbers may be past the end."""
    kills = trial.kills()
    if trial.status in (-signal.SIGKILL, 128 + signal.SIGKILL) and kills:
        return "killed"
    if trial.status == 0:
        return "went on" if trial.plan and "fault VFS: " in trial.said() else "met no fault"
    last = (trial.said().splitlines() or [""])[-1]
    wanted = {70: "stopping: ", 1: "cannot start: "}.get(trial.status)
    if kills or wanted is None or wanted not in last or len(last.split(wanted)[1]) < 10:
        raise crash.Caught(f"it ended with {trial.status}: {trial.said()[-400:]}")
    return "stopped" if trial.status == 70 else "did not start"


def try_one(title, seed, binaries, strace, plan, fault=None, at_writer=()):
    """In a process of its own: (title, how it ended, answers, what was wrong or None)."""
    with tempfile.TemporaryDirectory(prefix="flashd-faults-", dir=memory()) as folder:
        trial, ending, wrong = Trial(folder, seed, binaries, strace, plan, fault, at_writer), "?", None
        try:
            trial.live()
            ending = check_ending(trial)
            trial.verify()
        except (crash.Caught, AssertionError, OSError, subprocess.TimeoutExpired) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            trial.close()
        return title, ending, trial.answers(), wrong


def memory():
    """Where a sync costs nothing: what a disk would lose is the business of `faults power`."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# ------------------------------------------------------------------------------------------ counting

def sound_life(folder, seed, binaries, **options):
    trial = Trial(folder, seed, binaries, **options)
    trial.live()
    if trial.status != 0:
        sys.exit(f"the script fails by itself: status {trial.status}: {trial.said()}")


def durable_calls(seed, binaries):
    """How many the fault VFS sees in a script, at most: it depends on how requests meet."""
    counts = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="flashd-faults-", dir=memory()) as folder:
            counted = os.path.join(folder, "calls")
            sound_life(folder, seed, binaries, plan=f"count {counted}")
            counts.append(os.path.getsize(counted))
    return max(counts)


def traced_calls(seed, binaries):
    """{(thread, call): how many strace sees}: main until it is ready and after the end, writer between."""
    with tempfile.TemporaryDirectory(prefix="flashd-faults-", dir=memory()) as folder:
        counted, count, main = os.path.join(folder, "calls"), {}, None
        arguments = ["-o", counted, "-e", "trace=" + ",".join(CALLS)]
        sound_life(os.path.join(folder, "1"), seed, binaries, strace=["strace", "-f"] + arguments)
        with open(counted, encoding="utf-8", errors="replace") as lines:
            found = [line.split(None, 1) for line in lines]
        main = found[0][0]  # it creates the database before there is another thread
        sound_life(os.path.join(folder, "2"), seed, binaries, at_writer=arguments)
        with open(counted, encoding="utf-8", errors="replace") as lines:
            found = [rest for pid, rest in found if pid == main] + [None] + list(lines)
        for call in CALLS:
            for thread, part in (("main", found[:found.index(None)]), ("writer", found[found.index(None) + 1:])):
                count[thread, call] = sum(rest.startswith(call + "(") for rest in part)
        return count


def spread(count, wanted):
    """Call numbers from 1: all, or so many of them, evenly."""
    if wanted >= count:
        return range(1, count + 1)
    return sorted({1 + i * (count - 1) // max(1, wanted - 1) for i in range(max(1, wanted))})


def run_all(args, trials):
    """Prints what failed; (how many, {ending: count}, answers, failures)."""
    endings, answers, failed = {}, 0, []
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        running = [pool.submit(try_one, *trial) for trial in trials]
        for done in concurrent.futures.as_completed(running):
            title, ending, answered, wrong = done.result()
            endings[ending] = endings.get(ending, 0) + 1
            answers += answered
            if wrong:
                failed.append(title)
                print(f"     | {title}: {wrong}", flush=True)
    return endings, answers, failed


def summary(args, what, trials, begin, found, must):
    """One line and one test. must: the endings of which there has to be at least one."""
    endings, answers, failed = found
    missing = [ending for ending in must if ending not in endings]
    told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    passed = not failed and not missing and answers > 0
    print(f"{'ok  ' if passed else 'FAIL'} faults: {what}: {len(trials)} lives: {told}; {answers} answers,"
          f" {len(failed)} wrong{f', none {missing}' if missing else ''}"
          f" ({time.monotonic() - begin:.0f} s, seed {args.seed})", flush=True)
    return passed


# -------------------------------------------------------------------------------------------- verbs

def kills(args):
    begin, trace = time.monotonic(), may_trace()
    counted = (traced_calls(args.seed, args.binaries) if trace else
               {("any thread", "durable call"): durable_calls(args.seed, args.binaries)})
    wanted = 10 ** 9 if args.count == "all" else (args.count or 30)
    trials = []
    for (thread, call), count in sorted(counted.items()):
        for number in spread(count, max(2, wanted * count // sum(counted.values()))):
            title = f"{thread} {call} {number}"
            if not trace:
                trials.append((title, args.seed, args.binaries, [], f"kill at={number}"))
            elif thread == "main":
                command = ["strace", "-f"] + inject(call, number)
                trials.append((title, args.seed, args.binaries, command, None))
            else:
                trials.append((title, args.seed, args.binaries, [], None, None, inject(call, number)))
    told = ", ".join(f"{count} {call} of {thread}" for (thread, call), count in sorted(counted.items()))
    how = (f"SIGKILL by strace at one of {told}" if trace else
           f"NO PTRACE HERE, so SIGKILL by the test build's VFS at one of {told}")
    return summary(args, how, trials, begin, run_all(args, trials), ["killed"])


def errors(args):
    begin = time.monotonic()
    count = durable_calls(args.seed, args.binaries)
    wanted = 10 ** 9 if args.count == "all" else (args.count or 18)
    numbers = spread(count, wanted // (1 if args.count == "all" else len(WAYS)))
    trials = [(f"{way} {number}", args.seed, args.binaries, [],
               f"{way} at={number}" + (" until=end" if way == "full" else ""))
              for number in numbers for way in WAYS]
    return summary(args, f"one of {count} durable calls fails", trials, begin, run_all(args, trials), ["stopped"])


def caught(args):
    """The same with a server that ignores the error of a commit's sync: some life must come out wrong."""
    count = durable_calls(args.seed, args.binaries)
    for number in spread(count, 40):
        plan = f"io at={number} until=end calls=s"
        _, _, _, wrong = try_one(plan, args.seed, args.binaries, [], plan, "ignore-sync-error")
        if wrong:
            print(f"ok   faults: the real process with ignore-sync-error is caught ({plan})\n     | {wrong[:300]}")
            return True
    print("FAIL faults: the real process with ignore-sync-error is NOT caught")
    return False


def delay(args):
    """Slow is not broken: answers wait for the sync, none is lost, it stops in time."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flashd-faults-", dir=memory()) as folder:
        trial = Trial(folder, args.seed, args.binaries, (), f"delay in=1 calls=s ms={DELAY_MS}")
        wrong = None
        try:
            trial.live()
            took = sorted(took for shopper in trial.shoppers for took in shopper.took_s)
            median, p99 = (took[len(took) * part // 100] * 1000 for part in (50, 99))
            if trial.status != 0:
                raise crash.Caught(f"it ended with {trial.status}: {trial.said()}")
            if median < DELAY_MS:
                raise crash.Caught(f"half of the answers came within {median:.0f} ms: before their sync")
            trial.verify()
        except (crash.Caught, AssertionError, OSError) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            trial.close()
    if wrong:
        print(f"FAIL faults: syncs of {DELAY_MS} ms: {wrong}")
    else:
        print(f"ok   faults: syncs of {DELAY_MS} ms: {trial.answers()} answers, median {median:.0f} ms, p99 {p99:.0f} ms,"
              f" none lost, status 0 on SIGTERM ({time.monotonic() - begin:.0f} s)")
    return wrong is None


def some_or_all(text):
    return text if text == "all" else harness.positive(text)


def main():
    verbs = {"kills": kills, "errors": errors, "delay": delay, "caught": caught}
    build = os.path.join(harness.ROOT, "build")
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("count", nargs="?", type=some_or_all)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", default=os.path.join(build, "flashd"))
    parser.add_argument("--faults-binary", default=os.path.join(build, "flashd_faults"))
    parser.add_argument("--jobs", type=harness.positive, default=max(2, os.cpu_count() or 1))
    parser.add_argument("--tally")
    args = parser.parse_args()
    args.binaries = {"flashd": os.path.abspath(args.binary), "faults": os.path.abspath(args.faults_binary)}
    for path in args.binaries.values():
        if not os.access(path, os.X_OK):
            sys.exit(f"no binary at {path}")
    passed = verbs[args.verb](args)
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write("1 0\n" if passed else "0 1\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
