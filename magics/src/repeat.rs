//! Several runs of one cell: medians and spread, and the one run whose record stands for all.
//!
//! The record that travels is a measured one, that of the run with the median peak, so that its
//! numbers belong together. The medians over all runs are beside it, in [`Repeats`].

use serde::{Deserialize, Serialize};

use crate::record::{CellStatus, Device, Memory, Record, Row, Scope};
use crate::units;

/// How often a cell may be repeated.
pub const RANGE: std::ops::RangeInclusive<u32> = 2..=1000;

/// What several runs of one cell used, and by how much they differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// How many runs were asked for.
    pub asked: u32,
    /// How many ended well. The statistics are over these.
    pub completed: u32,
    /// Which run, counted from 1, the record is of.
    pub shown: u32,
    /// Seconds of the user's code.
    pub run_s: Option<Statistic<f64>>,
    /// Seconds of compiling.
    pub compile_s: Option<Statistic<f64>>,
    /// The memories, in the order of the record's rows. Bytes.
    pub rows: Vec<RepeatRow>,
}

/// One memory over several runs, in bytes. `None` where no run tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatRow {
    /// The kind of memory.
    pub memory: Memory,
    /// Whose memory.
    pub scope: Scope,
    /// The GPU, for VRAM rows.
    pub device: Option<Device>,
    /// Just before the user's code ran.
    pub before: Option<Statistic<u64>>,
    /// Highest value while it ran.
    pub peak: Option<Statistic<u64>>,
    /// Just after it ended.
    pub after: Option<Statistic<u64>>,
    /// After minus before, of each run.
    pub kept: Option<Statistic<i64>>,
    /// Peak minus the larger of before and after, of each run.
    pub temporary: Option<Statistic<u64>>,
}

/// One number over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistic<T> {
    /// The middle value; of an even number of runs, half-way between the two in the middle.
    pub median: T,
    /// The lowest.
    pub min: T,
    /// The highest.
    pub max: T,
    /// How many runs tell it.
    pub runs: u32,
}

/// A number that has a median.
trait Number: Copy + PartialOrd {
    fn half_way(self, other: Self) -> Self;
}

impl Number for u64 {
    fn half_way(self, other: u64) -> u64 {
        self.midpoint(other)
    }
}

impl Number for i64 {
    fn half_way(self, other: i64) -> i64 {
        self.midpoint(other)
    }
}

impl Number for f64 {
    fn half_way(self, other: f64) -> f64 {
        self.midpoint(other)
    }
}

/// `None` of no values.
fn statistic<T: Number>(values: impl Iterator<Item = T>) -> Option<Statistic<T>> {
    let mut values: Vec<T> = values.collect();
    // No run takes a time that is not a number.
    values.sort_by(|left, right| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal));
    let (min, max) = (*values.first()?, *values.last()?);
    let upper = values[values.len() / 2];
    let lower = values[(values.len() - 1) / 2];
    Some(Statistic {
        median: lower.half_way(upper),
        min,
        max,
        runs: values.len() as u32,
    })
}

impl Statistic<u64> {
    /// Highest minus lowest.
    pub fn spread(&self) -> u64 {
        self.max - self.min
    }
}

impl Statistic<i64> {
    /// Highest minus lowest.
    pub fn spread(&self) -> u64 {
        self.max.abs_diff(self.min)
    }
}

/// Reads the value of `--repeat`.
///
/// # Errors
/// Where it is no number in [`RANGE`], with what to write.
pub fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|count| RANGE.contains(count))
        .ok_or_else(|| {
            format!(
                "`{text}` is not how often a cell can be repeated: write a number from {} to {}",
                RANGE.start(),
                RANGE.end()
            )
        })
}

/// The runs of one cell so far.
pub struct Series {
    asked: u32,
    records: Vec<Record>,
}

impl Series {
    /// No run yet of the `asked` ones.
    pub fn new(asked: u32) -> Series {
        Series {
            asked,
            records: Vec::new(),
        }
    }

