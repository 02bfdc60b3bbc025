//! Start of the library, the visible devices, and what they are called.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use fake_gpu::Unit;
use fake_gpu::script::{self, uuid_bytes};

use crate::error::*;
use crate::state::{self, call};
use crate::{DeviceId, Return, answer, put};

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> Return {
    answer(|| {
        if flags == 0 {
            state::initialize()
        } else {
            Err(INVALID_VALUE)
        }
    })
}

/// Works before `cuInit` too.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(version, script::load().ok_or(UNKNOWN)?.cuda_version) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(count, call()?.gpus.len() as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut DeviceId, ordinal: c_int) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(device, call()?.device(ordinal)? as DeviceId) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, room: c_int, device: DeviceId) -> Return {
    answer(|| {
        let call = call()?;
        let unit = call.gpus[call.device(device)?].unit;
        let text = &unit.device(&call.script).ok_or(INVALID_DEVICE)?.name.0;
        if name.is_null() || room < 1 {
            return Err(INVALID_VALUE);
        }
        // A name that does not fit is cut.
        let length = text.len().min(room as usize - 1);
        // SAFETY: the caller has `room` bytes; the text and a zero fit.
        unsafe {
            name.copy_from_nonoverlapping(text.as_ptr().cast(), length);
            name.add(length).write(0);
        }
        Ok(())
    })
}

/// The UUID of the GPU, even if the device is an instance of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: DeviceId) -> Return {
    // SAFETY: as the caller promises.
    answer(|| unsafe { put_uuid(uuid, device, true) })
}

/// The UUID of the instance, if the device is one.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: DeviceId) -> Return {
    // SAFETY: as the caller promises.
    answer(|| unsafe { put_uuid(uuid, device, false) })
}

/// # Safety
/// `place` is null or valid for a write of 16 bytes.
unsafe fn put_uuid(place: *mut [u8; 16], device: DeviceId, whole: bool) -> CudaResult<()> {
    let call = call()?;
    let unit = call.gpus[call.device(device)?].unit;
    let unit = if whole {
        Unit { mig: None, ..unit }
    } else {
        unit
    };
    let told = unit.device(&call.script).ok_or(INVALID_DEVICE)?;
    // SAFETY: as the caller promises.
    unsafe { put(place, uuid_bytes(&told.uuid).ok_or(UNKNOWN)?) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: DeviceId) -> Return {
    answer(|| {
        let call = call()?;
        let unit = call.gpus[call.device(device)?].unit;
        let told = unit.device(&call.script).ok_or(INVALID_DEVICE)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(bytes, told.total.saturating_sub(told.reserved) as usize) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_uint,
    device: DeviceId,
) -> Return {
    answer(|| {
        let call = call()?;
        let unit = call.gpus[call.device(device)?].unit;
        let known = match attribute {
            // Threads in a block, and of a warp.
            1 => 1024,
            10 => 32,
            // Multiprocessors: more than none, so that divisions work.
            16 => 1,
            // Bus and device of the PCI address; its domain, 50, is 0.
            33 => unit.gpu as c_int + 1,
            // Unified addressing.
            41 => 1,
            // Compute capability 8.0: what most programs expect at least.
            75 => 8,
            // Memory pools.
            115 => 1,
            0 | 161.. => return Err(INVALID_VALUE),
            // All others exist and say no or nothing.
            _ => 0,
        };
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(value, known) }
    })
}

/// Looks for the newest version of the function that this library has.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetProcAddress_v2(
    symbol: *const c_char,
    function: *mut *mut c_void,
    _version: c_int,
    _flags: u64,
    status: *mut c_uint,
) -> Return {
    answer(|| {
        if symbol.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller's text ends with a zero.
        let name = unsafe { CStr::from_ptr(symbol) }
            .to_str()
            .map_err(|_| INVALID_VALUE)?;
        let address = [format!("{name}_v2\0"), format!("{name}\0")]
            .iter()
            .find_map(|name| lookup(CStr::from_bytes_with_nul(name.as_bytes()).ok()?));
        if !status.is_null() {
            // SAFETY: the caller's pointer is for a number. 1 is "symbol not found".
            unsafe { put(status, address.is_none().into())? };
        }
        // SAFETY: the caller's pointer is for a pointer.
        unsafe { put(function, address.unwrap_or(std::ptr::null_mut()))? };
        address.map(|_| ()).ok_or(NOT_FOUND)
    })
}

/// An exported function of this library.
fn lookup(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the library asks for its own file by the address of a function of its own, and opens
    // what is open already. It stays open, so the address stays good.
    unsafe {
        let mut own: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(cuInit as *const c_void, &mut own) == 0 {
            return None;
        }
        let library = libc::dlopen(own.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if library.is_null() {
            return None;
        }
        let address = libc::dlsym(library, name.as_ptr());
        // A name that this library lacks is looked for in those it needs: not what was asked.
        let mut found: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(address, &mut found) != 0 && found.dli_fbase == own.dli_fbase;
        (!address.is_null() && known).then_some(address)
    }
}
