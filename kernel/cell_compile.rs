//! Compiles the crate that evcxr makes of a cell, in Cargo's place where Cargo would only start rustc
//! as it did for the cell before.
//!
//! Cargo needs 20 ms to find out that only `src/lib.rs` has changed, the C compiler 10 ms to call the
//! linker, and rustc more than both to compile once more what every cell has. So when Cargo starts
//! rustc for a cell, this program, which stands in for rustc, notes how; and when evcxr starts Cargo
//! for the next, this program, which stands in for Cargo, starts rustc so if nothing that Cargo looks
//! at has changed since.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cell_source;
use crate::dep_info;
use crate::exit;
use crate::files;
use crate::pins;
use crate::progress::CELL_CRATE;
use crate::support::Support;
use crate::type_probe;
use crate::workdir::{PREFIX, STAND_INS};

mod first;
mod key;

use first::First;
use key::{general_key, has_foreign_paths, hash_of_file, key};

/// Tells the stand-in for rustc what it is to note the invocation under.
const KEY: &str = "MEMTRACK_CELL_KEY";
/// Tells it the names of the variables that are not Cargo's.
const NAMES: &str = "MEMTRACK_CELL_VARIABLES";
/// Tells it the file in which to keep the invocation for later sessions.
const KEPT: &str = "MEMTRACK_CELL_KEPT";
/// Set by evcxr for those who stand in for rustc.
const WRAPPER: &str = "EVCXR_RUSTC_WRAPPER";
/// Where evcxr reads which library was made. Set by evcxr.
const LIBRARY: &str = "EVCXR_EXECUTION_SO_PATH";

/// The link to the folder of [`Support`], among the stand-ins.
pub const SUPPORT: &str = "support";
/// The link to the rustc that it was made for.
pub const TRUE_RUSTC: &str = "true-rustc";
/// There if values are to be shown by evcxr's own code: the user has chosen another format.
pub const EVCXR_DISPLAY: &str = "evcxr-display";

/// There while the kernel asks for types.
pub const TYPES: &str = "types";

/// Code longer than this, in bytes, is compiled as evcxr has it, in parts and incrementally: that
/// pays where there is much. Below it, it costs more than it saves.
const LONG: usize = 100_000;

const SOURCE: &str = "src/lib.rs";
const MANIFEST: &str = "Cargo.toml";

/// Stands for the folder of the cells' crate in what is kept for later sessions.
const CELLS: &str = "<cells>";

/// How Cargo starts rustc for a cell.
#[derive(Serialize, Deserialize)]
struct Invocation {
    /// What Cargo was asked and with what configuration.
    key: u64,
    /// The lock file.
    lock: u64,
    rustc: String,
    arguments: Vec<String>,
    /// What Cargo adds to the environment.
    variables: Vec<(String, String)>,
}

/// Where this process stands in for rustc and is to compile a cell: does it, and does not return.
/// Else does nothing.
pub fn as_rustc() {
    let Some(cells) = std::env::var_os("EVCXR_TMPDIR").map(PathBuf::from) else {
        return;
    };
    let wraps = std::env::var_os(WRAPPER).is_some();
    let key = std::env::var(KEY).ok().and_then(|key| key.parse().ok());
    if !wraps && key.is_none() {
        return;
    }
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some((rustc, arguments)) = given.split_first() else {
        return;
    };
    let texts: Option<Vec<String>> = arguments
        .iter()
        .map(|argument| argument.to_str().map(str::to_owned))
        .collect();
    if let (Some(rustc), Some(arguments)) = (rustc.to_str(), texts)
        && makes_cell(&arguments)
    {
        let invocation = Invocation {
            key: key.unwrap_or_default(),
            lock: hash_of_file(&cells.join(pins::FILE)),
            rustc: rustc.to_owned(),
            arguments,
            variables: variables_of_cargo(),
        };
        let kept = std::env::var_os(KEPT).map(PathBuf::from);
        let output = invocation.compile(&cells, kept.as_deref());
        if key.is_some() && output.as_ref().is_ok_and(|output| output.status.success()) {
            invocation.note(&cells, kept.as_deref());
        }
        pass_on(output, false);
    }
    if !wraps {
        // Only evcxr's own stand-in knows what to do with other crates; here it is not wanted.
        let error = Command::new(rustc).args(arguments).exec();
        eprintln!("memtrack-kernel: rustc cannot be started: {error}");
        std::process::exit(1);
    }
}

