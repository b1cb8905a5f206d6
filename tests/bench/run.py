#!/usr/bin/env python3
"""
run.py: tests that the benchmarks measure what they say: bench/measure.py, generator.py, openloop, peers/, profile/.

    run.py [--tally FILE] [unittest's arguments]

Takes some seconds. The peers themselves are tested if ./run bench peers has installed them, else skipped by name;
the pure parts and all that concerns flashd are always tested.
"""
import argparse
import contextlib
import io
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench" / folder) for folder in ("peers", "streams", "profile", ".")]
sys.dont_write_bytecode = True
import compare  # noqa: E402
import generator  # noqa: E402
import measure  # noqa: E402
import purchase  # noqa: E402
import report  # noqa: E402

HAVE_REDIS = shutil.which("redis-cli") and shutil.which("redis-check-rdb")
HAVE_SHOPS = HAVE_REDIS and shutil.which("node") and (ROOT / "bench/peers/node_modules/fastify").is_dir()


def row(name, cpu_us, rate=1000.0, **fields):
    """A row of the table of purchases; a list of CPU times makes a round of each."""
    turn = {"rate": rate, "half_cpu_us": 10.0, "p50_us": 400.0, "p99_us": 900.0}
    return {"name": name, "durable": "all", "empty_bytes": 8e6, "order_bytes": 300.0,
            "rounds": [dict(turn, cpu_us=one) for one in cpu_us], **fields}


def result(**machine):
    stream = {"name": "flashd", "durable": "all", "stream_bytes": 900,
              "rounds": [{"cpu_us": 2.0, "rate": 5e5, "p50_us": 300.0, "p99_us": 800.0}]}
    return {"rounds": 1, "seconds": 1, "others_share": 0.25, "purchases": [row("flashd", [5.0]), row("other", [9.0])],
            "streams": [stream, dict(stream, name="nchan")],
            "machine": {"at": "today", "cpu": "abacus", "cores": 2, "memory_gib": 4, "system": "Debian", "kernel": "6",
                        "file_system": "ext4", "sync_p50_ms": 0.1, "sync_p99_ms": 0.2, "versions": {"flashd": "1"},
                        **machine}}


class Figures(unittest.TestCase):
    def test_cell_is_median_and_range(self):
        self.assertEqual(report.cell([3.0, 1.0, 2.0, 10.0, 2.5], 1, 1), "2.5 (1.0–10.0)")
        self.assertEqual(report.cell([1234567.0], 1, 0), "1,234,567")
        self.assertEqual(report.cell([], 1, 0), "–")

    def test_table_leaves_out_what_a_server_has_not(self):
        lines = report.table([row("nginx", [1.0], order_bytes=None)], report.PURCHASES)
        self.assertEqual(lines[1][0], "nginx")
        self.assertEqual(lines[1][lines[0].index("bytes an order")], "–")
        self.assertEqual({len(line) for line in lines}, {len(report.PURCHASES) + 2})

    def test_ahead_names_what_a_peer_does_better_and_nothing_else(self):
        said = report.ahead([row("flashd", [5.0]), row("cheap", [4.0]), row("fast", [6.0], rate=2000.0),
                             row("worse", [6.0], rate=900.0)], report.PURCHASES)
        self.assertEqual(said, "Ahead of flashd: cheap in CPU time a purchase; fast in throughput."
                               " Ahead in nothing of this: worse.")

    def test_ahead_admits_ranges_that_overlap(self):
        said = report.ahead([row("flashd", [5.0, 6.0, 7.0]), row("cheap", [4.0, 5.5, 8.0])], report.PURCHASES)
        self.assertEqual(said, "Ahead of flashd: cheap in CPU time a purchase (the ranges overlap).")

    def test_section_takes_its_place_in_the_readme_again_and_again(self):
        readme = f"before\n{report.BEGIN}\nstale\n{report.END}\nafter\n"
        once = report.with_section(readme, report.section(result()))
        self.assertTrue(once.startswith("before\n") and once.endswith("\nafter\n") and "stale" not in once)
        self.assertEqual(report.with_section(once, report.section(result())), once)
        for bad in ("nothing", readme + readme, f"{report.END} {report.BEGIN}"):
            with self.assertRaises(ValueError):
                report.with_section(bad, "new")

    def test_the_readme_has_a_place_for_the_section(self):
        report.with_section((ROOT / "README.md").read_text(encoding="utf-8"), "new")

    def test_a_file_system_in_memory_and_a_busy_machine_are_told(self):
        self.assertIn("say nothing of durability", report.terminal(result(file_system="tmpfs")))
        self.assertNotIn("say nothing of durability", report.terminal(result()))
        self.assertIn("Other programs took 25% of the machine's CPU time",
                      " ".join(report.section(result()).split()))

    def test_memory_an_order_needs_enough_orders(self):
        self.assertEqual(compare.order_bytes(200000, 60e6), 300)
        self.assertIsNone(compare.order_bytes(2000, 60e6))
        self.assertIsNone(compare.order_bytes(None, 0))

    def test_each_round_begins_with_the_next_server(self):
        self.assertEqual(["".join(compare.rotated(list("abc"), n)) for n in range(4)], ["abc", "bca", "cab", "abc"])


