//! What is shown of the running cell, and when: text is gathered for a moment, so that a cell
//! that prints a hundred thousand lines does not send a hundred thousand messages, and rich
//! outputs that belong together become one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memtrack::page::PageMapping;

use crate::child::CANNOT_GO_ON;
use crate::death::Death;
use crate::link::Notes;
use crate::output::{Bundle, FrontEnd, Output, Stream, insert_printed};
use crate::stream::Notice;

/// How long text may be gathered before it is shown.
const GATHER: Duration = Duration::from_millis(20);
/// How long the first text after a pause waits for the rest of its line or for a notice.
const FIRST_WAIT: Duration = Duration::from_millis(3);
/// How long a rich output waits for another representation of the same thing.
const BUNDLE_WAIT: Duration = Duration::from_millis(50);
/// How long the text of a panic waits for the end of the cell. A panic that the cell catches, or
/// that unwinds for longer, is shown as text.
const PANIC_WAIT: Duration = Duration::from_millis(300);
/// How the text of a panic begins.
const PANIC: &str = "thread '";
/// And how it goes on in the same line.
const PANICKED: &str = "panicked at";
/// Gathered text that is shown without waiting.
const GATHER_BYTES: usize = 256 * 1024;

/// The outputs of the running cell that are not shown yet.
#[derive(Default)]
pub struct Screen {
    front_end: Option<Arc<dyn FrontEnd>>,
    notes: Notes,
    waiting: Vec<Output>,
    waiting_bytes: usize,
    waiting_since: Option<Instant>,
    last_shown: Option<Instant>,
    bundle: Option<(Bundle, Instant)>,
    panic: Option<(String, Instant)>,
    /// A line of stderr that may become the first of a panic.
    unfinished: Option<(String, Instant)>,
    /// The last of stderr, for the error that a `?` returned.
    recent_errors: String,
}

impl Screen {
    /// A new cell.
    pub fn begin(&mut self, front_end: Arc<dyn FrontEnd>) {
        *self = Screen {
            front_end: Some(front_end),
            notes: Notes {
                earlier_death: self.notes.death,
                ..Notes::default()
            },
            ..Screen::default()
        };
    }

    /// The end of the cell: what was noticed.
    pub fn end(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// Text from the cell's stdout.
    pub fn stdout(&mut self, text: String) {
        self.show_bundle();
        self.text(Stream::Stdout, text);
    }

    /// Text from the cell's stderr. The text of a panic of thread `main` is held back.
    pub fn stderr(&mut self, text: String, pid: Option<i32>) {
        if text.contains("has overflowed its stack") {
            self.notes.stack_overflow = true;
        }
        if let Some((held, _)) = &mut self.panic {
            held.push_str(&text);
            self.keep_last_panic(pid);
            return;
        }
        let text = match self.unfinished.take() {
            Some((held, _)) => held + &text,
            None => text,
        };
        if let Some(start) = panic_start(&text, pid) {
            self.error_text(text[..start].to_owned());
            self.panic = Some((text[start..].to_owned(), Instant::now()));
            self.keep_last_panic(pid);
        } else {
            // libstd writes the first line of a panic in pieces.
            let line = text.rfind('\n').map_or(0, |end| end + 1);
            let tail = &text[line..];
            let begins_one = text == "\n"
                || !tail.is_empty() && (tail.starts_with(PANIC) || PANIC.starts_with(tail));
            let keep = match begins_one {
                true if line == 1 => 0,
                true => line,
                false => text.len(),
            };
            if keep < text.len() {
                self.unfinished = Some((text[keep..].to_owned(), Instant::now()));
            }
            self.error_text(text[..keep].to_owned());
        }
    }

    /// Of several panics in the held text, all but the last were caught by the cell: they are text.
    fn keep_last_panic(&mut self, pid: Option<i32>) {
        while let Some((held, _)) = &mut self.panic {
            let first = held.find(PANICKED).map_or(0, |at| at + PANICKED.len());
            let Some(start) = panic_start(&held[first..], pid) else {
                return;
            };
            let last = held.split_off(first + start);
            self.show_panic();
            self.panic = Some((last, Instant::now()));
        }
    }

    /// Text for stderr, the last of which may turn out to be the text of an error.
    fn error_text(&mut self, text: String) {
        const KEPT: usize = 8 * 1024;
        self.recent_errors.push_str(&text);
        if self.recent_errors.len() > 2 * KEPT {
            let cut = self
                .recent_errors
                .floor_char_boundary(self.recent_errors.len() - KEPT);
            self.recent_errors.drain(..cut);
        }
        if !text.is_empty() {
            self.text(Stream::Stderr, text);
        }
    }

    /// One representation of a rich output. Those that follow each other directly and differ in
    /// type are representations of the same thing.
    pub fn content(&mut self, mime: &str, text: String) {
        if let Some((bundle, _)) = &self.bundle
            && bundle.contains_key(mime)
        {
            self.show_bundle();
        }
        let (bundle, _) = self
            .bundle
            .get_or_insert_with(|| (Bundle::new(), Instant::now()));
        insert_printed(bundle, mime, text);
    }

    /// A notice for evcxr, which tells us something too.
    pub fn notice(&mut self, notice: Notice, line: &str) {
        match notice {
            Notice::Panic => self.notes.panicked = true,
            Notice::Error => {
                let line = self.recent_errors.trim_end().lines().last();
                let line = line.unwrap_or_default().to_owned();
                // The end of that line, held back since a panic begins with an empty one.
                self.unfinished.take_if(|(held, _)| held == "\n");
                self.take_back(&line);
                self.notes.error_text = Some(line);
            }
            Notice::TypeChanged => {
                let name = line.split_once(':').map_or(line, |(_, name)| name);
                if !self.notes.lost_variables.iter().any(|lost| lost == name) {
                    self.notes.lost_variables.push(name.to_owned());
                }
            }
            Notice::Input => self.show_bundle(),
        }
    }

    /// The user's function came back, and all its output is here.
    pub fn completed(&mut self) {
        if self.notes.panicked {
            self.notes.panic_text = self.panic.take().map(|(text, _)| text).unwrap_or_default();
        }
        self.show_panic();
        self.notes.last_bundle = self.bundle.take().map(|(bundle, _)| bundle);
    }

    /// The child died, and all its output is here.
    pub fn died(&mut self, death: Option<Death>, last_words: Option<Arc<PageMapping>>) {
        self.notes.died = true;
        self.notes.failed_allocation = failed_allocation(&self.recent_errors);
        self.notes.failure = failure(&self.recent_errors);
        self.notes.death = death;
        self.notes.last_words = last_words;
        self.show_panic();
        self.show_bundle();
    }

    /// Whether the child has died since the end of the last cell, and how, if that is known.
    pub fn died_since(&self) -> Option<Option<Death>> {
        self.notes.died.then_some(self.notes.death)
    }

    /// How long the next output may still wait. `None` when nothing waits.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let text = (!self.waiting.is_empty()).then(|| self.text_due(now));
        let bundle = self.bundle.as_ref().map(|(_, since)| *since + BUNDLE_WAIT);
        let held = self.panic.as_ref().or(self.unfinished.as_ref());
        let panic = held.map(|(_, since)| *since + PANIC_WAIT);
        let due = [text, bundle, panic].into_iter().flatten().min()?;
        Some(due.saturating_duration_since(now))
    }

