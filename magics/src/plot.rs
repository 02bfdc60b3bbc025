//! A picture of what cells used over time, and the same in words.
//!
//! The picture is SVG. Viewers show it in an `<img>`, where it inherits no colours, or inline, where
//! a style sheet of its own would leak: so its colours are middle tones that read on light and on
//! dark, written at each element, and it has no style sheet, no script and no identifiers.

use crate::ledger::{CellRange, Ledger};
use crate::record::Record;
use crate::report::NOTHING_TRACKED;
use crate::timeline::Timeline;

mod axis;
mod label;
mod panel;
mod svg;
mod words;

/// Cells that one picture has room for.
pub const CELLS: usize = 40;

/// Why there is nothing to draw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlotError {
    /// No cell of the session was tracked.
    #[error("{NOTHING_TRACKED}")]
    NothingTracked,
    /// None of the cells asked for was tracked.
    #[error(
        "no cell with such a number was tracked. Tracked in this session: {tracked}. Write one of these \
         numbers, or a range of them such as 3:7"
    )]
    NoSuchCell {
        /// The numbers of those that were, such as `1 to 4, 7`.
        tracked: String,
    },
}

/// One cell to draw.
#[derive(Clone, Copy)]
struct Cell<'a> {
    record: &'a Record,
    /// `None` where it was not kept: then only before, peak and after are drawn.
    timeline: Option<&'a Timeline>,
}

/// Cells to draw, one or several.
pub struct Plot<'a> {
    cells: Vec<Cell<'a>>,
    /// How many older cells there was no room for.
    left_out: usize,
}

impl<'a> Plot<'a> {
    /// The cells of a session in `range`, all where it is `None`; the latest [`CELLS`] of them.
    ///
    /// # Errors
    /// Where there are none.
    pub fn of(ledger: &'a Ledger, range: Option<CellRange>) -> Result<Plot<'a>, PlotError> {
        if ledger.is_empty() {
            return Err(PlotError::NothingTracked);
        }
        let cells = ledger.timelines(range.unwrap_or(CellRange::ALL));
        let plot = Plot::new(cells.collect());
        if plot.cells.is_empty() {
            let numbers = ledger.latest().map(|record| record.cell.execution_count);
            return Err(PlotError::NoSuchCell {
                tracked: words::ranges(numbers),
            });
        }
        Ok(plot)
    }

    /// Records with their timelines; the last [`CELLS`] of them.
    pub fn new(cells: Vec<(&'a Record, Option<&'a Timeline>)>) -> Plot<'a> {
        let left_out = cells.len().saturating_sub(CELLS);
        let cells = cells.into_iter().skip(left_out);
        Plot {
            cells: cells
                .map(|(record, timeline)| Cell {
                    record,
                    timeline: timeline.filter(|timeline| !timeline.is_empty()),
                })
                .collect(),
            left_out,
        }
    }

    /// The picture: an SVG document, 640 units wide.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// What the picture shows, in text of at most 100 columns, with lines of blocks.
    pub fn text(&self) -> String {
        words::text(self)
    }

    /// The only cell, if there is only one.
    fn single(&self) -> Option<&Cell<'a>> {
        match self.cells.as_slice() {
            [cell] if self.left_out == 0 => Some(cell),
            _ => None,
        }
    }
}

impl Cell<'_> {
    /// Seconds for which the compiler ran before the code.
    fn compile_s(&self) -> f64 {
        let sampled = self.timeline.and_then(|timeline| timeline.t.first());
        let sampled = sampled.map_or(0.0, |t| -t);
        // What follows the code is in the record's figure too, so the samples say more.
        let seconds = match sampled > 0.0 {
            true => sampled,
            false => self.record.duration_s.compile.unwrap_or(0.0),
        };
        finite(seconds)
    }

    /// Seconds for which the code ran; `None` where it did not.
    fn run_s(&self) -> Option<f64> {
        self.record.duration_s.run.map(finite)
    }

    /// Whether the run has samples enough for a line.
    fn has_line(&self) -> bool {
        let looks = self.timeline.zip(self.run_s());
        looks.is_some_and(|(timeline, run)| timeline.looks_in_run(run) >= 2)
    }
}

/// A record may come from a file, with anything in it.
fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() {
        seconds.clamp(0.0, 1e12)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests;
