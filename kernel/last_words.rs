//! The last readings of a child that dies by a fault, an abort or `exit`: taken in its signal
//! handlers, so that the record of such a cell has an exact peak. What SIGKILL ends has no last
//! words; there the kernel asks the system.
//!
//! Rules for this file: in a handler no allocation, no lock, no panic.

#![expect(unsafe_code, reason = "handlers of signals")]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::SeqCst};

use memtrack::worker::Worker;

use crate::exit;

const SIGNALS: [c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];

static WORKER: AtomicPtr<Worker> = AtomicPtr::new(std::ptr::null_mut());

/// The process whose last words count.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Set by the first who dies: the buffer is its, and the readings are taken once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Alternate signal stacks are small, so the buffer lies here.
struct Buffer(std::cell::UnsafeCell<[u8; 8192]>);

// SAFETY: only whoever was the one to set `TAKEN` touches it, and that is never taken back.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(std::cell::UnsafeCell::new([0; 8192]));

/// The handlers that were there before: libstd's, which tells a stack overflow.
struct Earlier(std::cell::UnsafeCell<[Option<libc::sigaction>; SIGNALS.len()]>);

// SAFETY: each place is written once, by `install`, before a cell runs; handlers only read.
unsafe impl Sync for Earlier {}

static EARLIER: Earlier = Earlier(std::cell::UnsafeCell::new([None; SIGNALS.len()]));

/// Installs the handlers. Call it once, before the first cell.
pub fn install(worker: &'static Worker) {
    OWNER.store(std::process::id(), SeqCst);
    WORKER.store(std::ptr::from_ref(worker).cast_mut(), SeqCst);
    exit::call_at_exit(on_exit);
    // SAFETY: all-zero bytes are valid for `sigaction`, `on_signal` has the type that SA_SIGINFO asks for,
    // and no other thread calls this or reads `EARLIER` yet.
    unsafe {
        for (index, signal) in SIGNALS.iter().enumerate() {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut earlier: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(*signal, &action, &mut earlier) == 0 {
                (*EARLIER.0.get())[index] = Some(earlier);
            }
        }
    }
}

extern "C" fn on_exit() {
    take();
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    take();
    // SAFETY: `EARLIER` is complete since `install`. What was a handler there and has SA_SIGINFO is a
    // function of this type, and it gets what the system gave us.
    unsafe {
        let index = SIGNALS.iter().position(|known| *known == signal);
        let earlier = index.and_then(|index| (*EARLIER.0.get())[index]);
        if let Some(earlier) = earlier
            && earlier.sa_sigaction != libc::SIG_DFL
            && earlier.sa_sigaction != libc::SIG_IGN
            && earlier.sa_flags & libc::SA_SIGINFO != 0
        {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                std::mem::transmute(earlier.sa_sigaction);
            // libstd's handler sets the default action where it is no stack overflow; the fault
            // then happens again.
            handler(signal, info, context);
        } else {
            exit::by_signal(signal);
        }
    }
}

fn take() {
    // A fork of the child has its page, but its end is not the child's.
    if std::process::id() != OWNER.load(SeqCst) || TAKEN.swap(true, SeqCst) {
        return;
    }
    // SAFETY: null, or a worker that lives for ever; and the buffer is ours alone, since it was we who set
    // `TAKEN`.
    unsafe {
        if let Some(worker) = WORKER.load(SeqCst).as_ref() {
            worker.last_words(&mut *BUFFER.0.get());
        }
    }
}
