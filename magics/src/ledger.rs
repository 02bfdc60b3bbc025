//! The records of one session, in the order in which the cells ran.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::str::FromStr;

use crate::record::Record;
use crate::timeline::Timeline;

mod older;

use older::Older;

/// How many records a session keeps in memory, at some 4 KiB each. Older ones lie in files that end
/// with the process, 128 MiB at most: some 60 000 records.
pub const CAPACITY: usize = 1000;

/// How many values all timelines of a session hold together, at 16 bytes each; the oldest timelines go
/// first. A cell of a second has some 500, one of hours 600 times as many as it has rows.
pub const TIMELINE_VALUES: usize = 1_000_000;

/// The records of one session.
#[derive(Debug, Clone)]
pub struct Ledger {
    older: Older,
    records: VecDeque<Record>,
    /// One for each record; `None` where it was not kept.
    timelines: VecDeque<Option<Timeline>>,
    /// Values in all of them.
    timeline_values: usize,
}

impl Ledger {
    /// A session of which nothing is known yet.
    pub fn new() -> Ledger {
        Ledger {
            older: Older::new(older::FILE_BYTES),
            records: VecDeque::new(),
            timelines: VecDeque::new(),
            timeline_values: 0,
        }
    }

    /// Keeps `record` as the latest. The oldest goes to disk where there are [`CAPACITY`] already.
    pub fn add(&mut self, record: Record) {
        if self.records.len() == CAPACITY {
            if let Some(oldest) = self.records.pop_front() {
                self.older.push(&oldest);
            }
            let oldest = self.timelines.pop_front().flatten();
            self.timeline_values -= oldest.map_or(0, |timeline| timeline.len());
        }
        self.records.push_back(record);
        self.timelines.push_back(None);
    }

    /// Keeps what the cell of the latest record used over time, also where the record itself does
    /// not tell. The oldest timelines go where there are more than [`TIMELINE_VALUES`] values, from
    /// their records too.
    pub fn add_timeline(&mut self, timeline: Timeline) {
        let Some(latest) = self.timelines.back_mut() else {
            return;
        };
        self.timeline_values += timeline.len();
        *latest = Some(timeline);
        let latest = self.timelines.len() - 1;
        for (record, kept) in self
            .records
            .iter_mut()
            .zip(&mut self.timelines)
            .take(latest)
        {
            if self.timeline_values <= TIMELINE_VALUES {
                break;
            }
            self.timeline_values -= kept.take().map_or(0, |timeline| timeline.len());
            record.timeline = None;
        }
    }

    /// The records in `range`, oldest first, each with what its cell used over time, where that was
    /// kept.
    pub fn timelines(
        &self,
        range: CellRange,
    ) -> impl Iterator<Item = (&Record, Option<&Timeline>)> {
        let timelines = self.timelines.iter().map(Option::as_ref);
        let all = self.records.iter().zip(timelines);
        all.filter(move |(record, _)| range.contains(record.cell.execution_count))
    }

    /// The record of the cell that was tracked last.
    pub fn last(&self) -> Option<&Record> {
        self.records.back()
    }

    /// All records, oldest first; those on disk are read.
    pub fn all(&self) -> impl Iterator<Item = Cow<'_, Record>> {
        let older = self.older.iter().map(Cow::Owned);
        older.chain(self.records.iter().map(Cow::Borrowed))
    }

    /// The latest records, oldest first: those in memory.
    pub fn latest(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.iter()
    }

    /// How many records there are besides the latest.
    pub fn older(&self) -> usize {
        self.older.len()
    }

    /// How many records were not kept: too many, or the disk was full.
    pub fn lost(&self) -> u64 {
        self.older.lost()
    }

    /// The records whose execution count lies in `range`, oldest first.
    pub fn range(&self, range: CellRange) -> impl Iterator<Item = Cow<'_, Record>> {
        self.all()
            .filter(move |record| range.contains(record.cell.execution_count))
    }

    /// Whether no cell has been tracked yet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::new()
    }
}

/// Cells by the numbers in their prompts, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRange {
    /// The first cell; `None` for the first of the session.
    pub first: Option<u64>,
    /// The last cell; `None` for the last of the session.
    pub last: Option<u64>,
}

impl CellRange {
    /// Every cell of the session.
    pub const ALL: CellRange = CellRange {
        first: None,
        last: None,
    };

    /// Whether the cell with this number belongs to the range.
    pub fn contains(&self, execution_count: u64) -> bool {
        self.first.is_none_or(|first| first <= execution_count)
            && self.last.is_none_or(|last| execution_count <= last)
    }
}

/// Why a text is not a range of cells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A part is not a cell's number.
    #[error(
        "`{0}` is not a cell's number: write A:B with the numbers in the prompts, such as 3:7, 3: or :7"
    )]
    NotANumber(String),
    /// The first cell comes after the last.
    #[error("cell {first} comes after cell {last}: write {last}:{first}")]
    Reversed {
        /// The number before the colon.
        first: u64,
        /// The number after it.
        last: u64,
    },
}

impl FromStr for CellRange {
    type Err = RangeError;

