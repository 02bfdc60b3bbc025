//! `%memtrack diff`, `compare` and `export`: a session's records beside each other, beside recorded
//! runs, and out to files.

use std::path::PathBuf;

use memtrack::archive::{Archive, Recording};
use memtrack::compare::{Comparison, two_cells};
use memtrack::export;
use memtrack::gpu_watch::FACTS_LIMIT;
use memtrack::magic::{Export, in_home};
use memtrack::record::Record;
use memtrack::units::{format_bytes, format_count};

use super::Session;
use crate::files;
use crate::output::{Bundle, CellError, text_bundle};
use crate::show;

/// How the session is called beside files.
const SESSION: &str = "this session";

impl Session {
    /// Two cells of this session side by side.
    pub(super) fn diff(&self, first: u64, second: u64) -> Result<Bundle, CellError> {
        let find = |number: u64| {
            let mut records = self.ledger.all();
            records
                .find(|record| record.cell.execution_count == number)
                .ok_or_else(|| CellError::plain("DiffError", self.not_tracked(number)))
        };
        Ok(show::table(&two_cells(
            find(first)?.as_ref(),
            find(second)?.as_ref(),
        )))
    }

    fn not_tracked(&self, number: u64) -> String {
        let numbers: Vec<String> = self
            .ledger
            .latest()
            .map(|record| record.cell.execution_count.to_string())
            .collect();
        let known = match numbers.len() {
            0 => "No cell was tracked yet: put %memtrack on top of a cell".to_owned(),
            1..=20 => format!("Tracked cells: {}", numbers.join(", ")),
            _ => "%memtrack shows those that were".to_owned(),
        };
        format!("cell {number} was not tracked. {known}")
    }

    /// This session beside recorded runs.
    pub(super) fn compare(&mut self, paths: &[PathBuf]) -> Result<Bundle, CellError> {
        let fail = |problem: String| CellError::plain("CompareError", problem);
        let session = self.recording().ok_or_else(|| {
            fail(
                "no cell was tracked yet, so there is nothing to compare. Put %memtrack on top of \
                 the cells that are in the recorded runs, and run them"
                    .into(),
            )
        })?;
        let paths: Vec<PathBuf> = paths.iter().map(|path| in_home(path)).collect();
        let archive = Archive::open(&paths);
        let remarks = archive.remarks();
        if archive.recordings.is_empty() {
            return Err(fail(format!(
                "there is no recorded run to compare with. {}",
                remarks.join("\n")
            )));
        }
        let mut recordings = vec![session];
        recordings.extend(archive.recordings);
        let mut table = Comparison::new(&recordings).table();
        table.alerts.extend(remarks);
        Ok(show::table(&table))
    }

    /// Writes all records to a file, and tells what was done.
    pub(super) fn export(&mut self, request: &Export) -> Result<Bundle, CellError> {
        let fail = |problem: String| CellError::plain("ExportError", problem);
        let session = self.recording().ok_or_else(|| {
            fail(
                "no cell was tracked yet, so there is no record to write. Put %memtrack on top of \
                 a cell, or run %memtrack on"
                    .into(),
            )
        })?;
        let path = in_home(&request.path);
        let replaced = if path.exists() { ", replaced" } else { "" };
        let text = export::session(&session, request.format);
        files::write(&path, |file| Ok(file.write_all(text.as_bytes())?))
            .map_err(|error| fail(format!("{error:#}")))?;
        let records = match session.records.len() {
            1 => "1 record".to_owned(),
            count => format!("{} records", format_count(count as u64)),
        };
        let lost = match self.ledger.lost() {
            0 => String::new(),
            count => format!(
                "; the {} oldest of this session are not among them: there were too many to keep",
                format_count(count)
            ),
        };
        Ok(text_bundle(format!(
            "{records} written to {} ({}{replaced}){lost}",
            path.display(),
            format_bytes(text.len() as u64)
        )))
    }

    /// The records of this session, the first with the facts of the environment, as in a notebook.
    /// None where there are none.
    fn recording(&mut self) -> Option<Recording> {
        let environment = self.environment(FACTS_LIMIT);
        let mut recording = Recording::of_session(SESSION, &self.ledger);
        let first: &mut Record = recording.records.first_mut()?;
        // Of a long session the oldest records are gone, and the facts with them.
        if first.environment.facts.is_none() && first.environment.id == environment.id {
            first.environment = environment.reference(true);
        }
        Some(recording)
    }
}
