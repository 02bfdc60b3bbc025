//! `memtrack-kernel install-rust`: gets what cells are compiled with, by rustup, after the user has
//! agreed.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::toolchain::Toolchain;

/// Where rustup's installer is, unless `RUSTUP_UPDATE_ROOT` says otherwise, as rustup itself has it.
const RUSTUP_ROOT: &str = "https://static.rust-lang.org/rustup";
const CHANNEL: &str = "stable";
const COMPONENT: &str = "rust-src";

/// What `install-rust` can be told.
#[derive(Args, Debug)]
pub struct InstallRustArgs {
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// The toolchain is complete.
    Nothing,
    /// The compiler is there and can be given the source of std by this rustup.
    AddSource(PathBuf),
    /// This rustup is there, but no toolchain that works.
    AddToolchain(PathBuf),
    /// There is no rustup.
    InstallRustup,
}

/// Installs Rust, or what is missing of it.
///
/// # Errors
/// If the user does not agree, cannot be asked, or something cannot be downloaded or installed.
pub fn install_rust(arguments: InstallRustArgs) -> Result<()> {
    let plan = plan(&Toolchain::find())?;
    if plan == Plan::Nothing {
        return report();
    }
    print!("{}", description(&plan)?);
    ask(arguments.yes)?;
    match &plan {
        Plan::Nothing => {}
        Plan::AddSource(rustup) => {
            run(Command::new(rustup).args(["component", "add", COMPONENT]))?;
        }
        Plan::AddToolchain(rustup) => {
            run(Command::new(rustup).args(toolchain_arguments()))?;
            // An install of its own makes no toolchain the default.
            run(Command::new(rustup).args(["default", CHANNEL]))?;
        }
        Plan::InstallRustup => install_rustup()?,
    }
    report()
}

fn plan(toolchain: &Toolchain) -> Result<Plan> {
    let works = toolchain.cargo.is_some() && toolchain.sysroot.is_some();
    match (&toolchain.rustup, works) {
        (_, true) if toolchain.rust_src => Ok(Plan::Nothing),
        (Some(rustup), true) => Ok(Plan::AddSource(rustup.clone())),
        (Some(rustup), false) => Ok(Plan::AddToolchain(rustup.clone())),
        (None, false) => Ok(Plan::InstallRustup),
        // A second Rust beside it would not be the one that PATH finds.
        (None, true) => bail!(
            "Rust is here, but not by rustup, so this cannot complete it:\n{}",
            toolchain.problems().join("\n")
        ),
    }
}

fn toolchain_arguments() -> [&'static str; 7] {
    [
        "toolchain",
        "install",
        CHANNEL,
        "--profile",
        "minimal",
        "--component",
        COMPONENT,
    ]
}

/// What will be done, where.
fn description(plan: &Plan) -> Result<String> {
    let cargo = home("CARGO_HOME", ".cargo")?;
    let rustup = home("RUSTUP_HOME", ".rustup")?;
    let (cargo, rustup) = (cargo.display(), rustup.display());
    Ok(match plan {
        Plan::Nothing => String::new(),
        Plan::AddSource(program) => format!(
            "This runs\n    {} component add {COMPONENT}\nwhich downloads the source of Rust's \
             standard library into {rustup}.\n",
            program.display()
        ),
        Plan::AddToolchain(program) => format!(
            "This runs\n    {0} {1}\n    {0} default {CHANNEL}\nwhich downloads Rust's compiler and \
             the source of its standard library into {rustup}.\n",
            program.display(),
            toolchain_arguments().join(" "),
        ),
        Plan::InstallRustup => format!(
            "This downloads rustup, Rust's installer, from\n    {}\nand lets it install\n\
             - Rust's compiler and the source of its standard library into {rustup}\n\
             - cargo and rustup into {cargo}\n\
             The settings of your shell stay as they are; `rustup self uninstall` removes it all.\n",
            installer_address()
        ),
    })
}

/// Returns if the user agrees.
fn ask(agreed: bool) -> Result<()> {
    if agreed {
        return Ok(());
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here: if you agree, run it with --yes"
    );
    print!("Go on? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let agreed = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    ensure!(agreed, "nothing was installed");
    Ok(())
}

fn install_rustup() -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let installer = folder.path().join("rustup-init");
    let address = installer_address();
    download(&address, &installer)?;
    let sum = folder.path().join("sha256");
    download(&format!("{address}.sha256"), &sum)?;
    check_sum(&installer, &std::fs::read_to_string(&sum)?)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&installer, std::fs::Permissions::from_mode(0o755))?;
    }
    run(Command::new(&installer).args([
        "-y",
        "--no-modify-path",
        "--profile",
        "minimal",
        "--default-toolchain",
        CHANNEL,
        "--component",
        COMPONENT,
    ]))
}

