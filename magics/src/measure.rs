//! Measuring a piece of work in any Rust program, without Jupyter.
//!
//! ```
//! use memtrack::heap::CountingAllocator;
//! use memtrack::measure::measure;
//! use memtrack::{table::Table, text};
//!
//! // Without this line all but the heap is measured.
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let (sum, record) = measure("sum of squares", || {
//!     let squares: Vec<u64> = (0..1 << 20).map(|n| n * n).collect();
//!     squares.iter().sum::<u64>()
//! })?;
//! assert_eq!(sum, 384_306_618_446_643_200);
//! print!("{}", text::render(&Table::of_record(&record, false)));
//!
//! let heap = &record.rows[1];
//! assert_eq!(heap.label(), "heap");
//! assert!(heap.peak.unwrap() - heap.before.unwrap() >= 8 << 20);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::hint::black_box;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};

use serde_json::Map;

use crate::capture::{HeapNote, Watcher, WorkEnd};
use crate::environment::Environment;
use crate::heap;
use crate::page::PageMapping;
use crate::record::{CellInfo, CellStatus, Record};
use crate::worker::Worker;

/// What measuring needs for the rest of the process's life. The high-water mark and the heap's
/// counters are the whole process's, so there is one.
struct Meter {
    watcher: Watcher,
    worker: Worker,
    environment: Environment,
    heap_is_reported: bool,
    count: u64,
}

static METER: OnceLock<Mutex<Option<Meter>>> = OnceLock::new();

/// Runs `work` in this process and tells what it used, with `label` as its title.
///
/// All threads of the process count, not only the calling one. The heap is counted in a program
/// whose global allocator is [`heap::CountingAllocator`]; elsewhere its row says why it is empty.
/// The first call looks at the machine, which takes some milliseconds; they are in no figure. If
/// `work` panics, the panic goes on to the caller, and there is no record.
///
/// # Errors
/// Where the system refuses a page of shared memory, and where a measurement is going on already, in
/// another thread or around this one: a process has one high-water mark.
pub fn measure<R>(label: &str, work: impl FnOnce() -> R) -> io::Result<(R, Record)> {
    let meter = METER.get_or_init(Mutex::default);
    let mut meter = match meter.try_lock() {
        Ok(meter) => meter,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other(
                "another piece of work is being measured in this process: its peak and this one's \
                 could not be told apart",
            ));
        }
    };
    if meter.is_none() {
        *meter = Some(Meter::start()?);
    }
    match meter.as_mut() {
        Some(meter) => Ok(meter.measure(label, work)),
        None => unreachable!("it was filled above"),
    }
}

impl Meter {
    fn start() -> io::Result<Meter> {
        let page = Arc::new(PageMapping::create()?);
        page.page().clear();
        let descriptor = std::os::fd::AsFd::as_fd(&*page).try_clone_to_owned()?;
        let shared = PageMapping::from_file(descriptor.into())?.leak();
        heap::start_counting(shared);
        let calls = || shared.heap.read().allocations;
        let before = calls();
        drop(black_box(Box::new(0_u64)));
        Ok(Meter {
            heap_is_reported: calls() != before,
            watcher: Watcher::new(page),
            worker: Worker::new(shared),
            environment: Environment::detect(Map::new()),
            count: 0,
        })
    }

    fn measure<R>(&mut self, label: &str, work: impl FnOnce() -> R) -> (R, Record) {
        self.count += 1;
        let capture = self.watcher.start(std::process::id() as i32);
        let result = self.worker.run(|| catch_unwind(AssertUnwindSafe(work)));
        let not_counted = (!self.heap_is_reported).then(|| {
            "this program does not report its allocations: make memtrack::heap::CountingAllocator \
             its #[global_allocator]"
                .to_owned()
        });
        let measurement = capture.finish(WorkEnd::Finished, HeapNote { not_counted });
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        let record = Record {
            schema: 1,
            cell: CellInfo {
                execution_count: self.count,
                label: Some(label.to_owned()),
                status: CellStatus::Ok,
                cause: None,
                started_at: measurement.started_at,
                lost_variables: Vec::new(),
                restarted: false,
                code_hash: String::new(),
            },
            duration_s: crate::record::Durations {
                compile: None,
                ..measurement.durations
            },
            rows: measurement.rows,
            overhead: measurement.overhead,
            timeline: Some(measurement.timeline),
            environment: self.environment.reference(self.count == 1),
            cuda_context: measurement.cuda_context,
            repeats: None,
            warnings: Vec::new(),
        };
        (result, record)
    }
}
