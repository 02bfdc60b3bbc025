//! Cargo's own store of what it has loaded from registries: crates and the entries of the index.

use std::path::{Path, PathBuf};

use crate::pins::PackageId;

/// Cargo's folder: `CARGO_HOME`, else `~/.cargo`.
pub fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
        .or_else(|| dirs::home_dir().map(|home| home.join(".cargo")))
}

/// The store in a folder of Cargo's.
pub struct Registry {
    root: PathBuf,
    /// The names of the registries' folders, of which there is mostly one.
    names: Vec<String>,
}

impl Registry {
    /// The store below `cargo_home`, which may be empty.
    pub fn new(cargo_home: &Path) -> Registry {
        let root = cargo_home.join("registry");
        let names = std::fs::read_dir(root.join("cache"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        Registry { root, names }
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files with which Cargo chooses and compiles a package without a network, relative to the
    /// store. `None` where the package is not there.
    pub fn files(&self, package: &PackageId) -> Option<[PathBuf; 3]> {
        let file = format!("{}-{}.crate", package.name, package.version);
        self.names.iter().find_map(|name| {
            let index = Path::new("index").join(name);
            let files = [
                Path::new("cache").join(name).join(&file),
                index.join(".cache").join(index_path(&package.name)),
                index.join("config.json"),
            ];
            let there = files.iter().all(|file| self.root.join(file).is_file());
            there.then_some(files)
        })
    }
}

/// Where the index keeps what it knows of a package, by Cargo's rule for names of registries.
fn index_path(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    let part = |from: usize, to: usize| name.get(from..to).unwrap_or_default();
    match name.len() {
        1 | 2 => PathBuf::from(name.len().to_string()).join(&name),
        3 => Path::new("3").join(part(0, 1)).join(&name),
        _ => Path::new(part(0, 2)).join(part(2, 4)).join(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_where_cargo_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let files = [
            "cache/x/Cfg-if-1.0.4.crate",
            "index/x/.cache/cf/g-/cfg-if",
            "index/x/config.json",
        ];
        for file in files {
            let path = home.path().join("registry").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let package = |version: &str| PackageId {
            name: "Cfg-if".into(),
            version: version.parse().unwrap(),
            source: "registry+x".into(),
        };
        let registry = Registry::new(home.path());
        assert_eq!(
            registry.files(&package("1.0.4")),
            Some(files.map(PathBuf::from))
        );
        assert_eq!(registry.files(&package("1.0.5")), None);
        std::fs::remove_file(home.path().join("registry").join(files[1])).unwrap();
        assert_eq!(registry.files(&package("1.0.4")), None);
    }

    #[test]
    fn short_names_have_folders_of_their_own() {
        let path = |name| index_path(name).to_string_lossy().into_owned();
        assert_eq!(
            ["a", "cc", "syn", "itoa"].map(path),
            ["1/a", "2/cc", "3/s/syn", "it/oa/itoa"]
        );
    }
}
