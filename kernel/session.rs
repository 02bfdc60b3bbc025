//! The story of one cell: it is split into magic lines and Rust, the magics are obeyed, memory is
//! read, evcxr runs the Rust, memory is read again, a record is kept and its table shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memtrack::capture::{HeapNote, Measurement, Watcher, WorkEnd};
use memtrack::cell::{self, Cell};
use memtrack::environment::Environment;
use memtrack::gpu_watch::FACTS_LIMIT;
use memtrack::ledger::Ledger;
use memtrack::magic::{self, Magic, TrackOptions};
use memtrack::record::{CellInfo, CellStatus, Record};

use crate::Parts;
use crate::doctor;
use crate::engine::{Engine, Evaluation};
use crate::is_complete::{defines_global_allocator, is_too_deep};
use crate::live::Live;
use crate::out_of_memory::Held;
use crate::output::{Bundle, CellError, FrontEnd, Output, Stream};
use crate::progress::Progress;
use crate::show;
use crate::toolchain::Toolchain;
use crate::verdict::{Place, Verdict, judge, told_of_lost};

mod expressions;
mod obey;
mod recorded;
mod repeat;
mod use_magic;

use repeat::{Ran, Tracking, Turn};

/// How long a new child may take to say hello.
const CHILD_LIMIT: Duration = Duration::from_secs(10);

/// How long the first record may wait for facts about the GPUs.
const QUICK_FACTS: Duration = Duration::from_millis(500);

/// A cell to execute.
pub struct CellRequest {
    /// Its text.
    pub code: String,
    /// It gets a number of its own, and a place in the history.
    pub counted: bool,
    /// Expressions to evaluate after it, by name.
    pub user_expressions: Vec<(String, String)>,
}

/// What came of a cell.
pub struct CellOutcome {
    /// Why it failed, if it did.
    pub error: Option<CellError>,
    /// The values of the user's expressions.
    pub user_expressions: Vec<(String, Result<Bundle, CellError>)>,
}

impl CellOutcome {
    /// A cell that came to nothing.
    pub fn failed(error: CellError) -> CellOutcome {
        CellOutcome {
            error: Some(error),
            user_expressions: Vec::new(),
        }
    }
}

/// Which cells are tracked without being asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Compact,
    Full,
}

/// A session.
pub struct Session {
    parts: Parts,
    progress: Progress,
    watcher: Watcher,
    pub(crate) engine: Result<Engine, String>,
    ledger: Ledger,
    mode: Mode,
    execution_count: usize,
    own_allocator: bool,
    environment: Option<Environment>,
    facts_sent: bool,
    warned: use_magic::Warned,
}

impl Session {
    /// A session whose engine is not up yet.
    pub fn new(parts: Parts) -> Session {
        let progress = Progress::listen(
            Arc::clone(&parts.progress_socket),
            parts.work_dir.crate_path(),
        );
        Session {
            progress,
            watcher: Watcher::new(Arc::clone(parts.link.page())),
            engine: Err("the Rust engine was not started".into()),
            ledger: Ledger::default(),
            mode: Mode::Off,
            execution_count: 0,
            own_allocator: false,
            environment: None,
            facts_sent: false,
            warned: use_magic::Warned::default(),
            parts,
        }
    }

    /// Brings evcxr up. Where that fails, cells say why, and the next one tries again.
    pub fn start_engine(&mut self) {
        let parts = &self.parts;
        let toolchain = Toolchain::find();
        let started = Engine::start(
            Arc::clone(&parts.link),
            Arc::clone(&parts.interrupter),
            Arc::clone(&parts.work_dir),
            &toolchain,
        );
        self.engine = started.map_err(|error| {
            let problems = toolchain.problems();
            if problems.is_empty() {
                format!("{error:#}")
            } else {
                format!("Rust cannot run here:\n{}", problems.join("\n"))
            }
        });
    }

    /// Begins anew, as if no cell had been executed. What was compiled is kept.
    pub fn restart_engine(&mut self) {
        let old = std::mem::replace(&mut self.engine, Err(String::new()));
        if let Ok(engine) = old {
            engine.stop();
        }
        let _ = std::fs::remove_file(self.parts.work_dir.lock_file());
        self.start_engine();
    }

    /// The lock file of what the cells depend on.
    pub fn lock_file(&self) -> PathBuf {
        self.parts.work_dir.lock_file()
    }

    /// Does ahead what the first cells would wait for.
    pub fn warm(&mut self) {
        self.environment(FACTS_LIMIT);
        if let Ok(engine) = &mut self.engine {
            engine.warm();
        }
    }

