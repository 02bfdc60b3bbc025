//! What a reader sees of a record, before it is drawn: one [`Table`] that [`crate::text`] and
//! [`crate::html`] render.

use crate::record::{CellStatus, Memory, Record, Row, Scope};
use crate::timeline::sparklines;
use crate::units;

mod details;
mod repeats;

pub(crate) use details::quiet_gpus;

/// Stands where there is no number.
pub const ABSENT: &str = "—";

/// Something to show: a title, alerts, grids of numbers and the lines below them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Which cell or session this is.
    pub title: String,
    /// What the reader must not miss, such as how a cell died.
    pub alerts: Vec<String>,
    /// The numbers.
    pub grids: Vec<Grid>,
    /// Why numbers are absent, each with the mark that stands in the grid.
    pub footnotes: Vec<String>,
    /// Remarks of less weight.
    pub footer: Vec<String>,
}

/// Numbers in rows and columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grid {
    /// The heads of the columns.
    pub columns: Vec<Column>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Entry>>,
}

/// The head of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Whether it holds words, which may be wrapped, and not numbers, which may not.
    pub is_text: bool,
}

/// One field of a grid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What stands there.
    pub text: String,
    /// How much it matters.
    pub weight: Weight,
    /// More about it, shown where the pointer rests on it.
    pub hint: Option<String>,
    /// For a number that says how much of a limit is used, that in percent: the HTML draws it as a
    /// bar.
    pub share: Option<u8>,
}

/// How much something matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weight {
    /// As much as the rest.
    #[default]
    Normal,
    /// The number to look at.
    Strong,
    /// Little.
    Faint,
    /// It tells that something went wrong.
    Wrong,
    /// It is drawn with characters of equal width.
    Drawn,
}

impl Column {
    /// A column of numbers.
    pub const fn number(name: &'static str) -> Column {
        Column {
            name,
            is_text: false,
        }
    }

    /// A column of words.
    pub const fn words(name: &'static str) -> Column {
        Column {
            name,
            is_text: true,
        }
    }
}

impl Entry {
    /// A field that matters as much as the rest.
    pub fn new(text: impl Into<String>) -> Entry {
        Entry {
            text: text.into(),
            ..Entry::default()
        }
    }

    /// The number to look at.
    pub fn strong(text: impl Into<String>) -> Entry {
        Entry {
            weight: Weight::Strong,
            ..Entry::new(text)
        }
    }

    /// A field that matters little.
    pub fn faint(text: impl Into<String>) -> Entry {
        Entry {
            weight: Weight::Faint,
            ..Entry::new(text)
        }
    }

    /// A field that tells that something went wrong.
    pub fn wrong(text: impl Into<String>) -> Entry {
        Entry {
            weight: Weight::Wrong,
            ..Entry::new(text)
        }
    }

    /// A drawing in characters of equal width.
    pub fn drawn(text: impl Into<String>) -> Entry {
        Entry {
            weight: Weight::Drawn,
            ..Entry::new(text)
        }
    }

    /// A number, or [`ABSENT`].
    pub fn or_absent(text: Option<String>) -> Entry {
        text.map_or_else(|| Entry::faint(ABSENT), Entry::new)
    }

    /// A difference or an amount, faint where it says that nothing happened, or [`ABSENT`].
    pub(crate) fn change(text: Option<String>) -> Entry {
        match text {
            Some(text) if text == units::NOISE || text == "0 B" => Entry::faint(text),
            text => Entry::or_absent(text),
        }
    }
}

/// The heads of a cell's numbers; `first` is above the names of the memories.
fn columns(first: &'static str) -> [Column; 8] {
    [
        Column::words(first),
        Column::number("before"),
        Column::number("peak"),
        Column::number("after"),
        Column::number("kept"),
        Column::number("temporary"),
        Column::number("of limit"),
        Column::words("how"),
    ]
}

