//! Exports the `malloc` family of our binary, so that the libraries of cells call it, and lists the
//! files of the crate that the binary carries. Refuses systems that the kernel cannot run on.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=kernel/build.rs");
    list_workloads();
    let linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    if !linux {
        println!(
            "cargo:error=memtrack-kernel runs on Linux only: it reads memory from /proc and passes it \
             through a memfd. On Windows use WSL 2; on macOS a Linux container or virtual machine"
        );
    }
    let glibc = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if linux && glibc {
        for symbol in [
            "malloc",
            "calloc",
            "realloc",
            "reallocarray",
            "free",
            "posix_memalign",
            "aligned_alloc",
            "memalign",
            "valloc",
            "pvalloc",
        ] {
            println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
        }
    }
}

/// Writes the list of the workloads' files for `carried.rs`: path and text. They are reached by
/// links in `kernel/carried/workloads`, where the manifest has another name: Cargo leaves folders
/// with a `Cargo.toml` out of packages.
fn list_workloads() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&root).join("kernel/carried/workloads");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut entries = Vec::new();
    let manifest = folder.join("Cargo.toml.in");
    if manifest.is_file() {
        entries.push(("Cargo.toml".to_owned(), manifest));
        collect(&folder.join("src"), "src", &mut entries);
    }
    let mut list = String::from("&[");
    for (name, file) in &entries {
        println!("cargo:rerun-if-changed={}", file.display());
        list += &format!("({name:?}, include_str!({file:?})),\n");
    }
    list.push(']');
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    if let Err(error) = std::fs::write(Path::new(&out).join("workloads.rs"), list) {
        println!("cargo:error=the list of the workloads' files cannot be written: {error}");
    }
}

fn collect(folder: &Path, name: &str, entries: &mut Vec<(String, std::path::PathBuf)>) {
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    found.sort_by_key(std::fs::DirEntry::file_name);
    for entry in found {
        let path = entry.path();
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if path.is_dir() {
            collect(&path, &name, entries);
        } else if path.is_file() {
            entries.push((name, path));
        }
    }
}
