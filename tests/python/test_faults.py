"""What a session survives: cells that harm their own process, and things that vanish under the kernel.

After each: the cell tells what happened, a tracked one has its record, the next cell works, what could
survive did, and what is lost is named.
"""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest
from jupyter_client import KernelManager

from kernel_session import KERNEL, MiB, Session
from processes import descendants, is_alive

C = """unsafe extern "C" {
    fn fork() -> i32; fn daemon(nochdir: i32, noclose: i32) -> i32; fn close(fd: i32) -> i32;
    fn dup2(old: i32, new: i32) -> i32; fn signal(number: i32, handler: usize) -> usize;
    fn kill(process: i32, signal: i32) -> i32;
    fn setrlimit(resource: i32, limit: *const [u64; 2]) -> i32;
}
"""


@pytest.fixture
def session(tmp_path):
    """A session with a function, a variable and the C functions that the faults need.

    Whatever happened: when the kernel has ended, it has left no folder and no process behind.
    """
    folders = tmp_path / "folders"
    folders.mkdir()
    with Session(env={"TMPDIR": str(folders)}) as kernel:
        kernel.ok(C)
        kernel.ok("fn kept() -> i32 { 42 }")
        kernel.ok("let earlier = vec![7u8; 10];")
        yield kernel
        processes = descendants(kernel.manager.provisioner.pid)
    assert not list(folders.glob("memtrack-*"))
    deadline = time.monotonic() + 20
    while left := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


def value(kernel, code):
    result = kernel.ok(code)
    return [bundle["text/plain"] for bundle in result.results]


def assert_works(kernel, variable=True):
    """The next cells run, print on both streams, are tracked, and have what survived."""
    assert value(kernel, "kept()") == ["42"]
    result = kernel.ok(
        '%memtrack\n{ println!("out"); eprintln!("err"); let block = vec![1u8; 8 << 20]; std::hint::black_box(&block); }'
    )
    assert "out\n" in result.stdout and "err\n" in result.stderr
    # What keeps variables frees some bytes before the block is there.
    assert result.record.rise("heap") > 8 * MiB - 4096
    if variable:
        assert value(kernel, "earlier.len()") == ["10"]


# What a process survives that takes it away from itself.
SURVIVED = {
    "stdin is closed": "unsafe { close(0) };",
    "stdout is closed": "unsafe { close(1) };",
    "stderr is closed": "unsafe { close(2) };",
    "all three are closed": "for fd in 0..3 { unsafe { close(fd) }; }",
    "stdin is something else": 'use std::os::fd::AsRawFd; let null = std::fs::File::open("/dev/null").unwrap();'
    " unsafe { dup2(null.as_raw_fd(), 0) };",
    "it forks, and both go on": "let process = std::process::id(); let child = unsafe { fork() };",
    "all signals are ignored": "for number in 1..32 { unsafe { signal(number, 1) }; }",
    "all signals have handlers of its own": 'extern "C" fn own(_: i32) {}\n'
    "for number in 1..32 { unsafe { signal(number, own as *const () as usize) }; }",
    "the working folder is another": 'std::env::set_current_dir("/").unwrap();',
    "the environment is emptied": "for (name, _) in std::env::vars() { unsafe { std::env::remove_var(name) }; }",
    "no process may be started": "unsafe { setrlimit(6, &[0, 0]) };",
    "no file may be written": "unsafe { setrlimit(1, &[0, 0]) };",
    "no core may be written": "unsafe { setrlimit(4, &[0, 0]) };",
    "all descriptors are taken": "let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open(\"/dev/null\").ok())"
    ".take(100_000).collect();",
    "all descriptors of a lower limit are taken": "unsafe { setrlimit(7, &[64, 1024]) };\n"
    "let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open(\"/dev/null\").ok()).collect();",
    "threads without end": "let mut threads = 0;\nwhile threads < 1000 && std::thread::Builder::new().stack_size(16384)"
    ".spawn(|| loop { std::thread::park() }).is_ok() { threads += 1; }",
    "a thread panics": 'let ended = std::thread::spawn(|| panic!("in a thread")).join().is_err();',
    "a process is left behind": 'std::process::Command::new("setsid").args(["sleep", "2"]).spawn().unwrap();',
}


@pytest.mark.parametrize("tracked", [False, True], ids=["", "tracked"])
@pytest.mark.parametrize("fault", SURVIVED)
def test_it_is_survived(session, fault, tracked):
    pid = value(session, "std::process::id()")
    result = session.ok("%memtrack\n" * tracked + SURVIVED[fault])
    if tracked:
        assert result.record.status == "ok"
    assert_works(session)
    assert value(session, "std::process::id()") == pid


# What ends it.
DEADLY = {
    "all descriptors are closed": ("for fd in 0..1000 { unsafe { close(fd) }; }", "exit code 99"),
    "it becomes a daemon": ("unsafe { daemon(0, 0) };", "exit code 0"),
    "a thread aborts": ("std::thread::spawn(|| std::process::abort()).join();", "SIGABRT"),
    "it closes its output and then dies": ("for fd in 0..3 { unsafe { close(fd) }; } std::process::abort();", "SIGABRT"),
    "it dies amid much output": (
        'for line in 0..50_000 { println!("line {line}"); } std::process::abort();',
        "SIGABRT",
    ),
}


