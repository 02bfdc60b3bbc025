"""What the benchmarks share: the kernels, a clock around a cell, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from jupyter_client.kernelspec import KernelSpec  # noqa: E402
from jupyter_client.manager import KernelManager  # noqa: E402
from kernel_session import BINARY, Session  # noqa: E402

PEER_VERSION = "0.22.0"
INSTALL_PEER = (
    f"cargo install evcxr_jupyter --version {PEER_VERSION} --locked --root target/peer"
)


def arguments(description, name):
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--kernel", type=pathlib.Path, default=BINARY, help="memtrack-kernel to measure")
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        default=ROOT / "target" / "bench" / f"{name}.json",
        help="where to write all figures",
    )
    return parser


def require(path, how):
    """`path`, or the end of the program with a word on how to get it."""
    if not path.exists():
        sys.exit(f"{path} is not there. To get it: {how}")
    return path.resolve()


def manager(argv):
    """A manager for a kernel that is not installed, interrupted by message."""
    made = KernelManager(kernel_name="benchmark")
    made._kernel_spec = KernelSpec(argv=argv, language="rust", interrupt_mode="message")
    return made


def ours(binary, env=None, **options):
    """A session with the kernel of this repository."""
    argv = [str(binary), "kernel", "{connection_file}"]
    return Session(manager=manager(argv), env=env, **options)


def peer(binary, **options):
    """A session with evcxr_jupyter."""
    argv = [str(binary), "--control_file", "{connection_file}"]
    return Session(manager=manager(argv), **options)


def seconds_of(session, code):
    """Seconds from sending a cell, which must succeed, to its idle and its reply."""
    start = time.perf_counter()
    result = session.ok(code)
    return time.perf_counter() - start, result


def percentile(values, share):
    """The smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def median(values):
    return statistics.median(values)


def machine():
    """What a reader must know to judge the figures."""

    def said_by(*command):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "system": platform.platform(),
        "load_average_at_start": os.getloadavg()[0],
        "rustc": said_by("rustc", "--version"),
    }


def print_table(header, rows):
    """Prints aligned columns: the first to the left, the others to the right."""
    lines = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for number, line in enumerate(lines):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells))
        if number == 0:
            print("  ".join("-" * width for width in widths))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nAll figures: {path}")
