//! Before → work → after and peak: the watcher's side of one piece of work.
//!
//! [`crate::measure`] is both sides in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::gpu_facts::GpuFacts;
use crate::gpu_watch::{GpuLook, GpuWatch};
use crate::live::LiveView;
use crate::page::{PageMapping, Phase, monotonic_ns};
use crate::probe::cuda::Presence;
use crate::probe::host::ProcessProbe;
use crate::probe::machine::{SystemMemory, SystemProbe};
use crate::record::{CudaContext, Durations, Overhead, Row};
use crate::sampler::{Families, FirstLook, Sampler, Samples};
use crate::timeline::Timeline;

mod gpu_rows;
mod over_time;
mod rows;

use rows::View;

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
    /// What CUDA's context cost, if the work made it.
    pub cuda_context: Option<CudaContext>,
    /// What it used over time.
    pub timeline: Timeline,
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
    families: Arc<Families>,
    gpus: GpuWatch,
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
    gpus: GpuLook,
}

impl Watcher {
    /// A watcher of the workers that write to `page`.
    pub fn new(page: Arc<PageMapping>) -> Watcher {
        Watcher {
            page,
            system: SystemProbe::detect().ok().map(Arc::new),
            families: Arc::default(),
            gpus: GpuWatch::start(),
        }
    }

    /// Asks the worker for readings around its next piece of work, and starts to sample.
    pub fn start(&self, worker: i32) -> Capture<'_> {
        let start = Instant::now();
        let shared = self.page.page();
        // What an earlier piece of work left there must not pass for this one's.
        shared.before.clear();
        shared.after.clear();
        shared.gpu.clear();
        shared.track.store(1, Relaxed);
        if shared.phase() != Phase::Running {
            shared.set_phase(Phase::Idle);
        }
        let gpus = self.gpus.begin(Arc::clone(&self.page), worker);
        let sampler = Sampler::start(
            Arc::clone(&self.page),
            self.system.clone(),
            Arc::clone(&self.families),
            worker,
        );
        Capture {
            watcher: self,
            worker,
            runs_before: shared.run_count(),
            sampler,
            gpus,
            started_at: jiff::Timestamp::now(),
            setup_s: start.elapsed().as_secs_f64(),
            start,
        }
    }

    /// What is known of the machine's GPUs beside their use. Waits for the driver up to `limit`.
    pub fn gpu_facts(&self, limit: Duration) -> GpuFacts {
        self.gpus.facts(limit)
    }

    /// How many processes the system has killed for lack of memory, where it tells.
    pub fn oom_kills(&self) -> Option<u64> {
        self.system.as_ref()?.oom_kills()
    }

    /// Whether [`Watcher::oom_kills`] has grown since it was `before`; false where it is not told.
    pub fn has_killed_since(&self, before: Option<u64>) -> bool {
        matches!((before, self.oom_kills()), (Some(before), Some(now)) if now > before)
    }

    /// The memory of the container, where one limits this process, else of the machine.
    pub fn system_now(&self) -> Option<SystemMemory> {
        self.system.as_ref()?.read().ok()
    }

    /// Whether that is a container's.
    pub fn is_container(&self) -> bool {
        let system = self.system.as_ref();
        system.is_some_and(|system| system.is_container())
    }

    fn system_used(&self) -> Option<u64> {
        Some(self.system_now()?.used)
    }
}

impl Capture<'_> {
    /// Whether the user's code was entered since the start, as `page` tells it.
    pub fn has_run(&self, page: &PageMapping) -> bool {
        page.page().run_count() != self.runs_before
    }

    /// What was sampled up to now.
    pub fn so_far(&self) -> Samples {
        self.sampler.so_far().read()
    }

    /// For another thread to look at the measurement while it goes on. `heap_note` as for
    /// [`Capture::finish`].
    pub fn live_view(&self, heap_note: &HeapNote) -> LiveView {
        LiveView {
            page: Arc::clone(&self.watcher.page),
            system: self.watcher.system.clone(),
            families: Arc::clone(&self.watcher.families),
            worker: self.worker,
            process: ProcessProbe::open(self.worker).ok(),
            runs_before: self.runs_before,
            start: self.start,
            so_far: self.sampler.so_far(),
            gpus: self.gpus.question(),
            heap_counted: heap_note.not_counted.is_none(),
            begun: AtomicBool::new(false),
        }
    }

    /// Ends the measurement.
    pub fn finish(self, end: WorkEnd, heap_note: HeapNote) -> Measurement {
        let elapsed = self.start.elapsed().as_secs_f64();
        let closing = Instant::now();
        let closing_ns = monotonic_ns();
        let (samples, over_time) = self.sampler.finish();
        self.watcher.page.page().track.store(0, Relaxed);
        let last_words = match &end {
            WorkEnd::Died { last_words, .. } => last_words.as_ref(),
            WorkEnd::Finished | WorkEnd::NeverRan | WorkEnd::Replaced => None,
        };
        let page = last_words.unwrap_or(&self.watcher.page).page();
        let first = samples.first.unwrap_or_else(|| {
            let Watcher {
                system, families, ..
            } = self.watcher;
            FirstLook::now(system.as_deref(), families, self.worker)
        });
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
        // Where the worker's end is not known, it may hold something.
        let may_hold = !matches!(end, WorkEnd::Died { .. } | WorkEnd::Replaced)
            && Presence::of(&page.gpu.driver_after) != Presence::Absent;
        let gpus = self.gpus.end(may_hold);
        let gpu_view = gpu_rows::GpuView {
            page: &page.gpu,
            samples: &gpus,
            worker: self.worker,
            end: &end,
        };
        rows.extend(gpu_view.rows());
        let cuda_context = gpu_view.context(&rows);
        let (run, worker_s) = match end {
            WorkEnd::NeverRan | WorkEnd::Replaced => (None, 0.0),
            WorkEnd::Finished | WorkEnd::Died { .. } => (
                page.run_seconds(),
                page.tracking_ns.load(Relaxed) as f64 / 1e9,
            ),
        };
        let run_times = over_time::Run {
            start_ns: run.map_or(closing_ns, |_| page.started_ns.load(Relaxed)),
            seconds: run,
        };
        let samples_of_gpus = gpus.as_deref().unwrap_or_default();
        let timeline = over_time::timeline(&over_time, samples_of_gpus, &rows, &run_times);
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
            cuda_context,
            timeline,
        }
    }
}