fn installer_address() -> String {
    let root = std::env::var("RUSTUP_UPDATE_ROOT").unwrap_or_else(|_| RUSTUP_ROOT.to_owned());
    format!(
        "{root}/dist/{}-unknown-linux-gnu/rustup-init",
        std::env::consts::ARCH
    )
}

/// Downloads by what the machine has for it, which knows its proxies and certificates.
fn download(address: &str, file: &Path) -> Result<()> {
    let mut command = if which::which("curl").is_ok() {
        let mut curl = Command::new("curl");
        curl.args([
            "--proto",
            "=https",
            "--tlsv1.2",
            "-sSfL",
            "--connect-timeout",
            "20",
            "-o",
        ]);
        curl
    } else if which::which("wget").is_ok() {
        let mut wget = Command::new("wget");
        wget.args(["--https-only", "-nv", "--timeout=20", "--tries=2", "-O"]);
        wget
    } else {
        bail!(
            "neither curl nor wget is here to download it: install one (Debian: apt install curl)"
        )
    };
    let status = command.arg(file).arg(address).status();
    let status = status.context("the download cannot be started")?;
    ensure!(
        status.success(),
        "{address} cannot be downloaded: is the network reachable? Nothing was installed. Without a \
         network, install Rust from the packages of your system, or from an archive: \
         https://forge.rust-lang.org/infra/other-installation-methods.html"
    );
    Ok(())
}

/// Whether a file is what its publisher says. `expected` begins with the sum in hexadecimal digits.
fn check_sum(file: &Path, expected: &str) -> Result<()> {
    let bytes = std::fs::read(file)?;
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        expected.split_whitespace().next() == Some(found.as_str()),
        "the downloaded installer is damaged: its checksum is {found}, not {}. Nothing was installed; \
         try again",
        expected.trim()
    );
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status();
    let status = status.with_context(|| format!("{program} cannot be started"))?;
    ensure!(
        status.success(),
        "{program} failed ({status}); what it says above tells why. Run this again when that is mended"
    );
    Ok(())
}

/// Says what is there now.
fn report() -> Result<()> {
    let toolchain = Toolchain::find();
    let problems = toolchain.problems();
    ensure!(
        problems.is_empty(),
        "Rust is not complete:\n{}",
        problems.join("\n")
    );
    println!(
        "Rust is complete: {}. A kernel that runs already takes it for its next cell.",
        toolchain
            .rustc_version
            .as_deref()
            .unwrap_or("version unknown")
    );
    Ok(())
}

/// A folder of rustup's: what the variable says, else in the user's home.
fn home(variable: &str, name: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| dirs::home_dir().map(|home| home.join(name)))
        .with_context(|| format!("this user has no home folder: set {variable}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_decides_what_is_done() {
        let nothing = Toolchain::default();
        let mut with_rustup = nothing.clone();
        with_rustup.rustup = Some("/c/rustup".into());
        let mut without_source = with_rustup.clone();
        without_source.cargo = Some("/c/cargo".into());
        without_source.rustc = Some("/c/rustc".into());
        without_source.sysroot = Some("/r".into());
        let mut of_the_system = without_source.clone();
        of_the_system.rustup = None;
        let mut complete = of_the_system.clone();
        complete.rust_src = true;
        let planned = |toolchain| plan(toolchain).expect("a plan");
        assert_eq!(planned(&nothing), Plan::InstallRustup);
        assert_eq!(
            planned(&with_rustup),
            Plan::AddToolchain("/c/rustup".into())
        );
        assert_eq!(
            planned(&without_source),
            Plan::AddSource("/c/rustup".into())
        );
        assert_eq!(planned(&complete), Plan::Nothing);
        let error = plan(&of_the_system)
            .expect_err("not ours to change")
            .to_string();
        assert!(error.contains("apt install rust-src"), "{error}");
    }

    #[test]
    fn a_damaged_download_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "abc").expect("written");
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_sum(file.path(), &format!("{sum} *./rustup-init\n")).expect("right");
        std::fs::write(file.path(), "abd").expect("written");
        let error = check_sum(file.path(), sum)
            .expect_err("damaged")
            .to_string();
        assert!(error.contains("is damaged"), "{error}");
        check_sum(file.path(), "").expect_err("no sum at all");
    }

    #[test]
    fn nobody_is_taken_to_have_agreed() {
        ask(true).expect("agreed on the command line");
        // Tests have no terminal.
        if !std::io::stdin().is_terminal() {
            assert!(
                ask(false)
                    .expect_err("not asked")
                    .to_string()
                    .contains("--yes")
            );
        }
    }
}
