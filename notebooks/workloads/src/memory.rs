//! How much RAM is left for the work: of the machine, or of the container if that is less.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Memory that can be had now, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// The source in words, such as "the machine's MemAvailable".
    pub how: String,
}

/// RAM that can be had without swapping: Linux's `MemAvailable`, or what the control groups that
/// this process is in leave, page cache counted as free, if that is less.
pub(crate) fn available_ram() -> Result<Available, Error> {
    available_ram_in(Path::new("/"))
}

/// The same with `proc` and `sys` under `root`.
fn available_ram_in(root: &Path) -> Result<Available, Error> {
    let path = root.join("proc/meminfo");
    let unknown = |reason: String| Error::RamUnknown { reason };
    let text = fs::read_to_string(&path)
        .map_err(|error| unknown(format!("{}: {error}", path.display())))?;
    let machine = keyed(&text, "MemAvailable:")
        .map(|kib| kib * 1024)
        .ok_or_else(|| unknown(format!("{} has no MemAvailable", path.display())))?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let container = groups
        .lines()
        .flat_map(|line| left_in_groups(root, line))
        .min();
    Ok(match container {
        Some(bytes) if bytes < machine => Available {
            bytes,
            how: "the container's memory limit less its use".to_owned(),
        },
        _ => Available {
            bytes: machine,
            how: "the machine's MemAvailable".to_owned(),
        },
    })
}

/// What each group with a limit leaves, of those that one line of `/proc/self/cgroup` names: the
/// group and all above it, as each of them limits us.
fn left_in_groups(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (mount, files) = match controllers {
        "" => ("sys/fs/cgroup", &V2),
        _ if controllers.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", &V1),
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    // A path that begins with ".." lies outside what this container sees: nothing is found there,
    // and the mount itself is the group's nearest visible one.
    let group = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|folder| folder.starts_with(&mount))
        .filter_map(|folder| left_in(folder, files))
        .collect()
}

/// Names of a group's files in one generation of the interface.
struct Files {
    limit: &'static str,
    used: &'static str,
    cache: [&'static str; 2],
}

const V2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    cache: ["inactive_file ", "active_file "],
};

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file ", "total_active_file "],
};

/// The group's limit less its use without page cache; `None` where it has no limit ("max").
fn left_in(group: &Path, files: &Files) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(PathBuf::from(group).join(name)).ok();
    let limit: u64 = read(files.limit)?.trim().parse().ok()?;
    let used: u64 = read(files.used)?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let cache: u64 = files.cache.iter().filter_map(|key| keyed(&stat, key)).sum();
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// The number after `key` at the beginning of a line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with a machine of 8 GiB available and these files beside it.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 9437184 kB\nMemAvailable: 8388608 kB\n",
        );
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn bytes(files: &[(&str, &str)]) -> u64 {
        available_ram_in(tree(files).path()).unwrap().bytes
    }

    #[test]
    fn the_machine_counts_without_a_limit() {
        assert_eq!(bytes(&[]), 8 << 30);
        assert_eq!(
            bytes(&[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "max\n"),
                ("sys/fs/cgroup/memory.current", "1\n"),
            ]),
            8 << 30
        );
    }

    #[test]
    fn the_tightest_group_above_counts_and_its_cache_is_free() {
        let files = [
            ("proc/self/cgroup", "0::/slice/own\n"),
            ("sys/fs/cgroup/slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/slice/memory.current", "700000\n"),
            (
                "sys/fs/cgroup/slice/memory.stat",
                "anon 1\ninactive_file 30000\nactive_file 20000\n",
            ),
            ("sys/fs/cgroup/slice/own/memory.max", "5000000\n"),
            ("sys/fs/cgroup/slice/own/memory.current", "600000\n"),
        ];
        assert_eq!(bytes(&files), 350_000);
    }

    #[test]
    fn the_first_generation_and_a_group_out_of_sight_are_read() {
        assert_eq!(
            bytes(&[
                ("proc/self/cgroup", "5:cpu,memory:/a\n1:name=systemd:/\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500\n"),
                ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "300\n"),
                (
                    "sys/fs/cgroup/memory/a/memory.stat",
                    "total_inactive_file 100\n"
                ),
            ]),
            300
        );
        assert_eq!(
            bytes(&[
                ("proc/self/cgroup", "0::/../other\n"),
                ("sys/fs/cgroup/memory.max", "4096\n"),
                ("sys/fs/cgroup/memory.current", "96\n"),
            ]),
            4000
        );
    }

    #[test]
    fn a_group_over_its_limit_leaves_nothing() {
        assert_eq!(
            bytes(&[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "100\n"),
                ("sys/fs/cgroup/memory.current", "200\n"),
            ]),
            0
        );
    }

    #[test]
    fn no_meminfo_is_an_error_that_says_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = available_ram_in(empty.path()).unwrap_err().to_string();
        assert!(error.contains("choose the size by hand"), "{error}");
    }
}
