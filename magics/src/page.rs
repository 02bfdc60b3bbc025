//! The page of memory that a measured process shares with the process that watches it.
//!
//! The measured process (the *worker*) writes its own readings here, on both sides of the user's
//! code; the watcher reads them afterwards. Because the page belongs to both, what was written
//! survives the death of the worker: a killed process still leaves its last heap peak behind.
//!
//! Every field is an atomic: the two sides never share a lock. A value that could not be read is
//! stored as [`UNKNOWN`].

#![expect(unsafe_code, reason = "memory that two processes share")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::thread::futex;

use crate::heap::HeapCounters;
use crate::probe::cuda::GpuPage;
use crate::record::Split;

/// Stands for "could not be read" in the page's unsigned fields.
pub const UNKNOWN: u64 = u64::MAX;

/// What the worker is doing, as [`SharedPage::phase`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for work; a watcher may be compiling some.
    Idle,
    /// Inside the user's code.
    Running,
    /// The user's code came back and the readings after it are complete.
    Finished,
}

impl Phase {
    fn number(self) -> u32 {
        match self {
            Phase::Idle => 0,
            Phase::Running => 1,
            Phase::Finished => 2,
        }
    }
}

/// Readings that the worker takes on one side of the user's code, in bytes.
#[repr(C)]
pub struct Readings {
    /// Resident set.
    pub rss: AtomicU64,
    /// Resident set's high-water mark since the last reset.
    pub high_water: AtomicU64,
    /// Anonymous pages.
    pub anon: AtomicU64,
    /// File-backed pages.
    pub file: AtomicU64,
    /// Shared memory.
    pub shmem: AtomicU64,
    /// Swapped-out pages.
    pub swap: AtomicU64,
    /// Used memory of the container or machine.
    pub system: AtomicU64,
    /// Bytes live on the heap.
    pub heap_live: AtomicI64,
    /// Highest live heap since the last reset.
    pub heap_peak: AtomicI64,
    /// Allocating calls since the worker started.
    pub allocations: AtomicU64,
    /// Bytes handed out since the worker started.
    pub allocated: AtomicU64,
    /// Bytes that the allocator holds from the system beyond what is live.
    pub retained: AtomicU64,
    /// `ru_maxrss`: the resident set's maximum over the life of the worker, or of a child that it
    /// waited for if that is larger.
    pub max_rss: AtomicU64,
    /// Page faults of children that ended and were waited for; grows whenever there was one.
    pub children_faults: AtomicU64,
    /// 1 if the worker had child processes, those included that ended and were not waited for;
    /// 0 if it had none.
    pub has_children: AtomicU64,
}

impl Readings {
    /// Forgets all values.
    pub fn clear(&self) {
        for field in [
            &self.rss,
            &self.high_water,
            &self.anon,
            &self.file,
            &self.shmem,
            &self.swap,
            &self.system,
            &self.allocations,
            &self.allocated,
            &self.retained,
            &self.max_rss,
            &self.children_faults,
            &self.has_children,
        ] {
            field.store(UNKNOWN, Relaxed);
        }
        self.heap_live.store(0, Relaxed);
        self.heap_peak.store(0, Relaxed);
    }

    /// The resident set by kind of page.
    pub fn split(&self) -> Split {
        Split {
            anon: known(&self.anon),
            file: known(&self.file),
            shmem: known(&self.shmem),
            swap: known(&self.swap),
        }
    }
}

/// The value of `field`, or `None` where it is [`UNKNOWN`].
pub fn known(field: &AtomicU64) -> Option<u64> {
    Some(field.load(Relaxed)).filter(|value| *value != UNKNOWN)
}

/// Stores `value`, or [`UNKNOWN`] for `None`.
pub fn put(field: &AtomicU64, value: Option<u64>) {
    field.store(value.unwrap_or(UNKNOWN), Relaxed);
}

