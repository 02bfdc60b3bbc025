//! What of GPUs can be measured and used here.

use super::Check;
use crate::cuda_toolkit::{CudaToolkit, Library};
use crate::gpu_facts::{GpuFact, GpuFacts};
use crate::probe::nvml::{GpuAbsence, GpuVirtualization};
use crate::units::format_bytes;

/// Looks at what is known of GPUs. On a machine with nothing of NVIDIA's it is one line.
pub fn gpu_checks(facts: &GpuFacts, toolkit: &CudaToolkit) -> Vec<Check> {
    let mut checks = Vec::new();
    match &facts.gpus {
        // What is not there is not missing.
        Err(absence @ GpuAbsence::NoNvidia) => {
            checks.push(Check::ok("GPU", absence.to_string()));
            if toolkit.libcuda.is_none() && toolkit.version().is_none() {
                return checks;
            }
        }
        Err(GpuAbsence::Unreadable(reason)) => checks.push(Check::missing("GPU", reason)),
        Ok(gpus) => {
            for gpu in gpus {
                checks.push(device(gpu));
            }
            checks.push(processes(gpus, facts.pids_are_global));
            checks.push(Check::ok(
                "CUDA pool",
                "exact peaks by the pool's own marks, read in the process that runs the cells once \
                 its code uses CUDA; plain cuMemAlloc is in the process and device rows only",
            ));
        }
    }
    checks.push(driver(facts, toolkit));
    checks.push(libraries(toolkit));
    checks
}

fn device(gpu: &GpuFact) -> Check {
    let name = format!("GPU {}", gpu.index);
    let mut parts = vec![gpu.name.clone()];
    match &gpu.memory {
        Ok(memory) => {
            parts.push(format!(
                "{} of {} in use",
                format_bytes(memory.used),
                format_bytes(memory.total)
            ));
            parts.push(format!(
                "{} kept by the driver",
                format_bytes(memory.reserved)
            ));
        }
        Err(reason) => return Check::missing(name, format!("{}: {reason}", gpu.name)),
    }
    if gpu.mig {
        parts.push("an instance of a GPU in MIG mode".into());
    }
    parts.push(match gpu.virtualization {
        Some(mode) => format!("virtualization: {}", mode.as_str()),
        None => "virtualization not told by the driver".into(),
    });
    let detail = format!("{}, sampled", parts.join(", "));
    match gpu.virtualization {
        Some(GpuVirtualization::Shared) => Check::limited(
            name,
            format!("{detail}. Others share the same GPU, and their use is not seen here"),
        ),
        _ => Check::ok(name, detail),
    }
}

fn processes(gpus: &[GpuFact], pids_are_global: bool) -> Check {
    const NAME: &str = "GPU use of this process";
    let failure = gpus.iter().find_map(|gpu| gpu.processes.as_ref().err());
    let listed: usize = gpus
        .iter()
        .filter_map(|gpu| gpu.processes.as_ref().ok())
        .sum();
    match (failure, pids_are_global) {
        (Some(reason), _) => Check::missing(
            NAME,
            format!("the driver does not list processes ({reason}); the pool and device rows remain"),
        ),
        (None, true) => Check::ok(
            NAME,
            format!("by pid in the driver's list ({listed} now), before and after each cell"),
        ),
        (None, false) => Check::limited(
            NAME,
            format!(
                "pids here are those of a container, the driver lists {listed} processes by the \
                 machine's: this one is told by its pid where the driver translates it, or inferred \
                 where one row is new"
            ),
        )
        .fix("start the container with the machine's pids (docker run --pid=host)"),
    }
}

fn driver(facts: &GpuFacts, toolkit: &CudaToolkit) -> Check {
    const NAME: &str = "CUDA driver";
    let version = facts.driver.as_deref().unwrap_or("of unknown version");
    let newest = match facts.cuda {
        Some((major, minor)) => format!(", CUDA up to {major}.{minor}"),
        None => String::new(),
    };
    match &toolkit.libcuda {
        Some(library) => Check::ok(NAME, format!("{version}{newest}; {library}")),
        None => Check::missing(
            NAME,
            "libcuda.so.1 was not found, so no code here can use CUDA",
        )
        .fix(
            "have the driver's folder in LD_LIBRARY_PATH before Jupyter starts (Colab: \
                 /usr/lib64-nvidia), or install the NVIDIA driver",
        ),
    }
}

