//! CUDA's stream-ordered memory pool, read from inside the process that uses it.
//!
//! The pool keeps high-water marks of its own, which can be set back to zero, so its peaks are
//! exact (`CU_MEMPOOL_ATTR_USED_MEM_HIGH` and `…_RESERVED_MEM_HIGH`, CUDA Driver API, "Stream
//! Ordered Memory Allocator"). It is one pool for each process and device, whoever allocates.
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

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use libloading::os::unix::{Library, RTLD_NOW};

use crate::page::{known, put};

/// How many devices' pools the shared page has room for.
pub const DEVICES: usize = 16;

/// What the worker knows of its own use of GPUs; part of the shared page.
#[repr(C)]
pub struct GpuPage {
    /// Whether a library of NVIDIA's driver was in the process before the user's code.
    pub driver_before: AtomicU32,
    /// The same after it.
    pub driver_after: AtomicU32,
    /// 1 if no library was unloaded between the two: then one that is there at neither end was not
    /// there between them.
    pub nothing_unloaded: AtomicU32,
    unloads_before: AtomicU64,
    /// Numbers of the contexts that were current on the cell's thread before and after the user's
    /// code (`cuCtxGetId`, never used twice in a process); 0 is not known.
    context_before: AtomicU64,
    context_after: AtomicU64,
    /// CUDA's devices, by CUDA's own numbers.
    pub devices: [DevicePage; DEVICES],
}

/// One device, as CUDA numbers them.
#[repr(C)]
pub struct DevicePage {
    uuid: [AtomicU64; 2],
    /// Just before the user's code.
    pub before: PoolPage,
    /// The last look while it ran.
    pub seen: PoolPage,
    /// Just after it.
    pub after: PoolPage,
    /// 1 if both marks were set back before the user's code ran.
    pub marks_reset: AtomicU32,
    /// 1 if the context was seen to be gone while the user's code ran, after it had been there, or
    /// the marks to have fallen: then it was made anew, and so was the pool.
    pub released: AtomicU32,
    /// 1 if another pool became the device's present one while the user's code ran.
    pub pool_changed: AtomicU32,
    pool: AtomicU64,
}

/// The pool of one device at one time. Sizes in bytes.
#[repr(C)]
pub struct PoolPage {
    context: AtomicU32,
    /// The driver's error, if the pool could not be read; else 0.
    pub error: AtomicU32,
    /// Bytes that the program has from the pool.
    pub used: AtomicU64,
    /// Highest `used` since the mark was set back.
    pub used_high: AtomicU64,
    /// Bytes that the pool has from the driver.
    pub reserved: AtomicU64,
    /// Highest `reserved` since the mark was set back.
    pub reserved_high: AtomicU64,
}

/// Whether something is there, for fields of the shared page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there.
    Present,
}

impl Presence {
    /// The value of a field of the shared page.
    pub fn of(field: &AtomicU32) -> Presence {
        match field.load(Acquire) {
            1 => Presence::Absent,
            2 => Presence::Present,
            _ => Presence::Unknown,
        }
    }

    fn put(field: &AtomicU32, present: bool) {
        field.store(1 + u32::from(present), Release);
    }
}

impl GpuPage {
    /// Forgets all.
    pub fn clear(&self) {
        self.driver_before.store(0, Relaxed);
        self.driver_after.store(0, Relaxed);
        self.nothing_unloaded.store(0, Relaxed);
        self.context_before.store(0, Relaxed);
        self.context_after.store(0, Relaxed);
        for device in &self.devices {
            device.uuid[0].store(0, Relaxed);
            device.uuid[1].store(0, Relaxed);
            device.before.clear();
            device.seen.clear();
            device.after.clear();
            device.marks_reset.store(0, Relaxed);
            device.released.store(0, Relaxed);
            device.pool_changed.store(0, Relaxed);
            device.pool.store(0, Relaxed);
        }
    }

    /// Whether the context that was current on the cell's thread before the user's code is current
    /// after it; `None` where one of them is not known.
    pub fn same_context(&self) -> Option<bool> {
        let ids = [&self.context_before, &self.context_after].map(|id| id.load(Relaxed));
        (!ids.contains(&0)).then(|| ids[0] == ids[1])
    }

