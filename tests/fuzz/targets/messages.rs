//! What anyone may send to the kernel's ports: ZMTP's frames, and the messages in them.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use jupyter_protocol::messaging::{JupyterMessage, KernelInfoRequest};
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use zeromq::ZmqMessage;

#[allow(dead_code)]
#[path = "../../../kernel/guard.rs"]
mod guard;
#[allow(dead_code)]
#[path = "../../../kernel/incoming.rs"]
mod incoming;

/// Bytes of ZMTP's greeting, which says nothing of frames.
const GREETING: [u8; 64] = [0; 64];

static KEY: LazyLock<Option<hmac::Key>> =
    LazyLock::new(|| Some(hmac::Key::new(hmac::HMAC_SHA256, b"the kernel's key")));

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    frames(usize::from(size) + 1, bytes);
    message(bytes);
});

/// However the network cuts the stream, the same is refused.
fn frames(size: usize, bytes: &[u8]) {
    let refused = |size| {
        let mut frames = guard::Frames::default();
        frames.check(&GREETING).expect("a greeting passes");
        let mut pieces = bytes.chunks(size);
        pieces.any(|piece| frames.check(piece).is_err())
    };
    let at_once = refused(bytes.len().max(1));
    assert_eq!(at_once, refused(size));
    // Nothing shorter than a long frame's header can announce too much.
    assert!(!at_once || bytes.len() >= 9);
}

/// The input's parts, which a NUL ends, are those of a message.
fn message(bytes: &[u8]) {
    let parts: Vec<Bytes> = bytes
        .split(|byte| *byte == 0)
        .map(Bytes::copy_from_slice)
        .collect();
    let framed = |signature: Bytes| {
        let mut frames = vec![
            Bytes::from_static(b"identity"),
            "<IDS|MSG>".into(),
            signature,
        ];
        frames.extend(parts.iter().cloned());
        ZmqMessage::try_from(frames).expect("it has frames")
    };
    // The input may bring identities and a signature of its own.
    if let Ok(frames) = ZmqMessage::try_from(parts.clone()) {
        let _ = incoming::read(frames, &None);
    }
    if let Ok(request) = incoming::read(framed(Bytes::new()), &None) {
        let reply = JupyterMessage::new(KernelInfoRequest {}, Some(&request));
        assert_eq!(reply.zmq_identities, request.zmq_identities);
        serde_json::to_string(&reply.parent_header).expect("a reply names its request");
    }
    for forged in [&b""[..], b"00", &[b'0'; 64], bytes] {
        let forged = framed(Bytes::copy_from_slice(forged));
        assert!(incoming::read(forged, &KEY).is_err());
    }
    let Some(signed) = parts.first_chunk::<4>() else {
        return;
    };
    let mut context = hmac::Context::with_key(KEY.as_ref().expect("a key"));
    signed.iter().for_each(|part| context.update(part));
    let signature: String = context
        .sign()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let _ = incoming::read(framed(signature.clone().into()), &KEY);
    assert!(incoming::read(framed(signature.into()), &KEY).is_err());
}
