//! Interrupting a cell, whatever it is doing: the compiler is killed while it compiles, the
//! process that runs cells while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use memtrack::page::Phase;
use memtrack::probe::tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::link::Link;

/// How often the cell is looked at until it has ended. A cell between two steps of its
/// compilation has nothing to kill at that moment.
const RETRY: Duration = Duration::from_millis(20);

/// Interrupts the running cell.
pub struct Interrupter {
    link: Arc<Link>,
    /// Odd while a cell is evaluated; grows with each begin and end.
    turn: AtomicU64,
    requested: AtomicBool,
}

/// A cell that can be interrupted, until this is dropped.
pub struct Running<'a>(&'a Interrupter);

impl Interrupter {
    /// Nothing is running yet.
    pub fn new(link: Arc<Link>) -> Interrupter {
        Interrupter {
            link,
            turn: AtomicU64::new(0),
            requested: AtomicBool::new(false),
        }
    }

    /// A cell starts. Called before its front end is told, so that no interrupt comes too early.
    pub fn begin(&self) -> Running<'_> {
        self.requested.store(false, SeqCst);
        self.turn.fetch_add(1, SeqCst);
        Running(self)
    }

    /// Whether the running cell was asked to end.
    pub fn is_requested(&self) -> bool {
        self.requested.load(SeqCst)
    }

    /// Interrupts the running cell, if one runs. Returns at once; the cell ends soon.
    pub fn interrupt(self: &Arc<Self>) {
        let turn = self.turn.load(SeqCst);
        if turn.is_multiple_of(2) || self.requested.swap(true, SeqCst) {
            return;
        }
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            while this.turn.load(SeqCst) == turn {
                if this.link.page().page().phase() == Phase::Running {
                    this.link.kill_child();
                } else if this.link.pid().is_some() || this.link.children_started() == 0 {
                    // Not between two children: the new one would be taken for a compiler.
                    kill_compilers(this.link.pid());
                }
                std::thread::sleep(RETRY);
            }
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.turn.fetch_add(1, SeqCst);
        self.0.requested.store(false, SeqCst);
    }
}

/// Kills every process that the kernel started, but for the one that runs cells: cargo, rustc, the
/// linker, and commands of `!shell`.
pub fn kill_compilers(child: Option<i32>) {
    let own = std::process::id() as i32;
    for pid in tree::descendants(own, child) {
        if Some(pid) != child {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
