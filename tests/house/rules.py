#!/usr/bin/env python3
"""
rules.py: the house rules (README.md, "The house"), each one line pass/FAIL, each one test.

    rules.py [--root DIR] [--tally FILE]   holds the project against every rule
    rules.py --self-test [--tally FILE]    shows each rule accepting a good sample and rejecting bad ones

A rule is a function from a Tree to a list of complaints; RULES names them all. A rule that finds nothing
to look at complains too: a check that looks at nothing proves nothing. Python's standard library only.
"""
import argparse
import os
import re
import sys
import tempfile

FOLDERS = ("engine", "net", "persist", "main", "load", "bench", "tests")
PRODUCT = ("engine", "net", "persist", "main")
FUNCTION_LINES_MAX = 70
HEADER_COMMENT_LINES_MIN = 3
LIBC = """aio.h arpa/inet.h assert.h cpuid.h ctype.h dirent.h dlfcn.h endian.h errno.h fcntl.h fenv.h float.h
    ftw.h getopt.h inttypes.h iso646.h langinfo.h limits.h linux/futex.h locale.h math.h netdb.h netinet/in.h
    netinet/tcp.h poll.h pthread.h sched.h semaphore.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h
    stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h sys/eventfd.h sys/file.h
    sys/ioctl.h sys/mman.h sys/prctl.h sys/random.h sys/resource.h sys/socket.h sys/stat.h sys/statvfs.h sys/syscall.h
    sys/time.h sys/types.h sys/uio.h sys/un.h sys/wait.h threads.h time.h uchar.h unistd.h wchar.h
    wctype.h""".split()
# libc headers that are sockets: engine/ knows no socket.
SOCKET = {"arpa/inet.h", "netdb.h", "netinet/in.h", "netinet/tcp.h", "poll.h", "sys/eventfd.h",
          "sys/socket.h", "sys/un.h", "sys/uio.h"}
BANNED = ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi", "atol", "rand", "srand", "strtok",
          "gmtime", "localtime")
THREAD = re.compile(r"(?<![\w-])(main|clock|writer|broadcaster|[a-z]+-N)(?![\w-])")


# ------------------------------------------------------------------------------------- reading source

class Source:
    """One C file: its text, and the same with comments and literals blanked (line numbers kept)."""

    def __init__(self, path, text):
        self.path, self.text = path, text
        self.code = blank(text, literals=True)
        self.uncommented = blank(text, literals=False)
        self.folder = path.split("/")[0]

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def includes(self):
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', self.uncommented, re.M):
            yield self.line_of(match.start()), match[1], match[2]


def blank(text, literals):
    pattern = r"/\*.*?\*/|//[^\n]*" + (r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'" if literals else
                                        r"|(\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')")

    def replace(match):
        if not literals and match[1]:
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(pattern, replace, text, flags=re.S)


def without_preprocessor(code):
    """Blanks directives, and every branch after the first of an #if, so that braces are seen once."""
    out, dead, depth, continued = [], [], 0, False
    for line in code.split("\n"):
        directive = re.match(r"\s*#\s*(\w+)", line) if not continued else None
        if directive:
            word = directive[1]
            if word in ("if", "ifdef", "ifndef"):
                depth += 1
            elif word in ("else", "elif"):
                dead = [level for level in dead if level != depth] + [depth]
            elif word == "endif":
                dead = [level for level in dead if level != depth]
                depth -= 1
        hidden = directive or continued or dead
        continued = bool((directive or continued) and line.rstrip().endswith("\\"))
        out.append("" if hidden else line)
    return "\n".join(out)


def functions(source):
    """(name, first line, last line) of each function definition."""
    code = without_preprocessor(source.code)
    depth, start, opened, name = 0, 0, None, None
    for match in re.finditer(r"[{};]", code):
        mark, at = match[0], match.start()
        if mark == "{":
            if depth == 0:
                name = function_name(code[start:at])
                opened = start + len(code[start:at]) - len(code[start:at].lstrip())
            depth += 1
        elif mark == "}":
            depth -= 1
            if depth == 0:
                if name:
                    yield name, code.count("\n", 0, opened) + 1, code.count("\n", 0, at) + 1
                start = at + 1
        elif depth == 0:
            start = at + 1


def function_name(head):
    head = re.sub(r"__attribute__\s*\(\(.*?\)\)", " ", head, flags=re.S)
    if "=" in re.sub(r"\(.*\)", "", head, flags=re.S):
        return None
    match = re.search(r"(\w+)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\s*$", head.strip())
    return match[1] if match else None


