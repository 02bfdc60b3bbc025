//! What the fake `libnvidia-ml.so.1` and `libcuda.so.1` share.
//!
//! Both are found through the loader like the real libraries, and both do what a *script* says:
//! `script.json` in the folder that `MEMTRACK_FAKE_GPU` names. Each process that uses the fake CUDA
//! keeps a file `process-PID` in the same folder, from which the fake NVML learns what it holds.
//! No number of theirs says anything about a real GPU.

pub mod processes;
pub mod script;

use std::path::PathBuf;
use std::sync::Mutex;

use processes::Process;
use script::{Device, Script};

/// The environment variable that names the folder of the script.
pub const FOLDER_VARIABLE: &str = "MEMTRACK_FAKE_GPU";

/// The folder of the script and of the files of the processes.
pub fn folder() -> Result<PathBuf, String> {
    match std::env::var_os(FOLDER_VARIABLE) {
        Some(folder) if !folder.is_empty() => Ok(PathBuf::from(folder)),
        _ => Err(format!(
            "{FOLDER_VARIABLE} is not set; it must name the folder with script.json"
        )),
    }
}

/// Says on stderr what is wrong, once until something else is wrong.
///
/// NVML is asked hundreds of times a second, so a line for each call would drown the rest.
pub fn complain(message: &str) {
    static LAST: Mutex<String> = Mutex::new(String::new());
    let mut last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if *last != message {
        eprintln!("fake GPU: {message}");
        *last = message.to_owned();
    }
}

/// Something that has memory of its own: a GPU, or an instance (MIG device) of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index of the GPU in the script.
    pub gpu: usize,
    /// Index of the instance on that GPU; `None` for the GPU as a whole.
    pub mig: Option<usize>,
}

impl Unit {
    /// What the script says of this unit; `None` if it has no such unit (any more).
    pub fn device(self, script: &Script) -> Option<&Device> {
        let gpu = script.devices.get(self.gpu)?;
        match self.mig {
            None => Some(gpu),
            Some(mig) => gpu.mig.as_ref()?.get(mig),
        }
    }

    /// Bytes in use on this unit, by others (script) and by `processes`. Without `reserved`.
    pub fn used(self, script: &Script, processes: &[Process]) -> u64 {
        let Some(device) = self.device(script) else {
            return 0;
        };
        // What is used on an instance is used on its GPU too.
        let instances = device.mig.iter().flatten().map(|mig| mig.base_used);
        let ours = processes.iter().map(|process| process.on(self).total());
        device.base_used + instances.sum::<u64>() + ours.sum::<u64>()
    }

    /// Bytes that can still be allocated on this unit.
    pub fn free(self, script: &Script, processes: &[Process]) -> u64 {
        let Some(device) = self.device(script) else {
            return 0;
        };
        (device.total)
            .saturating_sub(device.reserved)
            .saturating_sub(self.used(script, processes))
    }
}
