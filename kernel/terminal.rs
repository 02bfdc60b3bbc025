//! A terminal as the place where a cell's outputs go, and the collector of what goes into the
//! executed notebook.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::output::{Bundle, FrontEnd, Output, Stream};

/// Prints outputs as they come, and keeps them as notebook outputs.
pub struct Terminal {
    execution_count: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    outputs: Vec<Value>,
    ids: Vec<(String, usize)>,
    /// The cursor stands in the middle of a line.
    open_line: bool,
    /// The line on which the cursor stands is a display that may still change. What is printed next
    /// takes its place; the display comes again below with its next change.
    changing: bool,
}

impl Terminal {
    /// For the cell with this number.
    pub fn new(execution_count: usize) -> Terminal {
        Terminal {
            execution_count,
            kept: Mutex::new(Kept::default()),
        }
    }

    /// The outputs as a notebook file keeps them. Ends an open line.
    pub fn take_outputs(&self) -> Vec<Value> {
        let mut kept = self.lock();
        kept.erase_changing();
        kept.start_line();
        std::mem::take(&mut kept.outputs)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl FrontEnd for Terminal {
    fn show(&self, output: Output) {
        let mut kept = self.lock();
        kept.erase_changing();
        match output {
            Output::Text(stream, text) => {
                print(stream, &text);
                kept.open_line = !text.ends_with('\n');
                kept.keep_text(stream, text);
            }
            Output::Display(bundle) => {
                kept.print_bundle(&bundle);
                kept.outputs.push(display(bundle));
            }
            Output::Updating {
                id, bundle, last, ..
            } => kept.update(id, bundle, last),
            Output::Result(bundle) => {
                kept.print_bundle(&bundle);
                kept.outputs.push(json!({
                    "output_type": "execute_result",
                    "execution_count": self.execution_count,
                    "data": bundle,
                    "metadata": {},
                }));
            }
            Output::Error(error) => {
                kept.start_line();
                put(&format!("{}\n", error.traceback.join("\n")));
                kept.outputs.push(json!({
                    "output_type": "error",
                    "ename": error.ename,
                    "evalue": error.evalue,
                    "traceback": error.traceback,
                }));
            }
        }
        let _ = std::io::stdout().flush();
    }

    fn ask(&self, prompt: &str, _password: bool) -> Result<String, String> {
        if !std::io::stdin().is_terminal() {
            return Err("there is no terminal to ask".into());
        }
        put(prompt);
        let _ = std::io::stdout().flush();
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        Ok(line.trim_end_matches('\n').to_owned())
    }
}

impl Kept {
    /// Streams in a notebook file are one output for as long as nothing comes between.
    fn keep_text(&mut self, stream: Stream, text: String) {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        if let Some(last) = self.outputs.last_mut()
            && last["output_type"] == "stream"
            && last["name"] == name
            && let Some(before) = last["text"].as_str()
        {
            last["text"] = Value::String(format!("{before}{text}"));
            return;
        }
        self.outputs
            .push(json!({ "output_type": "stream", "name": name, "text": text }));
    }

    fn update(&mut self, id: String, bundle: Bundle, last: bool) {
        let is_terminal = std::io::stdout().is_terminal();
        if last {
            self.print_bundle(&bundle);
        } else if is_terminal && !self.open_line {
            // A line that the cell has not ended yet is not to be broken.
            put(&first_line(&plain_text(&bundle), terminal_width()));
            self.changing = true;
        }
        match self.ids.iter().find(|(known, _)| *known == id) {
            Some((_, index)) => self.outputs[*index] = display(bundle),
            None => {
                self.ids.push((id, self.outputs.len()));
                self.outputs.push(display(bundle));
            }
        }
    }

    fn print_bundle(&mut self, bundle: &Bundle) {
        self.start_line();
        put(plain_text(bundle).trim_end_matches('\n'));
        put("\n");
    }

    fn start_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            put("\n");
        }
    }

    fn erase_changing(&mut self) {
        if std::mem::take(&mut self.changing) {
            // Back to the start of the line, and clear it.
            put("\r\x1b[2K");
        }
    }
}

fn display(bundle: Bundle) -> Value {
    json!({ "output_type": "display_data", "data": bundle, "metadata": {} })
}

/// What a terminal can show of a bundle.
fn plain_text(bundle: &Bundle) -> String {
    match bundle
        .get("text/plain")
        .or_else(|| bundle.get("text/markdown"))
    {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => {
            let types: Vec<&str> = bundle.keys().map(String::as_str).collect();
            format!("[{}]", types.join(", "))
        }
    }
}

/// As much of the first line as a terminal of this width shows in one: a longer one would be
/// wrapped, and could not be erased as one line.
fn first_line(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(width.saturating_sub(1)).collect()
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| width.0.into())
}

fn print(stream: Stream, text: &str) {
    match stream {
        Stream::Stdout => put(text),
        Stream::Stderr => {
            // What was erased on the same terminal must be gone before.
            let _ = std::io::stdout().flush();
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Prints. A terminal or pipe that is gone is no reason to stop the notebook.
pub fn put(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changing_line_is_one_line_of_the_terminal() {
        assert_eq!(first_line("abc\ndef", 80), "abc");
        // The last column is left free: some terminals wrap when it is written.
        assert_eq!(first_line("äbcdef", 4), "äbc");
        assert_eq!(first_line("", 80), "");
        assert_eq!(first_line("abc", 0), "");
    }
}
