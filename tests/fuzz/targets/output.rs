//! What cells print: text, rich outputs and notices, however the pipe cuts it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../kernel/stream.rs"]
mod stream;
mod wire {
    /// As in `kernel/wire.rs`, which needs more than this crate has.
    pub const DONE: &[u8] = b"\0memtrack-done\0";
}

use stream::{Part, Splitter};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let size = usize::from(size % 17) + 1;
    let mut whole = Splitter::stdout();
    let mut at_once = whole.feed(bytes);
    at_once.extend(whole.finish());
    let mut pieces = Splitter::stdout();
    let mut in_pieces = Vec::new();
    for piece in bytes.chunks(size) {
        in_pieces.extend(pieces.feed(piece));
    }
    in_pieces.extend(pieces.finish());
    assert_eq!(joined(at_once), joined(in_pieces));
});

/// With neighbouring texts in one.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    joined
}
