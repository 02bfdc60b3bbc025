//! One record, many renderings: how tables look, and what holds for every table.

mod common;

use common::{
    GIB, bare, gpus, huge, killed, normal, odd_label, repeated, repeated_and_failed, unknown,
};
use insta::assert_snapshot;
use memtrack::ledger::Ledger;
use memtrack::record::{CellStatus, Device, Durations, Memory, Record, Row, Scope, Split};
use memtrack::report::{self, SortKey};
use memtrack::table::Table;
use memtrack::{html, text};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

fn as_text(record: &Record) -> String {
    text::render(&Table::of_record(record, false))
}

fn as_html(record: &Record) -> String {
    // One tag a line, so that a change can be read.
    html::render(&Table::of_record(record, false)).replace("><", ">\n<")
}

#[test]
fn a_normal_cell() {
    assert_snapshot!("normal_text", as_text(&normal()));
    assert_snapshot!("normal_html", as_html(&normal()));
    assert_snapshot!(
        "normal_wide_text",
        text::render(&Table::of_record(&normal(), true))
    );
}

#[test]
fn a_killed_cell() {
    assert_snapshot!("killed_text", as_text(&killed()));
    assert_snapshot!("killed_html", as_html(&killed()));
}

#[test]
fn a_heap_that_is_not_counted() {
    let mut record = normal();
    let mut heap = Row::empty(Memory::Heap, Scope::Process);
    heap.unavailable =
        Some("heap counting is off: start the kernel without MEMTRACK_HEAP=0".into());
    record.rows[2] = heap;
    assert_snapshot!("heap_unavailable_text", as_text(&record));
    assert_snapshot!("heap_unavailable_html", as_html(&record));
}

#[test]
fn nothing_could_be_read() {
    assert_snapshot!("unknown_text", as_text(&unknown()));
    assert_snapshot!("unknown_html", as_html(&unknown()));
}

#[test]
fn a_cell_on_a_gpu() {
    assert_snapshot!("gpus_text", as_text(&gpus()));
    // In one line only the GPU that the process used.
    assert_snapshot!("gpus_compact_text", text::compact(&gpus()));
    // A quiet GPU alone is shown: it is not hidden among others.
    let mut alone = gpus();
    alone
        .rows
        .retain(|row| row.device.as_ref().is_none_or(|device| device.index == 1));
    assert!(as_text(&alone).contains("GPU 1 device"));
}

/// What stands out in a drawn table.
fn marked(drawn: &str) -> Vec<&str> {
    let parts = drawn.split("<b ").skip(1);
    parts
        .filter_map(|part| part.split_once('>')?.1.split_once("</b>"))
        .map(|(marked, _)| marked)
        .collect()
}

#[test]
fn one_number_stands_out_the_peak_that_rose_most() {
    let draw = |record: &Record| html::render(&Table::of_record(record, true));
    assert_eq!(marked(&draw(&normal())), ["1.26 GiB"]);
    // The heap grew by more, but nobody touched it.
    let mut untouched = normal();
    untouched.rows[2].peak = Some(8 * GIB);
    assert_eq!(marked(&draw(&untouched)), ["1.26 GiB"]);
    let mut children = normal();
    children.rows[1].peak = Some(2 * GIB);
    assert_eq!(marked(&draw(&children)), ["2.00 GiB"]);
    // 8 GiB of the GPU against one of RAM.
    assert_eq!(marked(&draw(&gpus())), ["8.03 GiB"]);
    assert_eq!(marked(&html::compact(&gpus())), ["8.03 GiB"]);
    // Where nothing rose, process RAM.
    let mut quiet = normal();
    for row in &mut quiet.rows {
        row.peak = row.before;
    }
    assert_eq!(marked(&draw(&quiet)), ["12.0 MiB"]);
    assert_eq!(marked(&draw(&unknown())), Vec::<&str>::new());
}

#[test]
fn less_than_before_reads_right() {
    let mut freed = normal();
    freed.rows[0].after = Some(0);
    freed.rows[2].after = freed.rows[2].before;
    let drawn = html::render(&Table::of_record(&freed, false));
    // A true minus, as wide as the plus.
    assert!(drawn.contains(">−12.0 MiB<"), "{drawn}");
    assert!(!drawn.contains("-12.0 MiB"), "{drawn}");
    let line = text::compact(&freed);
    assert!(line.contains("(freed 12.0 MiB)"), "{line}");
    assert!(line.contains("(kept 0 B)"), "{line}");
}

#[test]
fn the_largest_values() {
    assert_snapshot!("huge_text", as_text(&huge()));
    assert_snapshot!("huge_html", as_html(&huge()));
}

#[test]
fn a_label_that_looks_like_html() {
    assert_snapshot!("odd_label_text", as_text(&odd_label()));
    let drawn = as_html(&odd_label());
    assert!(!drawn.contains("<script"), "{drawn}");
    assert!(drawn.contains("&lt;script&gt;"), "{drawn}");
    assert_snapshot!("odd_label_html", drawn);
}

