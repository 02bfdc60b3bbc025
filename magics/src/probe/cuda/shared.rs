//! What the worker writes of its GPUs into the shared page.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::driver::Look;
use crate::page::{known, put};

/// How many devices' pools the shared page has room for.
pub const DEVICES: usize = 16;

/// What the worker knows of its own use of GPUs; part of the shared page.
#[derive(Default)]
#[repr(C)]
pub struct GpuPage {
    /// Whether a library of NVIDIA's driver was in the process before the user's code.
    pub driver_before: AtomicU32,
    /// The same after it.
    pub driver_after: AtomicU32,
    /// 1 if no library was unloaded between the two: then one that is there at neither end was not
    /// there between them.
    pub nothing_unloaded: AtomicU32,
    pub(super) unloads_before: AtomicU64,
    /// Numbers of the contexts that were current on the cell's thread before and after the user's
    /// code (`cuCtxGetId`, never used twice in a process); 0 is not known.
    pub(super) context_before: AtomicU64,
    pub(super) context_after: AtomicU64,
    /// CUDA's devices, by CUDA's own numbers.
    pub devices: [DevicePage; DEVICES],
}

/// One device, as CUDA numbers them.
#[derive(Default)]
#[repr(C)]
pub struct DevicePage {
    uuid: [AtomicU64; 2],
    /// Just before the user's code.
    pub before: PoolPage,
    /// The last look while it ran.
    pub seen: PoolPage,
    /// Just after it.
    pub after: PoolPage,
    /// 1 if both marks were set back before the user's code ran.
    pub marks_reset: AtomicU32,
    /// 1 if the context was seen to be gone while the user's code ran, after it had been there, or
    /// the marks to have fallen: then it was made anew, and so was the pool.
    pub released: AtomicU32,
    /// 1 if another pool became the device's present one while the user's code ran.
    pub pool_changed: AtomicU32,
    pool: AtomicU64,
}

/// The pool of one device at one time. Sizes in bytes.
#[derive(Default)]
#[repr(C)]
pub struct PoolPage {
    context: AtomicU32,
    /// The driver's error, if the pool could not be read; else 0.
    pub error: AtomicU32,
    /// Bytes that the program has from the pool.
    pub used: AtomicU64,
    /// Highest `used` since the mark was set back.
    pub used_high: AtomicU64,
    /// Bytes that the pool has from the driver.
    pub reserved: AtomicU64,
    /// Highest `reserved` since the mark was set back.
    pub reserved_high: AtomicU64,
}

/// Whether something is there, for fields of the shared page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
}

impl Presence {
    /// The value of a field of the shared page.
    pub fn of(field: &AtomicU32) -> Presence {
        match field.load(Acquire) {
            1 => Presence::Absent,
            2 => Presence::Present,
            _ => Presence::Unknown,
        }
    }

    pub(super) fn put(field: &AtomicU32, present: bool) {
        field.store(1 + u32::from(present), Release);
    }
}

impl GpuPage {
    /// Forgets all.
    pub fn clear(&self) {
        self.driver_before.store(0, Relaxed);
        self.driver_after.store(0, Relaxed);
        self.nothing_unloaded.store(0, Relaxed);
        self.context_before.store(0, Relaxed);
        self.context_after.store(0, Relaxed);
        for device in &self.devices {
            device.uuid[0].store(0, Relaxed);
            device.uuid[1].store(0, Relaxed);
            device.before.clear();
            device.seen.clear();
            device.after.clear();
            device.marks_reset.store(0, Relaxed);
            device.released.store(0, Relaxed);
            device.pool_changed.store(0, Relaxed);
            device.pool.store(0, Relaxed);
        }
    }

    /// Whether the context that was current on the cell's thread before the user's code is current
    /// after it; `None` where one of them is not known.
    pub fn same_context(&self) -> Option<bool> {
        let ids = [&self.context_before, &self.context_after].map(|id| id.load(Relaxed));
        (!ids.contains(&0)).then(|| ids[0] == ids[1])
    }

    /// As if these contexts had been current.
    #[cfg(test)]
    pub(crate) fn set_contexts(&self, before: u64, after: u64) {
        self.context_before.store(before, Relaxed);
        self.context_after.store(after, Relaxed);
    }

