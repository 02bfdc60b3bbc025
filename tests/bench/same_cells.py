"""Whether cells say the same here as in evcxr_jupyter 0.22.

Runs the sessions of `same_cells_set.py` through both kernels and compares, cell by cell, what was printed,
shown and said of errors. A difference that is meant stands in the set beside its cell, with its reason.
One that is not there, or one that is there but is no longer found, makes this fail.

Not compared, for all cells: the place in the head of an error's report, which is always 1:1 there, how
else it is drawn, and in how many error messages the compiler's errors come (one here, one for each there).
Compared are the errors' codes, their texts, and the lines and columns that are underlined.

    target/venv/bin/python tests/bench/same_cells.py [--only SESSION,...] [--without async]
"""

import queue
import re
import sys

from measure import OURS, PEER, arguments, kernels, machine, print_table, side_by_side, write
from kernel_session import without_colours
from same_cells_set import SESSIONS

# Seconds without a message after which a cell is taken to have said all: evcxr_jupyter may send output
# after the end of the cell.
QUIET = 0.2
COMPARED = ("text/plain", "text/html")


def run_cell(session, code):
    """All that a cell said."""
    cell = session.begin(code)
    result = cell.finish()
    while True:
        try:
            message = session.client.get_iopub_msg(timeout=QUIET)
        except queue.Empty:
            return result
        if message["parent_header"].get("msg_id") == cell.msg_id:
            result.events.append((message["header"]["msg_type"], message["content"]))


def steady(text):
    """`text` without numbers of threads, times, backtraces, and lines of the source that evcxr generates.

    evcxr_jupyter always asks for backtraces, this kernel where it is told to.
    """
    text = without_colours(text)
    text = re.sub(r"thread '(.*?)' \(\d+\)", r"thread '\1'", text)
    text = re.sub(r"stack backtrace:\n.*?\n(?=note: )", "", text, flags=re.DOTALL)
    text = re.sub(r"note: [^\n]*RUST_BACKTRACE[^\n]*\n", "", text)
    text = re.sub(r"Took \d+ms", "Took …ms", text)
    return re.sub(r"src/lib\.rs:\d+", "src/lib.rs:…", text)


def said(result):
    """What is compared of a cell, by kind."""
    outputs = [
        (kind, {name: steady(data) for name, data in content["data"].items() if name in COMPARED})
        for kind, content in result.events
        if kind in ("execute_result", "display_data")
        # What this kernel shows of its progress, and takes away again.
        and not content.get("transient")
    ]
    errors = [
        steady("\n".join([content["evalue"], *content["traceback"]])) for content in result.of("error")
    ]
    text = "\n".join(errors)
    return {
        "status": result.status,
        "stdout": steady(result.stdout),
        "stderr": steady(result.stderr),
        "outputs": outputs,
        "codes": sorted(set(re.findall(r"\bE\d{4}\b", text))),
        "places": places(text),
        "error": text,
        "evalues": [steady(content["evalue"]) for content in result.of("error")],
    }


def places(report):
    """What is underlined in the drawings of a report: (line, first column, columns)."""
    rows = report.splitlines()
    found = set()
    for row, below in zip(rows, rows[1:]):
        source = re.match(r"\s*(\d+) │ ", row)
        if source and "│" in below:
            marks = below.split("│", 1)[1][1:]
            found |= {
                (int(source[1]), mark.start() + 1, len(mark[0])) for mark in re.finditer("[─┬]+", marks)
            }
    return sorted(found)


def differences(ours, theirs):
    """What differs, by kind: here and there."""
    for kind in ("status", "stdout", "stderr", "outputs", "codes", "places"):
        if ours[kind] != theirs[kind]:
            yield kind, ours[kind], theirs[kind]
    missing = [text for text in theirs["evalues"] if flat(text) not in flat(ours["error"])]
    if missing:
        yield "message", ours["error"], missing
    elif ours["evalues"] and not theirs["evalues"]:
        yield "message", ours["error"], []


def flat(text):
    """`text` as words: reports break lines where they like."""
    return " ".join(text.split())


def through(start_kernel, cells):
    """What each cell of a session said in a new kernel."""
    with start_kernel() as session:
        return [said(run_cell(session, cell.code)) for cell in cells]


def main():
    parser = arguments(__doc__.splitlines()[0], "same_cells")
    side_by_side(parser)
    parser.add_argument("--only", help="sessions to run, with commas between them")
    parser.add_argument("--without", default="", help="sessions to leave out, with commas between them")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(SESSIONS)
    if unknown := set(names) - set(SESSIONS):
        parser.error(f"no such session: {', '.join(sorted(unknown))}. There are: {', '.join(SESSIONS)}")
    starts = kernels(options)
    found, unknown, stale, count = [], 0, 0, 0
    for name in names:
        if name in options.without.split(","):
            continue
        cells = SESSIONS[name]
        count += len(cells)
        answers = {kernel: through(start, cells) for kernel, start in starts.items()}
        print(f"{name}: {len(cells)} cells", flush=True)
        for cell, ours, theirs in zip(cells, answers[OURS], answers[PEER]):
            differ = {kind: values for kind, *values in differences(ours, theirs)}
            for kind, (here, there) in differ.items():
                reason = cell.differs.get(kind)
                found.append(
                    {
                        "session": name,
                        "cell": cell.code,
                        "kind": kind,
                        "reason": reason,
                        "here": here,
                        "there": there,
                        "errors": [ours["error"], theirs["error"]],
                    }
                )
                if reason is None:
                    unknown += 1
                    print(f"\nNOT KNOWN, {kind} of:\n{cell.code}\n  here:  {here!r}\n  there: {there!r}")
            for kind in set(cell.differs) - set(differ):
                stale += 1
                print(f"\nNO LONGER DIFFERS, {kind} of:\n{cell.code}\n  {ours[kind] if kind in ours else ours['error']!r}")
    reasons = {}
    for one in found:
        if one["reason"]:
            reasons.setdefault(one["reason"], []).append(one)
    print()
    print_table(
        ["known difference", "cells"],
        [[reason, len({one["cell"] for one in ones})] for reason, ones in sorted(reasons.items())],
    )
    print(f"\n{count} cells; {len(found)} differences, {unknown} not known; {stale} no longer found")
    write(options.json, {"machine": machine(), "cells": count, "differences": found})
    sys.exit(1 if unknown or stale else 0)


if __name__ == "__main__":
    main()
