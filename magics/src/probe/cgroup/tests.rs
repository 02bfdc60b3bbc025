use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;
const UNLIMITED_V1: &str = "9223372036854771712\n";

/// A file system tree in a temporary folder.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(cgroup: &str, mountinfo: &str) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.write("proc/self/cgroup", cgroup);
        tree.write("proc/self/mountinfo", mountinfo);
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn v2_group(&self, folder: &str, limit: &str, current: u64) {
        self.write(&format!("{folder}/memory.max"), limit);
        self.write(&format!("{folder}/memory.current"), &format!("{current}\n"));
        self.write(&format!("{folder}/memory.stat"), STAT_V2);
    }

    fn v1_group(&self, folder: &str, limit: &str, usage: u64, stat: &str) {
        self.write(&format!("{folder}/memory.limit_in_bytes"), limit);
        self.write(
            &format!("{folder}/memory.usage_in_bytes"),
            &format!("{usage}\n"),
        );
        self.write(&format!("{folder}/memory.stat"), stat);
    }

    fn detect(&self) -> Result<CgroupProbe, ProbeError> {
        CgroupProbe::detect_in(self.0.path())
    }

    fn folder(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
}

const STAT_V2: &str = "anon 5000000\nfile 3500000\nkernel 900000\nshmem 500000\n\
    inactive_anon 1\nactive_anon 2\ninactive_file 1000000\nactive_file 2000000\n\
    unevictable 0\nslab_reclaimable 300000\nslab_unreclaimable 200000\nslab 500000\n";

fn stat_v1(from_above: &str) -> String {
    format!(
        "cache 1\nrss 2\nshmem 3\ninactive_file 4\nactive_file 5\n\
         hierarchical_memory_limit {from_above}\ntotal_cache 3500000\ntotal_rss 5000000\n\
         total_shmem 500000\ntotal_inactive_file 1000000\ntotal_active_file 2000000\n"
    )
}

const MOUNT_V2: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
const MOUNT_V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

#[test]
fn in_v2_cache_and_reclaimable_slab_are_not_used_memory() {
    let tree = Tree::new("0::/\n", MOUNT_V2);
    tree.v2_group("sys/fs/cgroup", "2147483648\n", 10_000_000);
    let probe = tree.detect().unwrap();
    assert_eq!(probe.version(), CgroupVersion::V2);
    assert_eq!(probe.limit(), Some(2 * GIB));
    assert_eq!(
        probe.read().unwrap(),
        CgroupMemory {
            used: 10_000_000 - 3_000_000 - 300_000,
            charged: 10_000_000,
            anon: Some(5_000_000),
            file: Some(3_000_000),
            shmem: Some(500_000),
        }
    );
}

#[test]
fn in_v1_the_values_with_the_groups_below_count() {
    let tree = Tree::new("4:memory:/\n0::/\n", MOUNT_V1);
    let stat = stat_v1("1073741824");
    tree.v1_group("sys/fs/cgroup/memory", "1073741824\n", 10_000_000, &stat);
    let probe = tree.detect().unwrap();
    assert_eq!(probe.version(), CgroupVersion::V1);
    assert_eq!(probe.limit(), Some(GIB));
    let memory = probe.read().unwrap();
    assert_eq!(memory.used, 7_000_000);
    assert_eq!(memory.anon, Some(5_000_000));
    assert_eq!(memory.file, Some(3_000_000));
    assert_eq!(memory.shmem, Some(500_000));
}

#[test]
fn the_smallest_limit_of_all_levels_holds_and_its_group_s_use_counts() {
    let tree = Tree::new("0::/pod/container/job\n", MOUNT_V2);
    tree.v2_group("sys/fs/cgroup/pod", "8589934592\n", 40_000_000);
    tree.v2_group("sys/fs/cgroup/pod/container", "1073741824\n", 30_000_000);
    tree.v2_group("sys/fs/cgroup/pod/container/job", "max\n", 20_000_000);
    let probe = tree.detect().unwrap();
    assert_eq!(probe.limit(), Some(GIB));
    assert_eq!(probe.path(), tree.folder("sys/fs/cgroup/pod/container"));
    assert_eq!(probe.read().unwrap().charged, 30_000_000);
}

