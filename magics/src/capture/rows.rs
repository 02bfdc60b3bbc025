//! The rows of the host's memory: what is known when the work has ended, made into numbers that say
//! how they were got.

use std::sync::atomic::Ordering::Relaxed;

use super::{HeapNote, Watcher, WorkEnd};
use crate::heap;
use crate::page::{SharedPage, known};
use crate::probe::host::ProcessMemory;
use crate::record::{Memory, Row, Scope};
use crate::sampler::{FirstLook, INTERVAL, Samples, sampled_every};

/// What is known when the work has ended.
pub(super) struct View<'a> {
    pub page: &'a SharedPage,
    pub watcher: &'a Watcher,
    pub samples: Samples,
    pub first: FirstLook,
    pub end: &'a WorkEnd,
    pub now: Option<ProcessMemory>,
}

pub(super) const DIED: &str = "the process that ran the cell ended, so there is no value after it";
pub(super) const REPLACED: &str = "the process that runs the cells was replaced before the code ran, so there is nothing to compare";
pub(super) const DID_NOT_RUN: &str = "the code did not run";

impl View<'_> {
    pub fn process_row(&self) -> Row {
        let mut row = Row::empty(Memory::Ram, Scope::Process);
        row.limit = self.first.limit;
        let before = &self.page.before;
        match self.end {
            WorkEnd::Replaced => row.unavailable = Some(REPLACED.into()),
            WorkEnd::NeverRan => {
                let now = self.now.as_ref();
                row.before = now.map(|memory| memory.rss);
                (row.peak, row.after) = (row.before, row.before);
                row.split_before = now.map(|memory| memory.split);
                row.split_after = row.split_before;
                row.peak_method = Some(DID_NOT_RUN.into());
                row.exact = true;
            }
            WorkEnd::Finished => {
                row.before = known(&before.rss);
                row.after = known(&self.page.after.rss);
                row.split_before = Some(before.split());
                row.split_after = Some(self.page.after.split());
                let mark = known(&self.page.after.high_water);
                if self.page.high_water_reset.load(Relaxed) == 1 && mark.is_some() {
                    row.peak = mark;
                    row.peak_method = Some("kernel high-water mark".into());
                    row.exact = true;
                } else if !self.children_ended()
                    && self.raised_max_rss(known(&self.page.after.max_rss))
                {
                    row.peak = known(&self.page.after.max_rss);
                    row.peak_method = Some("kernel high-water mark (of the process's life)".into());
                    row.exact = true;
                } else {
                    row.peak = self.samples.worker_high_water;
                    row.peak_method = Some(sampled_every());
                }
            }
            WorkEnd::Died { max_rss, .. } => {
                row.before = known(&before.rss);
                row.split_before = Some(before.split());
                row.unavailable = Some(DIED.into());
                // The mark of a dead process cannot be told from that of children it waited for,
                // so it is used only where no child was seen, and not called exact.
                let mark = known(&self.page.after.high_water);
                let alone = self.samples.children.unwrap_or(0) == 0;
                if self.page.high_water_reset.load(Relaxed) == 1 && mark.is_some() {
                    row.peak = mark;
                    row.peak_method = Some("kernel high-water mark".into());
                    row.exact = true;
                } else if alone && self.raised_max_rss(*max_rss) {
                    row.peak = *max_rss;
                    row.peak_method = Some("high-water mark at its end".into());
                } else {
                    row.peak = self.samples.worker_high_water;
                    row.peak_method = Some(format!("{} until it ended", sampled_every()));
                }
            }
        }
        settle(
            &mut row,
            "the process's memory could not be read from /proc",
        );
        row
    }

    /// A lifetime maximum tells this run's peak only if this run raised it.
    fn raised_max_rss(&self, max_rss: Option<u64>) -> bool {
        matches!((max_rss, known(&self.page.before.max_rss)), (Some(end), Some(start)) if end > start)
    }

    /// Whether a child of the worker's ended, and was waited for, while the code ran.
    fn children_ended(&self) -> bool {
        let faults = (
            known(&self.page.before.children_faults),
            known(&self.page.after.children_faults),
        );
        matches!(faults, (Some(before), Some(after)) if after > before)
    }

    pub fn children_row(&self, worker: i32) -> Option<Row> {
        let mut row = Row::empty(Memory::Ram, Scope::Children);
        row.before = self.first.children;
        // Whose children they were is gone: they are killed with it.
        row.after = match self.end {
            // The worker itself knows at once that it has none. To look for them takes longer, and
            // the cell waits for it.
            WorkEnd::Finished if known(&self.page.after.has_children) == Some(0) => Some(0),
            WorkEnd::Finished | WorkEnd::NeverRan => self.watcher.families.children_of(worker),
            WorkEnd::Replaced | WorkEnd::Died { .. } => None,
        };
        row.peak = self.samples.children;
        row.peak_method = Some(sampled_every());
        let ended = self.children_ended();
        let seen = [row.before, row.peak, row.after]
            .iter()
            .any(|value| value.unwrap_or(0) > 0);
        if !seen && !ended {
            return None;
        }
        if matches!(self.end, WorkEnd::Replaced | WorkEnd::Died { .. }) {
            row.unavailable = Some(DIED.into());
        }
        if row.peak.unwrap_or(0) == 0 && ended {
            row.peak = None;
            row.peak_method = None;
            row.unavailable = Some(format!(
                "a process that the cell started ended between two samples ({} ms apart)",
                INTERVAL.as_millis()
            ));
            return Some(row);
        }
        settle(
            &mut row,
            "the list of processes could not be read from /proc",
        );
        Some(row)
    }

    pub fn heap_row(&self, note: HeapNote) -> Row {
        let mut row = Row::empty(Memory::Heap, Scope::Process);
        if let Some(reason) = note.not_counted {
            row.unavailable = Some(reason);
            return row;
        }
        if self.page.heap_counted.load(Relaxed) == 0 {
            row.unavailable =
                Some("the heap is not counted on this system (it needs glibc's malloc)".into());
            return row;
        }
        let (before, after) = (&self.page.before, &self.page.after);
        let bytes = |live: i64| Some(live.max(0) as u64);
        row.exact = true;
        match self.end {
            WorkEnd::Replaced => row.unavailable = Some(REPLACED.into()),
            WorkEnd::NeverRan => {
                let counts = self.page.heap.read();
                row.before = bytes(counts.live);
                (row.peak, row.after) = (row.before, row.before);
                (row.allocations, row.allocated) = (Some(0), Some(0));
                row.peak_method = Some(DID_NOT_RUN.into());
            }
            WorkEnd::Finished => {
                row.before = bytes(before.heap_live.load(Relaxed));
                row.after = bytes(after.heap_live.load(Relaxed));
                row.peak = bytes(after.heap_peak.load(Relaxed));
                row.allocations = difference(known(&before.allocations), known(&after.allocations));
                row.allocated = difference(known(&before.allocated), known(&after.allocated));
                row.retained = known(&after.retained);
                self.heap_method(&mut row, self.page.heap_threads.load(Relaxed) as usize);
            }
            WorkEnd::Died { .. } => {
                let counts = self.page.heap.read();
                row.before = bytes(before.heap_live.load(Relaxed));
                row.peak = bytes(counts.peak);
                row.allocations = difference(known(&before.allocations), Some(counts.allocations));
                row.allocated = difference(known(&before.allocated), Some(counts.allocated));
                row.unavailable = Some(DIED.into());
                self.heap_method(&mut row, self.page.heap.threads());
            }
        }
        settle(&mut row, "the heap's counters could not be read");
        row
    }

    fn heap_method(&self, row: &mut Row, threads: usize) {
        let error = heap::peak_error(threads);
        row.exact = error == 0;
        row.peak_method = Some(match error {
            0 => "allocator".into(),
            error => format!("allocator, within {} KiB", error / 1024),
        });
    }

    pub fn system_row(&self) -> Row {
        let mut row = Row::empty(Memory::Ram, Scope::System);
        row.limit = self.first.limit;
        let whose = self
            .watcher
            .system
            .as_ref()
            .map(|probe| format!("{}, {}", sampled_every(), probe.describe()));
        row.peak_method = whose;
        (row.before, row.peak, row.after) = match self.end {
            WorkEnd::Finished => (
                known(&self.page.before.system),
                self.samples.system,
                known(&self.page.after.system),
            ),
            WorkEnd::Died { .. } => (
                known(&self.page.before.system),
                self.samples.system,
                self.watcher.system_used(),
            ),
            WorkEnd::NeverRan | WorkEnd::Replaced => {
                row.peak_method = Some(DID_NOT_RUN.into());
                (self.first.system, None, self.watcher.system_used())
            }
        };
        settle(
            &mut row,
            "neither the container's nor the machine's memory could be read",
        );
        row
    }
}

/// Makes a row keep its promises: the peak is never below before and after, and a value that is
/// absent has a reason.
pub(super) fn settle(row: &mut Row, reason: &str) {
    row.peak = row.peak.max(row.before).max(row.after);
    let absent = row.before.is_none() || row.peak.is_none() || row.after.is_none();
    if absent && row.unavailable.is_none() {
        row.unavailable = Some(reason.into());
    }
    if row.peak.is_none() {
        row.peak_method = None;
        row.exact = false;
    }
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}
