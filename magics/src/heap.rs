//! Counting of a process's heap: live bytes, their exact peak, calls and bytes handed out.
//!
//! A process that wants to be counted defines the `malloc` family itself and reports each call
//! to [`allocated`], [`freed`] and [`resized`]. The counters lie in a [`SharedPage`], so that
//! another process can read them at any time, also after the counted one was killed.
//!
//! **How it stays cheap.** A shared atomic counter would make threads that allocate wait for each
//! other. So each thread has a [`Slot`] that it alone writes, with plain loads and stores. What a
//! slot has not yet given to the common total is called *pending*; it is given over when it
//! reaches [`FLUSH_BYTES`] either way.
//!
//! **How exact it is.** Live bytes, calls and bytes handed out are exact whenever the threads are
//! quiet, because a reader adds up the slots. The peak is exact to the byte as long as one thread
//! allocates at a time: a slot remembers its own highest pending value between two flushes. While
//! several threads allocate at the same time, the peak can miss what the *other* threads did
//! between two flushes, at most `FLUSH_BYTES` for each of them: see [`peak_error`].
//!
//! Sizes are those of `malloc_usable_size`, that is the request plus the allocator's rounding,
//! since `free` is not told the request. A `realloc` counts as one call; the block that it moves
//! away from is not counted twice.

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

use crate::page::SharedPage;

/// Pending bytes, allocated or freed, at which a thread reports to the common total.
pub const FLUSH_BYTES: i64 = 32 * 1024;

/// Threads that have a slot of their own; more than these share slower atomics.
pub const SLOTS: usize = 256;

/// One thread's counters. Written by its thread only, read by anyone.
#[repr(C, align(64))]
pub struct Slot {
    pending: AtomicI64,
    pending_max: AtomicI64,
    allocations: AtomicU64,
    allocated: AtomicU64,
}

impl Slot {
    fn position(&self) -> (i64, u64) {
        (self.pending.load(Relaxed), self.allocations.load(Relaxed))
    }
}

/// The counters of one process.
#[repr(C, align(64))]
pub struct HeapCounters {
    live: AtomicI64,
    // On a line of its own: `live` is written at every flush, `peak` seldom.
    peak: PaddedPeak,
    // For threads beyond the last slot, and those that are ending.
    shared_allocations: AtomicU64,
    shared_allocated: AtomicU64,
    used: [AtomicU64; SLOTS / 64],
    // One more than the highest slot ever used: how far a reader must look.
    high_slot: AtomicU32,
    slots: [Slot; SLOTS],
}

#[repr(C, align(64))]
struct PaddedPeak(AtomicI64);

/// A consistent reading of [`HeapCounters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that the program holds.
    pub live: i64,
    /// Highest `live` since the last [`HeapCounters::reset_peak`].
    pub peak: i64,
    /// Calls that allocated, over the process's life.
    pub allocations: u64,
    /// Bytes handed out, over the process's life.
    pub allocated: u64,
}

/// By how many bytes a peak may be too low when `threads` threads counted at the same time.
pub fn peak_error(threads: usize) -> u64 {
    threads.saturating_sub(1) as u64 * FLUSH_BYTES as u64
}

/// Where every slot stood at one moment, to tell later which threads counted since.
pub struct Activity(Vec<(i64, u64)>);

impl HeapCounters {
    /// Reads the counters.
    pub fn read(&self) -> Counts {
        let slots = self.active();
        let pending: i64 = slots.iter().map(|slot| slot.pending.load(Relaxed)).sum();
        let live = self.live.load(Relaxed) + pending;
        // What one slot reached between two flushes, over what it stands at now.
        let above = slots
            .iter()
            .map(|slot| slot.pending_max.load(Relaxed) - slot.pending.load(Relaxed))
            .max()
            .unwrap_or(0);
        Counts {
            live,
            peak: self.peak.0.load(Relaxed).max(live + above.max(0)),
            allocations: self.shared_allocations.load(Relaxed)
                + sum(slots, |slot| &slot.allocations),
            allocated: self.shared_allocated.load(Relaxed) + sum(slots, |slot| &slot.allocated),
        }
    }

    /// Where every slot stands now.
    pub fn activity(&self) -> Activity {
        Activity(self.active().iter().map(Slot::position).collect())
    }

    /// How many threads allocated or freed since `activity`. Threads that took turns in one slot
    /// count as one: they never ran at the same time.
    pub fn threads_since(&self, activity: &Activity) -> usize {
        let now = self.active();
        let seen = activity.0.iter().chain(std::iter::repeat(&(0, 0)));
        now.iter()
            .zip(seen)
            .filter(|(slot, before)| slot.position() != **before)
            .count()
    }

    /// How many threads can have counted since the start: the slots ever used.
    pub fn threads(&self) -> usize {
        self.active().len()
    }

