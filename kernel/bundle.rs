//! `memtrack-kernel bundle` and `unbundle`: compiled dependencies as one file, for a class or for a
//! fresh machine, with all that Cargo and rust-analyzer need to use them without a network.
//!
//! The file is a tar archive compressed by Zstandard. Its first member is the manifest; the others
//! are entries of evcxr's cache, pinned versions, and files of Cargo's registry. What was compiled
//! fits only the same compiler, so a bundle made with another is refused.

mod manifest;
pub mod pack;
mod place;
mod unpack;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};

use self::manifest::{Manifest, Origin};
use self::pack::Member;
use self::unpack::Homes;
use crate::Parts;
use crate::files::check_writable;
use crate::pins::{self, PackageId, Pins};
use crate::registry::{self, Registry};
use crate::run::{on_session_thread, progress};
use crate::std_source::Library;
use crate::toolchain::Toolchain;
use crate::warm::{Warmed, warm_all};
use crate::workdir::cache_dir;

/// Arguments of `bundle`.
#[derive(clap::Args)]
pub struct BundleArgs {
    /// Notebooks whose `:dep` and `%use` lines are compiled first; the bundle then holds what they
    /// need. Without any it holds all that this machine has compiled.
    notebooks: Vec<PathBuf>,
    /// The file to write, such as class.tar.zst.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Arguments of `unbundle`.
#[derive(clap::Args)]
pub struct UnbundleArgs {
    /// A file that `bundle` wrote. It holds compiled code: take it only from those you trust.
    file: PathBuf,
}

/// Writes a bundle. `parts` makes a session, if there is something to compile. The exit code is 1
/// if a notebook's dependencies could not be compiled; the bundle then holds the others.
///
/// # Errors
/// Where there is nothing to pack, or the file cannot be written.
pub fn bundle(arguments: BundleArgs, parts: impl FnOnce() -> Result<Parts>) -> Result<ExitCode> {
    check_writable(&arguments.output)?;
    let (cache, cargo_home) = homes()?;
    let toolchain = Toolchain::find();
    let origin = Origin::here(&toolchain)?;
    let warmed = match arguments.notebooks {
        notebooks if notebooks.is_empty() => all(&cache)?,
        notebooks => on_session_thread(parts()?, move |parts| warm_all(&notebooks, parts))??,
    };
    let start = Instant::now();
    let mut members = pack::entries(&cache, warmed.began)?;
    if members.is_empty() {
        bail!(
            "nothing is compiled in {}: name notebooks, whose dependencies are compiled then",
            cache.display()
        );
    }
    let compiled = pack::count_entries(&members);
    let mut packages: BTreeSet<PackageId> = warmed.pins.packages().cloned().collect();
    // Without these rust-analyzer hardly knows a type.
    if let Some(std) = Library::of(&toolchain) {
        if !std.is_loaded()? {
            std.load();
        }
        packages.extend(std.pins()?.packages().cloned());
    }
    let missing = add_registry(&packages, &cargo_home, &mut members);
    members.push(Member::pins(&warmed.pins)?);
    let manifest = Manifest::new(origin, compiled, &warmed.pins, &members);
    let size = pack::write(&arguments.output, &manifest, members)?;
    progress(&format!(
        "{}: {compiled} compiled, {} packages, {} packed into {}, {:.1} s",
        arguments.output.display(),
        manifest.packages.len(),
        mib(manifest.bytes),
        mib(size),
        start.elapsed().as_secs_f64()
    ));
    for package in &missing {
        progress(&format!(
            "not in Cargo's registry here, so not in the bundle: {package}. Without a network, what \
             depends on it cannot be used"
        ));
    }
    Ok(ExitCode::from(u8::from(warmed.failed)))
}

/// Restores a bundle.
///
/// # Errors
/// Where the file is no whole bundle or was made with another compiler: nothing is changed then.
pub fn unbundle(arguments: UnbundleArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let (cache, cargo_home) = homes()?;
    let here = Origin::here(&Toolchain::find())?;
    let homes = Homes {
        registry: Registry::new(&cargo_home).root().to_owned(),
        cache,
    };
    let file = std::fs::File::open(&arguments.file)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let restored = unpack::unpack(file, &here, &homes)
        .with_context(|| format!("{} was not restored", arguments.file.display()))?;
    progress(&format!(
        "{} compiled restored into {}, {} were there; {} files of Cargo's registry into {}, {} were \
         there; {:.1} s",
        restored.entries,
        homes.cache.display(),
        restored.entries_kept,
        restored.files,
        homes.registry.display(),
        restored.files_kept,
        start.elapsed().as_secs_f64()
    ));
    if let Some(conflict) = restored.conflict {
        progress(&format!(
            "the versions of this machine stay pinned ({conflict}), so a session may compile other \
             ones than those of the bundle. To take the bundle's, remove {} and run unbundle again",
            homes.cache.join(pins::FILE).display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The cache folder and Cargo's.
fn homes() -> Result<(PathBuf, PathBuf)> {
    let cache = cache_dir().context(
        "no cache folder is known: set MEMTRACK_CACHE_DIR to a folder that can be written",
    )?;
    let cargo_home = registry::cargo_home().context("no home folder is known: set CARGO_HOME")?;
    Ok((
        std::path::absolute(cache)?,
        std::path::absolute(cargo_home)?,
    ))
}

/// All that the cache holds, and the versions that were pinned when it was compiled.
fn all(cache: &Path) -> Result<Warmed> {
    let mut pins = Pins::read(&cache.join(pins::FILE))?.unwrap_or_default();
    // Those that `%use` keeps beside the crates that the kernel carries.
    for folder in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        if let Some(kept) = Pins::read(&folder.path().join(pins::FILE))?
            && let Err(error) = pins.merge(&kept)
        {
            progress(&format!("{} is left out: {error}", folder.path().display()));
        }
    }
    Ok(Warmed {
        failed: false,
        pins,
        began: SystemTime::UNIX_EPOCH,
    })
}

/// Adds the registry's files of these packages. Returns those that are not there.
fn add_registry(
    packages: &BTreeSet<PackageId>,
    cargo_home: &Path,
    members: &mut Vec<Member>,
) -> Vec<String> {
    let registry = Registry::new(cargo_home);
    let mut missing = Vec::new();
    let mut files = BTreeSet::new();
    for package in packages {
        match registry.files(package) {
            Some(found) => files.extend(found),
            None => missing.push(format!("{} {}", package.name, package.version)),
        }
    }
    for file in files {
        members.push(Member::file(
            Path::new(place::REGISTRY).join(&file),
            registry.root().join(file),
        ));
    }
    missing
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
