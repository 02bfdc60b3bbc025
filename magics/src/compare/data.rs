//! A comparison for programs: one line for each quantity of each cell and each other recording.

use serde::Serialize;
use serde_json::Number;

use super::quantity::Unit;
use super::{Comparison, Line};
use crate::flat::{push_line, to_csv};
use crate::record::Record;

/// One quantity of a cell in two recordings. Values in `unit`; null where unknown, and then the reason
/// stands beside.
#[derive(Serialize)]
struct DataLine<'a> {
    baseline: &'a str,
    other: &'a str,
    baseline_environment: &'a str,
    other_environment: &'a str,
    execution_count: u64,
    label: Option<&'a str>,
    quantity: String,
    unit: &'static str,
    baseline_value: Option<Number>,
    other_value: Option<Number>,
    difference: Option<Number>,
    ratio: Option<f64>,
    /// What the difference must exceed to say something.
    noise: Option<Number>,
    differs: bool,
    baseline_status: &'static str,
    other_status: &'static str,
    baseline_unavailable: Option<&'a str>,
    other_unavailable: Option<&'a str>,
}

/// The comparison as CSV.
pub fn csv(comparison: &Comparison) -> String {
    to_csv(lines(comparison))
}

/// The comparison as JSON Lines.
pub fn json_lines(comparison: &Comparison) -> String {
    let mut text = String::new();
    lines(comparison).for_each(|line| push_line(&mut text, &line));
    text
}

fn lines<'a>(comparison: &'a Comparison) -> impl Iterator<Item = DataLine<'a>> {
    comparison.cells.iter().flat_map(move |cell| {
        cell.lines.iter().filter_map(move |line| {
            let base = cell.base()?.last();
            let other = cell.groups.get(line.other)?.as_ref()?.last();
            Some(data_line(comparison, line, base, other))
        })
    })
}

fn data_line<'a>(
    comparison: &'a Comparison,
    line: &'a Line,
    base: &'a Record,
    other: &'a Record,
) -> DataLine<'a> {
    let unit = line.key.unit();
    let number = |value: f64| match unit {
        Unit::Bytes => Some(Number::from(value as i64)),
        Unit::Seconds => Number::from_f64(value),
    };
    DataLine {
        baseline: &comparison.recordings[0].name,
        other: &comparison.recordings[line.other].name,
        baseline_environment: &base.environment.id,
        other_environment: &other.environment.id,
        execution_count: base.cell.execution_count,
        label: base.cell.label.as_deref(),
        quantity: line.key.name(),
        unit: match unit {
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
        },
        baseline_value: line.base_side.value().and_then(number),
        other_value: line.other_side.value().and_then(number),
        difference: line.difference().and_then(number),
        ratio: line.ratio(),
        noise: line.noise.and_then(number),
        differs: line.differs(),
        baseline_status: base.cell.status.as_str(),
        other_status: other.cell.status.as_str(),
        baseline_unavailable: line.base_side.reason(),
        other_unavailable: line.other_side.reason(),
    }
}
