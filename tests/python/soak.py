"""Load and faults for a stated time, with figures: what was held, what was survived, what was lost.

One session lives through all of it, beside others that come and go. A finding ends the run with 1.
"""

import argparse
import contextlib
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import nbformat
import zmq
from nbformat.v4 import new_code_cell, new_notebook

import strangers
from kernel_session import BINARY, RECORD, MiB, Record, Session
from processes import descendants, is_alive, resident

# A cell that takes longer than this to begin has been held up.
HELD_UP = 60


class Soak:
    """What has been done so far, and the session that lives through it."""

    def __init__(self, seed, long):
        """`long`: with as much load as is promised, and not only as a test has time for."""
        self.random, self.long = random.Random(seed), long
        self.counts = {}
        self.figures = {}
        self.kept = Session()
        self.start_kept()

    def start_kept(self):
        self.kept.ok("fn survivor(x: u64) -> u64 { x + 1 }")
        self.kept.ok("let mut number = 0u64;")
        self.number = 0

    def count(self, what, times=1):
        self.counts[what] = self.counts.get(what, 0) + times

    def note(self, what, value, unit):
        self.figures.setdefault((what, unit), []).append(value)

    def check_kept(self):
        """The long session still has its function and its variable."""
        self.number += 1
        result = self.kept.ok("number += 1; survivor(number)")
        assert result.results[0]["text/plain"] == str(self.number + 1), result.describe()
        self.count("cells of the long session")

    # --- load

    def tracked_cells(self):
        """Cells that keep nothing, tracked: the kernel and its child may not grow."""
        before = self.held()
        times = 40
        for number in range(times):
            size = self.random.randrange(1, 64)
            result = self.kept.ok(
                f"%memtrack\n{{ let block = vec![{number % 200 + 1}u8; {size} << 20]; std::hint::black_box(&block); }}"
            )
            rise = result.record.rise("heap")
            assert size * MiB - 4096 <= rise < (size + 1) * MiB, f"{size} MiB allocated, {rise} bytes told"
        self.count("tracked cells", times)
        for name, now in self.held().items():
            self.note(f"growth per tracked cell, {name}", (now - before[name]) / times / 1024, "KiB")

    def held(self):
        """Resident bytes, without what the allocator keeps for later."""
        self.kept.ok("%memtrack trim")
        child = int(self.kept.ok("std::process::id()").results[0]["text/plain"])
        kernel = self.kept.manager.provisioner.pid
        return {"kernel": resident(kernel), "child": resident(child)}

    def output(self, megabytes=100):
        """Much output, all of which must come, in order."""
        lines = megabytes * 10_000
        start = time.monotonic()
        # 100 bytes a line.
        cell = self.kept.begin(f'for line in 0..{lines} {{ println!("{{line:>99}}"); }}')
        expected = 0
        rest = ""
        while not cell.idle:
            cell.take(time.monotonic() + HELD_UP)
            rest += "".join(content["text"] for kind, content in cell.result.events if kind == "stream")
            cell.result.events.clear()
            *whole, rest = rest.split("\n")
            for line in whole:
                assert int(line) == expected, f"line {expected} is missing or in the wrong place: {line[-40:]}"
                expected += 1
        cell.finish()
        assert expected == lines and not rest
        self.count("MB of output", megabytes)
        self.note("output", megabytes / (time.monotonic() - start), "MB/s")

    def completions(self):
        """Questions while a cell runs are answered, ten at a time, and the cell does not notice."""
        # Every eleventh is not for a completion.
        times = 2200 if self.long else 330
        client = self.kept.client
        with tempfile.NamedTemporaryFile() as file:
            cell = self.kept.begin(
                f'let mut step = 0; while std::path::Path::new("{file.name}").exists() '
                '{ println!("{step}"); step += 1; std::thread::sleep(std::time::Duration::from_millis(50)); }'
            )
            cell.wait_for_stdout("0\n")
            sent, asked = {}, 0
            while asked < times or sent:
                while asked < times and len(sent) < 10:
                    # Magics are completed; of Rust evcxr can tell only between cells, so nothing is said at once.
                    code = self.random.choice(["number.", "surv", "String::new().", "%memt"])
                    question = client.is_complete(code) if asked % 11 == 10 else client.complete(code, len(code))
                    sent[question] = (time.monotonic(), code)
                    asked += 1
                message = client.get_shell_msg(timeout=HELD_UP)
                since, code = sent.pop(message["parent_header"]["msg_id"])
                assert message["content"]["status"] != "error", message
                if "matches" in message["content"] and code == "%memt":
                    assert message["content"]["matches"], f"nothing completes {code}"
                self.note("answer to a question while a cell ran", (time.monotonic() - since) * 1000, "ms")
        result = cell.finish(HELD_UP)
        steps = result.stdout.split()
        assert steps == [str(step) for step in range(len(steps))]
        self.count("questions while a cell ran", times)

    def long_notebook(self):
        """A notebook of tracked cells, executed by the binary alone: each cell has its table."""
        cells = 300 if self.long else 60
        code = "%memtrack\n{{ let block = vec![{0}u8; {0} << 12]; std::hint::black_box(&block); }}"
        notebook = new_notebook(cells=[new_code_cell(code.format(number % 200 + 1)) for number in range(cells)])
        with tempfile.TemporaryDirectory() as folder:
            source, output = pathlib.Path(folder, "in.ipynb"), pathlib.Path(folder, "out.ipynb")
            nbformat.write(notebook, source)
            start = time.monotonic()
            subprocess.run([BINARY, "run", source, "--output", output], check=True, stdout=subprocess.DEVNULL)
            self.note(f"a notebook of {cells} tracked cells", time.monotonic() - start, "s")
            executed = nbformat.read(output, as_version=4)
        nbformat.validate(executed)
        kernel = []
        for number, cell in enumerate(executed.cells):
            assert cell.execution_count == number + 1
            (table,) = [it for it in cell.outputs if it.output_type == "display_data"]
            record = Record(table.data[RECORD])
            assert record.status == "ok" and record.rise("heap") >= (number % 200 + 1) << 12
            assert "heap" in table.data["text/plain"] and "<table" in table.data["text/html"]
            kernel.append(record.json["overhead"]["kernel_rss"] / MiB)
        self.note(f"kernel at the end of a notebook of {cells} tracked cells", kernel[-1], "MiB")
        # The first ones still have it load what every cell needs.
        growth = (kernel[-1] - kernel[cells // 3]) / (cells - cells // 3) * 1024
        assert growth < 150, f"the kernel grew by {growth:.0f} KiB a cell: {kernel}"
        self.count("cells of long notebooks", cells)

    def kernels_side_by_side(self, kernels=8, cells=4):
        """Sessions at once, all on one cache."""
        failures = []

        def one(number):
            try:
                with Session() as session:
                    session.ok(f"let mine = {number}u64;")
                    for step in range(cells):
                        result = session.ok(f"%memtrack\nmine * 1000 + {step}")
                        assert result.results[0]["text/plain"] == str(number * 1000 + step), result.describe()
            except Exception as error:  # noqa: BLE001: told below, with its thread's number
                failures.append(f"kernel {number}: {error!r}")

        threads = [threading.Thread(target=one, args=(number,)) for number in range(kernels)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        self.count("kernels side by side", kernels)

    def subscriber_that_does_not_read(self):
        """A second client that takes nothing from iopub holds up neither the cell nor the first."""
        stalled = self.kept.client.context.socket(zmq.SUB)
        stalled.setsockopt(zmq.RCVHWM, 1)
        stalled.setsockopt(zmq.RCVBUF, 4096)
        stalled.subscribe(b"")
        stalled.connect(self.kept.client._make_url("iopub"))
        time.sleep(0.2)
        kernel = self.kept.manager.provisioner.pid
        before = resident(kernel)
        start = time.monotonic()
        try:
            self.output(megabytes=20)
        finally:
            stalled.close(linger=0)
        # It is dropped after ten seconds.
        assert time.monotonic() - start < 30
        self.note("growth beside a client that does not read", (resident(kernel) - before) / MiB, "MiB")
        self.count("clients that do not read")

    def strangers(self, times=200, idle=200):
        """Others reach the ports: what they send is dropped, and what they took is given back."""
        counts, growth = strangers.visit(self.kept, self.random, times, idle)
        # The one cell that was replayed ran once.
        self.number += 1
        for what, count in counts.items():
            self.count(what, count)
        assert growth < 100, f"the kernel grew by {growth:.0f} MiB"
        self.note("growth beside strangers", growth, "MiB")

    # --- faults

    def child_killed(self):
        """At a random moment of a cell that prints and allocates."""
        pid = int(self.kept.ok("std::process::id()").results[0]["text/plain"])
        cell = self.kept.begin(
            '%memtrack\nfor line in 0..20_000 { println!("{line}"); }\nlet lost = vec![1u8; 32 << 20];'
        )
        time.sleep(self.random.uniform(0, 0.3))
        # Not SIGSEGV: where it is no fault that happens again, libstd's handler lets the process go on.
        number = self.random.choice([signal.SIGKILL, signal.SIGABRT, signal.SIGTERM])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        result = cell.finish(HELD_UP)
        told = told_by(result)
        if not told:
            # It came after the cell.
            told = told_by(self.kept.execute("1"))
        assert signal.Signals(number).name in told, told
        assert result.record.status in ("killed", "ok")
        self.after_loss()
        self.count("processes killed")

    def interrupted(self):
        cell = self.kept.begin("%memtrack\nloop { std::hint::spin_loop() }")
        time.sleep(self.random.uniform(0, 0.4))
        self.kept.interrupt()
        result = cell.finish(HELD_UP)
        assert result.record.status == "interrupted", result.describe()
        self.after_loss()
        self.count("interrupts")

    def compiler_killed(self):
        cell = self.kept.begin("%memtrack\n" + "\n".join(f"fn f{n}(x: u64) -> u64 {{ x * {n} }}" for n in range(300)))
        deadline = time.monotonic() + 5
        while not cell.idle and time.monotonic() < deadline:
            if self.kill_below("rustc"):
                break
            time.sleep(0.002)
        result = cell.finish(HELD_UP)
        assert result.status == "error" or result.record.status == "ok", result.describe()
        self.check_kept()
        self.count("compilers killed", result.status == "error")

    def kill_below(self, name):
        """Kills a process of that name that the long session's kernel has started."""
        for process in descendants(self.kept.manager.provisioner.pid):
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{process}/comm").read_text().strip() == name:
                    os.kill(process, signal.SIGKILL)
                    return True
        return False

    def panics_and_errors(self):
        for code, word in [
            ('panic!("on purpose")', "on purpose"),
            ("unknown_name", "E0425"),
            ('std::fs::read("/nowhere")?;', "No such file"),
            ("let broken: u8 = ;", "expected expression"),
            ("%memtrak\n1", "memtrack"),
        ]:
            result = self.kept.execute(code)
            assert result.status == "error" and word in result.error, result.describe()
            self.count("cells that failed as they should")
        self.check_kept()

    def after_loss(self):
        """Variables are lost with their process, functions are not."""
        result = self.kept.execute("number += 1; survivor(number)")
        if result.status == "ok":
            self.number += 1
            return
        assert self.kept.ok("survivor(1)").results[0]["text/plain"] == "2"
        self.kept.ok("let mut number = 0u64;")
        self.number = 0

    def kernel_killed(self):
        """A kernel that ends without a word leaves no process, and the next one clears its folder."""
        with tempfile.TemporaryDirectory() as folder:
            env = {"TMPDIR": folder}
            with Session(env=env) as session:
                session.ok("1")
                processes = descendants(session.manager.provisioner.pid)
                os.kill(session.manager.provisioner.pid, signal.SIGKILL)
            with Session(env=env) as session:
                session.ok("1")
                # rustc may end a moment later.
                deadline = time.monotonic() + 20
                while alive := [process for process in processes if is_alive(process)]:
                    assert time.monotonic() < deadline, f"left behind: {alive}"
                    time.sleep(0.05)
                folders = list(pathlib.Path(folder).glob("memtrack-*"))
                assert len(folders) == 1, folders
            assert not list(pathlib.Path(folder).iterdir())
        self.count("kernels killed")


def told_by(result):
    """What a cell says of a process that ended: as its error, or before it ran in a new one."""
    return result.error if result.status == "error" else result.stderr


LOAD = [
    "tracked_cells",
    "output",
    "completions",
    "long_notebook",
    "kernels_side_by_side",
    "subscriber_that_does_not_read",
    "strangers",
]
FAULTS = ["child_killed", "interrupted", "compiler_killed", "panics_and_errors", "kernel_killed"]


def run(minutes, seed, say=print):
    """Every scenario once, then in random order until the time is over. Gives what was done."""
    end = time.monotonic() + minutes * 60
    soak = Soak(seed, long=minutes > 0)
    queue = [*LOAD, *FAULTS]
    try:
        while queue or time.monotonic() < end:
            name = queue.pop(0) if queue else soak.random.choice([*LOAD, *FAULTS * 3])
            start = time.monotonic()
            getattr(soak, name)()
            soak.check_kept()
            say(f"{name}: {time.monotonic() - start:.1f} s")
    finally:
        soak.kept.stop()
    return soak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="tests/soak")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="for the same order again")
    options = parser.parse_args()
    print(f"{options.minutes:g} minutes, --seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        # Where kernels keep their folders: none may be left.
        os.environ["TMPDIR"] = folder
        soak = run(options.minutes, options.seed, lambda text: print(text, flush=True))
        left = list(pathlib.Path(folder).glob("memtrack-*"))
    print()
    for what, count in sorted(soak.counts.items()):
        print(f"{count:>8}  {what}")
    for (what, unit), values in sorted(soak.figures.items()):
        print(f"{statistics.median(values):>8.1f}  {unit}, {what} (median of {len(values)}, largest {max(values):.1f})")
    if left:
        sys.exit(f"folders were left behind: {left}")


if __name__ == "__main__":
    main()
