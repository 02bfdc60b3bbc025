//! The library of the cell that evcxr runs before all others, kept for later sessions: it is always
//! the same, and to compile it takes as long as any cell.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::files;

/// There when a session has compiled its first cell.
const BEGUN: &str = "begun";

/// Where the library is kept.
pub struct First {
    kept: PathBuf,
}

impl First {
    /// `None` if the session has compiled a cell before. `invocation` is the file that keeps how rustc
    /// is started for it, `session` the kernel's folder.
    pub fn of(invocation: &Path, code: &str, session: &Path) -> Option<First> {
        File::create_new(session.join(BEGUN)).ok()?;
        let mut hasher = DefaultHasher::new();
        code.hash(&mut hasher);
        let name = invocation.file_stem()?.to_str()?;
        let kept = invocation.with_file_name(format!("{name}-{:016x}.so", hasher.finish()));
        Some(First { kept })
    }

    /// Puts the library there, if it was kept.
    pub fn provide(&self, library: &Path) -> bool {
        let folder = library.parent().unwrap_or(library);
        self.kept.is_file()
            && std::fs::create_dir_all(folder).is_ok()
            && std::fs::copy(&self.kept, library).is_ok()
    }

    /// Keeps the library.
    pub fn keep(&self, library: &Path) {
        let write = || {
            let content = std::fs::read(library)?;
            files::write(&self.kept, |file| Ok(file.write_all(&content)?))?;
            // If the machine stops now, half a library must not be left for good.
            Ok::<_, anyhow::Error>(File::open(&self.kept)?.sync_all()?)
        };
        if let Err(error) = write() {
            eprintln!("memtrack-kernel: the next start takes longer: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_cell_of_a_session_is_kept_and_only_for_the_same_code() {
        let folder = tempfile::tempdir().unwrap();
        let invocation = folder.path().join("cell-1f.json");
        let library = folder.path().join("deps/libctx.so");
        let of = |code: &str| {
            let session = tempfile::tempdir().unwrap();
            let first = First::of(&invocation, code, session.path());
            assert!(First::of(&invocation, code, session.path()).is_none());
            first
        };
        let first = of("42").unwrap();
        assert!(!first.provide(&library));

        let made = folder.path().join("made.so");
        std::fs::write(&made, "machine code").unwrap();
        first.keep(&made);
        assert!(!of("43").unwrap().provide(&library));
        assert!(!library.exists());
        assert!(of("42").unwrap().provide(&library));
        assert_eq!(std::fs::read(&library).unwrap(), b"machine code");
    }
}
