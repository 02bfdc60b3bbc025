//! Records that were written to files: read out of executed notebooks (`.ipynb`) and JSON Lines
//! exports (`.jsonl`).
//!
//! The files may come from strangers, by the hundred. One that cannot be read is told with the
//! reason and stops no other; a record that cannot be read is told with its cell and stops no other
//! record. How much is read of a file is bounded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::ledger::Ledger;
use crate::record::Record;
use crate::table::clean;

mod lines;
mod notebook;
mod one_record;

/// Files larger than this are not read, in bytes.
pub const SIZE_LIMIT: u64 = 128 << 20;

/// How many records of one file are read.
pub const RECORD_LIMIT: usize = 50_000;

/// How many of a file's problems are told one by one.
const PROBLEM_LIMIT: usize = 10;

/// How deep the folders are looked into that a user names.
const DEPTH_LIMIT: usize = 16;

/// A recorded run: the records of one notebook, one export or one session, in the order of the cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// The file as the user named it, or what the session is called.
    pub name: String,
    /// What was read, oldest first.
    pub records: Vec<Record>,
    /// What could not be read, each with its place in the file.
    pub problems: Vec<String>,
}

/// What came of reading several files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Archive {
    /// The files with records, in the order in which they were named; those of a folder by name.
    pub recordings: Vec<Recording>,
    /// Files that were read and hold no record.
    pub empty: Vec<String>,
    /// Files that could not be read, each with the reason.
    pub failures: Vec<String>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there, or may not be read.
    #[error("{0} cannot be read: {1}")]
    Io(String, String),
    /// It is a device, a pipe or the like.
    #[error("{0} is no ordinary file")]
    NotAFile(String),
    /// It is larger than [`SIZE_LIMIT`].
    #[error(
        "{0} is larger than {limit} MiB and was not read. Clear the outputs of cells that are not \
         tracked, or write the records alone with %memtrack export",
        limit = SIZE_LIMIT >> 20
    )]
    TooLarge(String),
    /// It is neither a notebook nor an export.
    #[error("{0} is neither an executed notebook (.ipynb) nor an export (.jsonl)")]
    UnknownKind(String),
    /// It is no JSON.
    #[error("{0} is no valid JSON: {1}")]
    NotJson(String, String),
    /// It is JSON of another kind.
    #[error("{0} is not a Jupyter notebook of format 4: {1}")]
    NotANotebook(String, String),
    /// Folders hold no notebook.
    #[error("there is no notebook (.ipynb) in the folder {0}")]
    EmptyFolder(String),
}

impl Recording {
    /// The records of a session.
    pub fn of_session(name: &str, ledger: &Ledger) -> Recording {
        Recording {
            name: name.into(),
            records: ledger.all().map(Cow::into_owned).collect(),
            problems: Vec::new(),
        }
    }

    /// The machines on which the cells ran, in their order; mostly one. Without facts where no
    /// record of the file carries them.
    pub fn environments(&self) -> Vec<Environment> {
        let mut found: Vec<Environment> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for reference in self.records.iter().map(|record| &record.environment) {
            let place = *places.entry(&reference.id).or_insert(found.len());
            if place == found.len() {
                found.push(Environment {
                    id: reference.id.clone(),
                    facts: serde_json::Value::Null,
                });
            }
            if let Some(facts) = &reference.facts
                && found[place].facts.is_null()
            {
                found[place].facts = facts.clone();
            }
        }
        found
    }

    /// Notes what could not be read; of many problems only the first are told.
    fn problem(&mut self, problem: impl FnOnce() -> String) {
        match self.problems.len() {
            ..PROBLEM_LIMIT => self.problems.push(clean(&problem())),
            PROBLEM_LIMIT => self.problems.push("and more of this kind".into()),
            _ => {}
        }
    }

