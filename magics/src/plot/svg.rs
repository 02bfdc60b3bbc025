//! The picture's frame: title, panels, axis of time, and the words below.

use maud::{Markup, html};

use super::axis::{Slot, slots, time_ticks};
use super::label::{cut, xml_text};
use super::panel::{Panel, panels};
use super::{Plot, words};
use crate::record::Record;
use crate::{table, timeline, units};

mod drawing;

use drawing::Drawing;

/// The picture's width, and the left and right edge of the drawings in it. Narrow, so that its letters
/// can still be read where it is shown at 400 pixels.
const WIDTH: f64 = 640.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 522.0;

const INK: &str = "#767c84";
const ALARM: &str = "#d64540";
const FONT: &str = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";

/// A coordinate, short.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

pub(super) fn draw(plot: &Plot) -> String {
    let slots = slots(&plot.cells, LEFT, RIGHT);
    let panels = panels(plot);
    let title = match plot.single() {
        Some(cell) => table::title(cell.record),
        None => words::heading(plot),
    };
    let title = xml_text(&title);
    let (header, mut top) = header(plot, &title, &slots);
    let mut body: Vec<Markup> = Vec::new();
    for panel in &panels {
        let drawing = Drawing::new(plot, panel, &slots, top);
        top = drawing.bottom() + 12.0;
        body.push(drawing.draw());
    }
    let (axis, after_axis) = match plot.single() {
        Some(_) => axis_of_time(&slots[0], top - 12.0),
        None => axis_of_cells(plot, &slots, top - 12.0),
    };
    let (footer, height) = footer(plot, &panels, after_axis);
    let alternative = xml_text(&format!("memory over time: {title}"));
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (at(WIDTH)) " " (at(height)) }
            width=(at(WIDTH)) height=(at(height)) role="img" aria-label=(alternative)
            font-family=(FONT) font-size="12" fill=(INK) {
            title { (alternative) }
            desc { (description(plot)) }
            (header)
            @for panel in &body { (panel) }
            (axis)
            (footer)
        }
    }
    .into_string()
}

/// The picture in sentences, for those who do not see it.
fn description(plot: &Plot) -> String {
    let mut sentences = Vec::new();
    for cell in &plot.cells {
        sentences.push(format!(
            "{}: {}.",
            table::title(cell.record),
            words::about(cell)
        ));
        for row in cell.record.rows.iter().filter(|row| row.peak.is_some()) {
            let told = match (cell.timeline, cell.run_s()) {
                (Some(timeline), Some(run)) => timeline::words(row, timeline, run),
                _ => format!("peak {}", units::format_bytes(row.peak.unwrap_or(0))),
            };
            let method = row.peak_method.as_deref().unwrap_or("unknown method");
            sentences.push(format!("{}: {told} ({method}).", row.label()));
        }
    }
    xml_text(&sentences.join(" "))
}

fn header(plot: &Plot, title: &str, slots: &[Slot]) -> (Markup, f64) {
    let mut lines: Vec<(String, &str)> = Vec::new();
    match plot.single() {
        Some(cell) => {
            let narrowed = match slots[0].is_compile_narrowed() {
                true => " · compiling is drawn narrower",
                false => "",
            };
            let ended_well = table::ending(cell.record).is_none();
            let colour = if ended_well { INK } else { ALARM };
            lines.push((words::about(cell) + narrowed, colour));
            lines.extend(words::why_points(cell).map(|why| (why, INK)));
        }
        None => {
            lines.extend(words::left_out(plot).map(|words| (words, INK)));
            let shades =
                "shaded darker: compiling, drawn narrower · time between cells is left out";
            lines.push((shades.into(), INK));
        }
    }
    let top = 38.0;
    let bottom = top + 16.0 * lines.len() as f64;
    let drawn = html! {
        text x="8" y="20" font-size="15" font-weight="600" { (cut(title, 15.0, WIDTH - 16.0)) }
        @for (index, (line, colour)) in lines.iter().enumerate() {
            text x="8" y=(at(top + 16.0 * index as f64)) fill=(colour) {
                (cut(&xml_text(line), 12.0, WIDTH - 16.0))
            }
        }
    };
    (drawn, bottom)
}

