//! What `%use` brings: the packages by name, and how a line names one.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, ValueEnum};

use super::entries::flag;

/// A package that `%use` brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Package {
    /// Tensors and neural networks: `candle_core`, `candle_nn` and `candle_transformers`.
    Candle,
    /// CUDA's driver, cuBLAS, cuRAND and NVRTC.
    Cudarc,
    /// The workloads of memtrack's own notebooks.
    Workloads,
}

impl Package {
    /// The name in a `%use` line.
    pub fn name(self) -> &'static str {
        match self {
            Package::Candle => "candle",
            Package::Cudarc => "cudarc",
            Package::Workloads => "workloads",
        }
    }
}

impl ValueEnum for Package {
    fn value_variants<'a>() -> &'a [Package] {
        &[Package::Candle, Package::Cudarc, Package::Workloads]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Package::Candle => {
                "Tensors and neural networks; a model of one cell trains in the next"
            }
            Package::Cudarc => "CUDA's driver, cuBLAS, cuRAND and NVRTC",
            Package::Workloads => "The workloads of memtrack's notebooks",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

/// Where the package is to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// On what this machine has.
    #[default]
    Auto,
    /// On the CPU, whatever this machine has.
    Cpu,
    /// On an NVIDIA GPU; an error where that cannot be compiled.
    Cuda,
}

/// What a `%use` line asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UseRequest {
    /// Which package.
    pub package: Package,
    /// Its exact version, such as `0.11.1`; `None` for the one that this kernel was tested with.
    pub version: Option<String>,
    /// Where it is to compute.
    pub device: Device,
}

/// The arguments of `%use`.
pub(super) fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("package")
                .value_name("NAME[@VERSION]")
                .required(true)
                .value_parser(PackageParser)
                .help("The package, and its exact version where it shall be another one"),
        )
        .arg(flag("cpu").help("Without CUDA, also where this machine has it"))
        .arg(
            flag("cuda")
                .conflicts_with("cpu")
                .help("With CUDA; an error where it cannot be compiled"),
        )
}

/// Reads a `%use` line that clap has taken apart.
pub(super) fn read(matches: &ArgMatches) -> Result<UseRequest, String> {
    let (package, version) = matches
        .get_one::<(Package, Option<String>)>("package")
        .cloned()
        .ok_or("the name of a package is missing")?;
    let device = match (matches.get_flag("cpu"), matches.get_flag("cuda")) {
        (true, _) => Device::Cpu,
        (false, true) => Device::Cuda,
        (false, false) => Device::Auto,
    };
    if package == Package::Cudarc && device == Device::Cpu {
        return Err("cudarc is CUDA alone: leave --cpu away".into());
    }
    Ok(UseRequest {
        package,
        version,
        device,
    })
}

/// Reads `NAME[@VERSION]`; a wrong name is told like any other wrong value.
#[derive(Clone)]
struct PackageParser;

impl TypedValueParser for PackageParser {
    type Value = (Package, Option<String>);

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = value.to_string_lossy();
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text.as_ref(), None),
        };
        let name = names().parse_ref(command, arg, name.as_ref())?;
        let package = Package::value_variants()
            .iter()
            .find(|package| package.name() == name)
            .copied()
            .unwrap_or(Package::Candle);
        match version {
            Some(version) if !is_exact(version) => {
                let mut error = clap::Error::new(ErrorKind::ValueValidation).with_cmd(command);
                error.insert(
                    ContextKind::Custom,
                    ContextValue::String(format!(
                        "`{version}` is not an exact version: write all its numbers, as in \
                         {name}@0.1.2"
                    )),
                );
                Err(error)
            }
            _ => Ok((package, version.map(String::from))),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = Package::value_variants().iter();
        Some(Box::new(values.filter_map(ValueEnum::to_possible_value)))
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        Package::value_variants()
            .iter()
            .map(|package| package.name()),
    )
}

/// Whether a version has three numbers, and behind them at most a tag such as `-rc.1`.
fn is_exact(version: &str) -> bool {
    let is_tag = |tag: &str| {
        !tag.is_empty()
            && tag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
    };
    let tag_at = version.find(['-', '+']).unwrap_or(version.len());
    let (numbers, tag) = version.split_at(tag_at);
    let numbers: Vec<&str> = numbers.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
        && (tag.is_empty() || is_tag(&tag[1..]))
}
