//! The table of magics: each one's name, usage, help, example and parser stand together in
//! [`magics`], and everything else (errors, `--help`, `%lsmagic`, completion) is made from it.
//!
//! ```
//! use memtrack::magic::{self, Magic};
//! assert!(matches!(magic::parse("%memtrack", false), Ok(Magic::Overview)));
//! let error = magic::parse("%memtrack reprot", false).unwrap_err();
//! assert!(error.to_string().contains("did you mean `report`?"));
//! ```

use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, value_parser};

use crate::budget::Budget;
use crate::ledger::CellRange;
use crate::report::SortKey;

mod completion;
mod error;
mod package;

pub use completion::{Candidate, MagicCompletion, complete, inspect};
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

static MAGICS: [MagicEntry; 9] = [
    MagicEntry {
        name: MEMTRACK,
        subcommand: None,
        usage: "%memtrack [--label TEXT] [--wide]",
        help: "Above Rust code: tracks this cell and shows its table. \
               Alone in a cell: shows the session so far, one line a cell.",
        example: "%memtrack --label load --wide",
        arguments: |command| {
            command
                .arg(option("label", "TEXT").help("A name for the cell in tables and reports"))
                .arg(flag("wide").help("Show resident memory by kind: anon, file, shmem, swap"))
        },
        read: read_track,
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("on"),
        usage: "%memtrack on [--full]",
        help: "Tracks every cell from here on, one line each.",
        example: "%memtrack on --full",
        arguments: |command| command.arg(flag("full").help("Show each cell's whole table")),
        read: |matches, _| {
            Ok(Magic::On {
                full: matches.get_flag("full"),
            })
        },
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("off"),
        usage: "%memtrack off",
        help: "Stops tracking every cell.",
        example: "%memtrack off",
        arguments: |command| command,
        read: |_, _| Ok(Magic::Off),
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("report"),
        usage: "%memtrack report [--sort peak|kept|allocated] [--cells A:B]",
        help: "Shows which tracked cell used most, and of what.",
        example: "%memtrack report --sort kept --cells 3:7",
        arguments: |command| {
            command
                .arg(
                    option("sort", "KEY")
                        .value_parser(value_parser!(SortKey))
                        .default_value("peak")
                        .help("By which number to sort, largest first"),
                )
                .arg(
                    option("cells", "A:B")
                        .value_parser(value_parser!(CellRange))
                        .help("Only the cells with these numbers; A: and :B are open ranges"),
                )
        },
        read: |matches, _| {
            Ok(Magic::Report {
                sort: matches.get_one("sort").copied().unwrap_or_default(),
                cells: matches.get_one("cells").copied(),
            })
        },
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("assert"),
        usage: "%memtrack assert EXPRESSION",
        help: "Fails the cell if the last tracked cell broke the budget.",
        example: "%memtrack assert ram.peak < 2GiB and heap.kept == 0",
        arguments: |command| {
            command.arg(
                Arg::new("expression")
                    .value_name("EXPRESSION")
                    .num_args(1..)
                    .required(true)
                    .trailing_var_arg(true)
                    .help(
                        "A quantity such as ram.peak, heap.kept or vram.after, one of \
                         < <= > >= == !=, and an amount, a percentage of the limit or a count; \
                         `and` joins several",
                    ),
            )
        },
        read: |matches, _| {
            let words: Vec<&str> = matches
                .get_many::<String>("expression")
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            Budget::parse(&words.join(" "))
                .map(Magic::Assert)
                .map_err(|error| error.to_string())
        },
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("doctor"),
        usage: "%memtrack doctor",
        help: "Shows what this machine lets us measure, what not, why, and how to fix it.",
        example: "%memtrack doctor",
        arguments: |command| command,
        read: |_, _| Ok(Magic::Doctor),
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("trim"),
        usage: "%memtrack trim",
        help: "Gives freed heap back to the system, and shows how much.",
        example: "%memtrack trim",
        arguments: |command| command,
        read: |_, _| Ok(Magic::Trim),
    },
    MagicEntry {
        name: USE,
        subcommand: None,
        usage: "%use candle|cudarc|workloads[@VERSION] [--cpu] [--cuda]",
        help: "Brings a package in the form that fits this machine, and shows the lines that would \
               do the same by hand. Alone or above Rust code, which can use it.",
        example: "%use candle@0.11.1 --cpu",
        arguments: package::arguments,
        read: |matches, _| package::read(matches).map(Magic::Use),
    },
    MagicEntry {
        name: LSMAGIC,
        subcommand: None,
        usage: "%lsmagic",
        help: "Lists the magics.",
        example: "%lsmagic",
        arguments: |command| command,
        read: |_, _| Ok(Magic::List),
    },
];

/// The table of all magics.
pub fn magics() -> &'static [MagicEntry] {
    &MAGICS
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
    match command(name).try_get_matches_from(&words[1..]) {
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

fn read_track(matches: &ArgMatches, has_code: bool) -> Result<Magic, String> {
    let options = TrackOptions {
        label: matches.get_one::<String>("label").cloned(),
        wide: matches.get_flag("wide"),
    };
    match (has_code, options == TrackOptions::default()) {
        (true, _) => Ok(Magic::Track(options)),
        (false, true) => Ok(Magic::Overview),
        (false, false) => Err(
            "there is no code below this line to track: put the code into the same cell, under it"
                .into(),
        ),
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

fn option(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

impl ValueEnum for SortKey {
    fn value_variants<'a>() -> &'a [SortKey] {
        &[SortKey::Peak, SortKey::Kept, SortKey::Allocated]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            SortKey::Peak => PossibleValue::new("peak").help("Highest process RAM"),
            SortKey::Kept => PossibleValue::new("kept").help("Process RAM left behind"),
            SortKey::Allocated => {
                PossibleValue::new("allocated").help("Bytes handed out by malloc")
            }
        })
    }
}

#[cfg(test)]
mod tests;
