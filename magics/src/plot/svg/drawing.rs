//! One panel: its scale, its lines, its marks.

use maud::{Markup, html};

use super::super::axis::{Scale, Slot};
use super::super::label::{apart, cut, xml_text};
use super::super::panel::{Panel, Series, of_limit};
use super::super::{Cell, Plot};
use super::{ALARM, LEFT, RIGHT, WIDTH, at};
use crate::record::Row;
use crate::timeline::{COMPILER, rounded};
use crate::units;

/// A limit is drawn where the panel's highest value is at least this part of it; else it would press
/// everything to the ground, and is only told.
const LIMIT_IS_NEAR: f64 = 0.6;

/// Less than two samples can be apart, in seconds.
const NO_TIME: f64 = 1e-6;

pub(super) struct Drawing<'a> {
    plot: &'a Plot<'a>,
    panel: &'a Panel,
    slots: &'a [Slot],
    scale: Scale,
    /// Of the panel's words, which stand above the scale.
    top: f64,
    highest: u64,
    limit: Option<u64>,
    limit_is_near: bool,
    compiler_is_beyond: bool,
}

impl<'a> Drawing<'a> {
    pub fn new(plot: &'a Plot<'a>, panel: &'a Panel, slots: &'a [Slot], top: f64) -> Drawing<'a> {
        let (lowest, highest, compiler_is_beyond) = panel.extent(plot);
        let limit = panel.limit(plot);
        let limit_is_near =
            limit.is_some_and(|limit| highest as f64 >= limit as f64 * LIMIT_IS_NEAR);
        let shown = limit.filter(|_| limit_is_near).unwrap_or(0).max(highest);
        let bottom = top + 20.0 + panel.height;
        Drawing {
            plot,
            panel,
            slots,
            scale: Scale::new(lowest, shown, panel.from_zero, top + 20.0, bottom),
            top,
            highest,
            limit,
            limit_is_near,
            compiler_is_beyond,
        }
    }

    pub fn bottom(&self) -> f64 {
        self.scale.bottom
    }

    pub fn draw(&self) -> Markup {
        html! {
            g {
                text x=(at(LEFT)) y=(at(self.top + 13.0)) font-weight="600" {
                    (cut(&xml_text(&self.panel.title), 12.0, 270.0))
                }
                text x=(at(RIGHT)) y=(at(self.top + 13.0)) text-anchor="end" font-size="11" {
                    (self.note())
                }
                (self.background())
                // From the last to the first, so that the main line lies above the others.
                @for series in self.panel.series.iter().rev() {
                    @for (cell, slot) in self.plot.cells.iter().zip(self.slots) {
                        (self.line(series, cell, slot))
                    }
                }
                @for series in self.panel.series.iter().rev() {
                    @for (cell, slot) in self.plot.cells.iter().zip(self.slots) {
                        (self.peak(series, cell, slot))
                    }
                }
                (self.limit_line())
                (self.labels())
            }
        }
    }

    /// What stands at the panel's upper right: how near the limit is.
    fn note(&self) -> String {
        let main = self.panel.main();
        let peaks = self
            .plot
            .cells
            .iter()
            .filter_map(|cell| main.row(cell)?.peak);
        let near = peaks
            .max()
            .zip(self.limit)
            .and_then(|(peak, limit)| of_limit(peak, limit));
        near.unwrap_or_default()
    }

    /// The phases' shades, and the scale.
    fn background(&self) -> Markup {
        let (top, height) = (self.scale.top, self.scale.bottom - self.scale.top);
        let ticks = self.scale.ticks();
        html! {
            g fill="#808a96" {
                @for slot in self.slots {
                    @if slot.run - slot.left > 0.05 {
                        rect x=(at(slot.left)) y=(at(top)) width=(at(slot.run - slot.left))
                            height=(at(height)) fill-opacity=".22" {}
                    }
                    @if slot.right - slot.run > 0.05 {
                        rect x=(at(slot.run)) y=(at(top)) width=(at(slot.right - slot.run))
                            height=(at(height)) fill-opacity=".08" {}
                    }
                }
            }
            g font-size="11" text-anchor="end" {
                @for (tick, words) in ticks.iter().zip(tick_words(&ticks)) {
                    path d={ "M" (at(LEFT)) " " (at(self.scale.y(*tick))) "H" (at(RIGHT)) }
                        stroke="#808a96" stroke-opacity=".35" stroke-width=".7" {}
                    text x=(at(LEFT - 6.0)) y=(at(self.scale.y(*tick) + 4.0)) { (words) }
                }
            }
        }
    }

    /// A cell's samples in order, up to one for each unit of width. The readings at the borders of the
    /// run stand for themselves.
    fn points(&self, series: &Series, cell: &Cell, slot: &Slot) -> Vec<(f64, Option<u64>)> {
        let Some(timeline) = cell.timeline else {
            return Vec::new();
        };
        let thinned =
            |from, to, width: f64| timeline.thinned(&series.key, from, to, (width as usize).max(1));
        let mut points = Vec::new();
        let is_beyond = series.key == COMPILER && self.compiler_is_beyond;
        if cell.compile_s() > 0.0 && !is_beyond {
            points = thinned(-cell.compile_s(), -NO_TIME, slot.run - slot.left);
        }
        if let Some(run) = cell.run_s().filter(|_| cell.has_line()) {
            let end = rounded(run);
            let at = |time| timeline.samples(&series.key).find(move |(t, _)| *t == time);
            points.extend(at(0.0));
            points.extend(thinned(NO_TIME, end - NO_TIME, slot.right - slot.run));
            points.extend(at(end));
        }
        points
    }

    /// A cell's samples, each run of known ones a line; or its three marks where there is no line.
    fn line(&self, series: &Series, cell: &Cell, slot: &Slot) -> Markup {
        let points = self.points(series, cell, slot);
        let mut marks: Vec<(f64, u64)> = Vec::new();
        if cell.run_s().is_some()
            && !cell.has_line()
            && let Some(row) = series.row(cell)
        {
            let middle = (slot.run + slot.right) / 2.0;
            let places = [
                (slot.run, row.before),
                (middle, row.peak),
                (slot.right, row.after),
            ];
            marks.extend(
                places
                    .into_iter()
                    .filter_map(|(x, value)| Some((x, value?))),
            );
        }
        let known = |points: &[(f64, Option<u64>)]| -> Vec<(f64, f64)> {
            let places = points.iter().filter_map(|(t, value)| Some((*t, (*value)?)));
            places
                .map(|(t, bytes)| (slot.x(t), self.scale.y(bytes)))
                .collect()
        };
        let runs: Vec<Vec<(f64, f64)>> = points
            .split(|(_, value)| value.is_none())
            .map(known)
            .filter(|run| !run.is_empty())
            .collect();
        html! {
            @for run in &runs {
                @if series.filled && run.len() > 1 {
                    path d={ (path(run)) "V" (at(self.scale.bottom)) "H" (at(run[0].0)) "Z" }
                        fill=(series.colour) fill-opacity=".18" {}
                }
                @if run.len() > 1 {
                    path d=(path(run)) fill="none" stroke=(series.colour) stroke-width="1.6"
                        stroke-linejoin="round" stroke-linecap="round" {}
                } @else {
                    (dot(run[0], series.colour))
                }
            }
            @for (x, bytes) in &marks { (dot((*x, self.scale.y(*bytes)), series.colour)) }
        }
    }

    /// The peak as it was got, across the run: when it was reached is not known to the moment.
    fn peak(&self, series: &Series, cell: &Cell, slot: &Slot) -> Markup {
        let row = series.row(cell).filter(|_| cell.run_s().is_some());
        let Some((row, peak)) = row.and_then(|row| Some((row, row.peak?))) else {
            return html! {};
        };
        let y = self.scale.y(peak);
        let is_main = series.key == self.panel.main().key;
        // Among many cells one mark for each is enough.
        if !is_main && self.plot.single().is_none() {
            return html! {};
        }
        let width = slot.right - slot.run;
        let words = match self.plot.single() {
            Some(_) if is_main => peak_words(row, peak),
            None if is_main && width > 50.0 => units::format_bytes(peak),
            Some(_) | None => String::new(),
        };
        html! {
            path d={ "M" (at(slot.run)) " " (at(y)) "H" (at(slot.right)) } stroke=(series.colour)
                stroke-width=(if is_main { "1.3" } else { "1" }) stroke-dasharray="4 3" {}
            @if !words.is_empty() {
                text x=(at((slot.run + slot.right) / 2.0)) y=(at(y - 5.0)) text-anchor="middle"
                    font-size="11" font-weight="600" fill=(series.colour) {
                    (cut(&words, 11.0, width.max(120.0)))
                }
            }
        }
    }

    fn limit_line(&self) -> Markup {
        let Some(limit) = self.limit.filter(|_| self.limit_is_near) else {
            return html! {};
        };
        let y = self.scale.y(limit);
        html! {
            path d={ "M" (at(LEFT)) " " (at(y)) "H" (at(RIGHT)) } stroke=(ALARM) stroke-width="1.4" {}
            text x=(at(RIGHT + 8.0)) y=(at(y + 4.0)) font-size="11" fill=(ALARM) {
                "limit " (units::format_bytes(limit))
            }
        }
    }

    /// The lines' names at their right ends.
    fn labels(&self) -> Markup {
        let single = self.plot.single().is_some();
        let mut labels: Vec<(&Series, Option<String>, f64)> = Vec::new();
        for (place, series) in self.panel.series.iter().enumerate() {
            let (Some(value), peak) = self.last_and_peak(series) else {
                continue;
            };
            let words = match (series.key == COMPILER, self.compiler_is_beyond) {
                (true, true) => Some(format!("{} ↑", units::format_bytes(peak))),
                (true, false) => Some(format!("up to {}", units::format_bytes(peak))),
                // The main line's peak is told at its mark.
                (false, _) if place == 0 && single => None,
                (false, _) => Some(format!("peak {}", units::format_bytes(peak))),
            };
            labels.push((series, words, self.scale.y(value)));
        }
        let height = |words: &Option<String>| if words.is_some() { 27.0 } else { 15.0 };
        let wanted: Vec<(f64, f64)> = labels
            .iter()
            .map(|(_, words, y)| (*y, height(words)))
            .collect();
        // Room for the words at the limit's line.
        let top = self.scale.top + if self.limit_is_near { 12.0 } else { 0.0 };
        let places = apart(&wanted, top, self.scale.bottom + 6.0);
        html! {
            @for ((series, words, _), middle) in labels.iter().zip(&places) {
                @let first = if words.is_some() { middle - 2.0 } else { middle + 4.0 };
                text x=(at(RIGHT + 8.0)) y=(at(first)) fill=(series.colour) font-weight="600" {
                    (cut(&series.name, 12.0, WIDTH - RIGHT - 8.0))
                }
                @if let Some(words) = words {
                    text x=(at(RIGHT + 8.0)) y=(at(first + 12.0)) font-size="10.5"
                        fill=(series.colour) { (words) }
                }
            }
        }
    }

    /// The last value that is known of a series, and the highest.
    fn last_and_peak(&self, series: &Series) -> (Option<u64>, u64) {
        let mut last = None;
        let mut peak = 0;
        for cell in &self.plot.cells {
            let samples = cell.timeline.iter().flat_map(|it| it.samples(&series.key));
            for value in samples.filter_map(|(_, value)| value) {
                last = Some(value);
                peak = peak.max(value);
            }
            if let Some(row) = series.row(cell) {
                last = row.after.or(last).or(row.peak);
                peak = peak.max(row.peak.unwrap_or(0));
            }
        }
        match series.key == COMPILER {
            // Its line ends before the right edge, so its name stands where it was highest.
            true => (
                last.map(|_| peak.min(self.highest.max(1).saturating_mul(2))),
                peak,
            ),
            false => (last, peak),
        }
    }
}

