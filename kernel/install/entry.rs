//! The files by which Jupyter knows a kernel: a folder with `kernel.json` and a logo.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jupyter_protocol::JupyterKernelspec;

/// The kernel's name in Jupyter's menus.
pub(super) const DISPLAY_NAME: &str = "Rust (memtrack)";
/// What follows the program in `argv`; Jupyter puts a path for the braces.
const ARGUMENTS: [&str; 2] = ["kernel", "{connection_file}"];

/// The entry's text. Its program is started as `PROGRAM kernel CONNECTION_FILE`.
pub(super) fn kernelspec(
    program: &Path,
    env: HashMap<String, String>,
) -> Result<JupyterKernelspec> {
    let program = program
        .to_str()
        .with_context(|| format!("Jupyter cannot start {}: not UTF-8", program.display()))?;
    let argv = std::iter::once(program).chain(ARGUMENTS).map(str::to_owned);
    Ok(JupyterKernelspec {
        argv: argv.collect(),
        display_name: DISPLAY_NAME.to_owned(),
        language: "rust".to_owned(),
        metadata: Some(HashMap::from([("debugger".to_owned(), false.into())])),
        interrupt_mode: Some("message".to_owned()),
        env: Some(env),
    })
}

/// Writes the entry and returns its folder.
pub(super) fn write_kernel(
    data_dir: &Path,
    name: &str,
    spec: &JupyterKernelspec,
) -> Result<PathBuf> {
    let folder = data_dir.join("kernels").join(name);
    if Found::at(&folder) == Found::Others {
        bail!(
            "another kernel is installed in {}: choose another name with --name NAME",
            folder.display()
        );
    }
    std::fs::create_dir_all(&folder).map_err(|error| explain(error, "make", &folder))?;
    let mut json = serde_json::to_string_pretty(&serde_json::to_value(spec)?)?;
    json.push('\n');
    write_file(&folder.join("logo-svg.svg"), LOGO)?;
    // Last: Jupyter lists a folder as soon as this file is there.
    write_file(&folder.join("kernel.json"), &json)?;
    Ok(folder)
}

/// Removes the entry and returns the folder that it had.
pub(super) fn remove_kernel(data_dir: &Path, name: &str) -> Result<PathBuf> {
    let folder = data_dir.join("kernels").join(name);
    match Found::at(&folder) {
        Found::Nothing => bail!(
            "no kernel is installed in {}: `jupyter kernelspec list` shows where it is; say so \
             with --sys-prefix, --prefix FOLDER or --name NAME",
            folder.display()
        ),
        Found::Others => bail!("{} holds another kernel: not removed", folder.display()),
        Found::Ours => {
            std::fs::remove_dir_all(&folder).map_err(|error| explain(error, "remove", &folder))?;
        }
    }
    Ok(folder)
}

/// Whose kernel a folder holds.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Others,
}

impl Found {
    fn at(folder: &Path) -> Found {
        let text = match std::fs::read_to_string(folder.join("kernel.json")) {
            Ok(text) => text,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => Found::Nothing,
                    _ => Found::Others,
                };
            }
        };
        match serde_json::from_str::<JupyterKernelspec>(&text) {
            Ok(spec)
                if spec.language == "rust"
                    && spec.argv.get(1..) == Some(&ARGUMENTS.map(Into::into)) =>
            {
                Found::Ours
            }
            Ok(_) | Err(_) => Found::Others,
        }
    }
}

/// Writes a file so that a reader sees all of it or its former text.
fn write_file(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Readable for all, as far as the umask allows: others may use a Jupyter under a prefix.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(|error| explain(error, "write to", folder))?;
    file.write_all(text.as_bytes())
        .map_err(|error| explain(error, "write to", folder))?;
    file.persist(path)
        .map_err(|error| explain(error.error, "write", path))?;
    Ok(())
}