#[test]
fn white_space_in_words_does_not_widen_a_line() {
    let mut record = normal();
    record.warnings = vec![format!("内{}内 内", " ".repeat(94))];
    record.cell.lost_variables = vec![format!("   内{}内", " ".repeat(94))];
    let drawn = as_text(&record);
    assert!(drawn.contains("warning: 内 内 内\n"), "{drawn}");
    assert!(drawn.contains("lost variables: 内 内\n"), "{drawn}");
}

#[test]
fn one_line_a_cell() {
    assert_snapshot!("compact_text", text::compact(&normal()));
    assert_snapshot!(
        "compact_html",
        html::compact(&killed()).replace("><", ">\n<")
    );
}

#[test]
fn a_repeated_cell() {
    assert_snapshot!("repeated_text", as_text(&repeated()));
    assert_snapshot!("repeated_html", as_html(&repeated()));
    assert_snapshot!("repeated_and_failed_text", as_text(&repeated_and_failed()));
}

#[test]
fn a_warning_stands_in_the_line_too() {
    let mut record = normal();
    record.warnings = vec!["system RAM reached 94 % of the container's 2.00 GiB".into()];
    assert!(text::compact(&record).contains("· warning: system RAM reached 94 %"));
    assert!(html::compact(&record).contains(">warning: system RAM reached 94 %"));
}

/// Four cells: the first keeps most, the second has the highest peak, the third was killed, the
/// fourth did not compile.
fn session() -> Ledger {
    let mut ledger = Ledger::new();
    for (count, kept, peak) in [
        (1, 2 * GIB, 3 * GIB),
        (2, 0, 5 * GIB),
        (3, 0, GIB),
        (4, 0, 0),
    ] {
        let mut record = if count == 3 { killed() } else { normal() };
        record.cell.execution_count = count;
        record.cell.label = (count == 2).then(|| "train".into());
        let ram = &mut record.rows[0];
        (ram.before, ram.peak) = (Some(GIB), Some(GIB + peak));
        ram.after = ram.after.map(|_| GIB + kept);
        let heap = &mut record.rows[2];
        (heap.before, heap.peak, heap.allocated) = (Some(0), Some(peak), Some(peak * count));
        heap.after = heap.after.map(|_| kept);
        ledger.add(record);
    }
    let mut failed = bare(5);
    failed.cell.status = CellStatus::Error;
    failed.cell.cause = Some("it did not compile".into());
    failed.duration_s.run = None;
    ledger.add(failed);
    ledger
}

#[test]
fn the_session_so_far() {
    assert_snapshot!("overview_text", text::render(&report::overview(&session())));
    assert_snapshot!(
        "overview_html",
        html::render(&report::overview(&session())).replace("><", ">\n<")
    );
}

#[test]
fn which_cell_used_most() {
    let draw = |sort, cells: Option<&str>| {
        let cells = cells.map(|cells| cells.parse().unwrap());
        text::render(&report::report(&session(), sort, cells))
    };
    assert_snapshot!("report_by_peak_text", draw(SortKey::Peak, None));
    assert_snapshot!("report_by_allocated_text", draw(SortKey::Allocated, None));
    assert_snapshot!("report_by_kept_text", draw(SortKey::Kept, Some("1:2")));
    let order = |sort| -> Vec<String> {
        draw(sort, Some("1:4"))
            .lines()
            .skip(2)
            .take(4)
            .filter_map(|line| line.split_whitespace().next().map(String::from))
            .collect()
    };
    assert_eq!(order(SortKey::Peak), ["[2]", "[1]", "[3]", "[4]"]);
    assert_eq!(order(SortKey::Kept), ["[1]", "[2]", "[4]", "[3]"]);
    assert_eq!(order(SortKey::Allocated), ["[2]", "[1]", "[3]", "[4]"]);
    assert!(
        draw(SortKey::Vram, None)
            .starts_with("5 tracked cells, not sorted: VRAM peak is not known for any of them")
    );
    let mut ledger = session();
    let mut on_gpu = gpus();
    on_gpu.cell.execution_count = 6;
    ledger.add(on_gpu);
    let drawn = text::render(&report::report(&ledger, SortKey::Vram, None));
    assert!(
        drawn.starts_with(
            "6 tracked cells, sorted by VRAM peak · highest GPU memory of the process: [6] load, 8.03 GiB"
        ),
        "{drawn}"
    );
    assert!(drawn.lines().nth(2).unwrap().starts_with("[6]"), "{drawn}");
    let drawn = draw(SortKey::Peak, Some("8:9"));
    assert!(drawn.starts_with("No cell with such a number"), "{drawn}");
}

#[test]
fn a_session_without_tracked_cells_says_how_to_track_one() {
    for table in [
        report::overview(&Ledger::new()),
        report::report(&Ledger::new(), SortKey::Peak, None),
    ] {
        let drawn = text::render(&table);
        assert!(drawn.contains("Put %memtrack above the code"), "{drawn}");
    }
}

