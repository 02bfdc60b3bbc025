//! A thread that looks at what cannot be measured exactly: the machine, the processes that the
//! work started, and the compiler. It stops when it is dropped.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::page::{PageMapping, Phase, SharedPage, monotonic_ns};
use crate::probe::host::ProcessProbe;
use crate::probe::machine::SystemProbe;
use crate::probe::tree::{self, Tree};
use crate::timeline::Phases;

/// How often the sampler looks.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// How often GPUs and CUDA's memory pool are looked at: a look takes some 12 µs a device.
pub const GPU_INTERVAL: Duration = Duration::from_millis(5);

/// How often the compiler is looked at: a look reads a dozen files or more, and takes time from the
/// compiler itself.
const COMPILER_INTERVAL: Duration = Duration::from_millis(50);

/// What the sampler saw, in bytes: the highest value of each. `None`: it saw none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Samples {
    /// How things stood at its first look.
    pub first: Option<FirstLook>,
    /// Sum over the compiler's processes before the user's code ran.
    pub compiler: Option<u64>,
    /// Used memory of the machine or container while it ran.
    pub system: Option<u64>,
    /// Sum over the processes that the worker started, while it ran.
    pub children: Option<u64>,
    /// The worker's resident set or high-water mark, the last seen before it ended.
    pub worker_high_water: Option<u64>,
}

/// The host's memory over time, in bytes: the worker's resident set, its children's, the system's,
/// the worker's heap, the compiler's.
pub type HostPhases = Phases<5>;
/// How a sampled value was got, for a table.
pub(crate) fn sampled_every() -> String {
    format!("sampled every {} ms", INTERVAL.as_millis())
}

/// How a sampled value of a GPU was got, for a table.
pub(crate) fn gpu_sampled_every() -> String {
    format!("sampled every {} ms", GPU_INTERVAL.as_millis())
}

/// How things stood before the user's code ran, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstLook {
    /// Sum over the processes that the worker had started before.
    pub children: Option<u64>,
    /// Used memory of the machine or container.
    pub system: Option<u64>,
    /// What the machine or container can hold.
    pub limit: Option<u64>,
}

impl FirstLook {
    /// Looks now.
    pub fn now(system: Option<&SystemProbe>, families: &Families, worker: i32) -> FirstLook {
        let memory = system.and_then(|probe| probe.read().ok());
        FirstLook {
            children: families.children_of(worker),
            system: memory.as_ref().map(|memory| memory.used),
            limit: memory.as_ref().map(|memory| memory.limit),
        }
    }
}

/// The finders of the processes below the worker and of the compiler's. They are kept from one cell
/// to the next: the first look of a [`Tree`] takes several times as long as any later one.
#[derive(Debug, Default)]
pub struct Families {
    worker: Mutex<Tree>,
    compiler: Mutex<Tree>,
}

impl Families {
    /// Resident bytes of all processes below `worker`; 0 where there are none.
    pub fn children_of(&self, worker: i32) -> Option<u64> {
        let children = lock(&self.worker).descendants(worker, None);
        if children.is_empty() {
            return Some(0);
        }
        tree::resident_sum(&children)
    }
}

/// The running thread.
pub struct Sampler {
    state: Arc<State>,
}

struct State {
    page: Arc<PageMapping>,
    seen: Mutex<Seen>,
    stop: Condvar,
}

struct Seen {
    samples: Samples,
    over_time: HostPhases,
    stopped: bool,
}

impl Sampler {
    /// Starts to watch `worker`, and the other descendants of this process as the compiler.
    pub fn start(
        page: Arc<PageMapping>,
        system: Option<Arc<SystemProbe>>,
        families: Arc<Families>,
        worker: i32,
    ) -> Sampler {
        let state = Arc::new(State {
            page,
            seen: Mutex::new(Seen {
                samples: Samples::default(),
                over_time: Phases::new(1),
                stopped: false,
            }),
            stop: Condvar::new(),
        });
        let for_thread = Arc::clone(&state);
        // Without the thread there are no samples, and the rows say so.
        let _ = std::thread::Builder::new()
            .name("memtrack-sampler".into())
            .spawn(move || {
                let system = system.as_deref();
                sample_until_stopped(&for_thread, system, &families, worker);
            });
        Sampler { state }
    }

    /// For others to see what it has seen, while it goes on.
    pub fn so_far(&self) -> SoFar {
        SoFar(Arc::clone(&self.state))
    }

    /// Stops the thread and tells what it saw. Does not wait for a look that is going on.
    pub fn finish(self) -> (Samples, HostPhases) {
        let mut seen = lock(&self.state.seen);
        let over_time = std::mem::replace(&mut seen.over_time, Phases::new(1));
        (seen.samples, over_time)
    }
}

