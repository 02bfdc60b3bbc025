//! Where a member of a bundle belongs. A bundle may come from anybody: what is not known to belong
//! somewhere is refused.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

use crate::pins;

/// The member that comes first.
pub const MANIFEST: &str = "manifest.json";
/// The folder of evcxr's cache, in a bundle as in the kernel's cache.
pub const ENTRIES: &str = "evcxr";
/// The folder of Cargo's registry, in a bundle as in Cargo's folder.
pub const REGISTRY: &str = "registry";

/// Where a member belongs.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of an entry of evcxr's cache: the entry's name and the file's.
    Entry(String, String),
    /// The pinned versions.
    Pins,
    /// A file of Cargo's registry, relative to it.
    Registry(PathBuf),
}

impl Place {
    /// The place of a member, by its path in the archive.
    ///
    /// # Errors
    /// Where the path leads out of the bundle or is of no known kind.
    pub fn of(path: &Path) -> Result<Place> {
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) if part.to_str().is_some_and(|it| !it.contains('\0')) => {
                    parts.extend(part.to_str());
                }
                _ => bail!("it holds a path that leads elsewhere: {}", path.display()),
            }
        }
        match parts[..] {
            // evcxr names entries by a number of 64 bits.
            [ENTRIES, entry, file] if entry.parse::<u64>().is_ok() => {
                Ok(Place::Entry(entry.to_owned(), file.to_owned()))
            }
            [pins::FILE] => Ok(Place::Pins),
            [REGISTRY, "cache", _, file] if file.ends_with(".crate") => {
                Ok(Place::Registry(parts[1..].iter().collect()))
            }
            [REGISTRY, "index", _, "config.json"] | [REGISTRY, "index", _, ".cache", _, ..]
                if parts.len() <= 7 =>
            {
                Ok(Place::Registry(parts[1..].iter().collect()))
            }
            _ => bail!("it holds a file of no known kind: {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_have_a_place() {
        let of = |path: &str| Place::of(Path::new(path)).unwrap();
        assert_eq!(
            of("evcxr/17/libx.rlib"),
            Place::Entry("17".into(), "libx.rlib".into())
        );
        assert_eq!(of("Cargo.lock"), Place::Pins);
        for path in [
            "cache/x/a-1.0.0.crate",
            "index/x/config.json",
            "index/x/.cache/it/oa/itoa",
        ] {
            assert_eq!(
                of(&format!("registry/{path}")),
                Place::Registry(path.into())
            );
        }
    }

    #[test]
    fn all_else_is_refused() {
        let wrong = [
            "/etc/passwd",
            "../x",
            "evcxr/17/../../../x",
            "evcxr/17/..",
            "evcxr/../x",
            "evcxr/name/file",
            "evcxr/17",
            "evcxr/17/a/b",
            "registry/cache/../x.crate",
            "registry/src/x/a/build.rs",
            "registry/index/x/.cache/../../../../config.toml",
            "config.toml",
            "",
        ];
        for path in wrong {
            assert!(Place::of(Path::new(path)).is_err(), "{path}");
        }
    }
}
