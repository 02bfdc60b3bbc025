//! Memory of the container: the cgroup, v1 or v2, that limits this process.
//!
//! **Which group.** A process is limited by its own group and by all above it. The one with the
//! smallest limit is taken (the outermost, where several have the same), and its use is what
//! counts towards that limit, other processes in it included. A limit above the container's root
//! cannot be seen in v2; v1 tells it (`hierarchical_memory_limit`), but not its use.
//!
//! **What counts as used**: what is charged to the group, less what the kernel can drop at once
//! when memory is wanted: page cache on the active and inactive lists and, in v2, reclaimable slab.
//! Anonymous memory, shared memory and `tmpfs`, locked pages and the kernel's own memory stay in.
//! That is how the kernel makes `MemAvailable` for a machine, so the two sources mean alike.
//! `inactive_file` alone, which some tools subtract, leaves the more often used half of the cache.
//!
//! **How exact**: charges and statistics are batched by CPU; values are off by at most 64 pages for
//! each CPU and kind (`MEMCG_CHARGE_BATCH`), statistics of v2 by that much times the number of
//! CPUs until they are flushed.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst` of Linux.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{KeptFile, ProbeError, keyed, number};

mod place;
#[cfg(test)]
mod tests;

/// The generation of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

impl std::fmt::Display for CgroupVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CgroupVersion::V1 => "v1",
            CgroupVersion::V2 => "v2",
        })
    }
}

/// A group's memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Memory that cannot be dropped at once; see the module's text.
    pub used: u64,
    /// Everything charged to the group, page cache included.
    pub charged: u64,
    /// Anonymous memory (`anon`; `total_rss` in v1).
    pub anon: Option<u64>,
    /// Page cache of files, left out of `used`.
    pub file: Option<u64>,
    /// Shared memory and `tmpfs`, part of `used`.
    pub shmem: Option<u64>,
}

/// Reads one group's memory again and again through files kept open.
#[derive(Debug)]
pub struct CgroupProbe {
    version: CgroupVersion,
    folder: PathBuf,
    own_folder: PathBuf,
    limit: Option<u64>,
    charged: KeptFile,
    stat: KeptFile,
    peak: Option<KeptFile>,
}

impl CgroupProbe {
    /// Finds the group that limits this process.
    ///
    /// # Errors
    /// Where no memory cgroup is mounted, or it keeps no accounts.
    pub fn detect() -> Result<CgroupProbe, ProbeError> {
        CgroupProbe::detect_in(Path::new("/"))
    }

    /// [`Self::detect`] in a tree that lies under `root`: `root/proc/self/cgroup`,
    /// `root/proc/self/mountinfo` and the mount points named there.
    ///
    /// # Errors
    /// As [`Self::detect`].
    pub fn detect_in(root: &Path) -> Result<CgroupProbe, ProbeError> {
        let place = place::find(root)?;
        let with_accounts: Vec<&PathBuf> = place
            .groups
            .iter()
            .filter(|group| group.join(files(place.version).charged).exists())
            .collect();
        let (Some(innermost), Some(outermost)) = (with_accounts.first(), with_accounts.last())
        else {
            return Err(ProbeError::NoCgroup {
                reason: "this process is in the root group, which keeps none",
            });
        };
        let smallest = with_accounts
            .iter()
            .filter_map(|group| Some((limit_of(group, place.version)?, *group)))
            // Of equals the last: the outermost.
            .reduce(|best, next| if next.0 <= best.0 { next } else { best });
        let from_above = limit_from_above(innermost, place.version);
        let (limit, folder) = match (smallest, from_above) {
            (Some((seen, _)), Some(above)) if above < seen => (Some(above), *outermost),
            (Some((seen, group)), _) => (Some(seen), group),
            (None, Some(above)) => (Some(above), *outermost),
            (None, None) => (None, *innermost),
        };
        CgroupProbe::open(place.version, folder, innermost, limit)
    }

    fn open(
        version: CgroupVersion,
        folder: &Path,
        own_folder: &Path,
        limit: Option<u64>,
    ) -> Result<CgroupProbe, ProbeError> {
        let names = files(version);
        Ok(CgroupProbe {
            version,
            limit,
            charged: KeptFile::open(folder.join(names.charged))?,
            stat: KeptFile::open(folder.join("memory.stat"))?,
            peak: open_peak(folder.join(names.peak), version),
            folder: folder.to_owned(),
            own_folder: own_folder.to_owned(),
        })
    }

    /// The generation of the interface.
    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    /// The group's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// What the group can hold at most, in bytes; `None` where nothing limits it. As it was when
    /// the probe was made.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The group's memory now.
    ///
    /// # Errors
    /// Where the group is no more, or its files are not of a known form.
    pub fn read(&self) -> Result<CgroupMemory, ProbeError> {
        let charged = self.charged.read_number("memory in use")?;
        let stat = self
            .stat
            .read()
            .map_err(|source| ProbeError::unreadable(&self.stat.path, source))?;
        let parts = Parts::parse(&stat, self.version)
            .ok_or_else(|| self.stat.malformed("inactive_file and active_file"))?;
        Ok(CgroupMemory {
            used: charged
                .saturating_sub(parts.cache)
                .saturating_sub(parts.reclaimable_slab),
            charged,
            anon: parts.anon,
            file: Some(parts.cache),
            shmem: parts.shmem,
        })
    }

