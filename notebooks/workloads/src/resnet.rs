//! Finds trained weights of ResNet-18 on the machine.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{Error, words_of_bytes};

/// Names a file of weights for [`resnet18_weights`].
const VARIABLE: &str = "RESNET18_SAFETENSORS";
/// Looked for in the current folder, where nothing is named.
const DEFAULT: &str = "resnet18.safetensors";
/// Tensors by which ResNet-18 is told from other networks: the 18th layer's name is its last block's.
const TENSORS: [&str; 3] = ["conv1.weight", "layer4.1.conv2.weight", "fc.weight"];
/// The format's own limit of its header, in bytes.
const LARGEST_HEADER: u64 = 100_000_000;

/// What [`resnet18_weights`] found. Its `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResnetWeights {
    /// A safetensors file with ResNet-18's tensors in it.
    File {
        path: PathBuf,
        /// How it was found: "the argument", …
        named_by: &'static str,
        /// Its size.
        bytes: u64,
    },
    /// None: the network gets random weights, and what it says means nothing.
    Random,
}

impl ResnetWeights {
    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ResnetWeights::File { path, .. } => Some(path),
            ResnetWeights::Random => None,
        }
    }
}

impl fmt::Display for ResnetWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResnetWeights::File {
                path,
                named_by,
                bytes,
            } => write!(
                f,
                "trained weights from {} ({}, {named_by})",
                path.display(),
                words_of_bytes(*bytes)
            ),
            ResnetWeights::Random => write!(
                f,
                "random weights: no file was named, {VARIABLE} is not set and there is no {DEFAULT} \
                 in this folder. Memory is the same with them, the predicted class means nothing"
            ),
        }
    }
}

/// Looks for trained weights of ResNet-18 in the safetensors format, with torchvision's names: the
/// file that is given, else the one that the environment's `RESNET18_SAFETENSORS` names, else
/// `resnet18.safetensors` in the current folder. Nothing is downloaded.
///
/// # Errors
/// Where a file was named and is missing, or a file is there and is not ResNet-18's.
pub fn resnet18_weights(path: Option<&Path>) -> Result<ResnetWeights, Error> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    look(path, variable.as_deref().map(Path::new), Path::new(DEFAULT))
}

fn look(
    argument: Option<&Path>,
    variable: Option<&Path>,
    default: &Path,
) -> Result<ResnetWeights, Error> {
    let (path, named_by) = match (argument, variable) {
        (Some(path), _) => (path, "the argument"),
        (None, Some(path)) => (path, "from RESNET18_SAFETENSORS"),
        (None, None) if default.exists() => (default, "in the current folder"),
        (None, None) => return Ok(ResnetWeights::Random),
    };
    let unusable = |reason: String| Error::Weights {
        path: path.to_owned(),
        named_by,
        reason,
    };
    let header = header(path).map_err(|error| unusable(error.to_string()))?;
    for tensor in TENSORS {
        // Names are JSON keys; none of these needs escaping.
        if !header.contains(&format!("\"{tensor}\"")) {
            return Err(unusable(format!(
                "it has no tensor {tensor}, so it is not torchvision's ResNet-18"
            )));
        }
    }
    let bytes = fs::metadata(path)
        .map_err(|error| unusable(error.to_string()))?
        .len();
    Ok(ResnetWeights::File {
        path: path.to_owned(),
        named_by,
        bytes,
    })
}

/// The file's JSON header, which names its tensors: its length in 8 bytes, then so many bytes.
fn header(path: &Path) -> io::Result<String> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(|_| invalid("it is too short for a safetensors file"))?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER {
        return Err(invalid(
            "it is not a safetensors file: its header would be too long",
        ));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    if header.len() as u64 != length {
        return Err(invalid("it ends within its header; was it copied in full?"));
    }
    String::from_utf8(header)
        .map_err(|_| invalid("it is not a safetensors file: its header is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a header of these tensor names.
    fn file(folder: &Path, name: &str, tensors: &[&str]) -> PathBuf {
        let header: Vec<String> = tensors
            .iter()
            .map(|name| format!("\"{name}\":{{}}"))
            .collect();
        let header = format!("{{{}}}", header.join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn the_argument_goes_before_the_variable_and_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| file(folder.path(), name, &TENSORS));
        let [a, b, c] = paths.each_ref().map(PathBuf::as_path);
        assert_eq!(look(Some(a), Some(b), c).unwrap().path(), Some(a));
        assert_eq!(look(None, Some(b), c).unwrap().path(), Some(b));
        assert_eq!(look(None, None, c).unwrap().path(), Some(c));
    }

    #[test]
    fn no_file_is_random_and_says_so() {
        let found = look(None, None, Path::new("no such file")).unwrap();
        assert_eq!(found, ResnetWeights::Random);
        assert!(found.to_string().contains("RESNET18_SAFETENSORS"));
    }

    #[test]
    fn a_named_file_that_cannot_be_used_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let says = |path: &Path| look(Some(path), None, path).unwrap_err().to_string();
        assert!(says(&folder.path().join("missing")).contains("No such file"));
        let other = file(folder.path(), "other", &["conv1.weight", "fc.weight"]);
        assert!(says(&other).contains("layer4.1.conv2.weight"));
        let torn = file(folder.path(), "torn", &TENSORS);
        let bytes = fs::read(&torn).unwrap();
        fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();
        assert!(says(&torn).contains("copied in full"));
        fs::write(&torn, [0xff; 16]).unwrap();
        assert!(says(&torn).contains("not a safetensors file"));
    }
}
