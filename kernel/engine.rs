//! evcxr: evaluates cells, completes and inspects. Lives on one thread, which may take seconds to
//! bring it up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use evcxr::{CommandContext, Completions, Error, EvalCallbacks, EvalContext, EvalOutputs};
use memtrack::cuda_toolkit::CudaToolkit;

use crate::cache_lock;
use crate::cargo_stand_in;
use crate::interrupt::Interrupter;
use crate::link::{Link, Notes};
use crate::output::FrontEnd;
use crate::recipes;
use crate::std_source;
use crate::toolchain::Toolchain;
use crate::wire;
use crate::workdir::{self, WorkDir};

/// MiB of compiled dependencies that are kept for later sessions.
const CACHE_MIB: u32 = 10 * 1024;

/// What came of evaluating a cell.
pub struct Evaluation {
    /// evcxr's verdict. `Ok` also for a panic and for an error returned by `?`: see the notes.
    pub result: Result<EvalOutputs, Error>,
    /// What the cell's output said.
    pub notes: Notes,
    /// The user interrupted it.
    pub interrupted: bool,
    /// The process that runs cells was replaced.
    pub restarted: bool,
    /// Variables that were there before and are lost: by a restart, or by a change of their type.
    pub lost_variables: Vec<String>,
}

/// evcxr with its child.
pub struct Engine {
    context: CommandContext,
    link: Arc<Link>,
    interrupter: Arc<Interrupter>,
    /// The file that leaves it to evcxr how values are shown.
    evcxr_display: PathBuf,
}

impl Engine {
    /// Brings evcxr up: it compiles and runs a first cell, which takes seconds.
    ///
    /// # Errors
    /// Where there is no toolchain, or it cannot compile.
    pub fn start(
        link: Arc<Link>,
        interrupter: Arc<Interrupter>,
        work_dir: &WorkDir,
        toolchain: &Toolchain,
    ) -> Result<Engine> {
        if let Err(error) = std_source::provide(&work_dir.std_source(), toolchain) {
            eprintln!("memtrack-kernel: types of std may be unknown: {error:#}");
        }
        let cache = workdir::cache_dir().unwrap_or_else(|| work_dir.path().to_owned());
        cargo_stand_in::prepare(&cache, work_dir, toolchain)?;
        let mut command = link.command()?;
        command.env(wire::ENV_SUPPORT, work_dir.support().library());
        let cuda = CudaToolkit::find();
        let cudarc = recipes::cudarc_number(&cuda);
        work_dir.configure_cargo(&cuda, cudarc)?;
        work_dir.prepare_child(&mut command, toolchain, &cuda);
        let (context, outputs) = EvalContext::with_subprocess_command(command)
            .map_err(|error| anyhow!("{error}"))
            .context("the Rust engine did not start")?;
        // Our child writes to pipes of its own; only what it says before it has them comes here.
        std::thread::spawn(move || outputs.stdout.into_iter().for_each(drop));
        std::thread::spawn(move || {
            for line in outputs.stderr {
                eprintln!("memtrack-kernel: child: {line}");
            }
        });
        let mut engine = Engine {
            context: CommandContext::with_eval_context(context),
            link,
            interrupter,
            evcxr_display: work_dir.evcxr_display(),
        };
        cache_lock::mend_counts(&cache);
        engine.set_up(&format!(":cache {CACHE_MIB}"))?;
        match engine.context.execute(":load_config --quiet") {
            Ok(outputs) => {
                let said = outputs.get("text/plain").unwrap_or_default();
                if ["Output format: ", "Types: "].iter().any(|it| said.contains(it)) {
                    engine.leave_display_to_evcxr();
                }
            }
            Err(error) => eprintln!("memtrack-kernel: init.evcxr or evcxr.toml: {error}"),
        }
        Ok(engine)
    }

    /// Lets rust-analyzer read the standard library now rather than at the first `let`.
    pub fn warm(&mut self) {
        let code = "let warm = vec![String::new()]; warm.";
        let _ = self.completions(code, code.len());
    }

