//! Copies and fills. All of them are done when the function returns, the `Async` ones too.

use std::ffi::{c_uchar, c_uint, c_void};

use crate::error::*;
use crate::state::call_in_context;
use crate::stream::device_of_stream;
use crate::{Address, Handle, Return, answer};

/// The default stream of a context.
const DEFAULT: Handle = 0;

/// An error of the memfd as one of CUDA: the caller's memory is not there, or the host has no more.
fn failed(error: std::io::Error) -> Return {
    match error.raw_os_error() {
        Some(libc::EFAULT) => INVALID_VALUE,
        _ => OPERATING_SYSTEM,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: Address,
    from: *const c_void,
    size: usize,
    stream: Handle,
) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        call.holder(to, size as u64)?;
        // SAFETY: the caller has `size` bytes there.
        unsafe { call.vram.write(to, from.cast(), size) }.map_err(failed)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: Address,
    size: usize,
    stream: Handle,
) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        call.holder(from, size as u64)?;
        // SAFETY: the caller has room for `size` bytes there.
        unsafe { call.vram.read(from, to.cast(), size) }.map_err(failed)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(
    to: Address,
    from: Address,
    size: usize,
    stream: Handle,
) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        call.holder(to, size as u64)?;
        call.holder(from, size as u64)?;
        call.vram.copy(to, from, size as u64).map_err(failed)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: Address, from: *const c_void, size: usize) -> Return {
    // SAFETY: as the caller promises.
    unsafe { cuMemcpyHtoDAsync_v2(to, from, size, DEFAULT) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: Address, size: usize) -> Return {
    // SAFETY: as the caller promises.
    unsafe { cuMemcpyDtoHAsync_v2(to, from, size, DEFAULT) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoD_v2(to: Address, from: Address, size: usize) -> Return {
    cuMemcpyDtoDAsync_v2(to, from, size, DEFAULT)
}

fn fill(to: Address, pattern: &[u8], count: usize, stream: Handle) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        let size = (count as u64)
            .checked_mul(pattern.len() as u64)
            .ok_or(INVALID_VALUE)?;
        call.holder(to, size)?;
        if size == 0 {
            return Ok(());
        }
        call.vram.fill(to, pattern, size).map_err(failed)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: Address, byte: c_uchar, n: usize, stream: Handle) -> Return {
    fill(to, &[byte], n, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8_v2(to: Address, byte: c_uchar, count: usize) -> Return {
    fill(to, &[byte], count, DEFAULT)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(to: Address, word: c_uint, n: usize, stream: Handle) -> Return {
    fill(to, &word.to_ne_bytes(), n, stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32_v2(to: Address, word: c_uint, count: usize) -> Return {
    fill(to, &word.to_ne_bytes(), count, DEFAULT)
}
