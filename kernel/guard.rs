//! Stands before the ZeroMQ sockets and drops connections that announce more than a kernel could
//! take. The ZeroMQ library reserves memory for a frame when its header comes, before any
//! signature can be checked, and has no limit: nine bytes from anyone who reaches the port would
//! end the process. So it listens inside the kernel's own folder, and what comes from outside
//! passes through here; nothing is changed on the way.
//!
//! Connections take descriptors, three each, and a kernel without any can run no cell: those that say
//! nothing are dropped, and only so many are open at once. The rest wait in the system's queue.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jupyter_protocol::ConnectionInfo;
use jupyter_protocol::connection_info::Transport;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of one message, all its frames together.
const MESSAGE_LIMIT: u64 = 128 << 20;

/// A client may take no byte for this long.
const STALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// How long a client may take to greet.
const GREETING_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// ZMTP's greeting, before the first frame.
const GREETING: u64 = 64;

/// The sockets' addresses inside `folder`, for the ZeroMQ library to bind.
pub fn inside(info: &ConnectionInfo, folder: &Path) -> ConnectionInfo {
    ConnectionInfo {
        transport: Transport::IPC,
        ip: folder.join("zmq").to_string_lossy().into_owned(),
        ..info.clone()
    }
}

/// Listens at the addresses of `outside` and passes on to those of `inside`.
///
/// # Errors
/// Where an address cannot be bound.
pub async fn listen(outside: &ConnectionInfo, inside: &ConnectionInfo) -> Result<()> {
    let room = Arc::new(Semaphore::new(most_connections()));
    for (channel, port) in [
        ("shell", outside.shell_port),
        ("control", outside.control_port),
        ("stdin", outside.stdin_port),
        ("iopub", outside.iopub_port),
        ("heartbeat", outside.hb_port),
    ] {
        let room = Arc::clone(&room);
        let target = PathBuf::from(format!("{}-{port}", inside.ip));
        match outside.transport {
            Transport::TCP => {
                let address = (outside.ip.as_str(), port);
                let listener = TcpListener::bind(address).await.with_context(|| {
                    format!("{channel} cannot be bound to {}:{port}", outside.ip)
                })?;
                tokio::spawn(async move {
                    loop {
                        let place = Arc::clone(&room).acquire_owned().await;
                        if let Ok((stream, _)) = listener.accept().await {
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(pass(stream, target.clone(), channel, place.ok()));
                        } else {
                            pause().await;
                        }
                    }
                });
            }
            Transport::IPC => {
                let path = format!("{}-{port}", outside.ip);
                // A killed kernel leaves its sockets behind; jupyter_client reuses the names.
                let _ = std::fs::remove_file(&path);
                let listener = UnixListener::bind(&path)
                    .with_context(|| format!("{channel} cannot be bound to {path}"))?;
                tokio::spawn(async move {
                    loop {
                        let place = Arc::clone(&room).acquire_owned().await;
                        if let Ok((stream, _)) = listener.accept().await {
                            tokio::spawn(pass(stream, target.clone(), channel, place.ok()));
                        } else {
                            pause().await;
                        }
                    }
                });
            }
        }
    }
    Ok(())
}

/// Removes the socket files of an ipc kernel.
pub fn remove_sockets(outside: &ConnectionInfo) {
    if matches!(outside.transport, Transport::IPC) {
        for port in [
            outside.shell_port,
            outside.control_port,
            outside.stdin_port,
            outside.iopub_port,
            outside.hb_port,
        ] {
            let _ = std::fs::remove_file(format!("{}-{port}", outside.ip));
        }
    }
}

/// Accepting fails while the process is out of descriptors; do not spin on it.
async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

/// How many connections may be open at once: they take three fifths of the descriptors at most.
fn most_connections() -> usize {
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(descriptors / 5).map_or(Semaphore::MAX_PERMITS, |most| most.clamp(20, 10_000))
}

/// `_place` is given back at the end.
async fn pass<S>(
    mut outside: S,
    target: PathBuf,
    channel: &'static str,
    _place: Option<OwnedSemaphorePermit>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // All clients speak first.
    let mut first = [0; GREETING as usize];
    let Ok(Ok(length @ 1..)) = timeout(GREETING_LIMIT, outside.read(&mut first)).await else {
        return;
    };
    let inside = match UnixStream::connect(&target).await {
        Ok(inside) => inside,
        Err(error) => {
            eprintln!("memtrack-kernel: a connection to {channel} was dropped: {error}");
            return;
        }
    };
    let (from_outside, to_outside) = tokio::io::split(outside);
    let (from_inside, to_inside) = inside.into_split();
    tokio::select! {
        result = pass_checked(&first[..length], from_outside, to_inside) => {
            if let Err(error) = result {
                eprintln!("memtrack-kernel: a connection to {channel} was dropped: {error}");
            }
        }
        () = pass_back(from_inside, to_outside, channel) => {}
    }
}

