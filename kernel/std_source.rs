//! Lets rust-analyzer know the types of std without a network.
//!
//! rust-analyzer asks Cargo about the workspace of Rust's standard library, and so for the sources
//! of what std depends on, which come from crates.io. Where Cargo cannot get them, rust-analyzer
//! knows that std is there but not that it depends on core, hence hardly a type of std, and `let`
//! cells do not compile. A folder of std's crates without a workspace it puts together itself: then
//! only what std takes from others is unknown, such as the inside of `HashMap`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::pins::{self, Pins};
use crate::registry::{self, Registry};
use crate::toolchain::Toolchain;
use crate::workdir::RUSTC;

/// Where rust-analyzer looks for the source of std before it looks into the toolchain.
pub const VARIABLE: &str = "RUST_SRC_PATH";

/// Makes a folder for [`VARIABLE`] if rust-analyzer needs one. The first time on a machine it
/// has Cargo load what std depends on: a second or a few.
///
/// # Errors
/// Where the folder cannot be made.
pub fn provide(folder: &Path, toolchain: &Toolchain) -> Result<()> {
    let Some(std) = Library::of(toolchain) else {
        return Ok(());
    };
    if std.is_loaded()? {
        return Ok(());
    }
    if std.cargo(&["metadata", "--format-version", "1", "--offline"]) {
        // Enough for now. With all packages of the lock file the next start need not ask Cargo.
        std::thread::spawn(move || std.load());
        return Ok(());
    }
    if std.load() {
        return Ok(());
    }
    eprintln!(
        "memtrack-kernel: the crates that Rust's standard library depends on could not be loaded, \
         so some types are not known, such as those of iterators over a HashMap: give such variables \
         a type"
    );
    take_apart(&std.folder, folder).with_context(|| format!("{} cannot be made", folder.display()))
}

/// The workspace of the standard library, in a toolchain.
pub struct Library {
    folder: PathBuf,
    sysroot: PathBuf,
    cargo: PathBuf,
}

impl Library {
    /// `None` where the toolchain has no source of std.
    pub fn of(toolchain: &Toolchain) -> Option<Library> {
        let sysroot = toolchain.sysroot.clone()?;
        let folder = sysroot.join("lib/rustlib/src/rust/library");
        folder.join("Cargo.toml").is_file().then_some(Library {
            folder,
            sysroot,
            cargo: toolchain.cargo.clone()?,
        })
    }

    /// The folder of the workspace.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The packages that its lock file names.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub fn pins(&self) -> Result<Pins> {
        Ok(Pins::read(&self.folder.join(pins::FILE))?.unwrap_or_default())
    }

    /// Whether Cargo has loaded them all.
    ///
    /// # Errors
    /// Where the lock file cannot be read.
    pub fn is_loaded(&self) -> Result<bool> {
        let registry = Registry::new(&registry::cargo_home().unwrap_or_default());
        let pins = self.pins()?;
        Ok(pins
            .packages()
            .all(|package| registry.files(package).is_some()))
    }

    /// Has Cargo load them. False where it cannot.
    pub fn load(&self) -> bool {
        self.cargo(&["fetch"])
    }

    fn cargo(&self, arguments: &[&str]) -> bool {
        let status = Command::new(&self.cargo)
            .args(arguments)
            .arg("--locked")
            .current_dir(&self.folder)
            // As rust-analyzer does: the workspace uses what only nightly Cargo reads.
            .env("__CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS", "nightly")
            .env("RUSTUP_TOOLCHAIN", &self.sysroot)
            // What the kernel has set lies in its folder, which is gone when a bundle is written.
            .env(RUSTC, self.sysroot.join("bin/rustc"))
            // A network that does not answer must not hold up the first cell.
            .env("CARGO_HTTP_TIMEOUT", "5")
            .env("CARGO_NET_RETRY", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}

/// Makes a folder of links to the crates of std.
fn take_apart(library: &Path, folder: &Path) -> std::io::Result<()> {
    let draft = folder.with_extension("draft");
    std::fs::create_dir_all(&draft)?;
    for entry in std::fs::read_dir(library)? {
        let entry = entry?;
        if entry.path().is_dir() {
            std::os::unix::fs::symlink(entry.path(), draft.join(entry.file_name()))?;
        }
    }
    std::fs::rename(draft, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_linked_and_the_workspace_is_left_out() {
        let library = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(library.path().join("core/src")).unwrap();
        std::fs::write(library.path().join("core/src/lib.rs"), "core").unwrap();
        std::fs::write(library.path().join("Cargo.toml"), "[workspace]").unwrap();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("std");
        take_apart(library.path(), &folder).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("core/src/lib.rs")).unwrap(),
            "core"
        );
        assert!(!folder.join("Cargo.toml").exists());
    }
}
