//! Stands in for Cargo each time that evcxr starts it: where Cargo would only start rustc, this does
//! it (see `cell_compile.rs`); else it becomes Cargo, after it has offered the pinned versions.
//!
//! Cargo drops from the lock file what a session has no use for. evcxr lets it look at each new
//! dependency alone and then at all together, so nothing that was put there before a cell is left
//! when it matters. So versions that are pinned are put back each time.
//!
//! evcxr looks for Cargo in `PATH`, and asks rustup before where there is one. A folder that comes
//! first in `PATH` holds links of both names to this program.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::answers::ASKED_RUSTC;
use crate::cell_compile::{self, TRUE_RUSTC};
use crate::pins;
use crate::support::Support;
use crate::toolchain::Toolchain;
use crate::workdir::{RUSTC, STAND_INS, WorkDir, asked_rustc};

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
    let here = std::env::current_dir().ok();
    let is_for_cells = here.is_some() && here == cells.canonicalize().ok();
    let mut command = if name == Some(CARGO.as_ref()) && is_for_cells {
        Command::new(known(&folder.join(TRUE_CARGO)))
    } else if name == Some(CARGO.as_ref()) {
        // The user's own, from a cell's shell line: rustup's proxy may choose another.
        Command::new(elsewhere(CARGO, &folder).unwrap_or_default())
    } else if name == Some(RUSTUP.as_ref()) {
        if arguments == ["which", CARGO] {
            println!("{}", folder.join(CARGO).display());
            std::process::exit(0);
        }
        if arguments == ["which", "rustc"] {
            println!("{}", known(&folder.join(TRUE_RUSTC)).display());
            std::process::exit(0);
        }
        Command::new(elsewhere(RUSTUP, &folder).unwrap_or_default())
    } else {
        return;
    };
    if name == Some(CARGO.as_ref()) && is_for_cells {
        cell_compile::in_place_of_cargo(&cells, &arguments, &mut command);
        // The kernel has made its cache that of all its children.
        if let Some(cache) = dirs::cache_dir() {
            pins::offer(&cache, &cells.join(pins::FILE));
        }
    }
    if !is_for_cells && std::env::var_os(RUSTC) == folder.parent().map(|it| asked_rustc(it).into())
    {
        // The user's own, from a cell's shell line: which rustc is for it to find out.
        command.env_remove(RUSTC);
    }
    let error = command.args(arguments).exec();
    eprintln!(
        "memtrack-kernel: {}: {error}",
        Path::new(command.get_program()).display()
    );
    std::process::exit(126);
}

/// Where a link leads. Ends the process where there is none.
fn known(link: &Path) -> PathBuf {
    std::fs::read_link(link).unwrap_or_else(|error| {
        eprintln!("memtrack-kernel: {}: {error}", link.display());
        std::process::exit(127)
    })
}

/// Stands in for Cargo and rustup from now on. `cache` is the kernel's folder for what outlives a
/// session.
///
/// # Errors
/// Where there is no toolchain or the links cannot be made.
pub fn prepare(cache: &Path, work_dir: &WorkDir, toolchain: &Toolchain) -> Result<()> {
    let folder = work_dir.stand_ins();
    let cargo = toolchain.true_cargo().context("there is no cargo")?;
    let rustc = toolchain.true_rustc().context("there is no rustc")?;
    let program = std::env::current_exe()?;
    let rustup = elsewhere(RUSTUP, &folder);
    let support = Support::provide(cache, toolchain)
        .inspect_err(|error| eprintln!("memtrack-kernel: cells compile slower: {error:#}"))
        .ok();
    let make = || -> std::io::Result<()> {
        let _ = std::fs::remove_dir_all(&folder);
        let draft = folder.with_extension("draft");
        std::fs::create_dir_all(&draft)?;
        symlink(&cargo, draft.join(TRUE_CARGO))?;
        symlink(&rustc, draft.join(TRUE_RUSTC))?;
        symlink(&program, draft.join(CARGO))?;
        symlink(&program, draft.join(ASKED_RUSTC))?;
        if rustup.is_some() {
            symlink(&program, draft.join(RUSTUP))?;
        }
        if let Some(support) = &support {
            symlink(support.folder(), draft.join(cell_compile::SUPPORT))?;
        }
        std::fs::rename(draft, &folder)
    };
    make().with_context(|| format!("{} cannot be made", folder.display()))
}

/// A program in the folders of `PATH` but this one.
fn elsewhere(name: &str, folder: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let others = std::env::split_paths(&path).filter(|it| it != folder);
    let others = std::env::join_paths(others).ok()?;
    which::which_in(name, Some(others), std::env::current_dir().ok()?).ok()
}
