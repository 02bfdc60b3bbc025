//! The magics that name recorded cells and files: `diff`, `compare` and `export`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use super::{Export, Magic};
use crate::export::Format;

/// The endings of files that can be compared.
pub(super) const RECORDED: [&str; 2] = ["ipynb", "jsonl"];

pub(super) fn diff_arguments(command: Command) -> Command {
    let cell = |name: &'static str| {
        Arg::new(name)
            .value_name(name)
            .required(true)
            .value_parser(|text: &str| {
                let number = text.trim_start_matches('[').trim_end_matches(']');
                number.parse::<u64>().map_err(|_| {
                    format!(
                        "`{text}` is not a cell's number: write the number in its prompt, such as 3"
                    )
                })
            })
    };
    command
        .arg(cell("A").help("The number of the cell that is the baseline"))
        .arg(cell("B").help("The number of the cell to hold against it"))
}

pub(super) fn read_diff(matches: &ArgMatches) -> Magic {
    let number = |name| matches.get_one::<u64>(name).copied().unwrap_or_default();
    Magic::Diff {
        first: number("A"),
        second: number("B"),
    }
}

pub(super) fn compare_arguments(command: Command) -> Command {
    command.arg(
        Arg::new("files")
            .value_name("FILE")
            .num_args(1..)
            .action(ArgAction::Append)
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("An executed notebook, an export, or a folder of notebooks"),
    )
}

pub(super) fn read_compare(matches: &ArgMatches) -> Magic {
    let files = matches.get_many::<PathBuf>("files");
    Magic::Compare(files.into_iter().flatten().cloned().collect())
}

pub(super) fn export_arguments(command: Command) -> Command {
    command.arg(
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help(
                "The file to write; its ending tells the format: .jsonl for databases, .csv for \
                 spreadsheets, .md and .html for readers",
            ),
    )
}

pub(super) fn read_export(matches: &ArgMatches) -> Result<Magic, String> {
    let path = matches.get_one::<PathBuf>("file").cloned();
    let path = path.unwrap_or_default();
    let format = Format::of_file(&path).map_err(|error| error.to_string())?;
    Ok(Magic::Export(Export { path, format }))
}

/// The endings of files that a magic takes; none where it takes no files.
pub(super) fn endings(subcommand: Option<&str>) -> Vec<&'static str> {
    match subcommand {
        Some("compare") => RECORDED.to_vec(),
        Some("export") => Format::ENDINGS.map(|(ending, _)| ending).to_vec(),
        _ => Vec::new(),
    }
}