/// Where this process stands in for Cargo, in the folder of the cells' crate, and is to do what it
/// did for the last cell: does it, and does not return. Else has Cargo's children note what they do.
pub fn in_place_of_cargo(cells: &Path, arguments: &[OsString], cargo: &mut Command) {
    let probes = cells.with_file_name(STAND_INS).join(TYPES).exists();
    let Some(command) = arguments
        .iter()
        .position(|it| it == "build" || it == "check")
    else {
        return;
    };
    if arguments[command] == "check" && !probes || has_foreign_paths(cells) {
        return;
    }
    let mut arguments = arguments.to_vec();
    arguments[command] = "build".into();
    let arguments = &arguments[..];
    let key = key(cells, arguments);
    let noted = Invocation::read(&Invocation::file(cells))
        .filter(|noted| noted.key == key && noted.lock == hash_of_file(&cells.join(pins::FILE)));
    // Where one is noted, the session has begun and needs none of what is kept.
    let kept = match &noted {
        Some(_) => None,
        None => Invocation::kept(cells, arguments),
    };
    let known = noted.or_else(|| Invocation::of_earlier_session(kept.as_deref()?, cells));
    if let Some(invocation) = known {
        let output = match probes {
            true => invocation.tell_types(cells),
            false => invocation.compile(cells, kept.as_deref()),
        };
        pass_on(output, true);
    }
    if probes {
        std::process::exit(1);
    }
    let names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    cargo.env(KEY, key.to_string()).env(NAMES, names.join("\n"));
    if let Some(kept) = kept {
        cargo.env(KEPT, kept);
    }
    if std::env::var_os("RUSTC_WRAPPER").is_none()
        && let Ok(program) = std::env::current_exe()
    {
        cargo.env("RUSTC_WRAPPER", program);
    }
}

impl Invocation {
    fn file(cells: &Path) -> PathBuf {
        cells.with_file_name("cell.json")
    }

    fn read(file: &Path) -> Option<Invocation> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// How an earlier session started rustc for cells without dependencies.
    fn of_earlier_session(kept: &Path, cells: &Path) -> Option<Invocation> {
        let kept = Invocation::read(kept)?;
        Some(kept.with_each_text(|text| text.replace(CELLS, &cells.to_string_lossy())))
    }

    /// The file in which the invocation is kept for later sessions. `None` with dependencies.
    fn kept(cells: &Path, arguments: &[OsString]) -> Option<PathBuf> {
        let support = std::fs::read_link(cells.with_file_name(STAND_INS).join(SUPPORT)).ok()?;
        let manifest = std::fs::read_to_string(cells.join(MANIFEST)).ok()?;
        let key = general_key(cells, arguments);
        let has_none = manifest.trim_end().ends_with("[dependencies]");
        has_none.then(|| support.join(format!("cell-{key:016x}.json")))
    }

    fn with_each_text(mut self, change: impl Fn(&str) -> String) -> Invocation {
        for text in &mut self.arguments {
            *text = change(text);
        }
        for (_, text) in &mut self.variables {
            *text = change(text);
        }
        self
    }

    /// Notes it for the next cell, and where `kept` says for later sessions.
    fn note(self, cells: &Path, kept: Option<&Path>) {
        let write = |invocation: &Invocation, file: &Path| {
            files::write(file, |file| Ok(serde_json::to_writer(file, invocation)?))
        };
        let mut result = write(&self, &Invocation::file(cells));
        if let Some(kept) = kept
            && let Some(cells) = cells.to_str()
        {
            let general = self.with_each_text(|text| text.replace(cells, CELLS));
            // Another name for the folder, by way of a link, would lead into that of a dead kernel.
            if !general.arguments.iter().any(|it| it.contains(PREFIX)) {
                result = result.and(write(&general, kept));
            }
        }
        if let Err(error) = result {
            eprintln!("memtrack-kernel: cells are compiled by way of Cargo: {error:#}");
        }
    }

