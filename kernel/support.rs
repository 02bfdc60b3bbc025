//! What compiling cells needs beside Cargo and rustc, made once for a toolchain and kept for later
//! sessions: the compiled crate of `carried/cells`, and how to call the linker without the C compiler
//! in between.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use memtrack::probe::c_library::glibc_version;
use serde::{Deserialize, Serialize};

use crate::cell_source::CRATE;
use crate::files;
use crate::toolchain::Toolchain;

/// The folder of what is kept, in the kernel's cache.
const FOLDER: &str = "cells";
const SOURCE: &str = include_str!("carried/cells/lib.rs");
const LINKER: &str = "linker.json";

/// The folder with what was made for a toolchain.
#[derive(Debug, Clone)]
pub struct Support {
    folder: PathBuf,
}

/// A linker that rustc can call itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linker {
    /// The program, GNU's linker or one that takes its arguments.
    pub program: PathBuf,
    /// Where the C library and the compiler's own are: the C compiler would say so.
    pub folders: Vec<PathBuf>,
}

impl Support {
    /// What was made for the toolchain before, or what is made now: the first time on a machine that
    /// takes a fraction of a second. `cache` is the kernel's folder for what outlives a session.
    ///
    /// # Errors
    /// Where the crate does not compile or the folder cannot be written.
    pub fn provide(cache: &Path, toolchain: &Toolchain) -> Result<Support> {
        let rustc = toolchain.true_rustc().context("there is no rustc")?;
        let mut hasher = DefaultHasher::new();
        // Machines may share the cache; what one has linked may want a C library that another lacks.
        let c_library = glibc_version();
        (SOURCE, &toolchain.rustc_version, &rustc, c_library).hash(&mut hasher);
        let folder = format!("{:016x}", hasher.finish());
        let support = Support::at(cache.join(FOLDER).join(folder));
        if !support.rlib().is_file() || !support.library().is_file() {
            // Somebody has cleared the cache in part.
            let _ = std::fs::remove_dir_all(&support.folder);
        }
        files::provide_folder(&support.folder, |draft| {
            compile(&rustc, draft)?;
            if let Some(linker) = find_linker() {
                std::fs::write(draft.join(LINKER), serde_json::to_string(&linker)?)?;
            }
            Ok(())
        })?;
        Ok(support)
    }

    /// What lies in a folder; for those who stand in for rustc.
    pub fn at(folder: PathBuf) -> Support {
        Support { folder }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The crate that cells are linked with.
    pub fn rlib(&self) -> PathBuf {
        self.folder.join(format!("lib{CRATE}.rlib"))
    }

    /// The same as a library by itself, for the process that runs cells.
    pub fn library(&self) -> PathBuf {
        self.folder.join(format!("lib{CRATE}.so"))
    }

    /// The linker for cells that need nothing but std, if there is one.
    pub fn linker(&self) -> Option<Linker> {
        let text = std::fs::read_to_string(self.folder.join(LINKER)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Forgets the linker: it did not link.
    pub fn forget_linker(&self) {
        let _ = std::fs::remove_file(self.folder.join(LINKER));
    }
}

fn compile(rustc: &Path, into: &Path) -> Result<()> {
    let source = into.join("lib.rs");
    std::fs::write(&source, SOURCE)?;
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", CRATE])
        .args(["--crate-type", "rlib", "--crate-type", "cdylib"])
        .args(["-C", "opt-level=2", "-C", "codegen-units=1"])
        .args(["-C", "prefer-dynamic", "-C", "strip=debuginfo"])
        .arg("--out-dir")
        .arg(into)
        .arg(&source)
        .stdin(Stdio::null())
        .output()
        .context("rustc cannot be started")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

/// Asks the C compiler. `None` where it does not say, and on systems that link in other ways.
fn find_linker() -> Option<Linker> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return None;
    }
    let ask = |argument: &str| {
        let output = Command::new("cc").arg(argument).output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        // It echoes the name of what it does not find.
        (output.status.success() && path.is_absolute() && path.is_file()).then_some(path)
    };
    let program = ask("-print-prog-name=ld").or_else(|| which::which("ld").ok())?;
    let mut folders = Vec::new();
    for library in ["libgcc_s.so", "libc.so", "libm.so"] {
        let file = ask(&format!("-print-file-name={library}"))?;
        let folder = file.parent()?.canonicalize().ok()?;
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Some(Linker { program, folders })
}
