//! A fake `libnvidia-ml.so.1`: the part of NVML that `nvml-wrapper` needs to read memory, as the
//! script in `MEMTRACK_FAKE_GPU` has it. No number of it says anything about a real GPU.
//!
//! Return values are those of NVML's documentation. A device whose `error` is set answers every
//! call with it, the call for its handle too. Memory comes from the script (`base_used`) and from
//! what living processes hold by the fake CUDA; it is read anew at every call.

#![allow(non_snake_case, reason = "the names are NVML's")]

mod device;
mod memory;
mod system;

use std::ffi::{c_char, c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fake_gpu::Unit;
use fake_gpu::script::{self, Device, Script};

/// `nvmlReturn_t`.
type Return = c_uint;

const SUCCESS: Return = 0;
const UNINITIALIZED: Return = 1;
const INVALID_ARGUMENT: Return = 2;
const NOT_SUPPORTED: Return = 3;
const NOT_FOUND: Return = 6;
const INSUFFICIENT_SIZE: Return = 7;
const ARGUMENT_VERSION_MISMATCH: Return = 25;
const UNKNOWN: Return = 999;

/// `nvmlDevice_t`: not an address, see [`handle`].
type Handle = *mut c_void;

/// Calls of init that no shutdown has answered yet.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Runs the body of a function of the library.
fn answer(body: impl FnOnce() -> Result<(), Return>) -> Return {
    body().map_or_else(|error| error, |()| SUCCESS)
}

/// The script, if the library is initialized.
fn running() -> Result<Arc<Script>, Return> {
    if STARTED.load(Ordering::Acquire) == 0 {
        return Err(UNINITIALIZED);
    }
    script::load().ok_or(UNKNOWN)
}

/// The handle of a unit: it holds the unit's place, so that it stays good when the script changes.
fn handle(unit: Unit) -> Handle {
    let mig = unit.mig.map_or(0, |mig| mig + 1);
    std::ptr::without_provenance_mut(mig << 16 | (unit.gpu + 1) << 4)
}

/// The unit of a handle, if the script still has it and gives it no error.
fn unit(script: &Script, handle: Handle) -> Result<(Unit, &Device), Return> {
    let (gpu, mig) = (handle.addr() >> 4 & 0xfff, handle.addr() >> 16);
    if gpu == 0 || !handle.addr().is_multiple_of(16) {
        return Err(INVALID_ARGUMENT);
    }
    healthy(
        script,
        Unit {
            gpu: gpu - 1,
            mig: mig.checked_sub(1),
        },
    )
}

/// `unit` with its part of the script, unless that says that its GPU or itself fails.
fn healthy(script: &Script, unit: Unit) -> Result<(Unit, &Device), Return> {
    let device = unit.device(script).ok_or(INVALID_ARGUMENT)?;
    let gpu = Unit { mig: None, ..unit }
        .device(script)
        .ok_or(INVALID_ARGUMENT)?;
    match gpu.error.or(device.error) {
        Some(error) => Err(error),
        None => Ok((unit, device)),
    }
}

/// Writes through a pointer of the caller.
///
/// # Safety
/// `place` is null or valid for a write of `T`.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Return> {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: not null, so valid, as the caller promises.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a text with its final zero.
///
/// # Safety
/// `place` is null or valid for writes of `length` bytes.
unsafe fn put_text(place: *mut c_char, length: c_uint, text: &[u8]) -> Result<(), Return> {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: the text and a zero fit into `length` bytes.
    unsafe {
        place.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        place.add(text.len()).write(0);
    }
    Ok(())
}
