//! Words in the picture: cleaned, cut to length, and moved apart.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::table::clean;

/// What XML allows of a text, in one line.
pub(super) fn xml_text(text: &str) -> String {
    // `clean` takes control characters away; these two are the others that XML forbids.
    clean(text).replace(['\u{fffe}', '\u{ffff}'], "")
}

/// The text, cut where it would be wider than `width` units in letters of `size` units. The width of
/// letters is not known, as each viewer has its own fonts: it is taken for 0.58 of their size.
pub(super) fn cut(text: &str, size: f64, width: f64) -> String {
    let most = (width / (size * 0.58)).max(0.0) as usize;
    if text.width() <= most {
        return text.into();
    }
    let mut kept = String::new();
    let mut columns = 1;
    for letter in text.chars() {
        columns += letter.width().unwrap_or(0);
        if columns > most {
            break;
        }
        kept.push(letter);
    }
    kept.truncate(kept.trim_end().len());
    kept + "…"
}

/// Moves labels of these heights, given by where their middle should be, so that none lies over another
/// and all lie between `top` and `bottom`, as far as there is room. The order stays.
pub(super) fn apart(wanted: &[(f64, f64)], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].0.total_cmp(&wanted[*b].0));
    let mut placed = vec![0.0; wanted.len()];
    let mut free = top;
    for index in &order {
        let (middle, height) = wanted[*index];
        placed[*index] = middle.max(free + height / 2.0);
        free = placed[*index] + height / 2.0;
    }
    let mut free = bottom;
    for index in order.iter().rev() {
        let height = wanted[*index].1;
        placed[*index] = placed[*index].min(free - height / 2.0);
        free = placed[*index] - height / 2.0;
    }
    placed
}
