//! Progress of `:dep`: which crate is being compiled, and how many of how many.
//!
//! evcxr runs cargo itself and keeps its progress to itself. But cargo runs our binary in place of
//! rustc (that is how compiled dependencies are cached), once for each crate; on its way to rustc
//! it says so to the kernel, by a datagram.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::output::{FrontEnd, Output, html_bundle};
use crate::variables;

/// Environment variable with the path of the socket.
const SOCKET: &str = "MEMTRACK_PROGRESS";
/// Environment variable with the kernel's pid.
const KERNEL: &str = "MEMTRACK_KERNEL_PID";
/// The crate that evcxr makes of a cell.
pub const CELL_CRATE: &str = "ctx";
/// How often the display is renewed at most.
const RENEW: Duration = Duration::from_millis(200);

/// Says which crate is being compiled, if a kernel wants to know. Called in place of rustc.
///
/// Ends the process where that kernel is gone: cargo, which nobody waits for any more, then ends
/// too instead of compiling on.
pub fn report_compilation() {
    let kernel = std::env::var(KERNEL).ok().and_then(|pid| pid.parse().ok());
    // No signal: it is only asked whether the process is there.
    if let Some(pid) = kernel
        && kill(Pid::from_raw(pid), None).is_err()
    {
        std::process::exit(1);
    }
    let (Some(socket), Ok(name)) = (std::env::var_os(SOCKET), std::env::var("CARGO_PKG_NAME"))
    else {
        return;
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    if let Ok(sender) = UnixDatagram::unbound() {
        let _ = sender.set_nonblocking(true);
        let _ = sender.send_to(format!("{name} {version}").as_bytes(), Path::new(&socket));
    }
}

/// Shows the progress of compilation in the running cell.
pub struct Progress {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cell: Option<Cell>,
    cells: u64,
}

struct Cell {
    front_end: Arc<dyn FrontEnd>,
    display_id: String,
    start: Instant,
    crates: BTreeSet<String>,
    total: Option<usize>,
    shown: Option<Instant>,
}

impl Progress {
    /// Opens the socket in `work_dir` and tells the environment, so that cargo's children find it.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn open(work_dir: &Path) -> Result<UnixDatagram> {
        let path = work_dir.join("progress");
        let socket = UnixDatagram::bind(&path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        variables::set(SOCKET, &path);
        variables::set(KERNEL, std::process::id().to_string());
        Ok(socket)
    }

    /// Listens to the socket on a thread of its own.
    pub fn listen(socket: Arc<UnixDatagram>, crate_dir: PathBuf) -> Progress {
        let state = Arc::new(Mutex::new(State::default()));
        let for_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok(length) = socket.recv(&mut buffer) {
                let name = String::from_utf8_lossy(&buffer[..length]).into_owned();
                note(&for_thread, name, &crate_dir);
            }
        });
        Progress { state }
    }

    /// A cell starts; compilation from here on is its.
    pub fn begin(&self, front_end: Arc<dyn FrontEnd>) {
        let mut state = lock(&self.state);
        state.cells += 1;
        let display_id = format!("memtrack-progress-{}-{}", std::process::id(), state.cells);
        state.cell = Some(Cell {
            front_end,
            display_id,
            start: Instant::now(),
            crates: BTreeSet::new(),
            total: None,
            shown: None,
        });
    }

    /// The cell has ended. If its dependencies did not come to an end, its display says so.
    pub fn end(&self) {
        if let Some(cell) = lock(&self.state).cell.take() {
            cell.close("Stopped after");
        }
    }
}

fn note(state: &Arc<Mutex<State>>, name: String, crate_dir: &Path) {
    let mut locked = lock(state);
    let turn = locked.cells;
    let Some(cell) = &mut locked.cell else { return };
    let first = cell.crates.is_empty();
    let crate_name = name.split(' ').next().unwrap_or_default().to_owned();
    if crate_name == CELL_CRATE {
        // The cell itself comes last: its dependencies are there.
        if let Some(cell) = locked.cell.take_if(|cell| !cell.crates.is_empty()) {
            cell.close("Compiled");
        }
        return;
    }
    cell.crates.insert(name);
    if cell.shown.is_none_or(|shown| shown.elapsed() >= RENEW) {
        let again = cell.shown.is_some();
        cell.shown = Some(Instant::now());
        let text = format!("Compiling {} · {crate_name}", cell.count());
        cell.show(text, again, false);
    }
    drop(locked);
    if first {
        let state = Arc::clone(state);
        let crate_dir = crate_dir.to_owned();
        std::thread::spawn(move || {
            let total = count_dependencies(&crate_dir);
            let mut locked = lock(&state);
            if locked.cells == turn
                && let Some(cell) = &mut locked.cell
            {
                cell.total = total;
            }
        });
    }
}

impl Cell {
    fn count(&self) -> String {
        let done = self.crates.len();
        let of = match self.total.filter(|total| *total >= done) {
            Some(total) => format!(" of {total}"),
            None => String::new(),
        };
        let crates = if done == 1 && of.is_empty() {
            "crate"
        } else {
            "crates"
        };
        format!(
            "{done}{of} {crates} · {:.1} s",
            self.start.elapsed().as_secs_f64()
        )
    }

    /// Lets the display, if there is one, end as one line.
    fn close(mut self, word: &str) {
        if self.shown.is_some() {
            // How many there are in all is no news at the end: some were compiled before.
            self.total = None;
            self.show(format!("{word} {}", self.count()), true, true);
        }
    }

    fn show(&self, text: String, again: bool, last: bool) {
        let html = format!("<span style=\"opacity:.75\">{text}</span>");
        self.front_end.show(Output::Updating {
            id: self.display_id.clone(),
            again,
            last,
            bundle: html_bundle(text, html),
        });
    }
}

/// Packages that cargo must compile for this machine, the cell's own not counted.
fn count_dependencies(crate_dir: &Path) -> Option<usize> {
    let arguments = "tree --offline --prefix none --no-dedupe --edges normal,build --format {p}";
    let output = Command::new("cargo")
        .args(arguments.split(' '))
        .current_dir(crate_dir)
        .output()
        .ok()?;
    let lines = String::from_utf8(output.stdout).ok()?;
    let packages: BTreeSet<&str> = lines
        .lines()
        .map(|line| line.trim_end_matches(" (*)").trim())
        .filter(|line| !line.is_empty() && !line.starts_with("ctx "))
        .collect();
    (output.status.success() && !packages.is_empty()).then_some(packages.len())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
