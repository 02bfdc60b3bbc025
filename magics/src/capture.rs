//! Before → work → after and peak: the watcher's side of one piece of work.
//!
//! ```
//! let (vector, measurement) = memtrack::capture::measure(|| vec![1u8; 1 << 20]).unwrap();
//! let ram = &measurement.rows[0];
//! assert!(ram.peak.unwrap() >= ram.after.unwrap());
//! assert_eq!(vector.len(), 1 << 20);
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::heap;
use crate::page::{PageMapping, Phase, SharedPage, known};
use crate::probe::host::ProcessProbe;
use crate::probe::machine::SystemProbe;
use crate::record::{Durations, Memory, Overhead, Row, Scope};
use crate::sampler::{FirstLook, INTERVAL, Sampler, Samples, children_of};
use crate::worker::Worker;

/// What a piece of work used.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// When the measurement started, as RFC 3339.
    pub started_at: String,
    /// The rows of the table.
    pub rows: Vec<Row>,
    /// Seconds of both phases.
    pub durations: Durations,
    /// What it cost beside the work.
    pub overhead: Overhead,
}

/// How the work ended, as far as memory is concerned.
pub enum WorkEnd {
    /// The worker came back from it.
    Finished,
    /// It was never started: it did not compile, say.
    NeverRan,
    /// The worker was replaced before it began.
    Replaced,
    /// The worker died in it.
    Died {
        /// `ru_maxrss` of the dead process in bytes, if its parent could collect it.
        max_rss: Option<u64>,
        /// The shared page as the worker left it, before its successor began a new one.
        last_words: Option<Arc<PageMapping>>,
    },
}

/// What the watcher knows about the heap rows that the page does not say.
#[derive(Debug, Clone, Default)]
pub struct HeapNote {
    /// Why the heap's row must stay empty, if it must.
    pub not_counted: Option<String>,
}

/// Measures the work of one worker after the other.
pub struct Watcher {
    page: Arc<PageMapping>,
    system: Option<Arc<SystemProbe>>,
}

/// One running measurement, seen from the watcher.
pub struct Capture<'a> {
    watcher: &'a Watcher,
    worker: i32,
    started_at: jiff::Timestamp,
    start: Instant,
    setup_s: f64,
    runs_before: u64,
    sampler: Sampler,
}

impl Watcher {
    /// A watcher of the workers that write to `page`.
    pub fn new(page: Arc<PageMapping>) -> Watcher {
        Watcher {
            page,
            system: SystemProbe::detect().ok().map(Arc::new),
        }
    }

    /// Asks the worker for readings around its next piece of work, and starts to sample.
    pub fn start(&self, worker: i32) -> Capture<'_> {
        let start = Instant::now();
        let shared = self.page.page();
        // What an earlier piece of work left there must not pass for this one's.
        shared.before.clear();
        shared.after.clear();
        shared.track.store(1, Relaxed);
        if shared.phase() != Phase::Running {
            shared.set_phase(Phase::Idle);
        }
        let sampler = Sampler::start(Arc::clone(&self.page), self.system.clone(), worker);
        Capture {
            watcher: self,
            worker,
            runs_before: shared.run_count(),
            sampler,
            started_at: jiff::Timestamp::now(),
            setup_s: start.elapsed().as_secs_f64(),
            start,
        }
    }

    /// How many processes the system has killed for lack of memory, where it tells.
    pub fn oom_kills(&self) -> Option<u64> {
        self.system.as_ref()?.oom_kills()
    }

    fn system_used(&self) -> Option<u64> {
        Some(self.system.as_ref()?.read().ok()?.used)
    }
}

