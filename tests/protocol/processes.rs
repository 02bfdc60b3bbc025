//! The processes that a kernel started, by a mark in their environment: it also finds those whose
//! parent is gone.

use std::time::{Duration, Instant};

/// The environment variable that marks a kernel and, by inheritance, all that it starts.
pub const MARK: &str = "MEMTRACK_TEST_MARK";

/// How often `/proc` is looked at while something is awaited there.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub name: String,
}

/// All living processes with this mark, the kernel first.
pub fn marked(mark: &str) -> Vec<Process> {
    let entry = format!("{MARK}={mark}");
    let mut found: Vec<Process> = std::fs::read_dir("/proc")
        .expect("/proc can be read")
        .flatten()
        .filter_map(|folder| folder.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            // Empty for one that is dead but not reaped yet.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|own| own == entry.as_bytes())
        })
        .filter_map(|pid: i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let name = name.trim().to_owned();
            Some(Process { pid, name })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// A value of `/proc/PID/status` in bytes.
pub fn status_bytes(pid: i32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kib.and_then(|kib| kib.parse::<u64>().ok()).expect(field)
}

/// Waits until `state` gives a value. After `limit` the test fails and says what was awaited.
pub async fn eventually<T>(
    awaited: &str,
    limit: Duration,
    mut state: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = state() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {awaited}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Kills a process at once, unless it ended by itself.
pub fn kill(pid: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
