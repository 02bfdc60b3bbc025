//! The calls on stream-ordered pools.

use std::ffi::{c_int, c_uint, c_void};

use crate::error::*;
use crate::pool::Pool;
use crate::state::{Call, Source, call, call_in_context};
use crate::{DeviceId, Handle, Return, answer, put};

/// `CUmemPool_attribute`.
mod attribute {
    use std::ffi::c_uint;

    pub const FIRST_REUSE: c_uint = 1;
    pub const LAST_REUSE: c_uint = 3;
    pub const RELEASE_THRESHOLD: c_uint = 4;
    pub const RESERVED_MEM_CURRENT: c_uint = 5;
    pub const RESERVED_MEM_HIGH: c_uint = 6;
    pub const USED_MEM_CURRENT: c_uint = 7;
    pub const USED_MEM_HIGH: c_uint = 8;
}

/// The beginning of `CUmemPoolProps`.
#[repr(C)]
struct Properties {
    allocation: c_uint,
    handles: c_uint,
    location: c_uint,
    device: c_int,
}

const PINNED: c_uint = 1;
const ON_DEVICE: c_uint = 1;

/// Begins a call on pools: the script may want a current context for it.
fn pool_call() -> CudaResult<Call> {
    let started = call()?;
    if !started.script.pool_needs_context {
        return Ok(started);
    }
    drop(started);
    Ok(call_in_context()?.0)
}

/// A pool by its handle.
pub fn chosen(call: &mut Call, pool: Handle) -> CudaResult<&mut Pool> {
    call.pools.get_mut(&pool).ok_or(INVALID_VALUE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, device: DeviceId) -> Return {
    answer(|| {
        let call = pool_call()?;
        let gpu = &call.gpus[call.device(device)?];
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(pool, gpu.default_pool) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetMemPool(pool: *mut Handle, device: DeviceId) -> Return {
    answer(|| {
        let call = pool_call()?;
        let gpu = &call.gpus[call.device(device)?];
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(pool, gpu.current_pool) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceSetMemPool(device: DeviceId, pool: Handle) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        let device = call.device(device)?;
        if chosen(&mut call, pool)?.device != device {
            return Err(INVALID_VALUE);
        }
        call.gpus[device].current_pool = pool;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolGetAttribute(
    pool: Handle,
    attribute: c_uint,
    value: *mut c_void,
) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        let pool = chosen(&mut call, pool)?;
        let bytes = match attribute {
            attribute::FIRST_REUSE..=attribute::LAST_REUSE => {
                let set = pool.reuse[(attribute - attribute::FIRST_REUSE) as usize];
                // SAFETY: the caller's pointer is for an int with this attribute.
                return unsafe { put(value.cast::<c_int>(), set) };
            }
            attribute::RELEASE_THRESHOLD => pool.threshold,
            attribute::RESERVED_MEM_CURRENT => pool.reserved(),
            attribute::RESERVED_MEM_HIGH => pool.reserved_high(),
            attribute::USED_MEM_CURRENT => pool.used(),
            attribute::USED_MEM_HIGH => pool.used_high(),
            _ => return Err(INVALID_VALUE),
        };
        // SAFETY: the caller's pointer is for a 64-bit number with these attributes.
        unsafe { put(value.cast::<u64>(), bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolSetAttribute(
    pool: Handle,
    attribute: c_uint,
    value: *mut c_void,
) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        let pool = chosen(&mut call, pool)?;
        if value.is_null() {
            return Err(INVALID_VALUE);
        }
        if (attribute::FIRST_REUSE..=attribute::LAST_REUSE).contains(&attribute) {
            // SAFETY: the caller's pointer is for an int with this attribute.
            let set = unsafe { value.cast::<c_int>().read() };
            pool.reuse[(attribute - attribute::FIRST_REUSE) as usize] = set;
            return Ok(());
        }
        // SAFETY: the caller's pointer is for a 64-bit number with all other attributes.
        let bytes = unsafe { value.cast::<u64>().read() };
        match (attribute, bytes) {
            (attribute::RELEASE_THRESHOLD, _) => pool.threshold = bytes,
            (attribute::RESERVED_MEM_HIGH, 0) => pool.reset_reserved_high(),
            (attribute::USED_MEM_HIGH, 0) => pool.reset_used_high(),
            _ => return Err(INVALID_VALUE),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(pool: Handle, keep: usize) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        let pool = chosen(&mut call, pool)?;
        pool.trim(keep as u64);
        let device = pool.device;
        call.publish(device);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolCreate(pool: *mut Handle, wanted: *const Properties) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        // SAFETY: the caller's pointer is null or for properties.
        let wanted = unsafe { wanted.as_ref() }.ok_or(INVALID_VALUE)?;
        if wanted.allocation != PINNED || wanted.location != ON_DEVICE || pool.is_null() {
            return Err(INVALID_VALUE);
        }
        let device = call.device(wanted.device)?;
        let handle = call.handle();
        call.pools.insert(handle, Pool::new(device));
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(pool, handle) }
    })
}

/// A pool with memory in use cannot be destroyed here; a real driver would wait for its last free.
#[unsafe(no_mangle)]
extern "C" fn cuMemPoolDestroy(pool: Handle) -> Return {
    answer(|| {
        let mut call = pool_call()?;
        let device = chosen(&mut call, pool)?.device;
        let gpu = &mut call.gpus[device];
        if gpu.default_pool == pool {
            return Err(INVALID_VALUE);
        }
        if gpu.current_pool == pool {
            gpu.current_pool = gpu.default_pool;
        }
        let mut known = call.allocations.values();
        if known.any(|known| known.source == Source::Pool(pool)) {
            return Err(INVALID_VALUE);
        }
        call.pools.remove(&pool);
        call.publish(device);
        Ok(())
    })
}
