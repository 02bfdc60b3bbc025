//! GPUs as NVIDIA's management library (NVML) tells of them: memory of each device, and the
//! processes on it.
//!
//! NVML is loaded when it is asked for, never linked, and is not part of CUDA: asking it makes no
//! CUDA context and takes no GPU memory.

use std::path::Path;

use nvml_wrapper::enum_wrappers::device::GpuVirtualizationMode;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use crate::record;

mod believed;

/// Why there is nothing to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuAbsence {
    /// No sign of an NVIDIA GPU on this machine: nothing is missing.
    #[error("no NVIDIA GPU and no NVIDIA driver on this machine")]
    NoNvidia,
    /// There is one, or a driver, but it cannot be read; in words that a user can act on.
    #[error("{0}")]
    Unreadable(String),
}

/// NVML, ready to be asked.
pub struct NvmlProbe {
    // Never shut down: a shutdown at the end of the process could hang with a broken driver.
    nvml: &'static nvml_wrapper::Nvml,
    driver: Option<String>,
}

/// One GPU or one MIG instance of a GPU.
pub struct Gpu {
    handle: nvml_wrapper::Device<'static>,
    /// The device as records name it.
    pub device: record::Device,
    /// The 16 bytes of its UUID, by which CUDA's devices are matched with NVML's.
    pub uuid: Option<[u8; 16]>,
    old_process_list: bool,
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Used by all processes together; what the driver keeps for itself is not in it.
    pub used: u64,
    /// Kept by the driver and firmware.
    pub reserved: u64,
    /// All of the device's.
    pub total: u64,
}

/// A process on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuProcess {
    /// Its pid, which in a container may be that of another pid namespace.
    pub pid: u32,
    /// Bytes that it holds on the device. `None`: the driver does not tell (MIG, WDDM).
    pub used: Option<u64>,
}

/// The processes on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessList {
    /// Those with a compute context, then those with a graphics context only.
    pub rows: Vec<GpuProcess>,
    /// Whether the driver told both kinds.
    pub complete: bool,
}

/// How a GPU comes to this machine, as the driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuVirtualization {
    /// Not virtual.
    Bare,
    /// A whole device, passed through a hypervisor.
    PassThrough,
    /// A share of a device (vGPU).
    Shared,
    /// This machine shares its devices with others.
    Host,
}

impl NvmlProbe {
    /// Loads NVML.
    ///
    /// # Errors
    /// [`GpuAbsence::NoNvidia`] where nothing of NVIDIA is on the machine, else why NVML does not
    /// answer.
    pub fn open() -> Result<NvmlProbe, GpuAbsence> {
        let nvml = nvml_wrapper::Nvml::init().map_err(|error| match error {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => without_library(),
            error => GpuAbsence::Unreadable(explain(&error)),
        })?;
        let nvml: &'static nvml_wrapper::Nvml = Box::leak(Box::new(nvml));
        Ok(NvmlProbe {
            driver: (nvml.sys_driver_version().ok()).and_then(|version| believed::text(&version)),
            nvml,
        })
    }

    /// The driver's version, such as `570.86.10`.
    pub fn driver_version(&self) -> Option<&str> {
        self.driver.as_deref()
    }

    /// The newest CUDA that the driver can run, as (major, minor).
    pub fn cuda_version(&self) -> Option<(u32, u32)> {
        believed::cuda_version(self.nvml.sys_cuda_driver_version().ok()?)
    }

