//! The folder in which this kernel compiles, the folder that keeps compiled dependencies, and the
//! environment that both need. Nothing of the first is left when the kernel ends.

use std::env::split_paths;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result};
use memtrack::cuda_toolkit::CudaToolkit;

use crate::answers;
use crate::cargo_config;
use crate::cell_compile;
use crate::pins;
use crate::std_source;
use crate::support::Support;
use crate::toolchain::Toolchain;
use crate::variables;

/// What the names of kernels' folders begin with.
pub const PREFIX: &str = "memtrack-kernel-";
/// The same while the folder is not locked yet.
const NEW_PREFIX: &str = "memtrack-new-";
/// The folder of the crate that evcxr makes of cells, in ours.
const CRATE: &str = "cells";
/// The folder for the compiler's and linker's temporary files, in ours.
const TEMPORARY: &str = "tmp";
/// The folder of links to carried crates, in the folder of the crate.
const LINKS: &str = "carried";
/// The folder of std's crates, in ours.
const STD_SOURCE: &str = "std";
/// The folder of programs that stand in for others, in ours.
pub const STAND_INS: &str = "bin";
const CACHE_HOME: &str = "XDG_CACHE_HOME";
const TMPDIR: &str = "TMPDIR";
const PATH: &str = "PATH";
/// Names the compiler for Cargo and rust-analyzer.
pub const RUSTC: &str = "RUSTC";

