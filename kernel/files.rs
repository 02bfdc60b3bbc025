//! Writing files so that an earlier one is never half overwritten.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes a file by way of a second one beside it. One that exists is replaced; a link stays, and what
/// it leads to is replaced.
///
/// # Errors
/// Where nothing can be written there; what was there before is unchanged.
pub fn write(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let target = target(path)?;
    let mut file = draft(&target, path)?;
    let mut buffer = std::io::BufWriter::new(&mut file);
    content(&mut buffer)
        .and_then(|()| Ok(buffer.flush()?))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    drop(buffer);
    file.persist(&target)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}

/// Makes a folder with all that belongs in it, unless it is there. It is filled under another name
/// first: nobody ever finds it half full, and of two programs that make it at once one wins.
///
/// # Errors
/// Where it can be neither filled nor put there.
pub fn provide_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let make = || -> Result<()> {
        let parent = folder.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)?;
        let draft = tempfile::tempdir_in(parent)?;
        fill(draft.path())?;
        let draft = draft.keep();
        std::fs::rename(&draft, folder).or_else(|error| {
            let _ = std::fs::remove_dir_all(&draft);
            match folder.is_dir() {
                true => Ok(()),
                false => Err(error.into()),
            }
        })
    };
    make().with_context(|| format!("{} cannot be made", folder.display()))
}

/// Whether [`write`] can work, told before the work is done whose result it shall write.
///
/// # Errors
/// Where nothing can be written there.
pub fn check_writable(path: &Path) -> Result<()> {
    draft(&target(path)?, path).map(drop)
}

/// The file that is meant, which need not exist.
fn target(path: &Path) -> Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => bail!("{} is a folder: name a file in it", path.display()),
        Ok(about) if !about.is_file() => bail!("{} is no ordinary file", path.display()),
        Ok(_) => Ok(path.canonicalize()?),
        // What else is wrong is told when the draft is made.
        Err(_) => Ok(path.to_owned()),
    }
}

fn draft(target: &Path, path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!(
            "{} cannot be written: there is no folder {}. Make it, or name another place",
            path.display(),
            folder.display()
        );
    }
    // Others may read it as far as the user's settings for new files allow.
    let permissions = match std::fs::metadata(target) {
        Ok(about) => about.permissions(),
        Err(_) => Permissions::from_mode(0o666),
    };
    tempfile::Builder::new()
        .permissions(permissions)
        .tempfile_in(folder)
        .with_context(|| format!("nothing can be written in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("cache/entry");
        let failed = provide_folder(&folder, |draft| {
            std::fs::write(draft.join("first"), "1")?;
            bail!("the disk is full")
        });
        let error = format!("{:#}", failed.unwrap_err());
        assert!(
            error.contains("entry cannot be made: the disk is full"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_dir(base.path().join("cache"))
                .unwrap()
                .count(),
            0
        );

        let fill =
            |text: &'static str| move |draft: &Path| Ok(std::fs::write(draft.join("first"), text)?);
        // While one fills it, another has put it there.
        provide_folder(&folder, |draft| {
            provide_folder(&folder, fill("other"))?;
            fill("own")(draft)
        })
        .unwrap();
        provide_folder(&folder, fill("late")).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("first")).unwrap(),
            "other"
        );
        assert_eq!(
            std::fs::read_dir(base.path().join("cache"))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn what_was_there_survives_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        write(&path, |file| Ok(file.write_all(b"first")?)).unwrap();
        let failed = write(&path, |file| {
            file.write_all(b"second, half")?;
            bail!("the disk is full")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("the disk is full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        // No draft is left beside it.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_place_that_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/x.csv");
        for (path, reason) in [
            (missing.as_path(), "there is no folder"),
            (folder.path(), "is a folder: name a file in it"),
            (Path::new("/dev/null"), "is no ordinary file"),
        ] {
            let error = format!("{:#}", write(path, |_| Ok(())).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
        assert!(Path::new("/dev/null").exists());
    }
}
