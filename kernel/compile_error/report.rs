//! One message of the compiler as coloured text, with the code that it is about.

use std::fmt::Write as _;
use std::ops::Range;

use ariadne::{Color, Config, IndexType, Report, ReportKind, Source};

use super::{Child, Diagnostic, Label, Role, Span};

const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";
/// The colour in which ariadne prints code that no label is on; hard to read on white.
const LIGHT_GREY: &str = "38;5;249";

/// A label with the characters of the cell that it is on.
type Place<'a> = (Range<usize>, &'a Label);

/// Renders one message. The text ends by resetting colours, with no line end.
pub(super) fn render(diagnostic: &Diagnostic, source: &str, cell_name: &str) -> String {
    let diagnostic = &diagnostic.printable();
    let cell = Cell::new(source);
    let mut places: Vec<Place> = Vec::new();
    for label in &diagnostic.labels {
        if let Some(span) = label.span
            && !(label.role == Role::Advice && (label.text.is_empty() || label.text.contains('\n')))
        {
            let place = (cell.characters(span), label);
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    let text = match places.is_empty() {
        true => without_places(diagnostic),
        false => with_places(diagnostic, places, cell, cell_name),
    };
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    format!("{}{RESET}", lines.join("\n"))
}

fn with_places(
    diagnostic: &Diagnostic,
    mut places: Vec<Place>,
    cell: Cell,
    cell_name: &str,
) -> String {
    let start = places
        .iter()
        .find(|(_, label)| label.role == Role::Primary)
        .unwrap_or(&places[0])
        .0
        .clone();
    // ariadne shows the code again for a label that ends before the one given to it before.
    places.sort_by_key(|(range, _)| (range.end, range.start));
    let kind = match diagnostic.level.as_str() {
        "warning" => ReportKind::Warning,
        "note" | "help" => ReportKind::Advice,
        _ => ReportKind::Error,
    };
    let mut report = Report::build(kind, (cell_name, start))
        .with_config(Config::default().with_index_type(IndexType::Char))
        .with_message(&diagnostic.message);
    if let Some(code) = &diagnostic.code {
        report = report.with_code(code);
    }
    let repeated = format!("{}: {}", diagnostic.level, diagnostic.message);
    for (range, label) in &places {
        // Without text ariadne would draw no line under the code.
        let text = match label.text.as_str() {
            "" => "here",
            text if text == repeated => "here",
            text => text,
        };
        let color = match label.role {
            Role::Primary => Color::Red,
            Role::Secondary => Color::Blue,
            Role::Advice => Color::Cyan,
        };
        let label = ariadne::Label::new((cell_name, range.clone()));
        report.add_label(label.with_message(text).with_color(color));
    }
    for child in remaining_children(diagnostic, &places) {
        match child.level.as_str() {
            "help" => report.add_help(child_text(child)),
            _ => report.add_note(child_text(child)),
        }
    }
    if let Some(hint) = &diagnostic.hint {
        report.add_help(hint);
    }
    let mut text = Vec::new();
    let written = report
        .finish()
        .write((cell_name, Source::from(cell.text)), &mut text);
    match written {
        Ok(()) => with_few_escapes(&String::from_utf8_lossy(&text)),
        Err(_) => without_places(diagnostic),
    }
}

/// The same text with an escape sequence only where the colour of what is visible changes: ariadne
/// wraps each character of code, which in a notebook makes an element of each.
fn with_few_escapes(text: &str) -> String {
    const RESET_CODE: &str = "0";
    let mut result = String::with_capacity(text.len());
    let (mut current, mut wanted) = (RESET_CODE, RESET_CODE);
    for (index, piece) in text.split("\x1b[").enumerate() {
        let visible = match piece.split_once('m') {
            Some((code, rest)) if index > 0 => {
                wanted = if code == LIGHT_GREY { RESET_CODE } else { code };
                rest
            }
            Some(_) | None => piece,
        };
        if wanted != current && !visible.trim().is_empty() {
            let _ = write!(result, "\x1b[{wanted}m");
            current = wanted;
        }
        result.push_str(visible);
    }
    result
}

/// For an error in generated code, in another crate or in a command.
fn without_places(diagnostic: &Diagnostic) -> String {
    let code = diagnostic.code.iter().map(|code| format!("[{code}]"));
    let heading = format!(
        "{}{}: {}",
        diagnostic.level,
        code.collect::<String>(),
        diagnostic.message
    );
    let (heading, mut rest) = match diagnostic.rendered.trim().split_once('\n') {
        Some((heading, rest)) => (heading.to_owned(), rest.to_owned()),
        None => {
            let mut rest = String::new();
            for child in &diagnostic.children {
                let _ = writeln!(rest, "{}: {}", child.level, child_text(child));
            }
            (heading, rest)
        }
    };
    if let Some(hint) = &diagnostic.hint {
        let _ = write!(rest, "\nhelp: {hint}");
    }
    format!("{RED}{heading}{RESET}\n{}", rest.trim_end())
}

/// The notes and helps that no label shows.
fn remaining_children<'a>(
    diagnostic: &'a Diagnostic,
    places: &'a [Place],
) -> impl Iterator<Item = &'a Child> {
    diagnostic.children.iter().filter(|child| {
        let beginning = format!("{}: {}", child.level, child.message);
        let is_shown = |label: &Label| label.text.starts_with(&beginning);
        !places.iter().any(|(_, label)| is_shown(label))
    })
}

