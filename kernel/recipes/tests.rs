use memtrack::cuda_toolkit::{FoundVersion, Library, Nvcc};

use super::*;

const V12_8: CudaVersion = CudaVersion::new(12, 8);

fn request(package: Package, device: Device) -> UseRequest {
    UseRequest {
        package,
        version: None,
        device,
    }
}

fn expand(package: Package, device: Device, cuda: &CudaToolkit) -> Result<Recipe, String> {
    recipe(&request(package, device), cuda, Path::new("/cache"))
}

fn reasons(recipe: &Recipe) -> String {
    recipe.reasons.join("\n")
}

fn library(path: &str, version: &[u32]) -> Library {
    Library {
        path: path.into(),
        version: version.to_vec(),
        loadable: true,
    }
}

fn nvcc(path: &str, version: CudaVersion) -> Option<Nvcc> {
    Some(Nvcc {
        path: path.into(),
        in_path: path.starts_with("/usr/bin"),
        version: Some(version),
    })
}

fn driver(cuda: &mut CudaToolkit, version: CudaVersion) {
    cuda.libcuda = Some(library(
        "/usr/lib64-nvidia/libcuda.so.580.82.07",
        &[580, 82, 7],
    ));
    cuda.driver_cuda = Some(FoundVersion {
        version,
        source: "driver 580".into(),
    });
}

/// A T4 machine of Colab: a driver for CUDA 13.0 and the toolkit 12.8.
fn colab() -> CudaToolkit {
    let mut cuda = CudaToolkit {
        nvcc: nvcc("/usr/local/cuda/bin/nvcc", V12_8),
        ..CudaToolkit::default()
    };
    driver(&mut cuda, CudaVersion::new(13, 0));
    let nvrtc = library(
        "/usr/local/cuda-12.8/lib64/libnvrtc.so.12.8.93",
        &[12, 8, 93],
    );
    cuda.libraries.insert("nvrtc".into(), nvrtc);
    cuda
}

#[test]
fn without_a_gpu_candle_is_for_the_cpu_and_cudarc_for_the_default() {
    let nothing = CudaToolkit::default();
    let candle = expand(Package::Candle, Device::Auto, &nothing).unwrap();
    assert_eq!(candle.title, "candle 0.11.1 on the CPU");
    assert_eq!(candle.reasons[0], format!("CPU: {NO_NVCC}."));
    let folder = &candle.carried.as_ref().unwrap().folder;
    assert_eq!(
        candle.lines[0],
        format!(":dep candle-core = {{ path = \"/cache/{folder}/candle-core\" }}")
    );
    assert_eq!(candle.lines.len(), 3);
    let cudarc = expand(Package::Cudarc, Device::Auto, &nothing).unwrap();
    assert_eq!(
        cudarc.lines,
        [
            ":dep cudarc = { version = \"=0.19.10\", default-features = false, features = [\"std\", \
          \"driver\", \"cublas\", \"curand\", \"nvrtc\", \"dynamic-loading\", \"cuda-12080\"] }"
        ]
    );
    assert!(reasons(&cudarc).contains("12.8 is the default"));
    assert!(reasons(&cudarc).contains("panics when it is first called"));
    assert_eq!(cudarc_number(&nothing), None);
}

#[test]
fn on_colab_the_toolkit_decides() {
    let candle = expand(Package::Candle, Device::Auto, &colab()).unwrap();
    assert_eq!(candle.title, "candle 0.11.1 on CUDA");
    assert!(
        candle
            .lines
            .iter()
            .all(|line| line.ends_with("features = [\"cuda\"] }"))
    );
    assert!(reasons(&candle).contains("CUDARC_CUDA_VERSION=12080"));
    let cudarc = expand(Package::Cudarc, Device::Auto, &colab()).unwrap();
    assert!(cudarc.lines[0].contains("\"cuda-12080\""));
    assert!(reasons(&cudarc).contains("libnvrtc.so.12.8.93"));
    assert!(!reasons(&cudarc).contains("panics"));
    assert_eq!(cudarc_number(&colab()), Some(12080));
}