    /// Starts rustc, a second time where the first failed for what was changed here. Where the
    /// session begins, an earlier one may have done it: `kept` is the file in which it has kept how.
    fn compile(&self, cells: &Path, kept: Option<&Path>) -> Result<Output> {
        let stand_ins = cells.with_file_name(STAND_INS);
        let support = self.support(&stand_ins);
        let source = cells.join(SOURCE);
        let text = cell_source::read(&source)?;
        let library =
            Path::new(self.folder().unwrap_or_default()).join(format!("lib{CELL_CRATE}.so"));
        let tell = || match std::env::var_os(LIBRARY) {
            Some(file) => std::fs::write(file, library.as_os_str().as_encoded_bytes()),
            None => Ok(()),
        };
        let session = cells.parent().unwrap_or(cells);
        let first = kept.and_then(|kept| First::of(kept, &text, session));
        if let Some(first) = &first
            && first.provide(&library)
        {
            tell()?;
            return Ok(without_a_word());
        }
        let mut own = Vec::new();
        if let Some(support) = &support {
            let shorter = cell_source::with_compiled_runtime(&text);
            let shown = match stand_ins.join(EVCXR_DISPLAY).exists() {
                true => None,
                false => cell_source::with_display(shorter.as_ref().unwrap_or(&text)),
            };
            if let Some(changed) = shown.or(shorter) {
                std::fs::write(&source, changed)?;
                let rlib = support.rlib();
                own.push("--extern".to_owned());
                own.push(format!("{}={}", cell_source::CRATE, rlib.display()));
            }
        }
        let direct = support.as_ref().and_then(|it| it.linker()).filter(|_| {
            self.arguments
                .iter()
                .all(|it| it != "--extern" && !it.contains("linker") && !it.contains("link-arg"))
        });
        let linking: Vec<String> = direct.iter().flat_map(linker_arguments).collect();
        let is_long = text.len() > LONG;
        let run = |own: &[String], linking: &[String]| self.run(cells, is_long, own, linking);
        let mut output = run(&own, &linking)?;
        let messages = String::from_utf8_lossy(&output.stderr);
        if !own.is_empty()
            && !output.status.success()
            && !cell_source::is_about_variables(&messages)
        {
            std::fs::write(&source, &text)?;
            own.clear();
            output = run(&own, &linking)?;
        }
        if direct.is_some() && String::from_utf8_lossy(&output.stderr).contains("linking with `") {
            let again = run(&own, &[])?;
            // Where it fails the other way too, it is the user's code.
            if again.status.success()
                && let Some(support) = &support
            {
                support.forget_linker();
            }
            output = again;
        }
        if output.status.success() {
            tell()?;
            if let Some(first) = first {
                first.keep(&library);
            }
        }
        Ok(output)
    }

    /// Has rustc tell the types of variables, as errors.
    fn tell_types(mut self, cells: &Path) -> Result<Output> {
        let source = cells.join(SOURCE);
        let text = std::fs::read_to_string(&source).context("the code of the cell")?;
        let asking = type_probe::asking(&text).context("it does not keep variables")?;
        std::fs::write(&source, asking)?;
        for argument in &mut self.arguments {
            if argument.starts_with("--emit=") {
                "--emit=metadata".clone_into(argument);
            }
        }
        let mut output = self.run(cells, false, &["--cap-lints=allow".to_owned()], &[])?;
        output.stderr = type_probe::without_notes(&output.stderr);
        Ok(output)
    }