impl Table {
    /// The table of one tracked cell. `wide` adds the resident memory by kind of page.
    pub fn of_record(record: &Record, wide: bool) -> Table {
        let mut table = Table {
            title: title(record),
            alerts: alerts(record),
            ..Table::default()
        };
        let mut grid = Grid {
            columns: columns("").into(),
            rows: Vec::new(),
        };
        let quiet = quiet_gpus(record);
        let shown: Vec<&Row> = record
            .rows
            .iter()
            .filter(|row| row.device.as_ref().is_none_or(|it| !quiet.contains(&it)))
            .collect();
        let reasons = reasons(&shown);
        let lead = details::lead(record);
        for row in &shown {
            let mark = reasons
                .iter()
                .position(|(reason, _)| Some(reason) == row.unavailable.as_ref())
                .map(|index| format!("[{}]", index + 1));
            let leads = lead.is_some_and(|lead| std::ptr::eq(lead, *row));
            grid.rows.push(entries(record, row, leads, mark.as_deref()));
        }
        table.footnotes = reasons
            .iter()
            .enumerate()
            .map(|(index, (reason, labels))| {
                format!("[{}] {}: {}", index + 1, labels.join(", "), clean(reason))
            })
            .collect();
        if !grid.rows.is_empty() {
            table.grids.push(grid);
        }
        let timeline = record.timeline.as_ref();
        table
            .grids
            .extend(timeline.and_then(|timeline| sparklines(record, timeline)));
        if wide {
            let splits = record.rows_of(Memory::Ram, Scope::Process);
            table
                .grids
                .extend(splits.map(|row| details::split_grid(record, row)));
        }
        table.footer = details::footer(record, wide);
        if !quiet.is_empty() {
            let labels: Vec<String> = quiet.iter().map(|device| device.label()).collect();
            table.footer.insert(
                0,
                format!(
                    "not used and not changed by this cell: {}",
                    labels.join(", ")
                ),
            );
        }
        if let Some(repeats) = &record.repeats {
            repeats::add(&mut table, repeats, &shown);
        }
        table
    }
}

/// Why numbers are absent, each reason once with the rows that it is about.
fn reasons(rows: &[&Row]) -> Vec<(String, Vec<String>)> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let Some(reason) = &row.unavailable else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, labels)) => labels.push(row.label()),
            None => reasons.push((reason.clone(), vec![row.label()])),
        }
    }
    reasons
}

/// The number in a cell's prompt, as the prompt writes it.
pub(crate) fn number(record: &Record) -> String {
    format!("[{}]", record.cell.execution_count)
}

/// The number in a cell's prompt and its label.
pub(crate) fn title(record: &Record) -> String {
    match &record.cell.label {
        Some(label) => format!("{} {}", number(record), clean(label)),
        None => number(record),
    }
}

/// How a cell that did not end well ended, such as `killed: SIGKILL`.
pub(crate) fn ending(record: &Record) -> Option<String> {
    let status = record.cell.status;
    match (&record.cell.cause, status) {
        (_, CellStatus::Ok) => None,
        (Some(cause), _) => Some(format!("{}: {}", status.as_str(), clean(cause))),
        (None, _) => Some(status.as_str().into()),
    }
}

