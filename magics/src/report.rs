//! The session at a glance: one line a cell, and which cell used most.

use std::cmp::Reverse;

use crate::ledger::{CellRange, Ledger};
use crate::record::{CellStatus, Memory, Record, Row, Scope};
use crate::table::{Column, Entry, Grid, Table, clean, ending, number};
use crate::units;

mod files;

pub use files::of_recordings;

/// What is shown while no cell has been tracked.
pub(crate) const NOTHING_TRACKED: &str = "No cell has been tracked yet. Put %memtrack above the code of a cell, \
                               or run %memtrack on to track every cell from then on.";

/// A report has no more lines than this: a front end must be able to show it.
const ROWS: usize = 1000;

/// By which number a report is sorted, largest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortKey {
    /// Highest resident memory of the process.
    #[default]
    Peak,
    /// Resident memory of the process that the cell left behind.
    Kept,
    /// Bytes handed out by `malloc`.
    Allocated,
    /// Most GPU memory that the process had; of several GPUs, on the one where it had most.
    Vram,
}

/// A number of a record that a report shows in a column of its own.
struct Measure {
    column: Column,
    /// How a sentence names it.
    name: &'static str,
    memory: Memory,
    value: fn(&Record, &Row) -> Option<i64>,
    show: fn(i64, u64) -> String,
}

static MEASURES: [Measure; 6] = [
    Measure {
        column: Column::number("RAM peak"),
        name: "highest process RAM",
        memory: Memory::Ram,
        value: |_, row| bytes(row.peak),
        show: |bytes, _| units::format_bytes(bytes.unsigned_abs()),
    },
    Measure {
        column: Column::number("RAM kept"),
        name: "most process RAM kept",
        memory: Memory::Ram,
        value: |record, row| record.kept(row),
        show: units::format_difference,
    },
    Measure {
        column: Column::number("heap peak"),
        name: "highest heap",
        memory: Memory::Heap,
        value: |_, row| bytes(row.peak),
        show: |bytes, _| units::format_bytes(bytes.unsigned_abs()),
    },
    Measure {
        column: Column::number("heap kept"),
        name: "most heap kept",
        memory: Memory::Heap,
        value: |record, row| record.kept(row),
        show: units::format_difference,
    },
    Measure {
        column: Column::number("allocated"),
        name: "most allocated",
        memory: Memory::Heap,
        value: |_, row| bytes(row.allocated),
        show: |bytes, _| units::format_bytes(bytes.unsigned_abs()),
    },
    Measure {
        column: Column::number("VRAM peak"),
        name: "highest GPU memory of the process",
        memory: Memory::Vram,
        value: |_, row| bytes(row.peak),
        show: |bytes, _| units::format_bytes(bytes.unsigned_abs()),
    },
];

impl Measure {
    /// The value of a record and how it is written; over several GPUs the largest.
    fn of(&self, record: &Record) -> Option<(i64, String)> {
        let floor = units::noise_floor(self.memory, Scope::Process);
        let rows: Box<dyn Iterator<Item = &Row>> = match self.memory {
            Memory::Vram => Box::new(record.vram_of_process()),
            Memory::Ram | Memory::Heap => Box::new(record.rows_of(self.memory, Scope::Process)),
        };
        rows.filter_map(|row| (self.value)(record, row))
            .max()
            .map(|value| (value, (self.show)(value, floor)))
    }

    /// The record with the largest value that is more than nothing.
    fn worst<'a>(&self, records: &[&'a Record]) -> Option<&'a Record> {
        let floor = units::noise_floor(self.memory, Scope::Process) as i64;
        records
            .iter()
            .filter_map(|record| Some((self.of(record)?.0, *record)))
            .filter(|(value, _)| *value > 0 && *value >= floor)
            // The first of equals: it was there before the others.
            .max_by_key(|(value, record)| (*value, Reverse(record.cell.execution_count)))
            .map(|(_, record)| record)
    }
}

impl SortKey {
    fn measure(self) -> &'static Measure {
        match self {
            SortKey::Peak => &MEASURES[0],
            SortKey::Kept => &MEASURES[1],
            SortKey::Allocated => &MEASURES[4],
            SortKey::Vram => &MEASURES[5],
        }
    }
}

/// The session so far, one line a cell, in the order in which the cells ran.
pub fn overview(ledger: &Ledger) -> Table {
    if ledger.is_empty() {
        return message(NOTHING_TRACKED);
    }
    let records: Vec<&Record> = ledger.latest().collect();
    let count = records.len() + ledger.older();
    let mut footer = Vec::new();
    if ledger.older() > 0 {
        footer.push(format!(
            "the latest {}; %memtrack report --cells A:B shows earlier ones, %memtrack export writes all",
            units::format_count(records.len() as u64)
        ));
    }
    Table {
        title: format!("{} so far in this session", tracked(count)),
        footer,
        grids: vec![grid(&records, None)],
        footnotes: endings(&records),
        ..Table::default()
    }
}

