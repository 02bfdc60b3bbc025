//! The exact versions of what cells depend on: lock files of Cargo that outlive a session.
//!
//! Later sessions then need no network to choose versions, and what was compiled before still fits
//! when something newer has come out. There is one beside each carried crate, for sessions that have
//! nothing else, and one for all that `memtrack-kernel warm` has compiled.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use semver::Version;
use toml::{Table, Value};

use crate::files;

/// The name of lock files, which Cargo gives them.
pub const FILE: &str = "Cargo.lock";

/// The packages of registries and git in a lock file, and how it says that they depend on each
/// other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pins {
    packages: BTreeMap<PackageId, Table>,
}

/// What tells a package of a lock file from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageId {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Where it comes from, such as `registry+https://…`.
    pub source: String,
}

impl Pins {
    /// Reads a lock file. `None` where there is none.
    ///
    /// # Errors
    /// Where it is no lock file.
    pub fn read(path: &Path) -> Result<Option<Pins>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        Pins::parse(&text)
            .with_context(|| format!("{} is not a lock file of Cargo", path.display()))
            .map(Some)
    }

    fn parse(text: &str) -> Result<Pins> {
        let lock: Table = text.parse()?;
        let tables: Vec<&Table> = lock
            .get("package")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_table)
            .collect();
        let mut pins = Pins::default();
        for table in &tables {
            let field = |name| table.get(name).and_then(Value::as_str);
            // Packages by path have no source; Cargo adds them anew.
            let (Some(name), Some(version), Some(source)) =
                (field("name"), field("version"), field("source"))
            else {
                continue;
            };
            let id = PackageId {
                name: name.to_owned(),
                version: version.parse().context("a version")?,
                source: source.to_owned(),
            };
            let mut table = (*table).clone();
            // Where only one version is in the file, its dependents leave the version away; with
            // those of another file beside it that would be ambiguous.
            for dependency in table
                .get_mut("dependencies")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(full) = dependency.as_str().and_then(|it| in_full(it, &tables)) {
                    *dependency = Value::String(full);
                }
            }
            pins.packages.insert(id, table);
        }
        Ok(pins)
    }

    /// Takes in those of another file.
    ///
    /// # Errors
    /// Where the two chose different versions of which one session can have only one. Nothing is
    /// taken in then.
    pub fn merge(&mut self, other: &Pins) -> Result<()> {
        for wanted in other.packages.keys() {
            let pinned = self.packages.keys().find(|pinned| {
                pinned.name == wanted.name
                    && pinned.source == wanted.source
                    && pinned.version != wanted.version
                    && are_compatible(&pinned.version, &wanted.version)
            });
            if let Some(pinned) = pinned {
                bail!(
                    "{} is pinned to {}, but {} was chosen",
                    wanted.name,
                    pinned.version,
                    wanted.version
                );
            }
        }
        let new = other.packages.clone();
        self.packages.extend(new);
        Ok(())
    }

    /// The packages.
    pub fn packages(&self) -> impl Iterator<Item = &PackageId> {
        self.packages.keys()
    }

    /// The text of a lock file.
    ///
    /// # Errors
    /// Where it cannot be written as TOML.
    pub fn text(&self) -> Result<String> {
        let packages = self.packages.values().cloned().map(Value::Table).collect();
        let mut lock = Table::new();
        lock.insert("version".into(), Value::Integer(4));
        lock.insert("package".into(), Value::Array(packages));
        Ok(toml::to_string(&lock)?)
    }

    /// Writes a lock file, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let write = || -> Result<()> {
            std::fs::create_dir_all(folder)?;
            let text = self.text()?;
            files::write(path, |file| Ok(file.write_all(text.as_bytes())?))
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// Adds the versions of `cache` to a session's lock file; what was chosen there stays.
pub fn offer(cache: &Path, in_use: &Path) {
    let offer = || -> Result<()> {
        let Some(pins) = Pins::read(&cache.join(FILE))? else {
            return Ok(());
        };
        let mut merged = Pins::read(in_use)?.unwrap_or_default();
        merged.merge(&pins)?;
        merged.write(in_use)
    };
    if let Err(error) = offer() {
        eprintln!("memtrack-kernel: the pinned versions are not used: {error:#}");
    }
}

/// A dependency as lock files write it, with its version: `name version`.
fn in_full(dependency: &str, packages: &[&Table]) -> Option<String> {
    if dependency.contains(' ') {
        return None;
    }
    let package = packages
        .iter()
        .find(|package| package.get("name").and_then(Value::as_str) == Some(dependency))?;
    let version = package.get("version").and_then(Value::as_str)?;
    Some(format!("{dependency} {version}"))
}

/// Whether Cargo takes one for the other, so that it never takes both.
fn are_compatible(one: &Version, other: &Version) -> bool {
    let significant = |version: &Version| match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    };
    significant(one) == significant(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(packages: &[(&str, &str, &[&str])]) -> Pins {
        let mut text = "version = 4\n".to_owned();
        for (name, version, dependencies) in packages {
            text += &format!(
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry+x\"\n\
                 dependencies = {dependencies:?}\n"
            );
        }
        Pins::parse(&text).unwrap()
    }

    fn dependencies(pins: &Pins, name: &str) -> Vec<String> {
        let (_, table) = pins
            .packages
            .iter()
            .find(|(id, _)| id.name == name)
            .unwrap();
        let list = table["dependencies"].as_array().unwrap();
        list.iter()
            .map(|it| it.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn what_was_unique_in_one_file_stays_clear_among_others() {
        let mut one = pins(&[("a", "1.0.0", &["b"]), ("b", "1.0.0", &[])]);
        one.merge(&pins(&[("c", "1.0.0", &["b"]), ("b", "2.0.0", &[])]))
            .unwrap();
        assert_eq!(dependencies(&one, "a"), ["b 1.0.0"]);
        assert_eq!(dependencies(&one, "c"), ["b 2.0.0"]);
        assert_eq!(one.packages().count(), 4);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join(FILE);
        one.write(&file).unwrap();
        assert_eq!(Pins::read(&file).unwrap(), Some(one));
    }

    #[test]
    fn versions_that_exclude_each_other_are_told_and_nothing_changes() {
        for (pinned, wanted) in [("1.0.0", "1.2.0"), ("0.3.1", "0.3.2")] {
            let mut one = pins(&[("b", pinned, &[])]);
            let before = one.clone();
            let conflict = one.merge(&pins(&[("a", "1.0.0", &[]), ("b", wanted, &[])]));
            assert_eq!(
                conflict.unwrap_err().to_string(),
                format!("b is pinned to {pinned}, but {wanted} was chosen")
            );
            assert_eq!(one, before);
        }
        for (pinned, other) in [("1.0.0", "2.0.0"), ("0.3.1", "0.4.0"), ("0.0.1", "0.0.2")] {
            pins(&[("b", pinned, &[])])
                .merge(&pins(&[("b", other, &[])]))
                .unwrap();
        }
    }

    #[test]
    fn packages_by_path_are_left_out_and_no_file_is_no_error() {
        let text = "version = 4\n[[package]]\nname = \"ctx\"\nversion = \"1.0.0\"\n";
        assert_eq!(Pins::parse(text).unwrap(), Pins::default());
        assert!(Pins::parse("version = [").is_err());
        assert_eq!(Pins::read(Path::new("/nowhere/Cargo.lock")).unwrap(), None);
    }
}
