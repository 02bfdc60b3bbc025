//! How things stand while work runs: what the watching threads have seen so far, and readings of
//! this moment. Nothing here samples: it is asked a few times a second, by whoever shows it.
//!
//! **Cost**: a [`LiveView::now`] takes about 0.2 ms of the watcher's processor, none of the worker's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crate::gpu_watch::{GpuNow, GpuQuestion};
use crate::heap;
use crate::page::{PageMapping, Phase, known};
use crate::probe::host::ProcessProbe;
use crate::probe::machine::SystemProbe;
use crate::record::{Memory, Row, Scope};
use crate::sampler::{Families, Samples, SoFar, sampled_every};
use crate::table::{Column, Entry, Grid, Table};
use crate::units;

/// How wide the bar of a row with a limit is, in characters.
const BAR: u64 = 10;

/// One running measurement, to be looked at from another thread. See
/// [`crate::capture::Capture::live_view`].
pub struct LiveView {
    pub(crate) page: Arc<PageMapping>,
    pub(crate) system: Option<Arc<SystemProbe>>,
    pub(crate) families: Arc<Families>,
    pub(crate) worker: i32,
    pub(crate) process: Option<ProcessProbe>,
    pub(crate) runs_before: u64,
    pub(crate) start: Instant,
    pub(crate) so_far: SoFar,
    pub(crate) gpus: GpuQuestion,
    /// The worker counts its heap, and nothing takes memory past it.
    pub(crate) heap_counted: bool,
    /// Whether the code has begun. Never taken back, though a new process counts from 0.
    pub(crate) begun: AtomicBool,
}

/// What work is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is being compiled, or waits for that.
    Compiling,
    /// It runs.
    Running,
    /// It has come to its end, one way or other.
    Ending,
}

/// How things stand at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What the work is doing.
    pub stage: Stage,
    /// Seconds since the measurement was started.
    pub elapsed_s: f64,
    /// Seconds since the code began to run, while it runs.
    pub run_s: Option<f64>,
    /// The memories, in the order of the table.
    pub rows: Vec<LiveRow>,
}

/// One memory at one moment. Sizes in bytes; `None` is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRow {
    /// Its name, such as `process RAM`.
    pub label: String,
    /// What it is now.
    pub now: Option<u64>,
    /// The highest that is known of this run up to now. It may have missed a peak where `how` says
    /// `sampled`.
    pub highest: Option<u64>,
    /// What there can be at most.
    pub limit: Option<u64>,
    /// How `highest` was got.
    pub how: String,
}

impl LiveView {
    /// Looks now.
    pub fn now(&self) -> Look {
        let page = self.page.page();
        let phase = page.phase();
        if page.run_count() != self.runs_before || phase == Phase::Running {
            self.begun.store(true, Relaxed);
        }
        let stage = match (self.begun.load(Relaxed), phase) {
            (_, Phase::Running) => Stage::Running,
            (false, _) => Stage::Compiling,
            (true, _) => Stage::Ending,
        };
        let samples = self.so_far.read();
        let mut rows = vec![self.process_row(stage, &samples)];
        rows.extend(self.children_row(&samples));
        rows.extend(self.heap_row(stage));
        rows.push(self.system_row(stage, &samples));
        rows.extend(self.gpu_rows(stage));
        if stage == Stage::Compiling {
            rows.extend(samples.compiler.map(|highest| LiveRow {
                label: "compiler".into(),
                now: None,
                highest: Some(highest),
                limit: None,
                how: "sampled".into(),
            }));
        }
        Look {
            stage,
            elapsed_s: self.start.elapsed().as_secs_f64(),
            run_s: (stage == Stage::Running)
                .then(|| page.run_seconds())
                .flatten(),
            rows,
        }
    }

    fn process_row(&self, stage: Stage, samples: &Samples) -> LiveRow {
        let memory = self.process.as_ref().and_then(|probe| probe.read().ok());
        let is_reset = self.page.page().high_water_reset.load(Relaxed) == 1;
        let mark = memory.as_ref().and_then(|memory| memory.high_water);
        let now = memory.map(|memory| memory.rss);
        let (highest, how) = match (stage, mark.filter(|_| is_reset)) {
            (Stage::Compiling, _) => (None, String::new()),
            (Stage::Running, Some(mark)) => (Some(mark), "kernel high-water mark".into()),
            _ => (samples.worker_high_water.max(now), sampled_every()),
        };
        LiveRow {
            label: Row::empty(Memory::Ram, Scope::Process).label(),
            now,
            highest,
            limit: samples.first.and_then(|first| first.limit),
            how,
        }
    }

    fn children_row(&self, samples: &Samples) -> Option<LiveRow> {
        let highest = samples.children.filter(|bytes| *bytes > 0)?;
        let now = self.families.children_of(self.worker);
        Some(LiveRow {
            label: Row::empty(Memory::Ram, Scope::Children).label(),
            now,
            highest: Some(highest).max(now),
            limit: None,
            how: sampled_every(),
        })
    }

    fn heap_row(&self, stage: Stage) -> Option<LiveRow> {
        if !self.heap_counted || self.page.page().heap_counted.load(Relaxed) == 0 {
            return None;
        }
        let page = self.page.page();
        let counts = page.heap.read();
        let bytes = |value: i64| Some(value.max(0) as u64);
        let (highest, how) = match stage {
            // Until the code begins, the peak is that of earlier code.
            Stage::Compiling => (None, String::new()),
            Stage::Running | Stage::Ending => {
                let how = match heap::peak_error(page.heap.threads()) {
                    0 => "allocator".into(),
                    error => format!("allocator, within {} KiB", error / 1024),
                };
                (bytes(counts.peak), how)
            }
        };
        Some(LiveRow {
            label: Row::empty(Memory::Heap, Scope::Process).label(),
            now: bytes(counts.live),
            highest,
            limit: None,
            how,
        })
    }

