//! Keeps processes out of each other's way in evcxr's cache of compiled dependencies.
//!
//! For each use of an entry evcxr writes a count, in place. Who reads the file in between, from
//! another kernel or for another build of the same session, finds it empty, and its compilation
//! fails. So this program, when it stands in for rustc, first waits for the others that compile the
//! same crate; of two kernels that need one at the same time the second then finds it compiled. And a
//! process that is killed at the wrong moment leaves the file empty for good: kernels mend that when
//! they start.

use std::fs::File;
use std::path::Path;

use crate::dep_info;

/// Set by evcxr for those who stand in for rustc, if there is a cache.
const ENABLED: &str = "EVCXR_CACHE_ENABLED";

/// Where this process stands in for rustc: waits until no other compiles the same crate. The lock
/// ends with the process.
pub fn wait_for_turn() {
    if std::env::var_os(ENABLED).is_none() || std::env::var_os(dep_info::TARGET).is_none() {
        return;
    }
    let arguments: Vec<String> = std::env::args().collect();
    // evcxr does not keep what is compiled incrementally.
    if arguments.iter().any(|it| it.starts_with("incremental=")) {
        return;
    }
    let list = dep_info::list_file(&arguments);
    let name = list.as_deref().and_then(Path::file_stem);
    // The kernel has set the folder in which evcxr looks.
    if let (Some(name), Some(cache)) = (name, dirs::cache_dir())
        && let Some(lock) = take(&cache.join("locks").join(name))
    {
        std::mem::forget(lock);
    }
}

/// `None` where there can be no lock, such as on some network file systems: then there is no cure.
fn take(path: &Path) -> Option<File> {
    std::fs::create_dir_all(path.parent()?).ok()?;
    let file = File::create(path).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Gives entries of the cache in `cache_home` their count back where a killed process left it empty.
pub fn mend_counts(cache_home: &Path) {
    let entries = std::fs::read_dir(cache_home.join("evcxr"));
    for entry in entries.into_iter().flatten().flatten() {
        let count = entry.path().join("hits");
        if std::fs::metadata(&count).is_ok_and(|found| found.len() == 0) {
            let _ = std::fs::write(&count, "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/serde-1f");
        let first = take(&path).unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(first);
        assert!(File::open(&path).unwrap().try_lock().is_ok());
    }

    #[test]
    fn empty_counts_are_mended_and_others_stay() {
        let home = tempfile::tempdir().unwrap();
        for (entry, text) in [("1", ""), ("2", "7")] {
            let folder = home.path().join("evcxr").join(entry);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("hits"), text).unwrap();
        }
        mend_counts(home.path());
        let count =
            |entry| std::fs::read_to_string(home.path().join("evcxr").join(entry).join("hits"));
        assert_eq!(
            (count("1").unwrap(), count("2").unwrap()),
            ("0".into(), "7".into())
        );
        mend_counts(&home.path().join("nowhere"));
    }
}
