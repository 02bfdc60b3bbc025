//! The table of magics: each one's name, usage, help, example and parser stand together in
//! [`magics`], and everything else (errors, `--help`, `%lsmagic`, completion) is made from it.
//!
//! ```
//! use memtrack::magic::{self, Magic};
//! assert!(matches!(magic::parse("%memtrack", false), Ok(Magic::Overview)));
//! let error = magic::parse("%memtrack reprot", false).unwrap_err();
//! assert!(error.to_string().contains("did you mean `report`?"));
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};

use crate::budget::Budget;
use crate::export::Format;
use crate::ledger::CellRange;
use crate::report::SortKey;

mod completion;
mod entries;
mod error;
mod files;
mod package;

pub use completion::{Candidate, MagicCompletion, complete, in_home, inspect};
use entries::MAGICS;
pub use error::MagicError;
pub(crate) use error::nearest;
pub use package::{Device, Package, UseRequest};

/// What a magic line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Magic {
    /// Track this cell and show its table.
    Track(TrackOptions),
    /// Show the session so far, one line a cell.
    Overview,
    /// Track every following cell.
    On {
        /// Show each cell's whole table, not one line.
        full: bool,
    },
    /// Stop tracking every cell.
    Off,
    /// Show which cell used most.
    Report {
        /// By which number to sort, largest first.
        sort: SortKey,
        /// Only these cells; `None` for all.
        cells: Option<CellRange>,
    },
    /// Show a picture of what cells used over time.
    Plot {
        /// Only these cells; `None` for all.
        cells: Option<CellRange>,
    },
    /// Show two cells of this session side by side.
    Diff {
        /// The number of the first cell.
        first: u64,
        /// The number of the other.
        second: u64,
    },
    /// Show this session beside recorded runs: notebooks, exports or folders.
    Compare(Vec<PathBuf>),
    /// Write all records to a file.
    Export(Export),
    /// Fail unless the last tracked cell kept within the budget.
    Assert(Budget),
    /// Show what can be measured here.
    Doctor,
    /// Give freed heap back to the system.
    Trim,
    /// Bring a package.
    Use(UseRequest),
    /// List the magics.
    List,
    /// Show this text.
    Help(String),
}

/// How to track a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackOptions {
    /// A name for the cell.
    pub label: Option<String>,
    /// Show the resident memory by kind of page too.
    pub wide: bool,
    /// Show how its memory went over time, and put the samples into its record.
    pub timeline: bool,
    /// Show how things stand while the cell compiles and runs.
    pub live: bool,
    /// Run the cell this often and tell medians and spread; `None` for once.
    pub repeat: Option<u32>,
}

/// Where all records are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The file, as the user wrote it.
    pub path: PathBuf,
    /// The format that its ending tells.
    pub format: Format,
}

/// One magic of the table.
pub struct MagicEntry {
    /// The magic's own name, such as `%memtrack`.
    pub name: &'static str,
    /// The word after the name, such as `report`; `None` for the magic without one.
    pub subcommand: Option<&'static str>,
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// A line that is right.
    pub example: &'static str,
    arguments: fn(Command) -> Command,
    read: fn(&ArgMatches, has_code: bool) -> Result<Magic, String>,
}

const MEMTRACK: &str = "%memtrack";
/// Means the same as [`MEMTRACK`], for those who know cell magics by their two percent signs.
const MEMTRACK_CELL: &str = "%%memtrack";
const USE: &str = "%use";
const LSMAGIC: &str = "%lsmagic";

/// The table of all magics.
pub fn magics() -> &'static [MagicEntry] {
    MAGICS
}

/// The words with which a magic line can begin.
pub fn names() -> impl Iterator<Item = &'static str> {
    [MEMTRACK, MEMTRACK_CELL, USE, LSMAGIC].into_iter()
}

/// What `%lsmagic` shows.
pub fn list() -> String {
    let mut text = String::new();
    for entry in magics() {
        text += entry.usage;
        text.push('\n');
        text += &textwrap::fill(
            entry.help,
            textwrap::Options::new(96)
                .initial_indent("    ")
                .subsequent_indent("    "),
        );
        text.push('\n');
    }
    text + "\n%%memtrack means the same as %memtrack. Magics stand above all code of a cell.\n"
}