@pytest.mark.parametrize("tracked", [False, True], ids=["", "tracked"])
@pytest.mark.parametrize("fault", DEADLY)
def test_it_is_told(session, fault, tracked):
    code, cause = DEADLY[fault]
    result = session.execute("%memtrack\n" * tracked + code)
    assert result.status == "error" and cause in result.error, result.error
    assert "earlier" in result.error, "the lost variable is not named"
    if tracked:
        assert result.record.status == "killed" and "earlier" in result.record.lost
    assert_works(session, variable=False)


@pytest.mark.parametrize("limit", ["setrlimit(7, &[3, 3])", "setrlimit(9, &[1 << 20, 1 << 20])"])
def test_a_limit_that_lets_no_cell_be_loaded_is_told(session, limit):
    session.ok(f"unsafe {{ {limit} }};")
    result = session.execute("%memtrack\nkept()")
    assert result.status == "error"
    assert "could not be loaded" in result.error and "earlier" in result.error, result.error
    assert "cannot open shared object file" in result.error or "failed to map" in result.error, result.error
    assert result.record.status == "killed"
    assert_works(session, variable=False)


def test_output_that_a_cell_sends_elsewhere_stays_there(session, tmp_path):
    log = tmp_path / "log"
    session.ok(
        f'use std::os::fd::AsRawFd; let log = std::fs::File::create("{log}").unwrap();'
        " unsafe { dup2(log.as_raw_fd(), 1) };"
    )
    assert session.ok('println!("into the file");').stdout == ""
    assert log.read_text() == "into the file\n"


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_it_is_killed_at_any_moment(session, delay):
    """Before the cell runs, while it compiles, runs, prints, and while memory is read."""
    for _ in range(3):
        session.ok("let lost = vec![1u8; 10];")
        pid = int(value(session, "std::process::id()")[0])
        cell = session.begin('%memtrack\nfor line in 0..200_000 { println!("line {line}"); }')
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        result = cell.finish(60)
        if result.status == "ok" and not result.stderr:
            # It came after the cell.
            assert result.record.status == "ok"
            result = session.execute("%memtrack\nkept()")
        if result.status == "ok":
            # It came before this one, which ran in a new process and says so.
            assert "ended after the last one" in result.stderr, result.describe()
            assert "SIGKILL" in result.stderr and "lost" in result.record.lost
        else:
            assert result.record.status == "killed" and "SIGKILL" in result.error, result.error
        assert_works(session, variable=False)


def test_it_is_killed_while_memory_is_read(session):
    """After the code, and before that of the next cell: by a thread that the cell leaves behind."""
    for microseconds in range(0, 4000, 200):
        result = session.execute(
            "%memtrack\nlet lost = vec![1u8; 1 << 20];\n"
            f"std::thread::spawn(|| {{ std::thread::sleep(std::time::Duration::from_micros({microseconds}));"
            " unsafe { kill(std::process::id() as i32, 9) } });"
        )
        # The cell itself is over, or is not: either is told.
        assert result.record.status == ("ok" if result.status == "ok" else "killed")
        if result.status == "ok":
            result = session.execute("%memtrack\nkept()")
            assert "lost" in result.record.lost, result.describe()
        told = result.error if result.status == "error" else result.stderr
        assert "SIGKILL" in told, result.describe()
        assert value(session, "kept()") == ["42"]
    assert_works(session, variable=False)


def test_a_client_without_iopub_gets_its_replies(session):
    """Nobody reads what cells print."""
    session.client.iopub_channel.stop()
    for code in ('for line in 0..100_000 { println!("{line:>99}"); }', "%memtrack\nkept()"):
        message = session.client.execute(code)
        assert session.request(message)["status"] == "ok"
    session.client.stop_channels()
    session.client = session.manager.client()
    session.client.start_channels()
    session.client.wait_for_ready(timeout=60)
    assert_works(session)


def folder_of(kernel):
    """The kernel's own temporary folder."""
    return pathlib.Path(kernel.ok(":last_compile_dir").stdout.strip()).parent


def test_the_temporary_folder_is_deleted_under_it(session):
    session.ok(':dep itoa = "1"\nlet number = itoa::Buffer::new().format(5).to_owned();')
    folder = folder_of(session)
    for _ in range(2):
        shutil.rmtree(folder)
        result = session.ok("%memtrack\nkept()")
        assert "temporary folder" in result.stderr and result.record.status == "ok"
        # Nothing is lost, and nobody takes the new folder for an abandoned one.
        with Session() as other:
            assert value(other, "1 + 1") == ["2"]
        assert folder.is_dir()
        assert value(session, "number") == ['"5"']
        assert value(session, "itoa::Buffer::new().format(66).len()") == ["2"]
        session.ok("let fresh = std::collections::HashMap::from([(1, 2)]);")
        assert value(session, "fresh[&1]") == ["2"]
        assert_works(session)
    session.request(session.client.complete("earlier.", 8))


