//! Counting of a process's heap: live bytes, their exact peak, calls and bytes handed out.
//!
//! A process that wants to be counted defines the `malloc` family itself and reports each call
//! to [`allocated`], [`freed`] and [`resized`]. The counters lie in a [`SharedPage`], so that
//! another process can read them at any time, also after the counted one was killed.
//!
//! **How it stays cheap.** A shared atomic counter would make threads that allocate wait for each
//! other. So each thread has a [`Slot`] that it alone writes, with plain loads and stores. What a
//! slot has not yet given to the common total is called *pending*; it is given over when it
//! reaches [`FLUSH_BYTES`] either way.
//!
//! **How exact it is.** Live bytes, calls and bytes handed out are exact whenever the threads are
//! quiet, because a reader adds up the slots. The peak is exact to the byte as long as one thread
//! allocates at a time: a slot remembers its own highest pending value between two flushes. While
//! several threads allocate at the same time, the peak can miss what the *other* threads did
//! between two flushes, or see it twice, at most twice `FLUSH_BYTES` for each of them: see
//! [`peak_error`].
//!
//! Sizes are those of `malloc_usable_size`, that is the request plus the allocator's rounding,
//! since `free` is not told the request. A `realloc` counts as one call; the block that it moves
//! away from is not counted twice.

#![expect(
    unsafe_code,
    reason = "the counting side of the allocator, and what it asks of glibc"
)]

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};

use crate::page::SharedPage;

mod counters;
mod counting_allocator;

pub use counters::{Activity, Counts, FLUSH_BYTES, HeapCounters, SLOTS, Slot, peak_error};
pub use counting_allocator::CountingAllocator;

/// Where this process counts; null while it does not.
static COUNTERS: AtomicPtr<HeapCounters> = AtomicPtr::new(null_mut());

/// The key whose destructor gives a thread's slot back.
static THREAD_END: AtomicU32 = AtomicU32::new(u32::MAX);

// What a thread does with its calls, beside having a slot of its own. Addresses that no slot has.
/// Not seen yet.
const NEW: *const Slot = std::ptr::null();
/// Uses the shared atomics.
const SHARED: *const Slot = std::ptr::without_provenance(1);
/// Is not the user's, and not counted.
const IGNORED: *const Slot = std::ptr::without_provenance(2);

thread_local! {
    // Constant and without a destructor: plain thread-local storage, safe to touch inside malloc.
    static THREAD: Cell<*const Slot> = const { Cell::new(NEW) };
}

/// Set once it is known that glibc keeps a block's size where [`usable_size`] looks for it.
static SIZE_IN_HEADER: AtomicBool = AtomicBool::new(false);

