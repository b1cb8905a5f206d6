#!/usr/bin/env python3
"""Where each microsecond of a purchase goes: CPU time by stage, from samples of all threads of a flashd under load.

  purchase.py [--seconds S] [--json FILE]      ./run bench profile installs what it needs (wrk, linux-perf)

Starts build/flashd, buys at full speed (measure.saturate()), samples with perf, and divides the measured CPU time of a
purchase among the stages by their samples. The table STAGES gives a sample's stage: in the kernel by any function on
its call chain, in flashd by the source file of the innermost function that the table knows. An inlined function counts
as its caller; samples that no row knows are shown as such, with their functions. Needs the right to sample the kernel:
root, or kernel.perf_event_paranoid at 1 or less.
"""
import argparse, collections, json, os, pathlib, re, shutil, signal, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import measure  # noqa: E402

KERNEL = "[kernel.kallsyms]"

# Stage, threads, where, pattern; the first row that fits wins. "kernel": a function on the chain of a sample taken in
# the kernel; "code": source file (or library) of a function, from the innermost out; "any": whatever it is.
STAGES = [
    ("streams", r"broadcaster", "any", ""),
    ("clock", r"clock", "any", ""),
    ("kernel: receive", r"net-", "kernel", r"tcp_recvmsg|io_recv|sock_recvmsg|inet_recvmsg"),
    ("kernel: send", r"net-", "kernel", r"tcp_sendmsg|io_send|sock_sendmsg|inet_sendmsg"),
    ("kernel: sync", r"", "kernel", r"do_fsync|fdatasync"),
    ("kernel: file write", r"", "kernel", r"ksys_pwrite|__x64_sys_pwrite|vfs_write|ksys_pread|vfs_read|fallocate"),
    ("kernel: sleep and wake", r"", "kernel", r"futex|eventfd|schedule$|io_cqring_wait_schedule|finish_task_switch"),
    ("kernel: page faults", r"", "kernel", r"exc_page_fault"),
    ("kernel: io_uring", r"", "kernel", r"io_uring_enter"),
    ("kernel: other", r"", "kernel", r""),
    ("hand-over", r"", "code", r"engine/(port|wake)\.c|main/hash\.c|libsodium"),
    ("parse and route", r"net-", "code", r"net/(http\w*|routes|handlers|body|flat|pairs)\.c|llhttp"),
    ("answer", r"net-", "code", r"net/(answer|replies|encode|timestamp)\.c|engine/(text|id)\.c|libjansson"),
    ("connections", r"net-", "code", r"net/|liburing"),
    ("log", r"", "code", r"engine/(log|journal)\.c"),
    ("decision", r"net-|worker-", "code", r"engine/"),
    ("books", r"writer", "code", r"engine/(books|view|sale|seqmap|order)\.c"),
    ("event as JSON", r"writer", "code", r"engine/"),
    ("SQLite", r"writer", "code", r"persist/|libsqlite3"),
]
UNKNOWN = "not told apart"
ORDER = ["kernel: receive", "parse and route", "connections", "hand-over", "decision", "log", "books", "event as JSON",
         "SQLite", "kernel: file write", "kernel: sync", "answer", "kernel: send", "kernel: io_uring",
         "kernel: sleep and wake", "kernel: page faults", "kernel: other", "clock", "streams", UNKNOWN]


def samples(script):
    """(thread, [(function, program or library)], innermost first) of each sample in the text of perf script."""
    for block in script.split("\n\n"):
        lines = block.strip("\n").splitlines()
        if not lines or lines[0][:1].isspace():
            continue
        frames = [match.groups() for match in (re.match(r"\s+[0-9a-f]+ (.+?) \((.+)\)$", line) for line in lines[1:])
                  if match]
        yield lines[0].rsplit(None, 1)[0].strip(), frames


def stage_of(thread, frames, files):
    """A row of STAGES, by its name."""
    in_kernel = bool(frames) and frames[0][1] == KERNEL
    chain = [function for function, program in frames if program == KERNEL]
    code = [files.get(re.sub(r"\.(isra|part|constprop|cold).*", "", function), program)
            for function, program in frames if program != KERNEL]
    for stage, threads, where, pattern in STAGES:
        if not re.match(threads, thread):
            continue
        if where == "any" or (in_kernel and where == "kernel" and any(re.search(pattern, at) for at in chain)):
            return stage
    return UNKNOWN if in_kernel else next(filter(None, (stage_of_code(thread, at) for at in code)), UNKNOWN)


def stage_of_code(thread, file):
    for stage, threads, where, pattern in STAGES:
        if where == "code" and re.match(threads, thread) and re.search(pattern, file):
            return stage
    return None


def source_files(binary):
    """The source file, from the project's root, of each function of a program."""
    listed = subprocess.run(["nm", "-l", binary], text=True, capture_output=True, check=True).stdout
    found = re.findall(r"^\w+ [tT] (\S+)\t(\S+):\d+$", listed, re.M)
    return {re.sub(r"\..*", "", name): path.replace(str(measure.ROOT) + "/", "") for name, path in found}


def sampled(load, pid, data):
    """perf's samples of a process while it is loaded, and what the load returned."""
    perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "3989", "-g", "-o", data, "-p", str(pid)],
                            stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)  # until it samples
    if perf.poll() is not None:
        sys.exit("perf does not start: " + perf.stderr.read().strip())
    try:
        result = load()
    finally:
        perf.send_signal(signal.SIGINT)
        perf.communicate(timeout=measure.STEP_S)
    script = subprocess.run(["perf", "script", "-i", data, "-F", "comm,tid,ip,sym,dso"], text=True, capture_output=True,
                            check=True, errors="replace", timeout=measure.READY_S).stdout
    return result, script


def share_out(script, files, cpu_us):
    """[(stage, microseconds a purchase, share, its commonest functions)], as a purchase goes."""
    counts, functions = collections.Counter(), collections.defaultdict(collections.Counter)
    for thread, frames in samples(script):
        stage = stage_of(thread, frames, files)
        counts[stage] += 1
        if frames:
            functions[stage][frames[0][0] if frames[0][0] != "[unknown]" else pathlib.Path(frames[0][1]).name] += 1
    total = sum(counts.values())
    if total < 100:
        sys.exit(f"{total} samples are too few")
    return [(stage, cpu_us * counts[stage] / total, counts[stage] / total,
             [name for name, _ in functions[stage].most_common(3)]) for stage in ORDER if counts[stage]]


def table(rows, cpu_us):
    lines = [f"{'stage':24}{'us':>7}{'share':>7}  mostly in"]
    lines += [f"{stage:24}{us:7.2f}{share * 100:6.1f}%  {', '.join(names)}" for stage, us, share, names in rows]
    return "\n".join([*lines, f"{'a purchase':24}{cpu_us:7.2f}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=measure.positive, default=5)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="flashd-profile-", dir=os.environ.get("BENCH_DIR"))
    flashd = measure.Flashd(f"{folder}/data")
    try:
        sale = flashd.sale()
        flashd.saturate([sale], 2)  # warm-up
        load, script = sampled(lambda: flashd.saturate([sale], args.seconds), flashd.pid, f"{folder}/perf.data")
    finally:
        flashd.stop()
        shutil.rmtree(folder)
    rows = share_out(script, source_files(measure.FLASHD), load["cpu_us"])
    print(f"{load['rate']:,.0f} purchases/s, {load['cpu_us']:.2f} us of CPU time each, the sampling included")
    print(table(rows, load["cpu_us"]))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"load": load, "stages": [
            dict(zip(("stage", "us", "share", "functions"), row)) for row in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