#[test]
fn the_cpu_can_be_asked_for_anywhere() {
    let here = expand(Package::Candle, Device::Cpu, &CudaToolkit::default()).unwrap();
    let there = expand(Package::Candle, Device::Cpu, &colab()).unwrap();
    assert_eq!(here, there);
    assert!(here.reasons[0].contains("--cpu was asked for"));
}

#[test]
fn a_driver_without_a_toolkit_compiles_no_kernels() {
    let mut cuda = CudaToolkit::default();
    driver(&mut cuda, CudaVersion::new(12, 4));
    let candle = expand(Package::Candle, Device::Auto, &cuda).unwrap();
    assert!(candle.title.ends_with("on the CPU"));
    let error = expand(Package::Candle, Device::Cuda, &cuda).unwrap_err();
    assert!(
        error.contains("no nvcc was found") && error.contains("CUDA_HOME"),
        "{error}"
    );
    let cudarc = expand(Package::Cudarc, Device::Auto, &cuda).unwrap();
    assert!(cudarc.lines[0].contains("\"cuda-12040\""));
    assert!(reasons(&cudarc).contains("no toolkit was found"));
}

#[test]
fn a_toolkit_without_a_driver_is_for_the_cpu_unless_asked_for() {
    let mut cuda = colab();
    (cuda.libcuda, cuda.driver_cuda) = (None, None);
    let candle = expand(Package::Candle, Device::Auto, &cuda).unwrap();
    assert_eq!(candle.reasons[0], format!("CPU: {NO_LIBCUDA}."));
    let asked = expand(Package::Candle, Device::Cuda, &cuda).unwrap();
    assert!(asked.title.ends_with("on CUDA"));
    assert!(reasons(&asked).contains("cells cannot load it"));
    assert_eq!(cudarc_number(&cuda), Some(12080));
}

#[test]
fn nvcc_in_cuda_home_is_enough() {
    let mut cuda = CudaToolkit {
        nvcc: nvcc("/opt/cuda-12.6/bin/nvcc", CudaVersion::new(12, 6)),
        ..CudaToolkit::default()
    };
    driver(&mut cuda, CudaVersion::new(12, 8));
    let candle = expand(Package::Candle, Device::Auto, &cuda).unwrap();
    assert!(candle.title.ends_with("on CUDA"));
    assert!(reasons(&candle).contains("nvcc 12.6 is /opt/cuda-12.6/bin/nvcc"));
    assert!(reasons(&candle).contains("CUDARC_CUDA_VERSION=12060"));
}

fn toolkit_only(version: CudaVersion) -> CudaToolkit {
    CudaToolkit {
        nvcc: nvcc("/usr/bin/nvcc", version),
        ..CudaToolkit::default()
    }
}

#[test]
fn versions_that_cudarc_does_not_know_become_the_nearest_older_one() {
    for (installed, chosen) in [
        (CudaVersion::new(13, 9), "cuda-13040"),
        (CudaVersion::new(14, 0), "cuda-13040"),
        (CudaVersion::new(12, 7), "cuda-12060"),
        (CudaVersion::new(11, 4), "cuda-11040"),
    ] {
        let cudarc = expand(Package::Cudarc, Device::Auto, &toolkit_only(installed)).unwrap();
        assert!(
            cudarc.lines[0].contains(chosen),
            "{installed}: {:?}",
            cudarc.lines
        );
        let known = CUDARC_KNOWS.contains(&installed);
        assert_eq!(
            reasons(&cudarc).contains("nearest that cudarc knows"),
            !known
        );
    }
}

