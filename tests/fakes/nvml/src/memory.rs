//! Memory of a device, and who has it.

use std::ffi::c_uint;

use fake_gpu::processes::{self, Process};
use fake_gpu::script::{HOST_PID_SHIFT, Processes};

use crate::*;

/// `NVML_VALUE_NOT_AVAILABLE`.
const NOT_AVAILABLE: u64 = u64::MAX;
/// Instance ids of a process on a GPU without MIG.
const NO_INSTANCE: c_uint = c_uint::MAX;

/// `nvmlMemory_t`.
#[repr(C)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
struct MemoryV2 {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

const MEMORY_V2: c_uint = size_of::<MemoryV2>() as c_uint | 2 << 24;

/// `nvmlProcessInfo_v1_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProcessV1 {
    pid: c_uint,
    used: u64,
}

/// `nvmlProcessInfo_v2_t`, which is that of version 3 of the calls too.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProcessV2 {
    pid: c_uint,
    used: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// What drivers 535.43 to 535.98 write in version 3 of the calls: a field too many.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProcessOf535 {
    pid: c_uint,
    /// Named, so that it is written.
    padding: c_uint,
    used: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
    protected: u64,
}

fn living() -> Result<Vec<Process>, Return> {
    Ok(processes::living(&fake_gpu::folder().map_err(|_| UNKNOWN)?))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo(device: Handle, place: *mut Memory) -> Return {
    answer(|| {
        let script = running()?;
        let (unit, told) = unit(&script, device)?;
        let free = unit.free(&script, &living()?);
        let memory = match told.claimed_memory {
            Some(told) => Memory {
                total: told.total,
                free: told.free,
                used: told.used,
            },
            None => Memory {
                total: told.total,
                free,
                used: told.total.saturating_sub(free),
            },
        };
        // SAFETY: the caller's pointer is for a struct of this layout.
        unsafe { put(place, memory) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Handle, place: *mut MemoryV2) -> Return {
    answer(|| {
        let script = running()?;
        let (unit, told) = unit(&script, device)?;
        // SAFETY: the caller's pointer is null or for a struct of this layout.
        let asked = unsafe { place.as_ref() }.ok_or(INVALID_ARGUMENT)?.version;
        if asked != MEMORY_V2 {
            return Err(ARGUMENT_VERSION_MISMATCH);
        }
        let living = living()?;
        let claimed = told.claimed_memory.unwrap_or_else(|| script::Memory {
            total: told.total,
            reserved: told.reserved,
            free: unit.free(&script, &living),
            used: unit.used(&script, &living),
        });
        let memory = MemoryV2 {
            version: MEMORY_V2,
            total: claimed.total,
            reserved: claimed.reserved,
            free: claimed.free,
            used: claimed.used,
        };
        // SAFETY: as above.
        unsafe { put(place, memory) }
    })
}

/// The rows of a device's list, as its script wants them.
fn rows(script: &Script, handle: Handle) -> Result<Vec<ProcessV2>, Return> {
    let (unit, told) = unit(script, handle)?;
    let (shift, hidden) = match told.processes {
        Processes::Error(error) => return Err(error),
        Processes::None => return Ok(Vec::new()),
        Processes::Own => (0, false),
        Processes::Unavailable => (0, true),
        Processes::Host | Processes::OneNew => (HOST_PID_SHIFT, false),
    };
    let instance = unit.mig.map_or(NO_INSTANCE, |mig| mig as c_uint);
    let row = |pid, used| ProcessV2 {
        pid,
        used: if hidden { NOT_AVAILABLE } else { used },
        gpu_instance: instance,
        compute_instance: instance,
    };
    let living = living()?;
    let ours = living
        .iter()
        .filter(|process| process.on(unit).contexts > 0);
    let ours = ours.map(|process| row(process.pid + shift, process.on(unit).total()));
    let others = told
        .extra_processes
        .iter()
        .map(|extra| row(extra.pid, extra.used));
    Ok(others.chain(ours).collect())
}

/// Writes rows as `nvmlDeviceGetComputeRunningProcesses` does: `count` holds the room of `place`
/// in rows before the call, and how many there are after it.
///
/// # Safety
/// `count` is null or valid; `place` is null or valid for writes of as many `T` as `count` says.
unsafe fn put_rows<T: Copy>(count: *mut c_uint, place: *mut T, rows: &[T]) -> Result<(), Return> {
    // SAFETY: null or valid.
    let room = unsafe { count.as_mut() }.ok_or(INVALID_ARGUMENT)?;
    let asked = std::mem::replace(room, rows.len() as c_uint);
    if (asked as usize) < rows.len() {
        return Err(INSUFFICIENT_SIZE);
    }
    if rows.is_empty() {
        return Ok(());
    }
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: there is room for `asked` rows, and there are not more.
    unsafe { place.copy_from_nonoverlapping(rows.as_ptr(), rows.len()) };
    Ok(())
}

/// As [`put_rows`], but says that there are `claimed` rows. Writes only those for which there is room.
///
/// # Safety
/// As for [`put_rows`].
unsafe fn claim_rows<T: Copy>(
    count: *mut c_uint,
    place: *mut T,
    rows: &[T],
    claimed: c_uint,
) -> Result<(), Return> {
    // SAFETY: null or valid.
    let room = unsafe { count.as_mut() }.ok_or(INVALID_ARGUMENT)?;
    let asked = std::mem::replace(room, claimed);
    if asked == 0 || place.is_null() {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: there is room for `asked` rows.
    unsafe { place.copy_from_nonoverlapping(rows.as_ptr(), rows.len().min(asked as usize)) };
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses(
    device: Handle,
    count: *mut c_uint,
    place: *mut ProcessV1,
) -> Return {
    answer(|| {
        let rows = rows(&*running()?, device)?;
        let old = rows
            .iter()
            .map(|&ProcessV2 { pid, used, .. }| ProcessV1 { pid, used });
        // SAFETY: as the caller of NVML promises.
        unsafe { put_rows(count, place, &old.collect::<Vec<_>>()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v2(
    device: Handle,
    count: *mut c_uint,
    place: *mut ProcessV2,
) -> Return {
    // SAFETY: as the caller of NVML promises.
    answer(|| unsafe { put_rows(count, place, &rows(&*running()?, device)?) })
}

/// Version 3 has the rows of version 2, but for some drivers, which wrote longer ones.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: Handle,
    count: *mut c_uint,
    place: *mut ProcessV2,
) -> Return {
    answer(|| {
        let script = running()?;
        let rows = rows(&script, device)?;
        if let Some(claimed) = unit(&script, device)?.1.claimed_processes {
            // SAFETY: as the caller of NVML promises.
            return unsafe { claim_rows(count, place, &rows, claimed) };
        }
        if !writes_long_rows(&String::from_utf8_lossy(&script.driver_version.0)) {
            // SAFETY: as the caller of NVML promises.
            return unsafe { put_rows(count, place, &rows) };
        }
        let long = rows.iter().map(|row| ProcessOf535 {
            pid: row.pid,
            padding: 0,
            used: row.used,
            gpu_instance: row.gpu_instance,
            compute_instance: row.compute_instance,
            protected: 0,
        });
        let long: Vec<ProcessOf535> = long.collect();
        // SAFETY: the long rows are plain numbers without a gap, and longer than those of the
        // caller's size, of which as many are cut out.
        let cut = unsafe { std::slice::from_raw_parts(long.as_ptr().cast(), rows.len()) };
        // SAFETY: as the caller of NVML promises.
        unsafe { put_rows(count, place, cut) }
    })
}

/// Whether this is a driver from 535.43 to 535.98.
fn writes_long_rows(driver: &str) -> bool {
    let mut parts = driver
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    parts.next() == Some(535) && matches!(parts.next(), Some(43..=98))
}

/// No process draws on a fake GPU; the list fails where that of the others does.
///
/// # Safety
/// `count` is null or valid.
unsafe fn no_rows(device: Handle, count: *mut c_uint) -> Return {
    answer(|| {
        rows(&*running()?, device)?;
        // SAFETY: as the caller of NVML promises.
        unsafe { put(count, 0) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v2(
    device: Handle,
    count: *mut c_uint,
    _place: *mut ProcessV2,
) -> Return {
    // SAFETY: as the caller of NVML promises.
    unsafe { no_rows(device, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: Handle,
    count: *mut c_uint,
    _place: *mut ProcessV2,
) -> Return {
    // SAFETY: as the caller of NVML promises.
    unsafe { no_rows(device, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: Handle,
    count: *mut c_uint,
    _place: *mut ProcessV2,
) -> Return {
    // SAFETY: as the caller of NVML promises.
    unsafe { no_rows(device, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_drivers_write_long_rows() {
        assert!(writes_long_rows("535.54.03"));
        assert!(writes_long_rows("535.98-fake"));
        assert!(!writes_long_rows("535.104.05"));
        assert!(!writes_long_rows("570.00-fake"));
    }
}