impl Capture<'_> {
    /// Whether the user's code was entered since the start, as `page` tells it.
    pub fn has_run(&self, page: &PageMapping) -> bool {
        page.page().run_count() != self.runs_before
    }

    /// Ends the measurement.
    pub fn finish(self, end: WorkEnd, heap_note: HeapNote) -> Measurement {
        let elapsed = self.start.elapsed().as_secs_f64();
        let closing = Instant::now();
        let samples = self.sampler.finish();
        self.watcher.page.page().track.store(0, Relaxed);
        let last_words = match &end {
            WorkEnd::Died { last_words, .. } => last_words.as_ref(),
            WorkEnd::Finished | WorkEnd::NeverRan | WorkEnd::Replaced => None,
        };
        let page = last_words.unwrap_or(&self.watcher.page).page();
        let first = samples
            .first
            .unwrap_or_else(|| FirstLook::now(self.watcher.system.as_deref(), self.worker));
        let view = View {
            page,
            watcher: self.watcher,
            samples,
            first,
            now: match end {
                WorkEnd::NeverRan => ProcessProbe::open(self.worker)
                    .and_then(|probe| probe.read())
                    .ok(),
                WorkEnd::Finished | WorkEnd::Replaced | WorkEnd::Died { .. } => None,
            },
            end: &end,
        };
        let mut rows = vec![view.process_row()];
        rows.extend(view.children_row(self.worker));
        rows.push(view.heap_row(heap_note));
        rows.push(view.system_row());
        let (run, worker_s) = match end {
            WorkEnd::NeverRan | WorkEnd::Replaced => (None, 0.0),
            WorkEnd::Finished | WorkEnd::Died { .. } => (
                page.run_seconds(),
                page.tracking_ns.load(Relaxed) as f64 / 1e9,
            ),
        };
        Measurement {
            started_at: self.started_at.to_string(),
            rows,
            durations: Durations {
                compile: Some((elapsed - run.unwrap_or(0.0) - self.setup_s).max(0.0)),
                run,
            },
            overhead: Overhead {
                kernel_rss: ProcessProbe::this_process()
                    .and_then(|probe| probe.read())
                    .ok()
                    .map(|memory| memory.rss),
                compiler_peak_rss: samples.compiler,
                tracking_s: self.setup_s + worker_s + closing.elapsed().as_secs_f64(),
            },
        }
    }
}

/// Runs `work` in this process and measures it: everything but the heap, which is counted only in
/// a program that reports its calls to [`crate::heap`].
///
/// # Errors
/// Where the system refuses a page of shared memory.
pub fn measure<R>(work: impl FnOnce() -> R) -> io::Result<(R, Measurement)> {
    let page = Arc::new(PageMapping::create()?);
    page.page().clear();
    let shared = PageMapping::from_file(
        std::os::fd::AsFd::as_fd(&*page)
            .try_clone_to_owned()?
            .into(),
    )?;
    let worker = Worker::new(shared.leak());
    let watcher = Watcher::new(page);
    let capture = watcher.start(std::process::id() as i32);
    let result = worker.run(work);
    let note = HeapNote {
        not_counted: Some("this program does not report its allocations to memtrack".into()),
    };
    Ok((result, capture.finish(WorkEnd::Finished, note)))
}

/// What is known when the work has ended.
struct View<'a> {
    page: &'a SharedPage,
    watcher: &'a Watcher,
    samples: Samples,
    first: FirstLook,
    end: &'a WorkEnd,
    now: Option<crate::probe::host::ProcessMemory>,
}

const DIED: &str = "the process that ran the cell ended, so there is no value after it";
const REPLACED: &str = "the process that runs the cells was replaced before the code ran, so there is nothing to compare";
const DID_NOT_RUN: &str = "the code did not run";

impl View<'_> {
    fn process_row(&self) -> Row {
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
                    row.peak_method = Some(sampled());
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
                    row.peak_method = Some(format!("{} until it ended", sampled()));
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

    fn children_row(&self, worker: i32) -> Option<Row> {
        let mut row = Row::empty(Memory::Ram, Scope::Children);
        row.before = self.first.children;
        // Whose children they were is gone: they are killed with it.
        row.after = match self.end {
            WorkEnd::Finished | WorkEnd::NeverRan => children_of(worker),
            WorkEnd::Replaced | WorkEnd::Died { .. } => None,
        };
        row.peak = self.samples.children;
        row.peak_method = Some(sampled());
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

    fn heap_row(&self, note: HeapNote) -> Row {
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

    fn system_row(&self) -> Row {
        let mut row = Row::empty(Memory::Ram, Scope::System);
        row.limit = self.first.limit;
        let whose = self
            .watcher
            .system
            .as_ref()
            .map(|probe| format!("{}, {}", sampled(), probe.describe()));
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
fn settle(row: &mut Row, reason: &str) {
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

fn sampled() -> String {
    format!("sampled every {} ms", INTERVAL.as_millis())
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}
