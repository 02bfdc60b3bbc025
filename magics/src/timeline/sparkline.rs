//! A cell's samples as a line of blocks, which text and HTML of any viewer can show.

use super::{Timeline, key_of, rounded};
use crate::record::{Memory, Record, Row, Scope};
use crate::table::{Column, Entry, Grid};
use crate::units;

/// Characters of a line at most.
const WIDTH: usize = 28;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Stands where nothing was read.
const GAP: char = '·';

/// A block for each value, from `low` to `high`; a level line where these are not `floor` bytes apart.
pub fn line(values: &[Option<u64>], low: u64, high: u64, floor: u64) -> String {
    let span = high.saturating_sub(low);
    values
        .iter()
        .map(|value| match value {
            None => GAP,
            Some(_) if span < floor.max(1) => BLOCKS[0],
            Some(value) => {
                let share = value.saturating_sub(low) as f64 / span as f64;
                BLOCKS[((share * 7.0).round() as usize).min(7)]
            }
        })
        .collect()
}

/// The memories of one cell over the run of its code, a line each: the process, and of the others those
/// that moved. `None` where the code did not run.
pub fn grid(record: &Record, timeline: &Timeline) -> Option<Grid> {
    let run = record.duration_s.run?;
    let lines = record.rows.iter().filter(|row| {
        let is_process = (row.memory, row.scope) == (Memory::Ram, Scope::Process);
        is_process || (is_drawn(row) && moved(row))
    });
    let rows: Vec<Vec<Entry>> = lines
        .filter_map(|row| {
            Some(vec![
                Entry::new(row.label()),
                Entry::drawn(blocks(row, timeline, run, WIDTH)?),
                Entry::new(words(row, timeline, run)),
            ])
        })
        .collect();
    (!rows.is_empty()).then(|| Grid {
        columns: vec![
            Column::words("over time"),
            Column::words(""),
            Column::words(""),
        ],
        rows,
    })
}

/// Rows that are worth a line of their own.
fn is_drawn(row: &Row) -> bool {
    matches!(
        (row.memory, row.scope),
        (Memory::Ram, Scope::Children | Scope::System)
            | (Memory::Vram, Scope::Device | Scope::PoolUsed)
    )
}

fn moved(row: &Row) -> bool {
    let floor = units::noise_floor(row.memory, row.scope).max(1);
    row.kept().is_some_and(|kept| kept.unsigned_abs() >= floor)
        || row.temporary().is_some_and(|bytes| bytes >= floor)
}

/// The line of blocks of a row over the run, of `width` characters at most; `None` where it was not sampled at all.
pub(crate) fn blocks(row: &Row, timeline: &Timeline, run: f64, width: usize) -> Option<String> {
    let thinned = timeline.thinned(&key_of(row), 0.0, rounded(run), width);
    let values: Vec<Option<u64>> = thinned.into_iter().map(|(_, value)| value).collect();
    let known = || values.iter().flatten().copied();
    let (low, high) = (known().min()?, known().max()?);
    let floor = units::noise_floor(row.memory, row.scope);
    Some(line(&values, low, high, floor))
}

/// What the line shows, in words: `74.1 MiB to 330 MiB, peak at 0.41 s of 1.20 s`.
pub(crate) fn words(row: &Row, timeline: &Timeline, run: f64) -> String {
    let of_run = format!("of {}", units::format_seconds(run));
    let Some(peak) = row.peak else {
        return format!("the peak is not known, {of_run}");
    };
    let peak_words = format!("peak {}", units::format_bytes(peak));
    if timeline.looks_in_run(run) < 2 {
        return format!("{peak_words}, {of_run}: {}", too_short());
    }
    let values = || {
        timeline
            .samples(&key_of(row))
            .filter(|(t, _)| (0.0..=rounded(run)).contains(t))
            .filter_map(|(t, value)| Some((t, value?)))
    };
    let lowest = values().map(|(_, value)| value).min();
    // The first of equals: from there on it was so.
    let highest = values().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let from = match lowest {
        Some(low) if low < peak => format!("from {}, ", units::format_bytes(low)),
        _ => String::new(),
    };
    match highest {
        Some((t, value)) if is_near(row, value, peak) => {
            let at = match t {
                t if t <= 0.0 => "the start".into(),
                t if t >= rounded(run) => "the end".into(),
                t => units::format_seconds(t),
            };
            format!("{from}{peak_words} at {at} {of_run}")
        }
        _ => format!("{from}{peak_words} between two samples, {of_run}"),
    }
}

/// Whether a sample is so near the exact peak that its time is the peak's.
fn is_near(row: &Row, sample: u64, peak: u64) -> bool {
    let low = row.before.unwrap_or(0).min(peak);
    let tolerance = units::noise_floor(row.memory, row.scope).max((peak - low) / 50);
    peak.saturating_sub(sample) <= tolerance
}

/// Why a run has no line.
pub(crate) fn too_short() -> String {
    let apart = crate::sampler::INTERVAL.as_millis();
    format!("too short for two samples {apart} ms apart")
}
