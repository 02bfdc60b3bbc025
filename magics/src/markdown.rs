//! Tables as Markdown that GitHub and notebooks draw.

use std::fmt::Write;

use crate::table::{Column, Entry, Grid, Table, Weight};

/// Draws a table. Every text in it is shown as it is: none can become markup, a mention or a link.
pub fn render(table: &Table) -> String {
    let mut blocks = Vec::new();
    if !table.title.is_empty() {
        blocks.push(format!("**{}**\n", escape(&table.title)));
    }
    if !table.alerts.is_empty() {
        let alerts = table.alerts.iter();
        blocks.push(
            alerts
                .map(|alert| format!("> {}  \n", escape(alert)))
                .collect(),
        );
    }
    blocks.extend(table.grids.iter().map(grid));
    let foot: String = table
        .footnotes
        .iter()
        .chain(&table.footer)
        .map(|line| format!("- {}\n", escape(line)))
        .collect();
    blocks.push(foot);
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

fn grid(grid: &Grid) -> String {
    let head = grid.columns.iter().map(|column| escape(column.name));
    let rules = grid.columns.iter().map(|column: &Column| {
        let rule = if column.is_text { "---" } else { "---:" };
        rule.to_owned()
    });
    let mut text = line(head) + &line(rules);
    for row in &grid.rows {
        text += &line(row.iter().map(field));
    }
    text
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let mut text = String::from("|");
    for field in fields {
        // Writing to a string cannot fail.
        let _ = write!(text, " {field} |");
    }
    text.push('\n');
    text
}

fn field(entry: &Entry) -> String {
    let text = escape(&entry.text);
    match entry.weight {
        Weight::Strong if !text.is_empty() => format!("**{text}**"),
        _ => text,
    }
}

/// A text that Markdown shows as it is. Line breaks, which would end a table's row, become spaces.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            // A backslash does not keep GitHub from seeing a mention in it.
            '@' => escaped += "&#64;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            character if character.is_control() => escaped.push(' '),
            // Without its colon an address is no link.
            ':' if escaped.ends_with("http") || escaped.ends_with("https") => escaped += "&#58;",
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "a|b `c` <img src=x> [d](http://e) **f** @g #1 $h$\n| i | ~~j~~ ![k](l) \\";
        assert_eq!(
            escape(hostile),
            "a\\|b \\`c\\` &lt;img src=x&gt; \\[d\\](http&#58;//e) \\*\\*f\\*\\* &#64;g \\#1 \\$h\\$ \
             \\| i \\| \\~\\~j\\~\\~ \\!\\[k\\](l) \\\\"
        );
    }
}
