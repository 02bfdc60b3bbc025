//! What only the C library tells: its version, the system's log, and what processes have used.

#![expect(unsafe_code, reason = "functions of C")]

/// The version of glibc that this process runs with. `None` with another C library.
pub fn glibc_version() -> Option<String> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes nothing, and returns a constant text that ends in a zero byte.
        let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
        version.to_str().ok().map(str::to_owned)
    }
    #[cfg(not(target_env = "gnu"))]
    None
}

/// The kernel's log; gVisor shows a made-up one to anybody. `None` where it is not allowed.
pub fn kernel_log() -> Option<String> {
    const READ_ALL: libc::c_int = 3;
    let mut text = vec![0u8; 16 * 1024];
    let room = libc::c_int::try_from(text.len()).ok()?;
    // SAFETY: `text` has `room` bytes to write into, and nothing else is asked of the log.
    let length = unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), room) };
    text.truncate(usize::try_from(length).ok()?);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// What `getrusage` tells of this process (`RUSAGE_SELF`), or of its children that were waited for
/// (`RUSAGE_CHILDREN`). May be called in a handler of signals.
pub(crate) fn usage(who: libc::c_int) -> Option<libc::rusage> {
    let mut usage = std::mem::MaybeUninit::uninit();
    // SAFETY: there is room for one `rusage`.
    let result = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written all of it.
    (result == 0).then(|| unsafe { usage.assume_init() })
}
