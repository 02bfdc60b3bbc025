//! The records of files: one file's cells, or many files at a glance and the cells that used most.

use std::cmp::Reverse;
use std::path::Path;

use super::{MEASURES, Measure, SortKey, number, report, tracked};
use crate::archive::Recording;
use crate::ledger::Ledger;
use crate::record::{CellStatus, Record};
use crate::table::{Column, Entry, Grid, Table, clean};
use crate::units;

/// How many cells of all files together are shown.
const WORST: usize = 10;

/// What the cells of these recordings used: of one recording each cell, of several one line each and
/// the cells that used most.
pub fn of_recordings(recordings: &[Recording], sort: SortKey) -> Table {
    match recordings {
        [one] => of_one(one, sort),
        many => of_many(many, sort),
    }
}

fn of_one(recording: &Recording, sort: SortKey) -> Table {
    let mut ledger = Ledger::new();
    for record in &recording.records {
        ledger.add(record.clone());
    }
    let mut table = report(&ledger, sort, None);
    table.title = format!("{}: {}", clean(&recording.name), table.title);
    let environments = recording.environments();
    let ids: Vec<String> = environments
        .iter()
        .take(3)
        .map(|it| clean(&it.id))
        .collect();
    table
        .footer
        .push(format!("environment: {}", ids.join(", ")));
    table
}

fn of_many(recordings: &[Recording], sort: SortKey) -> Table {
    let total: usize = recordings.iter().map(|it| it.records.len()).sum();
    let measure = sort.measure();
    let measures = shown(recordings, sort);
    let value = |recording: &Recording, measure: &Measure| {
        let values = recording.records.iter().filter_map(|it| measure.of(it));
        values.max_by_key(|(value, _)| *value)
    };
    let mut files: Vec<&Recording> = recordings.iter().collect();
    files.sort_by_key(|file| Reverse(value(file, measure).map(|(value, _)| value)));
    // A column in which all are the same has no worst.
    let worst: Vec<Option<i64>> = measures
        .iter()
        .map(|measure| {
            let values = || files.iter().filter_map(|it| value(it, measure));
            let (worst, text) = values().max_by_key(|(value, _)| *value)?;
            values().any(|(_, other)| other != text).then_some(worst)
        })
        .collect();
    let names = Names::of(recordings);
    let failures = |file: &Recording| {
        let cells = file.records.iter();
        cells.filter(|it| it.cell.status != CellStatus::Ok).count()
    };
    let has_failures = files.iter().any(|file| failures(file) > 0);
    let mut columns = vec![Column::words("file"), Column::number("cells")];
    columns.extend(measures.iter().map(|measure| measure.column));
    columns.push(Column::number("run"));
    columns.extend(has_failures.then_some(Column::number("failed")));
    let rows = files.iter().map(|file| {
        let count = |count: usize| units::format_count(count as u64);
        let mut row = vec![names.entry(file), Entry::new(count(file.records.len()))];
        for (measure, worst) in measures.iter().zip(&worst) {
            row.push(match value(file, measure) {
                Some((value, text)) if value > 0 && Some(value) == *worst => {
                    Entry::strong(format!("*{text}"))
                }
                other => Entry::or_absent(other.map(|(_, text)| text)),
            });
        }
        let times = file.records.iter().filter_map(|it| it.duration_s.run);
        row.push(Entry::new(units::format_seconds(times.sum())));
        row.extend(has_failures.then(|| match failures(file) {
            0 => Entry::default(),
            failed => Entry::strong(count(failed)),
        }));
        row
    });
    let grid = Grid {
        rows: rows.collect(),
        columns,
    };
    Table {
        title: format!(
            "{} files{}, {}, sorted by {}",
            units::format_count(recordings.len() as u64),
            names.place(),
            tracked(total),
            measure.column.name
        ),
        grids: vec![grid, worst_cells(recordings, &names, &measures, measure)],
        footer: vec![
            "each number of a file is that of its largest cell; run is the sum".into(),
            "* the largest of its column".into(),
        ],
        ..Table::default()
    }
}

/// How files are named in a table: without the folder that all of them are in, which is told once.
struct Names<'a> {
    folder: &'a Path,
}

impl<'a> Names<'a> {
    fn of(recordings: &'a [Recording]) -> Names<'a> {
        let folder_of = |it: &'a Recording| Path::new(&it.name).parent().unwrap_or(Path::new(""));
        let mut folders = recordings.iter().map(folder_of);
        let first = folders.next().unwrap_or(Path::new(""));
        Names {
            folder: folders.fold(first, |common, folder| {
                let shared = common.ancestors().find(|it| folder.starts_with(it));
                shared.unwrap_or(Path::new(""))
            }),
        }
    }

    fn entry(&self, file: &Recording) -> Entry {
        let name = Path::new(&file.name).strip_prefix(self.folder);
        Entry::new(clean(
            &name.map_or(file.name.as_str().into(), Path::to_string_lossy),
        ))
    }

    /// ` in FOLDER`, or nothing.
    fn place(&self) -> String {
        match clean(&self.folder.to_string_lossy()) {
            folder if folder.is_empty() => String::new(),
            folder => format!(" in {folder}"),
        }
    }
}

/// The columns that are not empty in all files.
fn shown(recordings: &[Recording], sort: SortKey) -> Vec<&'static Measure> {
    let allocated = SortKey::Allocated.measure();
    let records = || recordings.iter().flat_map(|it| &it.records);
    MEASURES
        .iter()
        .filter(|measure| sort == SortKey::Allocated || !std::ptr::eq(*measure, allocated))
        .filter(|measure| records().any(|record| measure.of(record).is_some()))
        .collect()
}

/// The cells of all files together that have the largest values.
fn worst_cells(
    recordings: &[Recording],
    names: &Names,
    measures: &[&Measure],
    by: &Measure,
) -> Grid {
    let mut cells: Vec<(i64, &Recording, &Record)> = recordings
        .iter()
        .flat_map(|file| file.records.iter().map(move |record| (file, record)))
        .filter_map(|(file, record)| Some((by.of(record)?.0, file, record)))
        .collect();
    cells.sort_by_key(|(value, _, _)| Reverse(*value));
    cells.truncate(WORST);
    let mut columns = vec![Column::words("cells that used most"), Column::words("of")];
    columns.extend(measures.iter().map(|measure| measure.column));
    let rows = cells.into_iter().map(|(_, file, record)| {
        let label = record.cell.label.as_deref().unwrap_or_default();
        let name = format!("{} {}", number(record), clean(label));
        let mut row = vec![Entry::new(name.trim_end()), names.entry(file)];
        row.extend(measures.iter().map(|measure| {
            let text = measure.of(record).map(|(_, text)| text);
            match text {
                Some(text) if std::ptr::eq(*measure, by) => Entry::strong(text),
                text => Entry::or_absent(text),
            }
        }));
        row
    });
    Grid {
        rows: rows.collect(),
        columns,
    }
}
