//! Tables as HTML: inline styles only, no script, colours inherited, so that they read well on
//! light and dark backgrounds.
//!
//! Viewers take parts of it away, and what is left must read right. JupyterLab strips of a notebook
//! that is not trusted the properties that its sanitizer does not know (of these
//! `font-variant-numeric` and `color:inherit`); GitHub strips all styles. So the alignment stands in
//! an attribute too, the number to look at is a `<b>`, and nothing is told by colour alone.

use maud::{Markup, html};

use crate::record::Record;
use crate::table::{self, Column, Entry, Grid, Table, Weight};

/// Around everything: the viewer's own colour, and digits of one width.
pub(crate) const FRAME: &str = "color:inherit;font-size:13px;line-height:1.5;font-variant-numeric:tabular-nums;overflow-x:auto";
const FAINT: &str = "opacity:.65";
const ALERT: &str = "border-left:3px solid rgba(220,80,60,.9);background:rgba(220,80,60,.12);padding:1px 8px;margin:2px 0";
/// The number to look at.
const STRONG: &str =
    "font-weight:bold;background:rgba(70,130,240,.2);border-radius:3px;padding:1px 4px";
/// In a column what the padding adds is taken back, so that the digits stay in line.
const IN_LINE: &str = ";margin:0 -4px";
const WRONG: &str =
    "font-weight:bold;background:rgba(220,80,60,.2);border-radius:3px;padding:1px 4px";
// Viewers have styles of their own for tables, such as stripes and centred columns: each is undone.
pub(crate) const TABLE: &str = "border-collapse:collapse;border:0;color:inherit;background:transparent;font-size:12px;table-layout:auto;margin:4px 0";
/// The line is seen on white and on black.
pub(crate) const ROW: &str = "background:transparent;border-bottom:1px solid rgba(128,128,128,.3)";
pub(crate) const FIELD: &str = "border:0;color:inherit;vertical-align:baseline";
/// The first field of a row.
pub(crate) const NAME: &str = "text-align:left;white-space:nowrap;padding:2px 8px 2px 2px";
/// From this share of a limit on, in percent, the bar takes the colour of alerts.
const NEAR_LIMIT: u8 = 80;
const DRAWN: &str = "font-family:monospace;white-space:nowrap;line-height:1;color:#3d85c8";

/// Draws a table.
pub fn render(table: &Table) -> String {
    html! {
        div style=(FRAME) {
            @if !table.title.is_empty() {
                div style="font-weight:bold" { (table.title) }
            }
            @for alert in &table.alerts {
                div style=(ALERT) { (alert) }
            }
            @for grid in &table.grids { (draw(grid)) }
            @if !table.footnotes.is_empty() || !table.footer.is_empty() {
                div style={ "font-size:12px;" (FAINT) } {
                    @for line in &table.footnotes { div { (line) } }
                    @for line in &table.footer { div { (minus(line)) } }
                }
            }
        }
    }
    .into_string()
}

/// Draws one cell in one line.
pub fn compact(record: &Record) -> String {
    html! {
        div style=(FRAME) {
            @for (index, part) in table::compact(record).iter().enumerate() {
                @if index > 0 { " · " }
                @for entry in part { (words(entry, &entry.text, "")) }
            }
        }
    }
    .into_string()
}

fn draw(grid: &Grid) -> Markup {
    html! {
        table style=(TABLE) {
            thead {
                tr style=(ROW) {
                    @for (place, column) in grid.columns.iter().enumerate() {
                        th align=(side(column)) style={ (field(grid, place)) ";font-weight:normal" } {
                            span style=(FAINT) { (column.name) }
                        }
                    }
                }
            }
            tbody {
                @for row in &grid.rows {
                    tr style=(ROW) {
                        @for (place, (entry, column)) in row.iter().zip(&grid.columns).enumerate() {
                            td align=(side(column)) style={ (field(grid, place)) (bar(entry)) } title=[&entry.hint] {
                                @if column.is_text { (words(entry, &entry.text, "")) }
                                @else { (words(entry, &minus(&entry.text), IN_LINE)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn side(column: &Column) -> &'static str {
    if column.is_text { "left" } else { "right" }
}

/// The style of a field of the column at `place`.
fn field(grid: &Grid, place: usize) -> String {
    let by_kind = match (grid.columns[place].is_text, place) {
        // The rows' names.
        (true, 0) => NAME,
        // Remarks: wide enough not to become a tower of single words in a narrow window, narrow
        // enough for all to fit on paper.
        (true, _) if place + 1 == grid.columns.len() => {
            "text-align:left;padding:2px 6px;font-size:11px;min-width:7em"
        }
        (true, _) => "text-align:left;padding:2px 6px;min-width:8em",
        (false, _) => "text-align:right;white-space:nowrap;padding:2px 6px",
    };
    format!("{FIELD};{by_kind}")
}

/// The share of a limit as a bar behind the number.
fn bar(entry: &Entry) -> String {
    let Some(share) = entry.share.filter(|share| *share > 0) else {
        return String::new();
    };
    let color = match share {
        ..NEAR_LIMIT => "rgba(128,128,128,.25)",
        _ => "rgba(220,80,60,.35)",
    };
    format!(";background:linear-gradient(to right,{color} {share}%,transparent {share}%)")
}

/// `text` as heavy as the entry is; `more` is the style of what is marked.
fn words(entry: &Entry, text: &str, more: &str) -> Markup {
    html! {
        @match entry.weight {
            Weight::Normal => (text),
            Weight::Strong => b style={ (STRONG) (more) } { (text) },
            Weight::Wrong => b style={ (WRONG) (more) } { (text) },
            Weight::Faint => span style=(FAINT) { (text) },
            Weight::Drawn => span style=(DRAWN) { (text) },
        }
    }
}

/// The text with a true minus sign before numbers, as wide as the plus: a hyphen is easily missed.
fn minus(text: &str) -> String {
    let mut drawn = String::with_capacity(text.len());
    let mut before = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_sign = character == '-'
            && before.is_none_or(|before: char| before.is_whitespace() || before == '*')
            && characters.peek().is_some_and(char::is_ascii_digit);
        drawn.push(if is_sign { '−' } else { character });
        before = Some(character);
    }
    drawn
}