#[test]
fn no_difference_is_shown_across_a_restart() {
    let mut record = normal();
    record.cell.restarted = true;
    let drawn = as_text(&record);
    assert!(!drawn.contains('+'), "{drawn}");
    assert!(drawn.contains("restarted"), "{drawn}");
    assert!(!text::compact(&record).contains('+'));
}

#[test]
fn sample_records_are_valid_against_the_schema() {
    let schema = include_str!("../../tests/record.schema.json");
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    for record in [
        bare(0),
        normal(),
        killed(),
        unknown(),
        gpus(),
        huge(),
        odd_label(),
        repeated(),
        repeated_and_failed(),
    ] {
        let json = serde_json::to_value(&record).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&json)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    }
    let mut wrong = serde_json::to_value(normal()).unwrap();
    wrong["rows"][0]["peak"] = "1 GiB".into();
    assert!(!validator.is_valid(&wrong));
    let mut wrong = serde_json::to_value(repeated()).unwrap();
    wrong["repeats"]["rows"][0]["kept"]["median"] = 0.5.into();
    assert!(!validator.is_valid(&wrong));
}

fn values() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        Just(None),
        any::<u64>().prop_map(Some),
        (0..GIB).prop_map(Some)
    ]
}

fn words() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof![
        any::<String>(),
        "\\PC{0,200}",
        "[a-z]{150}",
        "[ 内存]{0,120}"
    ])
}

prop_compose! {
    fn split()(anon in values(), file in values(), shmem in values(), swap in values()) -> Split {
        Split { anon, file, shmem, swap }
    }
}

prop_compose! {
    fn row()(
        memory in prop_oneof![Just(Memory::Ram), Just(Memory::Heap), Just(Memory::Vram)],
        scope in prop_oneof![
            Just(Scope::Process), Just(Scope::Children), Just(Scope::System),
            Just(Scope::PoolUsed), Just(Scope::PoolReserved), Just(Scope::Device),
        ],
        index in proptest::option::of(0..16u32),
        bytes in prop::array::uniform7(values()),
        peak_method in words(),
        unavailable in words(),
        splits in proptest::option::of((split(), split())),
    ) -> Row {
        Row {
            device: index.map(|index| Device { index, uuid: None, name: "GPU".into() }),
            before: bytes[0],
            peak: bytes[1],
            after: bytes[2],
            limit: bytes[3],
            allocations: bytes[4],
            allocated: bytes[5],
            retained: bytes[6],
            peak_method,
            unavailable,
            split_before: splits.map(|splits| splits.0),
            split_after: splits.map(|splits| splits.1),
            ..Row::empty(memory, scope)
        }
    }
}

prop_compose! {
    fn record()(
        execution_count in any::<u64>(),
        label in words(),
        cause in words(),
        status in prop_oneof![
            Just(CellStatus::Ok), Just(CellStatus::Error), Just(CellStatus::Panic),
            Just(CellStatus::Killed), Just(CellStatus::Interrupted),
        ],
        lost in prop::collection::vec("\\PC{0,30}", 0..20),
        warnings in prop::collection::vec(any::<String>(), 0..3),
        restarted in any::<bool>(),
        run in proptest::option::of(any::<f64>()),
        rows in prop::collection::vec(row(), 0..8),
    ) -> Record {
        let mut record = bare(execution_count);
        record.cell.label = label;
        record.cell.cause = cause;
        record.cell.status = status;
        record.cell.lost_variables = lost;
        record.cell.restarted = restarted;
        record.warnings = warnings;
        record.duration_s = Durations { compile: run, run };
        record.rows = rows;
        record
    }
}

proptest! {
    // A case that once failed becomes a test of its own, not a line in a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_wider_than_100_columns(records in prop::collection::vec(record(), 1..4)) {
        let mut ledger = Ledger::new();
        let mut drawn = Vec::new();
        for record in records {
            drawn.push(text::render(&Table::of_record(&record, false)));
            drawn.push(text::render(&Table::of_record(&record, true)));
            drawn.push(text::compact(&record));
            ledger.add(record);
        }
        drawn.push(text::render(&report::overview(&ledger)));
        drawn.push(text::render(&report::report(&ledger, SortKey::Allocated, None)));
        for line in drawn.iter().flat_map(|text| text.lines()) {
            prop_assert!(line.width() <= text::WIDTH, "{} columns: {line}", line.width());
        }
    }

    #[test]
    fn html_holds_no_markup_from_a_record(record in record(), tag in "<[a-z]{1,8}( on[a-z]+=\"x\")?>") {
        let mut record = record;
        let markup = format!("{tag}&'\"");
        record.cell.label = Some(markup.clone());
        record.cell.cause = Some(markup.clone());
        record.warnings.push(markup.clone());
        for row in &mut record.rows {
            row.peak_method = Some(markup.clone());
            row.unavailable = Some(markup.clone());
        }
        let drawn = html::render(&Table::of_record(&record, true)) + &html::compact(&record);
        prop_assert!(!drawn.contains(&markup), "{drawn}");
        prop_assert!(!drawn.contains("<script") && !drawn.contains("class="), "{drawn}");
    }
}
