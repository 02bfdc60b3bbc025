//! `%use`: a package in the form that fits this machine, there before the cell's own code runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maud::html;
use memtrack::capture::HeapNote;
use memtrack::cuda_toolkit::CudaToolkit;
use memtrack::gpu_watch::FACTS_LIMIT;
use memtrack::magic::UseRequest;

use super::Session;
use crate::doctor;
use crate::out_of_memory::Held;
use crate::output::{Bundle, CellError, FrontEnd, Output, Stream, html_bundle};
use crate::pins::{self, Pins};
use crate::recipes::{self, Recipe};
use crate::verdict::{Place, judge};
use crate::workdir::{WorkDir, cache_dir};

impl Session {
    /// Brings a package, and shows how.
    pub(super) fn use_package(
        &mut self,
        request: &UseRequest,
        front_end: &Arc<dyn FrontEnd>,
    ) -> Result<(), CellError> {
        let fail = |problem: String| CellError::plain("UseError", problem);
        let cache = cache_dir().ok_or_else(|| {
            fail(
                "no cache folder is known: set MEMTRACK_CACHE_DIR to a folder that can be \
                 written, and restart the kernel"
                    .to_owned(),
            )
        })?;
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        let recipe = recipes::recipe(
            request,
            &doctor::cuda(&self.watcher.gpu_facts(FACTS_LIMIT)),
            &cache,
        )
        .map_err(fail)?;
        let unpacked = recipe
            .carried
            .as_ref()
            .map(|carried| carried.unpack(&cache));
        let unpacked = unpacked
            .transpose()
            .map_err(|error| fail(format!("{error:#}")))?;
        if self.engine.is_err() {
            self.start_engine();
        }
        let engine = match &mut self.engine {
            Ok(engine) => engine,
            Err(reason) => return Err(CellError::plain("NoEngine", reason.clone())),
        };
        let dependencies = engine.dependencies();
        let lines = match &unpacked {
            Some(folder) => self
                .parts
                .work_dir
                .link(folder)
                .map(|link| recipe.lines_by(folder, &link))
                .map_err(|error| fail(format!("{error:#}")))?,
            None => recipe.lines.clone(),
        };
        if is_in(&lines, &dependencies) {
            front_end.show(Output::Display(html_bundle(
                format!("{} is already there.", recipe.title),
                html! { span style="opacity:.75" { (recipe.title) " is already there." } }
                    .into_string(),
            )));
            return Ok(());
        }
        front_end.show(Output::Display(show(&recipe)));
        let code = lines.join("\n");
        code.lines()
            .for_each(|line| follow_cuda_feature(line, &self.parts.work_dir));
        // Only where nothing else is in the session do the versions belong to this package alone.
        let versions = unpacked
            .filter(|_| dependencies.is_empty())
            .map(|folder| Versions::new(&folder, &self.parts.work_dir));
        if let Some(versions) = &versions {
            versions.restore();
        }
        let oom_before = self.watcher.oom_kills();
        self.progress.begin(Arc::clone(front_end));
        let evaluation = engine.evaluate(&code, front_end);
        self.progress.end();
        let place = Place {
            cell_name: &format!("%use {}", request.package.name()),
            code: &code,
            typed: None,
            compiled: engine.last_source(),
            out_of_memory: self.watcher.has_killed_since(oom_before),
            held: Held::of(&evaluation.notes, &self.watcher, None, &HeapNote::default()),
            has_run: false,
        };
        match judge(&evaluation, &place).error {
            Some(error) => Err(explain(error, request)),
            None => {
                if let Some(versions) = &versions {
                    versions.keep();
                }
                Ok(())
            }
        }
    }
}

/// The exact versions of all that a carried crate depends on, as Cargo chose them the first time,
/// kept beside the crate.
struct Versions {
    kept: PathBuf,
    in_use: PathBuf,
}

impl Versions {
    fn new(folder: &Path, work_dir: &WorkDir) -> Versions {
        Versions {
            kept: folder.join(pins::FILE),
            in_use: work_dir.lock_file(),
        }
    }

    fn restore(&self) {
        if self.kept.is_file()
            && let Err(error) = std::fs::copy(&self.kept, &self.in_use)
        {
            eprintln!("memtrack-kernel: the kept versions are not used: {error}");
        }
    }

    fn keep(&self) {
        if self.kept.is_file() {
            return;
        }
        let keep = || match Pins::read(&self.in_use)? {
            Some(pins) => pins.write(&self.kept),
            None => Ok(()),
        };
        if let Err(error) = keep() {
            eprintln!("memtrack-kernel: the versions are not kept: {error:#}");
        }
    }
}

impl Recipe {
    /// The lines with a link in place of the folder that was unpacked: what Cargo makes of a crate
    /// by path depends on where it lies, unless that is in the folder of the cells' own crate.
    fn lines_by(&self, folder: &Path, link: &Path) -> Vec<String> {
        let [folder, link] = [folder, link].map(recipes::quoted);
        let [folder, link] = [&folder, &link].map(|path| path.trim_end_matches('"'));
        self.lines
            .iter()
            .map(|line| line.replace(folder, link))
            .collect()
    }
}

