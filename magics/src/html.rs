//! Tables as HTML: inline styles only, no script, colours inherited, so that they read well on
//! light and dark backgrounds and survive what notebook viewers strip.

use maud::{Markup, html};

use crate::record::Record;
use crate::table::{self, Column, Entry, Grid, Table, Weight};

const BORDER: &str = "1px solid rgba(128,128,128,.35)";
const FAINT: &str = "opacity:.7";
const DRAWN: &str = "font-family:monospace;white-space:nowrap;line-height:1;color:#3d85c8";

/// Draws a table.
pub fn render(table: &Table) -> String {
    html! {
        div style="color:inherit;font-size:13px;line-height:1.5;overflow-x:auto" {
            @if !table.title.is_empty() {
                div style="font-weight:bold" { (table.title) }
            }
            @for alert in &table.alerts {
                div style="border-left:3px solid rgba(220,80,60,.9);background:rgba(220,80,60,.12);padding:1px 8px;margin:2px 0" {
                    (alert)
                }
            }
            @for grid in &table.grids { (draw(grid)) }
            @if !table.footnotes.is_empty() || !table.footer.is_empty() {
                div style=(FAINT) {
                    @for line in table.footnotes.iter().chain(&table.footer) {
                        div { (line) }
                    }
                }
            }
        }
    }
    .into_string()
}

/// Draws one cell in one line.
pub fn compact(record: &Record) -> String {
    html! {
        div style="color:inherit;font-size:13px;font-variant-numeric:tabular-nums" {
            @for (index, part) in table::compact(record).iter().enumerate() {
                @if index > 0 { " · " }
                @for entry in part { (words(entry)) }
            }
        }
    }
    .into_string()
}

fn draw(grid: &Grid) -> Markup {
    html! {
        table style="border-collapse:collapse;color:inherit;background:transparent;margin:4px 0" {
            thead {
                tr style="background:rgba(128,128,128,.15)" {
                    @for (place, column) in grid.columns.iter().enumerate() {
                        th style=(field_style(place, column)) { (column.name) }
                    }
                }
            }
            tbody {
                @for row in &grid.rows {
                    tr style="background:transparent" {
                        @for (place, (entry, column)) in row.iter().zip(&grid.columns).enumerate() {
                            td style=(field_style(place, column)) title=[&entry.hint] { (words(entry)) }
                        }
                    }
                }
            }
        }
    }
}

fn field_style(place: usize, column: &Column) -> String {
    let by_kind = match (column.is_text, place) {
        // The rows' names.
        (true, 0) => "text-align:left;white-space:nowrap",
        (true, _) => "text-align:left",
        (false, _) => "text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums",
    };
    format!("padding:2px 10px;border:0;border-bottom:{BORDER};color:inherit;{by_kind}")
}

fn words(entry: &Entry) -> Markup {
    html! {
        @match entry.weight {
            Weight::Normal => (entry.text),
            Weight::Strong => b { (entry.text) },
            Weight::Faint => span style=(FAINT) { (entry.text) },
            Weight::Drawn => span style=(DRAWN) { (entry.text) },
        }
    }
}
