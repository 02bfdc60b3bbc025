//! A week of tracked cells, one a minute, in a process of its own: what it holds of memory is measured.

mod common;

use memtrack::archive::Recording;
use memtrack::export::{self, Format};
use memtrack::ledger::{CAPACITY, Ledger};
use memtrack::probe::host::ProcessProbe;
use memtrack::record::Record;
use memtrack::timeline::Timeline;

const MIB: u64 = 1 << 20;
const CELLS: u64 = 7 * 24 * 60;

/// What a cell of some seconds leaves behind.
fn track(ledger: &mut Ledger, execution_count: u64) {
    let mut record = common::normal();
    record.cell.execution_count = execution_count;
    record.cell.label = Some(format!("minute {execution_count}"));
    let timeline = Timeline {
        t: (0..480).map(f64::from).collect(),
        series: ["ram/process", "heap/process", "ram/system", "ram/compiler"]
            .map(|key| (key.to_owned(), vec![Some(execution_count); 480]))
            .into(),
    };
    // Every tenth tells what it used over time in its record, too.
    record.timeline = execution_count.is_multiple_of(10).then(|| timeline.clone());
    ledger.add(record);
    ledger.add_timeline(timeline);
}

fn resident() -> u64 {
    let probe = ProcessProbe::this_process().unwrap();
    probe.read().unwrap().rss
}

#[test]
fn a_week_of_cells_takes_bounded_memory_and_can_all_be_exported() {
    let mut ledger = Ledger::new();
    (1..=CELLS / 5).for_each(|minute| track(&mut ledger, minute));
    let settled = resident();
    (CELLS / 5 + 1..=CELLS).for_each(|minute| track(&mut ledger, minute));
    let growth = resident().saturating_sub(settled);
    assert!(growth < 8 * MIB, "{} MiB more at the end", growth / MIB);

    assert_eq!(ledger.latest().len(), CAPACITY);
    assert_eq!((ledger.older() + CAPACITY) as u64, CELLS);
    assert_eq!(ledger.lost(), 0);

    let week = Recording::of_session("week", &ledger);
    let text = export::session(&week, Format::JsonLines);
    let records = text.lines().map(serde_json::from_str::<Record>);
    let counts: Vec<u64> = records
        .map(|record| record.unwrap().cell.execution_count)
        .collect();
    assert_eq!(counts, (1..=CELLS).collect::<Vec<_>>());
    let rows = common::normal().rows.len();
    let csv = export::session(&week, Format::Csv);
    assert_eq!(csv.lines().count(), 1 + rows * CELLS as usize);
    assert!(csv.contains("minute 1,") && csv.contains(&format!("minute {CELLS},")));
}
