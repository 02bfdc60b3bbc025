//! Tables as text: aligned, and no line wider than [`WIDTH`] columns.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement};

use crate::record::Record;
use crate::table::{self, Grid, Table};

/// The widest line, in columns of a terminal.
pub const WIDTH: usize = 100;

/// Draws a table. Lines end in `\n`, the last one too, and have no white space at their end.
pub fn render(table: &Table) -> String {
    let mut blocks = Vec::new();
    let head: Vec<&String> = std::iter::once(&table.title).chain(&table.alerts).collect();
    blocks.push(lines(&head));
    blocks.extend(table.grids.iter().map(grid));
    let foot: Vec<&String> = table.footnotes.iter().chain(&table.footer).collect();
    blocks.push(lines(&foot));
    blocks.retain(|block| !block.is_empty());
    blocks.concat()
}

/// Draws one cell in one line, or in more where it does not fit.
pub fn compact(record: &Record) -> String {
    let parts: Vec<String> = table::compact(record)
        .iter()
        .map(|part| part.iter().map(|entry| entry.text.as_str()).collect())
        .collect();
    lines(&[&parts.join(" · ")])
}

/// Words in lines no wider than [`WIDTH`], each ended by `\n`; later lines of a paragraph are
/// indented.
pub fn wrap(text: &str) -> String {
    let paragraphs: Vec<String> = text.lines().map(String::from).collect();
    lines(&paragraphs.iter().collect::<Vec<_>>())
}

/// Each text on a line of its own, wrapped with an indent where it is too long.
fn lines(texts: &[&String]) -> String {
    let options = textwrap::Options::new(WIDTH).subsequent_indent("    ");
    let mut block = String::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        for line in textwrap::wrap(text, &options) {
            block += line.trim_end();
            block.push('\n');
        }
    }
    block
}

fn grid(grid: &Grid) -> String {
    let mut drawn = comfy_table::Table::new();
    drawn
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH as u16)
        .set_header(grid.columns.iter().map(|column| column.name))
        .add_rows(grid.rows.iter().map(|row| {
            row.iter()
                .map(|entry| entry.text.as_str())
                .collect::<Vec<_>>()
        }));
    for (column, head) in drawn.column_iter_mut().zip(&grid.columns) {
        column.set_padding((0, 2));
        if !head.is_text {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    drawn
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}
