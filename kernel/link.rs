//! The kernel's side of the process that runs cells (the *child*): its output, its readings, its
//! life and its death.
//!
//! One thread, the *pump*, owns the read ends of the child's stdout and stderr and the kernel's
//! end of evcxr's pipe. So it decides what evcxr learns and when: `EVCXR_EXECUTION_COMPLETE` is
//! passed on only after all output before it was shown, and the end of the pipe only after the
//! dead child's last numbers were read. Nothing sleeps to wait for output.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command as Process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memtrack::page::PageMapping;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use crate::death::{self, Death};
use crate::descriptors;
use crate::output::{Bundle, FrontEnd};
use crate::screen::Screen;
use crate::stream::{Notice, Part, Splitter};
use crate::wire::{self, Command, FromChild};

/// What a cell's output said beside the output itself.
#[derive(Default)]
pub struct Notes {
    /// The cell panicked.
    pub panicked: bool,
    /// Text of the panic, taken out of stderr.
    pub panic_text: String,
    /// A `?` returned an error; its text was the last line on stderr.
    pub error_text: Option<String>,
    /// Variables whose type was redefined, so that they were lost.
    pub lost_variables: Vec<String>,
    /// The last rich output, if nothing was printed after it: the value of the cell, perhaps.
    pub last_bundle: Option<Bundle>,
    /// The stack was overflowed, by what the child's own handler printed.
    pub stack_overflow: bool,
    /// The allocation in bytes that failed, so that libstd aborted the child.
    pub failed_allocation: Option<u64>,
    /// Why the child could not go on, in its own words.
    pub failure: Option<String>,
    /// The child died.
    pub died: bool,
    /// How, if it could be read.
    pub death: Option<Death>,
    /// How it had died before the cell.
    pub earlier_death: Option<Death>,
    /// The shared page as the dead child left it.
    pub last_words: Option<Arc<PageMapping>>,
}

