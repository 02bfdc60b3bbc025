"""However a tracked cell ends, it ends in a record that says so, and the next cell works."""

import os

import pytest

from kernel_session import MiB

HOLD = "let block = vec![1u8; 64 << 20]; std::hint::black_box(&block);"
KILL_SELF = """std::process::Command::new("sh").args(["-c", "kill -{signal} $PPID"]).status();
    loop {{ std::thread::park() }}"""
OVERFLOW = """fn endless(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    frame[0] + endless(depth + 1)
}"""


def assert_next_cell_works(kernel):
    assert [data["text/plain"] for data in kernel.ok("20 + 22").results] == ["42"]


def assert_variable_is_lost_or_there(kernel, record, name, value):
    """The record's list of lost variables must be the truth about `name`."""
    result = kernel.execute(name)
    if name in record.lost:
        assert result.status == "error", f"{name} is called lost, but it is there"
    else:
        assert result.status == "ok", f"{name} is gone, and the record does not say so"
        assert result.results[0]["text/plain"] == value


def test_a_compile_error(kernel):
    kernel.ok("let earlier = 5;")
    result = kernel.execute("%memtrack\nlet wrong: u32 = \"text\"; let worse: bool = 1;")
    assert result.status == "error"
    # All errors of the compiler are in one message.
    assert result.error.count("mismatched types") >= 2
    record = result.record
    assert record.status == "error"
    assert record.json["duration_s"]["run"] is None
    assert record.row("heap")["before"] == record.row("heap")["peak"]
    assert_variable_is_lost_or_there(kernel, record, "earlier", "5")
    assert_next_cell_works(kernel)


def test_a_panic(kernel):
    kernel.ok("let earlier = 6;")
    result = kernel.execute(f'%memtrack\n{HOLD} panic!("on purpose: {{}}", 7);')
    assert result.status == "error"
    assert "on purpose: 7" in result.error
    record = result.record
    assert record.status == "panic"
    assert "on purpose: 7" in record.cause
    assert record.rise("heap") >= 64 * MiB
    assert record.json["duration_s"]["run"] > 0
    assert_variable_is_lost_or_there(kernel, record, "earlier", "6")
    assert_next_cell_works(kernel)


def test_an_error_returned(kernel):
    kernel.ok("let earlier = 7;")
    result = kernel.execute('%memtrack\nlet number: i32 = "twelve".parse::<i32>()?;')
    assert result.status == "error"
    assert "invalid digit" in result.error or "InvalidDigit" in result.error
    record = result.record
    assert record.status == "error"
    assert "invalid digit" in record.cause.lower() or "InvalidDigit" in record.cause
    assert_variable_is_lost_or_there(kernel, record, "earlier", "7")
    assert_next_cell_works(kernel)


@pytest.mark.parametrize(
    ("setup", "deed", "words"),
    [
        ("", "std::process::exit(3);", ["exit", "3"]),
        ("", "std::process::exit(0);", ["exit", "0"]),
        ("", "std::process::abort();", ["abort"]),
        ("", "unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };", ["SIGSEGV"]),
        (OVERFLOW, "std::hint::black_box(endless(0));", ["stack"]),
        ("", KILL_SELF.format(signal=9), ["SIGKILL"]),
        ("", KILL_SELF.format(signal=15), ["SIGTERM"]),
    ],
    ids=["exit3", "exit0", "abort", "segfault", "overflow", "sigkill", "sigterm"],
)
def test_the_process_dies(kernel, setup, deed, words):
    kernel.ok(setup + "\nlet earlier = vec![1u8; 10]; let other = 1;")
    result = kernel.execute(f"%memtrack\n{HOLD} {deed}")
    assert result.status == "error"
    record = result.record
    assert record.status == "killed"
    for word in words:
        assert word.lower() in record.cause.lower(), record.cause
        assert word.lower() in result.error.lower(), result.error
    # The last numbers known outlive the process.
    assert record.rise("heap") >= 64 * MiB
    assert record.row("heap")["after"] is None
    ram = record.row("ram")
    assert ram["before"] > 0 and ram["after"] is None and ram["unavailable"]
    assert ram["peak"] >= ram["before"]
    assert not ram["exact"] or record.rise("ram") >= 63 * MiB
    # What was lost is named, and it is truly gone.
    assert {"earlier", "other"} <= set(record.lost)
    assert record.json["cell"]["restarted"]
    assert kernel.execute("earlier").status == "error"
    assert_next_cell_works(kernel)
    after = kernel.ok("%memtrack\nlet fresh = vec![1u8; 8 << 20];").record
    assert 8 * MiB <= after.kept("heap") < 9 * MiB


