//! Memory of the system: the container's where it has a limit, else the machine's.
//!
//! **The machine** is `MemTotal - MemAvailable`, less the free pages that each CPU keeps on a list
//! of its own (`/proc/zoneinfo`). Linux counts those neither as free nor as available. Since 6.7
//! the lists grow by themselves: on a machine of 24 GiB they took up 300 MiB after a large block
//! was freed, so that a next cell that touched 256 MiB showed as 70 MiB; with the correction it
//! shows as 255 MiB. Other tools (`free`, psutil) leave it out and tell as much more.
//!
//! **Cost**, in a release build on 2 cores with Linux 6.18: 45 µs a reading of the
//! machine, 10 µs of a container (cgroup v1); about 200 µs for [`SystemProbe::detect`], so keep a
//! probe.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use sysinfo::{MemoryRefreshKind, System};

use super::cgroup::{CgroupProbe, CgroupVersion};
use super::tree::page_size;
use super::{KeptFile, ProbeError, keyed, number};

/// `/proc/zoneinfo` has some lines for each CPU and zone. On a machine with more CPUs than this,
/// reading it every few milliseconds would cost more than its correction is worth.
const ZONES_UP_TO_CPUS: usize = 32;

/// Whose memory a [`SystemMemory`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemSource {
    /// The whole machine, or virtual machine.
    Machine,
    /// The group that limits this process.
    Cgroup {
        /// Generation of the interface.
        version: CgroupVersion,
        /// The group's folder.
        path: PathBuf,
    },
}

/// Memory of the system at one moment, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemMemory {
    /// Memory in use, without what the kernel can drop at once, such as page cache.
    /// The machine: see the module's text. A container: [`super::cgroup::CgroupMemory::used`].
    pub used: u64,
    /// What there is at most.
    pub limit: u64,
    /// Whose memory it is.
    pub source: SystemSource,
    /// Anonymous memory; containers only.
    pub anon: Option<u64>,
    /// Page cache, not part of `used`; containers only.
    pub file: Option<u64>,
}

/// Reads the memory of the system again and again.
#[derive(Debug)]
pub struct SystemProbe {
    // Kept also where it limits nothing: it counts the kills for memory.
    cgroup: Option<CgroupProbe>,
    container_limit: Option<u64>,
}

impl SystemProbe {
    /// Looks which holds: the container's limit if it is below the machine's memory, else the
    /// machine.
    ///
    /// # Errors
    /// Where neither can be read.
    pub fn detect() -> Result<SystemProbe, ProbeError> {
        let cgroup = CgroupProbe::detect().ok();
        let machine = read_machine();
        let total = machine.as_ref().map(|memory| memory.limit).ok();
        let container_limit = cgroup
            .as_ref()
            .and_then(|cgroup| container_limit(cgroup.limit(), total));
        if container_limit.is_none() {
            machine?;
        }
        Ok(SystemProbe {
            cgroup,
            container_limit,
        })
    }

    fn limiting(&self) -> Option<(&CgroupProbe, u64)> {
        Some((self.cgroup.as_ref()?, self.container_limit?))
    }

    /// The memory of the system now.
    ///
    /// # Errors
    /// Where the group is no more, or `/proc/meminfo` cannot be read.
    pub fn read(&self) -> Result<SystemMemory, ProbeError> {
        let Some((cgroup, limit)) = self.limiting() else {
            return read_machine();
        };
        let memory = cgroup.read()?;
        Ok(SystemMemory {
            used: memory.used,
            limit,
            source: SystemSource::Cgroup {
                version: cgroup.version(),
                path: cgroup.path().to_owned(),
            },
            anon: memory.anon,
            file: memory.file,
        })
    }

    /// Whether it is a container's.
    pub fn is_container(&self) -> bool {
        self.limiting().is_some()
    }

    /// Whose memory it is, for a table.
    pub fn describe(&self) -> String {
        match self.limiting() {
            Some((cgroup, _)) => format!("container limit (cgroup {})", cgroup.version()),
            None => "machine".into(),
        }
    }

    /// The group of this process, also one without a limit; `None` where there is none.
    pub fn cgroup(&self) -> Option<&CgroupProbe> {
        self.cgroup.as_ref()
    }

    /// How many processes were killed for memory, ever: in this process's group where it is known,
    /// else on the whole machine (`/proc/vmstat`, since Linux 4.13). Two readings that differ tell
    /// of a kill between them.
    pub fn oom_kills(&self) -> Option<u64> {
        self.cgroup
            .as_ref()
            .and_then(CgroupProbe::oom_kills)
            .or_else(|| keyed(&fs::read("/proc/vmstat").ok()?, "oom_kill"))
    }
}