/// One space in place of each run of white space and control characters, such as a line break,
/// which would spoil the layout; without variation selectors, which make the width of a text differ
/// from the sum of its characters' widths.
pub(crate) fn clean(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .map(|word| word.replace(|c: char| ('\u{fe00}'..='\u{fe0f}').contains(&c), ""))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn alerts(record: &Record) -> Vec<String> {
    let mut alerts: Vec<String> = ending(record).into_iter().collect();
    if record.cell.restarted {
        alerts.push(
            "restarted: the process that runs the cells was replaced, so no difference is shown"
                .into(),
        );
    }
    if !record.cell.lost_variables.is_empty() {
        let names = clean(&record.cell.lost_variables.join(", "));
        alerts.push(format!("lost variables: {names}"));
    }
    alerts.extend(warnings(record));
    alerts
}

fn warnings(record: &Record) -> impl Iterator<Item = String> {
    let warnings = record.warnings.iter();
    warnings.map(|warning| format!("warning: {}", clean(warning)))
}

/// The fields of a row; `leads` where its peak is the number to look at.
fn entries(record: &Record, row: &Row, leads: bool, mark: Option<&str>) -> Vec<Entry> {
    let floor = units::noise_floor(row.memory, row.scope);
    let bytes = |value: Option<u64>| Entry::or_absent(value.map(units::format_bytes));
    let method = row.peak_method.as_deref().map(clean);
    let peak = match row.peak {
        Some(peak) => Entry {
            hint: method.clone(),
            ..peak_entry(peak, leads)
        },
        None => Entry::faint(ABSENT),
    };
    // The column is narrow; the pointer shows the whole.
    let method = method.map(|method| method.replace("high-water mark", "high-water"));
    let how = match (method, mark) {
        (Some(method), Some(mark)) => format!("{method} {mark}"),
        (Some(method), None) => method,
        (None, Some(mark)) if row.before.or(row.after).is_some() => format!("no peak {mark}"),
        (None, Some(mark)) => format!("unavailable {mark}"),
        (None, None) => String::new(),
    };
    vec![
        Entry::new(row.label()),
        bytes(row.before),
        peak,
        bytes(row.after),
        kept(record, row),
        Entry::change(
            record
                .temporary(row)
                .map(|bytes| units::format_amount(bytes, floor)),
        ),
        Entry {
            hint: row
                .limit
                .map(|limit| format!("limit {}", units::format_bytes(limit))),
            share: row
                .percent_of_limit()
                .map(|percent| percent.clamp(0.0, 100.0).round() as u8),
            ..Entry::or_absent(row.percent_of_limit().map(units::format_percent))
        },
        Entry {
            hint: row.unavailable.as_deref().map(clean),
            ..Entry::faint(how)
        },
    ]
}

fn peak_entry(peak: u64, leads: bool) -> Entry {
    let text = units::format_bytes(peak);
    match leads {
        true => Entry::strong(text),
        false => Entry::new(text),
    }
}

/// What a row kept, `restarted` where that cannot be told, or [`ABSENT`].
pub(crate) fn kept(record: &Record, row: &Row) -> Entry {
    if record.cell.restarted {
        return Entry::faint("restarted");
    }
    let floor = units::noise_floor(row.memory, row.scope);
    Entry::change(
        record
            .kept(row)
            .map(|bytes| units::format_difference(bytes, floor)),
    )
}

/// One cell in one line, its parts to be joined by ` · `: what [`crate::text::compact`] and
/// [`crate::html::compact`] draw.
pub fn compact(record: &Record) -> Vec<Vec<Entry>> {
    let mut parts = Vec::new();
    let host = record.rows.iter().filter(|row| {
        matches!(
            (row.memory, row.scope),
            (Memory::Ram | Memory::Heap, Scope::Process) | (Memory::Ram, Scope::Children)
        )
    });
    // A GPU that the process did not touch is no news.
    let gpus = record.vram_of_process().filter(|row| row.peak != Some(0));
    let lead = details::lead(record);
    for row in host.chain(gpus) {
        let Some(peak) = row.peak else {
            parts.push(vec![Entry::faint(format!("{} unavailable", row.label()))]);
            continue;
        };
        let mut part = vec![
            Entry::new(format!("{} peak ", row.label())),
            peak_entry(peak, lead.is_some_and(|lead| std::ptr::eq(lead, row))),
        ];
        let kept = kept(record, row);
        // "Kept" of less than nothing would read wrongly in a sentence.
        let said = match kept.text.strip_prefix('-') {
            Some(freed) => format!(" (freed {freed})"),
            None if record.cell.restarted => format!(" ({})", kept.text),
            None => format!(" (kept {})", kept.text),
        };
        part.extend((kept.text != ABSENT).then_some(Entry { text: said, ..kept }));
        parts.push(part);
    }
    if let Some(run) = record.duration_s.run {
        parts.push(vec![Entry::faint(units::format_seconds(run))]);
    }
    if let Some(ending) = ending(record) {
        parts.push(vec![Entry::wrong(ending)]);
    }
    parts.extend(warnings(record).map(|warning| vec![Entry::wrong(warning)]));
    parts.insert(0, vec![Entry::new(title(record))]);
    parts
}
