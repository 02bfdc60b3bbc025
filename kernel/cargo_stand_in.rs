//! Offers the pinned versions to Cargo each time that evcxr starts it.
//!
//! Cargo drops from the lock file what a session has no use for. evcxr lets it look at each new
//! dependency alone and then at all together, so nothing that was put there before a cell is left
//! when it matters. So where versions are pinned, this program stands in for Cargo, puts them back,
//! and becomes Cargo.
//!
//! evcxr looks for Cargo in `PATH`, and asks rustup before where there is one. A folder that comes
//! first in `PATH` holds links of both names to this program. It is there only where versions are
//! pinned.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::pins;
use crate::toolchain::Toolchain;
use crate::workdir::{STAND_INS, WorkDir};

const CARGO: &str = "cargo";
const RUSTUP: &str = "rustup";
/// A link to the true Cargo.
const TRUE_CARGO: &str = "true-cargo";

/// Where this process was started as Cargo or rustup: does its part, becomes that program, and does
/// not return. Else does nothing.
pub fn stand_in() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_name);
    let arguments: Vec<OsString> = arguments.collect();
    let Some(cells) = std::env::var_os("EVCXR_TMPDIR").map(PathBuf::from) else {
        return;
    };
    let folder = cells.with_file_name(STAND_INS);
    let program = if name == Some(CARGO.as_ref()) {
        let here = std::env::current_dir().ok();
        // The kernel has made its cache that of all its children.
        if here.is_some()
            && here == cells.canonicalize().ok()
            && let Some(cache) = dirs::cache_dir()
        {
            pins::offer(&cache, &cells.join(pins::FILE));
        }
        std::fs::read_link(folder.join(TRUE_CARGO)).ok()
    } else if name == Some(RUSTUP.as_ref()) {
        if arguments == ["which", CARGO] {
            println!("{}", folder.join(CARGO).display());
            std::process::exit(0);
        }
        elsewhere(RUSTUP, &folder)
    } else {
        return;
    };
    let Some(program) = program else {
        eprintln!("memtrack-kernel: the program that it stands in for was not found");
        std::process::exit(127);
    };
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("memtrack-kernel: {}: {error}", program.display());
    std::process::exit(126);
}

/// Stands in for Cargo from now on, if `cache` holds pinned versions.
///
/// # Errors
/// Where the links cannot be made.
pub fn prepare(cache: &Path, work_dir: &WorkDir, toolchain: &Toolchain) -> Result<()> {
    let folder = work_dir.stand_ins();
    if !cache.join(pins::FILE).is_file() || folder.exists() {
        return Ok(());
    }
    let Some(cargo) = true_cargo(toolchain) else {
        return Ok(());
    };
    let program = std::env::current_exe()?;
    let rustup = elsewhere(RUSTUP, &folder);
    let make = || -> std::io::Result<()> {
        let draft = folder.with_extension("draft");
        std::fs::create_dir_all(&draft)?;
        symlink(&cargo, draft.join(TRUE_CARGO))?;
        symlink(&program, draft.join(CARGO))?;
        if rustup.is_some() {
            symlink(&program, draft.join(RUSTUP))?;
        }
        std::fs::rename(draft, &folder)
    };
    make().with_context(|| format!("{} cannot be made", folder.display()))
}

/// Cargo where evcxr would find it: past rustup's proxy.
fn true_cargo(toolchain: &Toolchain) -> Option<PathBuf> {
    let asked = Command::new(RUSTUP).args(["which", CARGO]).output();
    let path = asked
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| PathBuf::from(text.trim()));
    path.or_else(|| toolchain.cargo.clone())
}

/// A program in the folders of `PATH` but this one.
fn elsewhere(name: &str, folder: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let others = std::env::split_paths(&path).filter(|it| it != folder);
    let others = std::env::join_paths(others).ok()?;
    which::which_in(name, Some(others), std::env::current_dir().ok()?).ok()
}
