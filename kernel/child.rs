//! What this binary does as the process that runs the cells.
//!
//! evcxr starts it and speaks a line protocol with it: `LOAD_AND_RUN <library> <function>` on its
//! stdin, `EVCXR_EXECUTION_COMPLETE` and a few notices on its stdout. evcxr's own runtime does
//! the same with fewer wishes. Ours differs in this:
//!
//! - memory is read right before and right after the user's function (`memtrack::worker`);
//! - the user's stdout and stderr are pipes to the kernel of their own, so that a line without an
//!   end is seen at once; the kernel forwards evcxr's notices (see `stream.rs`);
//! - it dies with the kernel, and with all processes that the cells started.

#![expect(
    unsafe_code,
    reason = "libraries that are loaded and functions found in them"
)]

use std::ffi::{OsStr, OsString, c_void};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::Thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memtrack::heap;
use memtrack::page::{PageMapping, Phase, SharedPage};
use memtrack::probe::cuda;
use memtrack::worker::Worker;
use nix::sys::resource::Resource;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{Pid, setpgid};

use crate::descriptors::{Limit, close_on_exec, dup, replace, restore_standard};
use crate::exit;
use crate::last_words;
use crate::variables;
use crate::wire::{self, Command, DONE};

/// Set by evcxr for the process that runs cells.
const IS_RUNTIME: &str = "EVCXR_IS_RUNTIME";

/// The exit code of a process that cannot go on.
pub const FAILED: i32 = 99;
/// What it says then, before the reason.
pub const CANNOT_GO_ON: &str = "memtrack-kernel: the process that runs cells cannot go on: ";

/// How often unfinished lines of the user's stdout are pushed out while a cell runs.
const FLUSH_INTERVAL: Duration = Duration::from_millis(20);

/// How often CUDA's memory pool is looked at while a tracked cell runs.
const CUDA_INTERVAL: Duration = memtrack::sampler::GPU_INTERVAL;
/// … and how often it is looked whether CUDA has been loaded meanwhile. To make a context takes it
/// much longer than this.
const INTERVAL_WITHOUT_CUDA: Duration = Duration::from_millis(20);

type UserFunction = extern "C" fn(*mut c_void) -> *mut c_void;
type FlushFunction = extern "C" fn();

/// The function that flushes the stdout of the cells' own libstd.
static FLUSH: AtomicUsize = AtomicUsize::new(0);

/// Whether a tracked cell is being run.
static IN_TRACKED_CELL: AtomicBool = AtomicBool::new(false);

/// Whether this process was started to run cells.
pub fn is_wanted() -> bool {
    std::env::var_os(IS_RUNTIME).is_some() && std::env::var_os(wire::ENV_FDS).is_some()
}

/// Runs cells until stdin ends. Never returns.
pub fn run() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{CANNOT_GO_ON}{error:#}");
            FAILED
        }
    };
    std::process::exit(code);
}

fn serve() -> Result<()> {
    let fds = std::env::var(wire::ENV_FDS).context("no descriptors were handed over")?;
    let fds: Vec<RawFd> = fds
        .split(',')
        .map(|fd| fd.parse().context("a descriptor is no number"))
        .collect::<Result<_>>()?;
    let [page_fd, control_fd, out_fd, err_fd] = fds[..] else {
        bail!("four descriptors are needed, got {}", fds.len());
    };
    // SAFETY: the kernel has left these descriptors open for us, and nothing in this process, which has
    // only begun, owns them.
    let [page_fd, control, out, err] =
        [page_fd, control_fd, out_fd, err_fd].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let support = std::env::var_os(wire::ENV_SUPPORT);
    hide_from_cells()?;
    let page = PageMapping::from_file(File::from(page_fd))
        .context("the shared page cannot be mapped")?
        .leak();
    page.clear();
    // A cell may close the numbers that every program has, or put something else there.
    let commands = dup(0)?;
    // evcxr's end of our stdout belongs to the kernel from here on.
    let protocol = dup(1)?;
    wire::send_hello(&control, &protocol)?;
    drop(protocol);
    replace(&out, 1)?;
    replace(&err, 2)?;
    for fd in [&control, &out, &err] {
        close_on_exec(fd)?;
    }
    let looker = start_helpers(control, page)?;
    if std::env::var_os("MEMTRACK_HEAP").is_none_or(|value| value != "0") {
        heap::start_counting(page);
    }

    let worker: &'static Worker = Box::leak(Box::new(Worker::new(page)));
    last_words::install(worker);
    let mut cells = Cells {
        process: std::process::id(),
        worker,
        page,
        spare: dup(0).ok(),
        looker,
        streams: [commands.try_clone()?, out, err].map(File::from),
        variables: std::ptr::null_mut(),
        support,
    };
    for line in BufReader::new(File::from(commands)).lines() {
        cells.handle(&line.context("the kernel's end is gone")?)?;
    }
    Ok(())
}

struct Cells {
    /// A cell that forks makes another one, which must not run cells too.
    process: u32,
    worker: &'static Worker,
    page: &'static SharedPage,
    /// Given up where a cell has left no descriptor for the next one's library.
    spare: Option<OwnedFd>,
    /// Looks at CUDA's pools while a tracked cell runs.
    looker: Thread,
    /// What belongs at the numbers 0, 1 and 2, at numbers of their own.
    streams: [File; 3],
    variables: *mut c_void,
    /// The library to load before the first cell.
    support: Option<OsString>,
}

impl Cells {
    fn handle(&mut self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let (Some("LOAD_AND_RUN"), Some(library), Some(function), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("the kernel sent a line that is not understood: {line:?}");
        };
        self.load_and_run(library, function)?;
        // The mark goes through both pipes, so that the kernel has seen all output before it.
        for mut output in &self.streams[1..] {
            output.write_all(DONE)?;
        }
        Ok(())
    }

