//! How the process that runs cells died, and what it used at most: read before evcxr reaps it.

#![expect(unsafe_code, reason = "a system call that libc does not have whole")]

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Result;
use nix::sys::signal::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its exit code, or the number of the signal that killed it.
    pub end: End,
    /// `ru_maxrss` in bytes: the resident set's maximum over its life.
    pub max_rss: Option<u64>,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It called `exit` with this code.
    Exit(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Death {
    /// In words, for the user: what ended the process.
    pub fn describe(&self) -> String {
        match self.end {
            End::Exit(code) => format!("the cell ended the process, with exit code {code}"),
            End::Signal(number) => {
                let name = Signal::try_from(number)
                    .map_or_else(|_| format!("signal {number}"), |name| name.to_string());
                match number {
                    libc::SIGSEGV => format!("segmentation fault, an invalid access ({name})"),
                    libc::SIGABRT => format!("the process aborted ({name})"),
                    libc::SIGBUS => format!("bus error ({name})"),
                    libc::SIGILL => format!("illegal instruction ({name})"),
                    libc::SIGFPE => format!("arithmetic error ({name})"),
                    libc::SIGKILL => format!("killed from outside ({name})"),
                    _ => format!("ended by {name}"),
                }
            }
        }
    }
}

/// That a process ended: its number, and how, unless somebody else reaped it first.
pub type News = (i32, Option<Death>);

/// Watches processes for their end, a thread for each.
pub struct Watch {
    sender: mpsc::Sender<News>,
    wake: Arc<File>,
}

/// A watch, the file that becomes readable when there is news, and the news.
pub fn watch() -> Result<(File, Watch, mpsc::Receiver<News>)> {
    let (read, write): (OwnedFd, OwnedFd) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
    let (sender, receiver) = mpsc::channel();
    let watch = Watch {
        sender,
        wake: Arc::new(File::from(write)),
    };
    Ok((File::from(read), watch, receiver))
}

impl Watch {
    /// Watches one more child of this process. It is not reaped: that stays evcxr's part.
    pub fn add(&self, pid: i32) {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        let watcher = std::thread::Builder::new().name("child-watch".into());
        let spawned = watcher.spawn(move || {
            let _ = sender.send((pid, wait_without_reaping(pid)));
            let _ = (&*wake).write_all(&[1]);
        });
        if let Err(error) = spawned {
            eprintln!("memtrack-kernel: the child's end will not be seen: {error}");
        }
    }
}

/// Blocks until `pid` ends. `None` if somebody else reaped it first.
fn wait_without_reaping(pid: i32) -> Option<Death> {
    // libc's `waitid` drops the last parameter, so the call is made directly.
    // SAFETY: all-zero bytes are valid for both structures; the system writes into no more than them, and
    // the arguments have the types that it takes.
    let (info, usage) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        loop {
            let result = libc::syscall(
                libc::SYS_waitid,
                libc::P_PID,
                pid,
                &raw mut info,
                libc::WEXITED | libc::WNOWAIT,
                &raw mut usage,
            );
            if result == 0 {
                break (info, usage);
            }
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                return None;
            }
        }
    };
    // SAFETY: what `waitid` tells has the fields of a SIGCHLD, of which this is one.
    let status = unsafe { info.si_status() };
    Some(Death {
        end: if info.si_code == libc::CLD_EXITED {
            End::Exit(status)
        } else {
            End::Signal(status)
        },
        max_rss: u64::try_from(usage.ru_maxrss)
            .ok()
            .filter(|kib| *kib > 0)
            .map(|kib| kib * 1024),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death_of(command: &str) -> Option<Death> {
        let mut child = std::process::Command::new("sh")
            .args(["-c", command])
            .spawn()
            .unwrap();
        let death = wait_without_reaping(child.id() as i32);
        child.wait().unwrap();
        death
    }

    #[test]
    fn exit_codes_and_signals_are_told_apart() {
        assert_eq!(death_of("exit 3").unwrap().end, End::Exit(3));
        assert_eq!(death_of("kill -9 $$").unwrap().end, End::Signal(9));
        assert!(death_of("true").unwrap().max_rss.unwrap() > 0);
    }
}
