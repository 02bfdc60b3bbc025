//! Records as rows with the same columns each: CSV for spreadsheets, JSON Lines for databases.

use serde::Serialize;

use crate::archive::Recording;
use crate::record::{Memory, Record, Row, Scope};

/// One memory of one cell, with what is known of the cell: a line of the CSV. Sizes in bytes, times in
/// seconds; a field is empty where a value is unknown, and `unavailable` then says why.
#[derive(Debug, Serialize)]
struct FlatRow<'a> {
    /// The file or session.
    source: &'a str,
    execution_count: u64,
    label: Option<&'a str>,
    status: &'static str,
    cause: Option<&'a str>,
    started_at: &'a str,
    restarted: bool,
    code_hash: &'a str,
    compile_s: Option<f64>,
    run_s: Option<f64>,
    environment_id: &'a str,
    /// Empty, as all that follow but the overhead, where a record has no row.
    memory: Option<Memory>,
    scope: Option<Scope>,
    device_index: Option<u32>,
    device_uuid: Option<&'a str>,
    device_name: Option<&'a str>,
    before: Option<u64>,
    peak: Option<u64>,
    after: Option<u64>,
    kept: Option<i64>,
    temporary: Option<u64>,
    limit: Option<u64>,
    peak_method: Option<&'a str>,
    exact: Option<bool>,
    unavailable: Option<&'a str>,
    allocations: Option<u64>,
    allocated: Option<u64>,
    retained: Option<u64>,
    kernel_rss: Option<u64>,
    compiler_peak_rss: Option<u64>,
    tracking_s: f64,
}

impl<'a> FlatRow<'a> {
    fn new(source: &'a str, record: &'a Record, row: Option<&'a Row>) -> FlatRow<'a> {
        let device = row.and_then(|row| row.device.as_ref());
        FlatRow {
            source,
            execution_count: record.cell.execution_count,
            label: record.cell.label.as_deref(),
            status: record.cell.status.as_str(),
            cause: record.cell.cause.as_deref(),
            started_at: &record.cell.started_at,
            restarted: record.cell.restarted,
            code_hash: &record.cell.code_hash,
            compile_s: record.duration_s.compile,
            run_s: record.duration_s.run,
            environment_id: &record.environment.id,
            memory: row.map(|row| row.memory),
            scope: row.map(|row| row.scope),
            device_index: device.map(|device| device.index),
            device_uuid: device.and_then(|device| device.uuid.as_deref()),
            device_name: device.map(|device| device.name.as_str()),
            before: row.and_then(|row| row.before),
            peak: row.and_then(|row| row.peak),
            after: row.and_then(|row| row.after),
            kept: row.and_then(|row| record.kept(row)),
            temporary: row.and_then(|row| record.temporary(row)),
            limit: row.and_then(|row| row.limit),
            peak_method: row.and_then(|row| row.peak_method.as_deref()),
            exact: row.map(|row| row.exact),
            unavailable: row.and_then(|row| row.unavailable.as_deref()),
            allocations: row.and_then(|row| row.allocations),
            allocated: row.and_then(|row| row.allocated),
            retained: row.and_then(|row| row.retained),
            kernel_rss: record.overhead.kernel_rss,
            compiler_peak_rss: record.overhead.compiler_peak_rss,
            tracking_s: record.overhead.tracking_s,
        }
    }
}

/// The records as CSV, one line for each memory of each cell; a record without rows has one line.
pub fn csv(recordings: &[Recording]) -> String {
    let rows = recordings.iter().flat_map(|recording| {
        recording.records.iter().flat_map(move |record| {
            let none = record.rows.is_empty().then_some(None);
            let rows = record.rows.iter().map(Some).chain(none);
            rows.map(move |row| FlatRow::new(&recording.name, record, row))
        })
    });
    to_csv(rows)
}

/// The records as JSON Lines, one record a line. Where `with_source`, each line tells its file in
/// `source`. A record with its environment's facts comes before those without, in each file.
pub fn json_lines(recordings: &[Recording], with_source: bool) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
        #[serde(flatten)]
        record: &'a Record,
    }
    let mut text = String::new();
    for recording in recordings {
        for record in &recording.records {
            let source = with_source.then_some(recording.name.as_str());
            push_line(&mut text, &Line { source, record });
        }
    }
    text
}

/// Adds `value` as one line of JSON.
pub(crate) fn push_line(text: &mut String, value: &impl Serialize) {
    // Only a map whose keys are no strings could fail, and there is none.
    if let Ok(line) = serde_json::to_string(value) {
        text.push_str(&line);
        text.push('\n');
    }
}

/// Rows as CSV, with a header. A text that a spreadsheet would take for a formula gets an apostrophe
/// before it, as spreadsheets write such texts themselves.
pub(crate) fn to_csv<T: Serialize>(rows: impl Iterator<Item = T>) -> String {
    let mut plain = csv::Writer::from_writer(Vec::new());
    for row in rows {
        // Writing to memory cannot fail, and every row has the same fields.
        let _ = plain.serialize(row);
    }
    let plain = plain.into_inner().unwrap_or_default();
    let mut guarded = csv::Writer::from_writer(Vec::new());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(plain.as_slice());
    for record in reader.records().flatten() {
        let _ = guarded.write_record(record.iter().map(guard));
    }
    String::from_utf8(guarded.into_inner().unwrap_or_default()).unwrap_or_default()
}

fn guard(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula && field.parse::<f64>().is_err() {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_a_text_and_a_number_a_number() {
        let fields = [
            "=1+2",
            "-1+cmd|' /C calc'!A0",
            "@SUM(A1)",
            "+a",
            "-12",
            "a=b",
            "\t=1",
        ];
        let guarded = [
            "'=1+2",
            "'-1+cmd|' /C calc'!A0",
            "'@SUM(A1)",
            "'+a",
            "-12",
            "a=b",
            "'\t=1",
        ];
        assert_eq!(fields.map(guard), guarded);
    }
}
