//! The picture in words.

use super::{Cell, Plot};
use crate::record::{Memory, Row, Scope};
use crate::table::{self, Column, Entry, Grid, Table};
use crate::timeline::{blocks, sparklines, too_short};
use crate::{text, units};

/// Numbers in order as ranges, such as `1 to 4, 7`.
pub(super) fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last == number || *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let words: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first} to {last}"),
        })
        .collect();
    words.join(", ")
}

/// How long the phases of a cell took, and how it ended if not well.
pub(super) fn about(cell: &Cell) -> String {
    let seconds = |name: &str, value: Option<f64>| {
        value.map(|value| format!("{name} {}", units::format_seconds(value)))
    };
    let durations = cell.record.duration_s;
    let run = seconds("run", durations.run).or(Some("the code did not run".into()));
    let parts = [
        run,
        seconds("compile", durations.compile),
        table::ending(cell.record),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Why a cell has no line, if it has none.
pub(super) fn why_points(cell: &Cell) -> Option<String> {
    let why = match (cell.run_s(), cell.timeline) {
        (None, _) => return None,
        (Some(_), None) => "its samples are not kept any more".into(),
        (Some(_), Some(_)) if cell.has_line() => return None,
        (Some(_), Some(_)) => too_short(),
    };
    Some(format!("{why}: only before, peak and after are known"))
}

pub(super) fn text(plot: &Plot) -> String {
    let table = match plot.single() {
        Some(cell) => of_one(cell),
        None => of_several(plot),
    };
    text::render(&table)
}

fn of_one(cell: &Cell) -> Table {
    let mut table = Table {
        title: table::title(cell.record),
        ..Table::default()
    };
    table.alerts.push(about(cell));
    match cell.timeline.filter(|_| cell.has_line()) {
        Some(timeline) => table.grids.extend(sparklines(cell.record, timeline)),
        None => {
            table.alerts.extend(why_points(cell));
            table.grids.push(marks(cell));
        }
    }
    table.footer = peaks(cell);
    table
}

/// Before, peak and after of each row, where there is no line.
fn marks(cell: &Cell) -> Grid {
    let bytes = |value: Option<u64>| Entry::or_absent(value.map(units::format_bytes));
    let rows = cell.record.rows.iter().map(|row| {
        let values = [row.before, row.peak, row.after].map(bytes);
        [vec![Entry::new(row.label())], values.to_vec()].concat()
    });
    Grid {
        columns: vec![
            Column::words(""),
            Column::number("before"),
            Column::number("peak"),
            Column::number("after"),
        ],
        rows: rows.collect(),
    }
}

/// How each peak was got.
fn peaks(cell: &Cell) -> Vec<String> {
    let rows = cell.record.rows.iter().filter_map(|row| {
        let (peak, method) = (row.peak?, row.peak_method.as_ref()?);
        Some(format!(
            "{}: peak {}, {}",
            row.label(),
            units::format_bytes(peak),
            table::clean(method)
        ))
    });
    rows.collect()
}

fn of_several(plot: &Plot) -> Table {
    let main = |cell: &Cell| -> Vec<Row> {
        let is_main = |row: &&Row| {
            matches!(
                (row.memory, row.scope),
                (Memory::Ram, Scope::Process) | (Memory::Vram, Scope::Device)
            )
        };
        cell.record.rows.iter().filter(is_main).cloned().collect()
    };
    let mut rows = Vec::new();
    let has_gpus = plot.cells.iter().any(|cell| main(cell).len() > 1);
    for cell in &plot.cells {
        for (place, row) in main(cell).iter().enumerate() {
            let lines = cell.timeline.zip(cell.run_s()).filter(|_| cell.has_line());
            let line = lines.and_then(|(timeline, run)| blocks(row, timeline, run, 20));
            let mut entries = vec![Entry::new(match place {
                0 => table::title(cell.record),
                _ => String::new(),
            })];
            entries.extend(has_gpus.then(|| Entry::new(row.label())));
            entries.extend([
                Entry::drawn(line.unwrap_or_default()),
                Entry::or_absent(row.before.map(units::format_bytes)),
                Entry::or_absent(row.peak.map(units::format_bytes)),
                Entry::or_absent(row.after.map(units::format_bytes)),
                Entry::or_absent(cell.run_s().map(units::format_seconds)),
            ]);
            rows.push(entries);
        }
    }
    let mut columns = vec![Column::words("cell")];
    columns.extend(has_gpus.then_some(Column::words("of")));
    columns.extend([
        Column::words(if has_gpus { "over time" } else { "process RAM" }),
        Column::number("before"),
        Column::number("peak"),
        Column::number("after"),
        Column::number("run"),
    ]);
    let mut footer: Vec<String> = plot
        .cells
        .iter()
        .filter_map(|cell| {
            Some(format!(
                "{}: {}",
                table::number(cell.record),
                why_points(cell)?
            ))
        })
        .collect();
    footer.extend(plot.cells.iter().filter_map(|cell| {
        Some(format!(
            "{} {}",
            table::number(cell.record),
            table::ending(cell.record)?
        ))
    }));
    Table {
        title: heading(plot),
        alerts: left_out(plot).into_iter().collect(),
        grids: vec![Grid { columns, rows }],
        footer,
        ..Table::default()
    }
}

/// Which cells these are.
pub(super) fn heading(plot: &Plot) -> String {
    let cells = plot.cells.iter();
    let numbers = cells.map(|cell| cell.record.cell.execution_count);
    format!(
        "cells {}: {} tracked cells",
        ranges(numbers),
        plot.cells.len()
    )
}

/// That there are more, if there are.
pub(super) fn left_out(plot: &Plot) -> Option<String> {
    let latest = plot.cells.len();
    let before = plot.left_out;
    (before > 0).then(|| format!("the latest {latest}: there is no room for {before} before them"))
}