fn peak_words(row: &Row, peak: u64) -> String {
    let method = row.peak_method.as_deref().map(xml_text);
    // Whose memory it is the panel says; here only how it was got.
    let method = method.map(|method| match method.split_once(", ") {
        Some((how, _)) => how.to_owned(),
        None => method,
    });
    let peak = format!("peak {}", units::format_bytes(peak));
    match method {
        Some(method) => format!("{peak} · {method}"),
        None => peak,
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        path.push(if index == 0 { 'M' } else { 'L' });
        path += &format!("{} {}", at(*x), at(*y));
    }
    path
}

fn dot((x, y): (f64, f64), colour: &str) -> Markup {
    html! { circle cx=(at(x)) cy=(at(y)) r="2.6" fill=(colour) {} }
}

/// The numbers of bytes of an axis, all in one unit: the largest that needs no more than quarters, such
/// as `0.5 GiB` and `1 GiB`, but `896 MiB` and `1024 MiB`.
fn tick_words(ticks: &[u64]) -> Vec<String> {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let highest = ticks.iter().copied().max().unwrap_or(0);
    let fits = |(_, bits): &&(&str, u32)| {
        let quarter = 1_u64 << (bits - 2);
        highest >> bits > 0 && ticks.iter().all(|tick| tick.is_multiple_of(quarter))
    };
    let unit = UNITS.iter().find(fits);
    let words = |tick: &u64| match (tick, unit) {
        (0, _) => "0".into(),
        (tick, Some((name, bits))) => {
            format!("{} {name}", *tick as f64 / (1_u64 << bits) as f64)
        }
        (tick, None) => units::format_bytes(*tick),
    };
    ticks.iter().map(words).collect()
}
