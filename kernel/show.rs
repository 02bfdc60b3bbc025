//! Magics' answers as what a front end shows: text, HTML, and the record where there is one.

use std::sync::Arc;
use std::time::Duration;

use maud::html;
use memtrack::doctor::{Check, render_html, render_text};
use memtrack::environment::Environment;
use memtrack::ledger::{CellRange, Ledger};
use memtrack::magic::{self, TrackOptions};
use memtrack::plot::Plot;
use memtrack::probe::host::{ProcessMemory, ProcessProbe};
use memtrack::record::{MIME_TYPE, Record};
use memtrack::report::{self, SortKey};
use memtrack::table::Table;
use memtrack::units::{format_amount, format_bytes, format_seconds};
use memtrack::{html as as_html, text as as_text};

use crate::engine::Evaluation;
use crate::is_complete::ends_with_expression;
use crate::link::Link;
use crate::output::{Bundle, FrontEnd, Output, Stream, html_bundle, text_bundle};
use crate::wire::Command;

/// How long trimming a large heap may take.
const TRIM_LIMIT: Duration = Duration::from_secs(20);

/// A tracked cell: its table or one line, and its record.
pub fn record(record: &Record, options: &TrackOptions, full: bool) -> Bundle {
    let mut bundle = if full {
        table(&Table::of_record(record, options.wide))
    } else {
        html_bundle(as_text::compact(record), as_html::compact(record))
    };
    if let Ok(value) = serde_json::to_value(record) {
        bundle.insert(MIME_TYPE.to_owned(), value);
    }
    bundle
}

/// Shows what the cell's commands say, and, in its last run, the value of the cell.
pub fn values(
    evaluation: &Evaluation,
    code: &str,
    is_last_run: bool,
    front_end: &Arc<dyn FrontEnd>,
) {
    let mut failed = true;
    if let Ok(outputs) = &evaluation.result {
        failed = evaluation.notes.panicked || evaluation.notes.error_text.is_some();
        let said: Bundle = outputs
            .content_by_mime_type
            .iter()
            .map(|(mime, text)| (mime.clone(), text.clone().into()))
            .collect();
        match (said.len(), outputs.content_by_mime_type.get("text/plain")) {
            (0, _) => {}
            (1, Some(text)) => front_end.show(Output::Text(Stream::Stdout, text.clone())),
            _ => front_end.show(Output::Display(said)),
        }
    }
    let Some(mut bundle) = evaluation.notes.last_bundle.clone() else {
        return;
    };
    // What a statement such as `println!("…")` or a loop at the end returns is no value to show.
    let is_unit = bundle.get("text/plain").is_some_and(|text| text == "()");
    if is_unit {
        bundle.remove("text/plain");
    }
    if bundle.is_empty() {
        return;
    }
    let is_value = !failed && !is_unit && ends_with_expression(code);
    match is_value {
        true if is_last_run => front_end.show(Output::Result(bundle)),
        true => {}
        false => front_end.show(Output::Display(bundle)),
    }
}

/// How long the cell took, compiling included, where the user has asked for it by `:timing`.
pub fn timing(evaluation: &Evaluation, front_end: &Arc<dyn FrontEnd>) {
    let outputs = evaluation.result.as_ref();
    if let Some(duration) = outputs.ok().and_then(|outputs| outputs.timing) {
        let text = format!("Took {}", format_seconds(duration.as_secs_f64()));
        let markup = html! { span style="opacity: 0.6" { (text) } };
        front_end.show(Output::Display(html_bundle(text, markup.into_string())));
    }
}

/// The session so far.
pub fn overview(ledger: &Ledger) -> Bundle {
    table(&report::overview(ledger))
}

/// Which cell used most.
pub fn report(ledger: &Ledger, sort: SortKey, cells: Option<CellRange>) -> Bundle {
    table(&report::report(ledger, sort, cells))
}

/// What cells used over time, as a picture and in words.
///
/// # Errors
/// Why there is nothing to draw, for the user.
pub fn plot(ledger: &Ledger, cells: Option<CellRange>) -> Result<Bundle, String> {
    let plot = Plot::of(ledger, cells).map_err(|error| error.to_string())?;
    let mut bundle = text_bundle(plot.text());
    bundle.insert("image/svg+xml".to_owned(), plot.svg().into());
    Ok(bundle)
}

/// What can be measured here.
pub fn doctor(checks: &[Check], environment: &Environment) -> Bundle {
    html_bundle(
        render_text(checks, environment),
        render_html(checks, environment).into_string(),
    )
}

/// The magics.
pub fn list() -> Bundle {
    text_bundle(magic::list())
}

/// Gives the child's free heap back to the system.
///
/// # Errors
/// Why that could not be done, for the user.
pub fn trim(link: &Link) -> Result<Bundle, String> {
    const NO_CHILD: &str = "no process runs cells yet, so there is no heap to trim";
    let pid = link.pid().ok_or(NO_CHILD)?;
    let read = || -> Result<ProcessMemory, String> {
        ProcessProbe::open(pid)
            .and_then(|probe| probe.read())
            .map_err(|error| error.to_string())
    };
    let before = read()?;
    link.ask_child(Command::Trim, TRIM_LIMIT)
        .ok_or("the process that runs the cells did not answer in time")?;
    let after = read()?;
    let given_back = before.rss.saturating_sub(after.rss);
    let text = format!(
        "{} given back to the system: process RAM {} → {}",
        // One page is the least that can be given back.
        format_amount(given_back, 4096),
        format_bytes(before.rss),
        format_bytes(after.rss),
    );
    let markup = html! { span { (text) } };
    Ok(html_bundle(text, markup.into_string()))
}

/// A table as text and HTML.
pub fn table(table: &Table) -> Bundle {
    html_bundle(as_text::render(table), as_html::render(table))
}
