//! Tables as a whole HTML page, to be opened or sent as a file.

use maud::{DOCTYPE, PreEscaped, html};

use crate::html as as_html;
use crate::table::Table;

/// The page's own style; the tables bring theirs.
const STYLE: &str = "body{font-family:system-ui,sans-serif;margin:2em auto;max-width:75em;\
                     padding:0 1em;background:Canvas;color:CanvasText}";

/// A page with these tables, light or dark as the reader's system is.
pub fn page(title: &str, tables: &[Table]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 style="font-size:1.3em" { (title) }
                @for table in tables {
                    section style="margin:1.5em 0" { (PreEscaped(as_html::render(table))) }
                }
            }
        }
    }
    .into_string()
        + "\n"
}