/// Bytes of a block of `malloc`'s that its owner may use.
///
/// glibc keeps a block's size in the word before it. Reading it there spares a call into the C
/// library, which would be half the cost of counting; [`start_counting`] checks that it is so,
/// else this asks `malloc_usable_size`.
///
/// # Safety
/// `block` must be a live block of this process's `malloc`.
#[inline]
pub unsafe fn usable_size(block: *mut libc::c_void) -> usize {
    if SIZE_IN_HEADER.load(Relaxed) {
        // SAFETY: the caller's promise; and `start_counting` has seen that sizes are kept there.
        unsafe { size_in_header(block) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { libc::malloc_usable_size(block) }
    }
}

/// # Safety
/// As [`usable_size`].
#[inline]
unsafe fn size_in_header(block: *mut libc::c_void) -> usize {
    const FLAGS: usize = 7;
    const IS_MAPPED: usize = 2;
    // SAFETY: a live block of glibc's lies behind the word with its size, aligned as that is.
    let word = unsafe { block.cast::<usize>().sub(1).read() };
    // A mapped block cannot use the word of the block after it: there is none.
    let headers = if word & IS_MAPPED != 0 { 2 } else { 1 };
    (word & !FLAGS).wrapping_sub(headers * size_of::<usize>())
}

/// Whether this process's `malloc` is glibc's own. Another may be preloaded or linked, and it may keep
/// blocks with nothing mapped before them.
fn is_glibcs() -> bool {
    #[cfg(target_env = "gnu")]
    {
        let object_of = |function: *const libc::c_void| {
            let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
            // SAFETY: any address may be asked for, and there is room for the answer.
            let found = unsafe { libc::dladdr(function, info.as_mut_ptr()) } != 0;
            // SAFETY: where something was found, all of it was written.
            found.then(|| unsafe { info.assume_init() }.dli_fbase)
        };
        let c_library = object_of(libc::gnu_get_libc_version as *const libc::c_void);
        c_library.is_some()
            && object_of(libc::malloc_usable_size as *const libc::c_void) == c_library
    }
    #[cfg(not(target_env = "gnu"))]
    false
}

/// Tries blocks of all kinds: tiny, ordinary, aligned, and mapped. Of the mapped ones only one that
/// is too large for glibc to change its thresholds when it is freed.
fn is_size_in_header() -> bool {
    is_glibcs()
        && cfg!(target_pointer_width = "64")
        && [0, 1, 24, 25, 100, 1000, 5000, 100_000, 64 << 20]
            .into_iter()
            .flat_map(|bytes| [(16, bytes), (4096, bytes)])
            .all(|(alignment, bytes)| {
                let mut block = std::ptr::null_mut();
                // SAFETY: the block is made here, is live while it is looked at, and is freed once. In
                // glibc, which this is, a word lies before it.
                unsafe {
                    if libc::posix_memalign(&mut block, alignment, bytes) != 0 || block.is_null() {
                        return false;
                    }
                    let same = size_in_header(block) == libc::malloc_usable_size(block);
                    libc::free(block);
                    same
                }
            })
}

/// Whether this process counts its heap now. Lets callers skip `malloc_usable_size`.
#[inline]
pub fn is_counting() -> bool {
    !COUNTERS.load(Relaxed).is_null()
}

/// Starts counting in this process, from the bytes that its allocator says are in use.
///
/// Call it once, before the first thread that should be counted.
pub fn start_counting(page: &'static SharedPage) {
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: `key` is a place for the result; `thread_end` is a function of this program, which is
    // never unloaded.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_end)) } == 0 {
        THREAD_END.store(key, Relaxed);
    }
    // A forked child must not count into its parent's page.
    // SAFETY: `stop_counting` is never unloaded, and does what is allowed after a fork: it stores.
    unsafe { libc::pthread_atfork(None, None, Some(stop_counting)) };
    SIZE_IN_HEADER.store(is_size_in_header(), Relaxed);
    page.heap.begin_with(in_use().unwrap_or(0));
    page.heap_counted.store(1, Relaxed);
    COUNTERS.store(std::ptr::from_ref(&page.heap).cast_mut(), Release);
}

extern "C" fn stop_counting() {
    COUNTERS.store(null_mut(), Relaxed);
}

/// Leaves the calling thread out of the counting: for threads that do the measuring.
pub fn ignore_this_thread() {
    THREAD.set(IGNORED);
}

/// Reports a successful allocation of `bytes`. Never allocates, never panics.
#[inline]
pub fn allocated(bytes: usize) {
    resized(0, bytes);
}

/// Reports that a block of `bytes` was freed. Never allocates, never panics.
#[inline]
pub fn freed(bytes: usize) {
    count(-(bytes as i64), 0, 0);
}

/// Reports that a block went from `old` to `new` bytes. Never allocates, never panics.
#[inline]
pub fn resized(old: usize, new: usize) {
    count(
        (new as i64).wrapping_sub(old as i64),
        1,
        new.saturating_sub(old) as u64,
    );
}

