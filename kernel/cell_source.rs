//! What is changed in the code that evcxr makes of a cell before rustc gets it. No line moves: evcxr
//! finds the user's code by its line.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The crate that cells refer to: see `carried/cells`.
pub const CRATE: &str = "memtrack_cells";

/// The first line of the module by which evcxr's code keeps variables, and what there is of it.
const RUNTIME: &str = "mod evcxr_internal_runtime {\n";
const RUNTIME_LINES: usize = 81;
const RUNTIME_SHA256: &str = "6aec0f4358cddd3961f5bd78c9f4f5fbd93761cd0efd856fd903ca5f896d7d64";

/// How evcxr's code ends that tries to show the last expression by a method of its type.
const DISPLAY: &str = ").evcxr_display();\n";

/// How evcxr's code names what keeps variables.
const STORE: &str = "evcxr_variable_store.";

/// The code in a file, changed there too where it names types as only std may.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn read(file: &Path) -> Result<String> {
    let code = std::fs::read_to_string(file).context("the code of the cell")?;
    let named = with_stable_names(&code);
    if let Cow::Owned(named) = &named {
        std::fs::write(file, named).context("the code of the cell")?;
    }
    Ok(named.into_owned())
}

/// The code with the stable names of atomic types where variables are kept. By Rust 1.97 `AtomicU32`
/// is another name of `Atomic<u32>`, which is what rustc and rust-analyzer tell, but not stable.
fn with_stable_names(code: &str) -> Cow<'_, str> {
    const GENERIC: &str = "::sync::atomic::Atomic<";
    if !code.contains(GENERIC) {
        return Cow::Borrowed(code);
    }
    let lines = code.split_inclusive('\n').map(|line| {
        if !line.contains(STORE) || !line.contains(GENERIC) {
            return line.to_owned();
        }
        let mut line = line.replace("::sync::atomic::Atomic<*mut ", "::sync::atomic::AtomicPtr<");
        for of in [
            "bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "isize", "usize",
        ] {
            let name = of[..1].to_uppercase() + &of[1..];
            line = line.replace(
                &format!("{GENERIC}{of}>"),
                &format!("::sync::atomic::Atomic{name}"),
            );
        }
        line
    });
    Cow::Owned(lines.collect())
}

/// The code with what [`CRATE`] has left out. `None` where there is nothing to leave out.
pub fn with_compiled_runtime(code: &str) -> Option<String> {
    let start = code.find(&format!("\n{RUNTIME}"))? + 1;
    let length: usize = code[start..]
        .split_inclusive('\n')
        .take(RUNTIME_LINES)
        .map(str::len)
        .sum();
    let (before, rest) = code.split_at(start);
    let (runtime, after) = rest.split_at(length);
    // Another version of evcxr may have another; then it is compiled with the cell.
    let sum: String = Sha256::digest(runtime)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (sum == RUNTIME_SHA256).then(|| {
        let lines = "\n".repeat(RUNTIME_LINES);
        format!("{before}use ::{CRATE}::evcxr_internal_runtime;{lines}{after}")
    })
}

/// The code with a trait in scope that shows all that is `Debug`, so that it need not be compiled a
/// second time where the type of the last expression has no method for that. `None` where the code
/// shows nothing.
pub fn with_display(code: &str) -> Option<String> {
    code.contains(DISPLAY)
        .then(|| format!("{code}#[allow(unused_imports)] use ::{CRATE}::Display as _;\n"))
}

/// Whether all that rustc complains of is that the code cannot keep a variable, such as one that the
/// cell has moved away: evcxr then leaves it out and compiles again. Any other complaint it must get
/// about its own code. The trait of [`with_display`] may be in the way of another with the same method,
/// errors in the last expression are told better where that method is missing, and rustc would offer
/// names of [`CRATE`] to the user.
pub fn is_about_variables(messages: &str) -> bool {
    let errors: Vec<Value> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["level"] == "error")
        .filter(|message| message["spans"].as_array().is_some_and(|it| !it.is_empty()))
        .collect();
    let keeps = |message: &Value| {
        let mut spans = message["spans"].as_array().into_iter().flatten();
        spans.any(|span| {
            let text = span["text"][0]["text"].as_str().unwrap_or_default();
            text.starts_with(&format!("{STORE}put_variable::<"))
        })
    };
    !errors.is_empty() && errors.iter().all(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomic_types_of_kept_variables_have_their_stable_names() {
        let kept = |name: &str| format!("{STORE}put_variable::<{name}>(stringify!(x), x);\n");
        let user = "let x: core::sync::atomic::Atomic<u8>;\n";
        let code = user.to_owned()
            + &kept("Vec<std::sync::atomic::Atomic<u8>>")
            + &kept("core::sync::atomic::Atomic<*mut Vec<u8>>")
            + &kept("atomic::Atomic<u8>");
        let expected = user.to_owned()
            + &kept("Vec<std::sync::atomic::AtomicU8>")
            + &kept("core::sync::atomic::AtomicPtr<Vec<u8>>")
            + &kept("atomic::Atomic<u8>");
        assert_eq!(with_stable_names(&code), expected);
    }

    #[test]
    fn another_runtime_stays() {
        let code = "fn a() {}\nmod evcxr_internal_runtime {\nfn other() {}\n}\n";
        assert_eq!(with_compiled_runtime(code), None);
        assert_eq!(with_compiled_runtime("fn a() {}\n"), None);
    }

    #[test]
    fn only_what_is_shown_needs_the_trait_and_no_line_moves() {
        assert_eq!(with_display("x;\n"), None);
        let code = "f(\n(\n1\n).evcxr_display();\n}\n";
        let with = with_display(code).unwrap();
        assert!(with.starts_with(code) && with.lines().count() == code.lines().count() + 1);
    }

    #[test]
    fn what_evcxr_mends_itself_is_told_from_all_else() {
        let error = |text: &str| {
            let spans = serde_json::json!([{ "text": [{ "text": text }] }]);
            serde_json::json!({ "level": "error", "spans": spans }).to_string()
        };
        let keeping = error("evcxr_variable_store.put_variable::<u8>(stringify!(x), x);");
        let end = "{\"level\":\"error\",\"message\":\"aborting\",\"spans\":[]}";
        assert!(is_about_variables(&format!("{keeping}\n{end}")));
        assert!(!is_about_variables(&format!(
            "{keeping}\n{}",
            error("f(1)")
        )));
        assert!(!is_about_variables(end) && !is_about_variables(""));
    }
}
