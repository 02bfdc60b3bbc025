//! Primary contexts, and which context is current on a thread. There are no other contexts.

use std::ffi::{c_int, c_uint, c_void};

use crate::error::*;
use crate::state::{call, call_in_context, context_of, device_of, with_contexts};
use crate::{DeviceId, Handle, Return, answer, put};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: DeviceId) -> Return {
    answer(|| {
        let mut call = call()?;
        let device = call.device(device)?;
        if context.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(context, call.retain(device)?) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: DeviceId) -> Return {
    answer(|| {
        let mut call = call()?;
        let device = call.device(device)?;
        match call.gpus[device].references {
            0 => return Err(INVALID_CONTEXT),
            1 => call.destroy_context(device),
            _ => call.gpus[device].references -= 1,
        }
        Ok(())
    })
}

/// Ends the primary context, however often it was retained.
#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxReset_v2(device: DeviceId) -> Return {
    answer(|| {
        let mut call = call()?;
        let device = call.device(device)?;
        call.destroy_context(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: DeviceId, flags: c_uint) -> Return {
    answer(|| {
        let mut call = call()?;
        let device = call.device(device)?;
        call.gpus[device].flags = flags;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxGetState(
    device: DeviceId,
    flags: *mut c_uint,
    active: *mut c_int,
) -> Return {
    answer(|| {
        let call = call()?;
        let gpu = &call.gpus[call.device(device)?];
        // SAFETY: the caller's pointers are for a number each.
        unsafe {
            put(flags, gpu.flags)?;
            put(active, (gpu.references > 0).into())
        }
    })
}

/// A context that may become current: none, or a living one.
fn usable(context: Handle) -> CudaResult<()> {
    let call = call()?;
    if context == 0 {
        return Ok(());
    }
    let gpu = call.gpus.get(device_of(context)?).ok_or(INVALID_CONTEXT)?;
    if gpu.references == 0 {
        Err(CONTEXT_IS_DESTROYED)
    } else {
        Ok(())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Return {
    answer(|| {
        call()?;
        let current = with_contexts(|contexts| contexts.last().copied()).unwrap_or(0);
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(context, current) }
    })
}

/// Takes the place of the current context; 0 removes it.
#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> Return {
    answer(|| {
        usable(context)?;
        with_contexts(|contexts| {
            contexts.pop();
            if context != 0 {
                contexts.push(context);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> Return {
    answer(|| {
        usable(context)?;
        with_contexts(|contexts| contexts.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut Handle) -> Return {
    answer(|| {
        call()?;
        let popped = with_contexts(Vec::pop).ok_or(INVALID_CONTEXT)?;
        if context.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(context, popped) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut DeviceId) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(device, call_in_context()?.1 as DeviceId) })
}

/// Of the current context only (`context` 0): that is all that is asked here.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetId(context: Handle, id: *mut u64) -> Return {
    answer(|| {
        if context != 0 {
            return Err(INVALID_CONTEXT);
        }
        let (call, device) = call_in_context()?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(id, call.gpus[device].context_id) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamGetCtx(stream: Handle, context: *mut Handle) -> Return {
    answer(|| {
        let (call, current) = call_in_context()?;
        let device = call.streams.get(&stream).copied().unwrap_or(current);
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(context, context_of(device)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> Return {
    answer(|| {
        let (mut call, device) = call_in_context()?;
        call.synchronize(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(flags: c_uint) -> Return {
    answer(|| {
        let (mut call, device) = call_in_context()?;
        call.gpus[device].flags = flags;
        Ok(())
    })
}

/// A fake GPU computes nothing: it takes no module.
#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(_module: *mut Handle, _image: *const c_void) -> Return {
    NOT_SUPPORTED
}

/// A fake GPU has primary contexts only.
#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(
    _context: *mut Handle,
    _parameters: *mut c_void,
    _flags: c_uint,
    _device: DeviceId,
) -> Return {
    NOT_SUPPORTED
}
