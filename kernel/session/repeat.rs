//! A cell that runs several times: compiled and run anew each time, as if it had been executed so
//! often, and told as one.

use std::sync::Arc;

use memtrack::cell::Cell;
use memtrack::magic::TrackOptions;
use memtrack::record::{CellStatus, Record};
use memtrack::repeat::Series;
use memtrack::warning;

use super::Session;
use crate::live::Live;
use crate::output::{CellError, FrontEnd};

/// Whether and how a cell is tracked.
pub(super) struct Tracking {
    pub tracked: bool,
    /// Its whole table is shown, not one line.
    pub full: bool,
    pub options: TrackOptions,
}

/// Which run of how many, counted from 1.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    number: u32,
    of: u32,
}

/// What came of running a cell.
pub(super) struct Ran {
    /// `None` where nothing was measured.
    pub record: Option<Record>,
    pub result: Result<(), CellError>,
}

impl Ran {
    pub fn failed(error: CellError) -> Ran {
        Ran {
            record: None,
            result: Err(error),
        }
    }
}

impl Turn {
    pub fn is_last(self) -> bool {
        self.number == self.of
    }

    /// Names the cell while it runs.
    pub fn title(self, execution_count: usize, options: &TrackOptions) -> String {
        let mut title = format!("[{execution_count}]");
        if let Some(label) = &options.label {
            title += &format!(" {label}");
        }
        if self.of > 1 {
            title += &format!(" · run {} of {}", self.number, self.of);
        }
        title
    }
}

impl Session {
    /// Runs the code as often as its magic asks, up to the first run that fails. The record is the
    /// one of all runs.
    ///
    /// Each run is a compilation of its own, because evcxr takes the cell's variables out and puts
    /// them back in code that it makes for the state before that run: a cell that uses up a
    /// variable must fail the second time, and one that changes a variable's type must go on.
    pub(super) fn run_as_often(
        &mut self,
        cell: &Cell,
        tracking: &Tracking,
        live: Option<&Live>,
        front_end: &Arc<dyn FrontEnd>,
    ) -> Ran {
        let Some(of) = tracking.options.repeat else {
            let once = Turn { number: 1, of: 1 };
            return self.run_once(cell, tracking, once, live, front_end);
        };
        let mut series = Series::new(of);
        let mut result = Ok(());
        for number in 1..=of {
            let ran = self.run_once(cell, tracking, Turn { number, of }, live, front_end);
            ran.record.into_iter().for_each(|record| series.add(record));
            if let Err(error) = ran.result {
                result = Err(with_turn(error, Turn { number, of }));
                break;
            }
        }
        Ran {
            record: series.into_record(),
            result,
        }
    }

    /// What the user should know at once.
    pub(super) fn warnings(&self, record: &Record, killed_for_memory: bool) -> Vec<String> {
        let mut warnings = warning::close_to_limit(record, self.watcher.is_container());
        if killed_for_memory && record.cell.status == CellStatus::Ok {
            let place = match self.watcher.is_container() {
                true => "in the container",
                false => "on the machine",
            };
            warnings.push(format!(
                "the system killed a process {place} for lack of memory while this cell ran; not \
                 the one that runs the cells"
            ));
        }
        warnings
    }
}

fn with_turn(mut error: CellError, turn: Turn) -> CellError {
    let Turn { number, of } = turn;
    let before = match number {
        1 => String::new(),
        2 => ", and the one before it ended well".to_owned(),
        _ => format!(", and the {} before it ended well", number - 1),
    };
    error.traceback.push(format!(
        "This was run {number} of {of}. The repeats end here{before}."
    ));
    error
}
