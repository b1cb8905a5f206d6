"""test_settings.py: bad settings give one line and exit status 2, and nothing is created."""
import os
import re
import signal
import socket
import subprocess
import time

from harness import (SECRET, Ended, binary, command_prefix, clean_environment, eventually, expect, mint,
                     now_ms, patient, raises, run_flashd, slack)


def assert_refused(t, args, env, names):
    """Exit 2, exactly one line on stderr that holds each of the names, no data directory."""
    data = t.new_data()
    listen = [] if "--listen" in args else ["--listen", "127.0.0.1:0"]
    ended = run_flashd(["serve", "--data", data] + listen + args, env=env)
    what = f"{args} {env}: status {ended.returncode}, stderr {ended.stderr!r}"
    assert ended.returncode == 2, what
    assert ended.stdout == "", what
    assert ended.stderr.count("\n") == 1 and ended.stderr.endswith("\n"), what
    for name in names:
        assert name in ended.stderr, f"{name!r} is not named: {what}"
    assert not os.path.exists(data), f"the data directory was created: {what}"
    return ended.stderr


BAD = [
    ("listen", ["", "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
                ":::", "256.0.0.1:80", "127.0.0.1:80:80"]),
    ("net-threads", ["0", "-1", "17", "x", "1x", "1.5", "", " 1", "99999999999999999999"]),
    ("workers", ["0", "-1", "17", "x", "2 ", "0x2", ""]),
    ("state-interval-ms", ["0", "-1", "60001", "fast", "1e3", ""]),
    ("reconcile-schedule", ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *",
                            "* * * 13 *", "*/0 * * * *", "5-1 * * * *", "a * * * *", "1,,2 * * * *"]),
    ("retention-days", ["-1", "36501", "week", ""]),
    ("heartbeat-ms", ["9", "3600001", "x", "-5"]),
    ("stream-tick-ms", ["-1", "60001", "x"]),
    ("buyer-names", ["yes", "", "Shown", "hiddenx"]),
    ("log-level", ["loud", "", "INFO"]),
    ("log-format", ["xml", "", "JSON"]),
    ("min-free-bytes", ["-1", "x", "1G", ""]),
    ("max-connections", ["1000001", "-1", "x"]),
    ("idempotency-keys", ["0", "8388609", "-1", "many"]),
]


def test_a_bad_flag_is_refused_by_name_value_and_what_is_allowed(t):
    for name, values in BAD:
        for value in values:
            line = assert_refused(t, [f"--{name}", value], {}, [name, value])
            rest = line.replace(f"--{name}", "").replace(value or "\0", "")
            assert len(rest.strip()) > 10, f"does not say what is allowed: {line!r}"


def test_a_bad_environment_variable_is_refused_just_so(t):
    for name, values in BAD:
        if name == "listen":
            continue  # the flag is given, and wins
        variable = "FLASHD_" + name.upper().replace("-", "_")
        value = next(value for value in values if value)
        line = assert_refused(t, [], {variable: value}, [value])
        assert variable in line or name in line, line


def test_a_bad_range_names_its_bounds(t):
    for name, value, bounds in (("workers", "17", ("1", "16")), ("state-interval-ms", "0", ("1", "60000")),
                                ("retention-days", "36501", ("0", "36500")),
                                ("heartbeat-ms", "9", ("10", "3600000"))):
        assert_refused(t, [f"--{name}", value], {}, bounds)


def test_a_mistyped_environment_variable_is_refused_by_name_but_its_value_is_not_shown(t):
    line = assert_refused(t, [], {"FLASHD_JWT_SECRETT": SECRET}, ["FLASHD_JWT_SECRETT"])
    assert SECRET not in line


def test_the_older_names_of_settings_are_checked_too(t):
    for variable, value in (("CRON_STATE_INTERVAL_MS", "0"), ("CRON_RECONCILIATION_SCHEDULE", "often"),
                            ("LOG_LEVEL", "loud")):
        assert_refused(t, [], {variable: value}, [value])


def test_an_unknown_or_incomplete_flag_is_refused_by_name(t):
    assert_refused(t, ["--bogus", "1"], {}, ["--bogus"])
    assert_refused(t, ["--bogus"], {}, ["--bogus"])
    assert_refused(t, ["stray"], {}, ["stray"])
    assert_refused(t, ["--workers"], {}, ["--workers"])
    assert_refused(t, ["-w", "1"], {}, ["-w"])


