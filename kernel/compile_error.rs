//! What rustc says about a cell, as the one error that Jupyter shows for it.

mod report;

use evcxr::CompilationError;
use serde_json::Value;

use self::report::render;
use crate::output::CellError;

/// Makes one error of all that evcxr reports for a cell: named after the first, its traceback
/// holding every one with the lines of the cell that it is about. Warnings are left out unless
/// there is nothing else.
///
/// `source` is the cell as evcxr got it, `cell_name` what to call it, such as `In [3]`.
pub fn from_compilation_errors(
    errors: &[CompilationError],
    source: &str,
    cell_name: &str,
) -> CellError {
    let diagnostics: Vec<Diagnostic> = errors.iter().map(Diagnostic::from).collect();
    cell_error(&diagnostics, source, cell_name)
}

/// One message of the compiler.
#[derive(Debug, Clone, Default, PartialEq)]
struct Diagnostic {
    /// `error` or `warning`; `note` or `help` where evcxr kept only that part of an error.
    level: String,
    code: Option<String>,
    message: String,
    labels: Vec<Label>,
    children: Vec<Child>,
    /// What the user of a notebook should know besides.
    hint: Option<String>,
    /// The compiler's own text, whose places are those of the generated crate.
    rendered: String,
}

/// A remark on a place in the code.
#[derive(Debug, Clone, PartialEq)]
struct Label {
    /// `None` if the place is in generated code or another crate.
    span: Option<Span>,
    text: String,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    /// What is wrong.
    Primary,
    /// What it has to do with.
    Secondary,
    /// From a note or help.
    Advice,
}

/// Lines and columns in the cell, both counted from 1, columns in characters (Unicode scalar
/// values) as rustc counts them; the end's column is exclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

/// A note or help, as rustc gives it.
#[derive(Debug, Clone, PartialEq)]
struct Child {
    /// `note` or `help`.
    level: String,
    message: String,
    /// Code that rustc proposes.
    replacement: Option<String>,
}

impl From<&CompilationError> for Diagnostic {
    fn from(error: &CompilationError) -> Diagnostic {
        let places = error.spanned_messages().iter().map(|place| {
            let is_primary = place.is_primary;
            (
                if is_primary {
                    Role::Primary
                } else {
                    Role::Secondary
                },
                place,
            )
        });
        let advice = error
            .help_spanned()
            .iter()
            .map(|place| (Role::Advice, place));
        let labels = places.chain(advice).map(|(role, place)| Label {
            span: place.span.map(|span| Span {
                start_line: span.start_line,
                start_column: span.start_column,
                end_line: span.end_line,
                end_column: span.end_column,
            }),
            text: without_our_names(&place.label),
            role,
        });
        let message = without_our_names(&error.message());
        let diagnostic = Diagnostic {
            level: error.level().to_owned(),
            code: error.code().map(str::to_owned),
            // Cargo's own messages bring their level with them.
            message: message
                .strip_prefix("error: ")
                .unwrap_or(&message)
                .to_owned(),
            labels: labels.collect(),
            children: children(&error.json),
            hint: error.evcxr_extra_hint().map(str::to_owned),
            rendered: without_our_names(&error.rendered()),
        };
        diagnostic.with_mutability_hint()
    }
}

/// The notes and helps in rustc's JSON:
/// <https://doc.rust-lang.org/rustc/json.html#diagnostics>.
fn children(json: &Value) -> Vec<Child> {
    let text = |value: &Value| {
        value
            .as_str()
            .map(without_our_names)
            .filter(|text| !text.is_empty())
    };
    let children = json["children"].as_array();
    children
        .into_iter()
        .flatten()
        .filter_map(|child| {
            // One of several replacements alone would mislead.
            let place = match child["spans"].as_array().map(Vec::as_slice) {
                Some([place]) => Some(place),
                _ => None,
            };
            Some(Child {
                level: text(&child["level"])?,
                message: text(&child["message"])?,
                replacement: place.and_then(|place| text(&place["suggested_replacement"])),
            })
        })
        .collect()
}

/// What follows the user's code in the crate that evcxr generates would mean nothing to the user.
fn without_our_names(text: &str) -> String {
    text.replace("`evcxr_variable_store`", "the end of the cell")
        .replace("<end of input>", "the end of the cell")
}

impl Diagnostic {
    /// Replaces the proposal to write `mut` where the variable is declared, if that is in another
    /// cell: it would change nothing there.
    fn with_mutability_hint(mut self) -> Diagnostic {
        let is_about_it = matches!(self.code.as_deref(), Some("E0384" | "E0594" | "E0596"));
        let is_in_cell = |label: &Label| label.role == Role::Advice && label.span.is_some();
        if !is_about_it || self.labels.iter().any(is_in_cell) {
            return self;
        }
        let is_mut = |code: &String| code.trim() == "mut";
        self.children
            .retain(|child| !child.replacement.as_ref().is_some_and(is_mut));
        let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let name = self
            .message
            .split('`')
            .nth(1)
            .filter(is_name)
            .unwrap_or("x");
        self.hint = Some(format!(
            "a variable of an earlier cell becomes mutable with: let mut {name} = {name};"
        ));
        self
    }
}

