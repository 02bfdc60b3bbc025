//! Completion and inspection of magic lines, made from the table.
//!
//! Positions are counted in characters (Unicode scalar values) from the line's `%`, as Jupyter
//! counts cursors.

use clap::{Arg, Command};

mod paths;

pub use paths::in_home;

use super::{MagicEntry, entry_of, magics, names};
use crate::budget;

/// What can stand at a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MagicCompletion {
    /// Where the text to replace starts.
    pub start_chars: usize,
    /// Where it ends: the cursor.
    pub end_chars: usize,
    /// What can replace it.
    pub candidates: Vec<Candidate>,
}

/// One word that can stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The word.
    pub text: String,
    /// What it means, in some words.
    pub description: String,
}

/// Completes a magic line at a cursor; `None` where the line is no magic or the cursor not in it.
pub fn complete(line: &str, cursor_chars: usize) -> Option<MagicCompletion> {
    let before: String = line.chars().take(cursor_chars).collect();
    if !line.starts_with('%') || before.chars().count() < cursor_chars {
        return None;
    }
    let word_start = before
        .rfind(|c: char| c.is_whitespace() || c == '=')
        .map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        });
    let (earlier, typed) = before.split_at(word_start);
    let words: Vec<&str> = earlier
        .split(|c: char| c.is_whitespace() || c == '=')
        .filter(|word| !word.is_empty())
        .collect();
    let endings = match words.get(1) {
        Some(_) => super::files::endings(entry_of(&words).subcommand),
        None => Vec::new(),
    };
    if !endings.is_empty() && !typed.starts_with('-') {
        return Some(paths::complete(&before, &endings));
    }
    let mut candidates = possible(&words);
    candidates.retain(|candidate| candidate.text.starts_with(typed));
    // A `%` alone means either kind; two are asked for only by those who type two.
    candidates.retain(|candidate| typed.starts_with("%%") || !candidate.text.starts_with("%%"));
    Some(MagicCompletion {
        start_chars: earlier.chars().count(),
        end_chars: cursor_chars,
        candidates,
    })
}

/// Help on the word under a cursor; `None` where the line is no magic or the cursor not in it.
pub fn inspect(line: &str, cursor_chars: usize) -> Option<String> {
    if !line.starts_with('%') || line.chars().count() < cursor_chars {
        return None;
    }
    let mut start = 0;
    for word in line.split_inclusive(|c: char| c.is_whitespace() || c == '=') {
        let end = start + word.chars().count();
        if cursor_chars < end || end == line.chars().count() {
            let byte: usize = line.chars().take(start).map(char::len_utf8).sum();
            let earlier: Vec<&str> = line[..byte]
                .split(|c: char| c.is_whitespace() || c == '=')
                .filter(|word| !word.is_empty())
                .collect();
            let word = word.trim_end_matches(|c: char| c.is_whitespace() || c == '=');
            return help_on(&earlier, word);
        }
        start = end;
    }
    None
}

fn help_on(earlier: &[&str], word: &str) -> Option<String> {
    if earlier.is_empty() {
        names().find(|name| *name == word)?;
        return Some(tooltip(super::command(word)));
    }
    let entry = entry_of(&[earlier, &[word]].concat());
    if earlier.len() > 1 || word.starts_with('-') || entry.name == super::USE {
        let known = possible(earlier)
            .into_iter()
            .find(|candidate| candidate.text == word);
        if let Some(candidate) = known {
            return Some(format!(
                "{word}: {}\nusage: {}",
                candidate.description, entry.usage
            ));
        }
    }
    Some(tooltip(entry.command()))
}

/// Help for a tooltip, which is narrow: without what the usage line tells already.
fn tooltip(command: Command) -> String {
    command
        .term_width(72)
        .mut_args(|arg| {
            let has_values = arg.get_action().takes_values();
            arg.hide_possible_values(has_values)
        })
        .disable_help_flag(true)
        .render_help()
        .to_string()
}

/// What can follow `words`, the complete words of a line so far.
fn possible(words: &[&str]) -> Vec<Candidate> {
    let Some(name) = words.first() else {
        return names()
            .map(|name| Candidate {
                text: name.into(),
                description: entry_of(&[name]).help.into(),
            })
            .collect();
    };
    if !names().any(|known| known == *name) {
        return Vec::new();
    }
    let entry = entry_of(words);
    if let Some(values) = values_of_last(entry, words) {
        return values;
    }
    if entry.subcommand == Some("assert") {
        return budget::quantities()
            .map(|(text, description)| Candidate { text, description })
            .collect();
    }
    let mut candidates = Vec::new();
    if words.len() == 1 {
        candidates.extend(magics().iter().filter_map(|sibling| {
            let subcommand = sibling.subcommand.filter(|_| sibling.name == entry.name)?;
            Some(Candidate {
                text: subcommand.into(),
                description: sibling.help.into(),
            })
        }));
    }
    let command = entry.command();
    let has_value = words[1..].iter().any(|word| !word.starts_with('-'));
    candidates.extend(
        command
            .get_positionals()
            .filter(|_| !has_value)
            .flat_map(values_of),
    );
    candidates.extend(
        command
            .get_arguments()
            .filter_map(|arg| Some((format!("--{}", arg.get_long()?), describe(arg))))
            .chain([("--help".into(), "Show help on this magic".into())])
            .filter(|(option, _)| !words.contains(&option.as_str()))
            .map(|(text, description)| Candidate { text, description }),
    );
    candidates
}

/// The values that can follow, where the last word is an option that takes one.
fn values_of_last(entry: &MagicEntry, words: &[&str]) -> Option<Vec<Candidate>> {
    let option = words.last()?.strip_prefix("--")?;
    let command = entry.command();
    let arg = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(option) && arg.get_action().takes_values())?;
    Some(values_of(arg))
}

fn values_of(arg: &Arg) -> Vec<Candidate> {
    let values = arg.get_possible_values().into_iter();
    values
        .map(|value| Candidate {
            text: value.get_name().into(),
            description: value
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
        })
        .collect()
}

fn describe(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}