/// The axis of one cell's time. Returns it and where it ends.
fn axis_of_time(slot: &Slot, bottom: f64) -> (Markup, f64) {
    let run = slot.seconds();
    let ticks: Vec<(f64, String)> = time_ticks(run.1)
        .into_iter()
        .filter(|_| slot.right > slot.run)
        .map(|t| (t, tick_words(t, run.1)))
        .collect();
    let compile = slot.run - slot.left;
    let drawn = html! {
        g font-size="11" text-anchor="middle" {
            @for (t, words) in &ticks {
                path d={ "M" (at(slot.x(*t))) " " (at(bottom)) "v4" } stroke=(INK) {}
                text x=(at(slot.x(*t))) y=(at(bottom + 16.0)) { (words) }
            }
            @if compile > 48.0 {
                path d={ "M" (at(slot.left)) " " (at(bottom)) "v4" } stroke=(INK) {}
                text x=(at(slot.left)) y=(at(bottom + 16.0)) {
                    "−" (units::format_seconds(run.0))
                }
                text x=(at(slot.left + compile / 2.0)) y=(at(bottom + 31.0)) { "compile" }
            }
            @if slot.right > slot.run {
                text x=(at((slot.run + slot.right) / 2.0)) y=(at(bottom + 31.0)) { "run" }
            }
        }
    };
    (drawn, bottom + 36.0)
}

/// A time on an axis that ends at `end`, such as `200 ms`.
fn tick_words(t: f64, end: f64) -> String {
    let (unit, seconds) = match end {
        end if end < 1e-3 => ("µs", 1e-6),
        end if end < 1.0 => ("ms", 1e-3),
        end if end < 120.0 => ("s", 1.0),
        end if end < 7200.0 => ("min", 60.0),
        _ => ("h", 3600.0),
    };
    // What is added up of tenths ends in nines.
    let number = (t / seconds * 1e6).round() / 1e6;
    match t > 0.0 {
        true => format!("{number} {unit}"),
        false => "0".into(),
    }
}

/// The cells' numbers, labels and times under their places.
fn axis_of_cells(plot: &Plot, slots: &[Slot], bottom: f64) -> (Markup, f64) {
    let mut taken = 0.0;
    let mut names = Vec::new();
    for (cell, slot) in plot.cells.iter().zip(slots) {
        let record: &Record = cell.record;
        let (middle, width) = ((slot.left + slot.right) / 2.0, slot.right - slot.left);
        let number = table::number(record);
        let half = number.len() as f64 * 3.3;
        if middle - half < taken + 3.0 {
            continue;
        }
        taken = middle + half;
        let label = record.cell.label.as_deref().filter(|_| width > 40.0);
        let time = cell.run_s().filter(|_| width > 44.0);
        let colour = match table::ending(record) {
            Some(_) => ALARM,
            None => INK,
        };
        names.push(html! {
            text x=(at(middle)) y=(at(bottom + 15.0)) fill=(colour) { (number) }
            @if let Some(time) = time {
                text x=(at(middle)) y=(at(bottom + 28.0)) { (units::format_seconds(time)) }
            }
            @if let Some(label) = label {
                text x=(at(middle)) y=(at(bottom + 41.0)) { (cut(&xml_text(label), 11.0, width)) }
            }
        });
    }
    let drawn = html! {
        g font-size="11" text-anchor="middle" { @for name in &names { (name) } }
    };
    (drawn, bottom + 46.0)
}

/// How the lines and marks are to be read. Returns it and the picture's height.
fn footer(plot: &Plot, panels: &[Panel], top: f64) -> (Markup, f64) {
    let mut methods: Vec<String> = Vec::new();
    for series in panels.iter().flat_map(|panel| &panel.series) {
        let mut of_series: Vec<String> = Vec::new();
        let ran = plot.cells.iter().filter(|cell| cell.run_s().is_some());
        for row in ran.filter_map(|cell| series.row(cell)) {
            let method = row.peak_method.as_deref().filter(|_| row.peak.is_some());
            of_series.extend(method.map(xml_text).filter(|it| !of_series.contains(it)));
        }
        if !of_series.is_empty() {
            let name = plot
                .cells
                .iter()
                .find_map(|cell| series.row(cell))
                .map(|row| row.label());
            methods.push(format!(
                "{}: {}",
                name.unwrap_or_default(),
                of_series.join(" or ")
            ));
        }
    }
    let mut lines = vec![
        "Lines join samples. Dashes mark the peaks, however short, got as follows.".to_owned(),
    ];
    let words = methods.join(" · ");
    let whole_words =
        textwrap::Options::new(112).word_splitter(textwrap::WordSplitter::NoHyphenation);
    let wrapped = textwrap::wrap(&words, whole_words);
    lines.extend(wrapped.into_iter().map(|line| line.into_owned()));
    let drawn = html! {
        g font-size="10.5" {
            @for (index, line) in lines.iter().enumerate() {
                text x="8" y=(at(top + 14.0 + 14.0 * index as f64)) { (line) }
            }
        }
    };
    (drawn, top + 14.0 * lines.len() as f64 + 8.0)
}
