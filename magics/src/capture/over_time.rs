//! The samples of a cell, put together: the host's and each GPU's, and the readings at the borders of
//! the user's code, all at the same times.

use std::collections::BTreeMap;

use crate::gpu_watch::GpuSample;
use crate::record::{Memory, Row, Scope};
use crate::sampler::HostPhases;
use crate::timeline::{COMPILER, Recorder, Timeline, key, key_of, rounded};

/// When the user's code ran.
pub(super) struct Run {
    /// Its start, or where it did not run the end of the measurement, in nanoseconds of
    /// `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// How long it ran, in seconds; `None` where it did not.
    pub seconds: Option<f64>,
}

/// A reading of a GPU is taken for later times too, for as long as this many times the usual distance
/// of two readings of the host: the two threads do not look at the same moment.
const HOLDS_FOR: u64 = 4;

/// Puts the samples together. `rows` are all rows of the cell: what has none has no series.
pub(super) fn timeline(host: &HostPhases, gpus: &[GpuSample], rows: &[Row], run: &Run) -> Timeline {
    let seconds = |time: u64| (time as f64 - run.start_ns as f64) / 1e9;
    let compiling: Vec<u64> = times(&host.compiling)
        .filter(|time| *time < run.start_ns)
        .collect();
    let end = run
        .seconds
        .map(|seconds| run.start_ns + (seconds * 1e9) as u64);
    let running: Vec<u64> = times(&host.running)
        .filter(|time| end.is_some_and(|end| (run.start_ns + 1..end).contains(time)))
        .collect();
    let mut series: BTreeMap<String, Vec<Option<u64>>> = BTreeMap::new();
    let host_keys = [
        key(Memory::Ram, Scope::Process, None),
        key(Memory::Ram, Scope::Children, None),
        key(Memory::Ram, Scope::System, None),
        key(Memory::Heap, Scope::Process, None),
        COMPILER.into(),
    ];
    for (place, key) in host_keys.into_iter().enumerate() {
        let values = [
            at_same_times(&host.compiling, place, &compiling),
            at_same_times(&host.running, place, &running),
        ];
        series.insert(key, values.concat());
    }
    for gpu in gpus {
        let scopes = [Scope::Device, Scope::PoolUsed, Scope::PoolReserved];
        for (place, scope) in scopes.into_iter().enumerate() {
            let values = [
                held(&gpu.over_time.compiling, place, &compiling),
                held(&gpu.over_time.running, place, &running),
            ];
            series.insert(key(Memory::Vram, scope, Some(&gpu.device)), values.concat());
        }
    }
    let mut t: Vec<f64> = compiling
        .iter()
        // Rounding must not make it the start of the code.
        .map(|time| rounded(seconds(*time)).min(-1e-5))
        .chain(running.iter().map(|time| rounded(seconds(*time))))
        .collect();
    let known = |row: &Row| row.before.or(row.peak).or(row.after).is_some();
    series.retain(|key, values| {
        let is_used = || values.iter().flatten().any(|bytes| *bytes > 0);
        let has_row = rows.iter().any(|row| known(row) && key_of(row) == *key);
        has_row || (key == COMPILER && is_used())
    });
    if let Some(run) = run.seconds {
        let start = compiling.len();
        t.insert(start, 0.0);
        t.push(rounded(run));
        for (key, values) in &mut series {
            let row = rows.iter().find(|row| key_of(row) == *key);
            values.insert(start, row.and_then(|row| row.before));
            values.push(row.and_then(|row| row.after));
        }
    }
    Timeline { t, series }
}

fn times<const WIDTH: usize>(recorder: &Recorder<WIDTH>) -> impl Iterator<Item = u64> {
    recorder.points().map(|(time, _)| time)
}

/// One of the values of those points of `recorder` that were taken at `times`.
fn at_same_times<const WIDTH: usize>(
    recorder: &Recorder<WIDTH>,
    place: usize,
    times: &[u64],
) -> Vec<Option<u64>> {
    recorder
        .points()
        .filter(|(time, _)| times.binary_search(time).is_ok())
        .map(|(_, values)| values[place])
        .collect()
}

/// One of the values of `recorder` for each of `times`: the highest that was read from there to
/// the next time; else the one read last, if that was not long ago.
fn held<const WIDTH: usize>(
    recorder: &Recorder<WIDTH>,
    place: usize,
    times: &[u64],
) -> Vec<Option<u64>> {
    let mut points = recorder.points().peekable();
    let mut last: Option<(u64, Option<u64>)> = None;
    let usual = match times {
        [first, .., end] => (end - first) / (times.len() as u64 - 1),
        _ => 0,
    };
    let mut values = Vec::with_capacity(times.len());
    for (index, time) in times.iter().enumerate() {
        let until = times.get(index + 1).copied().unwrap_or(time + usual.max(1));
        let mut highest: Option<Option<u64>> = None;
        while let Some((read, point)) = points.next_if(|(read, _)| *read < until) {
            last = Some((read, point[place]));
            if read >= *time {
                highest = Some(highest.flatten().max(point[place]));
            }
        }
        let recent = |(read, _): &(u64, _)| time.saturating_sub(*read) <= HOLDS_FOR * usual;
        values.push(highest.unwrap_or_else(|| last.filter(recent).and_then(|(_, value)| value)));
    }
    values
}

#[cfg(test)]
mod tests;