    /// Starts a new peak from what is live now. Exact when the process's threads are quiet; a
    /// thread that allocates at this very moment can add the error of one flush.
    pub fn reset_peak(&self) {
        for slot in self.active() {
            slot.pending_max.store(slot.pending.load(Relaxed), Relaxed);
        }
        let live = self.live.load(Relaxed)
            + self
                .active()
                .iter()
                .map(|slot| slot.pending.load(Relaxed))
                .sum::<i64>();
        self.peak.0.store(live, Relaxed);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.live.store(0, Relaxed);
        self.peak.0.store(0, Relaxed);
        self.shared_allocations.store(0, Relaxed);
        self.shared_allocated.store(0, Relaxed);
        self.high_slot.store(0, Relaxed);
        for word in &self.used {
            word.store(0, Relaxed);
        }
        for slot in &self.slots {
            slot.pending.store(0, Relaxed);
            slot.pending_max.store(0, Relaxed);
            slot.allocations.store(0, Relaxed);
            slot.allocated.store(0, Relaxed);
        }
    }

    fn active(&self) -> &[Slot] {
        &self.slots[..(self.high_slot.load(Relaxed) as usize).min(SLOTS)]
    }

    fn claim(&self) -> Option<&Slot> {
        for (word_index, word) in self.used.iter().enumerate() {
            let mut seen = word.load(Relaxed);
            while seen != u64::MAX {
                let bit = (!seen).trailing_zeros() as usize;
                match word.compare_exchange_weak(seen, seen | 1 << bit, Acquire, Relaxed) {
                    Ok(_) => {
                        let index = word_index * 64 + bit;
                        self.high_slot.fetch_max(index as u32 + 1, Relaxed);
                        return Some(&self.slots[index]);
                    }
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    fn release(&self, slot: &Slot) {
        self.flush(slot);
        let start = self.slots.as_ptr();
        // SAFETY: `slot` came from `claim`, so both pointers are into `self.slots`.
        let index = unsafe { std::ptr::from_ref(slot).offset_from(start) } as usize;
        self.used[index / 64].fetch_and(!(1 << (index % 64)), Release);
    }

    #[inline]
    fn add(&self, slot: &Slot, bytes: i64) {
        let pending = slot.pending.load(Relaxed).wrapping_add(bytes);
        slot.pending.store(pending, Relaxed);
        if pending > slot.pending_max.load(Relaxed) {
            slot.pending_max.store(pending, Relaxed);
        }
        if pending.unsigned_abs() >= FLUSH_BYTES as u64 {
            self.flush(slot);
        }
    }

    #[cold]
    #[inline(never)]
    fn flush(&self, slot: &Slot) {
        let pending = slot.pending.load(Relaxed);
        let pending_max = slot.pending_max.load(Relaxed);
        // The peak first: a process killed in between shows it rather than not.
        let active = self.active();
        let reach = self.live.load(Relaxed).wrapping_add(pending_max);
        let margin = active.len() as i64 * FLUSH_BYTES;
        if reach.wrapping_add(margin) > self.peak.0.load(Relaxed) {
            let others: i64 = active
                .iter()
                .filter(|other| !std::ptr::eq(*other, slot))
                .map(|other| other.pending.load(Relaxed))
                .sum();
            self.peak.0.fetch_max(reach.wrapping_add(others), Relaxed);
        }
        self.live.fetch_add(pending, Relaxed);
        slot.pending.store(0, Relaxed);
        slot.pending_max.store(0, Relaxed);
    }

    /// For threads without a slot.
    fn add_shared(&self, bytes: i64, allocations: u64, allocated: u64) {
        let live = self.live.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        self.shared_allocations.fetch_add(allocations, Relaxed);
        self.shared_allocated.fetch_add(allocated, Relaxed);
        self.peak.0.fetch_max(live, Relaxed);
    }
}

fn sum(slots: &[Slot], field: impl Fn(&Slot) -> &AtomicU64) -> u64 {
    slots.iter().map(|slot| field(slot).load(Relaxed)).sum()
}

/// Where this process counts; null while it does not.
static COUNTERS: AtomicPtr<HeapCounters> = AtomicPtr::new(null_mut());

/// The key whose destructor gives a thread's slot back.
static THREAD_END: AtomicU32 = AtomicU32::new(u32::MAX);

/// What the calling thread does with its calls.
#[derive(Clone, Copy)]
enum Thread {
    /// Not seen yet.
    New,
    /// Has a slot of its own.
    Own(NonNull<Slot>),
    /// Uses the shared atomics.
    Shared,
    /// Is not the user's, and not counted.
    Ignored,
}

thread_local! {
    // Constant and without a destructor: plain thread-local storage, safe to touch inside malloc.
    static THREAD: Cell<Thread> = const { Cell::new(Thread::New) };
}

/// Whether this process counts its heap now. Lets callers skip `malloc_usable_size`.
#[inline]
pub fn is_counting() -> bool {
    !COUNTERS.load(Relaxed).is_null()
}

/// Starts counting in this process, from the bytes that its allocator says are in use.
///
/// Call it once, before the first thread that should be counted.
pub fn start_counting(page: &'static SharedPage) {
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: `thread_end` is a valid destructor for the life of the process.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_end)) } == 0 {
        THREAD_END.store(key, Relaxed);
    }
    // SAFETY: as above. A forked child must not count into its parent's page.
    unsafe { libc::pthread_atfork(None, None, Some(stop_counting)) };
    page.heap.live.store(in_use().unwrap_or(0) as i64, Relaxed);
    page.heap_counted.store(1, Relaxed);
    COUNTERS.store(std::ptr::from_ref(&page.heap).cast_mut(), Release);
    page.heap.reset_peak();
}

extern "C" fn stop_counting() {
    COUNTERS.store(null_mut(), Relaxed);
}

/// Leaves the calling thread out of the counting: for threads that do the measuring.
pub fn ignore_this_thread() {
    THREAD.set(Thread::Ignored);
}

/// Reports a successful allocation of `bytes`. Never allocates, never panics.
#[inline]
pub fn allocated(bytes: usize) {
    resized(0, bytes);
}

/// Reports that a block of `bytes` was freed. Never allocates, never panics.
#[inline]
pub fn freed(bytes: usize) {
    count(-(bytes as i64), 0, 0);
}

/// Reports that a block went from `old` to `new` bytes. Never allocates, never panics.
#[inline]
pub fn resized(old: usize, new: usize) {
    count(
        (new as i64).wrapping_sub(old as i64),
        1,
        new.saturating_sub(old) as u64,
    );
}

#[inline]
fn count(bytes: i64, allocations: u64, allocated: u64) {
    // SAFETY: null, or the leaked page's counters.
    let Some(counters) = (unsafe { COUNTERS.load(Relaxed).as_ref() }) else {
        return;
    };
    match THREAD.get() {
        Thread::Own(slot) => {
            // SAFETY: points into the leaked page.
            let slot = unsafe { slot.as_ref() };
            if allocations != 0 {
                let calls = slot.allocations.load(Relaxed).wrapping_add(allocations);
                slot.allocations.store(calls, Relaxed);
                let total = slot.allocated.load(Relaxed).wrapping_add(allocated);
                slot.allocated.store(total, Relaxed);
            }
            counters.add(slot, bytes);
        }
        Thread::Ignored => {}
        Thread::Shared => counters.add_shared(bytes, allocations, allocated),
        Thread::New => first_call(counters, bytes, allocations, allocated),
    }
}

#[cold]
#[inline(never)]
fn first_call(counters: &'static HeapCounters, bytes: i64, allocations: u64, allocated: u64) {
    // `pthread_setspecific` may itself allocate: such a call must not come here again.
    THREAD.set(Thread::Shared);
    let key = THREAD_END.load(Relaxed);
    if key != u32::MAX
        && let Some(slot) = counters.claim()
    {
        let pointer = NonNull::from(slot);
        // SAFETY: the key was made by `pthread_key_create`.
        if unsafe { libc::pthread_setspecific(key, pointer.as_ptr().cast()) } == 0 {
            THREAD.set(Thread::Own(pointer));
        } else {
            counters.release(slot);
        }
    }
    count(bytes, allocations, allocated);
}

/// Runs as a thread ends. What the thread's later destructors free goes to the shared atomics.
extern "C" fn thread_end(slot: *mut libc::c_void) {
    THREAD.set(Thread::Shared);
    // SAFETY: null after a fork, else the leaked page's counters; `slot` was stored by
    // `first_call` and points into them.
    unsafe {
        if let (Some(counters), Some(slot)) = (
            COUNTERS.load(Relaxed).as_ref(),
            slot.cast::<Slot>().as_ref(),
        ) {
            counters.release(slot);
        }
    }
}

/// Bytes that glibc's allocator has in use, large mapped blocks included. `None` without glibc.
fn in_use() -> Option<u64> {
    let info = mallinfo()?;
    Some((info.uordblks + info.hblkhd) as u64)
}

/// Bytes that glibc's allocator has from the system, in use or not. `None` without glibc.
///
/// Walks the free lists of every arena: microseconds for an ordinary heap, more for one with very
/// many free blocks.
pub fn held_from_system() -> Option<u64> {
    let info = mallinfo()?;
    Some((info.arena + info.hblkhd) as u64)
}

#[cfg(target_env = "gnu")]
fn mallinfo() -> Option<libc::mallinfo2> {
    // SAFETY: takes nothing, returns a plain struct.
    Some(unsafe { libc::mallinfo2() })
}

#[cfg(not(target_env = "gnu"))]
fn mallinfo() -> Option<NoMallinfo> {
    None
}

#[cfg(not(target_env = "gnu"))]
struct NoMallinfo {
    arena: usize,
    hblkhd: usize,
    uordblks: usize,
}

/// Gives free heap back to the system. Returns false where there is no glibc to ask, or where
/// there was nothing to give back.
pub fn trim() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: only releases memory that is free.
    return unsafe { libc::malloc_trim(0) } == 1;
    #[cfg(not(target_env = "gnu"))]
    return false;
}

#[cfg(test)]
mod tests;