    fn load_and_run(&mut self, library: &str, function: &str) -> Result<()> {
        if let Some(support) = self.support.take() {
            find_flush(&support);
        }
        let library = self
            .load(library)
            .with_context(|| format!("the compiled cell {library} cannot be loaded"))?;
        // SAFETY: evcxr has written the function with this type, and the library is never unloaded.
        let function: UserFunction = unsafe { *library.get(function.as_bytes())? };
        let tracked = self.page.track.load(Ordering::Relaxed) != 0;
        IN_TRACKED_CELL.store(tracked, Ordering::Release);
        if tracked {
            self.looker.unpark();
        }
        self.variables = self.worker.run(|| {
            let variables = function(self.variables);
            if std::process::id() != self.process {
                flush_cells_stdout();
                // What is to be done at the end is for the other.
                exit::at_once();
            }
            variables
        });
        IN_TRACKED_CELL.store(false, Ordering::Release);
        flush_cells_stdout();
        restore_standard(&self.streams)?;
        // Never unloaded: thread-local destructors and the user's values point into it.
        std::mem::forget(library);
        Ok(())
    }

    /// Loads the library of a cell.
    fn load(&mut self, library: &str) -> Result<libloading::Library, libloading::Error> {
        // SAFETY: the initialisers that run are of the cell and of what it depends on: what the user asked
        // to run. The library is never unloaded.
        let load = || unsafe { libloading::Library::new(library) };
        load().or_else(|error| {
            // Earlier cells may hold all descriptors or addresses that they may have; then what is
            // kept for this, and what the system would allow, is used: variables need not be lost.
            drop(self.spare.take());
            let limits = [Resource::RLIMIT_NOFILE, Resource::RLIMIT_AS].map(Limit::raise);
            let result = load();
            self.spare = dup(0).ok();
            limits.into_iter().flatten().for_each(Limit::restore);
            result.map_err(|_| error)
        })
    }
}

/// Loads the library that is compiled for the cells' libstd.
fn find_flush(support: &OsStr) {
    // SAFETY: the kernel had it compiled from `carried/cells`, which gives the function this type and has
    // no initialisers; and it is never unloaded.
    let found = unsafe {
        libloading::Library::new(support).and_then(|library| {
            let flush: FlushFunction = *library.get(wire::FLUSH_SYMBOL.as_bytes())?;
            FLUSH.store(flush as usize, Ordering::Release);
            std::mem::forget(library);
            Ok(())
        })
    };
    if let Err(error) = found {
        eprintln!("memtrack-kernel: unfinished lines show late: {error}");
    }
}

fn flush_cells_stdout() {
    let address = FLUSH.load(Ordering::Acquire);
    if address != 0 {
        // SAFETY: only `find_flush` stores here: a function of this type that is never unloaded.
        let flush: FlushFunction = unsafe { std::mem::transmute(address) };
        flush();
    }
}

/// Starts the threads beside the cells. They are small, and not counted. Gives the one that looks at
/// CUDA's pools, which sleeps until it is unparked.
fn start_helpers(control: OwnedFd, page: &'static SharedPage) -> Result<Thread> {
    let small = |name: &str| {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(128 * 1024)
    };
    // All wait for each other, so that none allocates after the counting has begun.
    let started = Arc::new(Barrier::new(4));
    let flusher_started = Arc::clone(&started);
    small("memtrack-flush").spawn(move || {
        heap::ignore_this_thread();
        flusher_started.wait();
        loop {
            std::thread::sleep(FLUSH_INTERVAL);
            if page.phase() == Phase::Running {
                flush_cells_stdout();
            }
        }
    })?;
    let cuda_started = Arc::clone(&started);
    // The driver's functions may need more room than ours.
    let looker = small("memtrack-cuda").stack_size(1 << 20).spawn(move || {
        heap::ignore_this_thread();
        cuda_started.wait();
        loop {
            std::thread::park();
            let mut interval = CUDA_INTERVAL;
            while IN_TRACKED_CELL.load(Ordering::Acquire) {
                std::thread::sleep(interval);
                let run = page.run_count();
                let is_running = || page.phase() == Phase::Running && page.run_count() == run;
                if is_running() {
                    let has_cuda = cuda::look(&page.gpu, is_running);
                    interval = if has_cuda {
                        CUDA_INTERVAL
                    } else {
                        INTERVAL_WITHOUT_CUDA
                    };
                }
            }
        }
    })?;
    let control_started = Arc::clone(&started);
    small("memtrack-control").spawn(move || {
        heap::ignore_this_thread();
        control_started.wait();
        while let Ok(Some(command)) = wire::receive_command(&control) {
            let answer = match command {
                Command::Trim => u8::from(heap::trim()),
            };
            if wire::send_answer(&control, answer).is_err() {
                return;
            }
        }
    })?;
    started.wait();
    Ok(looker.thread().clone())
}

/// Makes this process what a user's program expects, and tied to the kernel's life.
fn hide_from_cells() -> Result<()> {
    // A group of its own: an interrupt or the end of the kernel takes the cells' children too.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // SAFETY: the default action replaces a handler, so no code of ours is called.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }?;
    // `run` blocks signals that a user's program may want.
    SigSet::empty().thread_set_mask()?;
    // evcxr sets it to 1. Frames of a stripped release library help nobody; who wants them sets
    // MEMTRACK_BACKTRACE.
    let backtrace = std::env::var_os("MEMTRACK_BACKTRACE");
    variables::set("RUST_BACKTRACE", backtrace.unwrap_or_else(|| "0".into()));
    for ours in [IS_RUNTIME, wire::ENV_FDS, wire::ENV_SUPPORT] {
        variables::remove(ours);
    }
    Ok(())
}