/// The kernel's own temporary folder.
pub struct WorkDir {
    path: PathBuf,
    /// Tells other kernels that this one lives, and cleaners of old files to spare it. A process number
    /// would not: those of containers that share a temporary folder are not each other's.
    lock: Mutex<File>,
    /// What the user's environment has of the variables that are set for the compiler.
    original: [(&'static str, Option<OsString>); 5],
}

impl WorkDir {
    /// Makes the folder, removes those of kernels that were killed, and sets this process's
    /// environment so that evcxr uses it.
    ///
    /// # Errors
    /// Where no folder can be made.
    pub fn create() -> Result<WorkDir> {
        let base = base();
        remove_abandoned(&base);
        let new = tempfile::Builder::new()
            .prefix(&format!("{NEW_PREFIX}{}-", std::process::id()))
            .tempdir_in(&base)
            .with_context(|| {
                format!(
                    "no folder can be made in {}: set TMPDIR to a folder that can be written",
                    base.display()
                )
            })?;
        let name = new.path().file_name().unwrap_or_default().to_string_lossy();
        let path = base.join(name.replacen(NEW_PREFIX, PREFIX, 1));
        let lock = fill(new.path())
            .and_then(|lock| Ok((lock, std::fs::rename(new.keep(), &path)?)))
            .map(|(lock, ())| Mutex::new(lock))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let original = [CACHE_HOME, TMPDIR, PATH, RUSTC, std_source::VARIABLE]
            .map(|name| (name, std::env::var_os(name)));
        // One level down, so that a configuration of Cargo's in our folder holds there: evcxr
        // writes its own beside the crate.
        variables::set("EVCXR_TMPDIR", path.join(CRATE));
        // evcxr keeps compiled dependencies in the user's cache folder under a name of its
        // own; a folder of ours keeps the two programs out of each other's way.
        if let Some(cache) = cache_dir() {
            variables::set(CACHE_HOME, cache);
        }
        // A linker that is killed leaves its temporary files behind: they go with our folder.
        variables::set(TMPDIR, path.join(TEMPORARY));
        let folders = std::env::var_os(PATH).unwrap_or_default();
        let folders = std::iter::once(path.join(STAND_INS)).chain(split_paths(&folders));
        if let Ok(folders) = std::env::join_paths(folders) {
            variables::set(PATH, folders);
        }
        // rust-analyzer asks a dozen things of Cargo and this of rustc: without rustup's proxy in
        // between, 10 ms each, and most of them were asked before.
        if std::env::var_os(RUSTC).is_none() {
            variables::set(RUSTC, asked_rustc(&path));
        }
        // Not there unless it is needed: rust-analyzer then looks into the toolchain.
        if std::env::var_os(std_source::VARIABLE).is_none() {
            variables::set(std_source::VARIABLE, path.join(STD_SOURCE));
        }
        Ok(WorkDir {
            path,
            lock,
            original,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder is there. Somebody may have cleared the system's temporary folder.
    pub fn is_there(&self) -> bool {
        self.stand_ins().is_dir() && self.crate_path().is_dir()
    }

    /// Makes the folder anew, without what others put into it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn make_again(&self) -> Result<()> {
        let make = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.path)?;
            let lock = fill(&self.path)?;
            *self.lock.lock().unwrap_or_else(|it| it.into_inner()) = lock;
            Ok(())
        };
        make().with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// The folder in which rust-analyzer looks for the source of std first; made only where it is
    /// needed.
    pub fn std_source(&self) -> PathBuf {
        self.path.join(STD_SOURCE)
    }

    /// The folder of programs that stand in for others, the first in `PATH`.
    pub fn stand_ins(&self) -> PathBuf {
        self.path.join(STAND_INS)
    }

    /// What cells are linked with. What it names is not there where it could not be made.
    pub fn support(&self) -> Support {
        let link = self.stand_ins().join(cell_compile::SUPPORT);
        Support::at(std::fs::read_link(&link).unwrap_or(link))
    }

    /// The file that leaves it to evcxr how values are shown.
    pub fn evcxr_display(&self) -> PathBuf {
        self.stand_ins().join(cell_compile::EVCXR_DISPLAY)
    }

    /// The file that has the stand-in for Cargo ask rustc for types.
    pub fn asks_types(&self) -> PathBuf {
        self.stand_ins().join(cell_compile::TYPES)
    }

    /// The manifest of the crate that evcxr makes of cells.
    pub fn manifest(&self) -> PathBuf {
        self.crate_path().join("Cargo.toml")
    }

    /// Cargo's lock file of the crate that evcxr makes of cells.
    pub fn lock_file(&self) -> PathBuf {
        self.crate_path().join(pins::FILE)
    }

    /// The folder of the crate that evcxr makes of cells.
    pub fn crate_path(&self) -> PathBuf {
        self.path.join(CRATE)
    }

    /// Makes a link to a folder in the folder of the cells' crate, and tells its path.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn link(&self, folder: &Path) -> Result<PathBuf> {
        let links = self.crate_path().join(LINKS);
        let link = links.join(folder.file_name().unwrap_or_default());
        let made = std::fs::create_dir_all(&links)
            .and_then(|()| std::os::unix::fs::symlink(folder, &link));
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("{} cannot be made", link.display()))
            }
            _ => Ok(link),
        }
    }

    /// Tells Cargo how to compile what cells depend on. `cudarc` is the version of CUDA that cudarc
    /// is compiled for where a dependency leaves it open, as in its features.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn configure_cargo(&self, cuda: &CudaToolkit, cudarc: Option<u32>) -> Result<()> {
        let folder = self.path.join(".cargo");
        let file = folder.join("config.toml");
        let text = cargo_config::text(cuda, cudarc);
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Gives the child the environment that the user's code should see.
    pub fn prepare_child(&self, command: &mut Command, toolchain: &Toolchain, cuda: &CudaToolkit) {
        for (name, value) in &self.original {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        for ours in ["EVCXR_TMPDIR", "MEMTRACK_PROGRESS", "MEMTRACK_KERNEL_PID"] {
            command.env_remove(ours);
        }
        // Cells find libstd by a relative path that is right only if the compile folder and the
        // toolchain share no folder; with this it does not matter where they are.
        let inherited = std::env::var_os("LD_LIBRARY_PATH").filter(|path| !path.is_empty());
        let parts = toolchain
            .target_libdir
            .iter()
            .cloned()
            .chain(inherited.iter().flat_map(split_paths))
            // CUDA's libraries that the loader does not find by itself; last, so that the user's
            // own choice comes before.
            .chain(cuda.folders_out_of_reach().into_iter().map(Path::to_owned));
        if let Ok(path) = std::env::join_paths(parts) {
            command.env("LD_LIBRARY_PATH", path);
        }
    }

    /// Removes the folder.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What stands in for the compiler, in the folder of a kernel. Set as `RUSTC` for what the kernel
/// starts, but for the user's own programs.
pub fn asked_rustc(folder: &Path) -> PathBuf {
    folder.join(STAND_INS).join(answers::ASKED_RUSTC)
}

/// Where compiled dependencies are kept: `MEMTRACK_CACHE_DIR`, else `memtrack` in the user's cache
/// folder. The same all the time, though the kernel makes it the cache folder of its children.
pub fn cache_dir() -> Option<PathBuf> {
    static CACHE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        std::env::var_os("MEMTRACK_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| dirs::cache_dir().map(|dir| dir.join("memtrack")))
    };
    CACHE.get_or_init(find).clone()
}

/// The system's temporary folder, if sockets in a folder of ours there have names short enough: a
/// socket's path may have 107 bytes.
fn base() -> PathBuf {
    const ROOM: usize = 107 - "/memtrack-kernel-4194304-123456/zmq-65535".len();
    let base = std::env::temp_dir();
    if base.as_os_str().len() <= ROOM {
        base
    } else {
        PathBuf::from("/tmp")
    }
}

/// Removes folders of kernels that no longer live: one that was killed could not do it.
fn remove_abandoned(base: &Path) {
    let entries = std::fs::read_dir(base);
    for entry in entries.into_iter().flatten().flatten() {
        let is_ours = |name: &str| name.starts_with(PREFIX);
        if entry.file_name().to_str().is_some_and(is_ours) && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether the kernel of a folder has ended. Where that cannot be told, it has not.
fn is_abandoned(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| folder.try_lock().is_ok())
}

/// Puts into a folder what belongs there from the start, and locks it.
fn fill(folder: &Path) -> std::io::Result<File> {
    let lock = File::open(folder)?;
    // Fails where the file system has no locks; then nobody can take it for abandoned either.
    let _ = lock.try_lock();
    // rust-analyzer writes the code before evcxr would make a folder for it.
    std::fs::create_dir_all(folder.join(CRATE).join("src"))?;
    std::fs::create_dir_all(folder.join(TEMPORARY))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_a_living_kernel_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = base.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        // Whether there is a process of that number says nothing.
        let alive = folder("memtrack-kernel-4194303-aaaaaa");
        let killed = folder("memtrack-kernel-1-bbbbbb");
        let beginning = folder("memtrack-new-1-cccccc");
        let foreign = folder("memtrack-notes");
        let lock = fill(&alive).unwrap();
        drop(fill(&killed).unwrap());

        remove_abandoned(base.path());
        assert!(alive.exists() && beginning.exists() && foreign.exists());
        assert!(!killed.exists());
        drop(lock);
        remove_abandoned(base.path());
        assert!(!alive.exists());
    }
}