    /// The GPUs, in NVML's order; of a GPU in MIG mode its instances instead.
    ///
    /// # Errors
    /// Where there is none, or they cannot be listed.
    pub fn gpus(&self) -> Result<Vec<Gpu>, GpuAbsence> {
        let unreadable = |error: NvmlError| GpuAbsence::Unreadable(explain(&error));
        let count = self.nvml.device_count().map_err(unreadable)?;
        let mut gpus = Vec::new();
        let mut last_error = None;
        for index in 0..count.min(believed::MOST_DEVICES) {
            // One that is lost must not hide the others.
            match self.nvml.device_by_index(index) {
                Ok(handle) => gpus.extend(self.with_instances(handle, index)),
                Err(error) => last_error = Some(error),
            }
        }
        match (gpus.is_empty(), last_error) {
            (true, Some(error)) => Err(unreadable(error)),
            (true, None) => Err(GpuAbsence::Unreadable(NO_GPU.into())),
            (false, _) => Ok(gpus),
        }
    }

    fn with_instances(&self, handle: nvml_wrapper::Device<'static>, index: u32) -> Vec<Gpu> {
        // Not supported means: no MIG.
        let in_mig_mode = handle.mig_mode().is_ok_and(|mode| mode.current != 0);
        let mut instances = Vec::new();
        if in_mig_mode {
            let count = handle.mig_device_count().unwrap_or(0);
            instances = (0..count.min(believed::MOST_DEVICES))
                .filter_map(|number| handle.mig_device_by_index(number).ok())
                .map(|instance| self.gpu(instance, index))
                .collect();
        }
        if instances.is_empty() {
            instances.push(self.gpu(handle, index));
        }
        instances
    }

    fn gpu(&self, handle: nvml_wrapper::Device<'static>, index: u32) -> Gpu {
        let uuid = handle.uuid().ok().and_then(believed::uuid);
        let name = handle.name().ok().and_then(|name| believed::text(&name));
        Gpu {
            uuid: uuid.as_deref().and_then(uuid_bytes),
            device: record::Device {
                index,
                name: name.unwrap_or_else(|| "NVIDIA GPU".into()),
                uuid,
            },
            old_process_list: self.driver.as_deref().is_some_and(has_broken_process_list),
            handle,
        }
    }
}

impl Gpu {
    /// Whether it is an instance of a GPU in MIG mode.
    pub fn is_mig_instance(&self) -> bool {
        self.device
            .uuid
            .as_deref()
            .is_some_and(|uuid| uuid.starts_with("MIG-"))
    }

    /// Memory of the device, all processes together. About 12 µs.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub fn memory(&self) -> Result<GpuMemory, String> {
        let memory = self.handle.memory_info().map_err(|error| explain(&error))?;
        believed::memory(&memory)
    }

    /// The processes that hold memory of the device. Takes the driver's global lock for
    /// milliseconds: not for a loop.
    ///
    /// Where a process with the number `sought` has a compute context, those with a graphics
    /// context only are not asked for.
    ///
    /// # Errors
    /// Why they cannot be listed, in words.
    pub fn processes(&self, sought: u32) -> Result<ProcessList, String> {
        let handle = &self.handle;
        let compute = match self.old_process_list {
            true => list(handle.running_compute_processes_count_v2(), || {
                handle.running_compute_processes_v2()
            }),
            false => list(handle.running_compute_processes_count(), || {
                handle.running_compute_processes()
            }),
        };
        let total = self.memory().ok().map(|memory| memory.total);
        let compute = compute.map_err(|error| explain(&error))?;
        let mut rows = believed::processes(compute, total);
        if rows.iter().any(|row| row.pid == sought) {
            return Ok(ProcessList {
                rows,
                complete: false,
            });
        }
        let graphics = match self.old_process_list {
            true => list(handle.running_graphics_processes_count_v2(), || {
                handle.running_graphics_processes_v2()
            }),
            false => list(handle.running_graphics_processes_count(), || {
                handle.running_graphics_processes()
            }),
        };
        let complete = matches!(graphics, Ok(_) | Err(NvmlError::NotSupported));
        // A process with both kinds of context is in both lists with the same number.
        for process in believed::processes(graphics.unwrap_or_default(), total) {
            if rows.iter().all(|known| known.pid != process.pid) {
                rows.push(process);
            }
        }
        Ok(ProcessList { rows, complete })
    }

    /// How the device comes to this machine; `None` where the driver does not say.
    pub fn virtualization(&self) -> Option<GpuVirtualization> {
        Some(match self.handle.virtualization_mode().ok()? {
            GpuVirtualizationMode::Bare => GpuVirtualization::Bare,
            GpuVirtualizationMode::PassThrough => GpuVirtualization::PassThrough,
            GpuVirtualizationMode::Vgpu => GpuVirtualization::Shared,
            GpuVirtualizationMode::HostVgpu | GpuVirtualizationMode::HostVsga => {
                GpuVirtualization::Host
            }
        })
    }
}

