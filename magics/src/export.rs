//! Records and comparisons in the formats of files.

use std::path::Path;

use crate::archive::Recording;
use crate::compare::{self, Comparison};
use crate::flat;
use crate::magic::nearest;
use crate::report::{self, SortKey};
use crate::table::Table;
use crate::{markdown, standalone, text};

/// A format of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Aligned text for a terminal.
    Text,
    /// A whole HTML page.
    Html,
    /// Markdown with tables as on GitHub.
    Markdown,
    /// One line for each memory of each cell.
    Csv,
    /// One record on each line.
    JsonLines,
}

/// Why a file's name does not tell what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It has an ending that means nothing here.
    #[error("`.{ending}` is no format to export to: use {FORMATS}{}", .nearest.as_ref().map(|it| format!("; did you mean `.{it}`?")).unwrap_or_default())]
    Unknown {
        /// The ending as written.
        ending: String,
        /// The nearest right one.
        nearest: Option<String>,
    },
    /// It has none.
    #[error("`{0}` has no ending that tells the format: use {FORMATS}")]
    Missing(String),
}

/// The endings of files that can be written, for messages.
const FORMATS: &str = ".jsonl, .csv, .md or .html";

impl Format {
    /// The endings of files that [`Format::of_file`] knows, with what they mean.
    pub const ENDINGS: [(&str, Format); 4] = [
        ("jsonl", Format::JsonLines),
        ("csv", Format::Csv),
        ("md", Format::Markdown),
        ("html", Format::Html),
    ];

    /// The format that a file's name tells.
    ///
    /// # Errors
    /// Where the name's ending is unknown or there is none, with those that are known.
    pub fn of_file(path: &Path) -> Result<Format, FormatError> {
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().into_owned())
            .ok_or_else(|| FormatError::Missing(path.display().to_string()))?;
        Format::ENDINGS
            .into_iter()
            .find(|(known, _)| ending.eq_ignore_ascii_case(known))
            .map(|(_, format)| format)
            .ok_or_else(|| FormatError::Unknown {
                nearest: nearest(&ending, Format::ENDINGS.iter().map(|(known, _)| *known))
                    .map(str::to_owned),
                ending,
            })
    }
}

/// A report on recordings. `remarks` tell what could not be read; CSV and JSON Lines have no place for
/// them.
pub fn report(
    recordings: &[Recording],
    sort: SortKey,
    remarks: &[String],
    format: Format,
) -> String {
    match format {
        Format::Csv => flat::csv(recordings),
        Format::JsonLines => flat::json_lines(recordings, true),
        Format::Text | Format::Html | Format::Markdown => {
            let mut table = report::of_recordings(recordings, sort);
            table.alerts.extend_from_slice(remarks);
            draw("memtrack report", &[table], format)
        }
    }
}

/// A comparison of recordings; `remarks` as for [`report()`].
pub fn comparison(comparison: &Comparison, remarks: &[String], format: Format) -> String {
    match format {
        Format::Csv => compare::csv(comparison),
        Format::JsonLines => compare::json_lines(comparison),
        Format::Text | Format::Html | Format::Markdown => {
            let mut table = comparison.table();
            table.alerts.extend_from_slice(remarks);
            draw("memtrack comparison", &[table], format)
        }
    }
}

/// A whole session: the cells at a glance and each one's table, or its records.
pub fn session(session: &Recording, format: Format) -> String {
    let recordings = std::slice::from_ref(session);
    match format {
        Format::Csv => flat::csv(recordings),
        Format::JsonLines => flat::json_lines(recordings, false),
        Format::Text | Format::Html | Format::Markdown => {
            let mut tables = vec![report::of_recordings(recordings, SortKey::default())];
            let cells = session.records.iter();
            tables.extend(cells.map(|record| Table::of_record(record, true)));
            draw(&session.name, &tables, format)
        }
    }
}

fn draw(title: &str, tables: &[Table], format: Format) -> String {
    let drawn: Vec<String> = match format {
        Format::Html => return standalone::page(title, tables),
        Format::Markdown => tables.iter().map(markdown::render).collect(),
        Format::Text | Format::Csv | Format::JsonLines => tables.iter().map(text::render).collect(),
    };
    drawn.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format() {
        for (name, format) in [
            ("x.jsonl", Format::JsonLines),
            ("a b/x.CSV", Format::Csv),
            ("x.tar.md", Format::Markdown),
            ("x.html", Format::Html),
        ] {
            assert_eq!(Format::of_file(Path::new(name)), Ok(format), "{name}");
        }
        for (name, reason) in [
            (
                "x",
                "`x` has no ending that tells the format: use .jsonl, .csv, .md or .html",
            ),
            (
                "x.json",
                "`.json` is no format to export to: use .jsonl, .csv, .md or .html; did you mean `.jsonl`?",
            ),
            (
                "x.parquet",
                "`.parquet` is no format to export to: use .jsonl, .csv, .md or .html",
            ),
        ] {
            let error = Format::of_file(Path::new(name)).unwrap_err();
            assert_eq!(error.to_string(), reason);
        }
    }
}
