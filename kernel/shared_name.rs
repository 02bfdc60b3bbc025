//! Gives each build of candle's shared library a name of its own for the loader.
//!
//! Cargo always calls it the same. But a later `:dep` can change the features of something that
//! candle depends on; then the library is compiled anew, and what new cells need is not in the one
//! that the running process has loaded. The loader takes libraries of one name for the same, so it
//! would not load the new one. This program stands in for rustc, and so it can have the linker
//! write a name into the library that tells its builds apart; a link leads from it to the file.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::carried::CANDLE_FACADE;
use crate::dep_info;

const ARGUMENT: &str = "link-arg=-Wl,-soname,";

/// Where this process stands in for rustc and is to compile candle's shared library: starts itself
/// anew with the linker's argument added, and does not return. Else does nothing.
pub fn give() {
    if std::env::var("CARGO_PKG_NAME").as_deref() != Ok(CANDLE_FACADE) {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = std::env::var(dep_info::TARGET).unwrap_or_default();
    let Some(library) = Library::of(&arguments, &target) else {
        return;
    };
    library.lead_to_file();
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut command = Command::new(program);
    command.args(&arguments);
    command.arg("-C").arg(format!("{ARGUMENT}{}", library.name));
    let error = command.exec();
    eprintln!("memtrack-kernel: candle's library gets no name of its own: {error}");
}

/// A shared library that rustc is asked to make.
struct Library {
    /// Cargo's name for the file.
    file: String,
    /// The name that tells it from other builds.
    name: String,
    folder: PathBuf,
}

impl Library {
    /// `None` where these arguments of rustc make no shared library, or its name is there already.
    /// `target` is the folder that evcxr compiles in.
    fn of(arguments: &[String], target: &str) -> Option<Library> {
        let value = |option| dep_info::value_of(option, arguments);
        let named = arguments.iter().any(|it| it.starts_with(ARGUMENT));
        if named || value("--crate-type")? != "dylib" {
            return None;
        }
        let folder = PathBuf::from(value("--out-dir")?);
        let crate_name = value("--crate-name")?;
        let mut hasher = DefaultHasher::new();
        // The folder differs from session to session; the builds in it do not, and a library that
        // is linked to the same name can come out of evcxr's cache.
        for argument in arguments {
            match target {
                "" => argument.hash(&mut hasher),
                target => argument.replace(target, "").hash(&mut hasher),
            }
        }
        Some(Library {
            file: format!("lib{crate_name}.so"),
            name: format!("lib{crate_name}-{:016x}.so", hasher.finish()),
            folder,
        })
    }

    /// Makes links of the library's name to its file, beside it and where cells are loaded from.
    fn lead_to_file(&self) {
        // What a process has loaded must not be written over.
        let _ = std::fs::remove_file(self.folder.join(&self.file));
        let folders = [Some(self.folder.as_path()), self.folder.parent()];
        for folder in folders.into_iter().flatten() {
            let link = folder.join(&self.name);
            let _ = std::fs::remove_file(&link);
            let _ = std::os::unix::fs::symlink(OsString::from(&self.file), link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(out: &str, dependency: &str) -> Vec<String> {
        let line = format!(
            "rustc --crate-name memtrack_candle_1 --crate-type dylib -C opt-level=2 --out-dir \
             {out}/debug/deps -L dependency={out}/release/deps --extern \
             candle={out}/debug/deps/lib{dependency}.rlib"
        );
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn builds_differ_by_what_they_are_made_of_and_not_by_the_session() {
        let name = |out, dependency| {
            let library = Library::of(&arguments(out, dependency), out).unwrap();
            library.name
        };
        assert_eq!(name("/tmp/a", "candle-1"), name("/tmp/b", "candle-1"));
        assert_ne!(name("/tmp/a", "candle-1"), name("/tmp/a", "candle-2"));
        assert!(name("/tmp/a", "candle-1").starts_with("libmemtrack_candle_1-"));
    }

    #[test]
    fn only_shared_libraries_without_a_name_get_one() {
        let mut given = arguments("/tmp/a", "candle-1");
        given.push(format!("{ARGUMENT}libx.so"));
        assert!(Library::of(&given, "").is_none());
        let rlib = arguments("/tmp/a", "candle-1")
            .join(" ")
            .replace("dylib", "lib");
        let rlib: Vec<String> = rlib.split(' ').map(str::to_owned).collect();
        assert!(Library::of(&rlib, "").is_none());
    }

    #[test]
    fn links_lead_to_the_file_and_the_old_file_makes_way() {
        let target = tempfile::tempdir().unwrap();
        let out = target.path().to_str().unwrap();
        let debug = target.path().join("debug");
        std::fs::create_dir_all(debug.join("deps")).unwrap();
        std::fs::write(debug.join("deps/libmemtrack_candle_1.so"), "old").unwrap();
        let library = Library::of(&arguments(out, "candle-1"), out).unwrap();
        library.lead_to_file();
        library.lead_to_file();
        assert!(!debug.join("deps").join(&library.file).exists());
        for folder in [debug.join("deps"), debug] {
            std::fs::write(folder.join(&library.file), "new").unwrap();
            assert_eq!(std::fs::read(folder.join(&library.name)).unwrap(), b"new");
        }
    }
}
