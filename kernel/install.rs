//! `memtrack-kernel install` and `uninstall`: the kernel's entry among Jupyter's.

mod entry;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::entry::{DISPLAY_NAME, kernelspec, remove_kernel, write_kernel};
use crate::toolchain::Toolchain;

const DEFAULT_NAME: &str = "rust-memtrack";
/// Where Google Colab and its like keep the libraries of the NVIDIA driver.
const NVIDIA_LIBRARIES: &str = "/usr/lib64-nvidia";

/// What `install` can be told.
#[derive(Args, Debug)]
pub struct InstallArgs {
    #[command(flatten)]
    place: Place,
    /// The name in Jupyter's list: letters, digits, '.', '_', '-'.
    #[arg(long, default_value = DEFAULT_NAME, value_parser = kernel_name)]
    name: String,
}

/// What `uninstall` can be told.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    #[command(flatten)]
    place: Place,
    /// The name under which it was installed.
    #[arg(long, default_value = DEFAULT_NAME, value_parser = kernel_name)]
    name: String,
}

#[derive(Args, Debug, Default)]
#[group(multiple = false)]
struct Place {
    /// For this user (the default).
    #[arg(long)]
    user: bool,
    /// For the active Python environment (virtualenv or conda).
    #[arg(long)]
    sys_prefix: bool,
    /// For the Jupyter installed under this folder.
    #[arg(long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
}

/// Writes the kernel's entry and says what is missing for running it. Doing it again replaces the
/// entry.
///
/// # Errors
/// If the folder cannot be told or written, or another kernel has the name.
pub fn install(arguments: InstallArgs) -> Result<()> {
    let data_dir = arguments.place.data_dir()?;
    let program = std::env::current_exe().context("the path of this program cannot be told")?;
    let toolchain = Toolchain::find();
    let spec = kernelspec(&program, environment(&toolchain)?)?;
    let folder = write_kernel(&data_dir, &arguments.name, &spec)?;
    println!(
        "Installed \"{DISPLAY_NAME}\" as {} in {}",
        arguments.name,
        folder.display()
    );
    println!("It runs {}: keep that file where it is.", program.display());
    if arguments.place.prefix.is_some() {
        println!(
            "A Jupyter that is not installed under this prefix finds it with JUPYTER_PATH={}",
            data_dir.display()
        );
    }
    let problems = toolchain.problems();
    if !problems.is_empty() {
        println!("Before the kernel can run cells, this must be mended:");
        for problem in problems {
            println!("- {problem}");
        }
    }
    Ok(())
}

/// Removes the kernel's entry.
///
/// # Errors
/// If there is none, or it is another kernel's, or it cannot be removed.
pub fn uninstall(arguments: UninstallArgs) -> Result<()> {
    let folder = remove_kernel(&arguments.place.data_dir()?, &arguments.name)?;
    println!("Removed {}", folder.display());
    Ok(())
}

impl Place {
    /// Jupyter's data folder here.
    fn data_dir(&self) -> Result<PathBuf> {
        if let Some(prefix) = &self.prefix {
            let prefix = std::path::absolute(prefix)
                .with_context(|| format!("{} is no folder's name", prefix.display()))?;
            Ok(prefix.join("share/jupyter"))
        } else if self.sys_prefix {
            let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
            let prefix = named("VIRTUAL_ENV").or_else(|| named("CONDA_PREFIX"));
            let prefix = match prefix {
                Some(prefix) => PathBuf::from(prefix),
                None => prefix_of_python()?,
            };
            Ok(prefix.join("share/jupyter"))
        } else {
            user_data_dir(std::env::var_os("JUPYTER_DATA_DIR"))
        }
    }
}

/// Where Jupyter looks for what belongs to the user:
/// <https://docs.jupyter.org/en/latest/use/jupyter-directories.html#data-files>.
fn user_data_dir(jupyter_data_dir: Option<OsString>) -> Result<PathBuf> {
    if let Some(folder) = jupyter_data_dir.filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    if cfg!(target_os = "macos") {
        dirs::home_dir().map(|home| home.join("Library/Jupyter"))
    } else {
        dirs::data_dir().map(|data| data.join("jupyter"))
    }
    .context("this user has no home folder: set HOME or JUPYTER_DATA_DIR, or use --prefix FOLDER")
}