class Arguments(unittest.TestCase):
    def test_no_benchmark_measures_nothing(self):
        for script, *what in (["scale.py"], ["generator.py"], ["server_bench.py", "memory"], ["http/compare.py", "purchase"],
                              ["peers/compare.py"], ["streams/compare.py", "all"], ["profile/purchase.py"]):
            for flag in ("--rounds", "--seconds", "--orders", "--events"):
                for number in ("0", "-1", "few"):
                    done = subprocess.run([sys.executable, ROOT / "bench" / script, *what, flag, number], text=True,
                                          capture_output=True, timeout=20)
                    with self.subTest(script=script, flag=flag, number=number):
                        self.assertEqual(done.returncode, 2, done.stderr)
                        self.assertNotIn("Traceback", done.stderr)


SAMPLES = """net-0  6767 
\tffffffff8200f136 tcp_recvmsg_locked ([kernel.kallsyms])
\tffffffff81b61162 io_recv ([kernel.kallsyms])
\tffffffff81b4574f __do_sys_io_uring_enter ([kernel.kallsyms])
\t            29f7 [unknown] (/usr/lib/x86_64-linux-gnu/liburing.so.2.3)

net-0  6767 
\tffffffff82000001 tcp_v4_rcv ([kernel.kallsyms])
\tffffffff82000002 tcp_sendmsg ([kernel.kallsyms])
\tffffffff81b4574f __do_sys_io_uring_enter ([kernel.kallsyms])

writer  6763 
\tffffffff813a2293 finish_task_switch.isra.0 ([kernel.kallsyms])
\tffffffff8170f5b2 __x64_sys_fdatasync ([kernel.kallsyms])
\t           fed0a fdatasync (/usr/lib/x86_64-linux-gnu/libc.so.6)

net-0  6767 
\t           12345 malloc (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t           1e530 inner.part.0 (/repo/build/flashd)
\t           1e531 outer (/repo/build/flashd)

worker-0  6764 
\t           12345 malloc (/usr/lib/x86_64-linux-gnu/libc.so.6)
"""


class Profile(unittest.TestCase):
    def test_a_sample_belongs_to_the_stage_of_its_chain_or_its_innermost_file(self):
        files = {"inner": "net/http.c", "outer": "net/conn.c"}
        seen = [(thread, purchase.stage_of(thread, frames, files)) for thread, frames in purchase.samples(SAMPLES)]
        self.assertEqual(seen, [("net-0", "kernel: receive"), ("net-0", "kernel: send"), ("writer", "kernel: sync"),
                                ("net-0", "parse and route"), ("worker-0", purchase.UNKNOWN)])

    def test_shares_add_up_to_the_measured_time(self):
        rows = purchase.share_out((SAMPLES + "\n") * 20, {}, 12.5)
        self.assertAlmostEqual(sum(us for _, us, _, _ in rows), 12.5)
        self.assertEqual([stage for stage, *_ in rows], sorted((stage for stage, *_ in rows), key=purchase.ORDER.index))
        self.assertEqual({stage for stage, *_ in purchase.STAGES} | {purchase.UNKNOWN}, set(purchase.ORDER))

    def test_every_source_file_that_a_stage_names_is_there(self):
        named = [f"{folder}/{name}.c" for *_, pattern in purchase.STAGES
                 for folder, names in re.findall(r"(\w+)/\(?([\w|]+)\)?\\\.c", pattern.replace("http\\w*", "http"))
                 for name in names.split("|")]
        self.assertGreater(len(named), 15)
        self.assertEqual([name for name in named if not (ROOT / name).is_file()], [])

    def test_functions_are_found_in_their_files(self):
        files = purchase.source_files(measure.FLASHD)
        self.assertEqual((files["port_send"], files["conn_received"]), ("engine/port.c", "net/conn.c"))


BURNER = """
import os, sys, time
held = bytearray(os.urandom(1 << 20) * 60)  # 60 MiB, then shared with the child
child = os.fork()
while time.process_time() < 0.3: pass
if child: print("listening on burner", flush=True)
time.sleep(60)
"""


class Processes(unittest.TestCase):
    def test_cost_is_that_of_all_processes(self):
        server = measure.Server()
        server.spawn_until_ready([sys.executable, "-c", BURNER], "/dev/null")
        self.addCleanup(server.stop)
        end = time.monotonic() + 20
        while server.cpu_s() < 0.6 and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(len(server.pids()), 2)
        self.assertGreater(server.cpu_s(), 0.59)
        self.assertLess(server.cpu_s(), 1.0)
        pss, rss = server.memory_bytes(), server.memory_bytes("Rss")
        self.assertTrue(60 << 20 < pss < 100 << 20, pss)
        self.assertGreater(rss, pss + (50 << 20))

    def test_stop_leaves_no_process(self):
        server = measure.Server()
        server.spawn_until_ready([sys.executable, "-c", "print('listening on x', flush=True); input()"], "/dev/null",
                                 stdin=subprocess.PIPE)
        process = server.processes[0]
        server.stop()
        self.assertIsNotNone(process.poll())
        process.stdin.close()


