"""What is shown while a cell runs, and that it becomes the cell's table."""

import os
import pty
import queue
import struct
import subprocess
import threading
from fcntl import ioctl
from termios import TIOCSWINSZ

import nbclient
import nbformat
import pytest
from fake_gpu import FakeGpu

from kernel_session import BINARY, CELL_TIMEOUT, KERNEL, RECORD, GiB, MiB, Record, Session
from test_notebook_run import notebook, run  # noqa: F401

HOLD = "let block = std::hint::black_box(vec![1u8; 96 << 20]);"
SLEEP = "std::thread::sleep(std::time::Duration::from_millis({}));"
LONG = HOLD + SLEEP.format(2000) + "drop(block);"


def live_displays(result):
    """(type, display id, data) of all that is shown under a display id, in order."""
    return [
        (kind, content["transient"]["display_id"], content["data"])
        for kind, content in result.events
        if content.get("transient", {}).get("display_id")
    ]


def check_one_display(result):
    """One display, shown once and then updated, of which only the last holds the record."""
    shown = live_displays(result)
    assert len({display_id for _, display_id, _ in shown}) == 1, result.describe()
    kinds = [kind for kind, _, _ in shown]
    assert kinds == ["display_data"] + ["update_display_data"] * (len(kinds) - 1)
    assert [RECORD in data for _, _, data in shown] == [False] * (len(shown) - 1) + [True]
    for _, _, data in shown:
        assert set(data) >= {"text/plain", "text/html"}
        assert max(map(len, data["text/plain"].splitlines())) <= 100
        assert "<script" not in data["text/html"]
    return [data for _, _, data in shown]


def check_nothing_follows(kernel):
    """Whatever was sent after idle is read before this cell's own messages."""
    stray = []
    while True:
        try:
            message = kernel.client.get_iopub_msg(timeout=1)
        except queue.Empty:
            break
        stray.append(message["header"]["msg_type"])
    assert stray == [], f"shown after idle: {stray}"


def test_a_long_cell_is_seen_while_it_runs(kernel):
    result = kernel.ok(f'%memtrack --live --label long\n{LONG} println!("done");')
    *while_it_ran, table = check_one_display(result)
    running = [data for data in while_it_ran if "running" in data["text/plain"]]
    # Two seconds at four a second, on a machine that may be busy.
    assert len(running) >= 3, [data["text/plain"] for data in while_it_ran]
    assert all("[" in data["text/plain"] and "long" in data["text/plain"] for data in running)
    assert "highest so far" in running[-1]["text/html"]
    assert "heap 96.0 MiB" in running[-1]["text/plain"] or "heap 96.1" in running[-1]["text/plain"]
    assert "running" not in table["text/plain"] and "before" in table["text/plain"]
    assert result.record.rise("heap") >= 96 * MiB
    check_nothing_follows(kernel)


def test_a_short_cell_has_its_table_only(kernel):
    kernel.ok("let warm = 1;")
    for _ in range(5):
        result = kernel.ok("%memtrack --live\nlet short = 1;")
        # A compiler that takes longer than half a second is worth a display.
        if result.seconds < 0.45:
            break
    else:
        pytest.skip("this machine takes half a second to compile `let short = 1;`")
    assert live_displays(result) == []
    assert result.record.status == "ok"