class SmallDiskManager(KernelManager):
    """Starts the kernel where a folder is a disk of 4 MiB."""

    def __init__(self, folder):
        super().__init__(kernel_name=KERNEL)
        self.unshare = ["unshare", "--mount"]
        if os.geteuid() != 0:
            self.unshare += ["--user", "--map-root-user"]
        self.unshare += ["sh", "-c", f'mount -t tmpfs -o size=4m tmpfs "{folder}" && exec "$@"', "sh"]
        tried = subprocess.run([*self.unshare, "true"], capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"no disk of a test's own can be made here: {tried.stderr.strip()}")

    def format_kernel_cmd(self, extra_arguments=None):
        return [*self.unshare, *super().format_kernel_cmd(extra_arguments)]


def test_a_full_disk_is_told_and_costs_nothing(tmp_path):
    with Session(manager=SmallDiskManager(tmp_path), env={"TMPDIR": str(tmp_path)}) as kernel:
        kernel.ok("fn kept() -> i32 { 42 }\nlet earlier = vec![7u8; 10];")
        full = f'std::fs::write("{tmp_path}/large", vec![0u8; 20 << 20]).is_err()'
        assert value(kernel, full) == ["true"]
        for code in ("%memtrack\nkept()", "let later = 1;", "kept()"):
            result = kernel.execute(code)
            assert result.status == "error" and "No space left on device" in result.error, result.describe()
            if code.startswith("%memtrack"):
                assert result.record.status == "error"
        kernel.ok(f"!rm {tmp_path}/large")
        assert_works(kernel)


def test_a_package_that_cannot_be_had_is_told(session):
    result = session.execute(':dep no-such-package-as-this = "1"\n1 + 1')
    assert result.status == "error"
    assert "no-such-package-as-this" in result.error
    assert_works(session)


def test_a_package_that_is_not_there_without_a_network_is_told(tmp_path):
    with Session(env={"CARGO_NET_OFFLINE": "true", "MEMTRACK_CACHE_DIR": str(tmp_path)}) as kernel:
        kernel.ok("let earlier = 1;")
        result = kernel.execute(':dep no-such-package-as-this = "1"\n1 + 1')
        assert result.status == "error" and "no-such-package-as-this" in result.error
        assert "offline" in result.error, result.error
        assert value(kernel, "earlier + 1") == ["2"]


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    with Session(env={"MEMTRACK_CACHE_DIR": str(file / "cache")}) as kernel:
        assert value(kernel, "1 + 1") == ["2"]
        kernel.ok("let kept = vec![1];")
        assert value(kernel, "kept.len()") == ["1"]


def test_a_deadlocked_cell_can_be_interrupted(session):
    cell = session.begin(
        "%memtrack\n{ let lock = std::sync::Mutex::new(1); let held = lock.lock().unwrap();\n"
        'println!("waits"); let again = lock.lock().unwrap(); }'
    )
    cell.wait_for_stdout("waits")
    session.interrupt()
    result = cell.finish(30)
    assert result.record.status == "interrupted"
    assert_works(session, variable=False)


def test_kernels_share_a_cache_and_one_is_killed_while_it_fills_it(tmp_path):
    env = {"MEMTRACK_CACHE_DIR": str(tmp_path)}
    code = ':dep itoa = "1"\nitoa::Buffer::new().format(5).len()'
    with Session(env=env, ready=False) as killed, Session(env=env, ready=False) as other:
        killed.client.wait_for_ready(timeout=60)
        other.client.wait_for_ready(timeout=60)
        first, second = killed.begin(code), other.begin(code)
        deadline = time.monotonic() + 60
        while not compiles(killed, "itoa") and time.monotonic() < deadline:
            time.sleep(0.002)
        assert time.monotonic() < deadline, "it was not seen to compile"
        os.kill(killed.manager.provisioner.pid, signal.SIGKILL)
        assert [bundle["text/plain"] for bundle in second.finish().results] == ["1"]
    del first
    with Session(env=env) as late:
        assert value(late, code) == ["1"]


def compiles(kernel, crate):
    for process in descendants(kernel.manager.provisioner.pid):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if crate.encode() in words:
                return True
    return False


def test_strangers_take_not_all_descriptors():
    """Connections on which nothing is said, more than the kernel may have open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))
    with contextlib.ExitStack() as strangers:
        try:
            session = strangers.enter_context(Session())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        session.ok("let earlier = 5;")
        info = session.client.get_connection_info()
        for number in range(150):
            channel = ("shell", "iopub", "stdin", "control", "hb")[number % 5]
            address = (info["ip"], info[f"{channel}_port"])
            strangers.enter_context(socket.create_connection(address, timeout=60))
        assert value(session, "earlier + 1") == ["6"]
        # They are dropped, and whoever comes then is let in.
        other = session.manager.client()
        other.start_channels()
        other.wait_for_ready(timeout=60)
        other.stop_channels()
