//! The counters themselves: a slot for each thread, and what the slots have given to all.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::*};

/// Pending bytes, allocated or freed, at which a thread reports to the common total.
pub const FLUSH_BYTES: i64 = 32 * 1024;

/// Threads that have a slot of their own; more than these share slower atomics.
pub const SLOTS: usize = 256;

/// One thread's counters. Written by its thread only, read by anyone.
///
/// Two cache lines each: processors fetch lines in pairs, and a neighbour's slot must not be one.
#[repr(C, align(128))]
pub struct Slot {
    pending: AtomicI64,
    pending_max: AtomicI64,
    allocations: AtomicU64,
    allocated: AtomicU64,
}

impl Slot {
    /// Calls that allocated, and what they handed out. By the slot's own thread.
    #[inline]
    pub(super) fn note(&self, allocations: u64, allocated: u64) {
        let calls = self.allocations.load(Relaxed).wrapping_add(allocations);
        self.allocations.store(calls, Relaxed);
        let total = self.allocated.load(Relaxed).wrapping_add(allocated);
        self.allocated.store(total, Relaxed);
    }

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

/// By how many bytes a peak may be wrong when `threads` threads counted at the same time: what each
/// of the others had pending, which may have been missed, or seen twice while it was moved.
pub fn peak_error(threads: usize) -> u64 {
    2 * threads.saturating_sub(1) as u64 * FLUSH_BYTES as u64
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

    /// Begins with `live` bytes that are there already.
    pub(super) fn begin_with(&self, live: u64) {
        self.live.store(live as i64, Relaxed);
        self.reset_peak();
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

    pub(super) fn claim(&self) -> Option<&Slot> {
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

    pub(super) fn release(&self, slot: &Slot) {
        self.flush(slot);
        let Some(index) = self.slots.element_offset(slot) else {
            return;
        };
        self.used[index / 64].fetch_and(!(1 << (index % 64)), Release);
    }

    /// A change of live bytes by the slot's own thread.
    #[inline]
    pub(super) fn add(&self, slot: &Slot, bytes: i64) {
        if bytes.unsigned_abs() >= FLUSH_BYTES as u64 {
            return self.add_large(slot, bytes);
        }
        let pending = slot.pending.load(Relaxed).wrapping_add(bytes);
        slot.pending.store(pending, Relaxed);
        if pending > slot.pending_max.load(Relaxed) {
            slot.pending_max.store(pending, Relaxed);
        }
        if pending.unsigned_abs() >= FLUSH_BYTES as u64 {
            self.flush(slot);
        }
    }

    /// Large changes go to the common total in one step: a thread that looks while another moves
    /// its pending bytes there can see those twice, and these must never be among them.
    #[cold]
    #[inline(never)]
    fn add_large(&self, slot: &Slot, bytes: i64) {
        self.flush(slot);
        let live = self.live.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        let pending: i64 = self
            .active()
            .iter()
            .map(|other| other.pending.load(Relaxed))
            .sum();
        self.peak.0.fetch_max(live.wrapping_add(pending), Relaxed);
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
    pub(super) fn add_shared(&self, bytes: i64, allocations: u64, allocated: u64) {
        let live = self.live.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        self.shared_allocations.fetch_add(allocations, Relaxed);
        self.shared_allocated.fetch_add(allocated, Relaxed);
        self.peak.0.fetch_max(live, Relaxed);
    }
}

fn sum(slots: &[Slot], field: impl Fn(&Slot) -> &AtomicU64) -> u64 {
    slots.iter().map(|slot| field(slot).load(Relaxed)).sum()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