    /// As if these contexts had been current.
    #[cfg(test)]
    pub(crate) fn set_contexts(&self, before: u64, after: u64) {
        self.context_before.store(before, Relaxed);
        self.context_after.store(after, Relaxed);
    }

    /// The device with this UUID, if CUDA has it.
    pub fn device(&self, uuid: [u8; 16]) -> Option<&DevicePage> {
        self.devices
            .iter()
            .find(|device| device.uuid() == Some(uuid))
    }
}

impl DevicePage {
    /// Its UUID; `None` where the worker's CUDA has no such device.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        let halves = [&self.uuid[0], &self.uuid[1]].map(|half| half.load(Relaxed));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&halves[0].to_be_bytes());
        bytes[8..].copy_from_slice(&halves[1].to_be_bytes());
        (bytes != [0; 16]).then_some(bytes)
    }

    pub(crate) fn set_uuid(&self, bytes: [u8; 16]) {
        let half = |from: usize| {
            let bytes: [u8; 8] = std::array::from_fn(|index| bytes[from + index]);
            u64::from_be_bytes(bytes)
        };
        self.uuid[0].store(half(0), Relaxed);
        self.uuid[1].store(half(8), Relaxed);
    }
}

impl PoolPage {
    /// Whether the device's primary context was active.
    pub fn context(&self) -> Presence {
        Presence::of(&self.context)
    }

    fn clear(&self) {
        self.context.store(0, Relaxed);
        self.error.store(0, Relaxed);
        self.set([None; 4]);
    }

    /// As if the context were active and the pool read as used, its mark, reserved, its mark.
    #[cfg(test)]
    pub(crate) fn fill(&self, values: [u64; 4]) {
        self.set(values.map(Some));
        Presence::put(&self.context, true);
    }

    /// As if there were no context.
    #[cfg(test)]
    pub(crate) fn fill_absent(&self) {
        Presence::put(&self.context, false);
    }

    /// As if the driver had refused to tell of the pool.
    #[cfg(test)]
    pub(crate) fn fill_error(&self, error: u32) {
        self.error.store(error, Relaxed);
        Presence::put(&self.context, true);
    }

    fn set(&self, values: [Option<u64>; 4]) {
        let fields = [
            &self.used,
            &self.used_high,
            &self.reserved,
            &self.reserved_high,
        ];
        for (field, value) in fields.into_iter().zip(values) {
            put(field, value);
        }
    }

    fn store(&self, look: &Look) {
        match look {
            Look::NoContext => Presence::put(&self.context, false),
            Look::Failed(error) => {
                self.error.store(*error, Relaxed);
                self.context.store(0, Release);
            }
            Look::Pool { values, error, .. } => {
                self.set(*values);
                self.error.store(*error, Relaxed);
                Presence::put(&self.context, true);
            }
        }
    }

    /// As [`PoolPage::store`], but of the marks the highest are kept.
    fn raise(&self, look: &Look) {
        let marks = [known(&self.used_high), known(&self.reserved_high)];
        self.store(look);
        if let Look::Pool { .. } = look {
            for (field, earlier) in [&self.used_high, &self.reserved_high]
                .into_iter()
                .zip(marks)
            {
                put(field, known(field).max(earlier));
            }
        }
    }
}

/// Whether a library of NVIDIA's driver is in this process: CUDA's, or that of OpenGL or Vulkan.
/// A process without one cannot hold memory of an NVIDIA GPU. Some microseconds.
pub fn driver_is_loaded() -> bool {
    loaded_library(is_driver_library)
}

/// Whether a file name is that of a library of NVIDIA's driver that can take GPU memory.
pub fn is_driver_library(file: &str) -> bool {
    // NVML, which takes none, is `libnvidia-ml`.
    ["libcuda.so", "libnvidia-", "libGLX_nvidia", "libEGL_nvidia"]
        .iter()
        .any(|driver| file.starts_with(driver))
        && !file.starts_with("libnvidia-ml")
}

/// Whether a library whose file name `matches` is loaded.
fn loaded_library(matches: impl Fn(&str) -> bool) -> bool {
    look_at_libraries(&matches).0
}

