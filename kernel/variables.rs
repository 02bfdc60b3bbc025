//! Changes of this process's own environment. They are made while it has one thread: C code, such as the
//! resolver of host names, reads the environment at any time and without a lock.

#![expect(unsafe_code, reason = "std::env::set_var")]

use std::ffi::OsStr;
use std::sync::Once;

/// Sets a variable. Call it before the first thread.
pub fn set(name: &str, value: impl AsRef<OsStr>) {
    tell_of_threads();
    // SAFETY: this program has one thread. One of a preloaded library would have to read the environment
    // just now; that there are such has been told.
    unsafe { std::env::set_var(name, value) };
}

/// Removes a variable. Call it before the first thread.
pub fn remove(name: &str) {
    tell_of_threads();
    // SAFETY: as in `set`.
    unsafe { std::env::remove_var(name) };
}

/// Says once that other threads run. To refuse would keep those from working who preload a library that
/// starts some, such as an allocator or a profiler.
fn tell_of_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where there is no /proc, nothing can be measured either, and the order in `main` must do.
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            eprintln!(
                "memtrack-kernel: other threads run before this program has started any: should a \
                 preloaded library read the environment now, it may crash"
            );
        }
    });
}
