//! What rustc says of itself, kept for later sessions. Cargo and rust-analyzer ask it some twenty
//! times before the first use of a dependency: what version it is, what files it would make, what
//! `cfg` a target has. That takes 10 to 25 ms each time, one after the other, and never changes.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::cell_compile::{SUPPORT, TRUE_RUSTC};
use crate::files;
use crate::workdir::STAND_INS;

/// A link to this program, among the stand-ins. Not `rustc`: their folder is the first of `PATH`.
pub const ASKED_RUSTC: &str = "asked-rustc";

/// The folder of the answers, in that of [`crate::support::Support`].
const FOLDER: &str = "answers";

/// What changes answers and is no argument.
const VARIABLES: [&str; 4] = [
    "RUSTC_BOOTSTRAP",
    "RUSTC_FORCE_RUSTC_VERSION",
    "RUSTC_OVERRIDE_VERSION_STRING",
    "RUST_TARGET_PATH",
];

/// An answer, and what was asked.
#[derive(Serialize, Deserialize)]
struct Answer {
    arguments: Vec<String>,
    stdout: String,
    stderr: String,
}

/// Where this process was started in rustc's place: answers what it knows, becomes rustc under the
/// name of the link, and does not return. Else, and where it is to compile a crate, does nothing.
pub fn answer() {
    let mut given = std::env::args_os();
    let name = given.next().map(PathBuf::from).unwrap_or_default();
    let mut arguments: Vec<OsString> = given.collect();
    let is_link = name.file_name() == Some(ASKED_RUSTC.as_ref());
    let stand_ins = match (is_link, name.parent()) {
        (true, Some(folder)) => folder.to_owned(),
        _ => match std::env::var_os("EVCXR_TMPDIR") {
            Some(cells) => Path::new(&cells).with_file_name(STAND_INS),
            None => return,
        },
    };
    let Ok(rustc) = std::fs::read_link(stand_ins.join(TRUE_RUSTC)) else {
        return;
    };
    if !is_link {
        // As Cargo starts a stand-in: with the name of the true one first.
        if arguments.first().map(Path::new) != Some(&rustc) {
            return;
        }
        arguments.remove(0);
    }
    if let Some(texts) = question(&arguments)
        && let Some(file) = file(&stand_ins, &rustc, &texts)
    {
        let known = std::fs::read(&file).ok();
        let known = known.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
        match known.filter(|known| known.arguments == texts) {
            Some(answer) => answer.give(),
            None => ask(&rustc, texts, &file),
        }
    }
    if is_link {
        let error = Command::new(&rustc).args(arguments).exec();
        eprintln!("memtrack-kernel: rustc cannot be started: {error}");
        std::process::exit(1);
    }
}

/// The arguments, if the answer follows from them, from the compiler and from [`VARIABLES`] alone.
fn question(arguments: &[OsString]) -> Option<Vec<String>> {
    /// Of `--print`. Others depend on the machine or on what is linked.
    const PRINTED: [&str; 8] = [
        "cfg",
        "crate-name",
        "file-names",
        "split-debuginfo",
        "sysroot",
        "target-libdir",
        "target-list",
        "target-spec-json",
    ];
    const VERSION: [&str; 5] = ["-V", "-vV", "-Vv", "--version", "--verbose"];
    let texts: Vec<&str> = arguments
        .iter()
        .map(|it| it.to_str())
        .collect::<Option<_>>()?;
    let mut asked = 0;
    let mut reads_stdin = false;
    let mut rest = texts.iter();
    while let Some(text) = rest.next() {
        let printed = match (*text, text.strip_prefix("--print=")) {
            ("--print", _) => rest.next().copied(),
            (_, printed) => printed,
        };
        match (*text, printed) {
            (_, Some(printed)) if PRINTED.contains(&printed) => asked += 1,
            (text, None) if VERSION.contains(&text) => asked += 1,
            ("-", None) => reads_stdin = true,
            ("-O", None) => {}
            // A target may be described by a file, and `native` is this machine.
            ("--crate-name" | "--crate-type" | "--target" | "-Z" | "-C", None) => {
                rest.next().filter(|value| follows(value))?;
            }
            (text, None) if follows(text) && is_option(text) => {}
            _ => return None,
        }
    }
    (asked > 0 && !(reads_stdin && has_input()))
        .then(|| texts.into_iter().map(str::to_owned).collect())
}