#[test]
fn of_equal_limits_the_outermost_is_the_one_that_fills_first() {
    let tree = Tree::new("0::/pod/container\n", MOUNT_V2);
    tree.v2_group("sys/fs/cgroup/pod", "1073741824\n", 40_000_000);
    tree.v2_group("sys/fs/cgroup/pod/container", "1073741824\n", 30_000_000);
    assert_eq!(
        tree.detect().unwrap().path(),
        tree.folder("sys/fs/cgroup/pod")
    );
}

#[test]
fn without_any_limit_the_own_group_is_read() {
    let v2 = Tree::new("0::/user/job\n", MOUNT_V2);
    v2.v2_group("sys/fs/cgroup/user", "max\n", 40_000_000);
    v2.v2_group("sys/fs/cgroup/user/job", "max\n", 30_000_000);
    let probe = v2.detect().unwrap();
    assert_eq!(probe.limit(), None);
    assert_eq!(probe.path(), v2.folder("sys/fs/cgroup/user/job"));

    for unlimited in [UNLIMITED_V1, "9223372036854710272\n"] {
        let v1 = Tree::new("4:memory:/job\n", MOUNT_V1);
        let stat = stat_v1(unlimited.trim());
        v1.v1_group("sys/fs/cgroup/memory", unlimited, 40_000_000, &stat);
        v1.v1_group("sys/fs/cgroup/memory/job", unlimited, 30_000_000, &stat);
        assert_eq!(v1.detect().unwrap().limit(), None);
    }
}

#[test]
fn v1_tells_a_limit_from_above_the_container_s_root() {
    let tree = Tree::new("4:memory:/\n", MOUNT_V1);
    let stat = stat_v1("536870912");
    tree.v1_group("sys/fs/cgroup/memory", UNLIMITED_V1, 10_000_000, &stat);
    assert_eq!(tree.detect().unwrap().limit(), Some(GIB / 2));
}

#[test]
fn the_path_is_taken_relative_to_the_group_that_is_mounted() {
    let mount = MOUNT_V1.replace(" / /sys", " /docker/abc /sys");
    let tree = Tree::new("4:memory:/docker/abc/job\n", &mount);
    let stat = stat_v1(UNLIMITED_V1.trim());
    tree.v1_group(
        "sys/fs/cgroup/memory/job",
        "1073741824\n",
        10_000_000,
        &stat,
    );
    let probe = tree.detect().unwrap();
    assert_eq!(probe.path(), tree.folder("sys/fs/cgroup/memory/job"));
}

#[test]
fn a_path_from_outside_the_container_means_its_mount_point() {
    for path in ["/docker/abc", "/../../system.slice/job"] {
        let mount = MOUNT_V2.replace(" / /sys", " /elsewhere /sys");
        let tree = Tree::new(&format!("0::{path}\n"), &mount);
        tree.v2_group("sys/fs/cgroup", "1073741824\n", 10_000_000);
        assert_eq!(tree.detect().unwrap().path(), tree.folder("sys/fs/cgroup"));
    }
}

#[test]
fn a_group_that_is_not_visible_is_replaced_by_the_next_above() {
    let tree = Tree::new("0::/docker/abc\n", MOUNT_V2);
    tree.v2_group("sys/fs/cgroup", "1073741824\n", 10_000_000);
    assert_eq!(tree.detect().unwrap().limit(), Some(GIB));
}

#[test]
fn in_a_hybrid_the_hierarchy_with_the_memory_controller_counts() {
    let mounts = format!(
        "{MOUNT_V1}{}",
        MOUNT_V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    );
    let tree = Tree::new("4:memory:/job\n0::/job\n", &mounts);
    tree.write("sys/fs/cgroup/unified/job/cgroup.procs", "1\n");
    let stat = stat_v1(UNLIMITED_V1.trim());
    tree.v1_group(
        "sys/fs/cgroup/memory/job",
        "1073741824\n",
        10_000_000,
        &stat,
    );
    assert_eq!(tree.detect().unwrap().version(), CgroupVersion::V1);

    // The other way round: v1 is there, but not for memory.
    let tree = Tree::new("1:name=systemd:/job\n0::/job\n", &mounts);
    tree.v2_group("sys/fs/cgroup/unified/job", "1073741824\n", 10_000_000);
    assert_eq!(tree.detect().unwrap().version(), CgroupVersion::V2);
}