fn explain(error: std::io::Error, task: &str, path: &Path) -> anyhow::Error {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ": use --user, or --prefix with a folder of your own"
        }
        _ => "",
    };
    let message = format!("cannot {task} {}{advice}", path.display());
    anyhow::Error::new(error).context(message)
}

/// A gauge on a memory chip.
const LOGO: &str = include_str!("../wheel/data/share/jupyter/kernels/rust-memtrack/logo-svg.svg");

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(program: &str) -> JupyterKernelspec {
        kernelspec(Path::new(program), HashMap::new()).expect("a kernelspec")
    }

    fn read(folder: &Path) -> Value {
        let text = std::fs::read_to_string(folder.join("kernel.json")).expect("kernel.json");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn what_is_written_is_what_jupyter_wants() {
        let data_dir = tempfile::tempdir().expect("a folder");
        let env = HashMap::from([("PATH".to_owned(), "/c:/bin".to_owned())]);
        let spec = kernelspec(Path::new("/opt/memtrack-kernel"), env).expect("a kernelspec");
        let folder = write_kernel(data_dir.path(), "rust-memtrack", &spec).expect("written");
        assert_eq!(folder, data_dir.path().join("kernels/rust-memtrack"));
        assert_eq!(
            read(&folder),
            json!({
                "argv": ["/opt/memtrack-kernel", "kernel", "{connection_file}"],
                "display_name": "Rust (memtrack)",
                "language": "rust",
                "interrupt_mode": "message",
                "env": {"PATH": "/c:/bin"},
                "metadata": {"debugger": false},
            })
        );
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        files.sort();
        assert_eq!(files, ["kernel.json", "logo-svg.svg"]);
    }

    #[test]
    fn the_entry_in_the_wheel_is_the_same() {
        let text = include_str!("../wheel/data/share/jupyter/kernels/rust-memtrack/kernel.json");
        let program = "{resource_dir}/../../../../bin/memtrack-kernel";
        let in_wheel: Value = serde_json::from_str(text).expect("JSON");
        let ours = serde_json::to_value(spec(program)).expect("JSON");
        assert_eq!(in_wheel, ours);
    }

    #[test]
    fn installing_again_replaces_and_uninstalling_removes() {
        let data_dir = tempfile::tempdir().expect("a folder");
        let data_dir = data_dir.path();
        write_kernel(data_dir, "k", &spec("/old")).expect("written");
        let folder = write_kernel(data_dir, "k", &spec("/new")).expect("written again");
        assert_eq!(read(&folder)["argv"][0], "/new");
        remove_kernel(data_dir, "k").expect("removed");
        assert!(!folder.exists());
        let error = remove_kernel(data_dir, "k")
            .expect_err("nothing is left")
            .to_string();
        assert!(error.contains("jupyter kernelspec list"), "{error}");
    }

    #[test]
    fn another_kernel_is_left_alone() {
        let data_dir = tempfile::tempdir().expect("a folder");
        let folder = data_dir.path().join("kernels/python3");
        std::fs::create_dir_all(&folder).expect("made");
        for text in [
            r#"{"argv": ["python"], "display_name": "P", "language": "python"}"#,
            "{",
        ] {
            std::fs::write(folder.join("kernel.json"), text).expect("written");
            let error = write_kernel(data_dir.path(), "python3", &spec("/a")).expect_err("taken");
            assert!(error.to_string().contains("--name NAME"), "{error}");
            remove_kernel(data_dir.path(), "python3").expect_err("not ours");
            assert_eq!(
                std::fs::read_to_string(folder.join("kernel.json")).expect("text"),
                text
            );
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_explained() {
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let error = format!("{:#}", explain(denied, "make", Path::new("/usr/share")));
        assert!(
            error.starts_with("cannot make /usr/share: use --user"),
            "{error}"
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = write_kernel(file.path(), "k", &spec("/a")).expect_err("a file is no folder");
        assert!(error.to_string().starts_with("cannot make"), "{error}");
    }
}
