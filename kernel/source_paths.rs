//! Makes what is compiled of a dependency the same in every folder and for every user.
//!
//! evcxr's cache finds an entry by rustc's arguments. Cargo writes the absolute path of a crate's
//! source among them, and rustc writes it, and the folder of the session, into what it makes; so an
//! entry would serve one user with one `CARGO_HOME` only, and what two machines compile could not be
//! mixed: rustc refuses a crate whose dependency has another hash than the one it was compiled with.
//!
//! Cargo starts rustc in the folder of the crate. So this program, when it stands in for rustc,
//! names the source by its relative path, which goes into the key; and in a second step, which the
//! key does not see because it is taken for rustc itself, it has rustc replace the folders in what
//! it writes.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path};
use std::process::Command;

use crate::dep_info;
use crate::progress::CELL_CRATE;

/// Holds the true rustc for the second step.
const RUSTC: &str = "MEMTRACK_RUSTC";

/// Set by evcxr for those who stand in for rustc.
const WRAPPER: &str = "EVCXR_RUSTC_WRAPPER";

/// Where this process is taken for rustc: becomes rustc, and does not return. Else does nothing.
pub fn become_rustc() {
    let Some(rustc) = std::env::var_os(RUSTC) else {
        return;
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The first step starts itself anew with rustc's name still in the arguments.
    if arguments
        .first()
        .map(Path::new)
        .is_some_and(is_this_program)
    {
        return;
    }
    let mut command = Command::new(rustc);
    command.env_remove(RUSTC).args(&arguments);
    if let Ok(folder) = std::env::current_dir() {
        let target = std::env::var(dep_info::TARGET).ok();
        let source = arguments.iter().find(|it| is_source(it));
        let package = ["CARGO_PKG_NAME", "CARGO_PKG_VERSION"]
            .map(|name| std::env::var(name).unwrap_or_default())
            .join("-");
        for (from, to) in replacements(&folder, target.as_deref(), source, &package) {
            let mut argument = OsString::from("--remap-path-prefix=");
            argument.push(from);
            argument.push("=");
            argument.push(to);
            command.arg(argument);
        }
    }
    let error = command.exec();
    eprintln!("memtrack-kernel: rustc cannot be started: {error}");
    std::process::exit(1);
}

/// Where this process stands in for rustc, for a dependency whose source lies below the present
/// folder: starts itself anew with the relative path, and does not return. Else does nothing.
pub fn make_relative() {
    if std::env::var_os(WRAPPER).is_none() || std::env::var_os(RUSTC).is_some() {
        return;
    }
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (Ok(folder), Ok(program)) = (std::env::current_dir(), std::env::current_exe()) else {
        return;
    };
    let Some(source) = arguments.iter_mut().skip(1).find(|it| is_source(it)) else {
        return;
    };
    let path = Path::new(source.as_os_str());
    match path.strip_prefix(&folder) {
        Ok(relative) => *source = relative.as_os_str().to_owned(),
        // A carried crate: it lies in the folder of the cells' crate, where rustc is started.
        Err(_) if path.is_relative() && !is_cell() => {}
        Err(_) => return,
    }
    let rustc = std::mem::replace(&mut arguments[0], program.clone().into_os_string());
    let error = Command::new(program)
        .args(arguments)
        .env(RUSTC, rustc)
        .exec();
    eprintln!("memtrack-kernel: the compiled crate serves this folder alone: {error}");
}

/// Whether the crate is the one that evcxr makes of a cell, which is for this session alone.
fn is_cell() -> bool {
    std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == CELL_CRATE)
}

fn is_this_program(path: &Path) -> bool {
    std::env::current_exe().is_ok_and(|program| program == path)
}

/// Whether an argument of rustc is the file to compile.
fn is_source(argument: &OsString) -> bool {
    argument
        .to_str()
        .is_some_and(|text| text.ends_with(".rs") && !text.starts_with('-') && !text.contains('='))
}

/// What stands for the folders in what rustc writes: the crate's own, and the session's.
fn replacements(
    folder: &Path,
    target: Option<&str>,
    source: Option<&OsString>,
    package: &str,
) -> Vec<(OsString, OsString)> {
    let mut replacements = vec![(folder.as_os_str().to_owned(), OsString::from(package))];
    // A relative path is not taken to lie in the folder above; without a name of its own a panic in
    // it would be told as one in `src/lib.rs`, whichever crate that is of.
    if let Some(source) = source
        && let Some(Component::Normal(first)) = Path::new(source).components().next()
    {
        let named = Path::new(package).join(first);
        replacements.push((first.to_owned(), named.into_os_string()));
    }
    if let Some(target) = target {
        replacements.push((target.into(), "target".into()));
    }
    replacements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_told_from_other_arguments() {
        let line = "--crate-name x --edition=2021 src/lib.rs --cfg a=\"b.rs\" --out-dir /t/deps";
        let sources: Vec<OsString> = line
            .split(' ')
            .map(OsString::from)
            .filter(is_source)
            .collect();
        assert_eq!(sources, ["src/lib.rs"]);
    }

    #[test]
    fn every_folder_gets_a_name_that_is_the_same_everywhere() {
        let named = |folder: &str, target| {
            replacements(
                Path::new(folder),
                Some(target),
                Some(&"src/lib.rs".into()),
                "a-1.0.0",
            )
        };
        let one = named("/home/u/.cargo/registry/src/x/a-1.0.0", "/tmp/k-1/target");
        let other = named("/root/.cargo/registry/src/x/a-1.0.0", "/var/k-2/target");
        let names =
            |all: &[(OsString, OsString)]| all.iter().map(|(_, to)| to.clone()).collect::<Vec<_>>();
        assert_eq!(names(&one), ["a-1.0.0", "a-1.0.0/src", "target"]);
        assert_eq!(names(&one), names(&other));
    }
}