    /// Takes what is due at `now`, or all text.
    pub fn take_due(
        &mut self,
        now: Instant,
        all: bool,
    ) -> (Option<Arc<dyn FrontEnd>>, Vec<Output>) {
        if self
            .bundle
            .as_ref()
            .is_some_and(|(_, since)| now >= *since + BUNDLE_WAIT)
        {
            self.show_bundle();
        }
        let held = self.panic.as_ref().or(self.unfinished.as_ref());
        if held.is_some_and(|(_, since)| now >= *since + PANIC_WAIT) {
            self.show_panic();
        }
        let due = all || self.waiting_bytes >= GATHER_BYTES || now >= self.text_due(now);
        if self.waiting.is_empty() || !due {
            return (None, Vec::new());
        }
        self.last_shown = Some(now);
        self.waiting_since = None;
        self.waiting_bytes = 0;
        (self.front_end.clone(), std::mem::take(&mut self.waiting))
    }

    fn text_due(&self, now: Instant) -> Instant {
        let first = self.waiting_since.map_or(now, |since| since + FIRST_WAIT);
        self.last_shown
            .map_or(first, |shown| first.max(shown + GATHER))
    }

    fn text(&mut self, stream: Stream, text: String) {
        self.waiting_bytes += text.len();
        self.waiting_since.get_or_insert_with(Instant::now);
        match self.waiting.last_mut() {
            Some(Output::Text(last, gathered)) if *last == stream => gathered.push_str(&text),
            _ => self.waiting.push(Output::Text(stream, text)),
        }
    }

    /// Takes the text of an error out of stderr, if it is not shown yet: the cell's error has it.
    fn take_back(&mut self, line: &str) {
        if let Some(Output::Text(Stream::Stderr, text)) = self.waiting.last_mut()
            && let Some(rest) = text.trim_end().strip_suffix(line)
        {
            text.truncate(rest.len());
            if text.is_empty() {
                self.waiting.pop();
            }
        }
    }

    fn show_bundle(&mut self) {
        if let Some((bundle, _)) = self.bundle.take() {
            self.waiting_since.get_or_insert_with(Instant::now);
            self.waiting.push(Output::Display(bundle));
        }
    }

    fn show_panic(&mut self) {
        for (text, _) in self.panic.take().into_iter().chain(self.unfinished.take()) {
            self.text(Stream::Stderr, text);
        }
    }
}

