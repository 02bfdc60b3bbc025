"""Several runs of one cell: medians of known sizes, one record, and what a failure leaves."""

import pytest

from kernel_session import KiB, MiB, Session

# Run n holds n times 8 MiB for a while: 8, 16, 24, 32, 40.
STEP = """turn += 1; let held = vec![1u8; turn * (8 << 20)]; std::hint::black_box(&held);
    println!("run {turn}"); drop(held);"""


def statistic(record, memory, column, scope="process"):
    rows = record.json["repeats"]["rows"]
    (row,) = [row for row in rows if (row["memory"], row["scope"]) == (memory, scope)]
    return row[column]


def test_the_median_is_that_of_the_known_sizes(kernel):
    kernel.ok("let mut turn = 0usize;")
    result = kernel.ok(f"%memtrack --repeat 5 --label growing\n{STEP}")
    assert result.stdout == "".join(f"run {n}\n" for n in range(1, 6))
    record = result.record
    repeats = record.json["repeats"]
    assert (repeats["asked"], repeats["completed"]) == (5, 5)
    # The record is of a run that there was: the third.
    assert repeats["shown"] == 3
    assert record.rise("heap") == pytest.approx(24 * MiB, abs=16 * KiB)
    for memory, tolerance in (("heap", 16 * KiB), ("ram", 1 * MiB)):
        temporary = statistic(record, memory, "temporary")
        assert temporary["runs"] == 5
        for name, size in (("min", 8), ("median", 24), ("max", 40)):
            assert temporary[name] == pytest.approx(size * MiB, abs=tolerance), (memory, name)
        assert abs(statistic(record, memory, "kept")["median"]) <= 256 * KiB
    text = result.bundles[0]["text/plain"]
    assert "growing · median of 5 runs" in text and "highest − lowest" in text
    (line,) = [line for line in text.splitlines() if line.startswith("differs between runs by")]
    assert "more than noise: process RAM:" in line and "peak" in line
    # The state of all runs is there, and it was one execution.
    assert kernel.ok("turn").results[0]["text/plain"] == "5"


def test_what_does_not_differ_is_said_so(kernel):
    code = "{ let held = vec![1u8; 16 << 20]; std::hint::black_box(&held); }"
    kernel.ok(code)
    record = kernel.ok(f"%memtrack --repeat 4\n{code}").record
    peak = statistic(record, "heap", "temporary")
    assert peak["median"] == pytest.approx(16 * MiB, abs=16 * KiB)
    assert peak["max"] - peak["min"] <= 1 * KiB


def test_a_let_is_there_afterwards_and_the_value_is_shown_once(kernel):
    before = kernel.ok("1").reply["execution_count"]
    result = kernel.ok("%memtrack --repeat 3\nlet later = vec![7u8; 100]; later.len()")
    assert [data["text/plain"] for data in result.results] == ["100"]
    assert result.record.json["repeats"]["completed"] == 3
    assert kernel.ok("later[99]").results[0]["text/plain"] == "7"
    assert kernel.ok("2").reply["execution_count"] == before + 3


def test_the_session_has_one_entry(kernel):
    kernel.ok("%memtrack --repeat 2 --label only-once\nlet entry = 1;")
    (session,) = kernel.ok("%memtrack").displays
    assert session["text/plain"].count("only-once") == 1
    kernel.ok("%memtrack --repeat 2\nlet held = vec![1u8; 4 << 20];\n")
    assert kernel.execute("%memtrack assert heap.peak < 1MiB").status == "error"


def test_a_panic_ends_the_repeats(kernel):
    kernel.ok("let mut turn = 0usize;")
    result = kernel.execute(
        f'%memtrack --repeat 5\n{STEP} if turn == 3 {{ panic!("third") }}'
    )
    assert result.status == "error"
    assert "third" in result.error and "This was run 3 of 5" in result.error
    assert "the 2 before it ended well" in result.error
    record = result.record
    assert record.status == "panic"
    repeats = record.json["repeats"]
    assert (repeats["completed"], repeats["shown"]) == (2, 3)
    assert record.rise("heap") == pytest.approx(24 * MiB, abs=16 * KiB)
    assert statistic(record, "heap", "temporary")["median"] == pytest.approx(12 * MiB, abs=16 * KiB)
    assert any("run 3 of 5 ended the repeats" in warning for warning in record.json["warnings"])
    assert kernel.ok("20 + 22").results[0]["text/plain"] == "42"


def test_a_death_ends_the_repeats(kernel):
    result = kernel.execute("%memtrack --repeat 3\nstd::process::exit(7);")
    record = result.record
    assert (record.status, record.json["repeats"]["completed"]) == ("killed", 0)
    assert "run 1 of 3" in result.error
    kernel.ok("20 + 22")


def test_a_cell_that_uses_up_a_variable_runs_once(kernel):
    kernel.ok("let used_up = vec![1u8; 100];")
    result = kernel.execute("%memtrack --repeat 3\ndrop(used_up);")
    assert result.status == "error"
    assert "used_up" in result.error and "run 2 of 3" in result.error
    record = result.record
    assert (record.status, record.json["repeats"]["completed"]) == ("error", 1)


def test_an_interrupt_ends_the_repeats(kernel):
    cell = kernel.begin(
        '%memtrack --repeat 1000\nprintln!("turn"); std::thread::sleep(std::time::Duration::from_millis(300));'
    )
    cell.wait_for(lambda result: result.stdout.count("turn") >= 2)
    kernel.interrupt()
    result = cell.finish(timeout=60)
    assert result.record.status == "interrupted"
    repeats = result.record.json["repeats"]
    assert 1 <= repeats["completed"] < 1000 and repeats["shown"] == repeats["completed"] + 1


def test_the_facts_of_the_machine_are_in_the_first_record():
    with Session() as session:
        first = session.ok("%memtrack --repeat 3\nlet first = 1;").record
        assert first.json["environment"]["facts"]
        assert session.ok("%memtrack\nlet second = 1;").record.json["environment"]["facts"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%memtrack --repeat 0", "from 2 to 1000"),
        ("%memtrack --repeat many", "`many` is not how often"),
        ("%memtrack on --repeat 3", "`--repeat` is not an option here"),
    ],
)
def test_misuse_runs_nothing(kernel, line, words):
    result = kernel.execute(f'{line}\nprintln!("ran");')
    assert result.status == "error" and result.stdout == ""
    assert words in result.error and "usage: %memtrack" in result.error


@pytest.mark.parametrize("option", ["--live", "--repeat 3"])
def test_without_code_there_is_nothing_to_track(kernel, option):
    assert "no code below this line" in kernel.execute(f"%memtrack {option}").error


def test_completion_offers_the_options(kernel):
    for typed, whole in (("%memtrack --l", ["--label", "--live"]), ("%memtrack --re", ["--repeat"])):
        reply = kernel.request(kernel.client.complete(typed, len(typed)))
        assert reply["matches"] == whole