impl GpuVirtualization {
    /// Some words for a reader.
    pub fn as_str(self) -> &'static str {
        match self {
            GpuVirtualization::Bare => "none (bare metal)",
            GpuVirtualization::PassThrough => "pass-through of the whole GPU",
            GpuVirtualization::Shared => "vGPU (a share of a GPU)",
            GpuVirtualization::Host => "host of vGPUs",
        }
    }
}

/// A list of processes, asked for if their `count` is one for which there can be room.
fn list(
    count: Result<u32, NvmlError>,
    ask: impl FnOnce() -> Result<Vec<ProcessInfo>, NvmlError>,
) -> Result<Vec<ProcessInfo>, NvmlError> {
    match count? {
        0 => Ok(Vec::new()),
        1..=believed::MOST_PROCESSES => ask(),
        _ => Err(NvmlError::Unknown),
    }
}

/// The process list of version 3 is broken in the drivers 535.43 to 535.98 (it was changed without
/// a new version): <https://github.com/XuehaiPan/nvitop> keeps a note of it.
fn has_broken_process_list(driver: &str) -> bool {
    let mut parts = driver.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten());
    major == Some(535) && minor.is_some_and(|minor| (43..=98).contains(&minor))
}

/// The 16 bytes of a UUID such as `GPU-…` or `MIG-…`. `None` for the older form of MIG's
/// (`MIG-GPU-…/1/0`) and for anything else.
pub fn uuid_bytes(uuid: &str) -> Option<[u8; 16]> {
    let (_, rest) = uuid.split_once('-')?;
    let digits: Vec<u8> = rest.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Whether this process counts pids as the whole machine does: then the driver's pids mean the same
/// here. The number is that of the first pid namespace (`PROC_PID_INIT_INO` in Linux's
/// `include/linux/proc_ns.h`).
pub fn pids_are_global() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

const NO_GPU: &str = "the NVIDIA driver is here but shows no GPU: attach one (Colab: Runtime > Change \
     runtime type; Docker: --gpus all), or see what nvidia-smi says";

/// There is no NVML: on a machine with no sign of NVIDIA nothing is wrong with that.
fn without_library() -> GpuAbsence {
    if Path::new("/dev/dxg").exists() && Path::new("/usr/lib/wsl/lib").exists() {
        return GpuAbsence::Unreadable(
            "WSL2 without NVML (libnvidia-ml.so.1): install the NVIDIA driver on Windows, and have \
             /usr/lib/wsl/lib in LD_LIBRARY_PATH before Jupyter starts"
                .into(),
        );
    }
    if Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists() {
        return GpuAbsence::Unreadable(
            "the NVIDIA driver is loaded, but its library NVML (libnvidia-ml.so.1) is not found: \
             in a container, start it with the NVIDIA runtime (docker run --gpus all); else add the \
             library's folder to LD_LIBRARY_PATH before Jupyter starts (Colab: /usr/lib64-nvidia)"
                .into(),
        );
    }
    match has_nvidia_device(Path::new("/sys/bus/pci/devices")) {
        true => GpuAbsence::Unreadable(
            "this machine has an NVIDIA GPU but no NVIDIA driver (libnvidia-ml.so.1 is not found): \
             install the driver"
                .into(),
        ),
        false => GpuAbsence::NoNvidia,
    }
}

/// Whether a display controller of NVIDIA (PCI vendor 0x10de, class 0x03) is on the bus.
fn has_nvidia_device(bus: &Path) -> bool {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    std::fs::read_dir(bus)
        .into_iter()
        .flatten()
        .flatten()
        .any(|device| {
            read(&device.path().join("vendor")).trim() == "0x10de"
                && read(&device.path().join("class"))
                    .trim()
                    .starts_with("0x03")
        })
}

/// An error of NVML in words that a user can act on.
fn explain(error: &NvmlError) -> String {
    match error {
        NvmlError::DriverNotLoaded => "NVML is installed, but no NVIDIA driver is loaded: on a \
             machine with an NVIDIA GPU load it (modprobe nvidia), in a container give it the GPU \
             (docker run --gpus all)"
            .into(),
        NvmlError::LibRmVersionMismatch => "the NVIDIA driver was updated and its library does not \
             fit the loaded kernel module any more: restart the machine"
            .into(),
        NvmlError::NoPermission => "not permitted to ask the NVIDIA driver: the user needs access \
             to /dev/nvidia* (in a container: docker run --gpus all; else ask the administrator)"
            .into(),
        NvmlError::OperatingSystem => "the system (a control group, most likely) blocks access to \
             the GPU: allow /dev/nvidia* for this container or job"
            .into(),
        NvmlError::GpuLost => "the GPU is lost: it fell off the bus (see dmesg for Xid messages); \
             restart the machine"
            .into(),
        NvmlError::ResetRequired => {
            "the GPU needs a reset: end the programs that use it and run nvidia-smi --gpu-reset, or \
             restart the machine"
                .into()
        }
        NvmlError::NotSupported => {
            "the driver does not tell this of this GPU (as under WSL2, or for a part of a GPU)"
                .into()
        }
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "the NVIDIA driver is too old to tell this: update it (510 or later)".into()
        }
        error => format!("NVML says: {error}; see what nvidia-smi says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let bytes = uuid_bytes("GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(bytes.unwrap()[..4], [0, 0x11, 0x22, 0x33]);
        assert_eq!(
            bytes,
            uuid_bytes("MIG-00112233-4455-6677-8899-aabbccddeeff")
        );
        for wrong in [
            "",
            "GPU-",
            "GPU-0011",
            "MIG-GPU-00112233-4455-6677-8899-aabbccddeeff/1/0",
            "GPU-0011223g-4455-6677-8899-aabbccddeeff",
            "GPU-é0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(uuid_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn drivers_with_a_broken_list_are_known() {
        for broken in ["535.43", "535.54.03", "535.98"] {
            assert!(has_broken_process_list(broken), "{broken}");
        }
        for right in ["535.42", "535.104.05", "570.86.10", "", "535", "x.y"] {
            assert!(!has_broken_process_list(right), "{right}");
        }
    }

    #[test]
    fn a_gpu_on_the_bus_is_seen() {
        let bus = tempfile::tempdir().unwrap();
        let add = |name: &str, vendor: &str, class: &str| {
            let folder = bus.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("vendor"), vendor).unwrap();
            std::fs::write(folder.join("class"), class).unwrap();
        };
        add("0", "0x8086\n", "0x030000\n");
        add("1", "0x10de\n", "0x040300\n");
        assert!(!has_nvidia_device(bus.path()));
        add("2", "0x10de\n", "0x030200\n");
        assert!(has_nvidia_device(bus.path()));
        assert!(!has_nvidia_device(Path::new("/nonexistent")));
    }

    #[test]
    fn every_explanation_says_what_to_do() {
        for error in [
            NvmlError::DriverNotLoaded,
            NvmlError::LibRmVersionMismatch,
            NvmlError::NoPermission,
            NvmlError::OperatingSystem,
            NvmlError::GpuLost,
            NvmlError::ResetRequired,
            NvmlError::Unknown,
        ] {
            assert!(explain(&error).contains([':', ';']), "{}", explain(&error));
        }
    }
}
