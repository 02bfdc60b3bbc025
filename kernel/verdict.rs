//! How a cell ended: one verdict from what evcxr says, what the output said, and how the process
//! that runs cells died.

use evcxr::Error;
use memtrack::record::CellStatus;

use crate::child::FAILED;
use crate::compile_error;
use crate::death::End;
use crate::engine::Evaluation;
use crate::link::Notes;
use crate::out_of_memory::{self, Held};
use crate::output::CellError;

/// How a cell ended.
#[derive(Debug)]
pub struct Verdict {
    /// In one word.
    pub status: CellStatus,
    /// Why, if it did not end well.
    pub cause: Option<String>,
    /// What the front end is told, if it did not end well.
    pub error: Option<CellError>,
}

/// Where to find what an error is about.
pub struct Place<'a> {
    /// The cell's name in messages, such as `In [3]`.
    pub cell_name: &'a str,
    /// The cell's code, magic lines blanked.
    pub code: &'a str,
    /// The same as it was compiled, where types were written into it.
    pub typed: Option<&'a str>,
    /// What rustc was given.
    pub compiled: Option<String>,
    /// The system's count of processes killed for lack of memory grew.
    pub out_of_memory: bool,
    /// What was held, if memory ran out.
    pub held: Held,
    /// The cell had begun to run.
    pub has_run: bool,
}

/// Judges an evaluation.
pub fn judge(evaluation: &Evaluation, place: &Place) -> Verdict {
    let notes = &evaluation.notes;
    if evaluation.interrupted && (evaluation.result.is_err() || evaluation.restarted) {
        let cause = if evaluation.restarted {
            "interrupted while it ran; the process that runs the cells was replaced"
        } else {
            "interrupted before it ran; nothing was lost"
        };
        return failed(CellStatus::Interrupted, "Interrupted", cause, evaluation);
    }
    match &evaluation.result {
        Ok(_) if notes.panicked => panic_verdict(&notes.panic_text, place),
        Ok(_) => match &notes.error_text {
            Some(text) => Verdict {
                status: CellStatus::Error,
                cause: Some(text.clone()),
                error: Some(CellError::plain("Error", text.clone())),
            },
            None => Verdict {
                status: CellStatus::Ok,
                cause: None,
                error: None,
            },
        },
        Err(error) if out_of_memory::killed_the_compiler(error, place) => {
            let cause = out_of_memory::compiler(place);
            failed(CellStatus::Error, "CompilerKilled", &cause, evaluation)
        }
        Err(Error::CompilationErrors(errors)) => {
            let error = compile_error::from_compilation_errors(errors, place.code, place.cell_name);
            Verdict {
                status: CellStatus::Error,
                cause: Some(format!("it did not compile: {}", error.evalue)),
                error: Some(error),
            }
        }
        Err(Error::SubprocessTerminated(message)) => {
            let cause = cause_of_death(notes, place, message);
            failed(CellStatus::Killed, "Killed", &cause, evaluation)
        }
        Err(Error::TypeRedefinedVariablesLost(names)) => {
            let cause = format!(
                "a type was redefined, so these were lost: {}",
                names.join(", ")
            );
            failed(CellStatus::Error, "TypeRedefined", &cause, evaluation)
        }
        Err(Error::Message(message)) => Verdict {
            status: CellStatus::Error,
            cause: Some(message.lines().next().unwrap_or_default().to_owned()),
            error: Some(CellError::plain("Error", message.clone())),
        },
    }
}

/// The first line of `cause` goes into the record; all of it is shown.
fn failed(status: CellStatus, ename: &str, cause: &str, evaluation: &Evaluation) -> Verdict {
    let mut message = cause.to_owned();
    if evaluation.restarted {
        message.push_str(if cause.ends_with('.') { "" } else { "." });
        message.push('\n');
        message.push_str(&told_of_lost(&evaluation.lost_variables));
    }
    let first = cause.lines().next().unwrap_or_default();
    Verdict {
        status,
        cause: Some(first.trim_end_matches('.').to_owned()),
        error: Some(CellError::plain(ename, message)),
    }
}

/// What is lost with the process that runs the cells, and what is not.
pub fn told_of_lost(variables: &[String]) -> String {
    match variables {
        [] => "No variables were lost; definitions of functions and types are kept.".to_owned(),
        _ => format!(
            "Lost variables: {}. Definitions of functions and types are kept.",
            variables.join(", ")
        ),
    }
}