fn libraries(toolkit: &CudaToolkit) -> Check {
    const NAME: &str = "CUDA toolkit";
    let library = |name: &str, title: &str| match toolkit.libraries.get(name) {
        Some(found) if found.loadable => format!("{title} {}", numbers(found)),
        Some(found) => format!(
            "{title} {} (not found by the loader: {found})",
            numbers(found)
        ),
        None => format!("{title} not found"),
    };
    let nvcc = match &toolkit.nvcc {
        Some(nvcc) => {
            let version = nvcc.version.map(|version| version.to_string());
            let version = version.as_deref().unwrap_or("of unknown version");
            let place = if nvcc.in_path { "" } else { " (not in PATH)" };
            format!("nvcc {version}{place}")
        }
        None => "nvcc not found".into(),
    };
    let parts = [
        nvcc,
        library("nvrtc", "NVRTC"),
        library("cublas", "cuBLAS"),
        library("cudnn", "cuDNN"),
        library("curand", "cuRAND"),
    ];
    let detail = match toolkit.version() {
        Some(found) => format!("CUDA {}: {}", found.version, parts.join(", ")),
        None => parts.join(", "),
    };
    let out_of_reach = toolkit.out_of_reach().next();
    let complete = toolkit.nvcc.is_some() && toolkit.libraries.contains_key("cublas");
    match (complete, out_of_reach) {
        (true, None) => Check::ok(NAME, detail),
        (_, Some((_, library))) => {
            let folder = library.path.parent().unwrap_or(&library.path);
            Check::limited(NAME, detail).fix(format!(
                "add {} to LD_LIBRARY_PATH before Jupyter starts",
                folder.display()
            ))
        }
        (false, None) => Check::limited(NAME, detail)
            .fix("install the CUDA toolkit that fits the driver, and have its bin folder in PATH"),
    }
}

fn numbers(library: &Library) -> String {
    let numbers: Vec<String> = library.version.iter().map(u32::to_string).collect();
    match numbers.is_empty() {
        true => "of unknown version".into(),
        false => numbers.join("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckStatus;
    use crate::probe::nvml::GpuMemory;

    fn facts(gpus: Result<Vec<GpuFact>, GpuAbsence>) -> GpuFacts {
        GpuFacts {
            driver: Some("570.86.10".into()),
            cuda: Some((12, 8)),
            gpus,
            pids_are_global: false,
            answered: true,
        }
    }

    fn gpu() -> GpuFact {
        GpuFact {
            index: 0,
            name: "Test GPU".into(),
            memory: Ok(GpuMemory {
                used: 1 << 30,
                reserved: 400 << 20,
                total: 15 << 30,
            }),
            mig: false,
            virtualization: Some(GpuVirtualization::PassThrough),
            processes: Ok(2),
        }
    }

    fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks.iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn a_machine_without_nvidia_is_one_quiet_line() {
        let checks = gpu_checks(&facts(Err(GpuAbsence::NoNvidia)), &CudaToolkit::default());
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].status, CheckStatus::Ok);
    }

    #[test]
    fn a_gpu_says_what_it_holds_and_how_it_comes_here() {
        let checks = gpu_checks(&facts(Ok(vec![gpu()])), &CudaToolkit::default());
        let device = find(&checks, "GPU 0");
        assert_eq!(device.status, CheckStatus::Ok);
        for part in ["1.00 GiB of 15.0 GiB", "400 MiB kept", "pass-through"] {
            assert!(device.detail.contains(part), "{}", device.detail);
        }
        let processes = find(&checks, "GPU use of this process");
        assert_eq!(processes.status, CheckStatus::Limited);
        assert!(processes.fix.as_deref().unwrap().contains("--pid=host"));
        assert_eq!(find(&checks, "CUDA driver").status, CheckStatus::Missing);
        assert!(
            find(&checks, "CUDA toolkit")
                .detail
                .contains("nvcc not found")
        );
    }

    #[test]
    fn what_cannot_be_read_is_missing_with_its_reason() {
        let shared = GpuFact {
            virtualization: Some(GpuVirtualization::Shared),
            ..gpu()
        };
        let lost = GpuFact {
            index: 1,
            memory: Err("the GPU is lost: restart".into()),
            processes: Err("the GPU is lost: restart".into()),
            ..gpu()
        };
        let checks = gpu_checks(&facts(Ok(vec![shared, lost])), &CudaToolkit::default());
        assert_eq!(find(&checks, "GPU 0").status, CheckStatus::Limited);
        assert_eq!(find(&checks, "GPU 1").status, CheckStatus::Missing);
        assert!(find(&checks, "GPU 1").detail.contains("lost"));
        let none = facts(Err(GpuAbsence::Unreadable("load it".into())));
        let checks = gpu_checks(&none, &CudaToolkit::default());
        assert_eq!(find(&checks, "GPU").status, CheckStatus::Missing);
    }
}