/// Which of the cells in `cells` used most, largest first, the worst of each column marked by `*`.
pub fn report(ledger: &Ledger, sort: SortKey, cells: Option<CellRange>) -> Table {
    if ledger.is_empty() {
        return message(NOTHING_TRACKED);
    }
    let found: Vec<_> = ledger.range(cells.unwrap_or(CellRange::ALL)).collect();
    let mut records: Vec<&Record> = found.iter().map(AsRef::as_ref).collect();
    if records.is_empty() {
        return message("No cell with such a number was tracked. %memtrack shows those that were.");
    }
    let measure = sort.measure();
    records.sort_by_key(|record| Reverse(measure.of(record).map(|(value, _)| value)));
    let grid = grid(&records[..records.len().min(ROWS)], Some(sort));
    let mut footer = Vec::new();
    if records.len() > ROWS {
        footer.push(format!(
            "the first {} of them; a range shows fewer: %memtrack report --cells A:B",
            units::format_count(ROWS as u64)
        ));
    }
    if MEASURES.iter().any(|it| it.worst(&records).is_some()) {
        footer.push("* the most of its column".into());
    }
    // A number without a column is told here.
    let absent = MEASURES
        .iter()
        .filter(|measure| !grid.columns.contains(&measure.column));
    footer.extend(absent.filter_map(|measure| {
        let worst = measure.worst(&records)?;
        let (_, value) = measure.of(worst)?;
        Some(format!("{}: {} {value}", measure.name, number(worst)))
    }));
    Table {
        title: sorted(&records, measure),
        footer,
        grids: vec![grid],
        footnotes: endings(&records[..records.len().min(ROWS)]),
        ..Table::default()
    }
}

/// By what the records are sorted, and which comes first; or why they are not sorted.
fn sorted(records: &[&Record], measure: &Measure) -> String {
    let count = tracked(records.len());
    let name = measure.column.name;
    if let Some(worst) = measure.worst(records)
        && let Some((_, value)) = measure.of(worst)
    {
        let label = worst.cell.label.as_deref().map(clean).unwrap_or_default();
        let cell = format!("{} {label}", number(worst));
        return format!(
            "{count}, sorted by {name} · {}: {}, {value}",
            measure.name,
            cell.trim_end()
        );
    }
    let known = records.iter().any(|record| measure.of(record).is_some());
    match known {
        true => format!("{count}, sorted by {name}"),
        false => format!("{count}, not sorted: {name} is not known for any of them"),
    }
}

fn message(text: &str) -> Table {
    Table {
        title: text.into(),
        ..Table::default()
    }
}

fn tracked(count: usize) -> String {
    match count {
        1 => "1 tracked cell".into(),
        count => format!("{} tracked cells", units::format_count(count as u64)),
    }
}

/// How the cells that did not end well ended.
fn endings(records: &[&Record]) -> Vec<String> {
    records
        .iter()
        .filter_map(|record| Some(format!("{} {}", number(record), ending(record)?)))
        .collect()
}

/// One line a record; columns that would be empty in all of them are left out. A report by `sort`
/// marks the worst of each column, and has a column of bytes allocated only where it is by them:
/// with all columns there would be no room for labels.
fn grid(records: &[&Record], sort: Option<SortKey>) -> Grid {
    let allocated = SortKey::Allocated.measure();
    let measures: Vec<&Measure> = MEASURES
        .iter()
        .filter(|measure| sort == Some(SortKey::Allocated) || !std::ptr::eq(*measure, allocated))
        .filter(|measure| records.iter().any(|record| measure.of(record).is_some()))
        .collect();
    let has_labels = records.iter().any(|record| record.cell.label.is_some());
    let has_endings = records.iter().any(|record| ending(record).is_some());
    let mut columns = vec![Column::words("cell")];
    columns.extend(has_labels.then_some(Column::words("label")));
    columns.extend(measures.iter().map(|measure| measure.column));
    columns.push(Column::number("run"));
    columns.extend(has_endings.then_some(Column::number("ended")));
    let worst: Vec<Option<&Record>> = measures
        .iter()
        .map(|measure| measure.worst(records).filter(|_| sort.is_some()))
        .collect();
    let row = |record: &&Record| {
        let mut row = vec![Entry::new(number(record))];
        row.extend(has_labels.then(|| {
            let label = record.cell.label.as_deref().unwrap_or_default();
            Entry::new(clean(label))
        }));
        for (measure, worst) in measures.iter().zip(&worst) {
            let value = measure.of(record).map(|(_, text)| text);
            row.push(match value {
                Some(value) if worst.is_some_and(|worst| std::ptr::eq(worst, *record)) => {
                    Entry::strong(format!("*{value}"))
                }
                value => missing(record, measure, value),
            });
        }
        row.push(Entry::or_absent(
            record.duration_s.run.map(units::format_seconds),
        ));
        row.extend(has_endings.then(|| match record.cell.status {
            CellStatus::Ok => Entry::default(),
            status => Entry {
                hint: record.cell.cause.as_deref().map(clean),
                ..Entry::wrong(status.as_str())
            },
        }));
        row
    };
    Grid {
        rows: records.iter().map(row).collect(),
        columns,
    }
}

/// A value, or why there is none.
fn missing(record: &Record, measure: &Measure, value: Option<String>) -> Entry {
    if value.is_none() && record.cell.restarted && measure.column.name.ends_with("kept") {
        return Entry::faint("restarted");
    }
    let hint = record
        .rows_of(measure.memory, Scope::Process)
        .find_map(|row| row.unavailable.as_deref().map(clean))
        .filter(|_| value.is_none());
    Entry {
        hint,
        ..Entry::change(value)
    }
}

/// Bytes as a number that can be compared with differences.
fn bytes(value: Option<u64>) -> Option<i64> {
    value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}