fn cell_error(diagnostics: &[Diagnostic], source: &str, cell_name: &str) -> CellError {
    let mut shown: Vec<&Diagnostic> = Vec::new();
    for diagnostic in diagnostics {
        // evcxr compiles a cell more than once, and may say the same again.
        if diagnostic.level == "error" && !shown.contains(&diagnostic) {
            shown.push(diagnostic);
        }
    }
    if shown.is_empty() {
        shown = diagnostics.iter().collect();
    }
    let Some(first) = shown.first() else {
        return CellError::plain("CompileError", "the cell does not compile");
    };
    let mut evalue = first
        .message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    match shown.len() - 1 {
        0 => {}
        1 => evalue.push_str(" (and 1 more error)"),
        more => evalue.push_str(&format!(" (and {more} more errors)")),
    }
    CellError {
        ename: first
            .code
            .clone()
            .unwrap_or_else(|| "CompileError".to_owned()),
        evalue,
        traceback: shown
            .iter()
            .map(|diagnostic| render(diagnostic, source, cell_name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn diagnostic(level: &str, code: Option<&str>, message: &str) -> Diagnostic {
        Diagnostic {
            level: level.to_owned(),
            code: code.map(str::to_owned),
            message: message.to_owned(),
            ..Diagnostic::default()
        }
    }

    #[test]
    fn the_first_error_names_them_all() {
        let first = diagnostic("error", Some("E0425"), "cannot find\n   value `y`");
        let second = diagnostic("error", None, "expected `;`");
        let warning = diagnostic("warning", None, "unused");
        let error = |list: &[&Diagnostic]| {
            let list: Vec<Diagnostic> = list.iter().map(|&it| it.clone()).collect();
            cell_error(&list, "y", "In [1]")
        };

        let one = error(&[&warning, &first, &first]);
        assert_eq!(one.ename, "E0425");
        assert_eq!(one.evalue, "cannot find value `y`");
        assert_eq!(one.traceback.len(), 1);

        let two = error(&[&first, &second]);
        assert_eq!(two.evalue, "cannot find value `y` (and 1 more error)");
        assert_eq!(two.traceback.len(), 2);

        let three = error(&[&second, &first, &diagnostic("error", None, "third")]);
        assert_eq!(three.ename, "CompileError");
        assert_eq!(three.evalue, "expected `;` (and 2 more errors)");

        assert_eq!(error(&[&warning]).evalue, "unused");
        assert_eq!(error(&[]).ename, "CompileError");
    }

    #[test]
    fn notes_and_helps_are_read_from_the_json_of_rustc() {
        let place = |code: &str| json!({"suggested_replacement": code});
        let json = json!({"children": [
            {"level": "note", "message": "found `evcxr_variable_store`", "spans": []},
            {"level": "help", "message": "try", "spans": [place("x.y()")]},
            {"level": "help", "message": "wrap", "spans": [place("Some("), place(")")]},
            {"level": "help", "message": "remove it", "spans": [place("")]},
            {"level": "note", "message": ""},
            "no object",
        ]});
        let child = |level: &str, message: &str, replacement: Option<&str>| Child {
            level: level.to_owned(),
            message: message.to_owned(),
            replacement: replacement.map(str::to_owned),
        };
        assert_eq!(
            children(&json),
            [
                child("note", "found the end of the cell", None),
                child("help", "try", Some("x.y()")),
                child("help", "wrap", None),
                child("help", "remove it", None),
            ]
        );
        assert_eq!(children(&Value::Null), []);
    }

    #[test]
    fn a_variable_of_another_cell_is_made_mutable_in_this_one() {
        let message = "cannot borrow `v` as mutable, as it is not declared as mutable";
        let proposal = Child {
            level: "help".to_owned(),
            message: "consider changing this to be mutable".to_owned(),
            replacement: Some("mut ".to_owned()),
        };
        let other = Child {
            replacement: Some("&mut v".to_owned()),
            ..proposal.clone()
        };
        let error = Diagnostic {
            children: vec![proposal, other.clone()],
            ..diagnostic("error", Some("E0596"), message)
        };
        let hinted = error.clone().with_mutability_hint();
        assert!(
            hinted
                .hint
                .is_some_and(|hint| hint.ends_with("let mut v = v;"))
        );
        assert_eq!(hinted.children, [other]);

        let declared_here = Diagnostic {
            labels: vec![Label {
                span: Some(Span {
                    start_line: 1,
                    start_column: 5,
                    end_line: 1,
                    end_column: 5,
                }),
                text: "help: consider changing this to be mutable: `mut `".to_owned(),
                role: Role::Advice,
            }],
            ..error
        };
        assert_eq!(declared_here.clone().with_mutability_hint(), declared_here);

        let field = diagnostic("error", Some("E0594"), "cannot assign to `a.b`");
        let hint = field.with_mutability_hint().hint;
        assert!(hint.is_some_and(|hint| hint.ends_with("let mut x = x;")));
        assert_eq!(
            diagnostic("error", Some("E0308"), message)
                .with_mutability_hint()
                .hint,
            None
        );
    }
}
