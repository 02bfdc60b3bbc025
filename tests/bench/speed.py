"""How fast a user's session is, side by side with evcxr_jupyter 0.22.

The kernels take turns, and in every second run the other way round. All figures are medians of the
runs; a ratio is that of the medians.

    target/venv/bin/python tests/bench/speed.py [--only start,cells,cpu,dep,output,long] [--runs 3]

In short: `start` has the start of the process, the first result and the first variable; `cells` small
cells and what the kernel holds after them; `cpu` hot code, as the cell's own clock sees it; `dep` packages
that an earlier session compiled; `output` much output; `long` a session of 500 cells (run once, unless
`--long-runs` says otherwise).
"""

import operator

import speed_dep
import speed_run
import speed_start
from measure import (
    OURS,
    PEER,
    arguments,
    interleaved,
    kernels,
    machine,
    median,
    print_table,
    side_by_side,
    write,
)

SECTIONS = {
    "start": speed_start.start,
    "cells": speed_start.cells,
    "cpu": speed_run.cpu,
    "output": speed_run.output,
    "long": speed_run.long,
}
ALL = ["start", "cells", "cpu", "output", "dep", "long"]

# What the table calls a figure, the figure, and the largest ratio to evcxr_jupyter that is aimed at.
ROWS = [
    ("start to kernel_info", "kernel_info_s", 0.05),
    ("start to kernel_info, second start", "kernel_info_second_s", 0.05),
    ("start to 1+1, empty cache", "first_result_cold_s", 0.4),
    ("start to 1+1, second start", "first_result_second_s", 0.2),
    ("first let, at once, empty cache", "first_let_cold_s", 0.3),
    ("first let, at once, second start", "first_let_second_s", 0.3),
    ("first let, after 3 s", "first_let_rested_s", 0.3),
    ("24 small cells, median", "cells_median_s", 0.5),
    ("24 small cells, p90", "cells_p90_s", 0.5),
    ("  those that end in a value, median", "expressions_median_s", 0.5),
    ("  the others, median", "others_median_s", 0.5),
    ("RSS after ten cells, kernel", "rss_ten_kernel_mib", 0.7),
    ("RSS after ten cells, all processes", "rss_ten_all_mib", 0.7),
    ("RSS after 26 cells, kernel", "rss_all_kernel_mib", None),
    ("RSS after 26 cells, all processes", "rss_all_all_mib", None),
    ("loop of 1e8", "cpu_loop_s", 1.05),
    ("loop of 1e8, function of an earlier cell", "cpu_loop_earlier_s", 1.05),
    ("loop of 1e8, not in a function", "cpu_loop_inline_s", 1.05),
    ("sort of 1e7", "cpu_sort_s", 1.05),
    ("sort of 1e7, function of an earlier cell", "cpu_sort_earlier_s", 1.05),
    ("matrix product 512", "cpu_matrix_s", 1.05),
    ("matrix product 512, function of an earlier cell", "cpu_matrix_earlier_s", 1.05),
    ("iterators and closures over 1e8", "cpu_iterator_s", 1.05),
    ("HashMap of 1e6 counts", "cpu_hash_map_s", 1.05),
    ("1e5 lines", "output_lines_s", 1.0),
    ("  lost or out of order", "output_lines_lost", None),
    ("  messages", "output_lines_messages", None),
    ("10 MB in one line", "output_long_line_s", 1.0),
    ("  bytes lost", "output_long_line_lost", None),
    ("  messages", "output_long_line_messages", None),
    ("1000 displays", "output_displays_s", 1.0),
    ("  lost or out of order", "output_displays_lost", None),
    ("  messages", "output_displays_messages", None),
    ("long session, first 50 cells, median", "long_first_s", None),
    ("long session, last 50 cells, median", "long_last_s", None),
    ("growth per cell, kernel", "long_growth_kernel_kib", None),
    ("growth per cell, child", "long_growth_child_kib", None),
    ("growth per cell, all processes", "long_growth_all_kib", None),
]
# The largest value of a figure of ours alone.
OWN_TARGETS = {
    "long_slowdown": ("long session, last 50 to first 50", 1.2),
    "output_lines_lost": ("lines lost or out of order", 0),
    "output_long_line_lost": ("bytes of the long line lost", 0),
    "output_displays_lost": ("displays lost or out of order", 0),
}


