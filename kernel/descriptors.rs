//! The descriptors of the process that runs cells: what cells do to them is mended where it would hold
//! up the next cell.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Puts those of stdin, stdout and stderr back that a cell has closed. What it has put there in their
/// place stays: it may have sent its output elsewhere.
///
/// # Errors
/// Where the cell has closed `streams` too.
pub fn restore_standard(streams: &[File; 3]) -> Result<()> {
    for (target, stream) in (0..).zip(streams) {
        // SAFETY: only asks whether there is such a descriptor.
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
    // SAFETY: a new descriptor with no other owner; checked.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 10) };
    if copy < 0 {
        bail!(std::io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes a number stand for what another descriptor does.
///
/// # Errors
/// Where the system refuses it.
pub fn replace(source: &impl AsRawFd, target: RawFd) -> Result<()> {
    // SAFETY: both are descriptors; the result is checked.
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
    // SAFETY: a valid descriptor; the result is checked.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        bail!(std::io::Error::last_os_error());
    }
    Ok(())
}
