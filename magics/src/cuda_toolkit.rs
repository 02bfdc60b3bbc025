//! What of CUDA is installed: the driver's library, the toolkit's compiler and libraries.
//!
//! Nothing is loaded: folders are listed, files named, and `nvcc --version` and `ldconfig -p`
//! asked. So it costs milliseconds, and no CUDA context is made.
//!
//! ```
//! let cuda = memtrack::cuda_toolkit::CudaToolkit::find();
//! match (&cuda.libcuda, cuda.version()) {
//!     (None, _) => println!("no NVIDIA driver here"),
//!     (Some(library), Some(found)) => println!("{library}, CUDA {}", found.version),
//!     (Some(library), None) => println!("{library}, but no toolkit"),
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

mod parse;

pub use parse::{
    driver_cuda_version, parse_ldconfig, parse_library_name, parse_nvcc_version, parse_version_json,
};

/// The libraries that are looked for, by the name in `lib….so`.
pub const LIBRARIES: [&str; 6] = ["cuda", "nvrtc", "cublas", "cublasLt", "cudnn", "curand"];

/// Folders where toolkits are installed, behind those that the environment names.
const TOOLKIT_FOLDERS: [&str; 3] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda"];
/// Where Colab and some containers put the driver's libraries, past the loader's cache.
const DRIVER_FOLDERS: [&str; 2] = ["/usr/lib64-nvidia", "/usr/lib/wsl/lib"];
/// The environment variables that can name the toolkit's folder.
const TOOLKIT_VARIABLES: [&str; 2] = ["CUDA_HOME", "CUDA_PATH"];

/// A version of CUDA, such as 12.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CudaVersion {
    /// The number before the point.
    pub major: u32,
    /// The number behind it.
    pub minor: u32,
}

impl CudaVersion {
    /// A version of its two numbers.
    pub const fn new(major: u32, minor: u32) -> CudaVersion {
        CudaVersion { major, minor }
    }

    /// As cudarc writes it in its features and in `CUDARC_CUDA_VERSION`: 12.8 is 12080.
    pub fn cudarc_number(self) -> u32 {
        self.major * 1000 + self.minor * 10
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The compiler for CUDA's kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvcc {
    /// Where it is.
    pub path: PathBuf,
    /// Whether a build script that looks in `PATH` alone finds it.
    pub in_path: bool,
    /// Its version; `None` where it does not run or says something else.
    pub version: Option<CudaVersion>,
}

/// A shared library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The file, links resolved.
    pub path: PathBuf,
    /// The numbers behind `.so.` in the file's name, such as 12, 8, 93.
    pub version: Vec<u32>,
    /// Whether the loader finds it by name: it is in its cache or in `LD_LIBRARY_PATH`. One that
    /// only lies in the toolkit's folder is not.
    pub loadable: bool,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A version, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVersion {
    /// The version.
    pub version: CudaVersion,
    /// Where it was read, for a reader.
    pub source: String,
}

/// What of CUDA is installed. A part that was not found is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CudaToolkit {
    /// The compiler: in `PATH`, else in `CUDA_HOME`, `CUDA_PATH` or the usual folders.
    pub nvcc: Option<Nvcc>,
    /// The toolkit's version by its `version.json`, and that file.
    pub version_json: Option<(CudaVersion, PathBuf)>,
    /// The driver's library, `libcuda.so.1`.
    pub libcuda: Option<Library>,
    /// The newest CUDA that the driver serves, by the driver's version.
    pub driver_cuda: Option<FoundVersion>,
    /// The toolkit's libraries by name, such as `cublas`.
    pub libraries: BTreeMap<String, Library>,
    /// `CUDARC_CUDA_VERSION`, if the user has set it.
    pub cudarc_variable: Option<String>,
}

impl CudaToolkit {
    /// Looks for everything. Starts two short processes, `ldconfig` and, if it is there, `nvcc`.
    pub fn find() -> CudaToolkit {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folders = toolkit_folders(&variable);
        let nvcc = find_nvcc(variable("PATH").as_deref(), &folders);
        let version_json = folders.iter().find_map(|folder| {
            let file = folder.join("version.json");
            let text = std::fs::read_to_string(&file).ok()?;
            Some((parse_version_json(&text)?, file))
        });
        let mut libraries = find_libraries(variable("LD_LIBRARY_PATH").as_deref(), &folders);
        let libcuda = libraries.remove("cuda");
        let driver_cuda = libcuda.as_ref().and_then(find_driver_cuda);
        CudaToolkit {
            nvcc,
            version_json,
            libcuda,
            driver_cuda,
            libraries,
            cudarc_variable: std::env::var("CUDARC_CUDA_VERSION").ok(),
        }
    }