fn child_text(child: &Child) -> String {
    let message = &child.message;
    match child.replacement.as_deref().map(str::trim_end) {
        None | Some("") => message.clone(),
        Some(code) if code.contains('\n') => format!("{message}:\n{code}"),
        Some(code) => format!("{message}: `{code}`"),
    }
}

impl Diagnostic {
    /// The same with all its texts made fit to be shown.
    fn printable(&self) -> Diagnostic {
        let printable = |text: &String| {
            text.split('\n')
                .map(printable_line)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let mut diagnostic = self.clone();
        diagnostic.message = printable(&self.message);
        diagnostic.rendered = printable(&self.rendered);
        for label in &mut diagnostic.labels {
            label.text = printable(&label.text);
        }
        for child in &mut diagnostic.children {
            child.message = printable(&child.message);
            child.replacement = child.replacement.as_ref().map(printable);
        }
        diagnostic
    }
}

/// The cell's text made fit to be shown, with a space after each line for labels that point behind
/// its end, and where its lines are.
struct Cell {
    text: String,
    /// For each line the number of characters before it and in it.
    lines: Vec<(usize, usize)>,
}

impl Cell {
    fn new(source: &str) -> Cell {
        let mut text = String::with_capacity(source.len() + 1);
        let mut lines = Vec::new();
        let mut before = 0;
        for line in source.split('\n') {
            text.push_str(&printable_line(line));
            text.push_str(" \n");
            let length = line.chars().count();
            lines.push((before, length));
            before += length + 2;
        }
        Cell { text, lines }
    }

    /// The characters of a span, at least one. What lies outside the cell is moved to its edge.
    fn characters(&self, span: Span) -> Range<usize> {
        let offset = |line: usize, column: usize| {
            let (before, length) = self.lines[line.clamp(1, self.lines.len()) - 1];
            before + column.clamp(1, length + 1) - 1
        };
        let start = offset(span.start_line, span.start_column);
        let end = offset(span.end_line, span.end_column);
        start..end.max(start + 1)
    }
}

/// The line with `\u{fffd}` for each character that would make it look other than it is: one that
/// moves the cursor, breaks the line, or changes colours or the direction of writing.
fn printable_line(line: &str) -> String {
    let printable = |character| match character {
        '\t' => '\t',
        '\r' => ' ',
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    };
    line.chars().map(printable).collect()
}

#[cfg(test)]
mod tests;
