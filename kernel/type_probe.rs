//! Types of variables as rustc tells them, for cells that come before rust-analyzer has read anything
//! of std: it needs a second for that, rustc a twentieth.
//!
//! evcxr has a way to look for errors in a cell only, in which each variable goes to a function. Where
//! that function asks for a trait that no type has, rustc names the type of each. What it names must be
//! taken with care, because it shortens paths: only names that mean one thing are used. The types are
//! written into the cell, on the same lines, as the user could have done.

use std::collections::{HashMap, HashSet};

use evcxr::CompilationError;
use ra_ap_syntax::ast::{self, HasName};
use ra_ap_syntax::{AstNode, TextRange};

use crate::types::{BEFORE, is_typed, statements};

/// evcxr's function for variables, when it looks for errors only.
const STORE: &str = "fn evcxr_variable_store<T: 'static>(_: T) {}\n";
/// The same for types that have a trait, which none has.
const PROBE: &str = "trait EvcxrType {} fn evcxr_variable_store<T: EvcxrType + 'static>(_: T) {}\n";

/// Types of std by the names that rustc shortens them to, and where they are unless every crate has
/// them.
const OF_STD: [(&str, &str); 18] = [
    ("Vec", ""),
    ("String", ""),
    ("Option", ""),
    ("Result", ""),
    ("Box", ""),
    ("HashMap", "std::collections"),
    ("HashSet", "std::collections"),
    ("BTreeMap", "std::collections"),
    ("BTreeSet", "std::collections"),
    ("VecDeque", "std::collections"),
    ("Rc", "std::rc"),
    ("Arc", "std::sync"),
    ("Mutex", "std::sync"),
    ("RefCell", "std::cell"),
    ("Cell", "std::cell"),
    ("Instant", "std::time"),
    ("Duration", "std::time"),
    ("PathBuf", "std::path"),
];

const PRIMITIVE: [&str; 17] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32",
    "f64", "bool", "char", "str",
];

/// The code that looks for errors, changed so that it tells types. `None` where it is not as expected.
pub fn asking(code: &str) -> Option<String> {
    code.contains(STORE).then(|| code.replacen(STORE, PROBE, 1))
}

/// What rustc says, without its notes: evcxr would take one about a type of the user for the error.
pub fn without_notes(messages: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in messages.split(|byte| *byte == b'\n') {
        if let Ok(mut message) = serde_json::from_slice::<serde_json::Value>(line) {
            message["children"] = serde_json::json!([]);
            out.extend(message.to_string().bytes().chain([b'\n']));
        }
    }
    out
}

/// The cell with the types that rustc told written into it. `None` where one of them is not told, or
/// not clear; `items` are the names that the user has defined.
pub fn with_types(
    code: &str,
    errors: &[CompilationError],
    items: &HashSet<String>,
) -> Option<String> {
    let mut types = HashMap::new();
    for error in errors.iter().filter(|error| error.level() == "error") {
        let (name, ty) = told(error)?;
        types.insert(name, ty);
    }
    let mut insertions: Vec<(TextRange, String)> = Vec::new();
    let mut seen = HashSet::new();
    for statement in statements(code) {
        let name = match statement.pat() {
            Some(ast::Pat::IdentPat(pattern)) => pattern.name()?.text().to_string(),
            _ => return None,
        };
        if !seen.insert(name.clone()) {
            return None;
        }
        if is_typed(&statement) {
            continue;
        }
        let ty = clear(types.get(&name)?, items)?;
        let end = statement.pat()?.syntax().text_range().end();
        let range = match statement.ty() {
            Some(ty) => TextRange::new(end, ty.syntax().text_range().end()),
            None => TextRange::empty(end),
        };
        insertions.push((range, format!(": {ty}")));
    }
    let mut typed = code.to_owned();
    for (range, text) in insertions.into_iter().rev() {
        let (start, end) = (usize::from(range.start()), usize::from(range.end()));
        let (start, end) = (start - BEFORE.len(), end - BEFORE.len());
        if typed[start..end].contains('\n') {
            return None;
        }
        typed.replace_range(start..end, &text);
    }
    Some(typed)
}

/// The variable and its type, if that is all that the error says.
fn told(error: &CompilationError) -> Option<(String, String)> {
    let span = error.json["spans"].as_array()?.first()?;
    let text = span["text"].as_array()?.first()?["text"].as_str()?;
    let name = text
        .trim()
        .strip_prefix("evcxr_variable_store(")?
        .strip_suffix(");")?;
    let message = error.json["message"].as_str()?;
    let ty = message
        .strip_prefix("the trait bound `")?
        .strip_suffix(": EvcxrType` is not satisfied")?;
    Some((name.to_owned(), ty.to_owned()))
}

/// The type with whole paths and lifetimes. `None` where a name may mean several things.
fn clear(ty: &str, items: &HashSet<String>) -> Option<String> {
    let ty = ty
        .replace("{integer}", "i32")
        .replace("{float}", "f64")
        .replace("&str", "&'static str");
    let mut out = String::new();
    let mut rest = ty.as_str();
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        if first.is_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !is_part(c) && c != ':')
                .unwrap_or(rest.len());
            let (path, after) = rest.split_at(end);
            let name = path.rsplit("::").next().unwrap_or_default();
            let known = OF_STD.iter().find(|(known, _)| *known == name);
            match known {
                Some((_, "")) if path == name => out += name,
                Some((_, module)) if path == name || path == format!("{module}::{name}") => {
                    out += &format!("{module}::{name}");
                }
                None if PRIMITIVE.contains(&path) || items.contains(path) => out += path,
                Some(_) | None => return None,
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("&'static str") {
            out += "&'static str";
            rest = after;
        } else if first.is_ascii_digit() || "<>()[],; ".contains(first) {
            out.push(first);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clear_is_named_in_full_and_the_rest_is_left() {
        let items = HashSet::from(["Point".to_owned()]);
        for (told, named) in [
            ("Vec<u8>", Some("Vec<u8>")),
            ("{integer}", Some("i32")),
            (
                "HashMap<{integer}, &str>",
                Some("std::collections::HashMap<i32, &'static str>"),
            ),
            (
                "Option<(u8, char, [u16; 3])>",
                Some("Option<(u8, char, [u16; 3])>"),
            ),
            (
                "Arc<std::sync::Mutex<Point>>",
                Some("std::sync::Arc<std::sync::Mutex<Point>>"),
            ),
            ("()", Some("()")),
            ("tokio::sync::Mutex<u8>", None),
            ("ParseIntError", None),
            ("{closure@src/lib.rs:16:9: 16:11}", None),
            ("&Point", None),
            ("fn(u8) -> u8", None),
            ("impl Iterator<Item = u8>", None),
            ("Box<dyn Fn()>", None),
        ] {
            assert_eq!(clear(told, &items).as_deref(), named, "{told}");
        }
    }

    #[test]
    fn only_the_code_of_evcxr_asks() {
        let code = format!("fn a() {{}}\n{STORE}b\n");
        let asking = asking(&code).unwrap();
        assert_eq!(asking.lines().count(), code.lines().count());
        assert!(super::asking("fn a() {}").is_none());
    }
}
