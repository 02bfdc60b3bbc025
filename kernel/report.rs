//! `memtrack-kernel report`: what the cells of executed notebooks used, of one or of hundreds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use memtrack::archive::Archive;
use memtrack::export::{self, Format};
use memtrack::report::SortKey;

use crate::files;
use crate::terminal::put;

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct ReportArgs {
    /// Executed notebooks, exports (.jsonl), or folders of notebooks.
    #[arg(required = true, value_name = "NOTEBOOK")]
    files: Vec<PathBuf>,
    /// By which number to sort, largest first.
    #[arg(long, value_enum, default_value = "peak")]
    sort: SortKey,
    #[command(flatten)]
    destination: Destination,
}

/// Where a result goes, and how it is written.
#[derive(clap::Args)]
pub struct Destination {
    /// How the result is written. Without it, the ending of the output file tells; else text.
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// The file to write. Without it the result is printed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The formats as the command line names them.
#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// Aligned text for a terminal.
    Text,
    /// A whole HTML page.
    Html,
    /// Markdown.
    Md,
    /// One line for each memory of each cell.
    Csv,
    /// One record on each line, its file in `source`.
    Jsonl,
}

impl Destination {
    /// The format that is asked for.
    ///
    /// # Errors
    /// Where the output's name does not tell it, or nothing can be written there.
    pub fn format(&self) -> Result<Format> {
        if let Some(output) = &self.output {
            files::check_writable(output)?;
        }
        Ok(match (self.format, &self.output) {
            (Some(FormatName::Text), _) => Format::Text,
            (Some(FormatName::Html), _) => Format::Html,
            (Some(FormatName::Md), _) => Format::Markdown,
            (Some(FormatName::Csv), _) => Format::Csv,
            (Some(FormatName::Jsonl), _) => Format::JsonLines,
            (None, Some(output)) if output.extension().is_some_and(|it| it == "txt") => {
                Format::Text
            }
            (None, Some(output)) => Format::of_file(output)?,
            (None, None) => Format::Text,
        })
    }

    /// Prints or writes the result, and tells what could not be read where the result does not.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn deliver(&self, result: &str, format: Format, remarks: &[String]) -> Result<()> {
        if matches!(format, Format::Csv | Format::JsonLines) || self.output.is_some() {
            for remark in remarks {
                eprintln!("memtrack-kernel: {remark}");
            }
        }
        match &self.output {
            Some(output) => {
                files::write(output, |file| Ok(file.write_all(result.as_bytes())?))?;
                eprintln!("written to {}", output.display());
            }
            None => put(result),
        }
        Ok(())
    }
}

/// Reports what the cells used. The exit code is 1 if a file could not be read.
///
/// # Errors
/// Where no file has a record, or the result cannot be written.
pub fn report(arguments: &ReportArgs) -> Result<ExitCode> {
    let format = arguments.destination.format()?;
    let archive = Archive::open(&arguments.files);
    let remarks = archive.remarks();
    if archive.recordings.is_empty() {
        bail!("there is nothing to report. {}", remarks.join("\n"));
    }
    let result = export::report(&archive.recordings, arguments.sort, &remarks, format);
    arguments.destination.deliver(&result, format, &remarks)?;
    Ok(ExitCode::from(u8::from(!archive.failures.is_empty())))
}
