//! The Rust toolchain that cells are compiled with: where it is, and what is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::variables;

/// What was found of the toolchain. A missing part is `None`; [`Toolchain::problems`] says what to
/// do about it.
#[derive(Debug, Clone, Default)]
pub struct Toolchain {
    /// Cargo, as an absolute path.
    pub cargo: Option<PathBuf>,
    /// The compiler, as an absolute path; may be rustup's proxy.
    pub rustc: Option<PathBuf>,
    /// What `rustc -V` prints.
    pub rustc_version: Option<String>,
    /// The folder of the toolchain.
    pub sysroot: Option<PathBuf>,
    /// The folder of libstd, which cells link dynamically.
    pub target_libdir: Option<PathBuf>,
    /// Whether the source of std is there. Without it rust-analyzer knows no type of std.
    pub rust_src: bool,
    /// What rustc said, where it is there but does not run.
    rustc_failure: Option<String>,
    /// rustup, as an absolute path.
    pub rustup: Option<PathBuf>,
    has_linker: bool,
}

impl Toolchain {
    /// Looks for the toolchain in `PATH`, then where rustup puts it (`CARGO_HOME`, else
    /// `~/.cargo`), and asks rustc about itself: two short processes.
    pub fn find() -> Toolchain {
        Toolchain::find_in(&search_path())
    }

    fn find_in(search_path: &OsString) -> Toolchain {
        let folder = std::env::current_dir().unwrap_or_default();
        let find = |name| which::which_in(name, Some(search_path), &folder).ok();
        let mut toolchain = Toolchain {
            cargo: find("cargo"),
            rustc: find("rustc"),
            has_linker: find("cc").is_some(),
            rustup: find("rustup"),
            ..Toolchain::default()
        };
        if let Some(rustc) = &toolchain.rustc {
            // At once: most of the time is that of rustup's proxy.
            let (folders, version) = std::thread::scope(|scope| {
                let version = scope.spawn(|| ask(rustc, &["-V"]));
                let folders = ask(rustc, &["--print", "sysroot", "--print", "target-libdir"]);
                (folders, version.join())
            });
            match folders {
                Ok(answer) => {
                    let mut lines = answer.lines().map(PathBuf::from);
                    toolchain.sysroot = lines.next();
                    toolchain.target_libdir = lines.next();
                    toolchain.rustc_version = version.ok().and_then(Result::ok);
                }
                Err(message) => toolchain.rustc_failure = Some(message),
            }
        }
        toolchain.rust_src = toolchain.sysroot.as_deref().is_some_and(has_source_of_std);
        toolchain
    }

    /// Cargo itself rather than rustup's proxy, which takes 10 ms to find it.
    pub fn true_cargo(&self) -> Option<PathBuf> {
        self.program("cargo").or_else(|| self.cargo.clone())
    }

    /// The compiler itself rather than rustup's proxy.
    pub fn true_rustc(&self) -> Option<PathBuf> {
        self.program("rustc").or_else(|| self.rustc.clone())
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.sysroot.as_ref()?.join("bin").join(name);
        path.is_file().then_some(path)
    }

    /// What is missing for compiling cells, each with what cures it. Empty if all is there.
    pub fn problems(&self) -> Vec<String> {
        let rustup = format!(
            "install Rust with `{} install-rust`, in a terminal, or as https://rustup.rs tells",
            std::env::current_exe()
                .unwrap_or("memtrack-kernel".into())
                .display()
        );
        let mut problems = Vec::new();
        let missing = match (&self.cargo, &self.rustc) {
            (None, None) => Some("cargo and rustc were"),
            (None, Some(_)) => Some("cargo was"),
            (Some(_), None) => Some("rustc was"),
            (Some(_), Some(_)) => None,
        };
        if let Some(missing) = missing {
            problems.push(format!(
                "{missing} found neither in PATH nor in ~/.cargo/bin: {rustup}"
            ));
        }
        if let Some(message) = &self.rustc_failure {
            let cure = match self.rustup.is_some() {
                true => "choose a toolchain with: rustup default stable",
                false => &rustup,
            };
            problems.push(format!("rustc does not run ({message}): {cure}"));
        }
        if let Some(sysroot) = &self.sysroot
            && !self.rust_src
        {
            let cure = match self.rustup.is_some() {
                true => "get it with: rustup component add rust-src",
                false => {
                    "install the package of your system that holds it (Debian: apt install rust-src)"
                }
            };
            problems.push(format!(
                "the source of Rust's standard library (rust-src) is missing in {}, so the types \
                 of variables cannot be told: {cure}",
                sysroot.display()
            ));
        }
        if cfg!(unix) && self.rustc.is_some() && !self.has_linker {
            problems.push(
                "cc was not found in PATH, and rustc links with it unless Cargo is configured for \
                 another linker: install a C compiler (Debian: apt install gcc; Fedora: dnf \
                 install gcc; macOS: xcode-select --install)"
                    .to_owned(),
            );
        }
        problems
    }
}