    fn system_row(&self, stage: Stage, samples: &Samples) -> LiveRow {
        let memory = self.system.as_ref().and_then(|probe| probe.read().ok());
        let now = memory.as_ref().map(|memory| memory.used);
        let whose = self.system.as_ref().map(|probe| probe.describe());
        let running = stage != Stage::Compiling;
        LiveRow {
            label: Row::empty(Memory::Ram, Scope::System).label(),
            now,
            highest: samples.system.max(now).filter(|_| running),
            limit: memory.map(|memory| memory.limit),
            how: match (running, whose) {
                (true, Some(whose)) => format!("{}, {whose}", sampled_every()),
                (false, Some(whose)) => whose,
                (_, None) => String::new(),
            },
        }
    }

    fn gpu_rows(&self, stage: Stage) -> Vec<LiveRow> {
        let gpus = self.gpus.now();
        let only_one = gpus.len() == 1;
        let floor = units::noise_floor(Memory::Vram, Scope::Device);
        let is_used = |gpu: &GpuNow| {
            let highest = gpu.peak.max(gpu.used);
            matches!((highest, gpu.before), (Some(high), Some(before)) if high.abs_diff(before) >= floor)
        };
        let mut rows = Vec::new();
        for gpu in gpus {
            let pool = gpu.uuid.and_then(|uuid| self.page.page().gpu.device(uuid));
            let reserved = pool.and_then(|pool| known(&pool.seen.reserved));
            if !only_one && !is_used(&gpu) && reserved.unwrap_or(0) == 0 {
                continue;
            }
            let running = stage != Stage::Compiling;
            let label = |scope| {
                let mut row = Row::empty(Memory::Vram, scope);
                row.device = Some(gpu.device.clone());
                row.label()
            };
            if let Some(reserved) = reserved.filter(|_| running) {
                let mark = pool.and_then(|pool| known(&pool.seen.reserved_high));
                rows.push(LiveRow {
                    label: label(Scope::PoolReserved),
                    now: Some(reserved),
                    highest: mark.max(Some(reserved)),
                    limit: gpu.total,
                    how: "pool high-water mark".into(),
                });
            }
            rows.push(LiveRow {
                label: label(Scope::Device),
                now: gpu.used,
                highest: gpu.peak.max(gpu.used).filter(|_| running),
                limit: gpu.total,
                how: match running {
                    true => crate::sampler::gpu_sampled_every(),
                    false => String::new(),
                },
            });
        }
        rows
    }
}

impl Look {
    /// What the work is doing, and since when, such as `running 12 s`.
    fn headline(&self) -> String {
        let seconds = |value: f64| format!("{value:.1} s");
        match (self.stage, self.run_s) {
            (Stage::Compiling, _) => format!("compiling {}", seconds(self.elapsed_s)),
            (Stage::Running, Some(run)) => format!("running {}", seconds(run)),
            (Stage::Running, None) => format!("running {}", seconds(self.elapsed_s)),
            (Stage::Ending, _) => format!("ending, after {}", seconds(self.elapsed_s)),
        }
    }

    /// As a table, to be drawn by [`crate::html`]. `title` names the cell.
    pub fn table(&self, title: &str) -> Table {
        let rows = self.rows.iter().map(|row| {
            let bytes = |value: Option<u64>| value.map(units::format_bytes);
            vec![
                Entry::new(row.label.clone()),
                Entry {
                    weight: crate::table::Weight::Strong,
                    ..Entry::or_absent(bytes(row.now))
                },
                Entry::or_absent(bytes(row.highest)),
                Entry {
                    hint: bytes(row.limit).map(|limit| format!("limit {limit}")),
                    ..Entry::or_absent(bar(row))
                },
                Entry::faint(row.how.clone()),
            ]
        });
        Table {
            title: format!("{title} · {}", self.headline()),
            grids: vec![Grid {
                columns: vec![
                    Column::words(""),
                    Column::number("now"),
                    Column::number("highest so far"),
                    Column::words("now of limit"),
                    Column::words("how"),
                ],
                rows: rows.collect(),
            }],
            ..Table::default()
        }
    }

    /// As one line of at most `width` columns, for a terminal: what does not fit is left out.
    pub fn line(&self, title: &str, width: usize) -> String {
        let mut line = format!("{title} {}", self.headline());
        let bytes = units::format_bytes;
        let parts = self.rows.iter().enumerate().filter_map(|(place, row)| {
            let percent = row.now.and_then(|now| units::percent(now, row.limit?));
            // The process stands first. Its limit is the system's, which has a part of its own.
            let value = match (place, row.now, row.highest, percent) {
                (0, Some(now), Some(highest), _) if highest > now => {
                    format!("{} (max {})", bytes(now), bytes(highest))
                }
                (1.., _, _, Some(percent)) => units::format_percent(percent),
                (_, Some(now), ..) => bytes(now),
                (_, None, Some(highest), _) => format!("max {}", bytes(highest)),
                (_, None, None, _) => return None,
            };
            Some(format!(" · {} {value}", row.label))
        });
        for part in parts {
            if line.chars().count() + part.chars().count() > width {
                break;
            }
            line += &part;
        }
        line
    }
}

/// How much of the limit is taken now, as a bar and in percent.
fn bar(row: &LiveRow) -> Option<String> {
    let percent = units::percent(row.now?, row.limit?)?;
    let full = ((percent / 100.0 * BAR as f64).round() as u64).min(BAR) as usize;
    Some(format!(
        "{}{} {}",
        "█".repeat(full),
        "░".repeat(BAR as usize - full),
        units::format_percent(percent)
    ))
}

#[cfg(test)]
mod tests;