fn is_option(text: &str) -> bool {
    ["-C", "-Z", "-W", "--crate-type=", "--target="]
        .iter()
        .any(|option| text.starts_with(option))
}

/// Whether a value means the same on every machine and at any time.
fn follows(value: &str) -> bool {
    !["native", ".json", "/", "@"]
        .iter()
        .any(|what| value.contains(what))
}

/// Whether something may come from stdin: attributes in it would change the answer.
fn has_input() -> bool {
    let null = std::fs::metadata("/dev/null").map(|about| about.rdev());
    let stdin = std::fs::metadata("/proc/self/fd/0").map(|about| about.rdev());
    !matches!((null, stdin), (Ok(null), Ok(stdin)) if null == stdin)
}

/// Where the answer is kept. `None` where nothing can be.
fn file(stand_ins: &Path, rustc: &Path, arguments: &[String]) -> Option<PathBuf> {
    let folder = stand_ins.join(SUPPORT).join(FOLDER);
    if !folder.is_dir() {
        std::fs::create_dir(&folder).ok()?;
    }
    let about = std::fs::metadata(rustc).ok()?;
    let mut hasher = DefaultHasher::new();
    // One that was replaced by another of the same version is asked again.
    (about.len(), about.mtime(), about.mtime_nsec()).hash(&mut hasher);
    VARIABLES.map(std::env::var_os).hash(&mut hasher);
    arguments.hash(&mut hasher);
    Some(folder.join(format!("{:016x}.json", hasher.finish())))
}

/// Asks rustc, keeps what it says, and passes it on.
fn ask(rustc: &Path, arguments: Vec<String>, file: &Path) {
    let output = Command::new(rustc)
        .args(&arguments)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        return;
    };
    if let (true, Ok(stdout), Ok(stderr)) = (
        output.status.success(),
        String::from_utf8(output.stdout),
        String::from_utf8(output.stderr),
    ) {
        let answer = Answer {
            arguments,
            stdout,
            stderr,
        };
        // Where it cannot be kept, it is asked again.
        let _ = files::write(file, |file| Ok(serde_json::to_writer(file, &answer)?));
        answer.give();
    }
}

impl Answer {
    fn give(&self) -> ! {
        let mut stdout = std::io::stdout();
        let written = stdout
            .write_all(self.stdout.as_bytes())
            .and_then(|()| stdout.flush())
            .and_then(|()| std::io::stderr().write_all(self.stderr.as_bytes()));
        std::process::exit(i32::from(written.is_err()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_question(arguments: &str) -> bool {
        let arguments: Vec<OsString> = arguments.split_whitespace().map(Into::into).collect();
        question(&arguments).is_some()
    }

    #[test]
    fn what_cargo_and_rust_analyzer_ask_is_a_question() {
        for asked in [
            "-vV",
            "--version --verbose",
            "--print sysroot",
            "-O --target x86_64-unknown-linux-gnu --print cfg",
            "-Z unstable-options --target x86_64-unknown-linux-gnu --print target-spec-json",
            "-Cprefer-dynamic --crate-type bin --crate-type rlib --print=sysroot --print=cfg -Wwarnings",
        ] {
            assert!(is_question(asked), "{asked}");
        }
    }

    #[test]
    fn what_depends_on_more_is_none() {
        for other in [
            "",
            "src/lib.rs",
            "--crate-name ctx src/lib.rs --print=file-names",
            "-Ctarget-cpu=native --print=cfg",
            "-C target-cpu=native --print=cfg",
            "--target my.json --print=cfg",
            "--target=my.json --print=cfg",
            "@arguments -vV",
            "--print=native-static-libs",
            "--print link-args",
            "--print",
            "--sysroot /elsewhere --print=sysroot",
            "-Zcodegen-backend=/some/backend.so --print=cfg",
            "--cfg feature --print=cfg",
        ] {
            assert!(!is_question(other), "{other}");
        }
    }
}
