"""The figures of compare.py as text: medians and ranges, tables, the cases where a peer is ahead, README's section.

Pure: figures in, text out. `result` is what compare.py --json writes; a row's "rounds" hold one dict per round.
Times are in microseconds, memory in bytes, rates per second.
"""
import statistics, textwrap

BEGIN, END = "<!-- bench peers: begin -->", "<!-- bench peers: end -->"

# What a table shows: (heading, what the sentences call it, the figures, scale, digits, whether less is better).
PURCHASES = [
    ("CPU µs a purchase", "CPU time a purchase", "cpu_us", 1, 1, True),
    ("… at half load", "CPU time a purchase at half load", "half_cpu_us", 1, 1, True),
    ("purchases/s", "throughput", "rate", 1, 0, False),
    ("p50 ms at half load", "p50", "p50_us", 1e-3, 2, True),
    ("p99 ms at half load", "p99", "p99_us", 1e-3, 2, True),
    ("MB, empty", "memory when empty", "empty_bytes", 1e-6, 0, True),
    ("bytes an order", "memory an order", "order_bytes", 1, 0, True),
]
STREAMS = [
    ("CPU µs a frame", "CPU time a frame", "cpu_us", 1, 2, True),
    ("frames/s", "throughput", "rate", 1, 0, False),
    ("p50 ms", "p50", "p50_us", 1e-3, 2, True),
    ("p99 ms", "p99", "p99_us", 1e-3, 2, True),
    ("bytes a stream", "memory a stream", "stream_bytes", 1, 0, True),
]


def values(row, key):
    """All that was measured of one figure: one value a round, or one in all; none for what the server has not."""
    if key in row:
        return [] if row[key] is None else [row[key]]
    return [turn[key] for turn in row["rounds"]]


def cell(seen, scale, digits):
    """The median and, of several rounds, the range."""
    if not seen:
        return "–"
    text = [f"{value * scale:,.{digits}f}" for value in (statistics.median(seen), min(seen), max(seen))]
    return text[0] if len(seen) == 1 else f"{text[0]} ({text[1]}–{text[2]})"


def table(rows, columns):
    """Lines of cells, the heading first."""
    lines = [["", *(heading for heading, *_ in columns), "durable at the answer"]]
    for row in rows:
        lines.append([row["name"], *(cell(values(row, key), scale, digits) for _, _, key, scale, digits, _ in columns),
                      row["durable"]])
    return lines


def aligned(lines):
    """As columns for a terminal; the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    last = len(widths) - 1
    return "\n".join("  ".join(text.ljust(width) if n in (0, last) else text.rjust(width)
                               for n, (text, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def markdown(lines):
    ruler = ["---", *["--:"] * (len(lines[0]) - 2), "---"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], ruler, *lines[1:]])


def better(first, row, columns):
    """In what a row's median is better than that of the first row."""
    for _, name, key, _, _, less in columns:
        mine, theirs = values(first, key), values(row, key)
        if not mine or not theirs:
            continue
        ours, its = statistics.median(mine), statistics.median(theirs)
        if its < ours if less else its > ours:
            overlap = min(theirs) <= max(mine) and min(mine) <= max(theirs)
            yield name + (" (the ranges overlap)" if overlap else "")


def ahead(rows, columns):
    """Who is ahead of the first row, in what; and who is not."""
    found = [(row["name"], ", ".join(better(rows[0], row, columns))) for row in rows[1:]]
    said = [f"{name} in {what}" for name, what in found if what]
    behind = [name for name, what in found if not what]
    return " ".join(filter(None, [f"Ahead of {rows[0]['name']}: {'; '.join(said)}." if said else "",
                                  f"Ahead in nothing of this: {', '.join(behind)}." if behind else ""]))


def one_line(row):
    """The latest round."""
    turn = row["rounds"][-1]
    half = f" ({turn['half_cpu_us']:.1f} at half load)" if "half_cpu_us" in turn else ""
    return (f"{row['name']}: CPU {turn['cpu_us']:.2f} us{half}, {turn['rate']:,.0f}/s,"
            f" p50 {turn['p50_us'] / 1e3:.2f} ms, p99 {turn['p99_us'] / 1e3:.2f} ms")


def where(result):
    m = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    in_memory = m["file_system"] in ("tmpfs", "ramfs")
    nothing = " A sync costs nothing there: these figures say nothing of durability." if in_memory else ""
    return (f"{m['at']}; {m['cores']} cores of {m['cpu']}, {m['memory_gib']} GiB, {m['system']}, Linux {m['kernel']};"
            f" data on {m['file_system']}, whose 4 KiB write and fdatasync takes {m['sync_p50_ms']:.2f} ms (p50;"
            f" p99 {m['sync_p99_ms']:.2f} ms).{nothing} {versions}. Medians and ranges of"
            f" {result['rounds']} rounds, {result['seconds']} s a load. Other programs took"
            f" {result['others_share'] * 100:.0f}% of the machine's CPU time meanwhile.")


def terminal(result):
    parts = [where(result)]
    for title, rows, columns in (("Purchases", result["purchases"], PURCHASES),
                                 ("Streams", result["streams"], STREAMS)):
        parts += ["", title, aligned(table(rows, columns)), ahead(rows, columns)]
    return "\n".join(parts)


def section(result):
    """The README's section, between its marks."""
    def said(text):
        return textwrap.fill(text, 110)
    return "\n\n".join([
        BEGIN + "\n" + said(
            "Every buyer new, every purchase accepted, 64 connections, everything on one machine, in turns. CPU time is"
            " that of all processes of a server together; half load is half of what each could do just before, with"
            " random arrivals. The peers write no events and queue no holds for expiry; flashd does both within its figures."),
        markdown(table(result["purchases"], PURCHASES)),
        said(ahead(result["purchases"], PURCHASES) + " nginx decides and stores nothing; Redis by itself speaks neither"
             " HTTP nor JSON."),
        "1,000 streams, one event at a time; delays begin when what makes the event leaves its client:",
        markdown(table(result["streams"], STREAMS)),
        said(ahead(result["streams"], STREAMS)),
        said(where(result)) + "\n" + END])


def with_section(readme, text):
    """The README with that text between its marks; both must be there, once and in order."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"the README has no place for the section, from {BEGIN} to {END}")
    return readme[:readme.index(BEGIN)] + text + readme[readme.index(END) + len(END):]