#[test]
fn a_machine_without_a_memory_group_says_which() {
    let nothing = Tree::new("0::/\n", "");
    assert!(matches!(nothing.detect(), Err(ProbeError::NoCgroup { .. })));

    let root_group = Tree::new("0::/\n", MOUNT_V2);
    root_group.write("sys/fs/cgroup/memory.stat", STAT_V2);
    let error = root_group.detect().unwrap_err();
    assert!(error.to_string().contains("root group"), "{error}");

    let no_proc = tempfile::tempdir().unwrap();
    let error = CgroupProbe::detect_in(no_proc.path()).unwrap_err();
    assert!(matches!(error, ProbeError::Unreadable { .. }));
}

#[test]
fn a_file_of_unknown_form_is_an_error_and_not_zero() {
    for (current, stat) in [
        ("", STAT_V2),
        ("max", STAT_V2),
        ("10000000", "anon 5000000\n"),
        ("10000000", "inactive_file x\nactive_file 2\n"),
        ("10000000", ""),
    ] {
        let tree = Tree::new("0::/\n", MOUNT_V2);
        tree.v2_group("sys/fs/cgroup", "1073741824\n", 1);
        tree.write("sys/fs/cgroup/memory.current", current);
        tree.write("sys/fs/cgroup/memory.stat", stat);
        let error = tree.detect().unwrap().read().unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { .. }), "{current:?}");
    }
}

#[test]
fn kills_for_memory_are_counted_in_the_own_group() {
    let v2 = Tree::new("0::/pod/job\n", MOUNT_V2);
    v2.v2_group("sys/fs/cgroup/pod", "1073741824\n", 2);
    v2.v2_group("sys/fs/cgroup/pod/job", "max\n", 1);
    v2.write("sys/fs/cgroup/pod/memory.events", "oom_kill 9\n");
    let events = "low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\noom_group_kill 1\n";
    v2.write("sys/fs/cgroup/pod/job/memory.events", events);
    assert_eq!(v2.detect().unwrap().oom_kills(), Some(3));

    let v1 = Tree::new("4:memory:/\n", MOUNT_V1);
    let stat = stat_v1(UNLIMITED_V1.trim());
    v1.v1_group("sys/fs/cgroup/memory", "1073741824\n", 1, &stat);
    // Linux before 4.13 has no counter.
    let control = "sys/fs/cgroup/memory/memory.oom_control";
    v1.write(control, "oom_kill_disable 0\nunder_oom 0\n");
    assert_eq!(v1.detect().unwrap().oom_kills(), None);
    v1.write(control, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_eq!(v1.detect().unwrap().oom_kills(), Some(2));
}

#[test]
fn a_peak_is_read_where_there_is_one() {
    let tree = Tree::new("4:memory:/\n", MOUNT_V1);
    let stat = stat_v1(UNLIMITED_V1.trim());
    tree.v1_group("sys/fs/cgroup/memory", "1073741824\n", 1, &stat);
    assert!(tree.detect().unwrap().peak().is_err());
    tree.write("sys/fs/cgroup/memory/memory.max_usage_in_bytes", "77\n");
    let probe = tree.detect().unwrap();
    assert_eq!(probe.peak().unwrap(), 77);
    // It would be reset for everybody.
    assert!(probe.reset_peak().is_err());
}

proptest! {
    #[test]
    fn garbage_is_no_limit(text in "[^0-9]*") {
        prop_assert_eq!(parse_limit(text.as_bytes()), None);
    }

    #[test]
    fn any_bytes_are_taken(text: Vec<u8>) {
        for version in [CgroupVersion::V1, CgroupVersion::V2] {
            let parts = Parts::parse(&text, version);
            prop_assert!(parts.is_none() || text.windows(11).any(|part| part == b"active_file"));
        }
    }

    #[test]
    fn sizes_too_large_to_add_are_no_sum(active: u64, inactive: u64) {
        let stat = format!("active_file {active}\ninactive_file {inactive}\n");
        let cache = Parts::parse(stat.as_bytes(), CgroupVersion::V2).map(|parts| parts.cache);
        prop_assert_eq!(cache, active.checked_add(inactive));
    }
}

#[test]
fn this_machine_s_own_group_can_be_read_if_it_has_one() {
    match CgroupProbe::detect() {
        Ok(probe) => {
            let memory = probe.read().unwrap();
            assert!(memory.used <= memory.charged);
            assert!(memory.charged > 0);
        }
        Err(error) => assert!(matches!(error, ProbeError::NoCgroup { .. }), "{error}"),
    }
}
