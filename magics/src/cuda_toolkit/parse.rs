//! Reads what programs print and how files are named.

use std::path::PathBuf;

use super::CudaVersion;

/// The drivers' branches, and the newest CUDA that each serves, newest first.
const DRIVERS: [(u32, CudaVersion); 17] = [
    (590, CudaVersion::new(13, 1)),
    (580, CudaVersion::new(13, 0)),
    (575, CudaVersion::new(12, 9)),
    (570, CudaVersion::new(12, 8)),
    (565, CudaVersion::new(12, 7)),
    (560, CudaVersion::new(12, 6)),
    (555, CudaVersion::new(12, 5)),
    (550, CudaVersion::new(12, 4)),
    (545, CudaVersion::new(12, 3)),
    (535, CudaVersion::new(12, 2)),
    (530, CudaVersion::new(12, 1)),
    (525, CudaVersion::new(12, 0)),
    (520, CudaVersion::new(11, 8)),
    (515, CudaVersion::new(11, 7)),
    (510, CudaVersion::new(11, 6)),
    (495, CudaVersion::new(11, 5)),
    (470, CudaVersion::new(11, 4)),
];

/// The newest CUDA that an NVIDIA driver serves, by the first number of its version. For a newer
/// driver than those known here it is the newest known, which it serves too.
///
/// `None` for drivers before 470, which serve CUDA 11.2 or older.
pub fn driver_cuda_version(driver_major: u32) -> Option<CudaVersion> {
    DRIVERS
        .iter()
        .find(|(branch, _)| driver_major >= *branch)
        .map(|(_, version)| *version)
}

/// The version in what `nvcc --version` prints.
pub fn parse_nvcc_version(text: &str) -> Option<CudaVersion> {
    let (_, rest) = text.split_once("release ")?;
    parse_version(rest)
}

/// The toolkit's version in its file `version.json`.
pub fn parse_version_json(text: &str) -> Option<CudaVersion> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    parse_version(value.get("cuda")?.get("version")?.as_str()?)
}

/// The driver's first number in `/proc/driver/nvidia/version`.
pub(super) fn parse_driver_version(text: &str) -> Option<u32> {
    let line = text
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    line.split_whitespace().find_map(|word| {
        let (major, minor) = word.split_once('.')?;
        minor.chars().next().filter(char::is_ascii_digit)?;
        major.parse().ok()
    })
}

/// The files that `ldconfig -p` lists, in its order, those for other machines left out.
pub fn parse_ldconfig(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .filter(|(library, _)| cfg!(not(target_pointer_width = "64")) || library.contains("64"))
        .map(|(_, path)| PathBuf::from(path))
        .collect()
}

/// A library's name and version in its file name: `libnvrtc.so.12.8.93` is `nvrtc` and 12, 8, 93.
pub fn parse_library_name(file_name: &str) -> Option<(&str, Vec<u32>)> {
    let (name, rest) = file_name.strip_prefix("lib")?.split_once(".so")?;
    let numbers = match rest.strip_prefix('.') {
        Some(numbers) => numbers.split('.').map(|it| it.parse().ok()).collect(),
        None if rest.is_empty() => Some(Vec::new()),
        None => None,
    };
    Some((name, numbers?))
}

/// The first two numbers of a version.
fn parse_version(text: &str) -> Option<CudaVersion> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some(CudaVersion::new(major, minor)),
        _ => None,
    }
}
