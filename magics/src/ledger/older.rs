//! Records that a long session no longer keeps in memory: lines of JSON in files without a name, which
//! end with the process, however it ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use crate::record::Record;

/// How many bytes a file takes before the next one is begun. There are two at most: the oldest records
/// go with the first of three. A record has some 2 KiB.
pub const FILE_BYTES: u64 = 64 << 20;

/// What is on disk.
#[derive(Debug)]
pub struct Older {
    files: Vec<Lines>,
    file_bytes: u64,
    lost: u64,
}

#[derive(Debug)]
struct Lines {
    file: File,
    bytes: u64,
    count: u64,
}

impl Older {
    /// Nothing yet. `file_bytes` as [`FILE_BYTES`].
    pub fn new(file_bytes: u64) -> Older {
        Older {
            files: Vec::new(),
            file_bytes,
            lost: 0,
        }
    }

    /// Takes a record, or counts it as lost where it cannot be written.
    pub fn push(&mut self, record: &Record) {
        if self.write(record).is_err() {
            self.lost += 1;
        }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let has_room = |lines: &Lines| lines.bytes + line.len() as u64 <= self.file_bytes;
        if !self.files.last().is_some_and(has_room) {
            self.files.push(Lines {
                file: tempfile::tempfile()?,
                bytes: 0,
                count: 0,
            });
            if self.files.len() > 2 {
                self.lost += self.files.remove(0).count;
            }
        }
        let Some(lines) = self.files.last_mut() else {
            return Ok(());
        };
        // At its place: of a line that was written in part, nothing is left.
        lines.file.write_all_at(&line, lines.bytes)?;
        lines.bytes += line.len() as u64;
        lines.count += 1;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.iter().map(|lines| lines.count as usize).sum()
    }

    /// How many could not be kept.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// All of them, oldest first. What cannot be read any more is left out.
    pub fn iter(&self) -> impl Iterator<Item = Record> + '_ {
        self.files.iter().flat_map(|lines| {
            let reader = BufReader::new(At { lines, at: 0 });
            let whole = reader.lines().map_while(Result::ok);
            whole.filter_map(|line| serde_json::from_str(&line).ok())
        })
    }
}

impl Clone for Older {
    /// A copy that goes its own way.
    fn clone(&self) -> Older {
        let mut copy = Older::new(self.file_bytes);
        self.iter().for_each(|record| copy.push(&record));
        copy.lost += self.lost;
        copy
    }
}

/// Reads what is there of a file, without moving the place where it is written.
struct At<'a> {
    lines: &'a Lines,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.lines.bytes - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let read = self.lines.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
