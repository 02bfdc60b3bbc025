"""How often a spike of 256 MiB that lasts some tens of milliseconds is seen, by this kernel and by the
tools that Python's kernels have for a cell.

Each tool gets the same cell again and again: 256 MiB of numbers, filled and dropped. The true rise is
256 MiB; a tool saw it if it says at least 95 % of that. The other tools run in a Python environment of
their own.

    target/venv/bin/python tests/bench/spikes.py [--runs 10] [--python target/peers/bin/python]
"""

import pathlib
import re

from measure import (
    ROOT,
    arguments,
    machine,
    manager,
    median,
    ours,
    print_table,
    require,
    write,
)
from kernel_session import MiB, Session

INSTALL_TOOLS = (
    "python3 -m venv target/peers && target/peers/bin/pip install ipykernel numpy "
    "memory_profiler==0.61.0 ipython_memory_usage==1.8.3"
)

SPIKE = 256
SEEN = 0.95 * SPIKE

RUST = "{ let numbers = vec![1.0f64; 32 << 20]; std::hint::black_box(&numbers); }"
PYTHON = "def spike():\n    numbers = np.ones(32 << 20)\n    del numbers\n"


def with_this_kernel(runs, binary):
    """Rises in MiB by `%memtrack`."""
    with ours(binary) as session:
        session.warm_up()
        records = [session.ok(f"%memtrack\n{RUST}").record for _ in range(runs)]
    return [record.rise("ram") / MiB for record in records]


def in_python(runs, python, set_up, cell, pattern):
    """Rises in MiB as `pattern` finds them in what `cell` prints in a Python kernel."""
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    rises = []
    with Session(manager=manager(argv)) as session:
        session.ok(f"import numpy as np\n{PYTHON}")
        for line in set_up:
            session.ok(line)
        # The first of each tool's cells also pays for what the tool loads.
        session.ok(cell)
        for _ in range(runs):
            result = session.ok(cell)
            rises.append(float(re.search(pattern, result.stdout)[1]))
    return rises


def main():
    parser = arguments(__doc__, "spikes")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--python", type=pathlib.Path, default=ROOT / "target/peers/bin/python")
    options = parser.parse_args()
    require(options.python, INSTALL_TOOLS)
    found = {
        "memtrack-kernel, %memtrack": with_this_kernel(options.runs, options.kernel),
        "memory_profiler, %memit -r 1": in_python(
            options.runs,
            options.python,
            ["%load_ext memory_profiler"],
            "%memit -r 1 spike()",
            r"increment: ([\d.-]+) MiB",
        ),
        "ipython_memory_usage": in_python(
            options.runs,
            options.python,
            ["%load_ext ipython_memory_usage", "%imu_start"],
            "spike()",
            r"peaked ([\d.-]+) MiB above",
        ),
    }
    print_table(
        ["tool", f"saw 256 MiB in {options.runs}", "median", "least", "most"],
        [
            [
                tool,
                str(sum(rise >= SEEN for rise in rises)),
                *(f"{value(rises):.0f} MiB" for value in (median, min, max)),
            ]
            for tool, rises in found.items()
        ],
    )
    write(options.json, {"machine": machine(), "rises_mib": found})


if __name__ == "__main__":
    main()
