//! What was executed in this session, for front ends that ask.

use jupyter_protocol::messaging::{HistoryEntry, HistoryRequest};

/// The number that stands for this session. Front ends ask for 0, the current one.
const SESSION: usize = 1;

/// Entries that are kept.
const LIMIT: usize = 10_000;

/// The executed cells, oldest first.
#[derive(Default)]
pub struct History {
    entries: Vec<(usize, String)>,
}

impl History {
    /// Adds a cell with its number.
    pub fn add(&mut self, execution_count: usize, code: String) {
        if self.entries.len() == LIMIT {
            self.entries.remove(0);
        }
        self.entries.push((execution_count, code));
    }

    /// The entries that a request asks for. Outputs are not kept, so they are empty.
    pub fn select(&self, request: &HistoryRequest) -> Vec<HistoryEntry> {
        match request {
            HistoryRequest::Range {
                session,
                start,
                stop,
                output,
                ..
            } => {
                let this_one =
                    session.is_none_or(|session| [0, -1, SESSION as i32].contains(&session));
                let from = usize::try_from(*start).unwrap_or(0);
                let to = usize::try_from(*stop).ok().filter(|stop| *stop > 0);
                self.entries
                    .iter()
                    .filter(|(line, _)| this_one && *line >= from && to.is_none_or(|to| *line < to))
                    .map(|entry| to_entry(entry, *output))
                    .collect()
            }
            HistoryRequest::Tail { n, output, .. } => last(&self.entries, *n)
                .map(|entry| to_entry(entry, *output))
                .collect(),
            HistoryRequest::Search {
                n,
                pattern,
                unique,
                output,
                ..
            } => {
                let pattern = wildmatch::WildMatch::new(pattern);
                let mut found: Vec<&(usize, String)> = Vec::new();
                for entry in self
                    .entries
                    .iter()
                    .filter(|(_, code)| pattern.matches(code))
                {
                    if *unique {
                        found.retain(|(_, code)| *code != entry.1);
                    }
                    found.push(entry);
                }
                last(&found, *n)
                    .map(|entry| to_entry(entry, *output))
                    .collect()
            }
        }
    }
}

fn last<T>(entries: &[T], n: i32) -> std::slice::Iter<'_, T> {
    let n = usize::try_from(n).unwrap_or(0);
    entries[entries.len().saturating_sub(n)..].iter()
}

fn to_entry((line, code): &(usize, String), output: bool) -> HistoryEntry {
    if output {
        HistoryEntry::InputOutput(SESSION, *line, (code.clone(), String::new()))
    } else {
        HistoryEntry::Input(SESSION, *line, code.clone())
    }
}
