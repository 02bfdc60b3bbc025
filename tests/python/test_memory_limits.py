"""What a user is told close to a limit, and when memory ran out.

A container's limit is a cgroup's, which only some machines let a test make; the limit of the
address space (`ulimit -v`) any may set.
"""

import re
import resource

import pytest

from kernel_session import GiB, MiB, Session
from memory_group import MemoryGroup

# The kernel with rust-analyzer takes about 430 MiB of it.
LIMIT = 1 * GiB


@pytest.fixture(scope="module")
def container():
    """A kernel in a memory cgroup of 1 GiB."""
    group = MemoryGroup(LIMIT)
    try:
        with Session(group=group) as session:
            yield session.warm_up()
    finally:
        group.remove()


def room(session):
    """Bytes that are left in the container."""
    row = session.ok("%memtrack\n();").record.row("ram", "system")
    assert row["limit"] == LIMIT, "the kernel does not see its container"
    return LIMIT - row["after"]


def fill(size):
    return f"let block = std::hint::black_box(vec![1u8; {size}]);"


WAIT = "std::thread::sleep(std::time::Duration::from_millis(200));"


def test_close_to_the_limit_the_holders_are_named(container):
    size = room(container) - 50 * MiB
    result = container.ok(f"%memtrack\n{fill(size)} {WAIT} drop(block);")
    (warning,) = result.record.json["warnings"]
    assert re.match(r"system RAM reached 9[0-9] % of the container's 1.00 GiB: ", warning)
    assert "this process up to" in warning and "(heap up to" in warning
    assert "the kernel itself" in warning
    assert f"warning: {warning[:40]}" in result.bundles[0]["text/plain"]
    assert "warning:" in result.bundles[0]["text/html"]
    compact = container.ok(f"%memtrack on\n{fill(size)} {WAIT} drop(block);")
    assert "warning: system RAM reached" in " ".join(compact.bundles[0]["text/plain"].split())
    container.ok("%memtrack off")


def test_far_from_the_limit_nothing_is_said(container):
    result = container.ok(f"%memtrack\n{fill(room(container) // 2)} {WAIT} drop(block);")
    assert result.record.json["warnings"] == []


@pytest.mark.parametrize("magic", ["%memtrack --label too-much\n", ""])
def test_a_kill_for_memory_is_explained(container, magic):
    container.ok("let earlier = 5;")
    result = container.execute(f"{magic}{fill(LIMIT)}")
    count = result.reply["execution_count"]
    assert f"the system killed it for lack of memory (SIGKILL) while In [{count}] ran" in result.error
    assert re.search(r"the limit of the container \(cgroup v[12]\) is 1.00 GiB", result.error)
    held = re.search(r"held (?:at most )?([\d.]+) ([GM])iB of RAM", result.error)
    assert 300 <= float(held[1]) * {"G": 1024, "M": 1}[held[2]] <= 1024, result.error
    assert "1.00 GiB of heap when it ended" in result.error
    assert re.search(r"the kernel itself [\d.]+ MiB", result.error)
    assert "What helps:" in result.error and "Lost variables: earlier" in result.error
    if magic:
        record = result.record
        assert record.status == "killed"
        assert "lack of memory" in record.cause and "\n" not in record.cause
    container.ok("20 + 22")


def test_a_container_of_512_mib_is_enough_to_be_told():
    group = MemoryGroup(512 * MiB)
    try:
        with Session(group=group) as session:
            session.ok("fn kept() -> i32 { 42 }\nlet earlier = 5;")
            result = session.execute(f"%memtrack\n{fill(600 * MiB)}")
            assert "for lack of memory (SIGKILL)" in result.error and "is 512 MiB" in result.error
            assert result.record.status == "killed" and result.record.lost == ["earlier"]
            result = session.ok(f"%memtrack\n{fill(20 * MiB)} drop(block); kept()")
            assert result.results[0]["text/plain"] == "42" and result.record.rise("heap") >= 20 * MiB
    finally:
        group.remove()


def test_a_child_that_is_killed_is_not_the_cell(container):
    result = container.ok(
        '%memtrack\nlet ended = std::process::Command::new("python3").args(["-c", '
        '"b\'1\' * (1 << 30)"]).status().unwrap(); assert!(!ended.success());'
    )
    warnings = " ".join(result.record.json["warnings"])
    assert "killed a process in the container for lack of memory" in warnings
    assert "processes that it started up to" in warnings


def test_a_compiler_that_is_killed_is_not_the_code_s_fault(container):
    container.ok("let kept = 5;")
    result = container.execute(
        "%memtrack\nconst LARGE: &[u8] = &[1; 1 << 30];\nprintln!(\"{}\", LARGE[5]);"
    )
    assert "the system killed the compiler for lack of memory" in result.error
    assert "The cell did not run." in result.error
    assert re.search(r"Seen of the compiler: at most \d+ MiB", result.error)
    record = result.record
    assert record.status == "error" and record.json["duration_s"]["run"] is None
    assert container.ok("kept").results[0]["text/plain"] == "5"


def test_an_allocation_that_is_refused_says_its_size(kernel):
    result = kernel.execute("%memtrack\nlet huge: Vec<u8> = Vec::with_capacity(1 << 50);")
    assert "asked for 1.00 PiB (1125899906842624 bytes) at once" in result.error
    assert "SIGABRT" in result.error and "of RAM at most" in result.error
    assert result.record.status == "killed"
    assert "1.00 PiB" in result.record.cause
    kernel.ok("20 + 22")


def test_the_limit_of_the_address_space_is_named():
    address_space = 24 * GiB
    before = resource.getrlimit(resource.RLIMIT_AS)
    # Inherited by the kernel; this process's own use stays far below it.
    resource.setrlimit(resource.RLIMIT_AS, (address_space, before[1]))
    try:
        session = Session()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    with session:
        session.ok("let earlier = 5;")
        result = session.execute(f"let huge: Vec<u8> = Vec::with_capacity({address_space});")
        assert "asked for 24.0 GiB" in result.error
        assert "The limit of its address space: 24.0 GiB (ulimit -v)." in result.error
        session.ok("20 + 22")


def test_a_kill_from_outside_is_not_blamed_on_memory(kernel):
    result = kernel.execute(
        '%memtrack\nstd::process::Command::new("sh").args(["-c", "kill -9 $PPID"]).status()?;'
        " loop { std::thread::park() }"
    )
    assert "killed from outside (SIGKILL)" in result.error
    assert "memory" not in result.error.replace("%memtrack", "")
