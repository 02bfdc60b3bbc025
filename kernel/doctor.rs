//! `memtrack-kernel doctor`: what can be measured on this machine, what not, and why.

use anyhow::Result;
use memtrack::cuda_toolkit::{CudaToolkit, CudaVersion, FoundVersion};
use memtrack::doctor::{Check, gpu_checks, host_checks, render_text};
use memtrack::environment::Environment;
use memtrack::gpu_facts::GpuFacts;
use memtrack::gpu_watch::{FACTS_LIMIT, GpuWatch};
use memtrack::magic::{Device, Package, UseRequest};

use crate::recipes::recipe;
use crate::toolchain::Toolchain;
use crate::workdir::cache_dir;

/// Prints the checks.
///
/// # Errors
/// None today; a command returns a result.
pub fn doctor() -> Result<()> {
    let toolchain = Toolchain::find();
    let gpus = GpuWatch::start().facts(FACTS_LIMIT);
    let cuda = cuda(&gpus);
    let environment = environment(&toolchain, &cuda, &gpus);
    let heap = cfg!(all(target_os = "linux", target_env = "gnu"));
    let checks = checks(None, Some(heap), &cuda, &gpus);
    println!("{}", render_text(&checks, &environment));
    let problems = toolchain.problems();
    if problems.is_empty() {
        let version = toolchain
            .rustc_version
            .as_deref()
            .unwrap_or("unknown version");
        println!("Rust toolchain: complete ({version}).");
    } else {
        println!("Rust toolchain:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// What of CUDA is installed. The driver's own word on the CUDA that it serves is better than what the
/// name of its file tells.
pub fn cuda(gpus: &GpuFacts) -> CudaToolkit {
    let mut cuda = CudaToolkit::find();
    if let Some((major, minor)) = gpus.cuda {
        cuda.driver_cuda = Some(FoundVersion {
            version: CudaVersion::new(major, minor),
            source: "the driver".into(),
        });
    }
    cuda
}

/// Everything that is looked at. `child` is the process that runs the cells, if there is one.
pub fn checks(
    child: Option<i32>,
    heap_counted: Option<bool>,
    cuda: &CudaToolkit,
    gpus: &GpuFacts,
) -> Vec<Check> {
    let mut checks = host_checks(child, heap_counted);
    checks.extend(gpu_checks(gpus, cuda));
    checks.push(candle(cuda));
    checks
}

/// Whether candle will compute on a GPU here.
fn candle(cuda: &CudaToolkit) -> Check {
    const NAME: &str = "%use candle";
    let request = UseRequest {
        package: Package::Candle,
        version: None,
        device: Device::Auto,
    };
    match recipe(&request, cuda, &cache_dir().unwrap_or_default()) {
        Ok(recipe) => Check::ok(NAME, format!("{}. {}", recipe.title, recipe.reasons[0])),
        Err(reason) => Check::missing(NAME, reason),
    }
}

/// The machine's fingerprint, with what only the kernel knows.
pub fn environment(toolchain: &Toolchain, cuda: &CudaToolkit, gpus: &GpuFacts) -> Environment {
    let mut extra = gpus.fingerprint();
    extra.insert("memtrack".into(), env!("CARGO_PKG_VERSION").into());
    extra.insert("rustc".into(), toolchain.rustc_version.clone().into());
    let toolkit = cuda.version().map(|found| found.version.to_string());
    extra.insert("cuda_toolkit".into(), toolkit.into());
    Environment::detect(extra)
}