/// Whether a library whose file name `matches` is loaded, and how many were unloaded so far.
fn look_at_libraries(matches: &dyn Fn(&str) -> bool) -> (bool, u64) {
    type Matches<'a> = (&'a dyn Fn(&str) -> bool, bool, u64);
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _: usize,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: both pointers are valid for the call: the loader's own, and ours from below.
        let (name, wanted) = unsafe { ((*info).dlpi_name, &mut *data.cast::<Matches>()) };
        // SAFETY: as above.
        wanted.2 = unsafe { (*info).dlpi_subs };
        if name.is_null() {
            return 0;
        }
        // SAFETY: the loader's names end in a zero byte.
        let path = unsafe { CStr::from_ptr(name) }.to_bytes();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        wanted.1 = std::str::from_utf8(file).is_ok_and(wanted.0);
        c_int::from(wanted.1)
    }
    let mut wanted: Matches = (matches, false, 0);
    // SAFETY: `visit` has the type that is asked for and does not outlive the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut wanted).cast()) };
    (wanted.1, wanted.2)
}

type CuResult = c_uint;
type CuDevice = c_int;
type CuPool = *mut c_void;

const SUCCESS: CuResult = 0;
/// Not a number of CUDA's: the driver has no such function.
const NO_FUNCTION: CuResult = 0xffff;
const RESERVED_MEM_CURRENT: c_uint = 5;
const RESERVED_MEM_HIGH: c_uint = 6;
const USED_MEM_CURRENT: c_uint = 7;
const USED_MEM_HIGH: c_uint = 8;

/// The few functions of the driver that are asked, none of which makes anything.
struct Driver {
    device_count: unsafe extern "C" fn(*mut c_int) -> CuResult,
    device: unsafe extern "C" fn(*mut CuDevice, c_int) -> CuResult,
    device_uuid: unsafe extern "C" fn(*mut [u8; 16], CuDevice) -> CuResult,
    context_state: unsafe extern "C" fn(CuDevice, *mut c_uint, *mut c_int) -> CuResult,
    /// Since CUDA 12.0.
    context_id: Option<unsafe extern "C" fn(*mut c_void, *mut u64) -> CuResult>,
    /// Since CUDA 11.2.
    pool: Option<PoolFunctions>,
}

#[derive(Clone, Copy)]
struct PoolFunctions {
    of_device: unsafe extern "C" fn(*mut CuPool, CuDevice) -> CuResult,
    get: unsafe extern "C" fn(CuPool, c_uint, *mut c_void) -> CuResult,
    set: unsafe extern "C" fn(CuPool, c_uint, *mut c_void) -> CuResult,
}

/// The driver, if the user's code has loaded it.
fn driver() -> Option<&'static Driver> {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    if let Some(driver) = DRIVER.get() {
        return Some(driver);
    }
    // Only success is remembered: a library that is just being loaded cannot be opened yet.
    if !loaded_library(|name| name.starts_with("libcuda.so")) {
        return None;
    }
    let driver = Driver::find()?;
    Some(DRIVER.get_or_init(|| driver))
}

