#!/usr/bin/env python3
"""
clang.py: clang-format and clang-tidy find nothing, one test each; and both do find a planted fault.

    clang.py BUILD_DIR [--tally FILE]

clang-format: every C file as .clang-format has it. clang-tidy: every C file of the product, with the checks of
.clang-tidy, as BUILD_DIR compiles it.
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("engine", "net", "persist", "main", "load", "bench", "tests")
PRODUCT = ("engine", "net", "persist", "main", "load")
FILES_AT_ONCE = 6
MISFORMATTED = "int  f( void ){return 1;}\n"
SUSPECT = "#include <string.h>\n#include <stdlib.h>\nchar *f(char *t)\n{\n    return malloc(strlen(t + 1));\n}\n"


def c_files(folders, suffixes):
    return sorted(str(path) for folder in folders for path in (ROOT / folder).rglob("*")
                  if path.suffix in suffixes and "node_modules" not in path.parts)


def said(*command):
    """What it complains of; nothing when all is well. A program that cannot run complains, too."""
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode == 0:
        return ""
    heard = [line for line in (ran.stdout + ran.stderr).splitlines() if not line.endswith(" generated.")]
    return "\n".join(heard or [f"{command[0]} ended with status {ran.returncode}"]) + "\n"


def format_says(files):
    return said("clang-format", "--dry-run", "-Werror", *files)


def tidy_says(files, build=None):
    how = ["-p", build] if build else []
    rest = [] if build else ["--", "-std=c11"]
    groups = [files[i:i + FILES_AT_ONCE] for i in range(0, len(files), FILES_AT_ONCE)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return "".join(pool.map(lambda group: said("clang-tidy", "--quiet", *how, *group, *rest), groups))


def sample(text, judge):
    with tempfile.TemporaryDirectory(dir=ROOT / "tests") as folder:
        path = pathlib.Path(folder) / "sample.c"
        path.write_text(text)
        return judge([str(path)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--tally")
    args = parser.parse_args()
    tests = {
        "clang-format speaks of what is not formatted":
            lambda: "" if "sample.c" in sample(MISFORMATTED, format_says) else "it accepts " + MISFORMATTED,
        "every C file is formatted": lambda: format_says(c_files(FOLDERS, (".c", ".h"))),
        "clang-tidy speaks of what is suspect":
            lambda: "" if "bugprone" in sample(SUSPECT, tidy_says) else "it accepts " + SUSPECT,
        "clang-tidy finds nothing in the product": lambda: tidy_says(c_files(PRODUCT, (".c",)), args.build),
    }
    failed = 0
    for name, test in tests.items():
        complaint = test()
        failed += bool(complaint)
        print(f"{'FAIL' if complaint else 'ok  '} house: {name}")
        for line in complaint.splitlines()[:60]:
            print(f"     | {line}")
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{len(tests) - failed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
