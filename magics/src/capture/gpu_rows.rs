//! The rows of GPU memory, for each device: this process, its CUDA pool, the whole device.
//!
//! What the driver tells of a process is believed only where the row is surely this process's; see
//! [`held`]. Where nothing is known, the row says why.

use std::sync::atomic::Ordering::Relaxed;

use super::WorkEnd;
use super::rows::{DID_NOT_RUN, DIED, REPLACED};
use crate::gpu_watch::{GpuSample, GpuSamples};
use crate::page::known;
use crate::probe::cuda::{self, DevicePage, GpuPage, PoolPage, Presence};
use crate::probe::nvml::{GpuAbsence, pids_are_global};
use crate::record::{CudaContext, Device, Memory, Row, Scope};
use crate::sampler::GPU_INTERVAL;

mod held;

use held::{Held, Trust, held};

/// What is known of the GPUs when the work has ended.
pub(super) struct GpuView<'a> {
    pub page: &'a GpuPage,
    pub samples: &'a GpuSamples,
    pub worker: i32,
    pub end: &'a WorkEnd,
}

const NO_PEAK: &str = "the processes on a GPU are listed before and after the cell only (it takes the \
     driver's lock for milliseconds), so this row has no peak of its own; see the pool and device \
     rows";

impl GpuView<'_> {
    /// The rows, in the order of the table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        match self.samples {
            Ok(samples) => {
                for sample in samples {
                    let pool = sample.uuid.and_then(|uuid| self.page.device(uuid));
                    let pool_rows = self.pool_rows(pool, &sample.device, sample.total);
                    rows.push(self.process_row(sample, pool, &pool_rows));
                    rows.extend(pool_rows);
                    rows.push(self.device_row(sample));
                }
            }
            Err(GpuAbsence::NoNvidia) => {}
            Err(GpuAbsence::Unreadable(reason)) => {
                let mut row = Row::empty(Memory::Vram, Scope::Device);
                row.unavailable = Some(reason.clone());
                rows.push(row);
            }
        }
        // CUDA without NVML: the pools are still known.
        for (number, slot) in self.page.devices.iter().enumerate() {
            let Some(uuid) = slot.uuid() else { continue };
            let by_nvml = self
                .samples
                .as_ref()
                .is_ok_and(|samples| samples.iter().any(|sample| sample.uuid == Some(uuid)));
            if !by_nvml {
                let device = cuda_device(number, uuid);
                rows.extend(self.pool_rows(Some(slot), &device, None));
            }
        }
        rows
    }

    fn process_row(&self, sample: &GpuSample, pool: Option<&DevicePage>, pools: &[Row]) -> Row {
        let mut row = row(Scope::Process, &sample.device, sample.total);
        let lists = &sample.processes;
        let driver = |field| match Presence::of(field) {
            Presence::Unknown => None,
            presence => Some(presence == Presence::Present),
        };
        let context = |page: fn(&DevicePage) -> &PoolPage| {
            pool.is_some_and(|slot| page(slot).context() == Presence::Present)
        };
        let trust = |driver, has_context| Trust {
            pid: self.worker.unsigned_abs(),
            driver,
            has_context,
            pids_are_global: pids_are_global(),
            baseline: lists.baseline.as_deref(),
        };
        let driver_before = driver(&self.page.driver_before).or(lists.driver_before);
        let before = held(
            &lists.before,
            &trust(driver_before, context(|slot| &slot.before)),
        );
        let driver_after = driver(&self.page.driver_after);
        let after = match self.end {
            WorkEnd::Finished => held(
                &lists.after,
                &trust(driver_after, context(|slot| &slot.after)),
            ),
            WorkEnd::NeverRan => before.clone(),
            WorkEnd::Replaced => Held::Unknown(REPLACED.into()),
            WorkEnd::Died { .. } => Held::Unknown(DIED.into()),
        };
        (row.before, row.after) = (before.bytes(), after.bytes());
        let inferred = matches!(before, Held::Inferred(_)) || matches!(after, Held::Inferred(_));
        let reserved = pools.iter().find(|row| row.scope == Scope::PoolReserved);
        let above = reserved
            .filter(|reserved| reserved.exact)
            .and_then(|reserved| reserved.peak?.checked_sub(reserved.after?));
        match (self.end, row.after, above) {
            (WorkEnd::NeverRan, Some(after), _) => {
                (row.peak, row.exact) = (Some(after), true);
                row.peak_method = Some(DID_NOT_RUN.into());
            }
            (WorkEnd::Finished, Some(0), _) if driver_after == Some(false) => {
                row.peak = Some(0);
                // Unless it was loaded, used and unloaded in between.
                row.exact = self.page.nothing_unloaded.load(Relaxed) == 1;
                row.peak_method = Some("no NVIDIA library in the process".into());
            }
            (WorkEnd::Finished, Some(after), Some(above)) => {
                row.peak = Some(after + above).max(row.before);
                row.peak_method = Some(match inferred {
                    false => "inferred: after, plus the pool's mark".into(),
                    true => "inferred: the one new process, plus the pool's mark".into(),
                });
            }
            _ => {}
        }
        row.unavailable = after.reason().or(before.reason());
        if row.peak.is_none() && row.unavailable.is_none() {
            row.unavailable = Some(match inferred {
                false => NO_PEAK.into(),
                true => format!("inferred from the one process that is new on this GPU; {NO_PEAK}"),
            });
        }
        row
    }

    fn pool_rows(
        &self,
        slot: Option<&DevicePage>,
        device: &Device,
        total: Option<u64>,
    ) -> Vec<Row> {
        let Some(slot) = slot else { return Vec::new() };
        if matches!(self.end, WorkEnd::NeverRan | WorkEnd::Replaced) {
            return Vec::new();
        }
        let there = |page: &PoolPage| page.context() == Presence::Present;
        let was_there = slot.released.load(Relaxed) == 1;
        if !was_there
            && ![&slot.before, &slot.seen, &slot.after]
                .into_iter()
                .any(there)
        {
            return Vec::new();
        }
        let used: Kind = (Scope::PoolUsed, |page| &page.used, |page| &page.used_high);
        let reserved: Kind = (
            Scope::PoolReserved,
            |page| &page.reserved,
            |page| &page.reserved_high,
        );
        [used, reserved]
            .map(|kind| self.pool_row(slot, kind, row(kind.0, device, total)))
            .into()
    }

    fn pool_row(&self, slot: &DevicePage, (_, now, high): Kind, mut row: Row) -> Row {
        let mut reason = None;
        // Without a context there is no pool, so nothing is in it.
        let mut at = |page| match PoolPage::context(page) {
            Presence::Present => cuda::value(now(page), page)
                .map_err(|error| reason.get_or_insert(error).clone())
                .ok(),
            Presence::Absent | Presence::Unknown => Some(0),
        };
        row.before = at(&slot.before);
        let every = GPU_INTERVAL.as_millis();
        let released = slot.released.load(Relaxed) == 1;
        // Where the context is new its marks are of this cell, whatever they were before.
        let context = match slot.before.context() {
            Presence::Present => self.page.same_context(),
            Presence::Absent | Presence::Unknown => Some(true),
        };
        let changed = released || slot.pool_changed.load(Relaxed) == 1 || context == Some(false);
        // A mark that was not set back may be of an earlier cell.
        let marks_are_ours =
            slot.before.context() != Presence::Present || slot.marks_reset.load(Relaxed) == 1;
        let seen = known(if marks_are_ours {
            high(&slot.seen)
        } else {
            now(&slot.seen)
        });
        match (self.end, slot.after.context()) {
            (WorkEnd::Died { .. }, _) => {
                row.unavailable = Some(DIED.into());
                row.peak = seen;
                row.peak_method = Some(format!(
                    "pool high-water mark, read every {every} ms until it ended"
                ));
            }
            (_, Presence::Present) => {
                row.after = at(&slot.after);
                if marks_are_ours {
                    row.peak = known(high(&slot.after)).max(seen);
                    row.exact = !changed && context == Some(true);
                    row.peak_method = Some(match changed {
                        false if row.exact => "pool high-water mark".into(),
                        false => "pool high-water mark, if the context is still the same".into(),
                        true => "at least: the cell changed pool or context, whose marks are lost"
                            .into(),
                    });
                } else {
                    row.peak = seen;
                    row.peak_method = Some(format!("sampled every {every} ms"));
                }
            }
            (_, Presence::Absent) => {
                row.after = Some(0);
                row.peak = seen;
                row.peak_method = Some(format!(
                    "pool high-water mark, read up to {every} ms before the context was released"
                ));
                if row.peak.is_none() {
                    reason.get_or_insert(
                        "the cell released its CUDA context, and the pool's marks with it, before \
                         they were read: keep the context in a variable to have the exact peak"
                            .into(),
                    );
                }
            }
            (_, Presence::Unknown) => {
                row.peak = seen;
                row.peak_method = Some(format!(
                    "at least: pool high-water mark, read every {every} ms"
                ));
                reason.get_or_insert(cuda::explain_unread(&slot.after));
            }
        }
        if row.peak.is_some() {
            row.peak = row.peak.max(row.before).max(row.after);
        } else {
            (row.peak_method, row.exact) = (None, false);
        }
        let absent = row.before.is_none() || row.peak.is_none() || row.after.is_none();
        if absent && row.unavailable.is_none() {
            row.unavailable =
                Some(reason.unwrap_or_else(|| "CUDA's memory pool could not be read".into()));
        }
        row
    }

    fn device_row(&self, sample: &GpuSample) -> Row {
        let mut row = row(Scope::Device, &sample.device, sample.total);
        let reason = sample.after.as_ref().err().or(sample.before.as_ref().err());
        row.unavailable = reason.cloned();
        row.before = sample.before.as_ref().ok().copied();
        row.after = sample.after.as_ref().ok().copied();
        row.peak = sample.peak.max(row.before).max(row.after);
        row.peak_method = row.peak.map(|_| match self.end {
            WorkEnd::NeverRan | WorkEnd::Replaced => DID_NOT_RUN.into(),
            WorkEnd::Finished | WorkEnd::Died { .. } => {
                format!("sampled every {} ms", GPU_INTERVAL.as_millis())
            }
        });
        row
    }

    /// What CUDA's context cost, if the work made one. `rows` are all rows of the record.
    pub fn context(&self, rows: &[Row]) -> Option<CudaContext> {
        if !matches!(self.end, WorkEnd::Finished) {
            return None;
        }
        let samples = self.samples.as_deref().unwrap_or_default();
        let made = |slot: &&DevicePage| {
            slot.before.context() != Presence::Present && slot.after.context() == Presence::Present
        };
        let mut those = self.page.devices.iter().filter(made);
        let slot = those.next()?;
        // What several contexts cost the host cannot be told apart.
        let alone = those.next().is_none();
        let sample = samples.iter().find(|sample| sample.uuid == slot.uuid());
        let of_device = |scope| {
            let device = &sample?.device;
            rows.iter().find(|row| {
                row.memory == Memory::Vram
                    && row.scope == scope
                    && row.device.as_ref() == Some(device)
            })
        };
        let growth = |row: &Row| u64::try_from(row.kept()?).ok();
        let of_process = of_device(Scope::Process).and_then(growth);
        let of_whole = of_device(Scope::Device).and_then(growth);
        let source = match (of_process, of_whole) {
            (Some(_), _) => Some("this process".into()),
            (None, Some(_)) => Some("whole device".into()),
            (None, None) => None,
        };
        let pool = known(&slot.after.reserved);
        let ram = rows
            .iter()
            .find(|row| (row.memory, row.scope) == (Memory::Ram, Scope::Process));
        let of_kind = |kind: fn(&crate::record::Split) -> Option<u64>| {
            let ram = ram.filter(|_| alone)?;
            let (before, after) = (ram.split_before.as_ref()?, ram.split_after.as_ref()?);
            kind(after)?.checked_sub(kind(before)?)
        };
        let vram = of_process
            .or(of_whole)
            .and_then(|growth| growth.checked_sub(pool?));
        Some(CudaContext {
            device: match sample {
                Some(sample) => sample.device.index,
                None => self
                    .page
                    .devices
                    .iter()
                    .position(|other| std::ptr::eq(other, slot))? as u32,
            },
            vram_source: source.filter(|_| vram.is_some()),
            vram,
            ram_anon: of_kind(|split| split.anon),
            ram_file: of_kind(|split| split.file),
        })
    }
}

/// A kind of pool row: its scope, its fields for the present value and for the mark.
type Kind = (Scope, Field, Field);
type Field = fn(&PoolPage) -> &std::sync::atomic::AtomicU64;

/// A device that only CUDA tells of, under CUDA's number.
fn cuda_device(number: usize, uuid: [u8; 16]) -> Device {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    Device {
        index: number as u32,
        uuid: Some(format!("GPU-{}", parts.join("-"))),
        name: format!("{} {number}", Device::BY_CUDA),
    }
}

fn row(scope: Scope, device: &Device, total: Option<u64>) -> Row {
    Row {
        device: Some(device.clone()),
        limit: total,
        ..Row::empty(Memory::Vram, scope)
    }
}

#[cfg(test)]
mod tests;
