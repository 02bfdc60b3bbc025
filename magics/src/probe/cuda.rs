//! CUDA's stream-ordered memory pool, read from inside the process that uses it.
//!
//! The pool keeps high-water marks of its own, which can be set back to zero, so its peaks are
//! exact (`CU_MEMPOOL_ATTR_USED_MEM_HIGH` and `…_RESERVED_MEM_HIGH`, CUDA Driver API, "Stream
//! Ordered Memory Allocator"). Read is the pool from which `cuMemAllocAsync` takes, one for each process
//! and device; other pools of a program (`cuMemPoolCreate`) are not in its numbers.
//!
//! Nothing here changes what it looks at:
//!
//! - CUDA is looked for among the libraries that are loaded already, never loaded;
//! - `cuInit` is never called, and no context is made, retained or made current: the pool is read
//!   only where the user's code has made the device's primary context (a context costs hundreds of
//!   MiB, for the rest of the process's life).
//!
//! The readings at the borders of a cell are taken on the thread that runs the cell, where the
//! context that the cell made is current. Between them a thread looks too; should a driver ask for
//! a current context, that thread learns nothing and the readings at the borders remain.

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::page::known;

mod driver;
mod shared;

pub use driver::is_driver_library;
use driver::{
    CuDevice, Driver, ENDING, LOOKING, Look, NO_FUNCTION, SUCCESS, driver, look_at_libraries,
};
pub use shared::{DEVICES, DevicePage, GpuPage, PoolPage, Presence};

/// The readings before the user's code, on its thread; the pools' marks are set back.
pub fn read_before(page: &GpuPage) {
    page.clear();
    let (loaded, unloads) = look_at_libraries(&is_driver_library);
    Presence::put(&page.driver_before, loaded);
    page.unloads_before.store(unloads, Relaxed);
    let Some(driver) = driver() else { return };
    page.context_before.store(driver.current_context(), Relaxed);
    for (device, slot) in devices_of(driver, page) {
        let look = driver.look(device);
        slot.before.store(&look);
        slot.note_pool(&look);
        if let Look::Pool { handle: 1.., .. } = look
            && let Ok(pool) = driver.pool_of(device)
        {
            slot.marks_reset.store(pool.reset_marks().into(), Relaxed);
        }
    }
}

/// The readings after the user's code, on its thread.
pub fn read_after(page: &GpuPage) {
    let (loaded, unloads) = look_at_libraries(&is_driver_library);
    Presence::put(&page.driver_after, loaded);
    let same = unloads == page.unloads_before.load(Relaxed);
    page.nothing_unloaded.store(same.into(), Relaxed);
    let Some(driver) = driver() else { return };
    page.context_after.store(driver.current_context(), Relaxed);
    for (device, slot) in devices_of(driver, page) {
        let look = driver.look(device);
        slot.after.store(&look);
        slot.note_pool(&look);
    }
}

/// A look at the pools while the user's code runs, from any thread: what it sees remains if the
/// process dies or the user's code releases its context. `is_running` says whether that code still
/// runs; what was seen after its end is thrown away. Whether CUDA is there at all: without it a look
/// takes a microsecond.
pub fn look(page: &GpuPage, is_running: impl Fn() -> bool) -> bool {
    LOOKING.store(true, SeqCst);
    let is_there = match driver() {
        Some(driver) if !ENDING.load(SeqCst) => {
            for (device, slot) in devices_of(driver, page) {
                let look = driver.look(device);
                if !is_running() {
                    break;
                }
                slot.take_note(&look);
            }
            true
        }
        _ => false,
    };
    LOOKING.store(false, SeqCst);
    is_there
}

/// The devices that the user's code can use, each with its place in the page.
fn devices_of<'a>(
    driver: &'a Driver,
    page: &'a GpuPage,
) -> impl Iterator<Item = (CuDevice, &'a DevicePage)> {
    driver.devices().filter_map(|(ordinal, device)| {
        let slot = &page.devices[ordinal];
        if slot.uuid().is_none() {
            slot.set_uuid(driver.uuid(device)?);
        }
        Some((device, slot))
    })
}

/// An error of the driver's pool functions in words.
pub fn explain(error: u32) -> String {
    match error {
        NO_FUNCTION => {
            "the NVIDIA driver has no memory pools: update it (CUDA 11.2 or later)".into()
        }
        201 => {
            "the driver shows its memory pool only to a thread with a current CUDA context, and \
                the thread that ran the cell had none when it ended; see the device row"
                .into()
        }
        801 => "this GPU or driver has no stream-ordered memory pool; see the device row".into(),
        error => format!(
            "the driver did not tell its memory pool's use (CUDA error {error}); see the device row"
        ),
    }
}

/// Why a pool could not be read after a cell that had used it.
pub fn explain_unread(page: &PoolPage) -> String {
    match page.error.load(Relaxed) {
        SUCCESS => "CUDA did not answer after the cell, so its pool could not be read; see the \
                    device row"
            .into(),
        error => explain(error),
    }
}

/// The value of a pool's field and why it is absent, if it is.
pub fn value(field: &AtomicU64, page: &PoolPage) -> Result<u64, String> {
    known(field).ok_or_else(|| match page.error.load(Relaxed) {
        SUCCESS => "CUDA's memory pool was not looked at".into(),
        error => explain(error),
    })
}

#[cfg(test)]
mod tests {
    use super::driver::loaded_library;
    use super::*;

    #[test]
    fn a_loaded_library_is_found_by_its_name() {
        assert!(loaded_library(|name| name.starts_with("libc.so")));
        assert!(!loaded_library(|name| name.starts_with("libcuda.so")));
        assert!(!loaded_library(is_driver_library));
        assert!(driver().is_none());
    }

    #[test]
    fn an_uuid_survives_the_page() {
        let page = GpuPage::default();
        page.clear();
        let uuid: [u8; 16] = std::array::from_fn(|index| index as u8 * 3 + 1);
        assert!(page.device(uuid).is_none());
        page.devices[2].set_uuid(uuid);
        assert_eq!(page.devices[2].uuid(), Some(uuid));
        assert!(std::ptr::eq(page.device(uuid).unwrap(), &page.devices[2]));
    }

    #[test]
    fn without_cuda_nothing_is_known_but_that() {
        let page = GpuPage::default();
        read_before(&page);
        read_after(&page);
        assert_eq!(Presence::of(&page.driver_before), Presence::Absent);
        assert_eq!(Presence::of(&page.driver_after), Presence::Absent);
        assert_eq!(page.devices[0].after.context(), Presence::Unknown);
        assert!(value(&page.devices[0].after.used, &page.devices[0].after).is_err());
    }
}
