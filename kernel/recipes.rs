//! What `%use` expands to: from the request and what of CUDA is installed to the lines that cells
//! would say by hand, and the reasons. Nothing is looked up or written here.

use std::path::Path;

use memtrack::cuda_toolkit::{CudaToolkit, CudaVersion};
use memtrack::magic::{Device, Package, UseRequest};

use crate::carried::{CANDLE_PACKAGES, Carried};

/// The versions that this kernel is tested with.
const CANDLE: &str = "0.11.1";
const CUDARC: &str = "0.19.10";

/// The version of CUDA whose libraries cudarc looks for where neither driver nor toolkit is found.
const DEFAULT_CUDA: CudaVersion = CudaVersion::new(12, 8);

/// The versions of CUDA that cudarc has a feature for, oldest first.
const CUDARC_KNOWS: [CudaVersion; 19] = [
    CudaVersion::new(11, 4),
    CudaVersion::new(11, 5),
    CudaVersion::new(11, 6),
    CudaVersion::new(11, 7),
    CudaVersion::new(11, 8),
    CudaVersion::new(12, 0),
    CudaVersion::new(12, 1),
    CudaVersion::new(12, 2),
    CudaVersion::new(12, 3),
    CudaVersion::new(12, 4),
    CudaVersion::new(12, 5),
    CudaVersion::new(12, 6),
    CudaVersion::new(12, 8),
    CudaVersion::new(12, 9),
    CudaVersion::new(13, 0),
    CudaVersion::new(13, 1),
    CudaVersion::new(13, 2),
    CudaVersion::new(13, 3),
    CudaVersion::new(13, 4),
];

const NO_NVCC: &str = "no nvcc was found in PATH, CUDA_HOME, CUDA_PATH or /usr/local/cuda, and \
                       candle's CUDA kernels need it at build time";
const NO_LIBCUDA: &str = "libcuda.so.1 was not found, so there is no NVIDIA driver here";

/// What a `%use` line expands to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What it is, in some words: "candle 0.11.1 on the CPU".
    pub title: String,
    /// `:dep` lines and `use` items that do the same by hand.
    pub lines: Vec<String>,
    /// Why these, and what to know about them; a sentence each.
    pub reasons: Vec<String>,
    /// What must be unpacked first.
    pub carried: Option<Carried>,
}

/// The lines for a request on a machine with this much of CUDA. Carried crates are unpacked into
/// folders of `cache`.
///
/// # Errors
/// Where the machine lacks what was asked for: what, and what to do.
pub fn recipe(request: &UseRequest, cuda: &CudaToolkit, cache: &Path) -> Result<Recipe, String> {
    match request.package {
        Package::Candle => candle(request, cuda, cache),
        Package::Cudarc => cudarc(request, cuda),
        Package::Workloads => workloads(request, cuda, cache),
    }
}

fn candle(request: &UseRequest, cuda: &CudaToolkit, cache: &Path) -> Result<Recipe, String> {
    let version = request.version.as_deref().unwrap_or(CANDLE);
    let (on_gpu, mut reasons) = match request.device {
        Device::Cpu => (false, vec!["CPU: --cpu was asked for.".to_owned()]),
        Device::Auto => match can_compile_cuda(cuda) {
            Ok(reasons) if cuda.libcuda.is_some() => (true, reasons),
            Ok(_) => (false, vec![format!("CPU: {NO_LIBCUDA}.")]),
            Err(problem) => (false, vec![format!("CPU: {problem}.")]),
        },
        Device::Cuda => {
            let mut reasons = can_compile_cuda(cuda).map_err(|problem| {
                format!(
                    "{problem}. Install the CUDA toolkit and name its folder in CUDA_HOME, or \
                     leave --cuda away"
                )
            })?;
            if cuda.libcuda.is_none() {
                reasons.push(format!(
                    "{NO_LIBCUDA}: it may compile, but cells cannot load it."
                ));
            }
            (true, reasons)
        }
    };
    reasons.push(
        "One shared library for all cells: as a plain dependency each cell would have its own \
         counter of tensor ids, and gradients would be wrong."
            .to_owned(),
    );
    let carried = Carried::candle(version, on_gpu);
    let folder = cache.join(&carried.folder);
    let features = if on_gpu {
        ", features = [\"cuda\"]"
    } else {
        ""
    };
    let lines = CANDLE_PACKAGES.map(|package| {
        let path = folder.join(package);
        format!(":dep {package} = {{ path = {}{features} }}", quoted(&path))
    });
    Ok(Recipe {
        title: format!(
            "candle {version} on {}",
            if on_gpu { "CUDA" } else { "the CPU" }
        ),
        lines: lines.into(),
        reasons,
        carried: Some(carried),
    })
}

/// Why candle's CUDA form can be compiled here, or why not.
fn can_compile_cuda(cuda: &CudaToolkit) -> Result<Vec<String>, String> {
    let nvcc = cuda.nvcc.as_ref().ok_or(NO_NVCC)?;
    let choice = cuda_version(cuda)?;
    let version = nvcc.version.map(|it| format!(" {it}")).unwrap_or_default();
    let mut reasons = vec![
        format!("CUDA: nvcc{version} is {}.", nvcc.path.display()),
        format!(
            "CUDARC_CUDA_VERSION={} for the compiler: {}.",
            choice.version.cudarc_number(),
            choice.reason
        ),
    ];
    reasons.extend(out_of_reach(cuda));
    Ok(reasons)
}

