//! evcxr: evaluates cells, completes and inspects. Lives on one thread, which may take seconds to
//! bring it up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use evcxr::{CommandContext, Completions, Error, EvalCallbacks, EvalContext, EvalOutputs};
use memtrack::cuda_toolkit::CudaToolkit;

use crate::cache_lock;
use crate::cargo_stand_in;
use crate::interrupt::Interrupter;
use crate::link::{Link, Notes};
use crate::output::{FrontEnd, Nowhere, Output, Stream};
use crate::recipes;
use crate::toolchain::Toolchain;
use crate::type_probe;
use crate::types::{Amount, Types, is_command, needs_types};
use crate::wire;
use crate::workdir::{self, WorkDir};

/// MiB of compiled dependencies that are kept for later sessions.
const CACHE_MIB: u32 = 10 * 1024;

/// How many cells rustc is asked about before rust-analyzer reads std: all together that takes it no
/// longer.
const PROBES: u32 = 10;

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
    /// The code that was compiled, where types were written into the cell; line by line the same.
    pub typed: Option<String>,
}

/// evcxr with its child.
pub struct Engine {
    context: CommandContext,
    link: Arc<Link>,
    interrupter: Arc<Interrupter>,
    work_dir: Arc<WorkDir>,
    toolchain: Toolchain,
    types: Types,
    /// How many cells rustc was asked about.
    probed: u32,
}

