//! The entries of the table of magics.

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, ArgMatches, ValueEnum, value_parser};

use super::{LSMAGIC, MEMTRACK, Magic, MagicEntry, TrackOptions, USE, files, package};
use crate::budget::Budget;
use crate::ledger::CellRange;
use crate::repeat;
use crate::report::SortKey;

/// Every magic, in the order of `%lsmagic`. The first of each name is the one without a subcommand.
pub(super) static MAGICS: &[MagicEntry] = &[
    MagicEntry {
        name: MEMTRACK,
        subcommand: None,
        usage: "%memtrack [--label TEXT] [--wide] [--timeline] [--live] [--repeat N]",
        help: "Above Rust code: tracks this cell and shows its table. \
               Alone in a cell: shows the session so far, one line a cell.",
        example: "%memtrack --label load --live --repeat 5",
        arguments: |command| {
            command
                .arg(option("label", "TEXT").help("A name for the cell in tables and reports"))
                .arg(flag("wide").help("Show resident memory by kind: anon, file, shmem, swap"))
                .arg(flag("timeline").help(
                    "Show how memory went over time, and put the samples into the cell's record",
                ))
                .arg(
                    flag("live").help("Show memory while the cell compiles and runs, in one place"),
                )
                .arg(
                    option("repeat", "N")
                        .value_parser(repeat::count)
                        .allow_negative_numbers(true)
                        .help("Run the cell N times and show the median and spread of each number"),
                )
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
        usage: "%memtrack report [--sort peak|kept|allocated|vram] [--cells A:B]",
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
        subcommand: Some("plot"),
        usage: "%memtrack plot [A:B]",
        help: "Draws what the tracked cells used over time: all of the session, or those with these \
               numbers.",
        example: "%memtrack plot 3:7",
        arguments: |command| {
            command.arg(
                Arg::new("cells")
                    .value_name("A:B")
                    .value_parser(value_parser!(CellRange))
                    .help("Only the cells with these numbers; 3 is one cell, A: and :B are open ranges"),
            )
        },
        read: |matches, _| {
            Ok(Magic::Plot {
                cells: matches.get_one("cells").copied(),
            })
        },
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("diff"),
        usage: "%memtrack diff A B",
        help: "Shows two tracked cells of this session side by side.",
        example: "%memtrack diff 3 5",
        arguments: files::diff_arguments,
        read: |matches, _| Ok(files::read_diff(matches)),
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("compare"),
        usage: "%memtrack compare FILE [FILE ...]",
        help: "Shows this session beside recorded runs of other machines: executed notebooks \
               (.ipynb), exports (.jsonl), or folders of notebooks. Differences that exceed the \
               noise are marked.",
        example: "%memtrack compare colab.ipynb",
        arguments: files::compare_arguments,
        read: |matches, _| Ok(files::read_compare(matches)),
    },
    MagicEntry {
        name: MEMTRACK,
        subcommand: Some("export"),
        usage: "%memtrack export FILE.{jsonl,csv,md,html}",
        help: "Writes the records of all tracked cells to a file. One that exists is replaced.",
        example: "%memtrack export session.jsonl",
        arguments: files::export_arguments,
        read: |matches, _| files::read_export(matches),
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

fn read_track(matches: &ArgMatches, has_code: bool) -> Result<Magic, String> {
    let options = TrackOptions {
        label: matches.get_one::<String>("label").cloned(),
        wide: matches.get_flag("wide"),
        timeline: matches.get_flag("timeline"),
        live: matches.get_flag("live"),
        repeat: matches.get_one("repeat").copied(),
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

/// An option that takes a value.
fn option(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// An option without a value.
pub(super) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

impl ValueEnum for SortKey {
    fn value_variants<'a>() -> &'a [SortKey] {
        &[
            SortKey::Peak,
            SortKey::Kept,
            SortKey::Allocated,
            SortKey::Vram,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            SortKey::Peak => PossibleValue::new("peak").help("Highest process RAM"),
            SortKey::Kept => PossibleValue::new("kept").help("Process RAM left behind"),
            SortKey::Allocated => {
                PossibleValue::new("allocated").help("Bytes handed out by malloc")
            }
            SortKey::Vram => PossibleValue::new("vram").help("GPU memory of the process"),
        })
    }
}
