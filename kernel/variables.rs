//! Changes of this process's own environment. They are made while it has one thread: C code, such as the
//! resolver of host names, reads the environment at any time and without a lock.

#![expect(unsafe_code, reason = "std::env::set_var")]

use std::ffi::OsStr;
use std::time::Duration;

/// Sets a variable.
///
/// # Panics
/// Where another thread runs.
pub fn set(name: &str, value: impl AsRef<OsStr>) {
    assert_only_thread();
    // SAFETY: no other thread is there to read the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
}

/// Removes a variable.
///
/// # Panics
/// Where another thread runs.
pub fn remove(name: &str) {
    assert_only_thread();
    // SAFETY: as in `set`.
    unsafe { std::env::remove_var(name) };
}

fn assert_only_thread() {
    // Where there is no /proc, nothing can be measured either, and the order in `main` must do.
    let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    // A thread that was waited for may be listed a moment longer.
    for _ in 0..100 {
        if threads() == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the environment is changed while other threads run");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic = "other threads run"]
    fn a_variable_is_not_set_beside_another_thread() {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(10)));
        set("MEMTRACK_TEST_OF_VARIABLES", "1");
    }
}
