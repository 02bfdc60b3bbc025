//! `memtrack-kernel compare`: recorded runs side by side, the first of them as the baseline.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use memtrack::archive::Archive;
use memtrack::compare::Comparison;
use memtrack::export;

use crate::report::Destination;

/// Arguments of `compare`.
#[derive(clap::Args)]
pub struct CompareArgs {
    /// Executed notebooks, exports (.jsonl), or folders of notebooks; the first is the baseline.
    #[arg(required = true, num_args = 1.., value_name = "NOTEBOOK")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    destination: Destination,
}

/// Compares recorded runs. The exit code is 1 if a file could not be read.
///
/// # Errors
/// Where there are not two runs to compare, the baseline cannot be read, or the result cannot be
/// written.
pub fn compare(arguments: &CompareArgs) -> Result<ExitCode> {
    let format = arguments.destination.format()?;
    // The baseline is the first file that was named, and not the first one that could be read.
    let (base, others) = arguments.files.split_at(1);
    let mut archive = Archive::open(base);
    if archive.recordings.is_empty() {
        bail!("there is no baseline. {}", archive.remarks().join("\n"));
    }
    let others = Archive::open(others);
    archive.recordings.extend(others.recordings);
    archive.empty.extend(others.empty);
    archive.failures.extend(others.failures);
    let remarks = archive.remarks();
    if archive.recordings.len() < 2 {
        bail!(
            "there is only one recorded run, name two or more. {}",
            remarks.join("\n")
        );
    }
    let comparison = Comparison::new(&archive.recordings);
    let result = export::comparison(&comparison, &remarks, format);
    arguments.destination.deliver(&result, format, &remarks)?;
    Ok(ExitCode::from(u8::from(!archive.failures.is_empty())))
}