def test_a_bad_secret_is_refused_and_never_printed(t):
    short = "only-31-bytes-of-a-secret-here!"
    assert len(short) == 31
    line = assert_refused(t, [], {"FLASHD_JWT_SECRET": short}, ["FLASHD_JWT_SECRET", "32"])
    assert short not in line, line
    line = assert_refused(t, ["--jwt-secret-file", t.file("short", short)], {}, ["jwt-secret-file"])
    assert short not in line
    assert_refused(t, ["--jwt-secret-file", "/nowhere/at/all"], {}, ["jwt-secret-file", "/nowhere/at/all"])
    assert_refused(t, ["--payment-secret-file", "/nowhere/at/all"], {}, ["payment-secret-file"])
    assert_refused(t, ["--payment-secret-file", t.file("empty", "")], {}, ["payment-secret-file"])


def test_a_secret_may_come_from_a_file(t):
    path = t.file("secret", SECRET + "\n")  # as editors leave it
    shop = t.server("--jwt-secret-file", path, secret=None).start()
    token = mint(sub="boss", role="admin", exp=now_ms() // 1000 + 60)
    body = {"name": "x", "productQty": 1, "startsAt": now_ms() - 1000, "endsAt": now_ms() + 10000}
    expect(shop.post("/sales", body, token=token), 201)


def test_a_flag_wins_over_the_environment_and_flashd_names_over_the_others(t):
    shop = t.server("--state-interval-ms", "20", env={"FLASHD_STATE_INTERVAL_MS": "60000"}).start()
    shop.until(shop.new_sale(stock=1)["id"], within_s=0.5, state="ACTIVE")
    other = t.server(env={"FLASHD_STATE_INTERVAL_MS": "20", "CRON_STATE_INTERVAL_MS": "60000"}).start()
    other.until(other.new_sale(stock=1)["id"], within_s=0.5, state="ACTIVE")
    third = t.server(env={"CRON_STATE_INTERVAL_MS": "20"}).start()
    third.until(third.new_sale(stock=1)["id"], within_s=0.5, state="ACTIVE")


def test_a_flag_may_be_written_with_an_equals_sign(t):
    shop = t.server("--state-interval-ms=20").start()
    shop.until(shop.new_sale(stock=1)["id"], within_s=0.5, state="ACTIVE")


def test_the_ready_line_is_all_that_stands_on_stdout(t):
    shop = t.shop()
    assert re.match(r"^flashd listening on http://127\.0\.0\.1:\d+\n$", shop.ready_line)
    sale = shop.open_sale(stock=1)
    shop.must_hold(sale, "ann")
    assert shop.stop() == 0
    assert shop.rest_of_stdout == ""


def test_a_port_in_use_is_told_and_no_ready_line_is_printed(t):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_flashd(["serve", "--listen", f"127.0.0.1:{port}", "--data", t.new_data()])
    assert ended.returncode not in (0, 2) and ended.stdout == "", ended
    assert str(port) in ended.stderr, ended.stderr


@patient
def test_of_two_servers_that_start_at_once_one_gets_the_port(t):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = ["serve", "--listen", f"127.0.0.1:{port}", "--net-threads", "2", "--data"]
    slow_at = "inject=bind:delay_enter=2500000:when=2"  # between its first bind and its second
    slow = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bind", "-e", slow_at, binary(),
                             *serve, t.new_data()], env=clean_environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)
    try:
        time.sleep(1.0)
        if slow.poll() is None:  # else ptrace is not permitted here
            ended = run_flashd([*serve, t.new_data()])
            assert ended.returncode == 1 and ended.stdout == "" and "cannot listen" in ended.stderr, ended
            assert slow.stdout.readline() == f"flashd listening on http://127.0.0.1:{port}\n"
            with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
                wire.sendall(b"GET /sales HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        if slow.poll() is None:  # strace itself does not end by a signal while its child runs
            with open(f"/proc/{slow.pid}/task/{slow.pid}/children", encoding="ascii") as children:
                for child in children.read().split():
                    os.kill(int(child), signal.SIGTERM)
        slow.wait(20)
        slow.stdout.close()


@patient
def test_a_kernel_that_refuses_io_uring_is_told_with_what_to_do(t):
    """The streams' ring and, in the second row, the first net thread's: both say it in the same words."""
    for at in ("1", "2"):
        for error, said, hint in (("EPERM", "Operation not permitted", "seccomp|kernel.io_uring_disabled is set"),
                                  ("ENOSYS", "Function not implemented", "seccomp"),
                                  ("ENOMEM", "Cannot allocate memory", "RLIMIT_MEMLOCK"),
                                  ("EMFILE", "Too many open files", "RLIMIT_NOFILE")):
            ended = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e",
                                    f"inject=io_uring_setup:error={error}:when={at}", binary(), "serve", "--listen",
                                    "127.0.0.1:0", "--net-threads", "1", "--data", t.new_data()],
                                   env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                   timeout=20)
            if "ptrace" in ended.stderr:
                return  # it is not permitted here
            assert ended.returncode == 1 and ended.stdout == "", ended
            assert f"io_uring: setting up a ring: {said}" in ended.stderr, ended.stderr
            assert re.search(hint, ended.stderr.split(said)[1]), ended.stderr


