//! The descriptors of the process that runs cells: what cells do to them is mended where it would hold
//! up the next cell.

#![expect(unsafe_code, reason = "descriptors as numbers, which no value owns")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Puts those of stdin, stdout and stderr back that a cell has closed. What it has put there in their
/// place stays: it may have sent its output elsewhere.
///
/// # Errors
/// Where the cell has closed `streams` too.
pub fn restore_standard(streams: &[File; 3]) -> Result<()> {
    for (target, stream) in (0..).zip(streams) {
        // SAFETY: this reads a flag; of a number that nothing is open at, the system says so.
        if unsafe { libc::fcntl(target, libc::F_GETFD) } < 0 {
            replace(stream, target)?;
        }
    }
    Ok(())
}

/// A limit of this process that was raised as far as the system allows.
pub struct Limit {
    resource: Resource,
    soft: u64,
    hard: u64,
}

impl Limit {
    /// `None` where it is as high as may be.
    pub fn raise(resource: Resource) -> Option<Limit> {
        let (soft, hard) = getrlimit(resource).ok()?;
        let raised = soft < hard && setrlimit(resource, hard, hard).is_ok();
        raised.then_some(Limit {
            resource,
            soft,
            hard,
        })
    }

    /// What it was before.
    pub fn restore(self) {
        // It is not raised then, so the system cannot refuse it.
        let _ = setrlimit(self.resource, self.soft, self.hard);
    }
}

/// A copy with a number above those that programs count on, closed in what this process starts.
///
/// # Errors
/// Where there is no such descriptor or no number left.
pub fn dup(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: this touches no descriptor that is there; a number that nothing is open at is refused.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) };
    if copy < 0 {
        bail!(std::io::Error::last_os_error());
    }
    // SAFETY: the system has just given this number, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes a number stand for what another descriptor does.
///
/// # Errors
/// Where the system refuses it.
pub fn replace(source: &impl AsRawFd, target: RawFd) -> Result<()> {
    // SAFETY: what is closed at `target` is, by what this is for, nobody's: the callers name 0, 1 and 2,
    // which libstd does not own.
    if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
        bail!(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Closes it in what this process starts.
///
/// # Errors
/// Where the system refuses it.
pub fn close_on_exec(fd: &OwnedFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Leaves descriptors open in what `command` starts, under their numbers.
pub fn hand_over<const N: usize>(command: &mut Command, descriptors: Arc<[OwnedFd; N]>) {
    let keep = move || {
        for fd in descriptors.iter() {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec `keep` does no more than system calls: nothing is allocated, and no
    // lock is taken.
    unsafe { command.pre_exec(keep) };
}
