//! What is compared of a cell: how long it ran, and for each memory of its process what it needed.

use crate::record::{Memory, Record, Row, Scope};
use crate::table::clean;
use crate::units;

/// A quantity of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// How long the user's code ran.
    Run,
    /// Something of the memory with this name.
    Memory {
        memory: Memory,
        scope: Scope,
        row: String,
        measure: Measure,
    },
}

/// What of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// The peak itself. Compared between cells of one session only.
    Peak,
    /// Peak minus before.
    Rise,
    /// After minus before.
    Kept,
}

/// What a quantity is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Bytes,
}

impl Key {
    pub fn unit(&self) -> Unit {
        match self {
            Key::Run => Unit::Seconds,
            Key::Memory { .. } => Unit::Bytes,
        }
    }

    pub fn name(&self) -> String {
        match self {
            Key::Run => "run".into(),
            Key::Memory { row, measure, .. } => match measure {
                Measure::Peak => format!("{row} peak"),
                Measure::Rise => format!("{row} rise"),
                Measure::Kept => format!("{row} kept"),
            },
        }
    }

    /// What it is a quantity of, such as `process RAM`.
    pub fn row(&self) -> &str {
        match self {
            Key::Run => "run",
            Key::Memory { row, .. } => row,
        }
    }

    /// The smallest difference in bytes that is none of the readings'. None for times.
    ///
    /// Both values are differences of two readings, so it is twice the noise of a reading. The heap is
    /// counted to the byte, but what the same cell asks for differs between two machines by some
    /// KiB, with the length of paths and the allocator's rounding of large blocks to pages; and the
    /// count of several threads is exact only within 64 KiB.
    pub fn floor(&self) -> Option<f64> {
        const HEAP: u64 = 64 << 10;
        match self {
            Key::Run => None,
            Key::Memory {
                memory: Memory::Heap,
                ..
            } => Some(HEAP as f64),
            Key::Memory { memory, scope, .. } => {
                Some(2.0 * units::noise_floor(*memory, *scope) as f64)
            }
        }
    }

    /// The value in a record, in seconds or bytes.
    ///
    /// # Errors
    /// Why it is not known, in words.
    pub fn value(&self, record: &Record) -> Result<f64, String> {
        let Key::Memory {
            memory,
            scope,
            row: name,
            measure,
        } = self
        else {
            return record
                .duration_s
                .run
                .ok_or_else(|| "the code did not run to its end, or its time is unknown".into());
        };
        let row = record
            .rows_of(*memory, *scope)
            .find(|row| row.label() == *name)
            .ok_or_else(|| absent(*memory))?;
        if record.cell.restarted && *measure != Measure::Peak {
            return Err("the process was replaced, so no difference is taken".into());
        }
        let value = match measure {
            Measure::Peak => row.peak.map(|peak| peak as f64),
            Measure::Rise => row
                .peak
                .zip(row.before)
                .map(|(peak, before)| peak as f64 - before as f64),
            Measure::Kept => row
                .after
                .zip(row.before)
                .map(|(after, before)| after as f64 - before as f64),
        };
        value.ok_or_else(|| match &row.unavailable {
            Some(reason) => clean(reason),
            None => "the record does not say why".into(),
        })
    }

    /// A value for a reader.
    pub fn show(&self, value: f64) -> String {
        match self {
            Key::Run => units::format_seconds(value),
            Key::Memory {
                measure: Measure::Peak,
                ..
            } => units::format_bytes(value as u64),
            Key::Memory { memory, scope, .. } => {
                units::format_difference(value as i64, units::noise_floor(*memory, *scope))
            }
        }
    }

    /// A difference of two values for a reader.
    pub fn show_difference(&self, difference: f64) -> String {
        match self {
            Key::Run if difference.abs() < 0.000_05 => "≈0".into(),
            Key::Run => {
                let sign = if difference < 0.0 { "-" } else { "+" };
                format!("{sign}{}", units::format_seconds(difference.abs()))
            }
            Key::Memory { .. } => {
                let floor = self.floor().unwrap_or(0.0);
                if difference.abs() <= floor {
                    "≈0".into()
                } else {
                    units::format_signed(difference as i64)
                }
            }
        }
    }
}

/// Why a record has no such row.
fn absent(memory: Memory) -> String {
    match memory {
        Memory::Vram => "no such GPU was seen there".into(),
        Memory::Ram | Memory::Heap => "the record has no such row".into(),
    }
}

/// What there is to compare in two records: the run's time, then rise and kept of each memory that
/// either has, in the order of the rows.
pub(super) fn keys(base: &Record, other: &Record) -> Vec<Key> {
    keys_of(base, other, &[Measure::Rise, Measure::Kept])
}

/// The same with the peaks, for two cells of one session.
pub(super) fn keys_with_peaks(base: &Record, other: &Record) -> Vec<Key> {
    keys_of(base, other, &[Measure::Peak, Measure::Rise, Measure::Kept])
}

fn keys_of(base: &Record, other: &Record, measures: &[Measure]) -> Vec<Key> {
    let mut rows: Vec<&Row> = Vec::new();
    // What other processes have is in the rows of the machine and of whole devices too.
    let own = |row: &&Row| !matches!(row.scope, Scope::System | Scope::Device);
    for row in base.rows.iter().chain(&other.rows).filter(own) {
        let is_known = |known: &&Row| {
            (known.memory, known.scope) == (row.memory, row.scope) && known.label() == row.label()
        };
        if !rows.iter().any(is_known) {
            rows.push(row);
        }
    }
    let mut keys = vec![Key::Run];
    for row in rows {
        keys.extend(measures.iter().map(|measure| Key::Memory {
            memory: row.memory,
            scope: row.scope,
            row: row.label(),
            measure: *measure,
        }));
    }
    // A quantity that neither record has says nothing.
    keys.retain(|key| key.value(base).is_ok() || key.value(other).is_ok());
    keys
}