class Tree:
    def __init__(self, root):
        self.root, self.sources = root, []
        for folder in FOLDERS:
            for where, _, names in sorted(os.walk(os.path.join(root, folder))):
                for name in sorted(names):
                    if name.endswith((".c", ".h")):
                        path = os.path.relpath(os.path.join(where, name), root)
                        with open(os.path.join(root, path), encoding="utf-8") as file:
                            self.sources.append(Source(path, file.read()))

    def of(self, *folders):
        return [source for source in self.sources if source.folder in folders]

    def readme(self):
        try:
            with open(os.path.join(self.root, "README.md"), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""


# --------------------------------------------------------------------------------------------- rules

def engine_knows_libc_ck_and_itself(tree):
    """engine/ includes only libc (no sockets), Concurrency Kit and engine/"""
    if not tree.of("engine"):
        return ["no file in engine/"]
    wrong = []
    for source in tree.of("engine"):
        for line, kind, name in source.includes():
            libc = name in LIBC and name not in SOCKET
            if not (name.startswith("engine/") if kind == '"' else libc or re.match(r"ck_\w+\.h$", name)):
                wrong.append(f"{source.path}:{line} includes {name}")
    return wrong


def net_and_persist_never_meet(tree):
    """net/ and persist/ never include each other nor main/; engine/ includes neither"""
    forbidden = {"net": ("persist/", "main/"), "persist": ("net/", "main/"),
                 "engine": ("net/", "persist/", "main/")}
    wrong = [] if tree.of("net") and tree.of("persist") else ["net/ or persist/ has no file"]
    for source in tree.of(*forbidden):
        for line, _, name in source.includes():
            plain = os.path.normpath(os.path.join(source.folder, name)) if name.startswith(".") else name
            if plain.startswith(forbidden[source.folder]) or "../" in name:
                wrong.append(f"{source.path}:{line} includes {name}")
    return wrong


def only_one_main_sees_all(tree):
    """in the product, only main/main.c includes both net/ and persist/"""
    wrong, seen = [], False
    for source in tree.of(*PRODUCT):
        names = [name for _, _, name in source.includes()]
        if any(name.startswith("net/") for name in names) and any(
                name.startswith("persist/") for name in names):
            if source.path == "main/main.c":
                seen = True
            else:
                wrong.append(f"{source.path} includes both net/ and persist/")
    return wrong if seen else wrong + ["main/main.c does not include both net/ and persist/"]


def load_knows_nothing_of_the_product(tree):
    """load/ includes only libc, liburing, llhttp, jansson and load/: it measures any server alike"""
    libraries = {"liburing.h", "llhttp.h", "jansson.h"}
    wrong = [] if tree.of("load") else ["no file in load/"]
    for source in tree.of("load"):
        for line, kind, name in source.includes():
            if not (name.startswith("load/") if kind == '"' else name in LIBC or name in libraries):
                wrong.append(f"{source.path}:{line} includes {name}")
    return wrong


def no_banned_calls(tree):
    """nobody calls strcpy, strcat, sprintf, gets, atoi, rand, strtok, gmtime, localtime or their like"""
    wrong = [] if tree.sources else ["no C file"]
    for source in tree.sources:
        for match in re.finditer(r"\b(" + "|".join(BANNED) + r")\s*\(", source.code):
            wrong.append(f"{source.path}:{source.line_of(match.start())} calls {match[1]}")
    return wrong


def functions_are_short(tree):
    """no function is longer than 70 lines"""
    wrong, count = [], 0
    for source in tree.sources:
        for name, first, last in functions(source):
            count += 1
            if last - first + 1 > FUNCTION_LINES_MAX:
                wrong.append(f"{source.path}:{first} {name} has {last - first + 1} lines")
    return wrong if count else ["no function found"]


def files_open_with_a_comment(tree):
    """every C file opens with a comment of at least 3 lines"""
    wrong = [] if tree.sources else ["no C file"]
    for source in tree.sources:
        match = re.match(r"/\*.*?\*/", source.text, re.S)
        words = re.sub(r"^[ \t]*\*?[ \t]?", "", match[0][2:-2], flags=re.M).strip() if match else ""
        lines = words.count("\n") + 1 if words else 0
        if lines < HEADER_COMMENT_LINES_MIN:
            wrong.append(f"{source.path} opens with {lines} lines of comment")
    return wrong


def times_name_their_unit(tree):
    """no bare `int timeout`: a duration says its unit in its name"""
    wrong = [] if tree.sources else ["no C file"]
    for source in tree.sources:
        for match in re.finditer(r"\b(?:int|unsigned|long|short|size_t|time_t|u?int\d+_t)\s+timeout\b",
                                 source.code):
            wrong.append(f"{source.path}:{source.line_of(match.start())} {match[0]}")
    return wrong


def section(text, words):
    """The part of a Markdown text under the first heading that holds the words."""
    match = re.search(r"^(#+)[^\n]*" + words + r"[^\n]*\n", text, re.M | re.I)
    if not match:
        return ""
    rest = text[match.end():]
    end = re.search(r"^#{1," + str(len(match[1])) + r"} ", rest, re.M)
    return rest[:end.start()] if end else rest


def the_readmes_trace_is_true(tree):
    """every `function()` in README's "Trace of a purchase" is defined in the code"""
    named = re.findall(r"\b([a-z_]\w*)\(\)", section(tree.readme(), "trace of a purchase"))
    defined = {name for source in tree.of(*PRODUCT) for name, _, _ in functions(source)}
    if len(set(named)) < 5:
        return [f"README's \"Trace of a purchase\" names {len(set(named))} functions"]
    return [f"README names {name}(), which nobody defines" for name in sorted(set(named) - defined)]


def thread_names(tree):
    """Thread names that the code sets: string literals, with %u or %" PRIu32 for the number."""
    names = set()
    for source in tree.of(*PRODUCT):
        for literal in re.findall(r'"((?:\\.|[^"\\\n])*)"', source.uncommented):
            literal = re.sub(r"%[a-z]*[ud]$|%$", "N", literal)
            names.add(literal)
        if re.search(r"\bint\s+main\s*\(", source.code):
            names.add("main")  # the process's own first thread
    return names


def the_readmes_threads_are_true(tree):
    """every thread in README's thread diagram is a thread name that the code sets"""
    part = section(tree.readme(), "threads")
    drawn = set(THREAD.findall("\n".join(re.findall(r"^```[^\n]*\n(.*?)^```", part, re.M | re.S))))
    wrong = [] if len(drawn) >= 4 else [f"README's diagram under \"Threads\" shows {sorted(drawn)}"]
    if not any(re.search(r"\bpthread_setname_np\s*\(|\bPR_SET_NAME\b", source.code)
               for source in tree.of(*PRODUCT)):
        wrong.append("nobody names a thread")
    return wrong + [f"README draws the thread {name}, which nobody names"
                    for name in sorted(drawn - thread_names(tree))]


RULES = (engine_knows_libc_ck_and_itself, net_and_persist_never_meet, only_one_main_sees_all,
         load_knows_nothing_of_the_product, no_banned_calls, functions_are_short, files_open_with_a_comment, times_name_their_unit,
         the_readmes_trace_is_true, the_readmes_threads_are_true)


# ----------------------------------------------------------------------------------------- self-test

HEAD = "/*\n * a.c: one\n * two\n * three\n */\n"
GOOD = {
    "engine/a.c": HEAD + '#include "engine/b.h"\n#include <stdint.h>\n#include <ck_ring.h>\n'
                         "static int one(int x)\n{\n    return x;\n}\n"
                         'const char *two(void)\n{\n    return "atoi(x) } {"; /* rand() */\n}\n',
    "engine/b.h": HEAD + "struct s { int timeout_ms; };\n#define M(x) do { \\\n x; } while (0)\n"
                         "int three(void (*f)(int), int y)\n{\n#ifdef A\n    if (y) {\n#else\n    if (!y) {\n"
                         "#endif\n        f(y);\n    }\n    return 0;\n}\n",
    "net/a.c": HEAD + '#include "engine/b.h"\n#include <sys/socket.h>\nvoid four(void)\n{\n}\n',
    "load/a.c": HEAD + '#include "load/b.h"\n#include <liburing.h>\n#include <sys/ioctl.h>\nvoid six(void)\n{\n}\n',
    "persist/a.c": HEAD + '#include <sqlite3.h>\nvoid five(void)\n{\n    gmtime_r(0, 0);\n}\n',
    "main/main.c": HEAD + '#include "net/a.h"\n#include "persist/a.h"\nint main(void)\n{\n'
                          '    pthread_setname_np(0, "clock"); "writer"; "net-%u"; "worker-%" PRIu32;\n'
                          "    return 0;\n}\n",
    "README.md": "# x\n## Threads\n```\nmain -> net-N -> worker-N\n clock writer\n```\n## Trace of a purchase\n"
                 "`one()` then `two()`, `three()`, `four()`, `five()`\n## Next\n`nothing()`\n",
}
# rule: changes to GOOD that it must reject, each by a complaint holding the word
BAD = {
    engine_knows_libc_ck_and_itself: [
        ({"engine/a.c": HEAD + '#include "net/http.h"\n'}, "net/http.h"),
        ({"engine/a.c": HEAD + "#include <sqlite3.h>\n"}, "sqlite3.h"),
        ({"engine/a.c": HEAD + "#include <liburing.h>\n"}, "liburing.h"),
        ({"engine/a.c": HEAD + "  #  include <sys/socket.h>\n"}, "sys/socket.h"),
        ({"engine/deep/a.h": HEAD + '#include "persist/db.h"\n'}, "persist/db.h"),
        ({"engine/a.c": None, "engine/b.h": None}, "no file")],
    net_and_persist_never_meet: [
        ({"net/a.c": HEAD + '#include "persist/db.h"\n'}, "persist/db.h"),
        ({"persist/a.c": HEAD + '#include "net/http.h"\n'}, "net/http.h"),
        ({"net/a.c": HEAD + '#include "../persist/db.h"\n'}, "persist/db.h"),
        ({"net/a.c": HEAD + '#include "main/settings.h"\n'}, "main/settings.h"),
        ({"persist/a.c": None}, "no file")],
    only_one_main_sees_all: [
        ({"main/other.c": HEAD + '#include "net/a.h"\n#include "persist/a.h"\n'}, "main/other.c"),
        ({"main/main.c": HEAD}, "main/main.c")],
    load_knows_nothing_of_the_product: [
        ({"load/a.c": HEAD + '#include "engine/text.h"\n'}, "engine/text.h"),
        ({"load/a.c": HEAD + '#include "net/http.h"\n'}, "net/http.h"),
        ({"load/a.c": HEAD + "#include <sqlite3.h>\n"}, "sqlite3.h"),
        ({"load/a.c": None}, "no file")],
    no_banned_calls: [({"net/a.c": HEAD + f"void f(void)\n{{\n    {name} (x);\n}}\n"}, name) for name in BANNED],
    functions_are_short: [
        ({"net/a.c": HEAD + "void tall(void)\n{\n" + "    x();\n" * 68 + "}\n"}, "tall has 71"),
        ({"tests/unit/t.c": HEAD + "static void\ntall(int a,\n  int b)\n{\n" + "    if (a) { x(); }\n" * 67 + "}\n"},
         "tall has 72"),
        ({"net/a.c": HEAD + "struct a b = { 1 };\nvoid tall(void)\n{\n#if A\n  {\n#else\n  {\n#endif\n }\n"
          + "    x();\n" * 66 + "}\n"}, "tall has")],
    files_open_with_a_comment: [
        ({"net/a.c": "int x;\n"}, "0 lines"), ({"net/a.c": "/* short */\nint x;\n"}, "1 lines"),
        ({"tests/t.h": "#ifndef X\n" + HEAD}, "0 lines"), ({"bench/t.c": "/*\n *\n *\n * one\n */\n"}, "1 lines")],
    times_name_their_unit: [
        ({"net/a.c": HEAD + "void f(int timeout);\n"}, "int timeout"),
        ({"net/a.c": HEAD + "struct s { uint32_t timeout; };\n"}, "uint32_t timeout")],
    the_readmes_trace_is_true: [
        ({"README.md": GOOD["README.md"].replace("`five()`", "`five()` `gone()`")}, "gone()"),
        ({"net/a.c": HEAD + "void four(void);\n"}, "four()"),
        ({"README.md": "# x\n"}, "names 0")],
    the_readmes_threads_are_true: [
        ({"README.md": GOOD["README.md"].replace("clock", "clock broadcaster")}, "broadcaster"),
        ({"README.md": GOOD["README.md"].replace("net-N", "eater-N")}, "eater-N"),
        ({"main/main.c": GOOD["main/main.c"].replace('"clock"', '"click"')}, "clock"),
        ({"main/main.c": GOOD["main/main.c"].replace("pthread_setname_np", "f")}, "nobody names a thread"),
        ({"README.md": "# x\n"}, "shows []")],
}


def self_test(rule):
    def complaints(changes):
        files = {**GOOD, **changes}
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                if text is not None:
                    os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                        file.write(text)
            return rule(Tree(root))
    wrong = [f"complains about the good sample: {said}" for said in complaints({})]
    for changes, word in BAD.get(rule, []):
        if not any(word in said for said in complaints(changes)):
            wrong.append(f"accepts {list(changes.items())[0]}, or does not say {word!r}: {complaints(changes)}")
    return wrong if rule in BAD else wrong + ["has no bad sample"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--tally")
    args = parser.parse_args()
    failed, tree = 0, None if args.self_test else Tree(args.root)
    for rule in RULES:
        wrong = self_test(rule) if args.self_test else rule(tree)
        failed += bool(wrong)
        told = "rejects bad samples: " if args.self_test else ""
        print(f"{'FAIL' if wrong else 'ok  '} house: {told}{rule.__doc__}")
        for complaint in wrong:
            print(f"     | {complaint}")
    print(f"house: {len(RULES) - failed} of {len(RULES)}")
    if args.tally:
        with open(args.tally, "a", encoding="ascii") as tally:
            tally.write(f"{len(RULES) - failed} {failed}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