impl Driver {
    fn find() -> Option<Driver> {
        // glibc and musl; libloading has no name for it.
        const RTLD_NOLOAD: c_int = libc::RTLD_NOLOAD;
        // SAFETY: the library is loaded already, so none of its code runs.
        let library = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW | RTLD_NOLOAD) }
            .or_else(|_| unsafe { Library::open(Some("libcuda.so"), RTLD_NOW | RTLD_NOLOAD) })
            .ok()?;
        // SAFETY: the types are those of cuda.h.
        let driver = unsafe {
            Driver {
                device_count: *library.get(b"cuDeviceGetCount\0").ok()?,
                device: *library.get(b"cuDeviceGet\0").ok()?,
                // The second version tells instances of a GPU in MIG mode apart.
                device_uuid: library
                    .get(b"cuDeviceGetUuid_v2\0")
                    .or_else(|_| library.get(b"cuDeviceGetUuid\0"))
                    .map(|symbol| *symbol)
                    .ok()?,
                context_state: *library.get(b"cuDevicePrimaryCtxGetState\0").ok()?,
                context_id: library.get(b"cuCtxGetId\0").map(|symbol| *symbol).ok(),
                pool: PoolFunctions::find(&library),
            }
        };
        // The functions must stay, so the user's code cannot unload the library any more. NVIDIA's
        // cannot be unloaded and used again anyway.
        std::mem::forget(library);
        Some(driver)
    }

    /// CUDA's devices; none before the user's code has called `cuInit`.
    fn devices(&self) -> impl Iterator<Item = (usize, CuDevice)> {
        let mut count = 0;
        // SAFETY: a valid place for the answer.
        let result = unsafe { (self.device_count)(&mut count) };
        let count = if result == SUCCESS { count.max(0) } else { 0 };
        (0..DEVICES.min(count as usize)).filter_map(move |ordinal| {
            let mut device = 0;
            // SAFETY: as above.
            let result = unsafe { (self.device)(&mut device, ordinal as c_int) };
            (result == SUCCESS).then_some((ordinal, device))
        })
    }

    /// The number of this thread's current context; 0 where that cannot be told.
    fn current_context(&self) -> u64 {
        let mut id = 0;
        match self.context_id {
            // SAFETY: no context means the current one; a valid place for the answer.
            Some(of) if unsafe { of(std::ptr::null_mut(), &mut id) } == SUCCESS => id,
            _ => 0,
        }
    }

    fn uuid(&self, device: CuDevice) -> Option<[u8; 16]> {
        let mut uuid = [0; 16];
        // SAFETY: CUDA's `CUuuid` is 16 bytes.
        (unsafe { (self.device_uuid)(&mut uuid, device) } == SUCCESS).then_some(uuid)
    }

    /// Whether the device's primary context is active, or the driver's error.
    fn context_is_active(&self, device: CuDevice) -> Result<bool, CuResult> {
        let (mut flags, mut active) = (0, 0);
        // SAFETY: valid places for the answers.
        match unsafe { (self.context_state)(device, &mut flags, &mut active) } {
            SUCCESS => Ok(active != 0),
            error => Err(error),
        }
    }

    /// Looks at the device's pool.
    fn look(&self, device: CuDevice) -> Look {
        match self.context_is_active(device) {
            Ok(true) => stop_at_exit(),
            Ok(false) => return Look::NoContext,
            Err(error) => return Look::Failed(error),
        }
        match self.pool_of(device) {
            Ok(pool) => {
                let values = [
                    USED_MEM_CURRENT,
                    USED_MEM_HIGH,
                    RESERVED_MEM_CURRENT,
                    RESERVED_MEM_HIGH,
                ]
                .map(|attribute| pool.get(attribute));
                Look::Pool {
                    handle: pool.handle as u64,
                    values,
                    error: pool.error.get(),
                }
            }
            Err(error) => Look::Pool {
                handle: 0,
                values: [None; 4],
                error,
            },
        }
    }

    fn pool_of(&self, device: CuDevice) -> Result<Pool, CuResult> {
        let functions = self.pool.ok_or(NO_FUNCTION)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: a valid place for the answer.
        match unsafe { (functions.of_device)(&mut handle, device) } {
            SUCCESS => Ok(Pool {
                functions,
                handle,
                error: std::cell::Cell::new(SUCCESS),
            }),
            error => Err(error),
        }
    }
}

impl PoolFunctions {
    /// # Safety
    /// `library` must be NVIDIA's libcuda.
    unsafe fn find(library: &Library) -> Option<PoolFunctions> {
        // SAFETY: the types are those of cuda.h.
        unsafe {
            Some(PoolFunctions {
                // The pool that `cuMemAllocAsync` takes from: the device's present one.
                of_device: *library.get(b"cuDeviceGetMemPool\0").ok()?,
                get: *library.get(b"cuMemPoolGetAttribute\0").ok()?,
                set: *library.get(b"cuMemPoolSetAttribute\0").ok()?,
            })
        }
    }
}

