//! Where a time and a number of bytes lie in the picture.

use super::Cell;

/// The largest part of a cell's width that the compiler gets: what the code did is to be seen.
const COMPILE_SHARE: f64 = 0.35;

/// Units above the highest value, for the words that stand there.
const WORDS: f64 = 21.0;

/// Units between two cells.
const GAP: f64 = 3.0;

/// The place of one cell in the picture, from left to right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    /// Its left edge, where the compiler starts.
    pub left: f64,
    /// Where the user's code starts.
    pub run: f64,
    /// Its right edge, where the code ends.
    pub right: f64,
    compile_s: f64,
    run_s: f64,
}

impl Slot {
    /// Where a time lies, in seconds from the start of the code.
    pub fn x(&self, t: f64) -> f64 {
        let share = |part: f64, whole: f64| {
            if whole > 0.0 {
                (part / whole).clamp(0.0, 1.0)
            } else {
                0.0
            }
        };
        if t < 0.0 {
            self.run - share(-t, self.compile_s) * (self.run - self.left)
        } else {
            self.run + share(t, self.run_s) * (self.right - self.run)
        }
    }

    /// Seconds of compiling and of running.
    pub fn seconds(&self) -> (f64, f64) {
        (self.compile_s, self.run_s)
    }

    /// Whether the compiler's time is drawn narrower than the code's.
    pub fn is_compile_narrowed(&self) -> bool {
        let (compile, run) = (self.run - self.left, self.right - self.run);
        run > 0.0 && compile * self.run_s < 0.98 * run * self.compile_s
    }
}

/// Places the cells side by side from `left` to `right`, each as wide as it took time, but none so
/// narrow that it cannot be seen.
pub(super) fn slots(cells: &[Cell], left: f64, right: f64) -> Vec<Slot> {
    let count = cells.len() as f64;
    let gaps = GAP * (count - 1.0);
    let room = right - left - gaps;
    let least = (room / count * 0.6).min(34.0);
    let times: Vec<(f64, f64)> = cells
        .iter()
        .map(|cell| {
            let (compile, run) = (cell.compile_s(), cell.run_s().unwrap_or(0.0));
            let most = run * COMPILE_SHARE / (1.0 - COMPILE_SHARE);
            let drawn = if cell.run_s().is_some() {
                compile.min(most)
            } else {
                compile
            };
            (drawn, run)
        })
        .collect();
    let total: f64 = times.iter().map(|(compile, run)| compile + run).sum();
    let mut at = left;
    cells
        .iter()
        .zip(times)
        .map(|(cell, (compile, run))| {
            let share = match total > 0.0 {
                true => (compile + run) / total,
                false => 1.0 / count,
            };
            let width = least + (room - least * count) * share;
            let border = match compile + run > 0.0 {
                true => at + width * compile / (compile + run),
                // Neither took time; what there is to see is of the code.
                false => at,
            };
            let slot = Slot {
                left: at,
                run: border,
                right: at + width,
                compile_s: cell.compile_s(),
                run_s: run,
            };
            at += width + GAP;
            slot
        })
        .collect()
}

/// The vertical axis of a panel, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    /// The panel's edges in the picture; `y` grows downwards.
    pub top: f64,
    pub bottom: f64,
}

impl Scale {
    /// A scale on which all from `lowest` to `highest` can be seen, with room for a line of words
    /// above. It begins at zero, or near `lowest` where `from_zero` is false and the values differ
    /// by little of what they are.
    pub fn new(lowest: u64, highest: u64, from_zero: bool, top: f64, bottom: f64) -> Scale {
        let (lowest, highest) = (lowest as f64, (highest as f64).max(1024.0));
        // Smaller changes than this would be blown up to look like something.
        let span = (highest - lowest).max(highest * 0.02).max(1.0);
        let low = match from_zero || lowest < highest * 0.5 {
            true => 0.0,
            false => (lowest - span * 0.25).max(0.0),
        };
        let room_above = (highest - low).max(span) * WORDS / (bottom - top - WORDS).max(WORDS);
        Scale {
            low,
            high: highest + room_above,
            top,
            bottom,
        }
    }

    /// Where a number of bytes lies; the edge for what lies beyond it.
    pub fn y(&self, bytes: u64) -> f64 {
        let share = (bytes as f64 - self.low) / (self.high - self.low);
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Numbers of bytes for the axis, two to six, a power of two apart.
    pub fn ticks(&self) -> Vec<u64> {
        let mut step = 1.0_f64;
        while (self.high - self.low) / step > 4.5 {
            step *= 2.0;
        }
        let first = (self.low / step).ceil() as u64;
        let last = (self.high / step).floor() as u64;
        (first..=last)
            .map(|number| number as f64 * step)
            // Beyond this there are no bytes.
            .filter(|bytes| *bytes < u64::MAX as f64)
            .map(|bytes| bytes as u64)
            .collect()
    }
}

/// Times for the axis from 0 to `end`, at most six, a round number of seconds apart.
pub(super) fn time_ticks(end: f64) -> Vec<f64> {
    // Up to a minute by tens, then by minutes and hours.
    const STEPS: [f64; 9] = [
        60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0,
    ];
    if end <= 0.0 {
        return vec![0.0];
    }
    let fits = |step: &f64| end / step <= 5.0;
    let decimal =
        (-6..12).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let step = decimal
        .clone()
        .take_while(|step| *step <= 50.0)
        .find(fits)
        .or_else(|| STEPS.into_iter().find(fits))
        .or_else(|| decimal.clone().find(fits))
        .unwrap_or(end);
    let count = (end / step + 1e-9).floor() as u64;
    (0..=count).map(|number| number as f64 * step).collect()
}
