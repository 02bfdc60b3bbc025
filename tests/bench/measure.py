"""What the benchmarks share: the kernels, a clock around a cell, a table and a JSON file."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import queue
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from jupyter_client.kernelspec import KernelSpec  # noqa: E402
from jupyter_client.manager import KernelManager  # noqa: E402
from kernel_session import BINARY, Session  # noqa: E402
from processes import descendants  # noqa: E402
from processes import resident as memory_of  # noqa: E402

OURS, PEER = "memtrack-kernel", "evcxr_jupyter"
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


def side_by_side(parser):
    """Adds the option of a benchmark that compares with evcxr_jupyter."""
    parser.add_argument(
        "--peer",
        type=pathlib.Path,
        default=ROOT / "target" / "peer" / "bin" / "evcxr_jupyter",
        help="evcxr_jupyter to compare with",
    )


def kernels(options):
    """How to start each of the two kernels, by name."""
    kernel = require(options.kernel, "cargo build --release")
    other = require(options.peer, INSTALL_PEER)
    return {
        OURS: lambda **more: ours(kernel, **more),
        PEER: lambda **more: peer(other, **more),
    }


def interleaved(names, runs):
    """Pairs of a run's number and a kernel: in every second run the other way round."""
    for number in range(runs):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


def cache_in(folder):
    """The environment that makes both kernels keep in `folder` what they keep between sessions."""
    return {"MEMTRACK_CACHE_DIR": str(folder), "XDG_CACHE_HOME": str(folder)}


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


def everything_of(session, code, complete, quiet=5.0):
    """Seconds from sending a cell, which must succeed, to the last of its messages.

    evcxr_jupyter may send output after it has said that the cell is over. So this waits for the end
    of the cell and until `complete(result)` holds, or nothing more has come for `quiet` seconds: then
    the time is that of the last message, and the caller sees from the result that something is lost.
    """
    start = last = time.perf_counter()
    cell = session.begin(code)
    result = cell.finish()
    assert result.status == "ok", result.describe()
    last = time.perf_counter()
    while not complete(result):
        try:
            message = session.client.get_iopub_msg(timeout=quiet)
        except queue.Empty:
            break
        if message["parent_header"].get("msg_id") == cell.msg_id:
            result.events.append((message["header"]["msg_type"], message["content"]))
            last = time.perf_counter()
    return last - start, result


def resident(session):
    """Resident bytes of the kernel process alone, of the child that runs cells, and of all its
    processes together."""
    pid = session.manager.provisioner.pid
    tree = [pid, *descendants(pid)]
    bytes_of = dict.fromkeys(tree, 0)
    for process in tree:
        # One that has ended meanwhile holds nothing.
        with contextlib.suppress(OSError):
            bytes_of[process] = memory_of(process)
    program = os.readlink(f"/proc/{pid}/exe")
    children = [process for process in tree[1:] if _program_of(process) == program]
    return {
        "kernel": bytes_of[pid],
        "child": sum(bytes_of[process] for process in children),
        "all": sum(bytes_of.values()),
    }


def _program_of(pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/exe")
    return None


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


def write(path, content, say=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    if say:
        print(f"\nAll figures: {path}")