#[test]
fn a_cuda_that_is_too_old_is_told() {
    let old = toolkit_only(CudaVersion::new(11, 2));
    let error = expand(Package::Cudarc, Device::Auto, &old).unwrap_err();
    assert!(
        error.contains("the toolkit is 11.2 (/usr/bin/nvcc)"),
        "{error}"
    );
    assert!(
        error.contains("none older than 11.4: install a newer one"),
        "{error}"
    );
    let candle = expand(Package::Candle, Device::Auto, &old).unwrap();
    assert!(candle.title.ends_with("on the CPU"));
    assert!(candle.reasons[0].contains("none older than 11.4"));
    assert!(expand(Package::Candle, Device::Cuda, &old).is_err());
    assert_eq!(cudarc_number(&old), None);
}

#[test]
fn the_driver_is_the_upper_bound() {
    let mut cuda = colab();
    driver(&mut cuda, CudaVersion::new(12, 2));
    let cudarc = expand(Package::Cudarc, Device::Auto, &cuda).unwrap();
    assert!(cudarc.lines[0].contains("cuda-12020"));
    assert!(!reasons(&cudarc).contains("need a newer driver"));
    driver(&mut cuda, CudaVersion::new(11, 8));
    let cudarc = expand(Package::Cudarc, Device::Auto, &cuda).unwrap();
    assert!(reasons(&cudarc).contains("need a newer driver"));
}

#[test]
fn the_users_own_choice_comes_first() {
    let mut cuda = colab();
    cuda.cudarc_variable = Some("12060".into());
    let cudarc = expand(Package::Cudarc, Device::Auto, &cuda).unwrap();
    assert!(cudarc.lines[0].contains("cuda-12060"));
    assert_eq!(cudarc_number(&cuda), None);
    cuda.cudarc_variable = Some("12.6".into());
    let error = expand(Package::Cudarc, Device::Auto, &cuda).unwrap_err();
    assert!(
        error.contains("CUDARC_CUDA_VERSION is 12.6") && error.contains("12080"),
        "{error}"
    );
}

#[test]
fn libraries_that_the_loader_misses_are_told() {
    let mut cuda = colab();
    cuda.libraries.get_mut("nvrtc").unwrap().loadable = false;
    let cudarc = expand(Package::Cudarc, Device::Auto, &cuda).unwrap();
    assert!(reasons(&cudarc).contains("does not find nvrtc by itself"));
}

#[test]
fn a_version_can_be_asked_for() {
    let mut asked = request(Package::Candle, Device::Cpu);
    asked.version = Some("0.10.2".into());
    let candle = recipe(&asked, &CudaToolkit::default(), Path::new("/a \"b\"")).unwrap();
    assert!(candle.title.starts_with("candle 0.10.2 "));
    assert!(candle.lines[2].contains("path = \"/a \\\"b\\\"/candle-0.10.2-cpu-"));
    asked.package = Package::Cudarc;
    let cudarc = recipe(&asked, &colab(), Path::new("/cache")).unwrap();
    assert!(cudarc.lines[0].contains("version = \"=0.10.2\""));
}

#[test]
fn the_workloads_are_those_that_the_kernel_carries() {
    let Some(version) = Carried::workloads_version() else {
        let error = expand(Package::Workloads, Device::Auto, &colab()).unwrap_err();
        assert!(error.contains("built without the workloads"), "{error}");
        return;
    };
    let found = expand(Package::Workloads, Device::Auto, &colab()).unwrap();
    assert!(found.lines[0].contains("cuda-12080"), "{:?}", found.lines);
    assert_eq!(found.lines[1], "use memtrack_workloads as workloads;");
    // A CUDA that cudarc cannot use leaves the CPU.
    let old = toolkit_only(CudaVersion::new(10, 2));
    let found = expand(Package::Workloads, Device::Auto, &old).unwrap();
    assert!(reasons(&found).contains("The CPU only: the toolkit is 10.2"));
    let mut asked = request(Package::Workloads, Device::Auto);
    asked.version = Some("9.9.9".into());
    let error = recipe(&asked, &colab(), Path::new("/cache")).unwrap_err();
    assert!(
        error.contains(&format!("carries workloads {version}, not 9.9.9")),
        "{error}"
    );
}