/// Where the text of a panic of the main thread begins. The cells' libstd does not know the main
/// thread's name, but its id is the process's.
fn panic_start(text: &str, pid: Option<i32>) -> Option<usize> {
    let start = text.find(PANIC)?;
    let line = text[start..].lines().next()?;
    if !line.contains(PANICKED) {
        return None;
    }
    let id = line
        .split_once("' (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(id, _)| id.parse::<i32>().ok());
    // Before Rust 1.90 the line holds no id.
    let is_main = match (id, pid) {
        (Some(id), Some(pid)) => id == pid,
        (None, _) => line.contains("'main'") || line.contains("'<unnamed>'"),
        (Some(_), None) => false,
    };
    // libstd begins with an empty line.
    let start = if text[..start].ends_with('\n') {
        start - 1
    } else {
        start
    };
    is_main.then_some(start)
}

/// Why the child could not go on, as it says on stderr.
fn failure(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines();
    let reason = lines.find_map(|line| line.strip_prefix(CANNOT_GO_ON));
    reason.map(str::to_owned)
}

/// The size in bytes of the allocation that libstd aborts the process for, as it says on stderr.
fn failed_allocation(stderr: &str) -> Option<u64> {
    let (_, rest) = stderr.rsplit_once("memory allocation of ")?;
    rest.split_once(" bytes failed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_allocation_is_found_in_what_libstd_says() {
        let text = "earlier\nmemory allocation of 17179869184 bytes failed\n";
        assert_eq!(failed_allocation(text), Some(17_179_869_184));
        assert_eq!(failed_allocation("memory allocation of 5 bytes"), None);
        assert_eq!(
            failed_allocation("memory allocation of all bytes failed"),
            None
        );
    }

    #[test]
    fn only_the_main_threads_panic_is_held_back() {
        let panic = "before\n\nthread '<unnamed>' (42) panicked at src/lib.rs:3:1:\nboom\n";
        assert_eq!(panic_start(panic, Some(42)), Some(7));
        assert_eq!(panic_start(panic, Some(41)), None);
        assert_eq!(panic_start("thread 'main' is a line of a user", None), None);
    }

    #[test]
    fn a_panic_in_pieces_is_whole_and_the_last_one_counts() {
        let mut screen = Screen::default();
        for piece in [
            "\n",
            "thread '",
            "<unnamed>",
            "' (42) panicked at src/lib.rs:1:1:\n",
            "one\n",
        ] {
            screen.stderr(piece.into(), Some(42));
        }
        for piece in [
            "\nthread '<unnamed>' (42) pan",
            "icked at src/lib.rs:2:1:\n",
            "two\n",
        ] {
            screen.stderr(piece.into(), Some(42));
        }
        screen.notice(Notice::Panic, "EVCXR_PANIC_NOTIFICATION");
        screen.completed();
        let text = screen.end().panic_text;
        assert!(text.contains("two") && !text.contains("one"), "{text:?}");
    }

    #[test]
    fn of_two_panics_in_one_piece_the_last_counts() {
        let mut screen = Screen::default();
        let one = "\nthread '<unnamed>' (42) panicked at src/lib.rs:1:1:\none\n";
        screen.stderr(one.to_owned() + &one.replace("one", "two"), Some(42));
        screen.notice(Notice::Panic, "EVCXR_PANIC_NOTIFICATION");
        screen.completed();
        let text = screen.end().panic_text;
        assert!(text.contains("two") && !text.contains("one"), "{text:?}");
    }

    #[test]
    fn the_text_of_an_error_is_its_whole_line() {
        let mut screen = Screen::default();
        for piece in ["earlier\n", "No such file", " (os error 2", ")", "\n"] {
            screen.stderr(piece.into(), None);
        }
        screen.notice(Notice::Error, "EVCXR_ERROR_OCCURRED");
        screen.completed();
        assert_eq!(
            screen.end().error_text.unwrap(),
            "No such file (os error 2)"
        );
        let (_, shown) = screen.take_due(Instant::now(), true);
        assert!(matches!(&shown[..], [Output::Text(Stream::Stderr, text)] if text == "earlier\n"));
    }

    #[test]
    fn representations_of_one_thing_become_one_bundle_and_others_do_not() {
        let mut screen = Screen::default();
        screen.content("text/html", "<b>1</b>".into());
        screen.content("text/plain", "1".into());
        screen.content("text/html", "<b>2</b>".into());
        screen.completed();
        let (_, shown) = screen.take_due(Instant::now(), true);
        assert!(matches!(&shown[..], [Output::Display(bundle)] if bundle.len() == 2));
        assert_eq!(screen.end().last_bundle.unwrap()["text/html"], "<b>2</b>");
    }

    #[test]
    fn text_is_gathered_and_stays_in_order() {
        let mut screen = Screen::default();
        screen.stdout("a".into());
        screen.stdout("b".into());
        screen.stderr("c\n".into(), None);
        screen.stdout("d".into());
        let (_, shown) = screen.take_due(Instant::now(), true);
        let texts: Vec<_> = shown
            .iter()
            .map(|output| match output {
                Output::Text(stream, text) => (*stream, text.as_str()),
                _ => panic!("only text was printed"),
            })
            .collect();
        let expected = [
            (Stream::Stdout, "ab"),
            (Stream::Stderr, "c\n"),
            (Stream::Stdout, "d"),
        ];
        assert_eq!(texts, expected);
    }
}
