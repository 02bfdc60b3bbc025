//! Writes a bundle.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::manifest::Manifest;
use super::place::{ENTRIES, MANIFEST};
use crate::pins::{self, Pins};

/// Zstandard's default level: packing costs less time than reading the files.
const LEVEL: i32 = 3;
/// The window in which repetitions are found, as a power of two. A crate's `.rmeta` is in its
/// `.rlib` once more, several MiB before. It is also the most that decoders take by default.
const WINDOW_LOG: u32 = 27;

/// A file of a bundle.
#[derive(Debug)]
pub struct Member {
    path: PathBuf,
    content: Content,
    mode: u32,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// A file of this size.
    File(PathBuf, u64),
}

impl Member {
    /// A file on disk. One that is gone by then is found to be so when the bundle is written.
    pub fn file(path: PathBuf, file: PathBuf) -> Member {
        let metadata = file.metadata().ok();
        let mode = metadata.as_ref().map_or(0, |it| it.permissions().mode());
        Member {
            path,
            mode: if mode & 0o111 == 0 { 0o644 } else { 0o755 },
            content: Content::File(file, metadata.map_or(0, |it| it.len())),
        }
    }

    /// Some text.
    pub fn bytes(path: PathBuf, bytes: Vec<u8>) -> Member {
        Member {
            path,
            mode: 0o644,
            content: Content::Bytes(bytes),
        }
    }

    /// The pinned versions.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn pins(pins: &Pins) -> Result<Member> {
        let text = pins.text()?;
        Ok(Member::bytes(pins::FILE.into(), text.into_bytes()))
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, size) => *size,
        }
    }

    fn append(&self, archive: &mut tar::Builder<impl Write>) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(self.size());
        header.set_mode(self.mode);
        header.set_mtime(0);
        header
            .set_path(&self.path)
            .with_context(|| format!("{} is too long a path", self.path.display()))?;
        header.set_cksum();
        match &self.content {
            Content::Bytes(bytes) => archive.append(&header, &bytes[..])?,
            Content::File(file, size) => {
                let opened =
                    File::open(file).with_context(|| format!("{} is gone", file.display()))?;
                if opened.metadata()?.len() != *size {
                    bail!("{} changed while it was packed: try again", file.display());
                }
                archive.append(&header, opened.take(*size))?;
            }
        }
        Ok(())
    }
}

/// The files of the entries that were used at a time or later. An entry that evcxr is just writing
/// is left out.
///
/// # Errors
/// Where the cache cannot be read.
pub fn entries(cache: &Path, since: SystemTime) -> Result<Vec<Member>> {
    let folder = cache.join(ENTRIES);
    let mut members = Vec::new();
    for entry in sorted(&folder) {
        // evcxr writes the count at each use, and what rustc said as the last of a new entry.
        let used = entry.join("hits").metadata().and_then(|it| it.modified());
        let is_whole = entry.join("stderr").is_file();
        if !is_whole || !has_artifacts(&entry) || used.is_ok_and(|used| used < since) {
            continue;
        }
        let name = Path::new(ENTRIES).join(entry.file_name().unwrap_or_default());
        for file in sorted(&entry) {
            let path = name.join(file.file_name().unwrap_or_default());
            members.push(match file.ends_with("hits") {
                true => Member::bytes(path, b"0".to_vec()),
                false => Member::file(path, file),
            });
        }
    }
    Ok(members)
}

/// Whether an entry holds anything compiled. Build scripts that try out rustc leave entries that hold
/// nothing and are found by nobody.
pub fn has_artifacts(entry: &Path) -> bool {
    let own = ["hits", "meta", "stderr"];
    sorted(entry)
        .iter()
        .any(|file| !own.iter().any(|name| file.ends_with(name)))
}

/// How many entries these files are of.
pub fn count_entries(members: &[Member]) -> usize {
    let entries: BTreeSet<_> = members.iter().map(|member| member.path.parent()).collect();
    entries.len()
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Writes a bundle, whole or not at all. Returns its size in bytes.
///
/// # Errors
/// Where it cannot be written, or a member cannot be read.
pub fn write(output: &Path, manifest: &Manifest, members: Vec<Member>) -> Result<u64> {
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    write_to(&mut draft, manifest, members)?;
    let file = draft
        .persist(output)
        .with_context(|| format!("{} cannot be written", output.display()))?;
    Ok(file.metadata()?.len())
}

/// Writes a bundle to anything.
///
/// # Errors
/// Where it cannot be written, or a member cannot be read.
pub fn write_to(output: impl Write, manifest: &Manifest, members: Vec<Member>) -> Result<()> {
    let mut encoder = zstd::Encoder::new(output, LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.long_distance_matching(true)?;
    let mut archive = tar::Builder::new(encoder);
    Member::bytes(MANIFEST.into(), serde_json::to_vec_pretty(manifest)?).append(&mut archive)?;
    for member in members {
        member.append(&mut archive)?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(())
}
