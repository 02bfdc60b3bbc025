//! Completion and inspection of Rust code, by evcxr's rust-analyzer.

use evcxr::Completions;
use memtrack::cell;

use crate::output::{Bundle, html_bundle};
use crate::session::Session;

impl Session {
    /// Completions at a byte offset.
    pub fn completions(&mut self, code: &str, offset: usize) -> Option<Completions> {
        let cell = cell::split(code);
        // Blanking changes no character's place, but it may change a byte's.
        let chars = code.get(..offset)?.chars().count();
        let offset = byte_of(&cell.rust, chars);
        let mut found = self
            .engine
            .as_mut()
            .ok()?
            .completions(&cell.rust, offset)
            .ok()?;
        let back = |byte: usize| byte_of(code, cell.rust[..byte].chars().count());
        found.start_offset = back(found.start_offset);
        found.end_offset = back(found.end_offset);
        Some(found)
    }

    /// What is known about the expression that ends at a byte offset.
    pub fn inspect(&mut self, code: &str, offset: usize) -> Option<Bundle> {
        let cell = cell::split(code);
        let chars = code.get(..offset)?.chars().count();
        let end = end_of_word(&cell.rust, byte_of(&cell.rust, chars));
        let (text, html) = self.engine.as_mut().ok()?.inspect(&cell.rust, end).ok()?;
        (text != "No documentation found").then(|| html_bundle(text, html))
    }
}

/// The byte at which the character with this number begins; the end where there is none.
pub fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(byte, _)| byte)
}

/// Front ends put the cursor anywhere in a word; evcxr wants its end.
fn end_of_word(code: &str, offset: usize) -> usize {
    let rest = &code[offset..];
    let word = rest
        .find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(rest.len());
    offset + word
}