/// What was seen of a device's pool.
enum Look {
    NoContext,
    /// The driver did not tell whether there is a context.
    Failed(CuResult),
    Pool {
        handle: u64,
        /// Used, its mark, reserved, its mark.
        values: [Option<u64>; 4],
        error: CuResult,
    },
}

impl DevicePage {
    /// Takes note of which pool was read: marks of another say nothing of the first.
    fn note_pool(&self, look: &Look) {
        let Look::Pool { handle, .. } = look else {
            return;
        };
        let first = self.pool.swap(*handle, Relaxed);
        if ![0, *handle].contains(&first) && *handle != 0 {
            self.pool_changed.store(1, Relaxed);
        }
    }
}

/// Set when the process ends: the driver must not be called any more.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether a look is going on.
static LOOKING: AtomicBool = AtomicBool::new(false);

/// Has looks end before the driver's own handlers for the end of the process run. They run in
/// reverse order of registration, so ours must be registered after the driver has made a context.
fn stop_at_exit() {
    extern "C" fn stop() {
        ENDING.store(true, SeqCst);
        for _ in 0..20 {
            if !LOOKING.load(SeqCst) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    // SAFETY: the handler is a function without arguments that does not unwind.
    REGISTERED.call_once(|| unsafe {
        libc::atexit(stop);
    });
}

struct Pool {
    functions: PoolFunctions,
    handle: CuPool,
    error: std::cell::Cell<CuResult>,
}

impl Pool {
    fn get(&self, attribute: c_uint) -> Option<u64> {
        let mut value = 0u64;
        // SAFETY: the four attributes that are asked are `cuuint64_t`.
        let result =
            unsafe { (self.functions.get)(self.handle, attribute, (&raw mut value).cast()) };
        if result != SUCCESS {
            self.error.set(result);
            return None;
        }
        Some(value)
    }

    fn reset_marks(&self) -> bool {
        [USED_MEM_HIGH, RESERVED_MEM_HIGH].iter().all(|attribute| {
            let mut zero = 0u64;
            // SAFETY: as in `get`; zero is the one value that a mark can be set to.
            let result =
                unsafe { (self.functions.set)(self.handle, *attribute, (&raw mut zero).cast()) };
            result == SUCCESS
        })
    }
}

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

impl DevicePage {
    fn take_note(&self, look: &Look) {
        let was_there = match self.seen.context() {
            Presence::Unknown => self.before.context() == Presence::Present,
            seen => seen == Presence::Present,
        };
        let fell = match look {
            Look::NoContext => was_there,
            Look::Failed(_) => false,
            Look::Pool { values, .. } => values[1] < known(&self.seen.used_high),
        };
        if fell {
            self.released.store(1, Relaxed);
        }
        self.note_pool(look);
        self.seen.raise(look);
    }
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
    use super::*;

    #[test]
    fn a_loaded_library_is_found_by_its_name() {
        assert!(loaded_library(|name| name.starts_with("libc.so")));
        assert!(!loaded_library(|name| name.starts_with("libcuda.so")));
        assert!(!driver_is_loaded());
        assert!(driver().is_none());
    }

    #[test]
    fn an_uuid_survives_the_page() {
        // SAFETY: all-zero bytes are valid atomics.
        let page: GpuPage = unsafe { std::mem::zeroed() };
        page.clear();
        let uuid: [u8; 16] = std::array::from_fn(|index| index as u8 * 3 + 1);
        assert!(page.device(uuid).is_none());
        page.devices[2].set_uuid(uuid);
        assert_eq!(page.devices[2].uuid(), Some(uuid));
        assert!(std::ptr::eq(page.device(uuid).unwrap(), &page.devices[2]));
    }

    #[test]
    fn without_cuda_nothing_is_known_but_that() {
        // SAFETY: as above.
        let page: GpuPage = unsafe { std::mem::zeroed() };
        read_before(&page);
        read_after(&page);
        assert_eq!(Presence::of(&page.driver_before), Presence::Absent);
        assert_eq!(Presence::of(&page.driver_after), Presence::Absent);
        assert_eq!(page.devices[0].after.context(), Presence::Unknown);
        assert!(value(&page.devices[0].after.used, &page.devices[0].after).is_err());
    }
}
