//! Crates whose source this binary carries, so that `%use` works wherever the kernel is installed.
//! They are unpacked into the cache folder, and cells name them by path.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The packages of candle that users name.
pub const CANDLE_PACKAGES: [&str; 3] = ["candle-core", "candle-nn", "candle-transformers"];

/// The package that is candle's shared library.
pub const CANDLE_FACADE: &str = "memtrack-candle";

/// The files of `notebooks/workloads`: path and text. Made by `build.rs`.
const WORKLOADS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/workloads.rs"));

/// The files of one or several crates, to be unpacked together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The folder's name. It holds a hash of the content, so that another version of this kernel
    /// never takes the folder for its own.
    pub folder: String,
    files: Vec<(String, String)>,
}

impl Carried {
    /// Candle of a version, as one shared library and the three crates' names for its parts.
    pub fn candle(version: &str, cuda: bool) -> Carried {
        let facade_toml = include_str!("carried/candle/facade.toml.in");
        let facade_rs = include_str!("carried/candle/facade.rs.in");
        let crate_toml = include_str!("carried/candle/crate.toml.in");
        let crate_rs = include_str!("carried/candle/crate.rs.in");
        let form = if cuda { "cuda" } else { "cpu" };
        let id = hash([version, form, facade_toml, facade_rs, crate_toml, crate_rs].into_iter());
        let fill = |text: &str| text.replace("@VERSION@", version).replace("@ID@", &id);
        let mut files = vec![
            ("facade/Cargo.toml".to_owned(), fill(facade_toml)),
            ("facade/lib.rs".to_owned(), fill(facade_rs)),
        ];
        for package in CANDLE_PACKAGES {
            let name = package.replace('-', "_");
            let toml = fill(crate_toml).replace("@PACKAGE@", package);
            files.push((format!("{package}/Cargo.toml"), toml));
            files.push((
                format!("{package}/lib.rs"),
                crate_rs.replace("@CRATE@", &name),
            ));
        }
        Carried {
            folder: format!("candle-{version}-{form}-{id}"),
            files,
        }
    }

    /// The workloads of memtrack's notebooks; `None` where this binary was built without them.
    pub fn workloads() -> Option<Carried> {
        let id = hash(WORKLOADS.iter().flat_map(|(path, text)| [*path, *text]));
        let files = WORKLOADS
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect::<Vec<_>>();
        (!files.is_empty()).then(|| Carried {
            folder: format!("workloads-{id}"),
            files,
        })
    }

    /// The version of the workloads that this binary carries.
    pub fn workloads_version() -> Option<&'static str> {
        let (_, toml) = WORKLOADS.iter().find(|(path, _)| *path == "Cargo.toml")?;
        let (_, rest) = toml.split_once("\nversion = \"")?;
        rest.split('"').next()
    }

    /// Unpacks the files into a folder in `parent`, unless they are there already. Several kernels
    /// may do so at once: the folder appears whole or not at all.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn unpack(&self, parent: &Path) -> Result<PathBuf> {
        let folder = parent.join(&self.folder);
        if self.is_whole(&folder) {
            return Ok(folder);
        }
        let advice = || {
            format!(
                "{} cannot be written: set MEMTRACK_CACHE_DIR to a folder that can",
                folder.display()
            )
        };
        std::fs::create_dir_all(parent).with_context(advice)?;
        let draft = tempfile::Builder::new()
            .prefix(".unpacking-")
            .tempdir_in(parent)
            .with_context(advice)?;
        for (path, text) in &self.files {
            let file = draft.path().join(path);
            let above = file.parent().unwrap_or(parent);
            std::fs::create_dir_all(above).with_context(advice)?;
            std::fs::write(&file, text).with_context(advice)?;
        }
        // tempfile makes folders for their owner only.
        let _ = std::fs::set_permissions(
            draft.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        );
        match std::fs::rename(draft.path(), &folder) {
            Ok(()) => {
                let _ = draft.keep();
                Ok(folder)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) =>
            {
                if !self.is_whole(&folder) {
                    self.mend(&folder).with_context(advice)?;
                }
                Ok(folder)
            }
            Err(error) => Err(error).with_context(advice),
        }
    }

    fn is_whole(&self, folder: &Path) -> bool {
        self.files.iter().all(|(path, text)| {
            std::fs::read_to_string(folder.join(path)).is_ok_and(|found| found == *text)
        })
    }

    /// Puts back what somebody has taken away or changed.
    fn mend(&self, folder: &Path) -> std::io::Result<()> {
        for (path, text) in &self.files {
            let file = folder.join(path);
            if std::fs::read_to_string(&file).is_ok_and(|found| found == *text) {
                continue;
            }
            let above = file.parent().unwrap_or(folder);
            std::fs::create_dir_all(above)?;
            let mut draft = tempfile::NamedTempFile::new_in(above)?;
            std::io::Write::write_all(&mut draft, text.as_bytes())?;
            draft.persist(&file).map_err(|error| error.error)?;
        }
        Ok(())
    }
}

/// Twelve hexadecimal digits of the texts' hash.
fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize();
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_candle_has_a_folder_and_a_library_of_its_own() {
        let forms = [("0.11.1", false), ("0.11.1", true), ("0.11.0", false)];
        let carried = forms.map(|(version, cuda)| Carried::candle(version, cuda));
        for (index, one) in carried.iter().enumerate() {
            for other in &carried[index + 1..] {
                assert_ne!(one.folder, other.folder);
                assert_ne!(one.files[0], other.files[0]);
            }
            assert!(
                one.files.iter().all(|(_, text)| !text.contains('@')),
                "{one:?}"
            );
        }
        assert_eq!(carried[0], Carried::candle("0.11.1", false));
    }

    #[test]
    fn unpacking_is_whole_and_can_be_repeated() {
        let cache = tempfile::tempdir().unwrap();
        let carried = Carried::candle("0.11.1", false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let folder = carried.unpack(cache.path()).unwrap();
                    assert!(carried.is_whole(&folder));
                });
            }
        });
        let left: Vec<_> = std::fs::read_dir(cache.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing but the folder is left: {left:?}");
        let folder = carried.unpack(cache.path()).unwrap();
        std::fs::remove_file(folder.join("facade/lib.rs")).unwrap();
        std::fs::write(folder.join("candle-nn/lib.rs"), "changed").unwrap();
        assert!(carried.is_whole(&carried.unpack(cache.path()).unwrap()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Carried::candle("0.11.1", false)
            .unpack(file.path())
            .unwrap_err();
        assert!(
            error.to_string().contains("set MEMTRACK_CACHE_DIR"),
            "{error:#}"
        );
    }
}