/// The shared page itself. Made by [`PageMapping`] only: it must lie in zeroed shared memory.
#[repr(C)]
pub struct SharedPage {
    /// Set by the watcher: take full readings around the next piece of work.
    pub track: AtomicU32,
    phase: AtomicU32,
    /// How often the user's code was entered since the worker started.
    pub runs: AtomicU64,
    /// `CLOCK_MONOTONIC` at the start of the last run, in nanoseconds.
    pub started_ns: AtomicU64,
    /// `CLOCK_MONOTONIC` at its end, in nanoseconds; 0 while it runs.
    pub ended_ns: AtomicU64,
    /// Time that the worker spent on its readings for the last run, in nanoseconds.
    pub tracking_ns: AtomicU64,
    /// 1 if the high-water mark was reset at the start of the last run.
    pub high_water_reset: AtomicU32,
    /// 1 if the worker counts its heap.
    pub heap_counted: AtomicU32,
    /// Threads that allocated or freed during the last run.
    pub heap_threads: AtomicU32,
    /// Just before the user's code.
    pub before: Readings,
    /// Just after it.
    pub after: Readings,
    /// The worker's use of GPUs.
    pub gpu: GpuPage,
    /// The heap's counters, written by every thread of the worker as it allocates.
    pub heap: HeapCounters,
}

impl SharedPage {
    /// What the worker is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Acquire) {
            1 => Phase::Running,
            2 => Phase::Finished,
            _ => Phase::Idle,
        }
    }

    /// Says what the worker is doing.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase.number(), Release);
    }

    /// Waits up to `limit` for the worker to do something other than `phase`. May return sooner, and
    /// does for [`Self::wake_watchers`].
    pub fn wait_for_other(&self, phase: Phase, limit: Duration) {
        let limit = futex::Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: limit.subsec_nanos().into(),
        };
        // Not a private futex: the page lies in shared memory. However the call ends, the caller looks
        // again.
        let _ = futex::wait(
            &self.phase,
            futex::Flags::empty(),
            phase.number(),
            Some(&limit),
        );
    }

    /// Ends every [`Self::wait_for_other`] that goes on now.
    pub fn wake_watchers(&self) {
        let _ = futex::wake(&self.phase, futex::Flags::empty(), i32::MAX as u32);
    }

    /// How often the user's code was entered since the worker started.
    pub fn run_count(&self) -> u64 {
        self.runs.load(Relaxed)
    }

    /// Seconds of the last run: up to its end, or up to now while it goes on. `None` before the
    /// first.
    pub fn run_seconds(&self) -> Option<f64> {
        let start = self.started_ns.load(Relaxed);
        let end = match self.ended_ns.load(Relaxed) {
            0 => monotonic_ns(),
            end => end,
        };
        (start != 0).then(|| end.saturating_sub(start) as f64 / 1e9)
    }

    /// Forgets everything, for a worker that starts anew.
    pub fn clear(&self) {
        self.set_phase(Phase::Idle);
        for field in [
            &self.runs,
            &self.started_ns,
            &self.ended_ns,
            &self.tracking_ns,
        ] {
            field.store(0, Relaxed);
        }
        self.high_water_reset.store(0, Relaxed);
        self.heap_counted.store(0, Relaxed);
        self.heap_threads.store(0, Relaxed);
        self.before.clear();
        self.after.clear();
        self.gpu.clear();
        self.heap.clear();
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the same in every process of the machine.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a place for the result, for this call only. Every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A [`SharedPage`] mapped into this process.
pub struct PageMapping {
    address: *mut SharedPage,
    file: File,
}

// SAFETY: nothing in it belongs to a thread: memory stays mapped, and the file open, until this is
// dropped, by whichever thread.
unsafe impl Send for PageMapping {}
// SAFETY: `&PageMapping` gives no more than `&SharedPage`, which is made of atomics, and a borrow of the
// file's descriptor.
unsafe impl Sync for PageMapping {}

impl PageMapping {
    /// Makes a new page in memory of its own (`memfd_create`), for a watcher.
    ///
    /// # Errors
    /// Where the system refuses the memory.
    pub fn create() -> io::Result<PageMapping> {
        let file = File::from(memfd_create("memtrack", MemfdFlags::CLOEXEC)?);
        file.set_len(size_of::<SharedPage>() as u64)?;
        PageMapping::map(file)
    }

    /// Maps the page behind a descriptor that was inherited from the watcher.
    ///
    /// # Errors
    /// Where the descriptor is not a page of this version's size, or cannot be mapped.
    pub fn from_file(file: File) -> io::Result<PageMapping> {
        if file.metadata()?.len() != size_of::<SharedPage>() as u64 {
            return Err(io::Error::other(
                "the shared page has another size: the two processes are of different versions",
            ));
        }
        PageMapping::map(file)
    }

    fn map(file: File) -> io::Result<PageMapping> {
        // SAFETY: where no address is asked for, the system takes one that is free, so no memory of ours
        // is replaced.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<SharedPage>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(PageMapping {
            address: address.cast(),
            file,
        })
    }

    /// The page.
    pub fn page(&self) -> &SharedPage {
        // SAFETY: `map` has mapped as many bytes as this type has, at the border of a page, and only `drop`
        // takes them away. All bytes are valid atomics, whatever another process writes.
        unsafe { &*self.address }
    }

    /// A copy of the page as it is now, which no other process writes to.
    ///
    /// # Errors
    /// As [`PageMapping::create`].
    pub fn copy(&self) -> io::Result<PageMapping> {
        let copy = PageMapping::create()?;
        // SAFETY: two mappings of this size, and `copy` is a new one, so they do not overlap. Where a
        // worker still writes, the copy may have values of two moments: all are aligned words, which
        // processors copy whole.
        unsafe { std::ptr::copy_nonoverlapping(self.address, copy.address, 1) };
        Ok(copy)
    }

    /// Keeps the page mapped for the rest of the process's life.
    pub fn leak(self) -> &'static SharedPage {
        let mapping = std::mem::ManuallyDrop::new(self);
        // SAFETY: as in `page`; and it is never unmapped, as the destructor will not run.
        unsafe { &*mapping.address }
    }
}

