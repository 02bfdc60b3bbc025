//! What a cell used over time: samples for a picture or a line of blocks. A sampled point says how
//! things stood when somebody looked; what happened between two looks it does not know. The exact
//! peaks stand in the record's rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Device, Memory, Row, Scope};

mod recorder;
mod sparkline;

pub use recorder::{Phases, Recorder};
pub(crate) use sparkline::{blocks, too_short, words};
pub use sparkline::{grid as sparklines, line as sparkline};

/// The key of what the compiler used: resident sets of cargo, rustc and the linker, summed.
pub const COMPILER: &str = "ram/compiler";

/// Samples of one cell, all at the same times.
///
/// In JSON the series stand beside `t` under their keys. What is read from JSON may be of another
/// version or of strangers: keys without meaning here are left out, and so is a series that has
/// not one value for each time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Value>")]
pub struct Timeline {
    /// Seconds from the start of the user's code, rising; negative while compiling. A cell whose
    /// code did not run has only such, counted from its end.
    pub t: Vec<f64>,
    /// Bytes by row key (see [`key`]), one value for each of `t`; `None` where nothing was read.
    #[serde(flatten)]
    pub series: BTreeMap<String, Vec<Option<u64>>>,
}

/// The key of a row: `ram/process`, or `vram/device/0` with the GPU's index. Instances of a GPU in
/// MIG mode share its index, so the first digits of their UUID follow: `vram/device/0/MIG-1a2b`.
pub fn key(memory: Memory, scope: Scope, device: Option<&Device>) -> String {
    let memory = match memory {
        Memory::Ram => "ram",
        Memory::Heap => "heap",
        Memory::Vram => "vram",
    };
    let scope = match scope {
        Scope::Process => "process",
        Scope::Children => "children",
        Scope::System => "system",
        Scope::PoolUsed => "pool_used",
        Scope::PoolReserved => "pool_reserved",
        Scope::Device => "device",
    };
    match device {
        None => format!("{memory}/{scope}"),
        Some(device) => match device.instance() {
            Some(instance) => format!("{memory}/{scope}/{}/{instance}", device.index),
            None => format!("{memory}/{scope}/{}", device.index),
        },
    }
}

/// [`key`] of a row.
pub fn key_of(row: &Row) -> String {
    key(row.memory, row.scope, row.device.as_ref())
}

impl Timeline {
    /// How many values it holds, times included: what it takes of memory.
    pub fn len(&self) -> usize {
        self.t.len() * (self.series.len() + 1)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.t.is_empty()
    }

    /// The samples of `key` with their times; none where it was not sampled.
    pub fn samples<'a>(&'a self, key: &str) -> impl Iterator<Item = (f64, Option<u64>)> + use<'a> {
        let values = self.series.get(key).map(Vec::as_slice).unwrap_or_default();
        self.t.iter().copied().zip(values.iter().copied())
    }

    /// The samples of `key` at or after `from` and before or at `to`, in at most `parts` equal
    /// parts of that time, each with the highest value in it and the time of that, so that no spike
    /// is lost. A part without a sample is left out; one of which nothing is known
    /// has `None`.
    pub fn thinned(&self, key: &str, from: f64, to: f64, parts: usize) -> Vec<(f64, Option<u64>)> {
        let mut thinned: Vec<(usize, f64, Option<u64>)> = Vec::new();
        for (t, value) in self.samples(key).filter(|(t, _)| (from..=to).contains(t)) {
            let share = (t - from) / (to - from).max(f64::MIN_POSITIVE);
            let part = ((share * parts as f64) as usize).min(parts.saturating_sub(1));
            match thinned.last_mut() {
                Some((last, time, highest)) if *last == part => {
                    // `None` is smaller than any value.
                    if value > *highest {
                        (*time, *highest) = (t, value);
                    }
                }
                _ => thinned.push((part, t, value)),
            }
        }
        thinned
            .into_iter()
            .map(|(_, t, value)| (t, value))
            .collect()
    }

    /// How many times somebody looked while the code ran, its borders left out.
    pub fn looks_in_run(&self, run: f64) -> usize {
        self.t
            .iter()
            .filter(|t| **t > 0.0 && **t < rounded(run))
            .count()
    }
}

/// A time as a timeline keeps it: to 10 µs, so that its JSON is short.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e5).round() / 1e5
}

impl From<BTreeMap<String, Value>> for Timeline {
    fn from(mut json: BTreeMap<String, Value>) -> Timeline {
        let times = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect();
        let bytes = |value: &Value| match value {
            Value::Null => Some(None),
            value => value.as_u64().map(Some),
        };
        let t: Vec<f64> = json
            .remove("t")
            .as_ref()
            .and_then(times)
            .unwrap_or_default();
        let series = json.into_iter().filter_map(|(key, values)| {
            let values: Vec<Option<u64>> = values
                .as_array()?
                .iter()
                .map(bytes)
                .collect::<Option<_>>()?;
            (values.len() == t.len()).then_some((key, values))
        });
        Timeline {
            series: series.collect(),
            t,
        }
    }
}

#[cfg(test)]
mod tests;