fn prefix_of_python() -> Result<PathBuf> {
    let advice = "--sys-prefix needs a Python environment: activate one, or use --prefix FOLDER";
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.prefix)"])
        .output()
        .with_context(|| format!("python3 cannot be run; {advice}"))?;
    let prefix = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || prefix.is_empty() {
        bail!(
            "python3 does not tell its prefix ({}); {advice}",
            output.status
        );
    }
    Ok(prefix.into())
}

/// Jupyter's rule for kernel names, and its way to tell them apart: case does not matter.
fn kernel_name(name: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(is_allowed) {
        return Err(
            "a kernel's name is made of ASCII letters, digits, '.', '_' and '-'".to_owned(),
        );
    }
    if name.chars().all(|c| c == '.') {
        return Err("a kernel's name cannot be made of dots alone".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

/// The environment that the kernel needs and a front end may lack: one that was not started from a
/// shell knows nothing of rustup's folder.
fn environment(toolchain: &Toolchain) -> Result<HashMap<String, String>> {
    let mut variables = HashMap::new();
    if let Some(folder) = toolchain.cargo.as_deref().and_then(Path::parent) {
        variables.insert(
            "PATH".to_owned(),
            with_first(folder, std::env::var_os("PATH"))?,
        );
    }
    let nvidia = Path::new(NVIDIA_LIBRARIES);
    if nvidia.is_dir() {
        variables.insert(
            "LD_LIBRARY_PATH".to_owned(),
            with_first(nvidia, std::env::var_os("LD_LIBRARY_PATH"))?,
        );
    }
    Ok(variables)
}

/// The search path with `folder` put first.
fn with_first(folder: &Path, path: Option<OsString>) -> Result<String> {
    let path = path.filter(|path| !path.is_empty());
    let rest = path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|it| it != folder);
    std::env::join_paths(std::iter::once(folder.to_owned()).chain(rest))
        .with_context(|| format!("{} cannot stand in a search path", folder.display()))?
        .into_string()
        .map_err(|path| anyhow::anyhow!("the search path {} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        install: InstallArgs,
    }

    fn parse(arguments: &[&str]) -> Result<InstallArgs, String> {
        CommandLine::try_parse_from([&["install"], arguments].concat())
            .map(|line| line.install)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_place_is_one_of_three() {
        let arguments = parse(&[]).expect("no argument is needed");
        assert_eq!(arguments.name, "rust-memtrack");
        assert!(arguments.place.prefix.is_none() && !arguments.place.sys_prefix);
        let error = parse(&["--user", "--prefix", "/opt"]).expect_err("two places");
        assert!(error.contains("cannot be used with"), "{error}");
        let prefix = parse(&["--prefix", "/opt/jupyter"])
            .expect("a prefix")
            .place;
        assert_eq!(
            prefix.data_dir().expect("a folder"),
            Path::new("/opt/jupyter/share/jupyter")
        );
        let relative = parse(&["--prefix", "here"]).expect("a prefix").place;
        assert!(relative.data_dir().expect("a folder").is_absolute());
    }

    #[test]
    fn names_follow_the_rule_of_jupyter() {
        assert_eq!(
            parse(&["--name", "Rust_2.a-B"]).expect("right").name,
            "rust_2.a-b"
        );
        for name in ["", "a b", "../a", "..", "rüst", "a/b"] {
            let error = parse(&["--name", name]).expect_err(name);
            assert!(error.contains("a kernel's name"), "{error}");
        }
    }

    #[test]
    fn the_users_folder_is_where_jupyter_looks() {
        let set = user_data_dir(Some("/data".into())).expect("a folder");
        assert_eq!(set, Path::new("/data"));
        // An empty variable is none.
        let default = user_data_dir(Some("".into())).expect("a folder");
        let name = if cfg!(target_os = "macos") {
            "Jupyter"
        } else {
            "jupyter"
        };
        assert!(
            default.is_absolute() && default.ends_with(name),
            "{default:?}"
        );
    }

    #[test]
    fn the_folder_of_cargo_comes_first_and_once() {
        let with_first = |path: Option<&str>| {
            with_first(Path::new("/home/u/.cargo/bin"), path.map(Into::into)).expect("a path")
        };
        assert_eq!(
            with_first(Some("/bin:/home/u/.cargo/bin:/usr/bin")),
            "/home/u/.cargo/bin:/bin:/usr/bin"
        );
        assert_eq!(with_first(Some("")), "/home/u/.cargo/bin");
        assert_eq!(with_first(None), "/home/u/.cargo/bin");
    }
}