    /// Takes a record out of its JSON, or notes why it cannot be read. `place` names it.
    fn take(&mut self, json: serde_json::Value, place: impl Fn() -> String) {
        if self.records.len() == RECORD_LIMIT {
            self.problem(|| format!("only the first {RECORD_LIMIT} records were read"));
            return;
        }
        match one_record::read(json) {
            Ok((record, remark)) => {
                self.records.push(record);
                if let Some(remark) = remark {
                    self.problem(|| format!("the record of {}: {remark}", place()));
                }
            }
            Err(reason) => {
                self.problem(|| format!("the record of {} was left out: {reason}", place()));
            }
        }
    }
}

impl Archive {
    /// Reads the files that `paths` name. A folder means all notebooks in it and in its folders, but
    /// for hidden ones such as `.ipynb_checkpoints`.
    pub fn open(paths: &[PathBuf]) -> Archive {
        let mut archive = Archive::default();
        for path in paths {
            if path.is_dir() {
                archive.take_folder(path);
            } else {
                archive.take_file(path);
            }
        }
        archive
    }

    /// What a reader must know beside the records: files and records that could not be read.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.failures.clone();
        for recording in &self.recordings {
            let problems = recording.problems.iter();
            remarks.extend(problems.map(|problem| format!("{}: {problem}", recording.name)));
        }
        if !self.empty.is_empty() {
            const SHOWN: usize = 5;
            let names = self.empty[..self.empty.len().min(SHOWN)].join(", ");
            let more = match self.empty.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            remarks.push(format!(
                "no record in {names}{more}: the cells were not tracked, not executed, or their \
                 outputs were cleared"
            ));
        }
        remarks
    }

    fn take_folder(&mut self, folder: &Path) {
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let mut found = false;
        let entries = walkdir::WalkDir::new(folder)
            .max_depth(DEPTH_LIMIT)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()));
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) if kind(entry.path()) == Some(Kind::Notebook) => {
                    found = true;
                    self.take_file(entry.path());
                }
                Ok(_) => {}
                Err(error) => self.failures.push(clean(&error.to_string())),
            }
        }
        if !found {
            self.fail(&ReadError::EmptyFolder(shown(folder)));
        }
    }

    fn take_file(&mut self, path: &Path) {
        match read(path) {
            Ok(recordings) => {
                for recording in recordings {
                    if recording.records.is_empty() && recording.problems.is_empty() {
                        self.empty.push(recording.name);
                    } else {
                        self.recordings.push(recording);
                    }
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &ReadError) {
        self.failures.push(clean(&error.to_string()));
    }
}

/// Reads one file. An export of several notebooks, whose lines tell their `source`, gives one
/// recording for each; any other file gives one.
///
/// # Errors
/// Where the file cannot be read as a whole.
pub fn read(path: &Path) -> Result<Vec<Recording>, ReadError> {
    let name = shown(path);
    let kind = kind(path).ok_or_else(|| ReadError::UnknownKind(name.clone()));
    // A misspelt name is told as what it is, whatever its ending.
    let io = |error: std::io::Error| ReadError::Io(shown(path), error.to_string());
    let about = std::fs::metadata(path).map_err(io)?;
    let kind = kind?;
    // Opening a pipe would wait for its other end.
    if !about.is_file() {
        return Err(ReadError::NotAFile(name));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(SIZE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(ReadError::TooLarge(name));
    }
    // Some editors put a byte order mark at the start.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match kind {
        Kind::Notebook => notebook::read(name, text).map(|recording| vec![recording]),
        Kind::Lines => Ok(lines::read(&name, text)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Notebook,
    Lines,
}

fn kind(path: &Path) -> Option<Kind> {
    let extension = path.extension()?;
    if extension.eq_ignore_ascii_case("ipynb") {
        Some(Kind::Notebook)
    } else if extension.eq_ignore_ascii_case("jsonl") || extension.eq_ignore_ascii_case("ndjson") {
        Some(Kind::Lines)
    } else {
        None
    }
}

/// A path as a table can show it.
fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy())
}
