//! Mends what evcxr's cache of compiled dependencies gets wrong about their sources.
//!
//! rustc lists the files that a crate is made of, for Cargo, which compiles the crate anew where one
//! of them has changed. Of a crate with generated code, such as serde, one lies in the folder of the
//! session that compiled it. A later session takes that list out of the cache; the file is gone, so
//! Cargo would compile the crate and all that depends on it anew for every cell. This program stands
//! in for rustc; when it ends, it writes the folder of its own session into the list.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::exit;
use crate::workdir::PREFIX;

/// Where evcxr's crate is compiled. Set by evcxr for those who stand in for rustc.
pub const TARGET: &str = "EVCXR_TARGET_DIR";

static LIST: OnceLock<List> = OnceLock::new();

struct List {
    file: PathBuf,
    target: String,
}

/// Where this process stands in for rustc: mends the crate's list when the process ends.
pub fn mend_at_exit() {
    let Ok(target) = std::env::var(TARGET) else {
        return;
    };
    let arguments: Vec<String> = std::env::args().collect();
    let Some(file) = list_file(&arguments) else {
        return;
    };
    if LIST.set(List { file, target }).is_ok() {
        // evcxr ends the process itself once rustc or the cache has answered.
        exit::call_at_exit(mend);
    }
}

extern "C" fn mend() {
    let Some(list) = LIST.get() else { return };
    let Ok(text) = std::fs::read_to_string(&list.file) else {
        return;
    };
    let mended = in_this_session(&text, &list.target);
    if mended != text {
        let _ = std::fs::write(&list.file, mended);
    }
}

/// The file with the list of what a crate is made of, by rustc's arguments.
pub fn list_file(arguments: &[String]) -> Option<PathBuf> {
    let extra = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("extra-filename="))
        .unwrap_or_default();
    let name = value_of("--crate-name", arguments)?;
    let folder = PathBuf::from(value_of("--out-dir", arguments)?);
    Some(folder.join(format!("{name}{extra}.d")))
}

/// What stands behind an option of rustc.
pub fn value_of<'a>(option: &str, arguments: &'a [String]) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1).map(String::as_str)
}

/// The list with this session's folder in place of every other session's.
fn in_this_session(text: &str, target: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    // Spaces in paths are escaped, so a path ends at a space that is not.
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let start = start_of_path(rest, at);
        let end = rest[at..].find("/target/").map(|length| at + length);
        let path_end = rest[at..]
            .find(|c: char| c.is_whitespace())
            .map_or(rest.len(), |length| at + length);
        match end.filter(|end| *end < path_end) {
            Some(end) => {
                mended += &rest[..start];
                mended += &target.replace(' ', "\\ ");
                rest = &rest[end + "/target".len()..];
            }
            None => {
                mended += &rest[..path_end];
                rest = &rest[path_end..];
            }
        }
    }
    mended + rest
}

/// Where the path that has something at `at` begins.
fn start_of_path(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    (0..at)
        .rev()
        .find(|index| {
            let escaped = *index > 0 && bytes[index - 1] == b'\\';
            (bytes[*index].is_ascii_whitespace() && !escaped) || bytes[*index] == b'='
        })
        .map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_other_sessions_become_those_of_this_one() {
        let text = "/tmp/memtrack-kernel-1-a/cells/target/debug/deps/serde-1.d: /home/u/serde/lib.rs \
                    /tmp/memtrack-kernel-1-a/cells/target/debug/build/serde-2/out/private.rs\n\n\
                    /home/u/serde/lib.rs:\n\n\
                    # env-dep:OUT_DIR=/tmp/memtrack-kernel-1-a/cells/target/debug/build/serde-2/out\n";
        let mended = in_this_session(text, "/var/memtrack-kernel-2-b/cells/target");
        let expected = text.replace("/tmp/memtrack-kernel-1-a", "/var/memtrack-kernel-2-b");
        assert_eq!(mended, expected);
        assert_eq!(
            in_this_session(&mended, "/var/memtrack-kernel-2-b/cells/target"),
            mended
        );
    }

    #[test]
    fn spaces_in_folders_stay_escaped() {
        let text = "x: /my\\ tmp/memtrack-kernel-1-a/target/out.rs /b";
        let mended = in_this_session(text, "/new tmp/memtrack-kernel-2-b/cells/target");
        assert_eq!(
            mended,
            "x: /new\\ tmp/memtrack-kernel-2-b/cells/target/out.rs /b"
        );
    }

    #[test]
    fn other_paths_stay() {
        let text = "/tmp/memtrack-kernel-notes/x.rs: /src/target/y.rs memtrack-kernel-1";
        assert_eq!(in_this_session(text, "/t/target"), text);
    }

    #[test]
    fn the_list_lies_beside_what_rustc_makes() {
        let line = "x rustc --crate-name serde -C extra-filename=-1f --out-dir /t/deps";
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(list_file(&arguments), Some("/t/deps/serde-1f.d".into()));
        assert_eq!(list_file(&arguments[..3]), None);
    }
}
