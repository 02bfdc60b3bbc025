use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn nvcc_tells_its_release() {
    let text = "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA \
                Corporation\nBuilt on Fri_Feb_21_20:23:50_PST_2025\nCuda compilation tools, \
                release 12.8, V12.8.93\nBuild cuda_12.8.r12.8/compiler.35583870_0\n";
    assert_eq!(parse_nvcc_version(text), Some(CudaVersion::new(12, 8)));
    assert_eq!(parse_nvcc_version("release twelve"), None);
    assert_eq!(parse_nvcc_version("nvcc fatal : no input"), None);
}

#[test]
fn version_json_tells_the_toolkit() {
    let text = r#"{"cuda": {"name": "CUDA SDK", "version": "12.8.1"}, "nvcc": {"version": "9"}}"#;
    assert_eq!(parse_version_json(text), Some(CudaVersion::new(12, 8)));
    assert_eq!(parse_version_json("{}"), None);
    assert_eq!(parse_version_json("not json"), None);
}

#[test]
fn file_names_tell_libraries() {
    assert_eq!(
        parse_library_name("libnvrtc.so.12.8.93"),
        Some(("nvrtc", vec![12, 8, 93]))
    );
    assert_eq!(parse_library_name("libcublas.so"), Some(("cublas", vec![])));
    // With leading zeros, as drivers are numbered.
    assert_eq!(
        parse_library_name("libcuda.so.580.95.05"),
        Some(("cuda", vec![580, 95, 5]))
    );
    assert_eq!(parse_library_name("libcuda.so.debug"), None);
    assert_eq!(parse_library_name("libcuda.solid"), None);
    assert_eq!(parse_library_name("cuda.so.1"), None);
}

#[test]
fn the_loaders_cache_is_read() {
    let text = "3 libs found in cache `/etc/ld.so.cache'\n\
                \tlibnvrtc.so.12 (libc6,x86-64) => /usr/local/cuda/lib64/libnvrtc.so.12\n\
                \tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1\n\
                \tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1\n";
    assert_eq!(
        parse_ldconfig(text),
        [
            Path::new("/usr/local/cuda/lib64/libnvrtc.so.12"),
            Path::new("/usr/lib/x86_64-linux-gnu/libcuda.so.1")
        ]
    );
    assert!(parse_ldconfig("").is_empty());
}

#[test]
fn drivers_serve_the_cuda_of_their_branch() {
    assert_eq!(driver_cuda_version(580), Some(CudaVersion::new(13, 0)));
    assert_eq!(driver_cuda_version(572), Some(CudaVersion::new(12, 8)));
    assert_eq!(driver_cuda_version(470), Some(CudaVersion::new(11, 4)));
    assert_eq!(driver_cuda_version(9999), Some(CudaVersion::new(13, 1)));
    assert_eq!(driver_cuda_version(460), None);
    let text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n\
                GCC version:  gcc 12.3.0\n";
    assert_eq!(parse::parse_driver_version(text), Some(580));
    assert_eq!(parse::parse_driver_version("GCC version: 12.3.0"), None);
}

#[test]
fn versions_are_written_as_cudarc_writes_them() {
    for (major, minor, number) in [(12, 8, 12080), (13, 0, 13000), (11, 4, 11040)] {
        assert_eq!(CudaVersion::new(major, minor).cudarc_number(), number);
    }
    assert_eq!(CudaVersion::new(12, 8).to_string(), "12.8");
}

/// A toolkit's folder as it is installed, with a compiler that says 12.6.
fn toolkit() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("bin")).unwrap();
    std::fs::create_dir_all(at("lib64")).unwrap();
    // Another process writes the script: a file that this one has open for writing could be
    // inherited by another test's process, and cannot be executed meanwhile.
    let script = "printf '#!/bin/sh\\necho release 12.6, V12.6.1\\n' > \"$0\"";
    let written = Command::new("sh")
        .args(["-c", script])
        .arg(at("bin/nvcc"))
        .status();
    assert!(written.unwrap().success());
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(at("bin/nvcc"), mode).unwrap();
    std::fs::write(at("lib64/libnvrtc.so.12.6.20"), "").unwrap();
    symlink("libnvrtc.so.12.6.20", at("lib64/libnvrtc.so.12")).unwrap();
    symlink("libnvrtc.so.12", at("lib64/libnvrtc.so")).unwrap();
    std::fs::write(at("lib64/libcublasLt.so.12.6.1.4"), "").unwrap();
    symlink("nowhere", at("lib64/libcurand.so")).unwrap();
    folder
}

#[test]
fn a_toolkit_is_found_in_its_folder() {
    let folder = toolkit();
    let folders = [folder.path().to_owned()];
    let nvcc = find_nvcc(None, &folders).unwrap();
    assert!(!nvcc.in_path);
    assert_eq!(nvcc.version, Some(CudaVersion::new(12, 6)));
    let bin = folder.path().join("bin");
    assert!(find_nvcc(Some(bin.as_os_str()), &[]).unwrap().in_path);
    assert_eq!(find_nvcc(None, &[]), None);

    let libraries = find_libraries(None, &folders);
    assert_eq!(libraries["nvrtc"].version, [12, 6, 20]);
    assert!(!libraries["nvrtc"].loadable);
    assert_eq!(libraries["cublasLt"].version, [12, 6, 1, 4]);
    assert!(!libraries["cublasLt"].loadable);
    // A link to nowhere is no library.
    let curand = libraries.get("curand").map(|it| it.path.clone());
    assert!(!curand.is_some_and(|path| path.starts_with(folder.path())));

    let lib64 = folder.path().join("lib64");
    let libraries = find_libraries(Some(lib64.as_os_str()), &[]);
    assert!(libraries["nvrtc"].loadable);
}

#[test]
fn the_libraries_that_are_loaded_tell_the_version() {
    let library = |path: &str, version: &[u32], loadable| Library {
        path: path.into(),
        version: version.to_vec(),
        loadable,
    };
    let nvcc = Nvcc {
        path: "/usr/local/cuda/bin/nvcc".into(),
        in_path: true,
        version: Some(CudaVersion::new(12, 4)),
    };
    let mut cuda = CudaToolkit::default();
    assert_eq!(cuda.version(), None);
    cuda.nvcc = Some(nvcc);
    let version_of = |cuda: &CudaToolkit| cuda.version().unwrap().version;
    assert_eq!(version_of(&cuda), CudaVersion::new(12, 4));
    let out_of_reach = library(
        "/usr/local/cuda/lib64/libnvrtc.so.12.6.20",
        &[12, 6, 20],
        false,
    );
    cuda.libraries.insert("nvrtc".into(), out_of_reach);
    assert_eq!(version_of(&cuda), CudaVersion::new(12, 4));
    assert_eq!(cuda.out_of_reach().count(), 1);
    cuda.libcuda = Some(library(
        "/usr/lib64-nvidia/libcuda.so.580.1",
        &[580, 1],
        false,
    ));
    let folders = ["/usr/lib64-nvidia", "/usr/local/cuda/lib64"].map(Path::new);
    assert_eq!(cuda.folders_out_of_reach(), folders.into());
    let loaded = library("/usr/lib/libnvrtc.so.12.8.93", &[12, 8, 93], true);
    cuda.libraries.insert("nvrtc".into(), loaded);
    assert_eq!(version_of(&cuda), CudaVersion::new(12, 8));
    assert!(
        cuda.version()
            .unwrap()
            .source
            .contains("libnvrtc.so.12.8.93")
    );
    assert_eq!(cuda.out_of_reach().count(), 0);
}