/// By name. To make one takes 0.2 ms, as long as to measure a cell, and a cell may have several magics.
static PARSERS: Mutex<BTreeMap<&'static str, Command>> = Mutex::new(BTreeMap::new());

/// Reads a magic line. `has_code` says whether the cell has code below its magics: `%memtrack`
/// tracks it, or shows the session so far where there is none.
///
/// # Errors
/// Where the line is no magic, with the nearest right word and the usage.
pub fn parse(line: &str, has_code: bool) -> Result<Magic, MagicError> {
    let words = shlex::split(line.trim()).ok_or_else(|| MagicError {
        problem: "a quote in this line is not closed".into(),
        suggestion: None,
        usage: entry_of(&[line]).usage.into(),
    })?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(name) = words
        .first()
        .and_then(|word| names().find(|name| name == word))
    else {
        return Err(error::unknown_magic(words.first().unwrap_or(&"")));
    };
    let entry = entry_of(&words);
    let parsed = {
        let mut parsers = PARSERS.lock().unwrap_or_else(|it| it.into_inner());
        let parser = parsers.entry(name).or_insert_with(|| command(name));
        parser.try_get_matches_from_mut(&words[1..])
    };
    match parsed {
        Ok(matches) => match (matches.subcommand(), entry.subcommand) {
            (Some((subcommand, _)), None) => Err(format!(
                "`{subcommand}` must be the first word after {name}, before any option"
            )),
            (Some((_, own)), Some(_)) => (entry.read)(own, has_code),
            (None, _) => (entry.read)(&matches, has_code),
        }
        .map_err(|problem| MagicError {
            problem,
            suggestion: None,
            usage: entry.usage.into(),
        }),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Ok(Magic::Help(error.render().to_string()))
        }
        Err(error) => Err(error::explain(&error, &words)),
    }
}

impl MagicEntry {
    /// The words with which a line of this magic begins, such as `%memtrack report`.
    pub fn words(&self) -> String {
        match self.subcommand {
            Some(subcommand) => format!("{} {subcommand}", self.name),
            None => self.name.into(),
        }
    }

    /// The options that this magic takes, such as `--sort`.
    pub fn options(&self) -> Vec<String> {
        let command = self.command();
        let names = command.get_arguments().filter_map(Arg::get_long);
        names
            .chain(["help"])
            .map(|name| format!("--{name}"))
            .collect()
    }

    fn command(&self) -> Command {
        let command = Command::new(self.subcommand.unwrap_or(self.name))
            .about(self.help)
            .override_usage(self.usage)
            .after_help(format!("Example: {}", self.example))
            .term_width(96);
        (self.arguments)(command)
    }
}

/// The parser of the magic `name`, with its subcommands.
fn command(name: &str) -> Command {
    let name = if name == MEMTRACK_CELL {
        MEMTRACK
    } else {
        name
    };
    let mut entries = magics().iter().filter(|entry| entry.name == name);
    let root = entries.next().unwrap_or(&MAGICS[0]).command();
    entries
        .fold(root, |root, entry| root.subcommand(entry.command()))
        .no_binary_name(true)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Subcommands")
}

/// The entry that a line's words mean, as far as they can be understood.
fn entry_of(words: &[&str]) -> &'static MagicEntry {
    let magic = words.first().copied().unwrap_or(MEMTRACK);
    let of_magic = |entry: &&MagicEntry| match magic {
        LSMAGIC | USE => entry.name == magic,
        _ => entry.name == MEMTRACK,
    };
    let subcommand = words.get(1).copied();
    magics()
        .iter()
        .filter(of_magic)
        .find(|entry| entry.subcommand.is_some() && entry.subcommand == subcommand)
        .or_else(|| magics().iter().find(of_magic))
        .unwrap_or(&MAGICS[0])
}

#[cfg(test)]
mod tests;