    /// Ends the child and removes what evcxr left on disk.
    pub fn stop(self) {
        if let Ok(engine) = self.engine {
            engine.stop();
        }
        self.parts.work_dir.remove();
    }

    /// Gives a cell its number.
    pub fn begin(&mut self, request: &CellRequest) -> usize {
        if request.counted && !request.code.trim().is_empty() {
            self.execution_count += 1;
        }
        self.execution_count
    }

    /// Executes a cell. Everything it shows, its error included, goes to `front_end`.
    pub fn execute(&mut self, request: &CellRequest, front_end: &Arc<dyn FrontEnd>) -> CellOutcome {
        let error = self.execute_cell(&request.code, front_end).err();
        if let Some(error) = &error {
            front_end.show(Output::Error(error.clone()));
        }
        let user_expressions = match error {
            Some(_) => Vec::new(),
            None => self.evaluate_expressions(&request.user_expressions),
        };
        CellOutcome {
            error,
            user_expressions,
        }
    }

    fn execute_cell(&mut self, code: &str, front_end: &Arc<dyn FrontEnd>) -> Result<(), CellError> {
        let cell = cell::split(code);
        if let Some(misplaced) = cell.misplaced.first() {
            return Err(CellError::plain(
                "MagicError",
                format!(
                    "`{}` on line {} stands after Rust code: magics stand at the top of a cell. \
                     Nothing was run; move the line up.",
                    misplaced.text.trim(),
                    misplaced.line + 1
                ),
            ));
        }
        let has_code = !cell.rust.trim().is_empty();
        // All are understood before the first is obeyed: a cell with a mistake does nothing.
        let magics = cell
            .magics
            .iter()
            .map(|line| magic::parse(&line.text, has_code))
            .collect::<Result<Vec<Magic>, _>>()
            .map_err(|error| CellError::plain("MagicError", error.to_string()))?;
        let mut track = None;
        let mut budgets = Vec::new();
        for magic in magics {
            self.obey(magic, &mut track, &mut budgets, front_end)?;
        }
        let result = if has_code {
            self.run(&cell, track, front_end)
        } else {
            Ok(())
        };
        result.and_then(|()| self.check_budgets(&budgets, front_end))
    }

    /// Runs the Rust of a cell, tracked if it was asked for.
    fn run(
        &mut self,
        cell: &Cell,
        track: Option<TrackOptions>,
        front_end: &Arc<dyn FrontEnd>,
    ) -> Result<(), CellError> {
        if is_too_deep(&cell.rust) {
            return Err(CellError::plain(
                "TooDeep",
                "the cell nests brackets more than a thousand levels deep, which the parser does \
                 not survive. Nothing was run; take the cell apart",
            ));
        }
        if self.engine.is_err() {
            self.start_engine();
        }
        if let Err(reason) = &self.engine {
            return Err(CellError::plain("NoEngine", reason.clone()));
        }
        self.own_allocator |= defines_global_allocator(&cell.rust);
        self.warned
            .look_at(&cell.rust, &self.parts.work_dir, front_end);
        let tracking = Tracking {
            tracked: track.is_some() || self.mode != Mode::Off,
            full: track.is_some() || self.mode == Mode::Full,
            options: track.unwrap_or_default(),
        };
        let live = tracking.options.live.then(|| Live::start(front_end));
        let Ran { record, result } = self.run_as_often(cell, &tracking, live.as_ref(), front_end);
        if let Some(mut record) = record {
            let timeline = record.timeline.take();
            if tracking.options.timeline {
                record.timeline.clone_from(&timeline);
            }
            let bundle = show::record(&record, &tracking.options, tracking.full);
            match live {
                Some(live) => live.finish(bundle),
                None => front_end.show(Output::Display(bundle)),
            }
            self.ledger.add(record);
            self.ledger.add_timeline(timeline.unwrap_or_default());
        }
        result
    }