/// Whether a session that has these dependencies has what these lines bring.
fn is_in(lines: &[String], dependencies: &str) -> bool {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(":dep "))
        .all(|wanted| dependencies.lines().any(|line| line == wanted))
}

/// What was chosen, and why.
fn show(recipe: &Recipe) -> Bundle {
    let text = [
        std::slice::from_ref(&recipe.title),
        &recipe.lines[..],
        &recipe.reasons[..],
    ]
    .concat()
    .join("\n");
    let markup = html! {
        div {
            b { (recipe.title) }
            pre style="margin:.2em 0;font-family:monospace" { (recipe.lines.join("\n")) }
            @for reason in &recipe.reasons {
                div style="opacity:.75" { (reason) }
            }
        }
    };
    html_bundle(text, markup.into_string())
}

/// Says what to do about an error of Cargo's, where it is known.
fn explain(error: CellError, request: &UseRequest) -> CellError {
    let name = request.package.name();
    let text = format!("{}\n{}", error.evalue, error.traceback.join("\n"));
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let advice = if let Some(version) = &request.version
        && has(&[
            "failed to select a version for the requirement",
            "candidate versions found",
        ]) {
        format!(
            "There is no {name} {version} on crates.io, or not all its parts have that version. \
             Leave @{version} away to get the one that this kernel was tested with."
        )
    } else if has(&[
        "failed to download",
        "failed to query",
        "failed to get",
        "Could not resolve host",
        "Could not connect",
        "offline mode",
        "--offline",
    ]) {
        format!(
            "{name} comes from crates.io, which was not reached. Look after the network and run \
             the cell again. What Cargo has downloaded before is used without a network after the \
             line `:offline 1`."
        )
    } else if has(&["No space left on device"]) {
        "The disk is full. Compiled packages are kept in MEMTRACK_CACHE_DIR, else ~/.cache/memtrack."
            .to_owned()
    } else {
        return error;
    };
    let mut traceback = error.traceback;
    traceback.push(advice.clone());
    CellError {
        ename: "UseError".to_owned(),
        evalue: advice,
        traceback,
    }
}

/// Which warnings about the user's own `:dep` lines were given.
#[derive(Default)]
pub(super) struct Warned {
    crates: BTreeSet<&'static str>,
}

impl Warned {
    /// Looks at the `:dep` lines of a cell that is about to run: warns of crates that cells do not
    /// share well, and has Cargo compile cudarc for the version of CUDA that the cell names.
    pub(super) fn look_at(
        &mut self,
        code: &str,
        work_dir: &WorkDir,
        front_end: &Arc<dyn FrontEnd>,
    ) {
        for line in code
            .lines()
            .filter_map(|line| line.trim().strip_prefix(":dep "))
        {
            let name = line.split(['=', ' ']).find(|word| !word.is_empty());
            let name = name.unwrap_or_default().replace('_', "-");
            let known = NOT_SHARED.iter().find(|(known, _)| *known == name);
            if let Some((name, warning)) = known
                && self.crates.insert(name)
            {
                let text = format!("warning: {name}: {warning}\n");
                front_end.show(Output::Text(Stream::Stderr, text));
            }
            follow_cuda_feature(line, work_dir);
        }
    }
}

/// Has Cargo compile cudarc for the version of CUDA that a `:dep` line names, if it names one: two
/// versions at once do not compile.
fn follow_cuda_feature(line: &str, work_dir: &WorkDir) {
    if let Some(number) = cuda_feature(line)
        && let Err(error) = work_dir.configure_cargo(&CudaToolkit::find(), Some(number))
    {
        eprintln!("memtrack-kernel: {error:#}");
    }
}

/// The version in a feature such as `"cuda-12080"`.
fn cuda_feature(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("\"cuda-")?;
    rest.split_once('"')?.0.parse().ok()
}

const CANDLE_WARNING: &str = "as a plain dependency each cell has its own counter of tensor ids, so \
                              a model of one cell trains wrongly in the next. Use `%use candle`";

/// Crates that keep state in statics or thread-locals, of which each cell has its own, and what
/// comes of it. Each was tried; `:dep`s of others may be no better.
const NOT_SHARED: [(&str, &str); 8] = [
    ("candle-core", CANDLE_WARNING),
    ("candle-nn", CANDLE_WARNING),
    ("candle-transformers", CANDLE_WARNING),
    (
        "log",
        "each cell has its own logger and level: one that is set in a cell is not there in the \
         next. Set it in each cell that logs",
    ),
    (
        "tracing",
        "each cell has its own subscriber: one that is set in a cell is not there in the next. Set \
         it in each cell that traces",
    ),
    (
        "metrics",
        "each cell has its own recorder: one that is set in a cell is not there in the next. Set \
         it in each cell that records",
    ),
    (
        "rayon",
        "each cell has its own: settings of the global pool do not hold in the next cell, and a \
         `ThreadPool` of an earlier cell panics. Make the pool in the cell that uses it",
    ),
    (
        "tokio",
        "each cell has its own notion of the current runtime: tasks that a later cell spawns on a \
         runtime of an earlier one find no timer or I/O. Make the runtime in the cell that uses it",
    ),
];

#[cfg(test)]
mod tests;
