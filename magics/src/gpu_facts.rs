//! What is known of the machine's GPUs beside their use: for the fingerprint and for `doctor`.

use serde_json::{Map, Value, json};

use crate::probe::nvml::{
    Gpu, GpuAbsence, GpuMemory, GpuVirtualization, NvmlProbe, pids_are_global,
};

/// The GPUs of this machine.
#[derive(Debug, Clone)]
pub struct GpuFacts {
    /// The driver's version, such as `570.86.10`.
    pub driver: Option<String>,
    /// The newest CUDA that the driver can run, as (major, minor).
    pub cuda: Option<(u32, u32)>,
    /// The GPUs, or why there are none to be seen.
    pub gpus: Result<Vec<GpuFact>, GpuAbsence>,
    /// Whether pids mean the same here as to the driver: not so in most containers.
    pub pids_are_global: bool,
    /// Whether NVML answered in time; if not, all this may be known later.
    pub answered: bool,
}

/// One GPU, or one instance of a GPU in MIG mode.
#[derive(Debug, Clone)]
pub struct GpuFact {
    /// NVML's index.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// Its memory, or why that cannot be read.
    pub memory: Result<GpuMemory, String>,
    /// Whether it is an instance of a GPU in MIG mode.
    pub mig: bool,
    /// How it comes to this machine.
    pub virtualization: Option<GpuVirtualization>,
    /// How many processes the driver lists on it, or why it cannot.
    pub processes: Result<usize, String>,
}

impl GpuFacts {
    /// Asks NVML.
    pub(crate) fn of(nvml: Option<&NvmlProbe>, gpus: &Result<Vec<Gpu>, GpuAbsence>) -> GpuFacts {
        GpuFacts {
            driver: nvml.and_then(NvmlProbe::driver_version).map(str::to_owned),
            cuda: nvml.and_then(NvmlProbe::cuda_version),
            gpus: gpus
                .as_ref()
                .map(|gpus| gpus.iter().map(GpuFact::of).collect())
                .map_err(Clone::clone),
            pids_are_global: pids_are_global(),
            answered: true,
        }
    }

    /// Why nothing is known, where NVML did not answer.
    pub(crate) fn unknown(absence: GpuAbsence) -> GpuFacts {
        GpuFacts {
            driver: None,
            cuda: None,
            gpus: Err(absence),
            pids_are_global: pids_are_global(),
            answered: false,
        }
    }

    /// What of it belongs to the fingerprint; nothing that changes from one run to the next.
    pub fn fingerprint(&self) -> Map<String, Value> {
        let gpu = |gpu: &GpuFact| {
            json!({
                "name": gpu.name,
                "memory_bytes": gpu.memory.as_ref().ok().map(|memory| memory.total),
                "mig": gpu.mig,
                "virtualization": gpu.virtualization.map(GpuVirtualization::as_str),
            })
        };
        let gpus = match &self.gpus {
            Ok(gpus) => gpus.iter().map(gpu).collect(),
            // None is known for sure; else it is not known.
            Err(GpuAbsence::NoNvidia) => json!([]),
            Err(GpuAbsence::Unreadable(_)) => Value::Null,
        };
        let mut facts = Map::new();
        facts.insert("gpus".into(), gpus);
        facts.insert("nvidia_driver".into(), self.driver.clone().into());
        let cuda = self.cuda.map(|(major, minor)| format!("{major}.{minor}"));
        facts.insert("driver_cuda".into(), cuda.into());
        let namespace = match self.pids_are_global {
            true => "the machine's",
            false => "a container's own",
        };
        facts.insert("pid_namespace".into(), namespace.into());
        facts
    }
}

impl GpuFact {
    fn of(gpu: &Gpu) -> GpuFact {
        GpuFact {
            index: gpu.device.index,
            name: gpu.device.name.clone(),
            memory: gpu.memory(),
            mig: gpu.is_mig_instance(),
            virtualization: gpu.virtualization(),
            processes: gpu.processes(0).map(|processes| processes.rows.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_an_empty_list_and_unknown_is_null() {
        let facts = GpuFacts::unknown(GpuAbsence::NoNvidia).fingerprint();
        assert_eq!(facts["gpus"], json!([]));
        let facts = GpuFacts::unknown(GpuAbsence::Unreadable("x".into())).fingerprint();
        assert_eq!(facts["gpus"], Value::Null);
        assert!(facts.contains_key("pid_namespace"));
    }
}