    fn run(
        &self,
        cells: &Path,
        is_long: bool,
        own: &[String],
        linking: &[String],
    ) -> Result<Output> {
        let mut command = Command::new(&self.rustc);
        command.current_dir(cells).stdin(Stdio::null());
        for name in [KEY, NAMES, KEPT] {
            command.env_remove(name);
        }
        // A jobserver that was Cargo's is gone.
        for name in ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"] {
            command.env_remove(name);
        }
        if let Some(folder) = self.folder() {
            std::fs::create_dir_all(folder)?;
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut given = self.arguments.iter().peekable();
        while let Some(argument) = given.next() {
            let replaced = argument == "-C"
                && given.peek().is_some_and(|it| {
                    it.starts_with("incremental=") || it.starts_with("codegen-units=")
                });
            if replaced && !is_long && !own.is_empty() {
                given.next();
            } else {
                command.arg(argument);
            }
        }
        if !is_long && !own.is_empty() {
            command.args(["-C", "codegen-units=1"]);
        }
        command.args(own).args(linking);
        command.output().context("rustc cannot be started")
    }

    /// What cells are linked with, if it is for this rustc.
    fn support(&self, stand_ins: &Path) -> Option<Support> {
        let rustc = stand_ins.join(TRUE_RUSTC).canonicalize().ok()?;
        let same = Path::new(&self.rustc).canonicalize().ok()? == rustc;
        let folder = std::fs::read_link(stand_ins.join(SUPPORT)).ok()?;
        same.then(|| Support::at(folder))
    }

    /// The folder for what rustc makes.
    fn folder(&self) -> Option<&str> {
        dep_info::value_of("--out-dir", &self.arguments)
    }
}

/// What rustc says where it has nothing to say.
fn without_a_word() -> Output {
    Output {
        status: ExitStatus::from_raw(0),
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

/// Whether rustc is to make a library of a cell, and not to look only for errors in it.
fn makes_cell(arguments: &[String]) -> bool {
    let named = arguments
        .windows(2)
        .any(|pair| pair[0] == "--crate-name" && pair[1] == CELL_CRATE);
    let links = arguments
        .iter()
        .any(|it| it.starts_with("--emit=") && it.contains("link"));
    named && links && arguments.iter().any(|it| it == SOURCE)
}

fn linker_arguments(linker: &crate::support::Linker) -> Vec<String> {
    let mut arguments = vec![
        "-C".to_owned(),
        format!("linker={}", linker.program.display()),
        "-C".to_owned(),
        "linker-flavor=ld".to_owned(),
    ];
    for folder in &linker.folders {
        arguments.push(format!("-Lnative={}", folder.display()));
    }
    arguments
}

/// What Cargo has added to the environment of this process.
fn variables_of_cargo() -> Vec<(String, String)> {
    let names = std::env::var(NAMES).unwrap_or_default();
    let names: BTreeSet<&str> = names.lines().collect();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !names.contains(name.as_str()))
        .filter(|(name, _)| ![KEY, NAMES, KEPT].contains(&name.as_str()))
        .filter(|(name, _)| !name.ends_with("MAKEFLAGS") && name != "LD_LIBRARY_PATH")
        .collect()
}

/// Ends as rustc has, or as Cargo would.
fn pass_on(output: Result<Output>, as_cargo: bool) -> ! {
    let output = output.unwrap_or_else(|error| {
        eprintln!("memtrack-kernel: {error:#}");
        std::process::exit(1);
    });
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    if let Some(signal) = output.status.signal() {
        if as_cargo {
            // As Cargo says it: it tells the user's interrupt from lack of memory.
            eprintln!(
                "process didn't exit successfully: rustc ({})",
                output.status
            );
        } else {
            exit::by_signal(signal);
        }
    }
    std::process::exit(output.status.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_from_a_cell_s_crate_is_compiled_here() {
        let of = |line: &str| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            makes_cell(&line)
        };
        assert!(of("--crate-name ctx src/lib.rs --emit=dep-info,link"));
        assert!(!of("--crate-name ctx src/lib.rs --emit=dep-info,metadata"));
        assert!(!of("--crate-name serde src/lib.rs --emit=dep-info,link"));
        assert!(!of("-vV"));
    }
}
