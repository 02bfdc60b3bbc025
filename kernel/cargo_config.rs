//! How Cargo compiles what cells depend on: a `.cargo/config.toml` in the kernel's own folder, above
//! evcxr's crate. The user's own configuration holds beside it.

use std::fmt::Write;

use memtrack::cuda_toolkit::CudaToolkit;

use crate::carried::{CANDLE_FACADE, CANDLE_PACKAGES};

/// The text of the file. `cudarc` is the number for `CUDARC_CUDA_VERSION`, which the user's own
/// environment overrides.
pub fn text(cuda: &CudaToolkit, cudarc: Option<u32>) -> String {
    let mut text = String::new();
    // evcxr keeps compiled dependencies for later sessions, but none that is compiled
    // incrementally, as Cargo does with crates named by path.
    for package in CANDLE_PACKAGES
        .into_iter()
        .chain([CANDLE_FACADE, "memtrack-workloads"])
    {
        let _ = write!(
            text,
            "[profile.dev.package.{package}]\nincremental = false\n"
        );
        if let Some(level) = opt_level(package) {
            let _ = writeln!(text, "opt-level = {level}");
        }
    }
    let mut variables = Vec::new();
    if let Some(number) = cudarc {
        variables.push(("CUDARC_CUDA_VERSION", number.to_string()));
    }
    // candle's build script looks in PATH and CUDA_HOME alone.
    if let Some(nvcc) = cuda.nvcc.as_ref().filter(|nvcc| !nvcc.in_path) {
        variables.push(("NVCC", nvcc.path.to_string_lossy().into_owned()));
    }
    if !variables.is_empty() {
        text += "[env]\n";
        for (name, value) in variables {
            // A string of Rust without control characters is one of TOML.
            let _ = writeln!(text, "{name} = {value:?}");
        }
    }
    text
}

/// The level for packages that need not be optimised like all else: candle-transformers only puts
/// candle's own operations together.
fn opt_level(package: &str) -> Option<u8> {
    match package {
        "candle-transformers" => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use memtrack::cuda_toolkit::Nvcc;

    use super::*;

    #[test]
    fn variables_are_those_that_are_needed() {
        let without = text(&CudaToolkit::default(), None);
        assert!(without.contains("[profile.dev.package.memtrack-candle]\nincremental = false"));
        assert!(without.contains("[profile.dev.package.candle-transformers]"));
        assert!(!without.contains("[env]"), "{without}");
        let mut cuda = CudaToolkit {
            nvcc: Some(Nvcc {
                path: "/opt/a \"b\"/nvcc".into(),
                in_path: false,
                version: None,
            }),
            ..CudaToolkit::default()
        };
        let with = text(&cuda, Some(12080));
        assert!(
            with.ends_with(
                "[env]\nCUDARC_CUDA_VERSION = \"12080\"\nNVCC = \"/opt/a \\\"b\\\"/nvcc\"\n"
            ),
            "{with}"
        );
        cuda.nvcc.as_mut().unwrap().in_path = true;
        assert!(!text(&cuda, None).contains("NVCC"));
    }
}
