//! The `malloc` family of this binary: glibc's, with each call counted in the process that runs
//! the cells.
//!
//! The binary exports these symbols (see `build.rs`), so that every library loaded into the
//! process, the user's cells and their C libraries among them, resolves to them. In the kernel
//! process itself nothing is counted and a call costs one branch more.
//!
//! Rules for this file: no allocation, no formatting, no panic. A panic in here would abort.

#![expect(unsafe_code, reason = "the allocator")]

use std::ffi::{c_int, c_void};

use memtrack::heap;

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
    fn __libc_valloc(size: usize) -> *mut c_void;
    fn __libc_pvalloc(size: usize) -> *mut c_void;
}

/// Reports a block that glibc just handed out, if it did.
#[inline]
fn counted(block: *mut c_void) -> *mut c_void {
    if heap::is_counting() && !block.is_null() {
        // SAFETY: glibc's allocator has just handed it out.
        heap::allocated(unsafe { heap::usable_size(block) });
    }
    block
}

/// C's `malloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    counted(unsafe { __libc_malloc(size) })
}

/// C's `calloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    counted(unsafe { __libc_calloc(count, size) })
}

/// C's `free`, `free(NULL)` included.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if heap::is_counting() && !block.is_null() {
        // SAFETY: by the caller's promise a live block, and all are from glibc's allocator.
        heap::freed(unsafe { heap::usable_size(block) });
    }
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    unsafe { __libc_free(block) }
}

/// C's `realloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if !heap::is_counting() {
        // SAFETY: the caller's promise to C's function, which is called with the same arguments.
        return unsafe { __libc_realloc(block, size) };
    }
    let old = if block.is_null() {
        0
    } else {
        // SAFETY: by the caller's promise a live block, and all are from glibc's allocator.
        unsafe { heap::usable_size(block) }
    };
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    let moved = unsafe { __libc_realloc(block, size) };
    if !moved.is_null() {
        // SAFETY: glibc's allocator has just handed it out; maybe at the old place.
        heap::resized(old, unsafe { heap::usable_size(moved) });
    } else if size == 0 && !block.is_null() {
        // glibc frees the block and returns null; any other null leaves the block as it was.
        heap::freed(old);
    }
    moved
}

/// glibc's `reallocarray`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(
    block: *mut c_void,
    count: usize,
    size: usize,
) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller's promise: it is this call with both sizes in one.
        Some(bytes) => unsafe { realloc(block, bytes) },
        None => {
            set_errno(libc::ENOMEM);
            std::ptr::null_mut()
        }
    }
}

/// POSIX's `posix_memalign`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(
    result: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    // SAFETY: `alignment` is one that glibc takes, errno's place is the thread's own, and by the caller's
    // promise `result` is a place for an address. POSIX leaves errno alone.
    unsafe {
        let errno = *libc::__errno_location();
        let block = counted(__libc_memalign(alignment, size));
        set_errno(errno);
        if block.is_null() {
            return libc::ENOMEM;
        }
        *result = block;
    }
    0
}

/// C's `aligned_alloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    if !alignment.is_power_of_two() {
        set_errno(libc::EINVAL);
        return std::ptr::null_mut();
    }
    // SAFETY: `alignment` is one that glibc takes, and any size may be asked for.
    counted(unsafe { __libc_memalign(alignment, size) })
}

/// glibc's `memalign`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    counted(unsafe { __libc_memalign(alignment, size) })
}

/// glibc's `valloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    counted(unsafe { __libc_valloc(size) })
}

/// glibc's `pvalloc`.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's promise to C's function, which is called with the same arguments.
    counted(unsafe { __libc_pvalloc(size) })
}

fn set_errno(value: c_int) {
    // SAFETY: every thread has a place for errno, which only it uses.
    unsafe { *libc::__errno_location() = value };
}