    /// The highest [`CgroupMemory::charged`] since the group was made or since
    /// [`Self::reset_peak`].
    ///
    /// It includes the page cache, so it is only an upper bound of the peak of what is used.
    ///
    /// # Errors
    /// Where the group keeps no peak.
    pub fn peak(&self) -> Result<u64, ProbeError> {
        self.peak
            .as_ref()
            .ok_or(ProbeError::CgroupPeak(
                "is not kept here (v2 keeps it since Linux 5.19), so it is sampled",
            ))?
            .read_number("peak")
    }

    /// Makes [`Self::peak`] start anew for this probe alone: other readers of the group keep
    /// their peak (`memory.peak` of v2, since Linux 6.12).
    ///
    /// The peak of v1 can be reset too, but for everybody at once, so it is not done.
    ///
    /// # Errors
    /// Where it cannot be done.
    pub fn reset_peak(&self) -> Result<(), ProbeError> {
        let peak = self.peak.as_ref().ok_or(ProbeError::CgroupPeak(
            "is not kept here (v2 keeps it since Linux 5.19), so it is sampled",
        ))?;
        if self.version == CgroupVersion::V1 {
            return Err(ProbeError::CgroupPeak(
                "can be reset in cgroup v1 only for all readers at once, so it is sampled",
            ));
        }
        peak.file.write_at(b"reset\n", 0).map_err(|_| {
            ProbeError::CgroupPeak(
                "cannot be reset here (needs Linux 6.12 and a writable /sys/fs/cgroup), so it is \
                 sampled",
            )
        })?;
        Ok(())
    }

    /// How many processes of this process's own group were killed for memory, ever (v2: of the
    /// groups below it too).
    pub fn oom_kills(&self) -> Option<u64> {
        let events = match self.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        keyed(&fs::read(self.own_folder.join(events)).ok()?, "oom_kill")
    }
}

struct Files {
    charged: &'static str,
    limit: &'static str,
    peak: &'static str,
}

fn files(version: CgroupVersion) -> Files {
    match version {
        CgroupVersion::V1 => Files {
            charged: "memory.usage_in_bytes",
            limit: "memory.limit_in_bytes",
            peak: "memory.max_usage_in_bytes",
        },
        CgroupVersion::V2 => Files {
            charged: "memory.current",
            limit: "memory.max",
            peak: "memory.peak",
        },
    }
}

/// The peak belongs to the descriptor that reset it, so the same one must read and write.
fn open_peak(path: PathBuf, version: CgroupVersion) -> Option<KeptFile> {
    let writable = OpenOptions::new()
        .read(true)
        .write(version == CgroupVersion::V2)
        .open(&path);
    match writable {
        Ok(file) => Some(KeptFile { file, path }),
        Err(_) => KeptFile::open(path).ok(),
    }
}

fn limit_of(group: &Path, version: CgroupVersion) -> Option<u64> {
    parse_limit(&fs::read(group.join(files(version).limit)).ok()?)
}

/// The smallest limit of all groups above, also of those that a container does not see.
fn limit_from_above(group: &Path, version: CgroupVersion) -> Option<u64> {
    match version {
        CgroupVersion::V1 => {
            let stat = fs::read(group.join("memory.stat")).ok()?;
            below_unlimited(keyed(&stat, "hierarchical_memory_limit")?)
        }
        CgroupVersion::V2 => None,
    }
}

/// A limit in bytes; `None` for `max`, for v1's huge number, and for anything else.
fn parse_limit(text: &[u8]) -> Option<u64> {
    below_unlimited(number(text)?)
}

/// v1 writes "no limit" as the largest signed number, rounded down to a page, whose size differs.
fn below_unlimited(bytes: u64) -> Option<u64> {
    (bytes < 1 << 62).then_some(bytes)
}

/// What a `memory.stat` tells.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    cache: u64,
    reclaimable_slab: u64,
    anon: Option<u64>,
    shmem: Option<u64>,
}

impl Parts {
    /// `None` where the size of the page cache is not told: without it, the use cannot be either.
    fn parse(stat: &[u8], version: CgroupVersion) -> Option<Parts> {
        // v1 has two values of each: the group's own, and `total_` with the groups below.
        let (prefix, anon) = match version {
            CgroupVersion::V1 => ("total_", "total_rss"),
            CgroupVersion::V2 => ("", "anon"),
        };
        let part = |name: &str| keyed(stat, &format!("{prefix}{name}"));
        Some(Parts {
            cache: part("active_file")?.checked_add(part("inactive_file")?)?,
            // v1 does not tell it.
            reclaimable_slab: keyed(stat, "slab_reclaimable").unwrap_or(0),
            anon: keyed(stat, anon),
            shmem: part("shmem"),
        })
    }
}