    /// The toolkit's version: by the libraries that programs will load, where NVRTC's file name
    /// tells it, else by `version.json`, else by nvcc.
    pub fn version(&self) -> Option<FoundVersion> {
        let found = |version: CudaVersion, source: String| Some(FoundVersion { version, source });
        if let Some(library) = self.libraries.get("nvrtc").filter(|it| it.loadable)
            && let [major, minor, ..] = library.version[..]
        {
            return found(CudaVersion::new(major, minor), library.to_string());
        }
        if let Some((version, file)) = &self.version_json {
            return found(*version, file.display().to_string());
        }
        if let Some(nvcc) = &self.nvcc
            && let Some(version) = nvcc.version
        {
            return found(version, nvcc.path.display().to_string());
        }
        // A library's major number alone names the oldest version that has it.
        let library = self.libraries.get("nvrtc")?;
        match library.version[..] {
            [major, minor, ..] => found(CudaVersion::new(major, minor), library.to_string()),
            [major] => found(CudaVersion::new(major, 0), library.to_string()),
            [] => None,
        }
    }

    /// Libraries of the toolkit that are there, but that the loader does not find.
    pub fn out_of_reach(&self) -> impl Iterator<Item = (&str, &Library)> {
        self.libraries
            .iter()
            .filter(|(_, library)| !library.loadable)
            .map(|(name, library)| (name.as_str(), library))
    }

    /// The folders of libraries that are there, the driver's among them, but that the loader does
    /// not find.
    pub fn folders_out_of_reach(&self) -> BTreeSet<&Path> {
        let driver = self.libcuda.iter().filter(|library| !library.loadable);
        self.out_of_reach()
            .map(|(_, library)| library)
            .chain(driver)
            .filter_map(|library| library.path.parent())
            .collect()
    }
}

fn toolkit_folders(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let named = TOOLKIT_VARIABLES.iter().filter_map(|name| variable(name));
    let usual = TOOLKIT_FOLDERS.iter().map(PathBuf::from);
    named.map(PathBuf::from).chain(usual).collect()
}

fn find_nvcc(path: Option<&OsStr>, folders: &[PathBuf]) -> Option<Nvcc> {
    let is_program = |file: &PathBuf| file.is_file();
    let in_path = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join("nvcc"))
        .find(is_program);
    let file = in_path.clone().or_else(|| {
        let files = folders.iter().map(|folder| folder.join("bin/nvcc"));
        files.into_iter().find(is_program)
    })?;
    let version = output_of(&file, "--version").and_then(|text| parse_nvcc_version(&text));
    Some(Nvcc {
        in_path: in_path.is_some(),
        path: file,
        version,
    })
}

/// The libraries by name; of several files with one name the one that the loader would take.
fn find_libraries(library_path: Option<&OsStr>, toolkits: &[PathBuf]) -> BTreeMap<String, Library> {
    let mut libraries = BTreeMap::new();
    let mut add = |file: PathBuf, loadable: bool| {
        let Some(name) = file.file_name().and_then(OsStr::to_str).map(str::to_owned) else {
            return;
        };
        let Some((library, numbers)) = parse_library_name(&name) else {
            return;
        };
        if LIBRARIES.contains(&library) && !libraries.contains_key(library) && file.exists() {
            let path = file.canonicalize().unwrap_or(file);
            // The file that a link leads to has the longest name: libnvrtc.so.12.8.93.
            let version = path
                .file_name()
                .and_then(OsStr::to_str)
                .and_then(parse_library_name)
                .map_or(numbers, |(_, numbers)| numbers);
            libraries.insert(
                library.to_owned(),
                Library {
                    path,
                    version,
                    loadable,
                },
            );
        }
    };
    for folder in library_path.into_iter().flat_map(std::env::split_paths) {
        files_in(&folder)
            .into_iter()
            .for_each(|file| add(file, true));
    }
    let cache = ["/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"]
        .iter()
        .find_map(|program| output_of(Path::new(program), "-p"));
    for file in parse_ldconfig(&cache.unwrap_or_default()) {
        add(file, true);
    }
    for folder in DRIVER_FOLDERS {
        let files = files_in(Path::new(folder));
        files.into_iter().for_each(|file| add(file, false));
    }
    for toolkit in toolkits {
        for folder in ["lib64", "lib", "targets/x86_64-linux/lib"] {
            let files = files_in(&toolkit.join(folder));
            files.into_iter().for_each(|file| add(file, false));
        }
    }
    libraries
}

/// The files of a folder, those with the fewest numbers in their names first.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort_by_key(|file| (file.as_os_str().len(), file.clone()));
    files
}

/// The newest CUDA that the driver serves, by the version in its library's file name, else by what
/// the kernel module says.
fn find_driver_cuda(libcuda: &Library) -> Option<FoundVersion> {
    if let [major, _, ..] = libcuda.version[..]
        && let Some(version) = driver_cuda_version(major)
    {
        return Some(FoundVersion {
            version,
            source: format!("driver {major}, by {libcuda}"),
        });
    }
    let file = "/proc/driver/nvidia/version";
    let text = std::fs::read_to_string(file).ok()?;
    let major = parse::parse_driver_version(&text)?;
    driver_cuda_version(major).map(|version| FoundVersion {
        version,
        source: format!("driver {major}, by {file}"),
    })
}

fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