ENDINGS = {
    "panic": (f'{HOLD}{SLEEP.format(900)} panic!("on purpose");', "panic"),
    "killed": (f"{HOLD}{SLEEP.format(900)} std::process::abort();", "killed"),
    "error": (f'{HOLD}{SLEEP.format(900)} "x".parse::<u8>()?;', "error"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_however_it_ends_the_display_becomes_the_record(kernel, name):
    code, status = ENDINGS[name]
    result = kernel.execute(f"%memtrack --live\n{code}")
    assert result.status == "error"
    assert len(check_one_display(result)) >= 3
    assert result.record.status == status
    check_nothing_follows(kernel)


def test_a_cell_that_does_not_compile(kernel):
    # rustc works at this for a second or so before it finds the error.
    slow = """const SLOW: u64 = { let mut i = 0u64; while i < 20_000_000 { i += 1 } i };
        let wrong: u32 = "text"; println!("{SLOW}");"""
    result = kernel.execute(f"%memtrack --live\n{slow}")
    assert result.status == "error"
    assert result.record.status == "error"
    assert result.record.json["duration_s"]["run"] is None
    for data in [data for _, _, data in live_displays(result)][:-1]:
        assert "compiling" in data["text/plain"], data["text/plain"]
    check_nothing_follows(kernel)


def test_an_interrupted_cell(kernel):
    cell = kernel.begin(f"%memtrack --live\n{HOLD} loop {{ {SLEEP.format(10)} }}")
    cell.wait_for(
        lambda result: any("running" in data["text/plain"] for _, _, data in live_displays(result))
    )
    kernel.interrupt()
    result = cell.finish()
    check_one_display(result)
    assert result.record.status == "interrupted"
    check_nothing_follows(kernel)


def test_two_cells_have_two_displays(kernel):
    code = f"%memtrack --live\n{SLEEP.format(700)}"
    first, second = (live_displays(kernel.ok(code, store_history=False)) for _ in range(2))
    assert first[0][1] != second[0][1]


def test_a_silent_cell_shows_nothing(kernel):
    silent = kernel.execute(f"%memtrack --live\n{SLEEP.format(900)}", silent=True)
    assert silent.status == "ok" and silent.events == []


def test_options_combine(kernel):
    code = f"%memtrack --live --repeat 2 --label both\n{SLEEP.format(700)}"
    *while_it_ran, table = check_one_display(kernel.ok(code))
    texts = [data["text/plain"] for data in while_it_ran]
    assert any("run 1 of 2" in text for text in texts) and any("run 2 of 2" in text for text in texts)
    assert "both · median of 2 runs" in table["text/plain"]


def test_a_gpu_that_the_cell_fills_is_seen(tmp_path):
    gpu = FakeGpu(tmp_path, devices=[{"total": 16 * GiB, "base_used": 1 * GiB}])
    with Session(env=gpu.env) as session:
        session.ok("let warm = 1;")
        cell = session.begin(f"%memtrack --live\n{SLEEP.format(4000)}")
        cell.wait_for(lambda result: len(live_displays(result)) >= 2)
        gpu[0].base_used = 12 * GiB
        result = cell.finish()
    texts = [data["text/plain"] for _, _, data in live_displays(result)[:-1]]
    assert "GPU 0 device" in texts[0] and "75.0 %" not in texts[0]
    assert any("GPU 0 device 75.0 %" in text for text in texts), texts


LIVE_CELL = f"%memtrack --live --label live\n{LONG}"


def check_notebook(executed):
    """The notebook file keeps the last state of the display, and it is the record."""
    output = executed.cells[1].outputs[-1]
    assert output.output_type == "display_data"
    record = Record(output.data[RECORD])
    assert record.json["cell"]["label"] == "live"
    assert "running" not in output.data["text/html"] and "before" in output.data["text/html"]
    holding = [cell for cell in executed.cells[1].outputs if RECORD in cell.get("data", {})]
    assert len(holding) == 1
    assert not any("running" in str(cell.get("data", "")) for cell in executed.cells[1].outputs)


def test_nbclient_keeps_the_record():
    unexecuted = notebook(LIVE_CELL)
    client = nbclient.NotebookClient(unexecuted, timeout=CELL_TIMEOUT, kernel_name=KERNEL)
    check_notebook(client.execute())


def test_run_keeps_the_record_and_shows_no_live_line_in_a_pipe(run):  # noqa: F811
    process, executed = run(notebook(LIVE_CELL))
    assert process.returncode == 0, process.stderr
    check_notebook(executed)
    assert "running" not in process.stdout and "process RAM" in process.stdout


def test_a_terminal_is_not_garbled(tmp_path):
    """What a terminal of 80 columns shows of it in the end."""
    prints = 'for i in 0..4 { println!("line {i}"); SLEEP } print!("half"); SLEEP println!(" whole");'
    cell = "%memtrack --live\n" + prints.replace("SLEEP", SLEEP.format(600))
    nbformat.write(notebook(cell), tmp_path / "in.ipynb")
    controller, terminal = pty.openpty()
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        [BINARY, "run", tmp_path / "in.ipynb"], stdout=terminal, stderr=subprocess.DEVNULL
    )
    os.close(terminal)
    read = bytearray()

    def drain():
        try:
            while piece := os.read(controller, 65536):
                read.extend(piece)
        except OSError:
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    assert process.wait(timeout=CELL_TIMEOUT) == 0
    reader.join(timeout=10)
    os.close(controller)
    text = read.decode()
    live = [part for part in text.split("\r\x1b[2K") if "running" in part.splitlines()[-1]]
    assert len(live) >= 3, text
    assert all(len(part.splitlines()[-1]) < 80 for part in live), live
    shown = screen(text)
    assert [line for line in shown if line.startswith("line ")] == [f"line {i}" for i in range(4)]
    assert "half whole" in shown
    assert not any("running" in line or "compiling" in line for line in shown), shown
    assert any(line.startswith("process RAM") for line in shown)


def screen(text):
    """The lines of a terminal after `text`, of which it knows \\r, \\n and the erasing of a line."""
    lines = [""]
    for piece in text.replace("\r\n", "\n").replace("\r\x1b[2K", "\0").split("\n"):
        lines[-1] += piece
        lines[-1] = lines[-1].rsplit("\0", 1)[-1]
        lines.append("")
    return lines