/// What a running sampler has seen up to now.
pub struct SoFar(Arc<State>);

impl SoFar {
    /// The highest of each, up to now.
    pub fn read(&self) -> Samples {
        lock(&self.0.seen).samples
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        lock(&self.state.seen).stopped = true;
        self.state.stop.notify_all();
        self.state.page.page().wake_watchers();
    }
}

fn sample_until_stopped(
    state: &State,
    system: Option<&SystemProbe>,
    families: &Families,
    worker: i32,
) {
    crate::heap::ignore_this_thread();
    let own = std::process::id() as i32;
    let process = ProcessProbe::open(worker).ok();
    let shared = state.page.page();
    let runs_before = shared.run_count();
    let first = FirstLook::now(system, families, worker);
    lock(&state.seen).samples.first = Some(first);
    let used = || Some(system?.read().ok()?.used);
    let resident = || process.as_ref()?.read().ok();
    let mut compiler_due = Instant::now();
    for turn in 0_u32.. {
        let start = monotonic_ns();
        let phase = shared.phase();
        let is_running = phase == Phase::Running;
        let mut now = Samples::default();
        let mut reading = [None; 5];
        let mut looked = false;
        if is_running {
            let memory = resident();
            now.system = used();
            now.children = families.children_of(worker);
            now.worker_high_water = memory.as_ref().map(|memory| {
                // A mark that was not reset is that of earlier work.
                let is_reset = shared.high_water_reset.load(Relaxed) == 1;
                memory.high_water.filter(|_| is_reset).unwrap_or(memory.rss)
            });
            let resident = memory.map(|memory| memory.rss);
            reading = [resident, now.children, now.system, heap_of(shared), None];
            // What is read after the end of the user's code is not how things stood in it.
            looked = shared.ended_ns.load(Relaxed) == 0;
        } else if own != worker
            // Only before the code runs: what comes after it is no compilation.
            && shared.run_count() == runs_before
            && Instant::now() >= compiler_due
        {
            compiler_due = Instant::now() + COMPILER_INTERVAL;
            let processes = lock(&families.compiler).descendants_undisturbed(own, Some(worker));
            let compiler = resident_of_others(own, processes);
            now.compiler = compiler.filter(|bytes| *bytes > 0);
            let resident = resident().map(|memory| memory.rss);
            let system = match turn {
                // That was just now.
                0 => first.system,
                _ => used(),
            };
            reading = [resident, None, system, heap_of(shared), compiler];
            // The code may have begun meanwhile.
            looked = shared.run_count() == runs_before;
        }
        let mut seen = lock(&state.seen);
        seen.samples.raise(now);
        if looked && !seen.stopped {
            let over_time = &mut seen.over_time;
            if is_running {
                over_time.running.push(start, reading);
            } else {
                over_time.compiling.push(start, reading);
            }
        }
        drop(seen);
        let mut wait = INTERVAL;
        if !is_running && shared.run_count() == runs_before {
            // Only the compiler is to be seen until the worker says that the code begins.
            shared.wait_for_other(
                phase,
                compiler_due.saturating_duration_since(Instant::now()),
            );
            if shared.phase() == Phase::Running {
                // In the middle of the first interval there is more to see than at its start.
                wait = INTERVAL / 2;
            } else if Instant::now() >= compiler_due {
                wait = Duration::ZERO;
            }
        }
        let (seen, _) = state
            .stop
            .wait_timeout_while(lock(&state.seen), wait, |seen| !seen.stopped)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if seen.stopped {
            return;
        }
    }
}

/// Bytes that the worker holds from `malloc`, if it counts them.
fn heap_of(page: &SharedPage) -> Option<u64> {
    let counted = page.heap_counted.load(Relaxed) == 1;
    counted.then(|| page.heap.read().live.max(0) as u64)
}

/// Resident bytes of those `processes` that run another program than this one; 0 where there are
/// none. A process between
/// fork and exec still shows its parent's memory.
fn resident_of_others(own: i32, mut processes: Vec<i32>) -> Option<u64> {
    let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let this = program(own);
    processes.retain(|pid| {
        let other = program(*pid);
        other.is_some() && other != this
    });
    if processes.is_empty() {
        return Some(0);
    }
    tree::resident_sum(&processes)
}

impl Samples {
    fn raise(&mut self, now: Samples) {
        for (highest, value) in [
            (&mut self.compiler, now.compiler),
            (&mut self.system, now.system),
            (&mut self.children, now.children),
            (&mut self.worker_high_water, now.worker_high_water),
        ] {
            // `None` is smaller than any value.
            *highest = (*highest).max(value);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