    /// Evaluates a cell. Its output goes to `front_end` as it comes.
    pub fn evaluate(&mut self, code: &str, front_end: &Arc<dyn FrontEnd>) -> Evaluation {
        if chooses_format(code) {
            self.leave_display_to_evcxr();
        }
        let before = self.variables();
        let children = self.link.children_started();
        self.link.begin_cell(Arc::clone(front_end));
        let interrupter = Arc::clone(&self.interrupter);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if interrupter.is_requested() {
                return Err(Error::Message("interrupted".to_owned()));
            }
            let ask = Arc::clone(front_end);
            self.context.execute_with_callbacks(
                code,
                &mut EvalCallbacks {
                    input_reader: &|request| {
                        ask.ask(&request.prompt, request.is_password)
                            .unwrap_or_else(|reason| {
                                eprintln!("memtrack-kernel: no input: {reason}");
                                String::new()
                            })
                    },
                },
            )
        }))
        .unwrap_or_else(|_| Err(Error::Message(INTERNAL_PANIC.to_owned())));
        let interrupted = interrupter.is_requested();
        let notes = self.link.end_cell();
        let restarted = notes.died || self.link.children_started() != children;
        let after = self.variables();
        let lost_variables = before
            .into_iter()
            .filter(|name| !after.contains(name))
            .filter(|name| restarted || notes.lost_variables.contains(name))
            .collect();
        Evaluation {
            result,
            notes,
            interrupted,
            restarted,
            lost_variables,
        }
    }

    /// Completions at a byte offset.
    ///
    /// # Errors
    /// Where the code cannot be analysed.
    pub fn completions(&mut self, code: &str, offset: usize) -> Result<Completions> {
        let context = &mut self.context;
        catch_unwind(AssertUnwindSafe(|| context.completions(code, offset)))
            .map_err(|_| anyhow!(INTERNAL_PANIC))?
    }

    /// Plain text and HTML about the expression that ends at a byte offset.
    ///
    /// # Errors
    /// Where the code cannot be analysed.
    pub fn inspect(&mut self, code: &str, offset: usize) -> Result<(String, String)> {
        let context = &mut self.context;
        catch_unwind(AssertUnwindSafe(|| context.hover_at(code, offset)))
            .map_err(|_| anyhow!(INTERNAL_PANIC))?
    }

    /// Names of the variables that the user has.
    pub fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .context
            .variables_and_types()
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort();
        names
    }

    /// The dependencies that the user has, as evcxr keeps them: `name = {…}`, a line each.
    pub fn dependencies(&mut self) -> String {
        let outputs = self.context.execute(":show_deps");
        outputs
            .ok()
            .and_then(|outputs| outputs.content_by_mime_type.get("text/plain").cloned())
            .unwrap_or_default()
    }

    /// What rustc was last given, with the user's code in it.
    pub fn last_source(&self) -> Option<String> {
        self.context.last_source().ok()
    }

    /// Ends the child now, so that dropping the engine does not wait for it.
    pub fn stop(self) {
        self.link.kill_child();
        drop(self.context);
    }

    fn set_up(&mut self, code: &str) -> Result<()> {
        self.context
            .execute(code)
            .map(drop)
            .map_err(|error| anyhow!("{error}"))
    }

    /// Has values shown by evcxr's own code, which compiles such a cell twice but knows the format
    /// that the user has chosen.
    fn leave_display_to_evcxr(&self) {
        if let Err(error) = std::fs::write(&self.evcxr_display, "") {
            eprintln!("memtrack-kernel: values are shown in the usual format: {error}");
        }
    }
}

const INTERNAL_PANIC: &str = "evcxr failed internally; its log has the details. The session goes \
     on; if later cells fail too, restart the kernel";

/// Whether a cell has commands of evcxr that choose how values are shown.
fn chooses_format(code: &str) -> bool {
    code.lines()
        .map(str::trim_start)
        .any(|line| line.starts_with(":fmt") || line.starts_with(":types"))
}
