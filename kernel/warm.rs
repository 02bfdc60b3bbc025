//! `memtrack-kernel warm`: compiles ahead what notebooks depend on, into the cache that later
//! sessions take it from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use memtrack::cell;

use crate::Parts;
use crate::bundle::pack::has_artifacts;
use crate::output::FrontEnd;
use crate::pins::{self, Pins};
use crate::run::{on_session_thread, progress, read, source};
use crate::session::{CellRequest, Session};
use crate::terminal::Terminal;
use crate::workdir::cache_dir;

/// Commands of evcxr that decide what is compiled and how.
const COMMANDS: [&str; 8] = [
    ":dep",
    ":opt",
    ":toolchain",
    ":linker",
    ":codegen_backend",
    ":build_env",
    ":allow_static_linking",
    ":offline",
];

/// Arguments of `warm`.
#[derive(clap::Args)]
pub struct WarmArgs {
    /// The notebooks whose `:dep` and `%use` lines are compiled.
    #[arg(required = true)]
    notebooks: Vec<PathBuf>,
}

/// What came of it.
pub struct Warmed {
    /// Something could not be read or compiled.
    pub failed: bool,
    /// The versions that were chosen for all notebooks.
    pub pins: Pins,
    /// When it began: what was compiled or used from then on is what the notebooks need.
    pub began: SystemTime,
}

/// Compiles ahead. The exit code is 1 if something failed.
///
/// # Errors
/// Where there can be no cache.
pub fn warm(arguments: WarmArgs, parts: Parts) -> Result<ExitCode> {
    let warmed = on_session_thread(parts, move |parts| warm_all(&arguments.notebooks, parts))??;
    Ok(ExitCode::from(u8::from(warmed.failed)))
}

/// Compiles what the notebooks need, one after the other, each as a session of its own would.
///
/// # Errors
/// Where there can be no cache.
pub fn warm_all(notebooks: &[PathBuf], parts: Parts) -> Result<Warmed> {
    let cache = cache_dir().context(
        "no cache folder is known: set MEMTRACK_CACHE_DIR to a folder that can be written",
    )?;
    let start = Instant::now();
    let before = entries(&cache);
    let mut warmed = Warmed {
        failed: false,
        pins: Pins::default(),
        began: SystemTime::now(),
    };
    let mut session = Session::new(parts);
    let mut done: Vec<(Vec<Step>, &Path)> = Vec::new();
    for path in notebooks {
        let name = path.display();
        let steps = match read(path) {
            Ok(notebook) => steps(&notebook),
            Err(error) => {
                progress(&format!("{error:#}"));
                warmed.failed = true;
                continue;
            }
        };
        if steps.is_empty() {
            progress(&format!("{name}: no :dep and no %use, nothing to compile"));
            continue;
        }
        let same = |(other, _): &&(Vec<Step>, &Path)| lines(other).eq(lines(&steps));
        if let Some((_, other)) = done.iter().find(same) {
            progress(&format!("{name}: the same as {}", other.display()));
            continue;
        }
        session.restart_engine();
        for step in &steps {
            progress(&format!("{name}, cell {}:", step.cell));
            warmed.failed |= !step.compile(&mut session, path);
        }
        if let Some(pins) = Pins::read(&session.lock_file())?
            && let Err(error) = pin(&pins, &cache, &mut warmed.pins)
        {
            warmed.failed = true;
            progress(&format!(
                "{name}: its versions are not pinned: {error:#}. To choose all anew, remove {} and \
                 warm all notebooks in one command.",
                cache.join(pins::FILE).display()
            ));
        }
        done.push((steps, path));
    }
    session.stop();
    let compiled = entries(&cache).difference(&before).count();
    progress(&format!(
        "{compiled} compiled and kept in {}, {:.1} s",
        cache.display(),
        start.elapsed().as_secs_f64()
    ));
    Ok(warmed)
}

/// Keeps the versions for later sessions.
fn pin(chosen: &Pins, cache: &Path, all: &mut Pins) -> Result<()> {
    all.merge(chosen)?;
    let file = cache.join(pins::FILE);
    let mut kept = Pins::read(&file)?.unwrap_or_default();
    kept.merge(chosen)?;
    kept.write(&file)
}

