//! The folder in which this kernel compiles, the folder that keeps compiled dependencies, and the
//! environment that both need. Nothing of the first is left when the kernel ends.

use std::env::split_paths;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use memtrack::cuda_toolkit::CudaToolkit;

use crate::cargo_config;
use crate::cell_compile;
use crate::pins;
use crate::std_source;
use crate::support::Support;
use crate::toolchain::Toolchain;

/// What the names of kernels' folders begin with.
pub const PREFIX: &str = "memtrack-kernel-";
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

/// The kernel's own temporary folder.
pub struct WorkDir {
    path: PathBuf,
    /// What the user's environment has of the variables that are set for the compiler.
    original: [(&'static str, Option<OsString>); 4],
}

impl WorkDir {
    /// Makes the folder, removes those of kernels that were killed, and sets this process's
    /// environment so that evcxr uses it.
    ///
    /// # Errors
    /// Where no folder can be made.
    ///
    /// # Safety
    /// Sets environment variables: no other thread may run yet.
    pub unsafe fn create() -> Result<WorkDir> {
        let base = base();
        remove_abandoned(&base);
        let path = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(&base)
            .with_context(|| {
                format!(
                    "no folder can be made in {}: set TMPDIR to a folder that can be written",
                    base.display()
                )
            })?
            .keep();
        for folder in [CRATE, TEMPORARY] {
            std::fs::create_dir(path.join(folder))
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let original = [CACHE_HOME, TMPDIR, PATH, std_source::VARIABLE]
            .map(|name| (name, std::env::var_os(name)));
        // SAFETY: the caller's promise.
        unsafe {
            // One level down, so that a configuration of Cargo's in our folder holds there: evcxr
            // writes its own beside the crate.
            std::env::set_var("EVCXR_TMPDIR", path.join(CRATE));
            // evcxr keeps compiled dependencies in the user's cache folder under a name of its
            // own; a folder of ours keeps the two programs out of each other's way.
            if let Some(cache) = cache_dir() {
                std::env::set_var(CACHE_HOME, cache);
            }
            // A linker that is killed leaves its temporary files behind: they go with our folder.
            std::env::set_var(TMPDIR, path.join(TEMPORARY));
            let folders = std::env::var_os(PATH).unwrap_or_default();
            let folders = std::iter::once(path.join(STAND_INS)).chain(split_paths(&folders));
            if let Ok(folders) = std::env::join_paths(folders) {
                std::env::set_var(PATH, folders);
            }
            // Not there unless it is needed: rust-analyzer then looks into the toolchain.
            if std::env::var_os(std_source::VARIABLE).is_none() {
                std::env::set_var(std_source::VARIABLE, path.join(STD_SOURCE));
            }
        }
        Ok(WorkDir { path, original })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder in which rust-analyzer looks for the source of std first; made only where it is
    /// needed.
    pub fn std_source(&self) -> PathBuf {
        self.path.join(STD_SOURCE)
    }

    /// The folder of programs that stand in for others, the first in `PATH`; made only where it is
    /// needed.
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
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<i32>().ok());
        if let Some(pid) = pid
            && !Path::new(&format!("/proc/{pid}")).exists()
            && Path::new("/proc/self").exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