#[inline]
fn count(bytes: i64, allocations: u64, allocated: u64) {
    // SAFETY: null, or what `start_counting` stored: counters that live for ever.
    let Some(counters) = (unsafe { COUNTERS.load(Relaxed).as_ref() }) else {
        return;
    };
    let slot = THREAD.get();
    if slot > IGNORED {
        // SAFETY: what is no sentinel was stored by `first_call`: a slot of counters that live for ever.
        let slot = unsafe { &*slot };
        if allocations != 0 {
            slot.note(allocations, allocated);
        }
        counters.add(slot, bytes);
    } else {
        count_without_slot(counters, slot, bytes, allocations, allocated);
    }
}

#[cold]
#[inline(never)]
fn count_without_slot(
    counters: &'static HeapCounters,
    thread: *const Slot,
    bytes: i64,
    allocations: u64,
    allocated: u64,
) {
    if thread == NEW {
        first_call(counters);
        count(bytes, allocations, allocated);
    } else if thread == SHARED {
        counters.add_shared(bytes, allocations, allocated);
    }
}

/// Finds a place for the calling thread.
fn first_call(counters: &'static HeapCounters) {
    // `pthread_setspecific` may itself allocate: such a call must not come here again.
    THREAD.set(SHARED);
    let key = THREAD_END.load(Relaxed);
    if key != u32::MAX
        && let Some(slot) = counters.claim()
    {
        // SAFETY: the key was made by `pthread_key_create`, and any pointer may be kept under it.
        if unsafe { libc::pthread_setspecific(key, std::ptr::from_ref(slot).cast()) } == 0 {
            THREAD.set(slot);
        } else {
            counters.release(slot);
        }
    }
}

/// Runs as a thread ends. What the thread's later destructors free goes to the shared atomics.
extern "C" fn thread_end(slot: *mut libc::c_void) {
    THREAD.set(SHARED);
    // SAFETY: both are null, or of counters that live for ever: `start_counting` and `first_call` stored
    // them.
    unsafe {
        if let (Some(counters), Some(slot)) = (
            COUNTERS.load(Relaxed).as_ref(),
            slot.cast::<Slot>().as_ref(),
        ) {
            counters.release(slot);
        }
    }
}

/// Bytes that glibc's allocator has in use, large mapped blocks included. `None` without glibc.
fn in_use() -> Option<u64> {
    let info = mallinfo()?;
    Some((info.uordblks + info.hblkhd) as u64)
}

/// Bytes that glibc's allocator has from the system, in use or not. `None` without glibc.
///
/// Walks the free lists of every arena: microseconds for an ordinary heap, more for one with very
/// many free blocks.
pub fn held_from_system() -> Option<u64> {
    let info = mallinfo()?;
    Some((info.arena + info.hblkhd) as u64)
}

#[cfg(target_env = "gnu")]
fn mallinfo() -> Option<libc::mallinfo2> {
    // SAFETY: it takes nothing, and locks what it reads.
    Some(unsafe { libc::mallinfo2() })
}

#[cfg(not(target_env = "gnu"))]
fn mallinfo() -> Option<NoMallinfo> {
    None
}

#[cfg(not(target_env = "gnu"))]
struct NoMallinfo {
    arena: usize,
    hblkhd: usize,
    uordblks: usize,
}

/// Gives free heap back to the system. Returns false where there is no glibc to ask, or where
/// there was nothing to give back.
pub fn trim() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: it releases free memory only, and locks the heap for that.
    return unsafe { libc::malloc_trim(0) } == 1;
    #[cfg(not(target_env = "gnu"))]
    return false;
}

#[cfg(test)]
mod malloc_tests {
    use super::*;

    #[test]
    fn another_malloc_is_not_taken_for_glibcs() {
        // glibc's own figures stay at zero where another one is in use, such as a sanitizer's.
        let in_use = in_use().unwrap_or(0);
        assert_eq!(is_glibcs(), in_use > 0, "{in_use} bytes");
        assert!(!is_glibcs() || is_size_in_header());
    }
}
