"""What a cell used over time: the samples in its record, the lines in its table, the picture."""

import time
import xml.etree.ElementTree as xml

import pytest

from fake_gpu import FakeGpu
from kernel_session import GiB, MiB, Session

HOLD_MS = 300
# Two blocks, one after the other, and the first alone again: plateaus at half of the peak, at the peak
# and at half. Each has a mapping of its own, so that it is given back when it is dropped.
PLATEAUS = f"""
use std::{{hint::black_box, thread::sleep, time::Duration}};
{{
    let first = vec![1u8; {150 * MiB}];
    sleep(Duration::from_millis({HOLD_MS}));
    {{
        let second = vec![1u8; {150 * MiB}];
        sleep(Duration::from_millis({HOLD_MS}));
        black_box(&second);
    }}
    sleep(Duration::from_millis({HOLD_MS}));
    black_box(&first);
}}
"""


@pytest.fixture(scope="module")
def tracked(kernel):
    return kernel.ok("%memtrack --label plateaus --timeline\n" + PLATEAUS)


def samples(record, key):
    timeline = record.json["timeline"]
    assert len(timeline[key]) == len(timeline["t"]), key
    return list(zip(timeline["t"], timeline[key]))


def test_the_plateaus_are_seen(tracked):
    record = tracked.record
    before = record.row("ram")["before"]
    run = record.json["duration_s"]["run"]
    resident = [(t, value) for t, value in samples(record, "ram/process") if t >= 0]
    at_peak = [t for t, value in resident if abs(value - before - 300 * MiB) < 30 * MiB]
    low = [t for t, value in resident if abs(value - before - 150 * MiB) < 15 * MiB]
    plateaus = [
        [t for t in low if t < at_peak[0]],
        at_peak,
        # What is resident, not the highest so far.
        [t for t in low if t > at_peak[-1]],
    ]
    for times in plateaus:
        # Of the samples every 10 ms some may be late on a busy machine.
        assert len(times) > 10 and times[-1] - times[0] > 0.8 * HOLD_MS / 1000, resident
    heap = [value for t, value in samples(record, "heap/process") if 0 < t < run]
    assert max(heap) - record.row("heap")["before"] == pytest.approx(300 * MiB, rel=0.01)
    # No sample says more than the exact peak, but for some pages that Linux counts late for each
    # processor.
    assert max(value for _, value in resident) <= record.row("ram")["peak"] + MiB


def test_times_are_those_of_the_cell(tracked):
    record = tracked.record
    times = record.json["timeline"]["t"]
    duration = record.json["duration_s"]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(duration["run"], abs=1e-4)
    compiling = [t for t in times if t < 0]
    # The compiler is looked at every 50 ms, so this cell's was at least once.
    assert compiling and -duration["compile"] - 0.1 < compiling[0] < 0
    for key in ("ram/process", "ram/system", "heap/process"):
        values = dict(samples(record, key))
        assert values[0] == record.row(*key.split("/"))["before"], key
        assert values[times[-1]] == record.row(*key.split("/"))["after"], key
    compiler = [value for t, value in samples(record, "ram/compiler") if t >= 0]
    assert set(compiler) == {None}


def test_the_compiler_is_seen(tracked):
    seen = [value for t, value in samples(tracked.record, "ram/compiler") if t < 0]
    peak = tracked.record.json["overhead"]["compiler_peak_rss"]
    assert max(value for value in seen if value is not None) == peak


def test_the_table_shows_lines(tracked):
    bundle = tracked.bundles[0]
    line = next(line for line in bundle["text/plain"].splitlines() if "▁" in line)
    assert line.startswith("process RAM") and "█" in line and "peak" in line, line
    assert all(len(line) <= 100 for line in bundle["text/plain"].splitlines())
    assert "█" in bundle["text/html"]


def test_samples_travel_only_where_they_were_asked_for(kernel):
    result = kernel.ok("%memtrack\n" + PLATEAUS)
    assert result.record.json["timeline"] is None
    assert "█" not in result.bundles[0]["text/plain"]


def picture(result):
    """The words and the parsed picture of the one plot of a cell."""
    assert len(result.displays) == 1, result.describe()
    bundle = result.displays[0]
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    root = xml.fromstring(bundle["image/svg+xml"])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return bundle["text/plain"], root, bundle["image/svg+xml"]


def test_one_cell_is_drawn(kernel, tracked):
    number = tracked.record.json["cell"]["execution_count"]
    text, root, svg = picture(kernel.ok(f"%memtrack plot {number}"))
    assert text.startswith(f"[{number}] plateaus\n")
    assert "process RAM: peak" in text and "kernel high-water mark" in text
    assert "kernel high-water mark" in svg and ">run<" in svg
    assert root.find("{*}title") is not None and root.find("{*}desc") is not None
    # The word for a phase has room only where the phase is a good part of the whole.
    short = kernel.ok("%memtrack\nstd::thread::sleep(std::time::Duration::from_millis(40));")
    _, _, svg = picture(kernel.ok(f"%memtrack plot {short.reply['execution_count']}"))
    assert ">compile<" in svg and ">run<" in svg


def test_cells_of_all_kinds_are_drawn_and_nothing_in_them_is_markup(kernel):
    kernel.ok('%memtrack --label "</text><script>alert(1)</script> & more"\n();')
    assert kernel.execute('%memtrack\nlet number: u8 = "text";').status == "error"
    assert kernel.execute("%memtrack\nstd::process::abort();").status == "error"
    text, root, _ = picture(kernel.ok("%memtrack plot"))
    assert "too short for two samples" in text
    assert "did not compile" in text and "SIGABRT" in text
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    last = kernel.ok("%memtrack\n();").record.json["cell"]["execution_count"]
    text, root, _ = picture(kernel.ok(f"%memtrack plot {last}"))
    assert "too short for two samples 10 ms apart" in text
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) >= 3


def test_a_gpu_is_seen_over_time(tmp_path):
    gpu = FakeGpu(tmp_path, devices=[{"total": 16 * GiB, "base_used": 300 * MiB}])
    with Session(env=gpu.env) as session:
        session.ok("let ready = 1;")
        cell = session.begin(
            '%memtrack --timeline\nprintln!("begun"); '
            "std::thread::sleep(std::time::Duration::from_millis(900));"
        )
        cell.wait_for_stdout("begun")
        time.sleep(0.3)
        gpu[0].base_used = 5 * GiB
        record = cell.finish().record
        device = [(t, value) for t, value in samples(record, "vram/device/0")]
        low = [t for t, value in device if value == 300 * MiB]
        high = [t for t, value in device if value == 5 * GiB]
        # Also while compiling. The change came when 0.3 s had passed, and was seen soon after.
        assert low[0] < 0 and len(low) + len(high) == len(device), device
        assert 0.2 < high[0] < 0.8 and high[0] - low[-1] < 0.1, device
        text, _, svg = picture(session.ok("%memtrack plot"))
        assert "GPU 0 device" in text and ">device<" in svg


def test_unknown_cells_are_refused_with_those_that_there_are(kernel, tracked):
    number = tracked.record.json["cell"]["execution_count"]
    error = kernel.execute("%memtrack plot 9999").error
    assert "no cell with such a number was tracked" in error and str(number) in error
    error = kernel.execute("%memtrack plot 3 7").error
    assert "usage: %memtrack plot [A:B]" in error


def test_completion_offers_them(kernel):
    def matches(code):
        return kernel.request(kernel.client.complete(code, len(code)))["matches"]

    assert matches("%memtrack --ti") == ["--timeline"]
    assert matches("%memtrack pl") == ["plot"]
