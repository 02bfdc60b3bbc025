"""The clock on the wall is set while the kernel works: nothing that is measured goes by it.

A library of the tests' own (`tests/fakes/clock`) stands between all processes of the kernel and that clock.
Steady clocks are left alone, as they are where somebody sets a real one.
"""

import contextlib
import datetime
import json
import os
import struct
import subprocess
import time

import pytest

from kernel_session import RECORD, ROOT, Record, Session
from test_faults import folder_of, value

HOUR = 3600
SOURCE = ROOT / "tests" / "fakes" / "clock" / "clock.c"

# Tells each step of more than half an hour that it sees, to and fro.
SEES_STEPS = """%memtrack --timeline
let begin = std::time::Instant::now();
println!("runs");
let (mut last, mut steps) = (std::time::SystemTime::now(), 0);
while steps < STEPS {
    std::thread::sleep(std::time::Duration::from_millis(2));
    let now = std::time::SystemTime::now();
    let gone = now.duration_since(last).unwrap_or_else(|error| error.duration());
    if gone.as_secs() > 1800 { steps += 1; println!("step {steps}"); }
    last = now;
}
println!("took {}", begin.elapsed().as_secs_f64());"""


class Clock:
    """The kernel's clock on the wall."""

    def __init__(self, folder):
        library, file = folder / "clock.so", folder / "clock"
        subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        self.set_by = open(file, "w+b", buffering=0)
        self.env = {"LD_PRELOAD": str(library), "MEMTRACK_FAKE_CLOCK": str(file)}
        self.set(0)

    def set(self, hours):
        """Off by that many hours from now on."""
        os.pwrite(self.set_by.fileno(), struct.pack("=q", hours * HOUR), 0)


@pytest.fixture
def clock(tmp_path):
    clock = Clock(tmp_path)
    yield clock
    clock.set_by.close()


@pytest.fixture
def session(clock):
    with Session(env=clock.env) as session:
        session.ok("let ready = 1;")
        yield session


def assert_times(record, seconds, clocks):
    """The durations fit into the `seconds` that passed here; it began by one of these `clocks`."""
    # Here time was taken a moment later: after the cell was sent.
    seconds += 1
    took, tracking = record.json["duration_s"], record.json["overhead"]["tracking_s"]
    assert 0 <= took["compile"] and 0 <= took["run"] and took["compile"] + took["run"] <= seconds, took
    assert 0 <= tracking <= seconds
    began = datetime.datetime.fromisoformat(record.json["cell"]["started_at"]).timestamp()
    off = (began - time.time()) / HOUR
    assert min(abs(off - clock) for clock in clocks) < 0.5, f"{off} hours off"
    if timeline := record.json["timeline"]:
        points = timeline["t"]
        assert points == sorted(points)
        # Samples may come just before compiling begins and after the code's end.
        assert points[0] >= -took["compile"] - 1 and points[-1] <= took["run"] + 1, (points, took)


def test_the_clock_is_set_while_a_cell_runs(clock, session):
    clocks = [3, -5, 40, -40, 2]
    cell = session.begin(SEES_STEPS.replace("STEPS", str(len(clocks))))
    cell.wait_for_stdout("runs")
    for number, hours in enumerate(clocks, 1):
        clock.set(hours)
        cell.wait_for_stdout(f"step {number}\n")
    result = cell.finish()
    assert result.status == "ok"
    assert_times(result.record, result.seconds, [0])
    took = float(result.stdout.split()[-1])
    assert took <= result.record.json["duration_s"]["run"] <= took + 10
    assert value(session, "ready") == ["1"]


def test_the_clock_is_set_while_a_cell_is_shown_live_or_compiled(clock, session):
    before = 0
    for hours in [7, -7, 0, -30]:
        cell = session.begin(
            "%memtrack --live --timeline\nstd::thread::sleep(std::time::Duration::from_millis(700));"
        )
        clock.set(hours)
        # The display that is changed while it runs.
        cell.wait_for(lambda result: result.of("display_data"))
        clock.set(hours + 2)
        result = cell.finish()
        assert result.status == "ok", result.describe()
        record = Record(result.bundles[-1][RECORD])
        assert_times(record, result.seconds, [before, hours, hours + 2])
        assert record.json["duration_s"]["run"] >= 0.7
        before = hours + 2


def test_cells_stay_in_order_whatever_the_clock_says(clock, session, tmp_path):
    # Linux lets nobody set it before 1970.
    new_year = 1 - int(time.time()) // HOUR
    clocks = [0, -3, 5, new_year, 1_000_000, 0]
    for hours in clocks:
        clock.set(hours)
        result = session.ok("%memtrack\nstd::hint::black_box(vec![1u8; 1 << 20]);")
        assert_times(result.record, result.seconds, [hours])
    session.ok(f"%memtrack export {tmp_path}/all.jsonl")
    with open(tmp_path / "all.jsonl") as file:
        counts = [json.loads(line)["cell"]["execution_count"] for line in file]
    assert len(counts) == len(clocks) and counts == sorted(counts)
    for magic in ("%memtrack", "%memtrack report", "%memtrack doctor", f"%memtrack diff {counts[0]} {counts[-1]}"):
        session.ok(magic)
    assert value(session, "ready") == ["1"]


def test_files_of_the_future_are_not_taken_for_the_latest(tmp_path):
    """After a step back, all that was compiled before is newer than what is compiled next."""
    library = tmp_path / "library"
    (library / "src").mkdir(parents=True)
    (library / "Cargo.toml").write_text('[package]\nname = "library"\nversion = "1.0.0"\nedition = "2021"\n')
    source = library / "src" / "lib.rs"
    source.write_text("pub fn number() -> u32 { 0 }")
    with Session() as session:
        session.ok("let ready = 1;")
        for number in range(3):
            if number == 1:
                session.ok(f':dep library = {{ path = "{library}" }}')
            assert value(session, f"ready + {number}") == [str(1 + number)]
            if number:
                assert value(session, f"library::number() + {number}") == [str(number)]
            put_off(folder_of(session), 5 * HOUR)


def put_off(folder, seconds):
    """Has every file below the folder written so much later."""
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            written = path.stat(follow_symlinks=False).st_mtime + seconds
            os.utime(path, (written, written), follow_symlinks=False)
