//! Takes the stdout of a cell apart: text for the user, rich outputs, and notices for evcxr.
//!
//! Rich outputs and notices are lines that begin with `EVCXR_`; code that evcxr generates prints
//! them, and so do `evcxr_runtime` and every library that displays in evcxr. Text passes through
//! at once, also where its line has no end yet.

use crate::wire::DONE;

/// A part of a stream, in the order it was printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text for the user.
    Text(String),
    /// A rich output: MIME type and what was printed between its two marks.
    Content(String, String),
    /// A line that evcxr waits for.
    Notice(Notice, String),
    /// The child's mark: the user's function came back.
    Done,
}

/// What a notice means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The cell panicked.
    Panic,
    /// A `?` returned an error.
    Error,
    /// A variable's type was redefined, so it was lost.
    TypeChanged,
    /// The cell asks for input.
    Input,
}

const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT";
/// evcxr's notices. The longer of two with a common start comes first.
const NOTICES: [(&str, Notice); 4] = [
    ("EVCXR_PANIC_NOTIFICATION", Notice::Panic),
    ("EVCXR_ERROR_OCCURRED", Notice::Error),
    ("EVCXR_VARIABLE_CHANGED_TYPE:", Notice::TypeChanged),
    (evcxr_input::GET_CMD, Notice::Input),
];

/// A stream taken apart as it comes.
#[derive(Default)]
pub struct Splitter {
    /// Bytes that may be the beginning of a mark, or of a character.
    held: Vec<u8>,
    /// The open rich output.
    content: Option<(String, Vec<u8>)>,
    /// False for stderr, where only the child's mark means something.
    marks: bool,
}

impl Splitter {
    /// For stdout.
    pub fn stdout() -> Splitter {
        Splitter {
            marks: true,
            ..Splitter::default()
        }
    }

    /// For stderr.
    pub fn stderr() -> Splitter {
        Splitter::default()
    }

    /// Takes more bytes and gives the parts that are complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Part> {
        self.held.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// Gives what is still held back, at the end of a stream: a mark that never ended is text.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some((mime, body)) = self.content.take() {
            self.held.splice(0..0, body);
            self.held
                .splice(0..0, format!("{BEGIN}{mime}\n").into_bytes());
        }
        push_text(&mut parts, &std::mem::take(&mut self.held));
        parts
    }

    /// Takes one step. False when more bytes are needed.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        if self.content.is_some() {
            return self.step_in_content(parts);
        }
        let Some(start) = self.next_mark() else {
            let keep = self.held.len() - self.tail_to_hold();
            push_text(parts, &self.held.drain(..keep).collect::<Vec<_>>());
            return false;
        };
        let before: Vec<u8> = self.held.drain(..start).collect();
        push_text(parts, &before);
        if self.held.starts_with(DONE) {
            self.held.drain(..DONE.len());
            parts.push(Part::Done);
            return true;
        }
        let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
            // A mark's line is short; what goes on without an end is a user's text.
            if self.held.len() > 64 * 1024 {
                push_text(parts, &self.held.drain(..).collect::<Vec<_>>());
            }
            return false;
        };
        let line: Vec<u8> = self.held.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line[..end]).into_owned();
        if let Some(mime) = text.strip_prefix(BEGIN) {
            // As evcxr: the type ends at the first space.
            let mime = mime.split(' ').next().unwrap_or_default().to_owned();
            self.content = Some((mime, Vec::new()));
        } else if let Some((_, notice)) = NOTICES.iter().find(|(mark, _)| text.starts_with(mark)) {
            parts.push(Part::Notice(*notice, text));
        } else {
            push_text(parts, &line);
        }
        true
    }

    fn step_in_content(&mut self, parts: &mut Vec<Part>) -> bool {
        // The child's mark can only stand here if the cell left an output open.
        let end = self.held.iter().position(|byte| *byte == b'\n');
        let line = &self.held[..end.unwrap_or(self.held.len())];
        if let Some(done) = find(line, DONE) {
            let rest: Vec<u8> = self.held.drain(..done).collect();
            if let Some((mime, mut body)) = self.content.take() {
                body.extend_from_slice(&rest);
                parts.push(content(mime, body));
            }
            return true;
        }
        let Some(end) = end else { return false };
        let line: Vec<u8> = self.held.drain(..=end).collect();
        let panicked = &line[..end] == NOTICES[0].0.as_bytes();
        if &line[..end] == END || panicked {
            if let Some((mime, body)) = self.content.take() {
                parts.push(content(mime, body));
            }
            if panicked {
                parts.push(Part::Notice(Notice::Panic, NOTICES[0].0.to_owned()));
            }
        } else if let Some((_, body)) = &mut self.content {
            body.extend_from_slice(&line);
        }
        true
    }

    fn next_mark(&self) -> Option<usize> {
        let done = find(&self.held, DONE);
        if !self.marks {
            return done;
        }
        let mark = (0..self.held.len()).find(|start| {
            let rest = &self.held[*start..];
            rest[0] == b'E' && (known_marks().any(|known| rest.starts_with(known)))
        });
        match (done, mark) {
            (Some(done), Some(mark)) => Some(done.min(mark)),
            (one, other) => one.or(other),
        }
    }

    /// How many of the last bytes may be the beginning of a mark or of a character.
    fn tail_to_hold(&self) -> usize {
        let possible = |tail: &[u8]| {
            DONE.starts_with(tail)
                || (self.marks && known_marks().any(|known| known.starts_with(tail)))
        };
        let longest = known_marks().map(<[u8]>::len).max().unwrap_or(0);
        let mark = (1..=longest.min(self.held.len()))
            .rev()
            .find(|length| possible(&self.held[self.held.len() - length..]))
            .unwrap_or(0);
        mark.max(unfinished_character(&self.held))
    }
}