/// The names of the cache's entries that hold something compiled.
fn entries(cache: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(cache.join("evcxr"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| has_artifacts(&entry.path()))
        .map(|entry| entry.file_name())
        .collect()
}

/// What a cell says about dependencies.
#[derive(Debug, PartialEq)]
struct Step {
    /// The cell's number among the code cells, from 1.
    cell: usize,
    /// Its `%use` lines and commands, in order.
    lines: Vec<String>,
}

fn lines(steps: &[Step]) -> impl Iterator<Item = &String> {
    steps.iter().flat_map(|step| &step.lines)
}

/// The cells of a notebook that say something about dependencies.
fn steps(notebook: &serde_json::Value) -> Vec<Step> {
    let cells = notebook["cells"].as_array().into_iter().flatten();
    cells
        .filter(|cell| cell["cell_type"] == "code")
        .enumerate()
        .map(|(index, cell)| Step {
            cell: index + 1,
            lines: dependency_lines(&source(cell)),
        })
        .filter(|step| !step.lines.is_empty())
        .collect()
}

/// The lines of a cell that say what is compiled. Like evcxr, looks for commands only above the
/// first line of Rust.
fn dependency_lines(code: &str) -> Vec<String> {
    let cell = cell::split(code);
    let uses = cell
        .magics
        .iter()
        .map(|line| line.text.trim())
        .filter(|text| {
            let name = text.split_whitespace().next().unwrap_or_default();
            name.trim_start_matches('%') == "use"
        });
    let commands = cell
        .rust
        .lines()
        .map(str::trim)
        .take_while(|line| {
            line.is_empty() || [":", "!", "//"].iter().any(|it| line.starts_with(it))
        })
        .filter(|line| COMMANDS.contains(&line.split(' ').next().unwrap_or_default()));
    uses.chain(commands).map(str::to_owned).collect()
}

impl Step {
    /// Compiles what the cell needs. Where that fails, tries its lines one by one, and says which is
    /// to blame. False if one is.
    fn compile(&self, session: &mut Session, notebook: &Path) -> bool {
        let all = execute(session, &self.lines.join("\n"));
        let Err(error) = all else { return true };
        let mut blamed = false;
        for line in &self.lines {
            let failure = match &self.lines[..] {
                [_] => Err(error.clone()),
                _ => execute(session, line),
            };
            if failure.is_err() {
                blamed = true;
                progress(&format!(
                    "failed: {}, cell {}: {line}",
                    notebook.display(),
                    self.cell
                ));
            }
        }
        if !blamed {
            progress(&format!(
                "failed: {}, cell {}: its lines compile one by one, but not together",
                notebook.display(),
                self.cell
            ));
        }
        false
    }
}

/// Executes a cell. Its output, the error too, goes to the terminal.
fn execute(session: &mut Session, code: &str) -> Result<(), String> {
    let request = CellRequest {
        code: code.to_owned(),
        counted: true,
        user_expressions: Vec::new(),
    };
    let terminal = Arc::new(Terminal::new(session.begin(&request)));
    let front_end: Arc<dyn FrontEnd> = terminal.clone();
    let outcome = session.execute(&request, &front_end);
    terminal.take_outputs();
    outcome.error.map_or(Ok(()), |error| Err(error.evalue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_evcxr_would_take_for_commands() {
        let code = "%memtrack\n%use candle --cpu\n// why\n:opt 1\n!ls\n  :dep itoa = \"1\"\n:vars\n\n\
                    let s = \"\n:dep no\n\";\n:dep never = \"1\"";
        assert_eq!(
            dependency_lines(code),
            ["%use candle --cpu", ":opt 1", ":dep itoa = \"1\""]
        );
        assert!(dependency_lines("%memtrack\nlet user = 1;").is_empty());
    }

    #[test]
    fn cells_are_numbered_among_code_cells() {
        let notebook = serde_json::json!({"cells": [
            {"cell_type": "markdown", "source": ":dep a = \"1\""},
            {"cell_type": "code", "source": "1 + 1"},
            {"cell_type": "code", "source": [":dep b = \"1\"\n", "b::f()"]},
        ]});
        let expected = Step {
            cell: 2,
            lines: vec![":dep b = \"1\"".into()],
        };
        assert_eq!(steps(&notebook), [expected]);
    }
}
