//! The measured side: takes readings on both sides of the user's code, in the process that runs
//! it.
//!
//! Reading from inside has two advantages over watching from outside. The readings stand exactly
//! at the borders of the user's code: loading its library before, and anything after, are left
//! out. And they do not depend on the right to look into another process.

use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::heap;
use crate::page::{Phase, Readings, SharedPage, monotonic_ns, put};
use crate::probe::c_library::usage;
use crate::probe::cuda;
use crate::probe::host::{ProcessMemory, ProcessProbe};
use crate::probe::machine::SystemProbe;

/// The measured side of a [`SharedPage`].
pub struct Worker {
    page: &'static SharedPage,
    process: Option<ProcessProbe>,
    system: Option<SystemProbe>,
}

impl Worker {
    /// Opens the probes of this process. A probe that cannot be opened leaves its values unknown.
    pub fn new(page: &'static SharedPage) -> Worker {
        Worker {
            page,
            process: ProcessProbe::this_process().ok(),
            system: SystemProbe::detect().ok(),
        }
    }

    /// Runs `work` with a reading before and one after, if the watcher asked for them.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let tracked = self.page.track.load(Relaxed) != 0;
        let activity = tracked.then(|| self.before());
        self.page.runs.fetch_add(1, Relaxed);
        self.page.ended_ns.store(0, Relaxed);
        self.page.started_ns.store(monotonic_ns(), Relaxed);
        self.page.set_phase(Phase::Running);
        if tracked {
            self.page.wake_watchers();
            // What that took is none of the code's time.
            self.page.started_ns.store(monotonic_ns(), Relaxed);
        }
        let result = work();
        self.page.ended_ns.store(monotonic_ns(), Relaxed);
        if let Some(activity) = activity {
            self.after(&activity);
        }
        self.page.set_phase(Phase::Finished);
        result
    }

    /// Takes the last readings of a process that is about to die in the user's code. Nothing is
    /// allocated and no lock is taken, so a signal handler may call it, with a buffer of a few KiB.
    pub fn last_words(&self, buffer: &mut [u8]) {
        let page = self.page;
        if page.phase() != Phase::Running || page.ended_ns.load(Relaxed) != 0 {
            return;
        }
        page.ended_ns.store(monotonic_ns(), Relaxed);
        if page.track.load(Relaxed) != 0
            && let Some(process) = &self.process
            && let Some(memory) = process.read_into(buffer)
        {
            put_process(&page.after, &memory);
        }
    }

    fn before(&self) -> heap::Activity {
        let start = monotonic_ns();
        self.page.after.clear();
        let before = &self.page.before;
        // First, because the driver may allocate to answer.
        cuda::read_before(&self.page.gpu);
        self.read_system(before);
        self.read_process(before);
        let activity = self.page.heap.activity();
        // The heap next to last, so that what the readings themselves allocate is left out.
        self.read_heap(before);
        self.page.heap.reset_peak();
        let reset = self
            .process
            .as_ref()
            .is_some_and(|process| process.reset_high_water().is_ok());
        self.page.high_water_reset.store(reset.into(), Relaxed);
        self.page.tracking_ns.store(monotonic_ns() - start, Relaxed);
        activity
    }

    fn after(&self, activity: &heap::Activity) {
        let start = monotonic_ns();
        let after = &self.page.after;
        self.read_heap(after);
        let threads = self.page.heap.threads_since(activity);
        self.page.heap_threads.store(threads as u32, Relaxed);
        self.read_process(after);
        cuda::read_after(&self.page.gpu);
        self.read_system(after);
        put(&after.has_children, has_children().map(u64::from));
        let live = after.heap_live.load(Relaxed).max(0) as u64;
        put(
            &after.retained,
            heap::held_from_system().map(|held| held.saturating_sub(live)),
        );
        self.page
            .tracking_ns
            .fetch_add(monotonic_ns() - start, Relaxed);
    }

    fn read_process(&self, into: &Readings) {
        if let Some(memory) = self.process.as_ref().and_then(|probe| probe.read().ok()) {
            put_process(into, &memory);
        }
        let (own, gone) = (usage(libc::RUSAGE_SELF), usage(libc::RUSAGE_CHILDREN));
        // What a parent can collect of a dead process is the larger of the two.
        let max_rss = own
            .zip(gone)
            .map(|(own, gone)| own.ru_maxrss.max(gone.ru_maxrss));
        put(&into.max_rss, max_rss.map(|kib| kib as u64 * 1024));
        put(
            &into.children_faults,
            gone.map(|gone| (gone.ru_minflt + gone.ru_majflt) as u64),
        );
    }

    fn read_system(&self, into: &Readings) {
        let memory = self.system.as_ref().and_then(|probe| probe.read().ok());
        put(&into.system, memory.map(|memory| memory.used));
    }

    fn read_heap(&self, into: &Readings) {
        let counts = self.page.heap.read();
        into.heap_live.store(counts.live, Relaxed);
        into.heap_peak.store(counts.peak, Relaxed);
        put(&into.allocations, Some(counts.allocations));
        put(&into.allocated, Some(counts.allocated));
    }
}

fn put_process(into: &Readings, memory: &ProcessMemory) {
    put(&into.rss, Some(memory.rss));
    put(&into.high_water, memory.high_water);
    put(&into.anon, memory.split.anon);
    put(&into.file, memory.split.file);
    put(&into.shmem, memory.split.shmem);
    put(&into.swap, memory.split.swap);
}

/// Whether this process has child processes, those included that ended and were not waited for.
/// `None` where the system does not tell.
fn has_children() -> Option<bool> {
    // WNOWAIT leaves the end of a child to the user's code.
    let mut flags = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Those too that do not tell their end by SIGCHLD; rustix has no name for it.
    flags |= WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    match waitid(WaitId::All, flags) {
        Ok(_) => Some(true),
        Err(Errno::CHILD) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Other tests start processes of their own, so only one side can be told for sure here; the
    // other is seen in `tests/measure.rs`, where no process is started.
    #[test]
    fn a_child_that_nobody_waited_for_is_known_and_left_to_its_parent() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Running at first, later ended: both count.
        for _ in 0..50 {
            assert_eq!(has_children(), Some(true));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(
            child.wait().unwrap().success(),
            "its end was taken from its parent"
        );
    }
}