    /// The device with this UUID, if CUDA has it.
    pub fn device(&self, uuid: [u8; 16]) -> Option<&DevicePage> {
        self.devices
            .iter()
            .find(|device| device.uuid() == Some(uuid))
    }
}

impl DevicePage {
    /// Its UUID; `None` where the worker's CUDA has no such device.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        let halves = [&self.uuid[0], &self.uuid[1]].map(|half| half.load(Relaxed));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&halves[0].to_be_bytes());
        bytes[8..].copy_from_slice(&halves[1].to_be_bytes());
        (bytes != [0; 16]).then_some(bytes)
    }

    pub(crate) fn set_uuid(&self, bytes: [u8; 16]) {
        let half = |from: usize| {
            let bytes: [u8; 8] = std::array::from_fn(|index| bytes[from + index]);
            u64::from_be_bytes(bytes)
        };
        self.uuid[0].store(half(0), Relaxed);
        self.uuid[1].store(half(8), Relaxed);
    }
}

impl PoolPage {
    /// Whether the device's primary context was active.
    pub fn context(&self) -> Presence {
        Presence::of(&self.context)
    }

    /// Bytes used and reserved at this look; zero where the context is surely absent, and the pool
    /// with it.
    pub fn in_use(&self) -> [Option<u64>; 2] {
        match self.context() {
            Presence::Present => [known(&self.used), known(&self.reserved)],
            Presence::Absent => [Some(0); 2],
            Presence::Unknown => [None; 2],
        }
    }

    pub(super) fn clear(&self) {
        self.context.store(0, Relaxed);
        self.error.store(0, Relaxed);
        self.set([None; 4]);
    }

    /// As if the context were active and the pool read as used, its mark, reserved, its mark.
    #[cfg(test)]
    pub(crate) fn fill(&self, values: [u64; 4]) {
        self.set(values.map(Some));
        Presence::put(&self.context, true);
    }

    /// As if there were no context.
    #[cfg(test)]
    pub(crate) fn fill_absent(&self) {
        Presence::put(&self.context, false);
    }

    /// As if the driver had refused to tell of the pool.
    #[cfg(test)]
    pub(crate) fn fill_error(&self, error: u32) {
        self.error.store(error, Relaxed);
        Presence::put(&self.context, true);
    }

    fn set(&self, values: [Option<u64>; 4]) {
        let fields = [
            &self.used,
            &self.used_high,
            &self.reserved,
            &self.reserved_high,
        ];
        for (field, value) in fields.into_iter().zip(values) {
            put(field, value);
        }
    }

    pub(super) fn store(&self, look: &Look) {
        match look {
            Look::NoContext => Presence::put(&self.context, false),
            Look::Failed(error) => {
                self.error.store(*error, Relaxed);
                self.context.store(0, Release);
            }
            Look::Pool { values, error, .. } => {
                self.set(*values);
                self.error.store(*error, Relaxed);
                Presence::put(&self.context, true);
            }
        }
    }

    /// As [`PoolPage::store`], but of the marks the highest are kept.
    fn raise(&self, look: &Look) {
        let marks = [known(&self.used_high), known(&self.reserved_high)];
        self.store(look);
        if let Look::Pool { .. } = look {
            for (field, earlier) in [&self.used_high, &self.reserved_high]
                .into_iter()
                .zip(marks)
            {
                put(field, known(field).max(earlier));
            }
        }
    }
}

impl DevicePage {
    /// Takes note of which pool was read: marks of another say nothing of the first.
    pub(super) fn note_pool(&self, look: &Look) {
        let Look::Pool { handle, .. } = look else {
            return;
        };
        let first = self.pool.swap(*handle, Relaxed);
        if ![0, *handle].contains(&first) && *handle != 0 {
            self.pool_changed.store(1, Relaxed);
        }
    }

    pub(super) fn take_note(&self, look: &Look) {
        let was_there = match self.seen.context() {
            Presence::Unknown => self.before.context() == Presence::Present,
            seen => seen == Presence::Present,
        };
        let fell = match look {
            Look::NoContext => was_there,
            Look::Failed(_) => false,
            Look::Pool { values, .. } => values[1] < known(&self.seen.used_high),
        };
        if fell {
            self.released.store(1, Relaxed);
        }
        self.note_pool(look);
        self.seen.raise(look);
    }
}
