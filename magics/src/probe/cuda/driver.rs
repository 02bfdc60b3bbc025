//! The few functions of CUDA's driver that are asked, found among the libraries that the user's code
//! has loaded.

#![expect(unsafe_code, reason = "functions of C: the loader's and the driver's")]

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::*};

use libloading::os::unix::{Library, RTLD_NOW};

use super::DEVICES;

/// Whether a file name is that of a library of NVIDIA's driver that can take GPU memory: CUDA's, or
/// that of OpenGL or Vulkan. A process without one cannot hold memory of an NVIDIA GPU.
pub fn is_driver_library(file: &str) -> bool {
    // NVML, which takes none, is `libnvidia-ml`.
    ["libcuda.so", "libnvidia-", "libGLX_nvidia", "libEGL_nvidia"]
        .iter()
        .any(|driver| file.starts_with(driver))
        && !file.starts_with("libnvidia-ml")
}

/// Whether a library whose file name `matches` is loaded.
pub(super) fn loaded_library(matches: impl Fn(&str) -> bool) -> bool {
    look_at_libraries(&matches).0
}

/// Whether a library whose file name `matches` is loaded, and how many were unloaded so far.
pub(super) fn look_at_libraries(matches: &dyn Fn(&str) -> bool) -> (bool, u64) {
    type Matches<'a> = (&'a dyn Fn(&str) -> bool, bool, u64);
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _: usize,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader gives a description that is valid for this call, and as `data` what it was
        // given below: a `Matches` that nobody else uses until all calls are over.
        let (info, wanted) = unsafe { (&*info, &mut *data.cast::<Matches>()) };
        wanted.2 = info.dlpi_subs;
        let name = info.dlpi_name;
        if name.is_null() {
            return 0;
        }
        // SAFETY: the loader's names end in a zero byte, and stay for this call: it holds its lock.
        let path = unsafe { CStr::from_ptr(name) }.to_bytes();
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        wanted.1 = std::str::from_utf8(file).is_ok_and(wanted.0);
        c_int::from(wanted.1)
    }
    let mut wanted: Matches = (matches, false, 0);
    // SAFETY: `visit` is called during this call only, with the address of `wanted`, which it takes for
    // what it is. It does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut wanted).cast()) };
    (wanted.1, wanted.2)
}

pub(super) type CuResult = c_uint;
pub(super) type CuDevice = c_int;
type CuPool = *mut c_void;

pub(super) const SUCCESS: CuResult = 0;
/// Not a number of CUDA's: the driver has no such function.
pub(super) const NO_FUNCTION: CuResult = 0xffff;
const RESERVED_MEM_CURRENT: c_uint = 5;
const RESERVED_MEM_HIGH: c_uint = 6;
const USED_MEM_CURRENT: c_uint = 7;
const USED_MEM_HIGH: c_uint = 8;

/// The few functions of the driver that are asked, none of which makes anything.
pub(super) struct Driver {
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
pub(super) fn driver() -> Option<&'static Driver> {
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
        // SAFETY: with this flag nothing is loaded, so no code of a library runs.
        let open = |name| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_NOLOAD) };
        let library = open("libcuda.so.1").or_else(|_| open("libcuda.so")).ok()?;
        // SAFETY: under these names a library of this name has the functions of cuda.h, whose types these
        // are; and it stays loaded, see below.
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
    pub(super) fn devices(&self) -> impl Iterator<Item = (usize, CuDevice)> {
        let mut count = 0;
        // SAFETY: `count` is a place for the answer.
        let result = unsafe { (self.device_count)(&mut count) };
        let count = if result == SUCCESS { count.max(0) } else { 0 };
        (0..DEVICES.min(count as usize)).filter_map(move |ordinal| {
            let mut device = 0;
            // SAFETY: `device` is a place for the answer, and any number may be asked for.
            let result = unsafe { (self.device)(&mut device, ordinal as c_int) };
            (result == SUCCESS).then_some((ordinal, device))
        })
    }

    /// The number of this thread's current context; 0 where that cannot be told.
    pub(super) fn current_context(&self) -> u64 {
        let mut id = 0;
        match self.context_id {
            // SAFETY: no context means the current one; `id` is a place for the answer.
            Some(of) if unsafe { of(std::ptr::null_mut(), &mut id) } == SUCCESS => id,
            _ => 0,
        }
    }

    pub(super) fn uuid(&self, device: CuDevice) -> Option<[u8; 16]> {
        let mut uuid = [0; 16];
        // SAFETY: a `CUuuid` of CUDA's is 16 bytes, and `uuid` has room for them.
        (unsafe { (self.device_uuid)(&mut uuid, device) } == SUCCESS).then_some(uuid)
    }

    /// Whether the device's primary context is active, or the driver's error.
    fn context_is_active(&self, device: CuDevice) -> Result<bool, CuResult> {
        let (mut flags, mut active) = (0, 0);
        // SAFETY: `flags` and `active` are places for the answers.
        match unsafe { (self.context_state)(device, &mut flags, &mut active) } {
            SUCCESS => Ok(active != 0),
            error => Err(error),
        }
    }

    /// Looks at the device's pool.
    pub(super) fn look(&self, device: CuDevice) -> Look {
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

    pub(super) fn pool_of(&self, device: CuDevice) -> Result<Pool, CuResult> {
        let functions = self.pool.ok_or(NO_FUNCTION)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is a place for the answer.
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
    /// `library` must be NVIDIA's libcuda, and stay loaded as long as the functions are used.
    unsafe fn find(library: &Library) -> Option<PoolFunctions> {
        // SAFETY: the caller's promise: these are the types of cuda.h.
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
pub(super) enum Look {
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

/// Set when the process ends: the driver must not be called any more.
pub(super) static ENDING: AtomicBool = AtomicBool::new(false);
/// Whether a look is going on.
pub(super) static LOOKING: AtomicBool = AtomicBool::new(false);

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
    // SAFETY: `stop` does not unwind, and its code is there until the end: this library is never unloaded.
    REGISTERED.call_once(|| unsafe {
        libc::atexit(stop);
    });
}

pub(super) struct Pool {
    functions: PoolFunctions,
    handle: CuPool,
    error: std::cell::Cell<CuResult>,
}

impl Pool {
    fn get(&self, attribute: c_uint) -> Option<u64> {
        let mut value = 0u64;
        // SAFETY: the four attributes that are asked are `cuuint64_t`, for which `value` has room. The pool
        // was the device's a moment ago; of one that is gone, CUDA says so.
        let result =
            unsafe { (self.functions.get)(self.handle, attribute, (&raw mut value).cast()) };
        if result != SUCCESS {
            self.error.set(result);
            return None;
        }
        Some(value)
    }

    pub(super) fn reset_marks(&self) -> bool {
        [USED_MEM_HIGH, RESERVED_MEM_HIGH].iter().all(|attribute| {
            let mut zero = 0u64;
            // SAFETY: as in `get`; `zero` is read, and is the one value that a mark can be set to.
            let result =
                unsafe { (self.functions.set)(self.handle, *attribute, (&raw mut zero).cast()) };
            result == SUCCESS
        })
    }
}
