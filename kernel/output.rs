//! What a cell shows, and who shows it: a Jupyter front end, or a terminal (`run`).

use serde_json::{Map, Value};

/// Representations of one thing by MIME type, as Jupyter's messages carry them.
pub type Bundle = Map<String, Value>;

/// One of the two text streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that a cell shows.
#[derive(Debug, Clone)]
pub enum Output {
    /// Text of a stream.
    Text(Stream, String),
    /// A rich output.
    Display(Bundle),
    /// A rich output that can change: replaces the one with the same id, or is the first with it.
    Updating {
        /// Identity of the display.
        id: String,
        /// True for every showing after the first.
        again: bool,
        /// It stays as it is now: the last showing.
        last: bool,
        /// What it shows now.
        bundle: Bundle,
    },
    /// The value of the cell.
    Result(Bundle),
    /// The cell failed. At most one in a cell.
    Error(CellError),
}

/// Why a cell failed, as Jupyter's `error` message and `execute_reply` carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellError {
    /// The kind: an error code such as `E0425`, or `Panic`, `Killed`, `Interrupted`.
    pub ename: String,
    /// One line.
    pub evalue: String,
    /// What the front end prints, with ANSI colours.
    pub traceback: Vec<String>,
}

impl CellError {
    /// An error whose text is all there is to say.
    pub fn plain(ename: &str, message: impl Into<String>) -> CellError {
        let message = message.into();
        CellError {
            ename: ename.to_owned(),
            evalue: message.lines().next().unwrap_or_default().to_owned(),
            traceback: vec![format!("\x1b[31m{ename}\x1b[0m: {message}")],
        }
    }
}

/// Where the outputs of a cell go, and where its questions are answered.
pub trait FrontEnd: Send + Sync {
    /// Shows one output. May block while the front end is slower than the cell.
    fn show(&self, output: Output);

    /// Asks the user for a line.
    ///
    /// # Errors
    /// Why no line can be had, for the user to read.
    fn ask(&self, prompt: &str, password: bool) -> Result<String, String>;
}

/// For what is evaluated without being a cell: shows nothing.
pub struct Nowhere;

impl FrontEnd for Nowhere {
    fn show(&self, _: Output) {}

    fn ask(&self, _: &str, _: bool) -> Result<String, String> {
        Err("only a cell can ask for input".into())
    }
}

/// A bundle of plain text only.
pub fn text_bundle(text: impl Into<String>) -> Bundle {
    Bundle::from_iter([("text/plain".to_owned(), Value::String(text.into()))])
}

/// A bundle of plain text and HTML.
pub fn html_bundle(text: impl Into<String>, html: impl Into<String>) -> Bundle {
    let mut bundle = text_bundle(text);
    bundle.insert("text/html".to_owned(), Value::String(html.into()));
    bundle
}

/// Adds a representation as a cell printed it. JSON types become JSON, so that front ends see the
/// value and not its text; text that is no JSON stays text.
pub fn insert_printed(bundle: &mut Bundle, mime: &str, text: String) {
    let is_json = mime == "application/json" || mime.ends_with("+json");
    let value = match is_json.then(|| serde_json::from_str(&text)) {
        Some(Ok(value)) => value,
        Some(Err(_)) | None => Value::String(text),
    };
    bundle.insert(mime.to_owned(), value);
}
