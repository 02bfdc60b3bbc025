//! Reads a bundle. It may come from anybody, so nothing in it is believed: members go to known
//! places only, no more is read than the manifest announces, and nothing is put in its place before
//! the whole bundle was read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::manifest::{Manifest, Origin};
use super::mib;
use super::place::{ENTRIES, MANIFEST, Place};
use crate::pins::{self, Pins};

/// The most that a manifest may have.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// Where bundles are restored.
pub struct Homes {
    /// The kernel's cache.
    pub cache: PathBuf,
    /// Cargo's registry.
    pub registry: PathBuf,
}

/// What was restored.
#[derive(Debug, Default, PartialEq)]
pub struct Restored {
    /// Entries of evcxr's cache that are new.
    pub entries: usize,
    /// Those that were there already, and stay as they were.
    pub entries_kept: usize,
    /// Files of the registry that are new.
    pub files: usize,
    /// Those that were there already.
    pub files_kept: usize,
    /// Why the pinned versions stay as they were, if they do.
    pub conflict: Option<String>,
}

/// Folders beside the places where things go in the end. They vanish when this is dropped.
struct Drafts {
    cache: TempDir,
    registry: TempDir,
}

/// Restores a bundle.
///
/// # Errors
/// Where it is no whole bundle, does not fit `here`, or there is no room: nothing is changed then.
pub fn unpack(bundle: impl Read, here: &Origin, homes: &Homes) -> Result<Restored> {
    let decoder = zstd::Decoder::new(bundle)?;
    let mut archive = tar::Archive::new(decoder);
    // Raw: names of any length and other kinds of members are not put together, but refused.
    let mut members = archive.entries()?.raw(true);
    let first = members.next().context("it is empty")?;
    let manifest = read_manifest(first.context("it is no bundle")?)?;
    manifest.check(here)?;
    check_room(&manifest, homes)?;
    let drafts = Drafts {
        cache: draft(&homes.cache)?,
        registry: draft(&homes.registry)?,
    };
    let (mut files, mut bytes) = (0, 0);
    for member in members {
        let member = member.context("it is cut off or damaged")?;
        files += 1;
        bytes += member.size();
        if files > manifest.files || bytes > manifest.bytes {
            bail!("it holds more than it announces");
        }
        extract(member, &drafts)?;
    }
    if (files, bytes) != (manifest.files, manifest.bytes) {
        bail!(
            "it is cut off: {files} of {} files, {} of {}",
            manifest.files,
            mib(bytes),
            mib(manifest.bytes)
        );
    }
    // Behind the last member stand the checksum and nothing else.
    let rest = std::io::copy(
        &mut archive.into_inner().take(MANIFEST_LIMIT),
        &mut std::io::sink(),
    );
    rest.context("it is cut off or damaged")?;
    put_in_place(&drafts, homes)
}

fn read_manifest(mut member: tar::Entry<'_, impl Read>) -> Result<Manifest> {
    if member.path()? != Path::new(MANIFEST) || member.size() > MANIFEST_LIMIT {
        bail!("it is no bundle: memtrack-kernel bundle makes them");
    }
    let mut text = String::new();
    member
        .read_to_string(&mut text)
        .context("it is cut off or damaged")?;
    serde_json::from_str(&text).context("its manifest cannot be understood")
}

fn check_room(manifest: &Manifest, homes: &Homes) -> Result<()> {
    std::fs::create_dir_all(&homes.cache)
        .with_context(|| format!("{} cannot be written", homes.cache.display()))?;
    let room = nix::sys::statvfs::statvfs(&homes.cache)?;
    let free = room.blocks_available().saturating_mul(room.fragment_size());
    if manifest.bytes > free {
        bail!(
            "it needs {} of disk, and {} has {}",
            mib(manifest.bytes),
            homes.cache.display(),
            mib(free)
        );
    }
    Ok(())
}

fn draft(beside: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(beside)
        .and_then(|()| {
            tempfile::Builder::new()
                .prefix(".unbundling-")
                .tempdir_in(beside)
        })
        .with_context(|| format!("{} cannot be written", beside.display()))
}

/// Writes a member into the drafts.
fn extract(mut member: tar::Entry<'_, impl Read>, drafts: &Drafts) -> Result<()> {
    let path = member.path()?.into_owned();
    let header = member.header();
    if header.entry_type() != tar::EntryType::Regular {
        bail!(
            "it holds something that is not a plain file: {}",
            path.display()
        );
    }
    let mode = match header.mode()? & 0o111 {
        0 => 0o644,
        _ => 0o755,
    };
    let target = match Place::of(&path)? {
        Place::Entry(entry, file) => drafts.cache.path().join(ENTRIES).join(entry).join(file),
        Place::Pins => drafts.cache.path().join(pins::FILE),
        Place::Registry(file) => drafts.registry.path().join(file),
    };
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let size = member.size();
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&target)
        .and_then(|mut file| std::io::copy(&mut member, &mut file));
    match written {
        Ok(written) if written == size => Ok(()),
        Ok(_) => bail!("it is cut off"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("it holds the same file twice: {}", path.display())
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Moves all that is new to where it belongs.
fn put_in_place(drafts: &Drafts, homes: &Homes) -> Result<Restored> {
    let mut restored = Restored::default();
    let registry = files_below(drafts.registry.path())?;
    for file in registry {
        let target = homes.registry.join(&file);
        let draft = drafts.registry.path().join(&file);
        // What the index knows of a package only ever grows.
        let grown = || {
            let size = |path: &Path| path.metadata().map_or(0, |it| it.len());
            file.starts_with("index") && size(&draft) > size(&target)
        };
        if target.exists() && !grown() {
            restored.files_kept += 1;
            continue;
        }
        rename(&draft, &target)?;
        restored.files += 1;
    }
    let entries = std::fs::read_dir(drafts.cache.path().join(ENTRIES));
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        let target = homes.cache.join(ENTRIES).join(entry.file_name());
        if target.exists() {
            restored.entries_kept += 1;
            continue;
        }
        rename(&entry.path(), &target)?;
        restored.entries += 1;
    }
    // Last, as sessions rely on all else once it is there.
    if let Some(new) = Pins::read(&drafts.cache.path().join(pins::FILE))? {
        let file = homes.cache.join(pins::FILE);
        let mut kept = Pins::read(&file)?.unwrap_or_default();
        match kept.merge(&new) {
            Ok(()) => kept.write(&file)?,
            Err(conflict) => restored.conflict = Some(conflict.to_string()),
        }
    }
    Ok(restored)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::rename(from, to).with_context(|| format!("{} cannot be written", to.display()))
}

/// All files below a folder, relative to it.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