/// The kernel's side of the child.
pub struct Link {
    page: Arc<PageMapping>,
    /// The child's ends. They stay open here, so that a new child can have them too.
    inherited: Arc<[OwnedFd; 4]>,
    control: Arc<OwnedFd>,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pid: Option<i32>,
    started: u64,
    screen: Screen,
    answer: Option<u8>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Link {
    /// Makes the shared descriptors and starts the pump.
    ///
    /// # Errors
    /// Where the system refuses a descriptor or a thread.
    pub fn new() -> Result<Link> {
        let page = Arc::new(PageMapping::create().context("no shared memory can be had")?);
        page.page().clear();
        let (control, control_child) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context("no socket pair can be had")?;
        let (out_read, out_write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let (err_read, err_write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;

        let page_fd = page.as_fd().try_clone_to_owned()?;
        let inherited = Arc::new([page_fd, control_child, out_write, err_write]);
        let control = Arc::new(control);
        let state = Arc::new(Shared::default());
        let pump = Pump::new(
            Arc::clone(&page),
            out_read,
            err_read,
            Arc::clone(&control),
            Arc::clone(&state),
        )?;
        std::thread::Builder::new()
            .name("pump".into())
            .spawn(move || pump.run())?;
        Ok(Link {
            page,
            inherited,
            control,
            state,
        })
    }

    /// The command that starts this binary as the child. evcxr runs it, as often as it needs a new
    /// one.
    ///
    /// # Errors
    /// Where the path of this binary cannot be found.
    pub fn command(&self) -> Result<Process> {
        let inherited = Arc::clone(&self.inherited);
        let numbers: Vec<String> = inherited
            .iter()
            .map(|fd| fd.as_raw_fd().to_string())
            .collect();
        let mut command = Process::new(std::env::current_exe().context("where is this binary?")?);
        command.env(wire::ENV_FDS, numbers.join(","));
        descriptors::hand_over(&mut command, inherited);
        Ok(command)
    }

    /// The page shared with the child.
    pub fn page(&self) -> &Arc<PageMapping> {
        &self.page
    }

    /// The child's pid. `None` before the first has started, and between two.
    pub fn pid(&self) -> Option<i32> {
        self.state.lock().pid
    }

    /// Whether the child has ended after the last cell, and how, if that is known. One that ended in the
    /// cell evcxr has replaced, though the new one may not have said hello yet.
    pub fn has_died(&self) -> Option<Option<Death>> {
        let state = self.state.lock();
        state.pid.is_none().then(|| state.screen.died_since())?
    }

    /// How many children have started.
    pub fn children_started(&self) -> u64 {
        self.state.lock().started
    }

    /// Waits until a child runs. `None` if there is none in time.
    pub fn wait_for_child(&self, limit: Duration) -> Option<i32> {
        let (state, _) = self
            .state
            .changed
            .wait_timeout_while(self.state.lock(), limit, |state| state.pid.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        state.pid
    }

    /// From here on output belongs to this cell.
    pub fn begin_cell(&self, front_end: Arc<dyn FrontEnd>) {
        let (earlier, outputs) = self.state.lock().screen.take_due(Instant::now(), true);
        if let Some(earlier) = earlier {
            outputs.into_iter().for_each(|output| earlier.show(output));
        }
        self.state.lock().screen.begin(front_end);
    }

    /// What the cell's output said. Output that comes later still goes to its front end.
    pub fn end_cell(&self) -> Notes {
        self.state.lock().screen.end()
    }

    /// Kills the child and what it started. evcxr starts the next one.
    pub fn kill_child(&self) {
        if let Some(pid) = self.pid() {
            // It may not have a group of its own yet.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Asks the child for something and waits for the answer. `None` if it did not answer in time.
    pub fn ask_child(&self, command: Command, limit: Duration) -> Option<u8> {
        self.state.lock().answer = None;
        wire::send_command(&self.control, command).ok()?;
        let (mut state, _) = self
            .state
            .changed
            .wait_timeout_while(self.state.lock(), limit, |state| state.answer.is_none())
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        state.answer.take()
    }
}

struct Pump {
    page: Arc<PageMapping>,
    out: (File, Splitter, bool),
    err: (File, Splitter, bool),
    control: Arc<OwnedFd>,
    shared: Arc<Shared>,
    wake: File,
    deaths: mpsc::Receiver<death::News>,
    death_sender: death::Watch,
    children: Vec<(i32, File)>,
    buffer: Vec<u8>,
}

impl Pump {
    fn new(
        page: Arc<PageMapping>,
        out: OwnedFd,
        err: OwnedFd,
        control: Arc<OwnedFd>,
        shared: Arc<Shared>,
    ) -> Result<Pump> {
        for fd in [&out, &err] {
            nix::fcntl::fcntl(
                fd,
                nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
            )?;
        }
        // A larger pipe lets a cell that prints much run ahead of us. It may be refused.
        let _ = nix::fcntl::fcntl(&out, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
        let (wake, death_sender, deaths) = death::watch()?;
        Ok(Pump {
            page,
            out: (File::from(out), Splitter::stdout(), false),
            err: (File::from(err), Splitter::stderr(), false),
            control,
            shared,
            wake,
            deaths,
            death_sender,
            children: Vec::new(),
            buffer: vec![0; 256 * 1024],
        })
    }

    fn run(mut self) {
        loop {
            let wait = self.shared.lock().screen.wait(Instant::now());
            let timeout = wait.map_or(PollTimeout::NONE, |wait| {
                PollTimeout::try_from(wait.as_millis() as u32 + 1).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = [
                PollFd::new(self.out.0.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.err.0.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    eprintln!("memtrack-kernel: output can no longer be read: {error}");
                    return;
                }
            }
            self.take_messages();
            // stderr first: the text of a panic stands before the notice on stdout.
            self.take_stderr();
            self.take_stdout();
            self.take_deaths();
            self.pass_completion();
            self.flush(false);
        }
    }

    fn take_messages(&mut self) {
        loop {
            match wire::receive_from_child(&self.control) {
                Ok(Some(FromChild::Hello(pid, protocol))) => {
                    self.death_sender.add(pid);
                    self.children.push((pid, File::from(protocol)));
                    let mut state = self.shared.lock();
                    state.pid = Some(pid);
                    state.started += 1;
                    self.shared.changed.notify_all();
                }
                Ok(Some(FromChild::Answer(answer))) => {
                    self.shared.lock().answer = Some(answer);
                    self.shared.changed.notify_all();
                }
                Ok(None) => return,
                Err(error) => {
                    eprintln!("memtrack-kernel: a message of the child was not read: {error}");
                    return;
                }
            }
        }
    }

    fn take_stdout(&mut self) {
        let Some(length) = read_some(&self.out.0, &mut self.buffer) else {
            return;
        };
        for part in self.out.1.feed(&self.buffer[..length]) {
            self.show_stdout(part);
        }
    }

    fn show_stdout(&mut self, part: Part) {
        match part {
            Part::Text(text) => self.shared.lock().screen.stdout(text),
            Part::Content(mime, text) => self.shared.lock().screen.content(&mime, text),
            Part::Done => self.out.2 = true,
            Part::Notice(notice, line) => {
                if matches!(notice, Notice::Panic | Notice::Error) {
                    // Its text is on its way on the other pipe, written before this notice.
                    self.take_stderr();
                }
                self.shared.lock().screen.notice(notice, &line);
                self.flush(notice == Notice::Input);
                self.tell_evcxr(&line);
            }
        }
    }

    fn take_stderr(&mut self) {
        let Some(length) = read_some(&self.err.0, &mut self.buffer) else {
            return;
        };
        for part in self.err.1.feed(&self.buffer[..length]) {
            self.show_stderr(part);
        }
    }

    fn show_stderr(&mut self, part: Part) {
        match part {
            Part::Text(text) => {
                let pid = self.children.last().map(|(pid, _)| *pid);
                self.shared.lock().screen.stderr(text, pid);
            }
            Part::Done => self.err.2 = true,
            Part::Content(..) | Part::Notice(..) => {}
        }
    }

    fn take_deaths(&mut self) {
        // First, so that news that comes after it wakes us again. One read may stand for several.
        let _ = read_some(&self.wake, &mut [0; 64]);
        while let Ok((pid, death)) = self.deaths.try_recv() {
            if death.is_some() {
                // What the cells started goes with it. The dead child is not reaped yet, so the
                // number is still its group's.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            self.drain();
            let last_words = self.page.copy().ok().map(Arc::new);
            let mut state = self.shared.lock();
            if state.pid == Some(pid) {
                state.pid = None;
                state.screen.died(death, last_words);
            }
            drop(state);
            self.flush(true);
            self.shared.changed.notify_all();
            // The last of the pipe's writers: now evcxr learns of the death.
            self.children.retain(|(child, _)| *child != pid);
        }
    }

    /// Shows everything that a dead child left in the pipes.
    fn drain(&mut self) {
        while let Some(length) = read_some(&self.err.0, &mut self.buffer) {
            for part in self.err.1.feed(&self.buffer[..length]) {
                self.show_stderr(part);
            }
        }
        while let Some(length) = read_some(&self.out.0, &mut self.buffer) {
            for part in self.out.1.feed(&self.buffer[..length]) {
                self.show_stdout(part);
            }
        }
        for part in self.err.1.finish() {
            self.show_stderr(part);
        }
        for part in self.out.1.finish() {
            self.show_stdout(part);
        }
        (self.out.2, self.err.2) = (false, false);
    }

    fn pass_completion(&mut self) {
        if self.out.2 && self.err.2 {
            (self.out.2, self.err.2) = (false, false);
            self.shared.lock().screen.completed();
            self.flush(true);
            self.tell_evcxr("EVCXR_EXECUTION_COMPLETE");
        }
    }

    fn tell_evcxr(&mut self, line: &str) {
        if let Some((_, protocol)) = self.children.last_mut() {
            // Fails only when evcxr is gone, and with it the kernel.
            let _ = protocol.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Shows what is due. Outside the lock: the front end may make us wait.
    fn flush(&self, all: bool) {
        let (front_end, outputs) = self.shared.lock().screen.take_due(Instant::now(), all);
        if let Some(front_end) = front_end {
            for output in outputs {
                front_end.show(output);
            }
        }
    }
}

fn read_some(mut file: &File, buffer: &mut [u8]) -> Option<usize> {
    match std::io::Read::read(&mut file, buffer) {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(length),
    }
}
