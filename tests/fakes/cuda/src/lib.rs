//! A fake `libcuda.so.1`: the part of CUDA's driver API that `cudarc` needs to allocate memory and
//! copy to and fro, as the script in `MEMTRACK_FAKE_GPU` has it. It computes nothing, and no number
//! of it says anything about a real GPU.
//!
//! What was chosen where CUDA's documentation leaves room:
//! - A pool's marks (`*_MEM_HIGH`) can be set to 0 only; they then take on the current value, so a
//!   mark is never below its current value.
//! - Freed bytes leave `USED_MEM_CURRENT` at the call, as if no work were ever pending, and bytes in
//!   use are counted as asked for, not rounded.
//! - A pool takes memory from the device in pieces of 2 MiB. It gives back what is free and above
//!   its release threshold at the next synchronization, or when an allocation would fail.
//! - Plain allocations cost the device exactly their bytes.
//! - Pools can be asked about with no primary context, and show zeros then.
//! - The free and total bytes of `cuMemGetInfo` leave out what the script calls reserved.
//! - Device memory is a memfd that is never mapped: it shows in no process's RSS or heap, and an
//!   access to a device address faults as on a real machine. Zeroed memory takes no room at all.
//! - A context on an instance (MIG device) counts on that instance.

#![allow(non_snake_case, reason = "the names are CUDA's")]

mod context;
mod copy;
mod device;
mod error;
mod memory;
mod pool;
mod pool_calls;
mod state;
mod stream;
mod visible;
mod vram;

use error::{CudaResult, INVALID_VALUE};

/// `CUresult`.
type Return = u32;
/// `CUdevice`: the place among the visible GPUs.
type DeviceId = std::ffi::c_int;
/// `CUcontext`, `CUstream`, `CUevent`, `CUmemoryPool`: numbers that nobody may read through.
type Handle = usize;
/// `CUdeviceptr`.
type Address = u64;

/// Runs the body of a function of the library.
fn answer(body: impl FnOnce() -> CudaResult<()>) -> Return {
    body().map_or_else(|error| error, |()| 0)
}

/// Writes through a pointer of the caller.
///
/// # Safety
/// `place` is null or valid for a write of `T`.
unsafe fn put<T>(place: *mut T, value: T) -> CudaResult<()> {
    if place.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, so valid, as the caller promises.
    unsafe { place.write(value) };
    Ok(())
}