impl AsFd for PageMapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PageMapping {
    fn drop(&mut self) {
        // SAFETY: `map` has mapped this size here, and all borrows of the page have ended with that of
        // `self`.
        unsafe { libc::munmap(self.address.cast(), size_of::<SharedPage>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_waits_until_the_worker_does_something_else() {
        let watcher = PageMapping::create().unwrap();
        let fd = watcher.as_fd().try_clone_to_owned().unwrap();
        let worker = PageMapping::from_file(File::from(fd)).unwrap();
        let page = watcher.page();
        let long = Duration::from_secs(60);
        let seconds_of = |wait: &dyn Fn()| {
            let start = monotonic_ns();
            wait();
            (monotonic_ns() - start) as f64 / 1e9
        };
        page.set_phase(Phase::Idle);
        assert!(seconds_of(&|| page.wait_for_other(Phase::Running, long)) < 30.0);
        assert!(seconds_of(&|| page.wait_for_other(Phase::Idle, Duration::from_millis(20))) > 0.01);
        let waking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            worker.page().set_phase(Phase::Running);
            worker.page().wake_watchers();
        });
        let waited = seconds_of(&|| page.wait_for_other(Phase::Idle, long));
        assert!(
            waited < 30.0 && page.phase() == Phase::Running,
            "{waited} s"
        );
        waking.join().unwrap();
    }

    #[test]
    fn two_mappings_see_one_page() {
        let watcher = PageMapping::create().unwrap();
        let fd = watcher.as_fd().try_clone_to_owned().unwrap();
        let worker = PageMapping::from_file(File::from(fd)).unwrap();
        worker.page().clear();
        assert_eq!(watcher.page().phase(), Phase::Idle);
        assert_eq!(known(&watcher.page().before.rss), None);
        worker.page().set_phase(Phase::Running);
        put(&worker.page().before.rss, Some(4096));
        assert_eq!(watcher.page().phase(), Phase::Running);
        assert_eq!(known(&watcher.page().before.rss), Some(4096));
    }

    #[test]
    fn a_copy_keeps_what_the_page_forgets() {
        let page = PageMapping::create().unwrap();
        page.page().set_phase(Phase::Running);
        put(&page.page().before.rss, Some(7));
        let copy = page.copy().unwrap();
        page.page().clear();
        assert_eq!(copy.page().phase(), Phase::Running);
        assert_eq!(known(&copy.page().before.rss), Some(7));
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(PageMapping::from_file(file).is_err());
    }
}
