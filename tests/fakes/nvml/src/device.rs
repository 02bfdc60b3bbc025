//! Devices, their instances (MIG) and what they are called.

use std::ffi::{CStr, c_char, c_uint};

use crate::*;

/// `nvmlPciInfo_t`.
#[repr(C)]
struct PciInfo {
    bus_id_legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    pci_device_id: c_uint,
    pci_sub_system_id: c_uint,
    bus_id: [c_char; 32],
}

fn text<const N: usize>(text: &str) -> [c_char; N] {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().zip(text.bytes().take(N - 1)) {
        *place = byte as c_char;
    }
    bytes
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Handle) -> Return {
    answer(|| {
        let script = running()?;
        let (unit, _) = healthy(
            &script,
            Unit {
                gpu: index as usize,
                mig: None,
            },
        )?;
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(device, handle(unit)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut Handle) -> Return {
    answer(|| {
        let script = running()?;
        if uuid.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: the caller's text ends with a zero.
        let uuid = unsafe { CStr::from_ptr(uuid) }.to_str();
        let uuid = uuid.map_err(|_| INVALID_ARGUMENT)?;
        let units = (0..script.devices.len()).flat_map(|gpu| {
            let instances = script.devices[gpu].mig.iter().flatten().enumerate();
            let migs = instances.map(move |(mig, _)| Unit {
                gpu,
                mig: Some(mig),
            });
            std::iter::once(Unit { gpu, mig: None }).chain(migs)
        });
        let mut named = units.filter(|unit| unit.device(&script).is_some_and(|d| d.uuid == uuid));
        let unit = named.next().ok_or(NOT_FOUND)?;
        let (unit, _) = healthy(&script, unit)?;
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(device, handle(unit)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(
    device: Handle,
    place: *mut c_char,
    length: c_uint,
) -> Return {
    // SAFETY: the caller's buffer has `length` bytes.
    answer(|| unsafe { put_text(place, length, unit(&*running()?, device)?.1.uuid.as_bytes()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(
    device: Handle,
    place: *mut c_char,
    length: c_uint,
) -> Return {
    // SAFETY: the caller's buffer has `length` bytes.
    answer(|| unsafe { put_text(place, length, &unit(&*running()?, device)?.1.name.0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetIndex(device: Handle, index: *mut c_uint) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, device)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(index, unit.mig.unwrap_or(unit.gpu) as c_uint) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMinorNumber(device: Handle, minor: *mut c_uint) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, device)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(minor, unit.gpu as c_uint) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(device: Handle, place: *mut PciInfo) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, device)?;
        let bus = unit.gpu as c_uint + 1;
        let info = PciInfo {
            bus_id_legacy: text(&format!("0000:{bus:02X}:00.0")),
            domain: 0,
            bus,
            device: 0,
            // No vendor has the number 0xFA4E; NVIDIA's is 0x10DE.
            pci_device_id: 0x0001_fa4e,
            pci_sub_system_id: 0,
            bus_id: text(&format!("00000000:{bus:02X}:00.0")),
        };
        // SAFETY: the caller's pointer is for a struct of this layout.
        unsafe { put(place, info) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetVirtualizationMode(device: Handle, mode: *mut c_uint) -> Return {
    // SAFETY: the caller's pointer is for a number.
    answer(|| unsafe { put(mode, unit(&*running()?, device)?.1.virtualization) })
}

/// Always `NVML_COMPUTEMODE_DEFAULT`.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeMode(device: Handle, mode: *mut c_uint) -> Return {
    answer(|| {
        unit(&*running()?, device)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(mode, 0) }
    })
}

/// `NVML_ERROR_NOT_SUPPORTED` on a GPU whose script has no `mig`, else 1: on.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: Handle,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> Return {
    answer(|| {
        if unit(&*running()?, device)?.1.mig.is_none() {
            return Err(NOT_SUPPORTED);
        }
        // SAFETY: the caller's pointers are for a number each.
        unsafe { put(current, 1).and_then(|()| put(pending, 1)) }
    })
}

/// As the real one, the most instances that there could be, not how many there are.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(device: Handle, count: *mut c_uint) -> Return {
    answer(|| {
        let script = running()?;
        let most = if unit(&script, device)?.1.mig.is_some() {
            7
        } else {
            0
        };
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(count, most) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: Handle,
    index: c_uint,
    instance: *mut Handle,
) -> Return {
    answer(|| {
        let script = running()?;
        let (gpu, told) = unit(&script, device)?;
        let instances = told.mig.as_ref().ok_or(NOT_SUPPORTED)?;
        if index as usize >= instances.len() {
            return Err(NOT_FOUND);
        }
        let (unit, _) = healthy(
            &script,
            Unit {
                mig: Some(index as usize),
                ..gpu
            },
        )?;
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(instance, handle(unit)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(
    instance: Handle,
    device: *mut Handle,
) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, instance)?;
        if unit.mig.is_none() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: the caller's pointer is for a handle.
        unsafe { put(device, handle(Unit { mig: None, ..unit })) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceIsMigDeviceHandle(device: Handle, is: *mut c_uint) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, device)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(is, unit.mig.is_some().into()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGpuInstanceId(device: Handle, id: *mut c_uint) -> Return {
    answer(|| {
        let (unit, _) = unit(&*running()?, device)?;
        // SAFETY: the caller's pointer is for a number.
        unsafe { put(id, unit.mig.ok_or(NOT_SUPPORTED)? as c_uint) }
    })
}
