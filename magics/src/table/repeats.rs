//! The table of several runs of one cell: medians, and by how much the runs differ.

use super::{Entry, Grid, Table, Weight, columns};
use crate::record::Row;
use crate::repeat::{RepeatRow, Repeats, Statistic};
use crate::units;

/// A memory over all runs, and what the run that is shown tells of it.
struct Line<'a> {
    row: &'a RepeatRow,
    limit: Option<u64>,
    how: Entry,
    /// That of the peak in the run that is shown: one number of a table is the one to look at.
    peak_weight: Weight,
}

/// How a statistic's numbers are written.
type Write<T> = fn(T, u64) -> String;

/// Makes the table of the run that is shown into one of all runs. Where a run failed, its own
/// numbers stay, and the medians of those before it come below.
pub(super) fn add(table: &mut Table, repeats: &Repeats, shown: &[&Row]) {
    let failed = repeats.completed < repeats.asked;
    let fields = |place: usize| table.grids.first()?.rows.get(place);
    let rows: Vec<Line> = repeats
        .rows
        .iter()
        .filter_map(|row| {
            let own = |other: &&Row| {
                (other.memory, other.scope, &other.device) == (row.memory, row.scope, &row.device)
            };
            match shown.iter().position(own) {
                Some(place) => Some(Line {
                    row,
                    limit: shown[place].limit,
                    how: fields(place)
                        .and_then(|fields| fields.last().cloned())
                        .unwrap_or_default(),
                    peak_weight: fields(place)
                        .and_then(|fields| Some(fields.get(2)?.weight))
                        .unwrap_or_default(),
                }),
                // A GPU that no run used, or a memory that only other runs have.
                None => (!row.beyond_noise().is_empty()).then(|| Line {
                    row,
                    limit: None,
                    how: Entry::faint("not in the run below"),
                    peak_weight: Weight::Normal,
                }),
            }
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let of = match repeats.completed {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    };
    if !failed {
        table.title = format!("{} · median of {of}", table.title);
        table.grids.remove(0);
    }
    let mut grids = vec![medians(&rows, failed)];
    if repeats.completed > 1 {
        grids.push(spreads(&rows));
    }
    let place = if failed { table.grids.len() } else { 0 };
    table.grids.splice(place..place, grids);
    let mut lines = vec![noise_line(&rows), times_line(repeats)];
    lines.push(match failed {
        false => format!(
            "run {} of {of} has the median peak of process RAM; its record is the cell's, and of it:",
            repeats.shown
        ),
        true => format!("of run {}, which ended the repeats:", repeats.shown),
    });
    lines.retain(|line| !line.is_empty());
    table.footer.splice(0..0, lines);
}

fn medians(rows: &[Line], failed: bool) -> Grid {
    let line = |line: &Line| {
        let Line { row, limit, .. } = line;
        let floor = units::noise_floor(row.memory, row.scope);
        let plain = |bytes: u64, _| units::format_bytes(bytes);
        let percent = row
            .peak
            .and_then(|peak| units::percent(peak.median, (*limit)?))
            .map(units::format_percent);
        vec![
            Entry::new(label(row)),
            median(row.before, floor, plain),
            Entry {
                weight: line.peak_weight,
                ..median(row.peak, floor, plain)
            },
            median(row.after, floor, plain),
            median(row.kept, floor, units::format_difference),
            median(row.temporary, floor, units::format_amount),
            Entry::or_absent(percent),
            line.how.clone(),
        ]
    };
    let mut grid = Grid {
        columns: columns(if failed { "median before it" } else { "" }).into(),
        rows: rows.iter().map(line).collect(),
    };
    if failed {
        // The last two are as in the rows above.
        grid.columns.truncate(6);
        grid.rows.iter_mut().for_each(|row| row.truncate(6));
    }
    grid
}

fn median<T: Copy>(value: Option<Statistic<T>>, floor: u64, write: Write<T>) -> Entry {
    Entry::change(value.map(|value| write(value.median, floor)))
}

/// Highest minus lowest of each number.
fn spreads(rows: &[Line]) -> Grid {
    let line = |Line { row, .. }: &Line| {
        let floor = units::noise_floor(row.memory, row.scope);
        let unsigned = |value: Option<Statistic<u64>>| match value {
            Some(value) => Entry {
                hint: Some(format!(
                    "{} to {}",
                    units::format_bytes(value.min),
                    units::format_bytes(value.max)
                )),
                ..Entry::change(Some(units::format_amount(value.spread(), floor)))
            },
            None => Entry::or_absent(None),
        };
        let kept = row.kept.map(|value| Entry {
            hint: Some(format!(
                "{} to {}",
                units::format_signed(value.min),
                units::format_signed(value.max)
            )),
            ..Entry::change(Some(units::format_amount(value.spread(), floor)))
        });
        vec![
            Entry::new(label(row)),
            unsigned(row.before),
            unsigned(row.peak),
            unsigned(row.after),
            kept.unwrap_or_else(|| Entry::or_absent(None)),
            unsigned(row.temporary),
        ]
    };
    Grid {
        columns: columns("highest − lowest")[..6].into(),
        rows: rows.iter().map(line).collect(),
    }
}

fn noise_line(rows: &[Line]) -> String {
    let varying: Vec<String> = rows
        .iter()
        .filter_map(|Line { row, .. }| {
            let columns: Vec<&str> = row.beyond_noise().iter().map(|(name, _)| *name).collect();
            (!columns.is_empty()).then(|| format!("{}: {}", label(row), columns.join(", ")))
        })
        .collect();
    match varying.is_empty() {
        true => "between the runs nothing differs by more than noise".into(),
        false => format!(
            "differs between runs by more than noise: {}",
            varying.join(" · ")
        ),
    }
}

/// Median, lowest and highest of both times.
fn times_line(repeats: &Repeats) -> String {
    let time = |name: &str, value: Option<Statistic<f64>>| {
        let value = value?;
        let seconds = units::format_seconds;
        Some(format!(
            "{name} {} ({} to {})",
            seconds(value.median),
            seconds(value.min),
            seconds(value.max)
        ))
    };
    let times = [
        time("run", repeats.run_s),
        time("compile", repeats.compile_s),
    ];
    times.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn label(row: &RepeatRow) -> String {
    let mut named = Row::empty(row.memory, row.scope);
    named.device = row.device.clone();
    named.label()
}
