"""`%load_ext memtrack` in a Python kernel: Rust cells beside Python's."""

import os
import pathlib
import signal
import time

import pytest
from jupyter_client.manager import KernelManager

from kernel_session import MiB, Session

ENGINE = 'get_ipython().magics_manager.registry["MemtrackMagics"]._engine'


class PythonSession(Session):
    """A session of Python; its processes are found by the pids that it tells."""

    def __init__(self):
        super().__init__(manager=KernelManager(kernel_name="python3"))
        self.ok("%load_ext memtrack")

    def number(self, expression):
        (result,) = self.ok(f"int({expression})").results
        return int(result["text/plain"])

    def rust_pid(self):
        return self.number(f"{ENGINE}._process.pid")


def wait_for_the_end_of(pid):
    deadline = time.monotonic() + 15
    while pathlib.Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def python():
    with PythonSession() as session:
        session.ok("%%rust\nlet warm_up = 1;")
        yield session


def test_a_tracked_cell_shows_its_table(python):
    for cell in ("%%memtrack --label held\n", "%%rust\n%memtrack --label held\n"):
        result = python.ok(cell + "let held = vec![1u8; 16 << 20];")
        assert result.record.json["cell"]["label"] == "held"
        (bundle,) = result.bundles
        assert "<table" in bundle["text/html"] and "heap" in bundle["text/plain"]
    assert 16 * MiB <= result.record.row("heap")["after"]


def test_variables_stay_and_results_are_shown(python):
    python.ok("%%rust\nlet kept = vec![1, 2, 3];")
    result = python.ok("%%rust\nkept.len()")
    assert [data["text/plain"] for data in result.displays] == ["3"]


def test_the_session_so_far(python):
    python.ok("%%memtrack --label listed\n1 + 1;")
    (shown,) = python.ok("%memtrack").displays
    assert "listed" in shown["text/plain"]


def test_python_expands_nothing_in_a_magic(python):
    record = python.ok("%%memtrack --label '{print} $print'\n1 + 1;").record
    assert record.json["cell"]["label"] == "{print} $print"


def test_output_comes_while_the_cell_runs(python):
    sleep = "std::thread::sleep(std::time::Duration::from_secs(3));"
    cell = python.begin(f'%%rust\nprintln!("first"); eprintln!("beside"); {sleep} println!("last");')
    cell.wait_for(lambda result: "first" in result.stdout and "beside" in result.stderr)
    assert "last" not in cell.result.stdout
    assert "last" in cell.finish().stdout


def test_a_failing_cell_fails_in_python(python):
    panicked = python.execute('%%rust\npanic!("on purpose");')
    assert panicked.status == "error"
    assert "RustError" in panicked.error and "on purpose" in panicked.error
    assert "_engine.py" not in panicked.error, "the inside of the magics is shown"
    wrong = python.execute('%%rust\nlet right = 1;\nlet wrong: u32 = "text";')
    assert "mismatched types" in wrong.error
    # Line 3 of the cell as the user sees it, with the magic on line 1.
    assert ":3:" in wrong.error


def test_options_of_rust_are_explained(python):
    wrong = python.execute("%%rust --label here\n1 + 1")
    assert wrong.status == "error" and "%%memtrack --label here" in wrong.stderr + str(wrong.events)


def test_a_question_reaches_the_user(python):
    python.ok('%%rust\n:dep evcxr_input = "1.0.0"', timeout=300)
    code = '%%rust\nprintln!("<{}>", evcxr_input::get_string("name? "));'
    cell = python.begin(code, allow_stdin=True)
    question = python.client.get_stdin_msg(timeout=120)
    assert question["content"]["prompt"] == "name? "
    python.client.input("Ferris")
    result = cell.finish()
    assert result.status == "ok", result.describe()
    assert "<Ferris>" in result.stdout


def test_an_interrupt_ends_the_cell(python):
    cell = python.begin('%%rust\n%memtrack\nprintln!("running"); loop { std::hint::spin_loop() }')
    cell.wait_for_stdout("running")
    python.interrupt()
    interrupted = cell.finish(60)
    assert interrupted.status == "error" and "RustInterrupt" in interrupted.error
    assert interrupted.record.status == "interrupted"
    assert python.ok('%%rust\nprintln!("again");').stdout == "again\n"


def test_rust_that_was_killed_starts_anew(python):
    pid = python.rust_pid()
    python.ok("%%rust\nlet lost = 1;")
    os.kill(pid, signal.SIGKILL)
    # Its parent must have noticed.
    deadline = time.monotonic() + 15
    while python.number(f"{ENGINE}.is_alive()"):
        assert time.monotonic() < deadline, f"process {pid} is still there"
    result = python.ok('%%rust\nprintln!("again");')
    assert "without the variables" in result.stderr and "again" in result.stdout
    assert python.rust_pid() != pid


def test_unloading_ends_rust(python):
    pid = python.rust_pid()
    python.ok("%unload_ext memtrack")
    wait_for_the_end_of(pid)
    python.ok("%load_ext memtrack")


def processes_of(pid):
    """The process and those that it started."""
    lists = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for children in lists for child in children.read_text().split())]


@pytest.mark.parametrize("kill", [False, True], ids=["shutdown", "SIGKILL"])
def test_rust_ends_with_python(kill):
    session = PythonSession()
    session.ok("%%rust\nlet here = 1;")
    rust = processes_of(session.rust_pid())
    assert len(rust) >= 2
    if kill:
        os.kill(session.number("__import__('os').getpid()"), signal.SIGKILL)
    else:
        session.stop()
    for pid in rust:
        wait_for_the_end_of(pid)
    if kill:
        session.stop()