fn cudarc(request: &UseRequest, cuda: &CudaToolkit) -> Result<Recipe, String> {
    let version = request.version.as_deref().unwrap_or(CUDARC);
    let choice = cuda_version(cuda)?;
    let mut reasons = vec![format!("CUDA {}: {}.", choice.version, choice.reason)];
    if cuda.libcuda.is_none() {
        reasons.push(format!(
            "{NO_LIBCUDA}: cudarc compiles, but panics when it is first called."
        ));
    }
    reasons.extend(out_of_reach(cuda));
    let number = choice.version.cudarc_number();
    Ok(Recipe {
        title: format!("cudarc {version} for CUDA {}", choice.version),
        lines: vec![format!(
            ":dep cudarc = {{ version = \"={version}\", default-features = false, features = \
             [\"std\", \"driver\", \"cublas\", \"curand\", \"nvrtc\", \"dynamic-loading\", \
             \"cuda-{number}\"] }}"
        )],
        reasons,
        carried: None,
    })
}

fn workloads(request: &UseRequest, cuda: &CudaToolkit, cache: &Path) -> Result<Recipe, String> {
    let (Some(carried), Some(version)) = (Carried::workloads(), Carried::workloads_version())
    else {
        return Err(
            "this kernel was built without the workloads: install it from its \
                    repository, with notebooks/workloads in it"
                .to_owned(),
        );
    };
    if let Some(other) = request.version.as_ref().filter(|it| *it != version) {
        return Err(format!(
            "this kernel carries workloads {version}, not {other}: leave the version away, or \
             install the kernel that carries {other}"
        ));
    }
    let mut reasons = vec!["GPU or CPU is chosen when they run, not here.".to_owned()];
    let number = match cuda_version(cuda) {
        Ok(choice) => {
            reasons.push(format!("CUDA {}: {}.", choice.version, choice.reason));
            choice.version.cudarc_number()
        }
        Err(problem) => {
            reasons.push(format!("The CPU only: {problem}."));
            DEFAULT_CUDA.cudarc_number()
        }
    };
    if cuda.libcuda.is_none() {
        reasons.push(format!("{NO_LIBCUDA}: they run on the CPU."));
    }
    let path = cache.join(&carried.folder);
    Ok(Recipe {
        title: format!("workloads {version}"),
        lines: vec![
            format!(
                ":dep memtrack-workloads = {{ path = {}, default-features = false, features = \
                 [\"cuda-{number}\"] }}",
                quoted(&path)
            ),
            "use memtrack_workloads as workloads;".to_owned(),
        ],
        reasons,
        carried: Some(carried),
    })
}

/// The version of CUDA that cudarc is compiled for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaChoice {
    /// One that cudarc knows.
    pub version: CudaVersion,
    /// Why, without a point at its end.
    pub reason: String,
}

/// The version of CUDA for which cudarc fits this machine: the user's own choice, else the
/// toolkit's, but never above the driver's, whose functions must all be there; else the driver's.
///
/// # Errors
/// Where cudarc knows no version that is old enough.
pub fn cuda_version(cuda: &CudaToolkit) -> Result<CudaChoice, String> {
    if let Some(number) = &cuda.cudarc_variable {
        let version = CUDARC_KNOWS
            .into_iter()
            .find(|version| version.cudarc_number().to_string() == *number)
            .ok_or_else(|| {
                format!(
                    "CUDARC_CUDA_VERSION is {number}, which cudarc does not know: unset it, or \
                     write it as 12080 for CUDA 12.8, and restart the kernel"
                )
            })?;
        let reason = "CUDARC_CUDA_VERSION says so".to_owned();
        return Ok(CudaChoice { version, reason });
    }
    let (wanted, mut reason) = match (cuda.version(), &cuda.driver_cuda) {
        (Some(toolkit), Some(driver)) if driver.version < toolkit.version => {
            let mut reason = format!(
                "the toolkit is {} ({}), but the driver serves {} ({})",
                toolkit.version, toolkit.source, driver.version, driver.source
            );
            if driver.version.major < toolkit.version.major {
                reason += "; the toolkit's libraries need a newer driver";
            }
            (driver.version, reason)
        }
        (Some(toolkit), _) => (
            toolkit.version,
            format!("the toolkit is {} ({})", toolkit.version, toolkit.source),
        ),
        (None, Some(driver)) => (
            driver.version,
            format!(
                "no toolkit was found, and the driver serves {} ({})",
                driver.version, driver.source
            ),
        ),
        (None, None) => {
            let reason = format!(
                "neither a toolkit nor a driver of known version was found, and {DEFAULT_CUDA} is \
                 the default"
            );
            (DEFAULT_CUDA, reason)
        }
    };
    let oldest = CUDARC_KNOWS[0];
    let version = CUDARC_KNOWS
        .into_iter()
        .rev()
        .find(|known| *known <= wanted)
        .ok_or_else(|| {
            format!("{reason}, and cudarc knows none older than {oldest}: install a newer one")
        })?;
    if version != wanted {
        reason += &format!("; {version} is the nearest that cudarc knows");
    }
    Ok(CudaChoice { version, reason })
}

/// The number for `CUDARC_CUDA_VERSION` with which a dependency that leaves the version open fits
/// this machine; `None` where nothing of CUDA is installed or the user has set the variable.
pub fn cudarc_number(cuda: &CudaToolkit) -> Option<u32> {
    let anything = cuda.version().is_some() || cuda.driver_cuda.is_some();
    let choice = cuda_version(cuda).ok()?;
    (anything && cuda.cudarc_variable.is_none()).then(|| choice.version.cudarc_number())
}

/// What is said of libraries that the loader does not find by itself.
fn out_of_reach(cuda: &CudaToolkit) -> Option<String> {
    let names: Vec<&str> = cuda.out_of_reach().map(|(name, _)| name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "The loader does not find {} by itself: this kernel adds the folder to the cells' \
             LD_LIBRARY_PATH.",
            names.join(", ")
        )
    })
}

/// A path as a string of TOML.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