fn cause_of_death(notes: &Notes, place: &Place, message: &str) -> String {
    let Some(death) = notes.death else {
        return match notes.earlier_death {
            Some(death) => format!(
                "the process that runs the cells ended before this one, which did not run: {}",
                death.describe()
            ),
            None => message.to_owned(),
        };
    };
    match (death.end, notes.failed_allocation) {
        _ if notes.stack_overflow => format!("stack overflow: {}", death.describe()),
        (End::Signal(libc::SIGKILL), _) if place.out_of_memory => out_of_memory::process(place),
        (End::Signal(libc::SIGKILL), _) if place.held.was_close() => {
            out_of_memory::perhaps(&death, place)
        }
        (End::Signal(libc::SIGABRT), Some(bytes)) => out_of_memory::allocation(bytes, place),
        (End::Exit(FAILED), _) => match (&notes.failure, place.has_run) {
            (Some(reason), true) => {
                format!("the process that runs the cells could not go on after this one: {reason}")
            }
            (Some(reason), false) => format!("the cell could not be loaded: {reason}"),
            (None, false) => format!("the cell could not be loaded: {message}"),
            (None, true) => death.describe(),
        },
        (End::Exit(_) | End::Signal(_), _) => death.describe(),
    }
}

/// A panic: its text, with its place in the cell instead of in what evcxr made of it.
fn panic_verdict(text: &str, place: &Place) -> Verdict {
    let text = text.trim();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let at = first
        .split_once("src/lib.rs:")
        .and_then(|(_, position)| position.split(':').next())
        .and_then(|line| line.parse().ok())
        .and_then(|line| line_in_cell(line, place));
    let note = rest.find("note: run with `RUST_BACKTRACE");
    let message = rest[..note.unwrap_or(rest.len())].trim();
    let (message, backtrace) = match message.split_once("stack backtrace:\n") {
        Some((message, frames)) => (message.trim(), users_frames(frames)),
        None => (message, String::new()),
    };
    let message = if message.is_empty() {
        "the cell panicked"
    } else {
        message
    };
    let heading = match at {
        Some(line) => format!(
            "\x1b[31mPanic\x1b[0m at line {line} of {}:",
            place.cell_name
        ),
        None => match first.split_once("panicked at ") {
            Some((_, other)) => format!("\x1b[31mPanic\x1b[0m at {}", other.trim()),
            None => "\x1b[31mPanic\x1b[0m:".to_owned(),
        },
    };
    let mut traceback = vec![heading, message.to_owned()];
    if let Some(code) = at.and_then(|line| place.code.lines().nth(line - 1)) {
        traceback.insert(1, format!("\x1b[2m    {}\x1b[0m", code.trim_end()));
    }
    if !backtrace.is_empty() {
        traceback.push(format!("Backtrace:\n{backtrace}"));
    }
    let evalue = message.lines().next().unwrap_or_default().to_owned();
    Verdict {
        status: CellStatus::Panic,
        cause: Some(evalue.clone()),
        error: Some(CellError {
            ename: "Panic".to_owned(),
            evalue,
            traceback,
        }),
    }
}

/// The line of the cell that became line `line` of the compiled code. evcxr copies the user's
/// statements as they are but breaks lines between them, so a line is found by its text; of
/// several equal ones, by its place in the row.
fn line_in_cell(line: usize, place: &Place) -> Option<usize> {
    let compiled: Vec<&str> = place.compiled.as_deref()?.lines().collect();
    let own = place.typed.unwrap_or(place.code);
    // evcxr puts the last expression in brackets on lines of their own, and what goes wrong in it as a
    // whole, such as a division by zero, is told of the first.
    let is_bracket = |line: &str| line.trim() == "(";
    let opens = is_bracket(compiled.get(line.checked_sub(1)?)?);
    let line = line + usize::from(opens && !own.lines().any(is_bracket));
    let text = users_part(compiled.get(line.checked_sub(1)?)?);
    if text.is_empty() {
        return None;
    }
    let contained_before = compiled[..line - 1]
        .iter()
        .filter(|other| users_part(other) == text)
        .count();
    let mut places = own
        .lines()
        .enumerate()
        .filter(|(_, own)| own.contains(text))
        .map(|(index, _)| index + 1);
    let first = places.clone().next();
    places.nth(contained_before).or(first)
}

/// A compiled line without what evcxr puts around the last expression to display it.
fn users_part(line: &str) -> &str {
    let line = line.trim();
    for display in [").evcxr_display();", ")));"] {
        if let Some(inner) = line.strip_suffix(display) {
            return inner.strip_prefix('(').unwrap_or(inner).trim();
        }
    }
    line
}