/// Lets what this process starts find rustup's programs, also those that are installed later.
pub fn extend_path() {
    variables::set("PATH", search_path());
}

/// `PATH`, and behind it the folders of rustup's programs: front ends that are no shells often lack
/// them.
fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let homes = [
        std::env::var_os("CARGO_HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from),
        dirs::home_dir().map(|home| home.join(".cargo")),
    ];
    // An empty folder stands for the working one: not for a variable that is not set.
    let set = (!path.is_empty()).then_some(&path);
    let mut folders: Vec<PathBuf> = set.into_iter().flat_map(std::env::split_paths).collect();
    for home in homes.into_iter().flatten() {
        let folder = home.join("bin");
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    // Fails where CARGO_HOME holds a colon, which PATH cannot.
    std::env::join_paths(folders).unwrap_or(path)
}

fn has_source_of_std(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/std").is_dir()
}

/// What a program prints, or the first line of why it does not.
fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        // rustup would install a toolchain that it misses, and nobody has asked for that.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| !line.trim().is_empty());
        Err(line.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A folder with a script for each name, as the only folder of a search path.
    fn programs(scripts: &[(&str, &str)]) -> (tempfile::TempDir, OsString) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, script) in scripts {
            // Another process writes it: a file that this one has open for writing may be inherited
            // by a process that another test starts just then, and cannot be executed meanwhile.
            let written = Command::new("sh")
                .args([
                    "-c",
                    "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod +x \"$0\"",
                ])
                .args([folder.path().join(name).as_os_str(), script.as_ref()])
                .status();
            assert!(written.expect("a shell").success());
        }
        let path = folder.path().as_os_str().to_owned();
        (folder, path)
    }

    #[test]
    fn the_toolchain_that_built_this_is_found() {
        let toolchain = Toolchain::find();
        assert!(toolchain.cargo.as_deref().is_some_and(Path::is_absolute));
        let version = toolchain.rustc_version.as_deref();
        assert!(
            version.is_some_and(|it| it.starts_with("rustc 1.")),
            "{version:?}"
        );
        let libdir = toolchain
            .target_libdir
            .clone()
            .expect("the folder of libstd");
        assert!(libdir.starts_with(toolchain.sysroot.clone().expect("a sysroot")));
        assert!(libdir.is_dir());
    }

    #[test]
    fn a_machine_without_rust_is_told_to_get_it() {
        let (_folder, path) = programs(&[]);
        let toolchain = Toolchain::find_in(&path);
        assert!(toolchain.cargo.is_none() && toolchain.rustc.is_none() && !toolchain.rust_src);
        let [problem] = &toolchain.problems()[..] else {
            panic!("one problem");
        };
        assert!(
            problem.starts_with("cargo and rustc were found neither"),
            "{problem}"
        );
        assert!(problem.contains(" install-rust`"), "{problem}");
        let (_folder, path) = programs(&[("cargo", ""), ("cc", "")]);
        let problems = Toolchain::find_in(&path).problems();
        assert!(
            problems[0].starts_with("rustc was found neither"),
            "{problems:?}"
        );
    }

    #[test]
    fn missing_sources_and_linker_are_told() {
        let sysroot = tempfile::tempdir().expect("a folder");
        let root = sysroot.path().display();
        let rustc = format!("[ $1 = -V ] && echo rustc 1.95.0 || printf '{root}\\n{root}/lib\\n'");
        let scripts = [("cargo", ""), ("rustc", rustc.as_str())];
        let (_folder, path) = programs(&scripts);
        let toolchain = Toolchain::find_in(&path);
        assert_eq!(toolchain.rustc_version.as_deref(), Some("rustc 1.95.0"));
        assert_eq!(toolchain.sysroot.as_deref(), Some(sysroot.path()));
        assert_eq!(toolchain.target_libdir, Some(sysroot.path().join("lib")));
        let problems = toolchain.problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("apt install rust-src"));
        assert!(problems[1].contains("apt install gcc"));

        std::fs::create_dir_all(sysroot.path().join("lib/rustlib/src/rust/library/std"))
            .expect("made");
        let (_folder, path) = programs(&[scripts[0], scripts[1], ("cc", "")]);
        assert!(Toolchain::find_in(&path).problems().is_empty());
    }

    #[test]
    fn a_proxy_without_a_toolchain_is_told() {
        let failing = "echo >&2; echo 'error: no default toolchain' >&2; exit 1";
        let (_folder, path) = programs(&[
            ("cargo", ""),
            ("rustc", failing),
            ("rustup", ""),
            ("cc", ""),
        ]);
        let problems = Toolchain::find_in(&path).problems();
        let expected = "rustc does not run (error: no default toolchain): choose a toolchain with: \
                        rustup default stable";
        assert_eq!(problems, [expected]);
    }
}
