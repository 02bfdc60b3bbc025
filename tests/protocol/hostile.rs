//! Messages and bytes that no front end sends. The kernel says so in its log and goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::connection_info::Transport;
use serde_json::json;
use zeromq::{SocketSend, ZmqMessage};

use crate::frontend::{END_LIMIT, Frontend, new_home};
use crate::processes::{eventually, status_bytes};

const DELIMITER: &[u8] = b"<IDS|MSG>";

#[tokio::test]
async fn what_is_no_message_is_logged_and_dropped() {
    let mut kernel = Frontend::start().await;
    let header = json!({
        "msg_id": "forged", "username": "x", "session": "x", "msg_type": "shutdown_request",
        "version": "5.3", "date": "2026-01-01T00:00:00Z",
    });
    let header = header.to_string().into_bytes();
    let wrong = vec![b'0'; 64];
    let mut cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("no delimiter", vec![b"garbage".to_vec(), vec![0, 255, 7]]),
        ("one empty frame", vec![vec![]]),
        ("nothing after the delimiter", vec![DELIMITER.to_vec()]),
        ("only a signature", vec![DELIMITER.to_vec(), wrong.clone()]),
        (
            "too few parts",
            vec![
                DELIMITER.to_vec(),
                wrong.clone(),
                b"{}".to_vec(),
                b"{}".to_vec(),
            ],
        ),
    ];
    for (name, signature) in [
        ("a wrong signature", wrong),
        ("no signature", vec![]),
        ("a signature that is no hex", vec![b'z'; 64]),
        ("a signature of odd length", vec![b'0'; 63]),
    ] {
        let [parent, metadata] = [b"{}".to_vec(), b"{}".to_vec()];
        let content = b"{\"restart\":false}".to_vec();
        cases.push((
            name,
            vec![
                DELIMITER.to_vec(),
                signature,
                header.clone(),
                parent,
                metadata,
                content,
            ],
        ));
    }
    // Signed rightly, wrong inside.
    for (name, parts) in [
        ("a header that is no JSON", ["{", "{}", "{}", "{}"]),
        ("a header that is no header", ["[]", "{}", "{}", "{}"]),
        ("no UTF-8", ["\u{fffd}", "{}", "{}", "{}"]),
    ] {
        cases.push((name, kernel.signed(parts)));
    }
    let header = String::from_utf8(header).unwrap();
    for (name, metadata, content) in [
        ("metadata that is no JSON", "}", "{}"),
        ("content that is no JSON", "{}", "{\"restart\":"),
        ("content that is no object", "{}", "[]"),
        ("deeply nested content", "{}", &*"[".repeat(100_000)),
    ] {
        cases.push((name, kernel.signed([&header, "{}", metadata, content])));
    }

    for (name, frames) in &cases {
        for channel in ["shell", "control", "stdin"] {
            let lines = kernel.log().lines().count();
            kernel.send_frames(channel, frames).await;
            eventually(
                &format!("{name} on {channel} is in the log"),
                END_LIMIT,
                || (kernel.log().lines().count() > lines).then_some(()),
            )
            .await;
        }
        kernel.assert_answers().await;
    }

    // Well signed, but of no known type, or with content of another shape.
    for (msg_type, content) in [
        ("no_such_request", json!({})),
        ("execute_reply", json!({ "status": "ok" })),
        ("execute_request", json!({ "code": 5 })),
        ("complete_request", json!({ "code": 5 })),
        ("complete_request", json!({ "code": "x", "cursor_pos": -1 })),
        (
            "complete_request",
            json!({ "code": "é", "cursor_pos": 1000 }),
        ),
        (
            "inspect_request",
            json!({ "code": "é", "cursor_pos": 1000 }),
        ),
        ("history_request", json!({ "hist_access_type": "guess" })),
        ("comm_msg", json!({ "comm_id": "unknown", "data": {} })),
    ] {
        kernel.send_shell(msg_type, content.clone()).await;
        kernel.send_control(msg_type, content).await;
        kernel.assert_answers().await;
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_by_another_is_not_obeyed() {
    let mut kernel = Frontend::ready().await;
    let header = json!({
        "msg_id": "overheard", "username": "x", "session": "x", "msg_type": "execute_request",
        "version": "5.3", "date": "2026-01-01T00:00:00Z",
    });
    let content = json!({ "code": "counted += 1;", "silent": true });
    kernel.run("let mut counted = 0;").await;
    let frames = kernel.signed([&header.to_string(), "{}", "{}", &content.to_string()]);
    kernel.send_frames("shell", &frames).await;
    kernel.all_has_arrived().await;
    for channel in ["shell", "control"] {
        kernel.send_frames(channel, &frames).await;
    }
    eventually("the replays are in the log", END_LIMIT, || {
        (kernel.log().matches("it is replayed").count() == 2).then_some(())
    })
    .await;
    assert_eq!(kernel.value_of("counted").await, "1");
}

#[tokio::test]
async fn bytes_that_are_no_zeromq_end_their_connection_only() {
    let mut kernel = Frontend::start_in(Arc::new(new_home()), Transport::TCP).await;
    let before = status_bytes(kernel.pid, "VmHWM");
    let ports = [
        kernel.info.shell_port,
        kernel.info.control_port,
        kernel.info.stdin_port,
        kernel.info.iopub_port,
        kernel.info.hb_port,
    ];
    let frame_of = |length: u64| [&[2][..], &length.to_be_bytes(), b"beginning"].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".repeat(8),
        vec![0xff; 200],
        greeted("DEALER", &frame_of(u64::MAX)),
        greeted("DEALER", &frame_of(1 << 62)),
        greeted("DEALER", &frame_of(8 << 30)),
        greeted("SUB", &frame_of(8 << 30)),
        greeted("REQ", &frame_of(8 << 30)),
        // A command of a wrong length, and one that is none.
        greeted("DEALER", &[4, 5, 200, b'x', 0, 0, 0]),
        greeted("NONSENSE", &[]),
    ] {
        for port in ports {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            socket.write_all(&bytes).unwrap();
            hang_up(socket);
            kernel.assert_answers().await;
        }
    }
    let grown = status_bytes(kernel.pid, "VmHWM").saturating_sub(before);
    // evcxr and rust-analyzer start meanwhile.
    assert!(
        grown < 3 << 30,
        "the kernel took {grown} bytes for frames that never came"
    );
    kernel.warm().await;
    kernel.assert_works().await;
}

