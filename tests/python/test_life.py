"""Shutdown, restart and a killed kernel: what is left behind, and what is new afterwards."""

import os
import time

from kernel_session import Session
from processes import is_alive

LIMIT = 20


def pid_of(kernel):
    """The process that runs the cells."""
    return int(kernel.ok("std::process::id()").results[-1]["text/plain"])


def assert_ends(*pids):
    deadline = time.monotonic() + LIMIT
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.05)


def spawned_sleeper(kernel):
    """A process that a cell started and left behind."""
    code = 'std::process::Command::new("sleep").arg("600").spawn().unwrap().id()'
    return int(kernel.ok(code).results[-1]["text/plain"])


def test_shutdown_leaves_no_process_and_no_folder(tmp_path):
    with Session(env={"TMPDIR": str(tmp_path)}) as kernel:
        pids = [pid_of(kernel), spawned_sleeper(kernel), kernel.manager.provisioner.pid]
        assert all(map(is_alive, pids))
        assert list(tmp_path.iterdir()), "the kernel keeps its files elsewhere: look there"
    assert_ends(*pids)
    assert list(tmp_path.iterdir()) == []


def test_shutdown_while_a_cell_runs(tmp_path):
    with Session(env={"TMPDIR": str(tmp_path)}) as kernel:
        pids = [pid_of(kernel), kernel.manager.provisioner.pid]
        cell = kernel.begin('println!("running"); loop { std::hint::spin_loop() }')
        cell.wait_for_stdout("running")
    assert_ends(*pids)
    assert list(tmp_path.iterdir()) == []


def test_shutdown_while_rust_starts(tmp_path):
    with Session(env={"TMPDIR": str(tmp_path)}) as kernel:
        pid = kernel.manager.provisioner.pid
    assert_ends(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_restarted_kernel_is_new():
    with Session() as kernel:
        old = pid_of(kernel)
        kernel.ok("let from_before = 1;")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert_ends(old)
        result = kernel.ok("1 + 1")
        assert result.reply["execution_count"] == 1
        assert kernel.execute("from_before").status == "error"


def test_a_killed_kernel_takes_its_cells_process_with_it():
    with Session() as kernel:
        pid = pid_of(kernel)
        os.kill(kernel.manager.provisioner.pid, 9)
        assert_ends(pid)


def test_cells_see_the_users_environment(kernel):
    cell = 'for name in ["TMPDIR", "XDG_CACHE_HOME", "EVCXR_TMPDIR"] { println!("{:?}", std::env::var(name).ok()); }'
    seen = kernel.ok(cell).stdout.splitlines()
    expected = [os.environ.get("TMPDIR"), os.environ.get("XDG_CACHE_HOME"), None]
    assert seen == [f'Some("{value}")' if value else "None" for value in expected]
