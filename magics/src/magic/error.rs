//! What is wrong with a magic line, in words, always with the nearest right word.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{LSMAGIC, MEMTRACK, entry_of, magics, names};

/// Why a line is not a magic, with the nearest right word and the usage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{}\nusage: {usage}", did_you_mean(suggestion))]
pub struct MagicError {
    /// What is wrong.
    pub problem: String,
    /// The nearest right word.
    pub suggestion: Option<String>,
    /// How the magic is written.
    pub usage: String,
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(word) => format!("; did you mean `{word}`?"),
        None => String::new(),
    }
}

pub(super) fn unknown_magic(word: &str) -> MagicError {
    let suggestion = nearest(word, names());
    MagicError {
        problem: format!("`{word}` is not a magic of this kernel"),
        usage: match suggestion {
            Some(name) => entry_of(&[name]).usage.into(),
            None => format!("{LSMAGIC} lists the magics"),
        },
        suggestion: suggestion.map(String::from),
    }
}

/// Says in our words what clap found wrong with the line of these `words`.
pub(super) fn explain(error: &clap::Error, words: &[&str]) -> MagicError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let entry = entry_of(words);
    let mut usage = entry.usage;
    let mut suggestion = None;
    let problem = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            suggestion = nearest(&word, magics().iter().filter_map(|entry| entry.subcommand))
                .map(String::from);
            if let Some(name) = &suggestion {
                usage = entry_of(&[MEMTRACK, name]).usage;
            }
            if suggestion.is_none() && words.contains(&"--label") {
                format!("`{word}` is not a subcommand (a label of several words needs quotes)")
            } else {
                format!("`{word}` is not a subcommand")
            }
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            suggestion =
                nearest(&argument, entry.options().iter().map(String::as_str)).map(String::from);
            format!("`{argument}` is not an option here")
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => {
            format!("`{argument}` is one word too many")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue);
            suggestion = nearest(&value, known.split(", ")).map(String::from);
            format!("`{value}` is not one of {known}")
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            if other.is_empty() || other == argument {
                format!("`{argument}` stands here more than once")
            } else {
                format!("`{argument}` and `{other}` exclude each other")
            }
        }
        ErrorKind::ValueValidation if !context(ContextKind::Custom).is_empty() => {
            context(ContextKind::Custom)
        }
        _ => match std::error::Error::source(error) {
            Some(reason) => reason.to_string(),
            None => {
                let text = error.render().to_string();
                let first = text.lines().next().unwrap_or_default();
                first.trim_start_matches("error: ").into()
            }
        },
    };
    MagicError {
        problem,
        suggestion,
        usage: usage.into(),
    }
}

/// The known word that `word` most likely was meant to be, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Lower values begin to suggest words that only share some letters.
    const NEAR_ENOUGH: f64 = 0.8;
    let word = word.to_lowercase();
    known
        .map(|name| (strsim::jaro_winkler(&word, name), name))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
