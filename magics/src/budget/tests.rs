use super::*;
use crate::record::CellStatus;

const GIB: u64 = 1 << 30;

fn row(memory: Memory, scope: Scope, values: [u64; 3]) -> Row {
    let mut row = Row::empty(memory, scope);
    [row.before, row.peak, row.after] = values.map(Some);
    row.exact = true;
    row
}

/// Process RAM 1, 3, 2 GiB of 4; heap 0, 1 GiB, 0 with 7 allocations; two GPUs.
fn record() -> Record {
    let mut record = Record::empty(3, CellStatus::Ok);
    let mut ram = row(Memory::Ram, Scope::Process, [GIB, 3 * GIB, 2 * GIB]);
    ram.limit = Some(4 * GIB);
    let mut heap = row(Memory::Heap, Scope::Process, [0, GIB, 0]);
    heap.allocations = Some(7);
    let small = row(Memory::Vram, Scope::Process, [0, GIB, 0]);
    let large = row(Memory::Vram, Scope::Process, [0, 2 * GIB, 0]);
    record.rows = vec![ram, heap, small, large];
    record
}

fn check(expression: &str, record: &Record) -> Verdict {
    Budget::parse(expression).unwrap().check(record)
}

#[test]
fn comparisons_that_hold_pass() {
    for expression in [
        "ram.peak < 3.5GiB",
        "ram.peak<=3 GiB",
        "ram.peak == 3221225472",
        "ram.process.peak != 3GB",
        "ram.kept >= 1GiB",
        "ram.temporary <= 1GiB",
        "ram.peak <= 75%",
        "ram.after == 50 %",
        "heap.kept == 0",
        "heap.allocations < 8",
        "heap.kept > -1MiB",
        "vram.peak <= 2GiB",
        "heap.kept == 0 and ram.peak < 3.5 GiB and ram.before > 1 B",
    ] {
        let verdict = check(expression, &record());
        assert!(
            matches!(verdict, Verdict::Pass(_)),
            "{expression}: {verdict:?}"
        );
    }
}

#[test]
fn a_broken_budget_says_by_how_much() {
    for (expression, message) in [
        (
            "ram.peak < 2GiB",
            "`ram.peak < 2GiB` is broken: process RAM peak is 3.00 GiB",
        ),
        (
            "ram.peak < 60 %",
            "`ram.peak < 60%` is broken: process RAM peak is 3.00 GiB, 75.0 % of its limit",
        ),
        (
            "ram.peak < 3221225471",
            "`ram.peak < 3221225471` is broken: process RAM peak is 3.00 GiB (3221225472 bytes)",
        ),
        (
            "heap.allocations != 7",
            "`heap.allocations != 7` is broken: heap allocations is 7",
        ),
        (
            "heap.kept == 0 and ram.kept == 0",
            "`ram.kept == 0` is broken: process RAM kept is 1.00 GiB",
        ),
        // One of the two GPUs.
        (
            "vram.peak < 2GiB",
            "`vram.peak < 2GiB` is broken: GPU process peak is 2.00 GiB",
        ),
    ] {
        assert_eq!(check(expression, &record()), Verdict::Fail(message.into()));
    }
}

#[test]
fn what_is_not_known_does_not_pass() {
    let mut record = record();
    record.rows[1] = Row::empty(Memory::Heap, Scope::Process);
    record.rows[1].unavailable = Some("the heap is not counted: MEMTRACK_HEAP=0".into());
    record.rows[0].limit = None;
    for (expression, reason) in [
        (
            "children.peak < 1GiB",
            "no row for resident memory of the processes",
        ),
        ("heap.peak < 1GiB", "MEMTRACK_HEAP=0"),
        ("ram.peak < 80%", "no known limit"),
        ("heap.peak < 1GiB and ram.peak < 4GiB", "MEMTRACK_HEAP=0"),
    ] {
        match check(expression, &record) {
            Verdict::Unknown(message) => assert!(message.contains(reason), "{message}"),
            verdict => panic!("{expression}: {verdict:?}"),
        }
    }
    let verdict = check("heap.peak < 1GiB and ram.peak < 1GiB", &record);
    assert!(matches!(verdict, Verdict::Fail(_)), "{verdict:?}");
}

#[test]
fn no_difference_is_taken_across_a_restart() {
    let mut record = record();
    record.cell.restarted = true;
    for expression in ["ram.kept < 5GiB", "ram.temporary < 5GiB"] {
        match check(expression, &record) {
            Verdict::Unknown(message) => assert!(message.contains("restarted"), "{message}"),
            verdict => panic!("{expression}: {verdict:?}"),
        }
    }
    assert!(matches!(
        check("ram.peak < 5GiB", &record),
        Verdict::Pass(_)
    ));
}

#[test]
fn a_sampled_peak_is_named_as_such_and_does_not_pass_for_a_killed_cell() {
    let mut record = record();
    record.rows[0].exact = false;
    record.rows[0].peak_method = Some("sampled every 10 ms".into());
    match check("ram.peak < 5GiB", &record) {
        Verdict::Pass(message) => assert!(message.ends_with("(sampled every 10 ms)"), "{message}"),
        verdict => panic!("{verdict:?}"),
    }
    record.rows[0].after = None;
    let verdict = check("ram.peak < 5GiB", &record);
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    assert!(matches!(
        check("ram.peak < 2GiB", &record),
        Verdict::Fail(_)
    ));
}

#[test]
fn errors_name_the_place_and_an_example() {
    for (expression, position, problem) in [
        (
            "",
            0,
            "expected a quantity such as `ram.peak`, found the end",
        ),
        ("ram.peek < 2GiB", 0, "did you mean `ram.peak`?"),
        ("größe < 1", 0, "expected a quantity such as `ram.peak`"),
        (
            "ram.peak 2GiB",
            9,
            "expected one of < <= > >= == !=, found `2GiB`",
        ),
        (
            "ram.peak = 2GiB",
            9,
            "expected one of < <= > >= == !=, found `=`",
        ),
        ("ram.peak <", 10, "found the end"),
        ("ram.peak < 2G", 11, "ambiguous"),
        ("ram.peak < two", 11, "not an amount"),
        ("ram.peak < -2GiB", 11, "only `kept` can be below zero"),
        ("ram.peak < x%", 11, "expected a percentage"),
        ("ram.allocations < 5", 0, "only the heap has `allocations`"),
        ("heap.allocations < 5KiB", 19, "a whole number"),
        (
            "heap.kept == 0 or ram.peak < 1",
            15,
            "expected `and` or the end, found `or`",
        ),
        (
            "heap.kept == 0B or ram.peak < 1",
            16,
            "expected `and` or the end, found `or`",
        ),
        ("heap.kept == 0 and", 18, "found the end"),
    ] {
        let error = Budget::parse(expression).unwrap_err();
        assert!(error.problem.contains(problem), "{expression}: {error}");
        assert_eq!(error.position, position, "{expression}: {error}");
        assert!(error.to_string().contains("example: ram.peak < 2GiB"));
    }
}

#[test]
fn the_table_of_fields_is_in_the_order_of_the_enum() {
    for (index, (name, field, _)) in FIELDS.iter().enumerate() {
        assert_eq!(*field as usize, index, "{name}");
    }
}

#[test]
fn every_quantity_can_be_read_back() {
    for (name, about) in quantities() {
        assert!(Budget::parse(&format!("{name} < 10")).is_ok(), "{name}");
        assert!(!about.is_empty());
    }
}
