//! Completion and inspection of magic lines. Needs no evcxr, so it answers at any time.

use jupyter_protocol::messaging::{CompleteReply, InspectReply};
use memtrack::{cell, magic};

use crate::jupyter::media;
use crate::output::text_bundle;

/// The magic line that the cursor is in: its text, and how many characters stand before it.
fn line_at(code: &str, cursor: usize) -> Option<(String, usize)> {
    let split = cell::split(code);
    let (line, place) = split.magic_at(cursor)?;
    Some((line.text.clone(), cursor - place))
}

/// Completions, if the cursor is in a magic line.
pub fn complete(code: &str, cursor: usize) -> Option<CompleteReply> {
    let (line, start) = line_at(code, cursor)?;
    let found = magic::complete(&line, cursor - start)?;
    let types: Vec<_> = found
        .candidates
        .iter()
        .map(|candidate| {
            serde_json::json!({
                "text": candidate.text,
                "type": "magic",
                "signature": candidate.description,
                "start": start + found.start_chars,
                "end": start + found.end_chars,
            })
        })
        .collect();
    let mut metadata = serde_json::Map::new();
    metadata.insert("_jupyter_types_experimental".into(), types.into());
    Some(CompleteReply {
        matches: found
            .candidates
            .into_iter()
            .map(|candidate| candidate.text)
            .collect(),
        cursor_start: start + found.start_chars,
        cursor_end: start + found.end_chars,
        metadata,
        ..CompleteReply::default()
    })
}

/// Help, if the cursor is in a magic line.
pub fn inspect(code: &str, cursor: usize) -> Option<InspectReply> {
    let (line, start) = line_at(code, cursor)?;
    let text = magic::inspect(&line, cursor - start)?;
    Some(InspectReply {
        found: true,
        data: media(text_bundle(text)),
        ..InspectReply::default()
    })
}