class Shops(unittest.TestCase):
    """One server for all tests of a class; .start() says which."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="flashd-bench-test-")
        cls.shop = cls.start()

    @classmethod
    def tearDownClass(cls):
        cls.shop.stop()
        shutil.rmtree(cls.folder)


class Flashd(Shops):
    @classmethod
    def start(cls):
        return compare.Flashd(cls.folder + "/data")

    def test_does_the_job(self):
        self.assertEqual(compare.check_job(self.shop), [])

    def test_another_job_is_noticed(self):
        """With a unit too many, bob holds one where he should wait."""
        class Other:
            url, orders = self.shop.url, staticmethod(self.shop.orders)

            @staticmethod
            def sale(units):
                return self.shop.sale(units + 1)
        wrong = compare.check_job(Other)
        self.assertEqual([order for order in wrong if "'bob'" in order and "201" in order], wrong[:1])

    def test_purchases_at_a_rate_are_what_the_server_counts(self):
        sale = self.shop.sale()
        row_ = self.shop.at_rate(sale, 500, 1)
        self.assertEqual(self.shop.orders(sale), row_["accepted"])
        self.assertTrue(400 < row_["scheduled"] < 600 and 0 < row_["p50_us"] <= row_["p99_us"], row_)
        self.assertGreater(row_["cpu_us"], 0)

    def test_the_load_generators_are_measured_by_what_they_use(self):
        sale = self.shop.sale()
        buyers_us, whole_us, rate = generator.of_flashload(self.shop, sale, 1)
        self.assertTrue(0 < buyers_us <= whole_us and rate > 100, (buyers_us, whole_us, rate))
        orders = self.shop.orders(sale)
        self.assertGreater(orders, 100)
        if shutil.which("wrk"):
            used_us, rate = generator.of_wrk(self.shop, sale, "g", 1)
            self.assertTrue(used_us > 0 and self.shop.orders(sale) >= orders + rate, (used_us, rate))

    def test_a_refused_purchase_ends_the_measurement(self):
        sale = self.shop.sale(1)
        bought = measure.http("POST", self.shop.url + "/buy", {"saleId": sale, "buyerName": "the-one"})
        measure.http("POST", self.shop.url + "/pay", {"transactionId": bought["transactionId"]})
        with self.assertRaises(SystemExit) as ended:
            self.shop.at_rate(sale, 100, 1)
        self.assertIn("not every purchase was accepted", str(ended.exception))


@unittest.skipUnless(HAVE_REDIS, "redis-tools is not installed")
class Redis(Shops):
    @classmethod
    def start(cls):
        return compare.Redis(cls.folder, "alone")

    def test_both_loads_store_every_purchase(self):
        sale = self.shop.sale()
        at_rate = self.shop.at_rate(sale, 500, 1)
        self.assertEqual(self.shop.orders(sale), at_rate["accepted"])
        ids = self.shop.ask("HVALS", f"buyers:{sale}").split()
        self.assertEqual(int(self.shop.ask("EXISTS", *(f"order:{one}" for one in ids))), len(ids))
        full = self.shop.saturate([sale], 1)
        self.assertEqual(self.shop.orders(sale), at_rate["accepted"] + full["requests"])

    def test_an_answered_purchase_is_in_the_file_that_is_synced(self):
        sale = self.shop.sale()
        self.shop.ask(*self.shop.command(sale, "ada-lovelace"))
        files = pathlib.Path(self.folder).glob("alone/appendonlydir/*.incr.aof")
        self.assertIn(b"ada-lovelace", b"".join(file.read_bytes() for file in files))
        self.assertIn("always", self.shop.ask("CONFIG", "GET", "appendfsync"))


@unittest.skipUnless(HAVE_SHOPS, "./run bench peers has not installed the shops")
class Node(unittest.TestCase):
    def test_each_shop_does_the_job(self):
        for program, processes in (("fastify", 1), ("fastify", 2), ("nest", 1)):
            with self.subTest(program=program, processes=processes), tempfile.TemporaryDirectory() as folder:
                shop = compare.NodeShop(folder, program, processes)
                try:
                    self.assertEqual(compare.check_job(shop), [])
                    self.assertEqual(len(shop.pids()), 2 if processes == 1 else processes + 2)
                finally:
                    shop.stop()


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--tally")
    args, rest = parser.parse_known_args()
    out = io.StringIO()
    with contextlib.redirect_stderr(out):
        done = unittest.main(argv=[sys.argv[0], "-v", *rest], exit=False).result
    print(out.getvalue().rstrip())
    failed = len(done.failures) + len(done.errors)
    passed = done.testsRun - failed - len(done.skipped)
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{max(passed, 0)} {failed}\n")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
