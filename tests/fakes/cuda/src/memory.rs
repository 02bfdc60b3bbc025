//! Allocations: plain, stream-ordered, and page-locked memory of the host.

use std::ffi::{c_uint, c_void};

use crate::error::*;
use crate::pool_calls::chosen;
use crate::state::{Allocation, Call, Source, call, call_in_context};
use crate::stream::device_of_stream;
use crate::{Address, Handle, Return, answer, put};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut Address, size: usize) -> Return {
    answer(|| {
        let (mut call, device) = call_in_context()?;
        if size == 0 || address.is_null() {
            return Err(INVALID_VALUE);
        }
        let size = size as u64;
        call.demand(device, size)?;
        let known = Allocation {
            device,
            size,
            source: Source::Plain,
        };
        // SAFETY: the caller's pointer is for an address.
        unsafe { put(address, add(&mut call, known)) }
    })
}

fn add(call: &mut Call, known: Allocation) -> Address {
    let address = call.vram.addresses(known.size);
    call.allocations.insert(address, known);
    call.publish(known.device);
    address
}

/// Waits for all work before it frees, so it synchronizes.
#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: Address) -> Return {
    answer(|| {
        let (mut call, _) = call_in_context()?;
        if address != 0 {
            let known = call.free(address)?;
            call.synchronize(known.device);
        }
        Ok(())
    })
}

/// Takes memory from a pool.
///
/// # Safety
/// `address` is null or valid for a write.
unsafe fn allocate_from(
    call: &mut Call,
    pool: Handle,
    address: *mut Address,
    size: usize,
) -> CudaResult<()> {
    if size == 0 || address.is_null() {
        return Err(INVALID_VALUE);
    }
    let size = size as u64;
    let known = call.pools.get(&pool).ok_or(INVALID_VALUE)?;
    let (device, lacks) = (known.device, known.lacks(size));
    call.demand(device, lacks)?;
    // In need the pool itself may have let go of what was free, and lack more now.
    let lacks = call.pools[&pool].lacks(size);
    if lacks > call.available(device) {
        return Err(OUT_OF_MEMORY);
    }
    call.pools
        .get_mut(&pool)
        .ok_or(INVALID_VALUE)?
        .allocate(size);
    let known = Allocation {
        device,
        size,
        source: Source::Pool(pool),
    };
    // SAFETY: as the caller promises.
    unsafe { put(address, add(call, known)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut Address, size: usize, stream: Handle) -> Return {
    answer(|| {
        let (mut call, current) = call_in_context()?;
        let device = device_of_stream(&call, stream, current)?;
        let pool = call.gpus[device].current_pool;
        // SAFETY: as the caller of CUDA promises.
        unsafe { allocate_from(&mut call, pool, address, size) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut Address,
    size: usize,
    pool: Handle,
    stream: Handle,
) -> Return {
    answer(|| {
        let (mut call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        chosen(&mut call, pool)?;
        // SAFETY: as the caller of CUDA promises.
        unsafe { allocate_from(&mut call, pool, address, size) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeAsync(address: Address, stream: Handle) -> Return {
    answer(|| {
        let (mut call, current) = call_in_context()?;
        device_of_stream(&call, stream, current)?;
        call.free(address).map(|_| ())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Return {
    answer(|| {
        let (call, device) = call_in_context()?;
        let told = call.gpus[device]
            .unit
            .device(&call.script)
            .ok_or(INVALID_DEVICE)?;
        // SAFETY: the caller's pointers are for a number each.
        unsafe {
            put(free, call.available(device) as usize)?;
            put(total, told.total.saturating_sub(told.reserved) as usize)
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(
    place: *mut *mut c_void,
    size: usize,
    _flags: c_uint,
) -> Return {
    answer(|| {
        let (mut call, _) = call_in_context()?;
        if size == 0 || place.is_null() {
            return Err(INVALID_VALUE);
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the system's choice.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        if map == libc::MAP_FAILED {
            return Err(OUT_OF_MEMORY);
        }
        call.pinned.insert(map.addr(), size);
        // SAFETY: the caller's pointer is for a pointer.
        unsafe { put(place, map) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocHost_v2(place: *mut *mut c_void, size: usize) -> Return {
    // SAFETY: as the caller promises.
    unsafe { cuMemHostAlloc(place, size, 0) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(place: *mut c_void) -> Return {
    answer(|| {
        let size = call()?.pinned.remove(&place.addr()).ok_or(INVALID_VALUE)?;
        // SAFETY: a mapping of this size was made for the caller, who is done with it.
        unsafe { libc::munmap(place, size) };
        Ok(())
    })
}