def test_too_few_descriptors_to_start_are_not_called_a_lack_of_memory(t):
    said = []
    for descriptors in range(9, 40):
        try:
            t.server("--net-threads", "1", "--workers", "1", descriptors=descriptors).start()
            break
        except Ended as ended:
            said.append(ended.stderr)
    assert not any("memory" in line for line in said), said
    assert any("Too many open files" in line and "raise RLIMIT_NOFILE" in line for line in said), said


def test_a_data_directory_that_cannot_be_is_told(t):
    nowhere = os.path.join(t.folder, "nowhere")
    os.symlink("/nonexistent", nowhere)
    for path, why in ((t.file("a-file", ""), "Not a directory"), (nowhere, "No such file"),
                      (os.path.join(t.folder, "a", "b"), "No such file")):
        ended = run_flashd(["serve", "--listen", "127.0.0.1:0", "--data", path])
        assert ended.returncode == 1 and ended.stdout == "", ended
        assert "data directory" in ended.stderr and path in ended.stderr and why in ended.stderr, ended


def test_it_listens_on_ipv6_too(t):
    process = subprocess.Popen(command_prefix() + [binary(), "serve", "--listen", "[::1]:0", "--data", t.new_data()],
                               env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    try:
        line = process.stdout.readline()
        match = re.match(r"^flashd listening on http://\[::1\]:(\d+)\n$", line)
        assert match, line
        with socket.create_connection(("::1", int(match[1])), timeout=5) as wire:
            wire.sendall(b"GET /sales HTTP/1.1\r\nHost: [::1]\r\n\r\n")
            assert wire.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_help_and_version_and_config_are_told_on_stdout(t):
    for args in (["--help"], ["--version"], ["serve", "--help"]):
        ended = run_flashd(args)
        assert ended.returncode == 0 and ended.stdout and not ended.stderr, (args, ended)
    told = run_flashd(["--help"])
    for verb in ("serve", "demo", "token", "config"):
        assert verb in told.stdout, told.stdout
    assert re.search(r"\d+\.\d+\.\d+", run_flashd(["--version"]).stdout)


def test_config_shows_effective_settings_but_no_secret(t):
    told = run_flashd(["config"], env={"FLASHD_WORKERS": "3", "FLASHD_JWT_SECRET": SECRET})
    assert told.returncode == 0, told
    for name, _ in BAD:
        assert name in told.stdout, f"{name} not in {told.stdout}"
    assert re.search(r"workers.*\b3\b", told.stdout) and "FLASHD_WORKERS" in told.stdout, told.stdout
    assert SECRET not in told.stdout + told.stderr


def test_an_unknown_command_is_refused_with_status_2(t):
    for args in (["bogus"], ["serv"], ["token", "--bogus"]):
        ended = run_flashd(args)
        assert ended.returncode == 2 and ended.stdout == "" and ended.stderr.count("\n") >= 1, (args, ended)
        assert args[-1] in ended.stderr, ended.stderr
    ended = run_flashd([])
    assert ended.returncode == 2 and "a command is missing" in ended.stderr and "serve" in ended.stderr, ended


def test_every_flag_stands_in_the_help(t):
    told = run_flashd(["serve", "--help"]).stdout
    for name, _ in BAD + [("data", []), ("jwt-secret-file", []), ("payment-secret-file", [])]:
        assert f"--{name}" in told, name


def test_the_log_is_lines_of_text_or_of_json(t):
    import json
    text = t.shop()
    text.open_sale(stock=1)
    assert all(re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn) ", line)
               for line in text.log().splitlines()), text.log()
    assert text.log(), "nothing was logged"
    structured = t.shop("--log-format", "json")
    structured.open_sale(stock=1)
    for line in structured.log().splitlines():
        entry = json.loads(line)
        assert entry["level"] in ("info", "warn") and entry["message"] and entry["time"], entry


