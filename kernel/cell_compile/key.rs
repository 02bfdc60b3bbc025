//! What must not have changed where rustc is started as Cargo did before.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use super::{LIBRARY, MANIFEST};

/// Stands for all that Cargo looks at before it starts rustc, but the lock file.
pub fn key(cells: &Path, arguments: &[OsString]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut variables: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name != LIBRARY)
        .collect();
    variables.sort();
    variables.hash(&mut hasher);
    hash_configuration(cells, arguments, &mut hasher);
    hasher.finish()
}

/// The same without what differs between sessions and says nothing to Cargo.
pub fn general_key(cells: &Path, arguments: &[OsString]) -> u64 {
    const OF_SESSION: [&str; 3] = ["RUSTC_WRAPPER", "RUST_SRC_PATH", "RUST_BACKTRACE"];
    let mut hasher = DefaultHasher::new();
    let mut variables: Vec<(String, OsString)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("CARGO") || name.starts_with("RUST"))
        .filter(|(name, _)| !OF_SESSION.contains(&name.as_str()))
        .collect();
    variables.sort();
    variables.hash(&mut hasher);
    hash_configuration(cells, arguments, &mut hasher);
    hasher.finish()
}

fn hash_configuration(cells: &Path, arguments: &[OsString], hasher: &mut DefaultHasher) {
    arguments.hash(hasher);
    // Spaces at the end of a line are the kernel's way to have rust-analyzer read the file anew.
    let manifest = std::fs::read_to_string(cells.join(MANIFEST)).unwrap_or_default();
    for line in manifest.lines() {
        line.trim_end().hash(hasher);
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(dirs::home_dir()?.join(".cargo")));
    let folders = cells.ancestors().map(|folder| folder.join(".cargo"));
    for folder in folders.chain(home) {
        for name in ["config.toml", "config"] {
            std::fs::read(folder.join(name)).ok().hash(hasher);
        }
    }
}

/// Stands for what a file holds.
pub fn hash_of_file(file: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(file).ok().hash(&mut hasher);
    hasher.finish()
}

/// Whether the cells depend on a crate in a folder of the user, who may change it: only Cargo knows
/// whether that must be compiled again.
pub fn has_foreign_paths(cells: &Path) -> bool {
    let text = std::fs::read_to_string(cells.join(MANIFEST)).unwrap_or_default();
    if !text.contains("path") {
        return false;
    }
    let Ok(manifest) = text.parse::<toml::Table>() else {
        return true;
    };
    let dependencies = manifest.get("dependencies").and_then(|it| it.as_table());
    dependencies.into_iter().flatten().any(|(_, dependency)| {
        let path = dependency.get("path").and_then(|path| path.as_str());
        path.is_some_and(|path| !is_within(&cells.join(path), cells))
    })
}

/// Whether a path leads into a folder by its names alone: what the kernel carries are links.
fn is_within(path: &Path, folder: &Path) -> bool {
    let up = path.components().any(|part| part == Component::ParentDir);
    !up && path.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_in_folders_of_the_user_are_left_to_cargo() {
        let cells = tempfile::tempdir().unwrap();
        let has = |dependencies: &str| {
            let text = format!("[package]\nname = \"ctx\"\n[dependencies]\n{dependencies}\n");
            std::fs::write(cells.path().join(MANIFEST), text).unwrap();
            has_foreign_paths(cells.path())
        };
        let carried = cells.path().join("carried/workloads");
        assert!(!has("regex = \"1\""));
        assert!(!has(&format!("w = {{ path = {carried:?} }}")));
        assert!(!has("w = { path = \"carried/workloads\" }"));
        assert!(has("w = { path = \"/home/u/w\" }"));
        assert!(has("w = { path = \"../w\" }"));
        assert!(has("w = { path = \"carried/../../w\" }"));
    }

    #[test]
    fn the_key_follows_what_cargo_looks_at_and_not_spaces() {
        let cells = tempfile::tempdir().unwrap();
        let key = |manifest: &str, arguments: &[&str]| {
            std::fs::write(cells.path().join(MANIFEST), manifest).unwrap();
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            general_key(cells.path(), &arguments)
        };
        let one = key("opt-level = 2\n", &["build"]);
        assert_eq!(one, key("opt-level = 2  \n", &["build"]));
        assert_ne!(one, key("opt-level = 0\n", &["build"]));
        assert_ne!(one, key("opt-level = 2\n", &["build", "--offline"]));
        let folder = cells.path().join(".cargo");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), "[build]").unwrap();
        assert_ne!(one, key("opt-level = 2\n", &["build"]));
    }
}
