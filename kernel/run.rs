//! `memtrack-kernel run`: executes a notebook with no Jupyter, prints what its cells show, and
//! writes the executed notebook.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::Parts;
use crate::files;
use crate::output::FrontEnd;
use crate::session::{CellRequest, Session};
use crate::terminal::{Terminal, put};

/// Arguments of `run`.
#[derive(clap::Args)]
pub struct RunArgs {
    /// The notebook to execute.
    notebook: PathBuf,
    /// Where to write the executed notebook. Without it the outputs are only printed.
    #[arg(long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Go on after a cell that fails.
    #[arg(long)]
    allow_errors: bool,
}

/// Executes a notebook. The exit code is 1 if a cell failed.
///
/// # Errors
/// Where the notebook cannot be read or the result cannot be written.
pub fn run(arguments: RunArgs, parts: Parts) -> Result<ExitCode> {
    let mut notebook = read(&arguments.notebook)?;
    let output = arguments.output.as_deref().map(std::path::absolute);
    let output = output.transpose()?;
    if let Some(output) = &output {
        files::check_writable(output)?;
    }
    enter_folder_of(&arguments.notebook)?;
    let (notebook, failed) = on_session_thread(parts, move |parts| {
        let failed = execute_all(&mut notebook, parts, arguments.allow_errors);
        (notebook, failed)
    })?;
    if let Some(output) = &output {
        write(output, &notebook)?;
        progress(&format!("written to {}", output.display()));
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// Does work with a session on a thread of its own, whose stack is large enough for rust-analyzer.
/// Ctrl-C and SIGTERM end it, and everything it started.
///
/// # Errors
/// Where no thread can be had, or the work panics.
pub fn on_session_thread<T: Send + 'static>(
    parts: Parts,
    work: impl FnOnce(Parts) -> T + Send + 'static,
) -> Result<T> {
    let interrupter = Arc::clone(&parts.interrupter);
    let link = Arc::clone(&parts.link);
    let work_dir = Arc::clone(&parts.work_dir);
    let left_over = Arc::clone(&work_dir);
    end_on_interrupt(move || {
        interrupter.interrupt();
        crate::interrupt::kill_compilers(link.pid());
        link.kill_child();
        work_dir.remove();
    })?;
    let session = std::thread::Builder::new()
        .name("session".into())
        .stack_size(64 << 20)
        .spawn(move || work(parts))
        .context("no thread can be had")?;
    session.join().map_err(|_| {
        left_over.remove();
        anyhow!("the session ended in an internal error; see above")
    })
}

/// Executes the code cells in order. True if one failed.
fn execute_all(notebook: &mut Value, parts: Parts, allow_errors: bool) -> bool {
    let start = Instant::now();
    progress("starting Rust …");
    let interrupter = Arc::clone(&parts.interrupter);
    let mut session = Session::new(parts);
    session.start_engine();
    let mut cells: Vec<&mut Value> = notebook["cells"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|cell| cell["cell_type"] == "code")
        .collect();
    let total = cells.len();
    let mut failed = false;
    for (index, cell) in cells.iter_mut().enumerate() {
        let code = source(cell);
        cell["outputs"] = json!([]);
        cell["execution_count"] = Value::Null;
        if code.trim().is_empty() || (failed && !allow_errors) {
            continue;
        }
        let elapsed = start.elapsed().as_secs_f64();
        progress(&format!("cell {} of {total} · {elapsed:.0} s", index + 1));
        let request = CellRequest {
            code,
            counted: true,
            user_expressions: Vec::new(),
        };
        let execution_count = session.begin(&request);
        put(&format!(
            "\x1b[32mIn [{execution_count}]:\x1b[0m {}\n",
            indent(&request.code)
        ));
        let terminal = Arc::new(Terminal::new(execution_count));
        let front_end: Arc<dyn FrontEnd> = terminal.clone();
        let running = interrupter.begin();
        let outcome = session.execute(&request, &front_end);
        drop(running);
        failed |= outcome.error.is_some();
        cell["outputs"] = Value::Array(terminal.take_outputs());
        cell["execution_count"] = json!(execution_count);
        put("\n");
    }
    session.stop();
    failed
}

/// The text of a cell: a string, or a list of lines.
pub fn source(cell: &Value) -> String {
    match &cell["source"] {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Reads a notebook.
///
/// # Errors
/// Where it cannot be read, or is no notebook of format 4.
pub fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the notebook {} cannot be read", path.display()))?;
    // Checked as a notebook, but kept as it is: what this program does not know must survive.
    nbformat::parse_notebook(&text)
        .map_err(anyhow::Error::from)
        .and_then(|_| Ok(serde_json::from_str(&text)?))
        .with_context(|| format!("{} is not a Jupyter notebook of format 4", path.display()))
}

/// As in JupyterLab, cells find files beside their notebook.
fn enter_folder_of(notebook: &Path) -> Result<()> {
    match notebook.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::env::set_current_dir(folder)
            .with_context(|| format!("the folder {} cannot be entered", folder.display())),
        _ => Ok(()),
    }
}

/// Notebooks are indented by one space.
fn write(path: &Path, notebook: &Value) -> Result<()> {
    files::write(path, |file| {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut *file, formatter);
        serde::Serialize::serialize(notebook, &mut serializer)?;
        Ok(file.write_all(b"\n")?)
    })
}

fn indent(code: &str) -> String {
    code.trim_end().replace('\n', "\n        ")
}

/// Says what is being done.
pub fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[2m{text}\x1b[0m");
    } else {
        eprintln!("{text}");
    }
}

/// Ctrl-C and SIGTERM end the run, and everything it started.
fn end_on_interrupt(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked here and so in every later thread; one waits for them.
    signals.thread_block()?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            clean_up();
            eprintln!("memtrack-kernel: interrupted");
            std::process::exit(130);
        }
    });
    Ok(())
}