/// The frames of a backtrace between the panic machinery and evcxr's.
fn users_frames(frames: &str) -> String {
    let lines: Vec<&str> = frames.lines().collect();
    let is_frame = |line: &str| {
        line.trim_start()
            .split_once(':')
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let start = lines
        .iter()
        .rposition(|line| {
            is_frame(line)
                && (line.contains("core::panicking::")
                    || line.contains("std::panicking::begin_panic"))
        })
        .map_or(0, |index| index + 1);
    let end = lines
        .iter()
        .position(|line| {
            line.contains("run_user_code_")
                || line.contains("std::panicking::catch_unwind")
                || line.contains("panic::catch_unwind")
        })
        .map_or(lines.len(), |index| {
            index + usize::from(lines[index].contains("run_user_code_"))
        });
    if start >= end {
        return String::new();
    }
    let mut own = &lines[start..end];
    while own.first().is_some_and(|line| !is_frame(line)) {
        own = &own[1..];
    }
    own.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &'static str, compiled: &str) -> Place<'static> {
        Place {
            cell_name: "In [2]",
            code,
            typed: None,
            compiled: Some(compiled.to_owned()),
            out_of_memory: false,
            held: Held::default(),
            has_run: true,
        }
    }

    #[test]
    fn a_panic_names_the_line_of_the_cell() {
        let code = "let v = vec![1];\nv[5];";
        let compiled = "#![allow(x)]\nfn f() {\nlet v = vec![1];\nv[5];\n}";
        let text = "\nthread '<unnamed>' (12) panicked at src/lib.rs:4:1:\nindex out of bounds: \
                    the len is 1 but the index is 5\nnote: run with `RUST_BACKTRACE=1` ...\n";
        let verdict = panic_verdict(text, &place(code, compiled));
        let error = verdict.error.unwrap();
        assert_eq!(
            error.evalue,
            "index out of bounds: the len is 1 but the index is 5"
        );
        assert!(error.traceback[0].contains("line 2 of In [2]"), "{error:?}");
        assert!(error.traceback[1].contains("v[5];"));
        assert_eq!(verdict.status, CellStatus::Panic);
    }

    #[test]
    fn what_goes_wrong_in_the_last_expression_is_found_in_its_line() {
        let compiled = "fn f() {\nlet a = 3;\n(\na / zero\n).evcxr_display();\n}";
        let place = |code| place(code, compiled);
        assert_eq!(line_in_cell(3, &place("let a = 3;\na / zero")), Some(2));
        // The cell's own bracket is where it is.
        assert_eq!(
            line_in_cell(3, &place("let a = 3;\n(\na / zero\n)")),
            Some(2)
        );
    }

    #[test]
    fn a_line_with_a_type_that_was_written_into_it_is_found() {
        let place = Place {
            typed: Some("let n = 1;\nlet v: Vec<u8> = f();"),
            ..place(
                "let n = 1;\nlet v = f();",
                "fn f() {\nlet v: Vec<u8> = f();\n}",
            )
        };
        assert_eq!(line_in_cell(2, &place), Some(2));
        let text = "thread 'x' panicked at src/lib.rs:2:1:\nno\n";
        let error = panic_verdict(text, &place).error.unwrap();
        assert!(error.traceback[1].contains("let v = f();"), "{error:?}");
    }

    #[test]
    fn a_displayed_expression_is_found_in_its_line() {
        let compiled = "fn f() {\nlet n = 1; \nx(&(\nv[n])));\n}";
        assert_eq!(
            line_in_cell(4, &place("// a\nlet n = 1; v[n]", compiled)),
            Some(2)
        );
        assert_eq!(line_in_cell(1, &place("let n = 1;", compiled)), None);
    }

    #[test]
    fn a_panic_elsewhere_keeps_its_place_and_no_text_is_no_trouble() {
        let elsewhere = "thread 'x' panicked at /rustc/library/core/src/option.rs:1:2:\nnone";
        let error = panic_verdict(elsewhere, &place("", "")).error.unwrap();
        assert!(error.traceback[0].contains("option.rs:1:2"));
        assert_eq!(
            panic_verdict("", &place("", "")).cause.unwrap(),
            "the cell panicked"
        );
    }

    #[test]
    fn only_the_users_frames_are_left() {
        let frames = "   0: __rustc::rust_begin_unwind\n   1: core::panicking::panic_fmt\n   \
                      2: ctx::inner\n   3: ctx::outer\n   4: run_user_code_3\n   5: main\n";
        let own = users_frames(frames);
        assert!(own.contains("ctx::inner") && own.contains("ctx::outer"));
        assert!(!own.contains("core::panicking") && !own.contains("main"));
    }
}
