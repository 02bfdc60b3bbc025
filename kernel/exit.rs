//! How this process itself ends, where libstd has no way for it.

#![expect(unsafe_code, reason = "functions of C")]

use std::ffi::c_int;

/// Has `function` called when the process ends in order. It must not unwind.
pub fn call_at_exit(function: extern "C" fn()) {
    // SAFETY: the function is one of this program, whose code stays to the end. One of C's kind cannot
    // unwind: a panic in it aborts.
    unsafe { libc::atexit(function) };
}

/// Ends the process at once, without what is to be done at its end.
pub fn at_once() -> ! {
    // SAFETY: nothing of this process runs any more afterwards.
    unsafe { libc::_exit(0) }
}

/// Ends the process by a signal, as it would end one that has no handler for it. Returns where this
/// signal ends none.
pub fn by_signal(signal: c_int) {
    // SAFETY: the default action replaces a handler, so no code of ours is called; a number that is no
    // signal's is refused.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: as above.
    unsafe { libc::raise(signal) };
}