def test_the_debug_log_level_tells_of_checkpoints(t):
    shop = t.shop("--log-level", "debug")
    sale = shop.open_sale(stock=1000)

    def told():
        shop.must_hold(sale, f"buyer {time.monotonic_ns()}")
        return "debug checkpoint of 1" in shop.log()
    eventually(told, within_s=20, what="a checkpoint in the log")


def test_an_error_log_level_keeps_quiet(t):
    shop = t.shop("--log-level", "error")
    shop.open_sale(stock=1)
    assert shop.log() == "", shop.log()


def test_the_demo_opens_a_sale_and_shows_how_to_buy(t):
    data, log = t.new_data(), open(t.file("demo.log", ""), "w+", encoding="utf-8")
    process = subprocess.Popen(command_prefix() + [binary(), "demo", "--listen", "127.0.0.1:0", "--data", data],
                               env=clean_environment(), stdout=log, stderr=subprocess.STDOUT, cwd=t.folder,
                               stdin=subprocess.DEVNULL)
    try:
        def told():
            with open(log.name, encoding="utf-8") as seen:
                text = seen.read()
            return text if "sqlite3" in text else None
        text = eventually(told, within_s=10, what="the last line")
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", text)[1])
        assert len(re.findall(rf"^  curl -s http://127\.0\.0\.1:{port}/api/v1/(?:sales|buy|pay|transactions)\b", text, re.M)) == 5, text
        assert f"sqlite3 -readonly '{data}/flashd.db'" in text, text
        import harness
        sales = eventually(lambda: [sale for sale in expect(harness.Client(port).get("/sales"), 200)["sales"]
                                    if sale["state"] == "ACTIVE"], what="one open sale")
        assert len(sales) == 1
        expect(harness.Client(port).post("/buy", {"buyerName": "ann"}), 201)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        log.close()


def test_the_demos_curl_line_buys_also_beside_an_older_sale_that_is_sold_out(t):
    import harness
    shop = t.shop()
    shop.must_pay(shop.must_hold(shop.open_sale(stock=1), "ann"))
    shop.stop()
    process = subprocess.Popen(command_prefix() + [binary(), "demo", "--listen", "127.0.0.1:0", "--data", shop.data],
                               env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = next(line for line in process.stdout if "/buy" in line)
        port, body = re.search(r"http://127\.0\.0\.1:(\d+)/api/v1/buy .* -d '(.*)'", line).groups()
        expect(harness.Client(int(port)).post("/api/v1/buy", body.encode()), 201)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


def test_standard_streams_that_were_closed_do_not_become_files_of_the_server(t):
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command_prefix(), binary(), "serve", "--listen", "127.0.0.1:0",
         "--data", t.new_data()], env=clean_environment({"FLASHD_JWT_SECRET": "x" * 32}))
    try:
        def opened():
            with open(f"/proc/{process.pid}/maps", encoding="ascii") as maps:
                return "flashd.db-shm" in maps.read()
        eventually(opened, within_s=10, what="it has opened its database")
        standard = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
        assert standard == ["/dev/null"] * 3, standard
    finally:
        process.terminate()
        assert process.wait(10 * slack()) == 0


def test_a_server_that_fails_to_start_leaves_no_port_open(t):
    error = raises(Ended, t.server(data=t.file("not-a-directory", "")).start)
    assert error.status != 0
