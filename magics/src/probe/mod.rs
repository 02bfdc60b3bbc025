//! Where memory readings come from: one file per source.
//!
//! Reading is kept apart from parsing: a parser takes the text of a file and gives a value or
//! `None`, and touches no file.
//!
//! The `procfs` crate parses the mount table and the list of cgroups. It is not used for
//! `/proc/PID/status` and `/proc/meminfo`, because it refuses the whole file when a field that
//! Linux always has is absent, and gVisor's have fewer fields (its `status` has neither `Uid` nor
//! `SigQ`: `pkg/sentry/fsimpl/proc/task_files.go` in google/gvisor).

pub mod c_library;
pub mod cgroup;
pub mod cuda;
pub mod host;
pub mod machine;
pub mod nvml;
pub mod tree;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why a reading could not be taken, in words that a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The process is no more, or is a zombie.
    #[error("process {pid} has ended, so it has no memory to read")]
    ProcessEnded {
        /// Its number.
        pid: i32,
    },
    /// There is no `/proc`.
    #[error(
        "/proc is not mounted, and all readings come from it; mount it with `mount -t proc proc /proc`"
    )]
    ProcNotMounted,
    /// A file could not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file was read, but does not say what it should.
    #[error("{} has no usable `{field}`, so this system's format of the file is not known to memtrack", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        field: &'static str,
    },
    /// `/proc/PID/clear_refs` may not be written.
    #[error(
        "not allowed to reset the high-water mark of process {pid}: it runs as another user, or is \
         not dumpable (started from a set-user-ID or unreadable file, or PR_SET_DUMPABLE is 0); run \
         it as the same user and dumpable, or run the kernel as root"
    )]
    ResetDenied {
        /// The process whose mark it is.
        pid: i32,
    },
    /// `/proc/PID/clear_refs` does not exist.
    #[error(
        "this system cannot reset a process's high-water mark (no /proc/PID/clear_refs: gVisor, or \
         a Linux built without CONFIG_PROC_PAGE_MONITOR), so peaks are sampled; use a container \
         runtime that has a Linux kernel, such as runc, for exact ones"
    )]
    ResetMissing,
    /// `/proc` is mounted read-only.
    #[error(
        "/proc is mounted read-only, so high-water marks cannot be reset and peaks are sampled; \
         mount it read-write (docker run --security-opt systempaths=unconfined)"
    )]
    ResetReadOnly,
    /// Resetting failed in another way.
    #[error("the high-water mark of process {pid} could not be reset: {source}")]
    ResetFailed {
        /// The process whose mark it is.
        pid: i32,
        /// What the system answered.
        source: io::Error,
    },
    /// The process is in no memory cgroup that keeps accounts.
    #[error("no memory cgroup with accounts is visible here: {reason}")]
    NoCgroup {
        /// What was looked for and not found.
        reason: &'static str,
    },
    /// The cgroup keeps no peak, or not one that can be set back.
    #[error("the container's peak {0}")]
    CgroupPeak(&'static str),
}

impl ProbeError {
    fn unreadable(path: &Path, source: io::Error) -> ProbeError {
        ProbeError::Unreadable {
            path: path.to_owned(),
            source,
        }
    }
}

/// A file of `/proc` or a cgroup that is read again and again through one descriptor, which spares
/// the look-up of its path (about 3 µs) and keeps pointing at the same process when the number of
/// an ended one is given to another.
#[derive(Debug)]
struct KeptFile {
    file: File,
    path: PathBuf,
}

impl KeptFile {
    fn open(path: PathBuf) -> Result<KeptFile, ProbeError> {
        match File::open(&path) {
            Ok(file) => Ok(KeptFile { file, path }),
            Err(source) => Err(ProbeError::Unreadable { path, source }),
        }
    }

    /// The file's present content, whole.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = vec![0; 4096];
        let mut length = 0;
        loop {
            // These files are made while they are read and may come in pieces: only 0 is the end.
            match self.file.read_at(&mut text[length..], length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if length == text.len() {
                text.resize(2 * length, 0);
            }
        }
        text.truncate(length);
        Ok(text)
    }

    fn read_number(&self, field: &'static str) -> Result<u64, ProbeError> {
        let text = self
            .read()
            .map_err(|source| ProbeError::unreadable(&self.path, source))?;
        number(&text).ok_or_else(|| self.malformed(field))
    }

    fn malformed(&self, field: &'static str) -> ProbeError {
        ProbeError::Malformed {
            path: self.path.clone(),
            field,
        }
    }
}

/// A decimal number and nothing else but white space around it; `None` if it is anything else or
/// larger than a `u64`.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    // `parse` alone would take a plus sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The value of `key` in lines of `key value`, as in `memory.stat`, `memory.events` and
/// `/proc/vmstat`.
fn keyed(text: &[u8], key: &str) -> Option<u64> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        number(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(number(b"4096\n"), Some(4096));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [
            "",
            "\n",
            "-1",
            "+1",
            "1 2",
            "max",
            "0x10",
            "1.5",
            "18446744073709551616",
        ] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_is_matched_whole() {
        let stat = b"anon_thp 1\nanon 2\nfile\nshmem x\n";
        assert_eq!(keyed(stat, "anon"), Some(2));
        assert_eq!(keyed(stat, "file"), None);
        assert_eq!(keyed(stat, "shmem"), None);
        assert_eq!(keyed(stat, "an"), None);
    }

    #[test]
    fn a_long_file_is_read_whole() {
        let path = std::env::temp_dir().join(format!("memtrack-kept-{}", std::process::id()));
        let long = vec![b'x'; 20_000];
        std::fs::write(&path, &long).unwrap();
        let read = KeptFile::open(path.clone()).unwrap().read().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, long);
    }

    proptest! {
        #[test]
        fn garbage_is_no_number(text in "[^0-9]*") {
            prop_assert_eq!(number(text.as_bytes()), None);
        }

        #[test]
        fn any_bytes_are_taken(text: Vec<u8>, key in "[a-z_]{1,8}") {
            let value = keyed(&text, &key);
            prop_assert!(value.is_none() || text.windows(key.len()).any(|part| part == key.as_bytes()));
        }

        #[test]
        fn what_is_written_is_read(value: u64, key in "[a-z_]{1,8}") {
            prop_assert_eq!(keyed(format!("{key} {value}\n").as_bytes(), &key), Some(value));
        }
    }
}
