//! What a bundle says of itself, before all that it holds.

use std::process::Command;

use anyhow::{Context, Result, bail};
use memtrack::probe::c_library::glibc_version;
use serde::{Deserialize, Serialize};

use super::pack::Member;
use crate::pins::Pins;
use crate::toolchain::Toolchain;

/// The version of the format.
const FORMAT: u32 = 1;

/// The first member of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// What it was made with.
    #[serde(flatten)]
    pub origin: Origin,
    /// Entries of evcxr's cache.
    pub compiled: usize,
    /// The packages whose versions are pinned, `name version`.
    pub packages: Vec<String>,
    /// Files beside this one.
    pub files: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
}

/// Where things were compiled, as far as it decides where they can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What `rustc -V` prints.
    pub rustc: String,
    /// The machine's target, such as `x86_64-unknown-linux-gnu`.
    pub host: String,
    /// The version of this program.
    pub kernel: String,
    /// The version of glibc, where that is the C library.
    pub glibc: Option<String>,
}

impl Manifest {
    /// The manifest of these members.
    pub fn new(origin: Origin, compiled: usize, pins: &Pins, members: &[Member]) -> Manifest {
        Manifest {
            format: FORMAT,
            origin,
            compiled,
            packages: pins
                .packages()
                .map(|package| format!("{} {}", package.name, package.version))
                .collect(),
            files: members.len() as u64,
            bytes: members.iter().map(Member::size).sum(),
        }
    }

    /// Whether what the bundle holds can be used here.
    ///
    /// # Errors
    /// Where it cannot: why, and what to do.
    pub fn check(&self, here: &Origin) -> Result<()> {
        if self.format != FORMAT {
            bail!(
                "its format is {}, and this program knows {FORMAT}: use the memtrack-kernel that \
                 made it ({})",
                self.format,
                self.origin.kernel
            );
        }
        let made = &self.origin;
        if (&made.rustc, &made.host) != (&here.rustc, &here.host) {
            bail!(
                "it was compiled by {} for {}, and here is {} for {}: compiled crates fit only the \
                 same compiler. Install that one, or make the bundle anew with this one",
                made.rustc,
                made.host,
                here.rustc,
                here.host
            );
        }
        Ok(())
    }
}

impl Origin {
    /// This machine.
    ///
    /// # Errors
    /// Where there is no toolchain.
    pub fn here(toolchain: &Toolchain) -> Result<Origin> {
        let Some(rustc) = &toolchain.rustc else {
            bail!("{}", toolchain.problems().join("; "));
        };
        let output = Command::new(rustc)
            .arg("-vV")
            .output()
            .with_context(|| format!("{} does not run", rustc.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next();
        let host = text.lines().find_map(|line| line.strip_prefix("host: "));
        let (Some(version), Some(host)) = (version, host) else {
            bail!(
                "{} does not tell its version: {}",
                rustc.display(),
                toolchain.problems().join("; ")
            );
        };
        Ok(Origin {
            rustc: version.to_owned(),
            host: host.to_owned(),
            kernel: env!("CARGO_PKG_VERSION").to_owned(),
            glibc: glibc_version(),
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn origin() -> Origin {
        Origin {
            rustc: "rustc 1.95.0 (59807616e 2026-04-14)".into(),
            host: "x86_64-unknown-linux-gnu".into(),
            kernel: "0.1.0".into(),
            glibc: None,
        }
    }

    #[test]
    fn another_compiler_is_refused_and_another_kernel_is_not() {
        let manifest = Manifest::new(origin(), 0, &Pins::default(), &[]);
        let with = |change: fn(&mut Origin)| {
            let mut here = origin();
            change(&mut here);
            manifest.check(&here)
        };
        assert!(with(|here| here.kernel = "0.2.0".into()).is_ok());
        let rustc = with(|here| here.rustc = "rustc 1.96.0".into()).unwrap_err();
        assert!(
            rustc.to_string().contains("and here is rustc 1.96.0"),
            "{rustc}"
        );
        assert!(with(|here| here.host = "aarch64-unknown-linux-gnu".into()).is_err());
        let format = Manifest {
            format: 2,
            ..manifest
        };
        assert!(format.check(&origin()).is_err());
    }
}