    /// Reads `A:B`, `A:`, `:B` or a single `A`.
    ///
    /// # Errors
    /// Where a part is not a number, or the range is reversed.
    fn from_str(text: &str) -> Result<CellRange, RangeError> {
        let number = |part: &str| {
            part.trim()
                .parse::<u64>()
                .map_err(|_| RangeError::NotANumber(part.into()))
        };
        let optional = |part: &str| match part.trim() {
            "" => Ok(None),
            part => number(part).map(Some),
        };
        let (first, last) = match text.split_once(':') {
            None => (Some(number(text)?), Some(number(text)?)),
            Some((first, last)) => (optional(first)?, optional(last)?),
        };
        match (first, last) {
            (Some(first), Some(last)) if first > last => Err(RangeError::Reversed { first, last }),
            _ => Ok(CellRange { first, last }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::CellStatus;

    fn record(execution_count: u64) -> Record {
        Record::empty(execution_count, CellStatus::Ok)
    }

    #[test]
    fn older_records_lie_on_disk_and_the_oldest_go_first() {
        let mut ledger = Ledger::new();
        assert!(ledger.is_empty());
        let mut sample = record(0);
        sample.cell.label = Some("α\n\"quoted\"".into());
        let line = serde_json::to_string(&sample).unwrap().len() as u64;
        // Ten records a file.
        ledger.older = Older::new(10 * (line + 10));
        let add = |ledger: &mut Ledger, numbers: std::ops::RangeInclusive<u64>| {
            for number in numbers {
                let mut record = sample.clone();
                record.cell.execution_count = number;
                ledger.add(record);
            }
        };
        let numbers = |ledger: &Ledger| -> Vec<u64> {
            ledger
                .all()
                .map(|record| record.cell.execution_count)
                .collect()
        };
        let capacity = CAPACITY as u64;
        add(&mut ledger, 1..=capacity + 15);
        assert_eq!(
            (ledger.latest().len(), ledger.older(), ledger.lost()),
            (CAPACITY, 15, 0)
        );
        assert_eq!(numbers(&ledger), (1..=capacity + 15).collect::<Vec<_>>());
        assert_eq!(ledger.all().next().unwrap().cell.label, sample.cell.label);
        assert_eq!(ledger.range("3:4".parse().unwrap()).count(), 2);

        // Reading did not move the place where the next is written, and a copy goes its own way.
        let copy = ledger.clone();
        add(&mut ledger, capacity + 16..=capacity + 40);
        assert_eq!(numbers(&copy), (1..=capacity + 15).collect::<Vec<_>>());
        assert_eq!(ledger.lost() + ledger.older() as u64, 40);
        assert!((20..=30).contains(&ledger.lost()), "{}", ledger.lost());
        assert_eq!(
            numbers(&ledger),
            (ledger.lost() + 1..=capacity + 40).collect::<Vec<_>>()
        );
        assert_eq!(ledger.last().unwrap().cell.execution_count, capacity + 40);
    }

    #[test]
    fn the_oldest_timelines_go_first_and_records_stay() {
        let timeline = |points: usize| Timeline {
            t: vec![0.0; points],
            series: [("ram/process".to_owned(), vec![Some(1); points])].into(),
        };
        let mut ledger = Ledger::new();
        for count in 1..=4 {
            let mut asked = record(count);
            asked.timeline = Some(timeline(1));
            ledger.add(asked);
            ledger.add_timeline(timeline(TIMELINE_VALUES / 6));
        }
        let kept: Vec<(bool, bool)> = ledger
            .timelines(CellRange::ALL)
            .map(|(record, timeline)| (record.timeline.is_some(), timeline.is_some()))
            .collect();
        assert_eq!(
            kept,
            [(false, false), (true, true), (true, true), (true, true)]
        );
        // One that is too large alone is kept: it is what the user will ask for.
        ledger.add(record(5));
        ledger.add_timeline(timeline(TIMELINE_VALUES));
        let kept = ledger.timelines(CellRange::ALL).filter(|it| it.1.is_some());
        assert_eq!(
            kept.map(|it| it.0.cell.execution_count).collect::<Vec<_>>(),
            [5]
        );
        // A cell without samples does not take those of the cell before.
        ledger.add(record(6));
        assert!(
            ledger
                .timelines("6".parse().unwrap())
                .all(|it| it.1.is_none())
        );
        assert_eq!(ledger.latest().len(), 6);
    }

    #[test]
    fn a_range_holds_both_its_ends() {
        let mut ledger = Ledger::new();
        (1..=5).for_each(|count| ledger.add(record(count)));
        let counts = |text: &str| -> Vec<u64> {
            ledger
                .range(text.parse().unwrap())
                .map(|record| record.cell.execution_count)
                .collect()
        };
        assert_eq!(counts("2:4"), [2, 3, 4]);
        assert_eq!(counts("4:"), [4, 5]);
        assert_eq!(counts(":2"), [1, 2]);
        assert_eq!(counts("3"), [3]);
        assert_eq!(counts(":"), [1, 2, 3, 4, 5]);
        assert_eq!(counts("7:9"), Vec::<u64>::new());
    }

    #[test]
    fn a_bad_range_says_what_to_write() {
        for (text, hint) in [
            ("", "not a cell's number"),
            ("a:b", "`a` is not"),
            ("1:2:3", "`2:3` is not"),
            ("-1", "`-1` is not"),
            ("7:3", "write 3:7"),
        ] {
            let error = text.parse::<CellRange>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