    /// Runs the Rust of a cell once. Everything but its record is shown.
    fn run_once(
        &mut self,
        cell: &Cell,
        tracking: &Tracking,
        turn: Turn,
        live: Option<&Live>,
        front_end: &Arc<dyn FrontEnd>,
    ) -> Ran {
        let heap_note = self.heap_note();
        let engine = match &mut self.engine {
            Ok(engine) => engine,
            Err(reason) => return Ran::failed(CellError::plain("NoEngine", reason.clone())),
        };
        let revived = engine.revive().map(|(how, lost)| {
            let text = format!(
                "memtrack-kernel: the process that runs the cells ended after the last one, and was \
                 started again: {how}. {}\n",
                told_of_lost(&lost)
            );
            front_end.show(Output::Text(Stream::Stderr, text));
            lost
        });
        let oom_before = self.watcher.oom_kills();
        let link = &self.parts.link;
        let capture = tracking
            .tracked
            .then(|| link.wait_for_child(CHILD_LIMIT))
            .flatten()
            .map(|pid| self.watcher.start(pid));
        if let (Some(live), Some(capture)) = (live, &capture) {
            let title = turn.title(self.execution_count, &tracking.options);
            live.watch(title, capture.live_view(&heap_note));
        }
        self.progress.begin(Arc::clone(front_end));
        let runs = link.page().page().run_count();
        let mut evaluation = engine.evaluate(&cell.rust, front_end);
        evaluation
            .lost_variables
            .extend(revived.unwrap_or_default());
        self.progress.end();
        if let Some(live) = live {
            live.pause();
        }
        let out_of_memory = self.watcher.has_killed_since(oom_before);
        // Only a story of memory that ran out needs it, and reading it takes time.
        let held = match evaluation.restarted || out_of_memory {
            true => Held::of(
                &evaluation.notes,
                &self.watcher,
                capture.as_ref(),
                &heap_note,
            ),
            false => Held::default(),
        };
        let place = Place {
            cell_name: &format!("In [{}]", self.execution_count),
            code: &cell.rust,
            typed: evaluation.typed.as_deref(),
            compiled: engine.last_source(),
            out_of_memory,
            held,
            has_run: evaluation
                .notes
                .last_words
                .as_ref()
                .unwrap_or(link.page())
                .page()
                .run_count()
                != runs,
        };
        let verdict = judge(&evaluation, &place);
        show::values(&evaluation, &cell.rust, turn.is_last(), front_end);
        show::timing(&evaluation, front_end);
        let record = capture.map(|capture| {
            let last_words = evaluation.notes.last_words.clone();
            let page = last_words.as_ref().unwrap_or(self.parts.link.page());
            let end = if evaluation.restarted && (last_words.is_none() || !capture.has_run(page)) {
                WorkEnd::Replaced
            } else if evaluation.restarted {
                WorkEnd::Died {
                    max_rss: evaluation.notes.death.and_then(|death| death.max_rss),
                    last_words,
                }
            } else if capture.has_run(page) {
                WorkEnd::Finished
            } else {
                WorkEnd::NeverRan
            };
            capture.finish(end, heap_note)
        });
        let record = record.map(|measurement| {
            let mut record =
                self.record(cell, &tracking.options, &verdict, &evaluation, measurement);
            record.warnings = self.warnings(&record, out_of_memory);
            record
        });
        Ran {
            record,
            result: verdict.error.map_or(Ok(()), Err),
        }
    }

    fn record(
        &mut self,
        cell: &Cell,
        options: &TrackOptions,
        verdict: &Verdict,
        evaluation: &Evaluation,
        measurement: Measurement,
    ) -> Record {
        let first = !std::mem::replace(&mut self.facts_sent, true);
        let environment = self.environment(QUICK_FACTS).reference(first);
        Record {
            schema: 1,
            cell: CellInfo {
                execution_count: self.execution_count as u64,
                label: options.label.clone(),
                status: verdict.status,
                cause: verdict
                    .cause
                    .clone()
                    .filter(|_| verdict.status != CellStatus::Ok),
                started_at: measurement.started_at,
                lost_variables: evaluation.lost_variables.clone(),
                restarted: evaluation.restarted,
                code_hash: cell::code_hash(cell),
            },
            duration_s: measurement.durations,
            rows: measurement.rows,
            overhead: measurement.overhead,
            timeline: Some(measurement.timeline),
            environment,
            cuda_context: measurement.cuda_context,
            warnings: Vec::new(),
            repeats: None,
        }
    }

    fn heap_note(&self) -> HeapNote {
        let off = std::env::var_os("MEMTRACK_HEAP").is_some_and(|value| value == "0");
        let reason = if off {
            Some("the heap is not counted: MEMTRACK_HEAP=0 is set. Unset it and restart the kernel")
        } else if self.own_allocator {
            Some(
                "not counted: a cell brings its own #[global_allocator], which may take memory \
                 past malloc. See process RAM",
            )
        } else {
            None
        };
        HeapNote {
            not_counted: reason.map(str::to_owned),
        }
    }

    /// The machine's fingerprint.
    ///
    /// A driver that does not answer within `limit` leaves its facts unknown, for this time only.
    fn environment(&mut self, limit: Duration) -> Environment {
        if let Some(environment) = &self.environment {
            return environment.clone();
        }
        let gpus = self.watcher.gpu_facts(limit);
        let environment = doctor::environment(&Toolchain::find(), &doctor::cuda(&gpus), &gpus);
        if gpus.answered {
            self.environment = Some(environment.clone());
        }
        environment
    }
}