    /// Takes the next run's record.
    pub fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The one record of the series: of the run with the median peak of process RAM, or of the run
    /// that did not end well, if there was one. `None` if no run was measured.
    pub fn into_record(mut self) -> Option<Record> {
        let completed = self.records.iter().filter(|record| is_well(record)).count();
        let place = match self.records.iter().position(|record| !is_well(record)) {
            Some(failed) => failed,
            None => self.median_run()?,
        };
        let repeats = Repeats {
            asked: self.asked,
            completed: completed as u32,
            shown: place as u32 + 1,
            run_s: self.times(|record| record.duration_s.run),
            compile_s: self.times(|record| record.duration_s.compile),
            rows: self.rows(),
        };
        let first_facts = self.records[0].environment.clone();
        let context = self.records.iter().find_map(|run| run.cuda_context.clone());
        let warnings = self.warnings_beside(place);
        let mut record = self.records.swap_remove(place);
        // Only the first record of a session brings the facts, and it must not be lost.
        record.environment = first_facts;
        // The cell made the context, though this run of it may have found it made.
        record.cuda_context = record.cuda_context.or(context);
        record.warnings.extend(warnings);
        if !is_well(&record) {
            record.warnings.push(ended_early(&repeats));
        }
        record.repeats = Some(repeats);
        Some(record)
    }

    fn well(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| is_well(record))
    }

    fn times(&self, of: fn(&Record) -> Option<f64>) -> Option<Statistic<f64>> {
        statistic(self.well().filter_map(of))
    }

    /// Of an even number the lower one in the middle: a run that there was.
    fn median_run(&self) -> Option<usize> {
        let peak = |place: &usize| {
            let rows = self.records[*place].rows_of(Memory::Ram, Scope::Process);
            rows.filter_map(|row| row.peak).next()
        };
        let mut places: Vec<usize> = (0..self.records.len()).collect();
        places.sort_by_key(peak);
        places.get(places.len().checked_sub(1)? / 2).copied()
    }

    /// One for each memory that any run tells of.
    fn rows(&self) -> Vec<RepeatRow> {
        let mut kinds: Vec<&Row> = Vec::new();
        for row in self.well().flat_map(|record| &record.rows) {
            if !kinds.iter().any(|known| same_kind(known, row)) {
                kinds.push(row);
            }
        }
        kinds
            .into_iter()
            .map(|kind| {
                // With its record, which tells where no difference is taken.
                let rows = || {
                    self.well().filter_map(|record| {
                        let row = record.rows.iter().find(|row| same_kind(kind, row))?;
                        Some((record, row))
                    })
                };
                RepeatRow {
                    memory: kind.memory,
                    scope: kind.scope,
                    device: kind.device.clone(),
                    before: statistic(rows().filter_map(|(_, row)| row.before)),
                    peak: statistic(rows().filter_map(|(_, row)| row.peak)),
                    after: statistic(rows().filter_map(|(_, row)| row.after)),
                    kept: statistic(rows().filter_map(|(record, row)| record.kept(row))),
                    temporary: statistic(rows().filter_map(|(record, row)| record.temporary(row))),
                }
            })
            .collect()
    }

    /// What other runs warn of, and the one that is shown does not.
    fn warnings_beside(&self, place: usize) -> Vec<String> {
        if !self.records[place].warnings.is_empty() {
            return Vec::new();
        }
        let others = self.records.iter().enumerate();
        others
            .filter(|(_, record)| !record.warnings.is_empty())
            .map(|(number, record)| format!("run {}: {}", number + 1, record.warnings.join("; ")))
            .next()
            .into_iter()
            .collect()
    }
}

impl RepeatRow {
    /// The names and spreads of the columns that differ between runs by more than noise does.
    pub fn beyond_noise(&self) -> Vec<(&'static str, u64)> {
        let floor = units::noise_floor(self.memory, self.scope);
        [
            ("before", self.before.map(|value| value.spread())),
            ("peak", self.peak.map(|value| value.spread())),
            ("after", self.after.map(|value| value.spread())),
            ("kept", self.kept.map(|value| value.spread())),
            ("temporary", self.temporary.map(|value| value.spread())),
        ]
        .into_iter()
        .filter_map(|(name, spread)| Some((name, spread?)))
        .filter(|(_, spread)| *spread > 0 && *spread >= floor)
        .collect()
    }
}

fn is_well(record: &Record) -> bool {
    record.cell.status == CellStatus::Ok
}

fn same_kind(left: &Row, right: &Row) -> bool {
    (left.memory, left.scope, &left.device) == (right.memory, right.scope, &right.device)
}

fn ended_early(repeats: &Repeats) -> String {
    let (failed, asked) = (repeats.shown, repeats.asked);
    match repeats.completed {
        0 => format!("run {failed} of {asked} ended the repeats: there is nothing to compare"),
        1 => format!(
            "run {failed} of {asked} ended the repeats, and these are its numbers; one run before \
             it ended well"
        ),
        completed => format!(
            "run {failed} of {asked} ended the repeats, and these are its numbers; the medians are \
             of the {completed} runs before it"
        ),
    }
}

#[cfg(test)]
mod tests;