fn known_marks() -> impl Iterator<Item = &'static [u8]> {
    NOTICES
        .iter()
        .map(|(mark, _)| mark.as_bytes())
        .chain([BEGIN.as_bytes()])
}

fn content(mime: String, mut body: Vec<u8>) -> Part {
    if body.last() == Some(&b'\n') {
        body.pop();
    }
    Part::Content(mime, String::from_utf8_lossy(&body).into_owned())
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    (0..bytes.len()).find(|start| bytes[*start] == first && bytes[*start..].starts_with(needle))
}

/// Length of a UTF-8 character at the end that is not complete yet.
fn unfinished_character(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let needed = match bytes[bytes.len() - length] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if needed > length { length } else { 0 };
    }
    0
}

fn push_text(parts: &mut Vec<Part>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(&text),
        _ => parts.push(Part::Text(text.into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn split(bytes: &[u8]) -> Vec<Part> {
        let mut splitter = Splitter::stdout();
        let mut parts = splitter.feed(bytes);
        parts.extend(splitter.finish());
        parts
    }

    #[test]
    fn a_line_without_an_end_passes_at_once() {
        let mut splitter = Splitter::stdout();
        assert_eq!(splitter.feed(b"50 %\r"), [text("50 %\r")]);
        assert_eq!(splitter.feed(b"E"), []);
        assert_eq!(splitter.feed(b"nd"), [text("End")]);
    }

    #[test]
    fn outputs_of_one_type_are_all_kept_in_order() {
        let printed = b"a\nEVCXR_BEGIN_CONTENT text/html\n<b>1</b>\nEVCXR_END_CONTENT\nb\n\
            EVCXR_BEGIN_CONTENT text/html\n<b>2</b>\n<i>x</i>\nEVCXR_END_CONTENT\n";
        let html = |body: &str| Part::Content("text/html".into(), body.into());
        assert_eq!(
            split(printed),
            [
                text("a\n"),
                html("<b>1</b>"),
                text("b\n"),
                html("<b>2</b>\n<i>x</i>")
            ]
        );
    }

    #[test]
    fn a_mark_after_an_unfinished_line_is_still_a_mark() {
        let printed = b"half EVCXR_BEGIN_CONTENT text/plain\n42\nEVCXR_END_CONTENT\n";
        assert_eq!(
            split(printed),
            [
                text("half "),
                Part::Content("text/plain".into(), "42".into())
            ]
        );
    }

    #[test]
    fn notices_are_told_apart() {
        let parts = split(b"x\nEVCXR_PANIC_NOTIFICATION\nEVCXR_INPUT_REQUEST_PASSWORD:Key\n");
        assert_eq!(
            parts[1..],
            [
                Part::Notice(Notice::Panic, "EVCXR_PANIC_NOTIFICATION".into()),
                Part::Notice(Notice::Input, "EVCXR_INPUT_REQUEST_PASSWORD:Key".into()),
            ]
        );
    }

    #[test]
    fn a_panic_inside_an_open_output_ends_it() {
        let parts = split(b"EVCXR_BEGIN_CONTENT text/html\n<p>\nEVCXR_PANIC_NOTIFICATION\n");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], Part::Content("text/html".into(), "<p>".into()));
    }

    #[test]
    fn the_done_mark_is_found_anywhere() {
        assert_eq!(
            split(b"no newline\0memtrack-done\0"),
            [text("no newline"), Part::Done]
        );
        assert_eq!(split(b"EVCXR_OTHER text\n"), [text("EVCXR_OTHER text\n")]);
    }

    #[test]
    fn any_cut_gives_the_same_parts() {
        let mut printed =
            "é€😀 text\nEVCXR_BEGIN_CONTENT application/json\n{\"a\":\n1}\n".to_owned();
        printed.push_str("EVCXR_END_CONTENT\ntail EVCXR_ERROR_OCCURRED\nEVCXR");
        let mut bytes = printed.into_bytes();
        bytes.extend_from_slice(DONE);
        let whole = join(split(&bytes));
        for cut in 0..bytes.len() {
            let mut splitter = Splitter::stdout();
            let mut parts = splitter.feed(&bytes[..cut]);
            parts.extend(splitter.feed(&bytes[cut..]));
            parts.extend(splitter.finish());
            assert_eq!(join(parts), whole, "cut at {cut}");
        }
    }

    fn join(parts: Vec<Part>) -> Vec<Part> {
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (Some(Part::Text(last)), Part::Text(more)) => last.push_str(&more),
                (_, part) => joined.push(part),
            }
        }
        joined
    }
}
