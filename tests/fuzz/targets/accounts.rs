//! What Linux says of processes and control groups, in any words: read or refused, never a panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use memtrack::probe::cgroup::CgroupProbe;
use memtrack::probe::host;

/// The files of a tree as `CgroupProbe::detect_in` looks for it, separated by zeros in the input.
const FILES: [&str; 8] = [
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.peak",
    "sys/fs/cgroup/a/memory.events",
    "sys/fs/cgroup/memory.max",
];

fuzz_target!(|bytes: &[u8]| {
    if let Some(memory) = host::parse_status(bytes) {
        assert!(memory.rss <= 1 << 63);
    }
    let root = tempfile::tempdir_in("/dev/shm").expect("a folder");
    for (name, content) in FILES.iter().zip(bytes.split(|byte| *byte == 0)) {
        write(&root.path().join(name), content);
    }
    if let Ok(probe) = CgroupProbe::detect_in(root.path()) {
        let _ = (probe.read(), probe.peak(), probe.limit(), probe.oom_kills());
    }
});

fn write(file: &Path, content: &[u8]) {
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
    std::fs::write(file, content).expect("written");
}
