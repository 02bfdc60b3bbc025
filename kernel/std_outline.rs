//! An outline of Rust's standard library for rust-analyzer: what a user can name, with its types.
//!
//! Bodies of functions, documentation and tests are left out, also within macros, which core makes
//! most of its methods with. What is left is a quarter, and rust-analyzer reads it in a fraction of the
//! time and memory. It is made once for a toolchain and kept in the kernel's cache.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::files;
use crate::std_source::Library;
use crate::toolchain::Toolchain;

mod shorten;

/// The folder of outlines, in the kernel's cache.
const FOLDER: &str = "std-outline";
/// To be raised when outlines become different ones.
const FORMAT: u32 = 1;

/// The crates, and where rust-analyzer looks for them if there is no workspace of Cargo's.
const CRATES: [(&str, &str); 5] = [
    ("core", "core"),
    ("alloc", "alloc"),
    ("std", "std"),
    ("proc_macro", "proc_macro"),
    ("std_detect", "stdarch/crates/std_detect"),
];

/// The outline of a toolchain's std, made now if it was not made before, which takes a second.
///
/// # Errors
/// Where the toolchain has no source of std or the cache cannot be written.
pub fn provide(cache: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let library = Library::of(toolchain).context("the source of std is not there")?;
    let mut hasher = DefaultHasher::new();
    (FORMAT, &toolchain.rustc_version, library.folder()).hash(&mut hasher);
    let folder = cache.join(FOLDER).join(format!("{:016x}", hasher.finish()));
    files::provide_folder(&folder, |draft| write(library.folder(), draft))?;
    Ok(folder)
}

/// Writes the outline of the library in `from`.
fn write(from: &Path, into: &Path) -> Result<()> {
    let mut files = Vec::new();
    for (name, place) in CRATES {
        let source = from.join(name).join("src");
        if source.is_dir() {
            find_files(&source, &into.join(place).join("src"), &mut files)?;
        }
    }
    if !files
        .iter()
        .any(|(source, _)| source.ends_with("core/src/lib.rs"))
    {
        bail!("there is no core in {}", from.display());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let size = files.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(size)
            .map(|part| scope.spawn(move || write_files(part)))
            .collect();
        for part in parts {
            match part.join() {
                Ok(result) => result?,
                Err(_) => bail!("a file of std could not be read"),
            }
        }
        Ok(())
    })
}

fn write_files(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (source, target) in files {
        let text = std::fs::read_to_string(source)
            .with_context(|| format!("{} cannot be read", source.display()))?;
        let folder = target.parent().unwrap_or(target);
        std::fs::create_dir_all(folder)?;
        std::fs::write(target, shorten::shorten(&text))?;
    }
    Ok(())
}

/// Lists sources, but tests, and where their outlines belong.
fn find_files(source: &Path, target: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(source)? {
        let entry = entry?;
        let name = entry.file_name();
        let is = |names: &[&str]| names.iter().any(|it| name == *it);
        let (path, target) = (entry.path(), target.join(&name));
        if path.is_dir() {
            if !is(&["tests", "benches"]) {
                find_files(&path, &target, files)?;
            }
        } else if path.extension().is_some_and(|it| it == "rs") && !is(&["tests.rs", "bench.rs"]) {
            files.push((path, target));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_of_this_toolchain_is_a_fraction_of_its_source() {
        let library = Library::of(&Toolchain::find()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(library.folder(), folder.path()).unwrap();
        let size = |folder: &Path| -> u64 {
            let mut files = Vec::new();
            find_files(folder, folder, &mut files).unwrap();
            let sizes = files.iter().map(|(file, _)| file.metadata().unwrap().len());
            sizes.sum()
        };
        let whole = size(&library.folder().join("core"));
        let outline = size(&folder.path().join("core"));
        assert!(
            outline > 100_000 && outline < whole / 3,
            "{outline} of {whole}"
        );
        let vec = std::fs::read_to_string(folder.path().join("alloc/src/vec/mod.rs")).unwrap();
        assert!(vec.contains("pub fn push(&mut self, value: T)"));
        assert!(!folder.path().join("core/src/tests.rs").exists());
    }

    #[test]
    fn a_folder_without_core_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), &folder.path().join("into")).unwrap_err();
        assert!(error.to_string().starts_with("there is no core in"));
    }
}
