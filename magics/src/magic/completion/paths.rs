//! Completion of file names: what a folder holds, as a magic line must name it.

use std::path::{Path, PathBuf};

use super::{Candidate, MagicCompletion};

/// How many entries of a folder are looked at, and how many are offered.
const LOOKED_AT: usize = 20_000;
const OFFERED: usize = 500;

/// Completes the last word of `before`, the line up to the cursor, as the name of a folder or of a file
/// with one of `endings`.
pub(super) fn complete(before: &str, endings: &[&str]) -> MagicCompletion {
    let (start, typed) = last_word(before);
    let mut found = entries(&typed, endings);
    found.sort_by(|left, right| left.text.cmp(&right.text));
    found.truncate(OFFERED);
    MagicCompletion {
        start_chars: before[..start].chars().count(),
        end_chars: before.chars().count(),
        candidates: found,
    }
}

/// Where the last word of a line begins, in bytes, its quotes included, and what it says without them.
fn last_word(line: &str) -> (usize, String) {
    let (mut start, mut word) = (0, String::new());
    let (mut quote, mut is_escaped) = (None, false);
    for (at, character) in line.char_indices() {
        match (quote, character) {
            _ if is_escaped => {
                word.push(character);
                is_escaped = false;
            }
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.push(character),
            (None, '\'' | '"') => quote = Some(character),
            (None, _) if character.is_whitespace() => {
                start = at + character.len_utf8();
                word.clear();
            }
            (None, _) => word.push(character),
        }
    }
    (start, word)
}

fn entries(typed: &str, endings: &[&str]) -> Vec<Candidate> {
    let (folder, name) = match typed.rfind('/') {
        Some(slash) => typed.split_at(slash + 1),
        None => ("", typed),
    };
    let Ok(listed) = std::fs::read_dir(in_home(Path::new(if folder.is_empty() {
        "."
    } else {
        folder
    }))) else {
        return Vec::new();
    };
    let listed = listed.take(LOOKED_AT).flatten();
    listed
        .filter_map(|entry| {
            // A name that is no Unicode cannot be written in a cell.
            let found = entry.file_name().into_string().ok()?;
            let is_hidden = found.starts_with('.') && !name.starts_with('.');
            if is_hidden || !found.starts_with(name) || found.contains(char::is_control) {
                return None;
            }
            // Links are followed.
            let is_folder = entry.path().is_dir();
            let ending = Path::new(&found).extension().and_then(|it| it.to_str());
            let fits = |ending: &str| endings.iter().any(|it| it.eq_ignore_ascii_case(ending));
            if !is_folder && !ending.is_some_and(fits) {
                return None;
            }
            let path = format!("{folder}{found}");
            Some(Candidate {
                text: quoted(&path, is_folder),
                description: if is_folder { "folder" } else { "file" }.into(),
            })
        })
        .collect()
}

/// A path as a line must name it. A folder's quote stays open, so that the path can go on.
fn quoted(path: &str, is_folder: bool) -> String {
    // Most need no quotes: they are one word as they are.
    let quoted = match shlex::split(path) {
        Some(words) if words == [path] => path.to_owned(),
        _ => shlex::try_quote(path).map_or_else(|_| path.to_owned(), |it| it.into_owned()),
    };
    match (is_folder, quoted.strip_suffix(['\'', '"'])) {
        (false, _) => quoted,
        (true, Some(open)) => format!("{open}/"),
        (true, None) => format!("{quoted}/"),
    }
}

/// `path` with the user's home folder in place of a `~` at its start.
pub fn in_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_found_behind_quotes() {
        for (line, start, word) in [
            ("%memtrack export ", 17, ""),
            ("%memtrack export a/b", 17, "a/b"),
            ("%memtrack export 'my fi", 17, "my fi"),
            ("%memtrack export \"it's\"x", 17, "it'sx"),
            ("%memtrack compare 'a b' c\\ d", 24, "c d"),
        ] {
            assert_eq!(last_word(line), (start, word.to_owned()), "{line}");
        }
    }
}
