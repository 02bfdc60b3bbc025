//! Start and end of the library, and what it says of the machine.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::Ordering;

use crate::*;

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> Return {
    answer(|| {
        let script = script::load().ok_or(UNKNOWN)?;
        if let Some(error) = script.init_error {
            return Err(error);
        }
        STARTED.fetch_add(1, Ordering::AcqRel);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> Return {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> Return {
    let less = STARTED.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    less.map_or(UNINITIALIZED, |_| SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: Return) -> *const c_char {
    let text = match result {
        SUCCESS => c"Success",
        UNINITIALIZED => c"Uninitialized",
        INVALID_ARGUMENT => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        4 => c"Insufficient Permissions",
        NOT_FOUND => c"Not Found",
        INSUFFICIENT_SIZE => c"Insufficient Size",
        9 => c"Driver Not Loaded",
        15 => c"GPU is lost",
        18 => c"Driver/library version mismatch",
        ARGUMENT_VERSION_MISMATCH => c"Argument version mismatch",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> Return {
    // SAFETY: the caller's buffer has `length` bytes.
    answer(|| unsafe { put_text(version, length, &running()?.driver_version.0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> Return {
    answer(|| {
        let script = running()?;
        let mut text = format!("{}.", script.cuda_version / 1000).into_bytes();
        text.extend_from_slice(&script.driver_version.0);
        // SAFETY: the caller's buffer has `length` bytes.
        unsafe { put_text(version, length, &text) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(version, running()?.cuda_version) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> Return {
    // SAFETY: as the caller promises for this function.
    unsafe { nvmlSystemGetCudaDriverVersion_v2(version) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Return {
    answer(|| {
        let script = running()?;
        let devices = script
            .claimed_devices
            .unwrap_or(script.devices.len() as c_uint);
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(count, devices) }
    })
}