/// Passes on what the kernel sends. A client that takes nothing for long is dropped: the ZeroMQ
/// library waits for each, so one that sleeps would stop the others, and the kernel.
async fn pass_back(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    channel: &str,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        match timeout(STALL_LIMIT, to.write_all(&buffer[..length])).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                eprintln!("memtrack-kernel: a client of {channel} was dropped: it reads nothing");
                return;
            }
        }
    }
}

async fn pass_checked(
    first: &[u8],
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut frames = Frames::default();
    frames.check(first)?;
    to.write_all(first).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match frames.greeted() {
            true => from.read(&mut buffer).await?,
            false => timeout(GREETING_LIMIT, from.read(&mut buffer)).await??,
        };
        if length == 0 {
            return Ok(());
        }
        frames.check(&buffer[..length])?;
        to.write_all(&buffer[..length]).await?;
    }
}

/// Where in ZMTP's stream of frames a connection is: see <https://rfc.zeromq.org/spec/23/>.
pub struct Frames {
    /// Bytes until the next header.
    skip: u64,
    /// The header so far: flags, then one or eight bytes of length.
    header: Vec<u8>,
    /// Bytes of the message that is not complete yet.
    message: u64,
    /// Frames whose header has come.
    count: u64,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            skip: GREETING,
            header: Vec::with_capacity(9),
            message: 0,
            count: 0,
        }
    }
}

impl Frames {
    /// Whether the greeting has come, and the first frame after it.
    fn greeted(&self) -> bool {
        self.count > 0
    }

    /// Follows the next bytes of the connection, in pieces of any size.
    ///
    /// # Errors
    /// Where a frame's header announces more than a message may have.
    pub fn check(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[skipped as usize..];
            let Some((first, rest)) = bytes.split_first() else {
                break;
            };
            self.header.push(*first);
            bytes = rest;
            self.take_header()?;
        }
        Ok(())
    }

    fn take_header(&mut self) -> std::io::Result<()> {
        let flags = self.header[0];
        let length = match (flags & 2 != 0, &self.header[1..]) {
            (false, [length]) => u64::from(*length),
            (true, length) if length.len() == 8 => length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            _ => return Ok(()),
        };
        self.header.clear();
        self.count += 1;
        self.message = self.message.saturating_add(length);
        if self.message > MESSAGE_LIMIT {
            return Err(std::io::Error::other(format!(
                "it announced a message of {} bytes; the limit is {MESSAGE_LIMIT}",
                self.message
            )));
        }
        if flags & 1 == 0 {
            self.message = 0;
        }
        self.skip = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: &[(u8, u64, usize)]) -> Vec<u8> {
        let mut bytes = vec![0; GREETING as usize];
        for (flags, length, body) in frames {
            bytes.push(*flags);
            if flags & 2 == 0 {
                bytes.push(*length as u8);
            } else {
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            bytes.extend(std::iter::repeat_n(7, *body));
        }
        bytes
    }

    fn passes(bytes: &[u8], piece: usize) -> bool {
        let mut frames = Frames::default();
        bytes.chunks(piece).all(|piece| frames.check(piece).is_ok())
    }

    #[test]
    fn ordinary_frames_pass_in_any_pieces() {
        let bytes = stream(&[
            (4, 26, 26),
            (1, 5, 5),
            (1, 0, 0),
            (2, 70_000, 70_000),
            (0, 3, 3),
        ]);
        for piece in [1, 2, 7, 64, 65, 1000, 1 << 20] {
            assert!(passes(&bytes, piece), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_its_body() {
        assert!(!passes(&stream(&[(4, 26, 26), (2, 1 << 62, 0)]), 9));
        assert!(!passes(&stream(&[(2, u64::MAX, 0)]), 3));
        assert!(!passes(&stream(&[(2, MESSAGE_LIMIT + 1, 0)]), 1));
        assert!(passes(&stream(&[(2, MESSAGE_LIMIT, 0)]), 1));
    }

    #[test]
    fn many_frames_of_one_message_are_added_up() {
        let mut frames = Frames::default();
        frames.check(&vec![0; GREETING as usize]).unwrap();
        let half = MESSAGE_LIMIT / 2 + 1;
        let mut header = vec![3];
        header.extend_from_slice(&half.to_be_bytes());
        frames.check(&header).unwrap();
        frames.skip = 0;
        assert!(frames.check(&header).is_err());
        // Two messages of that length are fine.
        let mut frames = Frames::default();
        frames.check(&vec![0; GREETING as usize]).unwrap();
        header[0] = 2;
        frames.check(&header).unwrap();
        frames.skip = 0;
        frames.check(&header).unwrap();
    }
}