def test_an_interrupt(kernel):
    kernel.ok("let earlier = 8;")
    cell = kernel.begin(f'%memtrack\n{HOLD} println!("holding"); loop {{ std::hint::spin_loop() }}')
    cell.wait_for_stdout("holding")
    kernel.interrupt()
    result = cell.finish(60)
    assert result.status == "error"
    assert "interrupt" in result.error.lower()
    record = result.record
    assert record.status == "interrupted"
    assert record.rise("heap") >= 64 * MiB
    assert_variable_is_lost_or_there(kernel, record, "earlier", "8")
    assert_next_cell_works(kernel)


def test_the_process_is_killed_from_outside(kernel):
    cell = kernel.begin(
        f'%memtrack\n{HOLD} println!("pid {{}}.", std::process::id()); loop {{ std::thread::park() }}'
    )
    cell.wait_for(lambda result: result.stdout.endswith(".\n"))
    os.kill(int(cell.result.stdout.split()[1].rstrip(".")), 9)
    record = cell.finish(60).record
    assert record.status == "killed" and "SIGKILL" in record.cause
    assert record.rise("heap") >= 64 * MiB
    assert_next_cell_works(kernel)


def test_it_dies_between_two_cells(kernel):
    pid = int(kernel.ok("std::process::id()").results[0]["text/plain"])
    os.kill(pid, 9)
    # The cell after it either runs in a new process or says what happened; the one after runs.
    kernel.execute('println!("first")')
    assert_next_cell_works(kernel)
    assert int(kernel.ok("std::process::id()").results[0]["text/plain"]) != pid


def test_an_unexpected_magic_does_not_run_the_cell(kernel):
    for head in ("%memtrak", "%memtrack --labl x", "%memtrack assert ram.pek < 2GiB"):
        result = kernel.execute(f'{head}\nprintln!("ran");')
        assert result.status == "error", head
        assert "ran\n" not in result.stdout, head
        assert "%memtrack" in result.error or "--label" in result.error, result.error


def test_a_broken_budget_fails_its_cell(kernel):
    kernel.ok(f"%memtrack\n{HOLD}")
    assert kernel.ok("%memtrack assert heap.peak < 2GiB").status == "ok"
    broken = kernel.execute("%memtrack assert heap.peak < 1MiB")
    assert broken.status == "error" and "heap.peak" in broken.error
    kernel.ok("drop(block);")


def test_an_error_of_several_writes_is_told_whole(kernel):
    result = kernel.execute('std::fs::read_to_string("/nonexistent/file")?;')
    assert result.reply["evalue"] == "No such file or directory (os error 2)"
    assert result.stderr == ""
    assert_next_cell_works(kernel)


def test_the_panic_that_ends_the_cell_is_told(kernel):
    result = kernel.execute(
        'let _ = std::panic::catch_unwind(|| panic!("caught one")); panic!("real one {}", "x".repeat(2000));'
    )
    assert result.reply["evalue"].startswith("real one xxx")
    assert len(result.reply["evalue"]) > 2000
    assert "caught one" in result.stderr
    assert_next_cell_works(kernel)


def test_a_child_that_dies_before_the_code_runs_leaves_no_numbers(kernel):
    """What an earlier cell left in the shared page must not pass for this cell's."""
    pid = int(kernel.ok("%memtrack\nlet big = vec![1u8; 200 << 20]; std::process::id()").results[0]["text/plain"])
    cell = kernel.begin("%memtrack\nlet small = 1;")
    os.kill(pid, 9)
    record = cell.finish().record
    assert record.status == "killed" and "big" in record.lost
    if record.json["duration_s"]["run"] is None:
        for memory in ("ram", "heap"):
            row = record.row(memory)
            assert (row["before"], row["peak"], row["after"]) == (None, None, None)
            assert row["unavailable"] and not row["exact"]
    assert_next_cell_works(kernel)


def test_a_fork_that_exits_is_not_the_end_of_the_cell(kernel):
    code = """%memtrack
unsafe extern "C" { fn fork() -> i32; fn exit(code: i32) -> !; }
if unsafe { fork() } == 0 { unsafe { exit(0) } }
std::thread::sleep(std::time::Duration::from_millis(30));
let block = vec![1u8; 64 << 20]; std::hint::black_box(&block);
std::process::abort();"""
    record = kernel.execute(code).record
    assert record.status == "killed"
    assert record.rise("ram") >= 63 * MiB
    assert record.json["duration_s"]["run"] > 0.03
    assert_next_cell_works(kernel)


def test_threads_with_large_blocks_do_not_show_more_than_they_held(kernel):
    code = """%memtrack
std::thread::scope(|scope| for _ in 0..4 { scope.spawn(|| for _ in 0..3000 {
    std::hint::black_box(Vec::<u8>::with_capacity(20 << 20));
}); });"""
    record = kernel.ok(code).record
    assert 20 * MiB <= record.rise("heap") <= 81 * MiB
