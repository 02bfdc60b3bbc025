//! An allocator for programs that want their heap counted by [`crate::measure`].

#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};

use super::{allocated, freed, is_counting, resized, usable_size};

/// The system's allocator, with each call reported: make it a program's `#[global_allocator]`.
///
/// It sees what Rust code allocates. What C libraries of the program take from `malloc` is not in the
/// figures; the kernel's own binary, which replaces `malloc` itself, counts that too. Until
/// something is measured a call costs one branch more.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

// SAFETY: every call is passed on to the system's allocator, and its answer is given back unchanged. The
// reports neither allocate nor unwind.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        counted(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        counted(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_counting() {
            // SAFETY: by the caller's promise a live block of ours, and those come from `malloc`.
            freed(unsafe { usable_size(block.cast()) });
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_counting() {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller's promise, as for `dealloc`; the size is asked before the block is gone. What
        // comes back is null, or a live block of `malloc`.
        unsafe {
            let old = usable_size(block.cast());
            let new = System.realloc(block, layout, size);
            if !new.is_null() {
                resized(old, usable_size(new.cast()));
            }
            new
        }
    }
}

#[inline]
fn counted(block: *mut u8) -> *mut u8 {
    if is_counting() && !block.is_null() {
        // SAFETY: a live block that the system's `malloc` just handed out.
        allocated(unsafe { usable_size(block.cast()) });
    }
    block
}