impl Engine {
    /// Brings evcxr up: it compiles and runs a first cell, which takes seconds.
    ///
    /// # Errors
    /// Where there is no toolchain, or it cannot compile.
    pub fn start(
        link: Arc<Link>,
        interrupter: Arc<Interrupter>,
        work_dir: Arc<WorkDir>,
        toolchain: &Toolchain,
    ) -> Result<Engine> {
        let cache = workdir::cache_dir().unwrap_or_else(|| work_dir.path().to_owned());
        let types = Types::begin(&cache, &work_dir, toolchain)?;
        let cuda = CudaToolkit::find();
        prepare_compiling(&cache, &work_dir, toolchain, &cuda)?;
        let mut command = link.command()?;
        command.env(wire::ENV_SUPPORT, work_dir.support().library());
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
            work_dir,
            toolchain: toolchain.clone(),
            types,
            probed: 0,
        };
        cache_lock::mend_counts(&cache);
        engine.set_up(&format!(":cache {CACHE_MIB}"))?;
        match engine.context.execute(":load_config --quiet") {
            Ok(outputs) => {
                let said = outputs.get("text/plain").unwrap_or_default();
                if ["Output format: ", "Types: "]
                    .iter()
                    .any(|it| said.contains(it))
                {
                    engine.leave_display_to_evcxr();
                }
            }
            Err(error) => eprintln!("memtrack-kernel: init.evcxr or evcxr.toml: {error}"),
        }
        Ok(engine)
    }

    /// Lets rust-analyzer read an outline of the standard library now rather than at the first `let`.
    pub fn warm(&mut self) {
        let code = "let warm = vec![String::new()]; warm.";
        let _ = self.completions(code, code.len());
    }

    /// Starts the process that runs the cells again where it has ended after the last cell: says why, and
    /// which variables were lost.
    pub fn revive(&mut self) -> Option<(String, Vec<String>)> {
        let death = self.link.has_died()?;
        let lost = self.variables();
        self.link.begin_cell(Arc::new(Nowhere));
        // evcxr notices only when it wants a cell to be run.
        let context = &mut self.context;
        let _ = catch_unwind(AssertUnwindSafe(|| context.execute("()")));
        self.link.end_cell();
        let how = death.map_or_else(|| "nobody saw how".to_owned(), |death| death.describe());
        Some((how, lost))
    }

    /// Evaluates a cell. Its output goes to `front_end` as it comes.
    pub fn evaluate(&mut self, code: &str, front_end: &Arc<dyn FrontEnd>) -> Evaluation {
        if !self.work_dir.is_there() {
            let text = match self.make_folder_again() {
                Ok(()) => format!("{FOLDER_DELETED}\n"),
                Err(error) => format!("{FOLDER_DELETED} It could not be made again: {error:#}\n"),
            };
            front_end.show(Output::Text(Stream::Stderr, text));
        }
        if has_command(code, &[":fmt", ":types"]) {
            self.leave_display_to_evcxr();
        }
        let mut typed = self.with_types_of_rustc(code);
        if typed.is_none() && needs_types(code) {
            // A command of the shell must not run again where the outline does not do.
            let once = code.lines().any(|line| line.starts_with('!'));
            self.know(if once { Amount::Whole } else { Amount::Outline });
        }
        if has_command(code, &[":opt"]) {
            self.mend_opt_level();
        }
        let before = self.variables();
        let children = self.link.children_started();
        self.link.begin_cell(Arc::clone(front_end));
        let interrupter = Arc::clone(&self.interrupter);
        let result = catch_unwind(AssertUnwindSafe(|| {
            if interrupter.is_requested() {
                return Err(Error::Message("interrupted".to_owned()));
            }
            if let Some(code) = &typed {
                match self.execute(code, front_end) {
                    Err(Error::CompilationErrors(_)) => self.know(Amount::Outline),
                    result => return result,
                };
                typed = None;
            }
            match self.execute(code, front_end) {
                Err(Error::Message(message))
                    if message.starts_with(UNKNOWN_TYPE) && self.know(Amount::Whole) =>
                {
                    self.execute(code, front_end)
                }
                result => result,
            }
        }))
        .unwrap_or_else(|_| Err(Error::Message(INTERNAL_PANIC.to_owned())));
        let interrupted = interrupter.is_requested();
        let notes = self.link.end_cell();
        // One that ended just before the cell began may be noticed by evcxr only, and the next one may not
        // have said hello yet.
        let ended = matches!(result, Err(Error::SubprocessTerminated(_)));
        let restarted = ended || notes.died || self.link.children_started() != children;
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
            typed,
        }
    }

    /// The cell with the types of its variables written into it, where it needs some, rust-analyzer
    /// does not know std yet, and rustc tells them.
    fn with_types_of_rustc(&mut self, code: &str) -> Option<String> {
        if self.types.amount() > Amount::Nothing
            || self.probed >= PROBES
            || !needs_types(code)
            || code.lines().any(is_command)
        {
            return None;
        }
        self.probed += 1;
        let asks = self.work_dir.asks_types();
        std::fs::write(&asks, "").ok()?;
        let context = &mut self.context;
        let errors = catch_unwind(AssertUnwindSafe(|| context.check(code)));
        std::fs::remove_file(asks).ok()?;
        let items = self.context.defined_item_names().map(str::to_owned);
        type_probe::with_types(code, &errors.ok()?.ok()?, &items.collect())
    }

    fn execute(&mut self, code: &str, front_end: &Arc<dyn FrontEnd>) -> Result<EvalOutputs, Error> {
        self.context.execute_with_callbacks(
            code,
            &mut EvalCallbacks {
                input_reader: &|request| {
                    front_end
                        .ask(&request.prompt, request.is_password)
                        .unwrap_or_else(|reason| {
                            eprintln!("memtrack-kernel: no input: {reason}");
                            String::new()
                        })
                },
            },
        )
    }

    /// Makes anew what the kernel itself has in its folder; evcxr and Cargo make theirs when they miss it.
    fn make_folder_again(&mut self) -> Result<()> {
        self.work_dir.make_again()?;
        let cache = workdir::cache_dir().unwrap_or_else(|| self.work_dir.path().to_owned());
        prepare_compiling(
            &cache,
            &self.work_dir,
            &self.toolchain,
            &CudaToolkit::find(),
        )?;
        self.types.make_again(&self.work_dir)
    }

    /// Has rust-analyzer know at least that much of std from its next use on. True if that is more
    /// than before.
    fn know(&mut self, amount: Amount) -> bool {
        let more = self.types.raise(amount);
        if more && let Some(level) = self.opt_level() {
            // rust-analyzer loads what there is when the manifest changes; for Cargo a space is no
            // change.
            self.set_opt_level(&format!("{level} "));
        }
        more
    }

    /// Takes the spaces of [`Engine::know`] away, because `:opt` compares the level.
    fn mend_opt_level(&mut self) {
        if let Some(level) = self.opt_level() {
            self.set_opt_level(level.trim_end());
        }
    }

    fn set_opt_level(&mut self, level: &str) {
        if let Err(error) = self.context.set_opt_level(level) {
            eprintln!("memtrack-kernel: types of std may be unknown: {error}");
        }
    }

    /// The level as evcxr has written it last.
    fn opt_level(&self) -> Option<String> {
        let manifest = std::fs::read_to_string(self.work_dir.manifest()).ok()?;
        let level = manifest
            .lines()
            .find_map(|line| line.strip_prefix("opt-level = "));
        level.map(str::to_owned)
    }

    /// Completions at a byte offset.
    ///
    /// # Errors
    /// Where the code cannot be analysed.
    pub fn completions(&mut self, code: &str, offset: usize) -> Result<Completions> {
        self.know(Amount::Outline);
        let context = &mut self.context;
        catch_unwind(AssertUnwindSafe(|| context.completions(code, offset)))
            .map_err(|_| anyhow!(INTERNAL_PANIC))?
    }

    /// Plain text and HTML about the expression that ends at a byte offset.
    ///
    /// # Errors
    /// Where the code cannot be analysed.
    pub fn inspect(&mut self, code: &str, offset: usize) -> Result<(String, String)> {
        self.know(Amount::Whole);
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
        if let Err(error) = std::fs::write(self.work_dir.evcxr_display(), "") {
            eprintln!("memtrack-kernel: values are shown in the usual format: {error}");
        }
    }
}

/// Puts into the kernel's folder what it takes to compile cells.
fn prepare_compiling(
    cache: &Path,
    work_dir: &WorkDir,
    toolchain: &Toolchain,
    cuda: &CudaToolkit,
) -> Result<()> {
    cargo_stand_in::prepare(cache, work_dir, toolchain)?;
    work_dir.configure_cargo(cuda, recipes::cudarc_number(cuda))
}

const FOLDER_DELETED: &str = "memtrack-kernel: somebody has deleted this kernel's temporary folder. \
     Variables and definitions are still there; dependencies are compiled again. A front end that \
     connects anew, such as a page that is loaded again, may not reach this kernel: restart it when \
     you can.";

const INTERNAL_PANIC: &str = "evcxr failed internally; its log has the details. The session goes \
     on; if later cells fail too, restart the kernel";

/// What evcxr says where rust-analyzer does not know a type.
const UNKNOWN_TYPE: &str = "Couldn't automatically determine type of variable";

/// Whether a cell has one of these commands of evcxr.
fn has_command(code: &str, commands: &[&str]) -> bool {
    let mut words = code.lines().filter(|line| is_command(line));
    words.any(|line| commands.contains(&line.split_whitespace().next().unwrap_or_default()))
}