/// The beginning of a ZMTP 3.0 connection, and then `bytes`.
fn greeted(socket_type: &str, bytes: &[u8]) -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
    ready.extend_from_slice(&(socket_type.len() as u32).to_be_bytes());
    ready.extend_from_slice(socket_type.as_bytes());
    greeting.extend_from_slice(&[4, ready.len() as u8]);
    [&greeting, &ready, bytes].concat()
}

/// Says that no more bytes come, and reads until the kernel hangs up as well: then it has seen all.
fn hang_up(mut socket: TcpStream) {
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the kernel does not end the connection: {error}"),
    }
}

impl Frontend {
    /// Frames of a message with these parts and the right signature.
    fn signed(&self, parts: [&str; 4]) -> Vec<Vec<u8>> {
        let key = self.shell.mac.as_ref().expect("a key");
        let signature = ring::hmac::sign(key, parts.concat().as_bytes());
        let hex: String = signature
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut frames = vec![DELIMITER.to_vec(), hex.into_bytes()];
        frames.extend(parts.map(|part| part.as_bytes().to_vec()));
        frames
    }

    async fn send_frames(&mut self, channel: &str, frames: &[Vec<u8>]) {
        let mut message = ZmqMessage::from(frames[0].clone());
        for frame in &frames[1..] {
            message.push_back(frame.clone().into());
        }
        let connection = match channel {
            "shell" => &mut self.shell,
            "control" => &mut self.control,
            _ => &mut self.stdin,
        };
        connection.socket.send(message).await.unwrap();
    }
}
