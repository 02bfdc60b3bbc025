//! What the kernel and the process that runs cells say to each other beside evcxr's protocol.
//!
//! They share four descriptors: the page of `memtrack::page`, a control socket, and the write ends
//! of the pipes for the user's stdout and stderr. On the control socket the child first says hello
//! and hands over its end of evcxr's pipe; then the kernel may send commands, each answered.

#![expect(unsafe_code, reason = "a descriptor that comes as a number")]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, UnixAddr, recvmsg, sendmsg,
};

/// Environment variable with the child's numbers of the shared descriptors.
pub const ENV_FDS: &str = "MEMTRACK_FDS";

/// Written by the child into both output pipes when the user's function came back.
pub const DONE: &[u8] = b"\0memtrack-done\0";

/// Environment variable with the path of the library in which the child finds [`FLUSH_SYMBOL`].
pub const ENV_SUPPORT: &str = "MEMTRACK_SUPPORT";

/// Name of the function that flushes the stdout of the cells' libstd.
pub const FLUSH_SYMBOL: &str = "memtrack_flush_stdout";

const HELLO: u8 = 1;

/// What the kernel can ask of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Give free heap back to the system. Answered by 1 if some was, else 0.
    Trim,
}

/// A message from the child.
#[derive(Debug)]
pub enum FromChild {
    /// A new child runs: its pid, and its end of the pipe on which evcxr listens.
    Hello(i32, OwnedFd),
    /// The answer to a command.
    Answer(u8),
}

/// Says hello, with the descriptor that evcxr listens on.
pub fn send_hello(control: &OwnedFd, protocol: &OwnedFd) -> io::Result<()> {
    let mut message = [HELLO, 0, 0, 0, 0];
    message[1..].copy_from_slice(&std::process::id().to_le_bytes());
    let fds = [protocol.as_raw_fd()];
    sendmsg::<UnixAddr>(
        control.as_raw_fd(),
        &[IoSlice::new(&message)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Waits for the kernel's next command. `None` when the kernel is gone.
pub fn receive_command(control: &OwnedFd) -> io::Result<Option<Command>> {
    let mut message = [0];
    loop {
        match nix::sys::socket::recv(control.as_raw_fd(), &mut message, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(Command::Trim)),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers a command.
pub fn send_answer(control: &OwnedFd, answer: u8) -> io::Result<()> {
    nix::sys::socket::send(control.as_raw_fd(), &[0, answer], MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Sends a command to the child.
pub fn send_command(control: &OwnedFd, command: Command) -> io::Result<()> {
    let Command::Trim = command;
    nix::sys::socket::send(control.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Reads one message of the child, if there is one. Never blocks.
pub fn receive_from_child(control: &OwnedFd) -> io::Result<Option<FromChild>> {
    let mut bytes = [0; 5];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received: RecvMsg<UnixAddr> =
        match recvmsg(control.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(received) => received,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    let fd = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the system has made this descriptor while it gave us the message, so nobody owns it yet.
    let fd = fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(match (bytes, fd) {
        ([HELLO, pid @ ..], Some(fd)) => Some(FromChild::Hello(i32::from_le_bytes(pid), fd)),
        ([0, answer, ..], None) => Some(FromChild::Answer(answer)),
        _ => None,
    })
}
