//! Where the memory cgroup of this process lies in the file system.

use std::fs;
use std::path::{Component, Path, PathBuf};

use procfs::process::MountInfo;
use procfs::{FromBufRead, ProcessCGroups};

use super::CgroupVersion;
use crate::probe::ProbeError;

/// The group of this process and those above it, as far as they are visible.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub version: CgroupVersion,
    /// Folders, the process's own first, the mount point last.
    pub groups: Vec<PathBuf>,
}

/// Finds the group from `proc/self/cgroup` and `proc/self/mountinfo` under `root`.
pub fn find(root: &Path) -> Result<Place, ProbeError> {
    let read = |name: &str| {
        let path = root.join(name);
        fs::read(&path).map_err(|source| ProbeError::unreadable(&path, source))
    };
    let paths = parse_cgroup(&read("proc/self/cgroup")?);
    let mounts = parse_mounts(&read("proc/self/mountinfo")?);
    // With both mounted, the memory controller is in one of them only; v1 lists what it has.
    [
        (CgroupVersion::V1, paths.v1_memory),
        (CgroupVersion::V2, paths.v2),
    ]
    .into_iter()
    .find_map(|(version, path)| {
        let mounts: Vec<&Mount> = mounts.iter().filter(|m| m.version == version).collect();
        Some(Place {
            version,
            groups: groups(root, &mounts, &path?)?,
        })
    })
    .ok_or(ProbeError::NoCgroup {
        reason: "no cgroup file system with the memory controller is mounted",
    })
}

/// Paths of a process's groups, as seen from the root of its cgroup namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct CgroupPaths {
    v1_memory: Option<PathBuf>,
    v2: Option<PathBuf>,
}

fn parse_cgroup(text: &[u8]) -> CgroupPaths {
    let mut paths = CgroupPaths::default();
    for line in text.split(|byte| *byte == b'\n') {
        // Line by line: one that is not understood does not spoil the others.
        let Ok(ProcessCGroups(groups)) = ProcessCGroups::from_buf_read(line) else {
            continue;
        };
        for group in groups {
            let path = PathBuf::from(group.pathname);
            if group.controllers.iter().any(|name| name == "memory") {
                paths.v1_memory = Some(path);
            } else if group.hierarchy == 0 && group.controllers.is_empty() {
                paths.v2 = Some(path);
            }
        }
    }
    paths
}

/// A mounted hierarchy that may have the memory controller.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: CgroupVersion,
    /// The group that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    String::from_utf8_lossy(text)
        .lines()
        // A machine may have hundreds of mounts, and parsing one is not free.
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| {
            let mount = MountInfo::from_line(line).ok()?;
            let version = match mount.fs_type.as_str() {
                "cgroup2" => CgroupVersion::V2,
                "cgroup" if mount.super_options.contains_key("memory") => CgroupVersion::V1,
                _ => return None,
            };
            Some(Mount {
                version,
                root: unescape(&mount.root).into(),
                point: unescape(mount.mount_point.to_str()?).into(),
            })
        })
        .collect()
}

/// Undoes the octal escapes of `mountinfo` for blank, tab, newline and backslash. Names made by
/// systemd have backslashes.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, character)| {
        text.replace(escape, character)
    })
}

/// The folder of group `path` and of those above it, under the best of `mounts`.
fn groups(root: &Path, mounts: &[&Mount], path: &Path) -> Option<Vec<PathBuf>> {
    let escapes = path.components().any(|part| part == Component::ParentDir);
    let (point, inside) = mounts
        .iter()
        .filter(|_| !escapes)
        .filter_map(|mount| Some((mount, path.strip_prefix(&mount.root).ok()?)))
        .max_by_key(|(mount, _)| mount.root.components().count())
        // A container may be shown a path from outside its own view. What is mounted there is
        // its own group then.
        .or_else(|| Some((mounts.first()?, Path::new(""))))?;
    let point = root.join(point.point.strip_prefix("/").unwrap_or(&point.point));
    let groups: Vec<PathBuf> = inside
        .ancestors()
        .map(|below| {
            if below.as_os_str().is_empty() {
                point.clone()
            } else {
                point.join(below)
            }
        })
        .filter(|folder| folder.is_dir())
        .collect();
    (!groups.is_empty()).then_some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &str = "5:cpu,cpuacct:/a\n4:memory:/docker/b\n1:name=systemd:/c\n0::/d\n";

    #[test]
    fn both_hierarchies_are_found_in_a_hybrid() {
        let paths = parse_cgroup(HYBRID.as_bytes());
        assert_eq!(paths.v1_memory, Some("/docker/b".into()));
        assert_eq!(paths.v2, Some("/d".into()));
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_others() {
        let paths = parse_cgroup(b"x:y\n\xff:memory:/no\n0::/with:colon\n\n");
        assert_eq!(paths.v1_memory, None);
        assert_eq!(paths.v2, Some("/with:colon".into()));
    }

    #[test]
    fn only_mounts_with_memory_count() {
        let mounts = parse_mounts(
            b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
              32 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
              35 31 0:32 /docker/b /sys/fs/cgroup/memory ro master:11 - cgroup cgroup rw,memory\n\
              garbage\n\
              41 31 0:38 /a\\134x2db /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(
            mounts,
            [
                Mount {
                    version: CgroupVersion::V1,
                    root: "/docker/b".into(),
                    point: "/sys/fs/cgroup/memory".into(),
                },
                Mount {
                    version: CgroupVersion::V2,
                    root: "/a\\x2db".into(),
                    point: "/sys/fs/cgroup/uni fied".into(),
                },
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(text: Vec<u8>) {
            let _ = parse_cgroup(&text);
            let _ = parse_mounts(&text);
        }

        #[test]
        fn any_mount_like_line_is_taken(words in prop::collection::vec("[ -~]{0,12}", 0..14)) {
            let _ = parse_mounts(words.join(" ").as_bytes());
        }

        #[test]
        fn any_group_path_stays_under_the_mount(path in "/?([a-z.]{0,3}/){0,6}") {
            let root = tempfile::tempdir().unwrap();
            let mount = Mount {
                version: CgroupVersion::V2,
                root: "/".into(),
                point: "/sys".into(),
            };
            fs::create_dir(root.path().join("sys")).unwrap();
            let found = groups(root.path(), &[&mount], Path::new(&path)).unwrap();
            let point = root.path().join("sys");
            prop_assert!(found.iter().all(|folder| folder.starts_with(&point)));
            prop_assert_eq!(found.last(), Some(&point));
        }
    }
}