def shown(figure, value):
    """A value with the unit that the figure's name ends in."""
    if value is None:
        return ""
    if figure.endswith("_s"):
        return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"
    for ending, unit in (("_mib", "MiB"), ("_kib", "KiB")):
        if figure.endswith(ending):
            return f"{value:.1f} {unit}"
    return f"{value:.2f}" if isinstance(value, float) and not value.is_integer() else f"{value:.0f}"


def verdict(value, target, holds=operator.le):
    if target is None:
        return ""
    return f"<= {target} {'yes' if holds(value, target) else 'NO'}"


def medians(runs):
    """The median of each figure that is one number in each run."""
    figures = {}
    for name in runs[0] if runs else ():
        values = [run[name] for run in runs]
        if all(isinstance(value, (int, float)) for value in values):
            figures[name] = median(values)
    return figures


def table(summaries):
    """Rows of the table of all figures that were measured."""
    ours, theirs = summaries[OURS], summaries[PEER]
    for label, figure, target in ROWS:
        if figure in ours and figure in theirs:
            yield row(label, figure, ours[figure], theirs[figure], target)
        if figure.startswith("cpu_") and figure in ours:
            figure = figure.removesuffix("_s") + "_processor_s"
            yield row("  its processor time", figure, ours[figure], theirs[figure], target)
    for package in speed_dep.PACKAGES:
        figure = f"dep_{package}_s"
        if figure in ours:
            yield row(f":dep {package}, compiled before", figure, ours[figure], theirs[figure], 0.1)
            cached = summaries[speed_dep.WITH_CACHE][figure]
            yield row("  beside its :cache 500", figure, ours[figure], cached, None)
    for figure, (label, target) in OWN_TARGETS.items():
        if figure in ours:
            cells = [shown(figure, one[figure]) for one in (ours, theirs)]
            yield [label, *cells, "", verdict(ours[figure], target)]


def row(label, figure, ours, theirs, target):
    # A ratio of things that may be nothing, or shrink, says nothing.
    ratio = ours / theirs if theirs > 0 and ours >= 0 and not figure.endswith("_lost") else None
    return [
        label,
        shown(figure, ours),
        shown(figure, theirs),
        "" if ratio is None else f"{ratio:.3f}",
        "" if ratio is None else verdict(ratio, target),
    ]


def main():
    parser = arguments(__doc__.splitlines()[0], "speed")
    side_by_side(parser)
    parser.add_argument("--runs", type=int, default=3, help="runs of each kernel (default 3)")
    parser.add_argument("--only", default=",".join(ALL), help="sections, with commas between them")
    parser.add_argument("--candle", action="store_true", help="candle-core too, which takes many minutes")
    parser.add_argument("--long-cells", type=int, default=500, help="cells of the long session")
    parser.add_argument("--long-runs", type=int, default=1, help="runs of the long session (default 1)")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(ALL):
        parser.error(f"no such section: {', '.join(sorted(unknown))}. There are: {', '.join(ALL)}")
    if options.long_cells < 2 * speed_run.EDGE:
        parser.error(f"--long-cells must be at least {2 * speed_run.EDGE}")
    starts = kernels(options)
    host = machine()
    runs = {}
    summaries = {OURS: {}, PEER: {}}
    for section in chosen:
        if section == "dep":
            runs[section] = speed_dep.dep(starts, options, options.runs)
            for name, figures in runs[section].items():
                summaries.setdefault(name, {}).update(figures)
            continue
        count = options.long_runs if section == "long" else options.runs
        runs[section] = {name: [] for name in starts}
        for number, name in interleaved(list(starts), count):
            print(f"{section}, run {number + 1} of {count}: {name}", flush=True)
            runs[section][name].append(SECTIONS[section](starts[name], options))
        for name in starts:
            summaries[name].update(medians(runs[section][name]))
        # Kept after each section: a run of all takes long, and something may end it.
        write(options.json, {"machine": host, "summaries": summaries, "runs": runs}, say=False)
    print(f"\nMedians of {options.runs} runs (long: {options.long_runs}), {host['cores']} cores, {host['processor']}\n")
    print_table(["", OURS, PEER, "ratio", "aim"], list(table(summaries)))
    write(options.json, {"machine": host, "summaries": summaries, "runs": runs})


if __name__ == "__main__":
    main()
