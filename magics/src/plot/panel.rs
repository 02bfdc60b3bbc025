//! Which memories are drawn together, and in which colours.

use super::{Cell, Plot};
use crate::record::{Device, Memory, Row, Scope};
use crate::table::quiet_gpus;
use crate::timeline::{COMPILER, key_of};
use crate::units;

/// A group of memories on one scale.
pub(super) struct Panel {
    pub title: String,
    pub series: Vec<Series>,
    /// Whether its scale begins at zero in any case.
    pub from_zero: bool,
    pub height: f64,
}

/// One memory over all cells of the plot. Its colour has a contrast of 3.8 or more to white, to
/// `#1e1e1e` and to `#111`.
pub(super) struct Series {
    pub key: String,
    pub name: String,
    pub colour: &'static str,
    /// Whether the area under it is shaded.
    pub filled: bool,
}

impl Panel {
    /// The series of which the panel tells the peak in words.
    pub fn main(&self) -> &Series {
        &self.series[0]
    }

    /// The lowest and the highest number of bytes in it, those of the compiler left out where they would
    /// press all else to the ground; and whether they were.
    pub fn extent(&self, plot: &Plot) -> (u64, u64, bool) {
        let mut all: Vec<u64> = Vec::new();
        let mut compiler = 0;
        for cell in &plot.cells {
            for series in &self.series {
                if let Some(row) = series.row(cell) {
                    all.extend([row.before, row.peak, row.after].into_iter().flatten());
                }
                let samples = cell.timeline.iter().flat_map(|it| it.samples(&series.key));
                let values = samples.filter_map(|(_, value)| value);
                match series.key == COMPILER {
                    true => compiler = values.max().unwrap_or(0).max(compiler),
                    false => all.extend(values),
                }
            }
        }
        let lowest = all.iter().copied().min().unwrap_or(0);
        let highest = all.iter().copied().max().unwrap_or(0);
        let is_beyond = highest > 0 && compiler / 4 > highest;
        (
            lowest,
            if is_beyond {
                highest
            } else {
                highest.max(compiler)
            },
            is_beyond,
        )
    }

    /// The limit of its memories, in the latest cell that has one.
    pub fn limit(&self, plot: &Plot) -> Option<u64> {
        let rows = plot
            .cells
            .iter()
            .rev()
            .filter_map(|cell| self.main().row(cell));
        rows.filter_map(|row| row.limit).find(|limit| *limit > 0)
    }
}

impl Series {
    /// The row of `cell` that tells its peak.
    pub fn row<'a>(&self, cell: &Cell<'a>) -> Option<&'a Row> {
        cell.record.rows.iter().find(|row| key_of(row) == self.key)
    }

    fn of(row: &Row) -> Series {
        let (colour, filled) = match (row.memory, row.scope) {
            (Memory::Ram, Scope::Process) => ("#2f80d0", true),
            (Memory::Ram, Scope::System) => ("#1f8f6a", false),
            (Memory::Ram, _) => ("#8a6bd1", false),
            (Memory::Heap, _) => ("#b3721b", false),
            (Memory::Vram, Scope::PoolUsed) => ("#cf4a78", false),
            (Memory::Vram, Scope::PoolReserved) => ("#a05fc4", false),
            (Memory::Vram, _) => ("#c8602a", true),
        };
        Series {
            key: key_of(row),
            name: match &row.device {
                // The panel names the GPU.
                Some(device) => row.label().replacen(&device.label(), "", 1).trim().into(),
                None => row.label(),
            },
            colour,
            filled,
        }
    }
}

/// The panels of a plot, from top to bottom.
pub(super) fn panels(plot: &Plot) -> Vec<Panel> {
    let mut panels = vec![process(plot), system(plot)];
    let mut devices: Vec<&Device> = Vec::new();
    for row in rows(plot, |row| row.memory == Memory::Vram) {
        devices.extend(row.device.as_ref().filter(|it| !devices.contains(it)));
    }
    // Those that no cell used and that did not change would hide the others.
    devices.retain(|device| {
        let mut records = plot.cells.iter().map(|cell| cell.record);
        !records.all(|record| quiet_gpus(record).contains(device))
    });
    for device in devices {
        panels.push(gpu(plot, device));
    }
    panels.retain(|panel| !panel.series.is_empty());
    panels
}

fn process(plot: &Plot) -> Panel {
    let mut series = series(plot, |row| {
        matches!(
            (row.memory, row.scope),
            (Memory::Ram, Scope::Process | Scope::Children) | (Memory::Heap, _)
        )
    });
    let compiler = plot.cells.iter().any(|cell| {
        let timeline = cell.timeline;
        timeline.is_some_and(|timeline| timeline.series.contains_key(COMPILER))
    });
    if compiler && !series.is_empty() {
        series.push(Series {
            key: COMPILER.into(),
            name: "compiler".into(),
            colour: "#7b8794",
            filled: false,
        });
    }
    Panel {
        title: "the process that runs the cells".into(),
        series,
        from_zero: true,
        height: 170.0,
    }
}

fn system(plot: &Plot) -> Panel {
    Panel {
        title: "the machine or container".into(),
        series: series(plot, |row| {
            (row.memory, row.scope) == (Memory::Ram, Scope::System)
        }),
        from_zero: false,
        height: 90.0,
    }
}

fn gpu(plot: &Plot, device: &Device) -> Panel {
    let is_here = |row: &Row| row.memory == Memory::Vram && row.device.as_ref() == Some(device);
    let mut series = series(plot, |row| is_here(row) && row.scope != Scope::Process);
    // The whole device first: the rest is in it.
    series.sort_by_key(|series| !series.key.starts_with("vram/device"));
    Panel {
        title: match device.name.is_empty() {
            true => device.label(),
            false => format!("{}, {}", device.label(), device.name),
        },
        series,
        from_zero: true,
        height: 120.0,
    }
}

/// One series for each row that `wanted` takes and of which a value is known, in the rows' order.
fn series(plot: &Plot, wanted: impl Fn(&Row) -> bool) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for row in rows(plot, wanted) {
        let key = key_of(row);
        if row.before.or(row.peak).or(row.after).is_some()
            && !series.iter().any(|known| known.key == key)
        {
            series.push(Series::of(row));
        }
    }
    series
}

fn rows<'a>(plot: &Plot<'a>, wanted: impl Fn(&Row) -> bool) -> impl Iterator<Item = &'a Row> {
    let records: Vec<_> = plot.cells.iter().map(|cell| cell.record).collect();
    let rows = records.into_iter().flat_map(|record| &record.rows);
    rows.filter(move |row| wanted(row))
}

/// How near a peak came to a limit, in words, such as `peak 1.4 % of 23.5 GiB`.
pub(super) fn of_limit(peak: u64, limit: u64) -> Option<String> {
    let percent = units::percent(peak, limit)?;
    Some(format!(
        "peak {} of {}",
        units::format_percent(percent),
        units::format_bytes(limit)
    ))
}