/// A container's limit counts only if it is below what the machine has.
fn container_limit(limit: Option<u64>, machine: Option<u64>) -> Option<u64> {
    limit.filter(|limit| machine.is_none_or(|total| *limit < total))
}

/// Readers of the machine's memory, one for the process: a new [`System`] reads all of
/// `/proc/stat`, which we have no use for.
struct Machine {
    system: Mutex<System>,
    zones: Option<KeptFile>,
}

static MACHINE: LazyLock<Option<Machine>> = LazyLock::new(|| {
    let cpus = std::thread::available_parallelism().map_or(usize::MAX, Into::into);
    Some(Machine {
        system: Mutex::new(System::new().ok()?),
        zones: (cpus <= ZONES_UP_TO_CPUS)
            .then(|| KeptFile::open("/proc/zoneinfo".into()).ok())
            .flatten(),
    })
});

fn read_machine() -> Result<SystemMemory, ProbeError> {
    let (total, available, listed) = MACHINE.as_ref().map_or((0, 0, 0), |machine| {
        let mut system = machine
            .system
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let zones = machine.zones.as_ref().and_then(|file| file.read().ok());
        let listed = zones
            .and_then(|text| parse_per_cpu_lists(&text))
            .unwrap_or(0);
        (system.total_memory(), system.available_memory(), listed)
    });
    // That is how sysinfo says that it could not read; no machine runs without memory.
    if total == 0 {
        return Err(ProbeError::Malformed {
            path: Path::new("/proc/meminfo").to_owned(),
            field: "MemTotal",
        });
    }
    Ok(SystemMemory {
        used: total
            .saturating_sub(available)
            .saturating_sub(listed.saturating_mul(page_size())),
        limit: total,
        source: SystemSource::Machine,
        anon: None,
        file: None,
    })
}

/// Pages on the free lists of all CPUs: the `count` of each page set in a `/proc/zoneinfo`.
/// `None` where the file tells of none, or one is no number.
fn parse_per_cpu_lists(zoneinfo: &[u8]) -> Option<u64> {
    zoneinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.trim_ascii_start().strip_prefix(b"count:"))
        .map(number)
        .reduce(|sum, count| sum?.checked_add(count?))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_container_s_limit_counts_only_below_the_machine_s_memory() {
        assert_eq!(container_limit(Some(GIB), Some(2 * GIB)), Some(GIB));
        assert_eq!(container_limit(Some(2 * GIB), Some(2 * GIB)), None);
        assert_eq!(container_limit(Some(3 * GIB), Some(2 * GIB)), None);
        assert_eq!(container_limit(None, Some(2 * GIB)), None);
        assert_eq!(container_limit(Some(GIB), None), Some(GIB));
    }

    #[test]
    fn free_pages_on_the_lists_of_all_cpus_are_added_up() {
        let zones = "Node 0, zone  DMA\n  per-node stats\n      nr_free_pages 9\n  pagesets\n    cpu: 0\n\
            \u{20}             count:    21\n              high:     28\n    cpu: 1\n\
            \u{20}             count:    4\nNode 0, zone  Normal\n    cpu: 0\n count: 100\n";
        assert_eq!(parse_per_cpu_lists(zones.as_bytes()), Some(125));
        assert_eq!(parse_per_cpu_lists(b"Node 0, zone DMA\n"), None);
        assert_eq!(parse_per_cpu_lists(b"count: 1\ncount: x\n"), None);
        assert_eq!(
            parse_per_cpu_lists(b"count: 18446744073709551615\ncount: 1\n"),
            None
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(text: Vec<u8>) {
            let pages = parse_per_cpu_lists(&text);
            prop_assert!(pages.is_none() || text.windows(6).any(|part| part == b"count:"));
        }
    }

    #[test]
    fn the_machine_is_what_meminfo_says() {
        let machine = read_machine().unwrap();
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let total = text
            .lines()
            .find(|line| line.starts_with("MemTotal:"))
            .unwrap();
        let kib: u64 = total.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(machine.limit, kib * 1024);
        assert!(machine.used > 0 && machine.used < machine.limit);
    }

    #[test]
    fn memory_that_is_taken_shows() {
        const SIZE: u64 = 256 << 20;
        const TOLERANCE: u64 = 64 << 20;
        let probe = SystemProbe::detect().unwrap();
        // Other processes take and free memory meanwhile: one quiet moment in ten is enough.
        let shows = (0..10).any(|_| {
            let before = probe.read().unwrap();
            let block = std::hint::black_box(vec![1u8; SIZE as usize]);
            let after = probe.read().unwrap();
            drop(block);
            after.used.saturating_sub(before.used).abs_diff(SIZE) < TOLERANCE
        });
        assert!(shows);
    }

    #[test]
    fn kills_for_memory_are_counted_on_linux() {
        assert!(SystemProbe::detect().unwrap().oom_kills().is_some());
    }
}
