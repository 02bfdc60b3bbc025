//! What each process holds on the fake GPUs: a file for each process, mapped by its owner, read by
//! the others.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Unit;

/// Most GPUs of a script.
pub const GPUS: usize = 8;
/// Most instances of a GPU. A GPU as a whole uses the place of its first instance.
pub const INSTANCES: usize = 8;

const UNITS: usize = GPUS * INSTANCES;
const MAGIC: u64 = u64::from_ne_bytes(*b"fakegpu1");
/// 64-bit words before the first unit: the magic number and the start time of the process.
const HEAD: usize = 2;
/// 64-bit words of a unit.
const WORDS: usize = 5;

/// What a process holds on one unit, in its file. All but `contexts` are bytes.
#[repr(C)]
pub struct Holding {
    /// 1 while the process has a primary context there.
    pub contexts: AtomicU64,
    /// What the context costs.
    pub context: AtomicU64,
    /// In use from stream-ordered pools.
    pub pool_used: AtomicU64,
    /// Taken from the device by stream-ordered pools.
    pub pool_reserved: AtomicU64,
    /// Allocated without a pool.
    pub plain: AtomicU64,
}

/// The file of a process.
#[repr(C)]
pub struct Page {
    magic: u64,
    start: AtomicU64,
    units: [Holding; UNITS],
}

const _: () = assert!(size_of::<Page>() == 8 * (HEAD + UNITS * WORDS));

fn place(unit: Unit) -> usize {
    unit.gpu * INSTANCES + unit.mig.unwrap_or(0)
}

impl Page {
    /// Makes the file of this process in `folder` and maps it for as long as the process lives.
    pub fn create(folder: &Path) -> io::Result<&'static Self> {
        let pid = std::process::id();
        let start = start_time(pid).ok_or_else(|| io::Error::other("/proc cannot be read"))?;
        let mut words = [0; HEAD + UNITS * WORDS];
        words[..HEAD].copy_from_slice(&[MAGIC, start]);
        // Readers must see a whole file or none.
        let (new, path) = (folder.join(format!("new-{pid}")), file(folder, pid));
        fs::write(&new, words.map(u64::to_ne_bytes).as_flattened())?;
        fs::rename(&new, &path)?;
        let file = File::options().read(true).write(true).open(&path)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a file of this size, at an address of the system's choice.
        let map = unsafe {
            let (size, fd) = (size_of::<Self>(), file.as_raw_fd());
            libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is as large as a Page, is never unmapped, and is plain numbers.
        Ok(unsafe { &*map.cast::<Self>() })
    }

    /// What this process holds on `unit`.
    pub fn on(&self, unit: Unit) -> &Holding {
        &self.units[place(unit)]
    }
}

impl Holding {
    /// Sets one of the fields.
    pub fn set(field: &AtomicU64, value: u64) {
        field.store(value, Ordering::Release);
    }
}

/// What a process held on a unit when its file was read. Bytes, but for `contexts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub contexts: u64,
    pub context: u64,
    pub pool_used: u64,
    pub pool_reserved: u64,
    pub plain: u64,
}

impl Held {
    /// Bytes that are gone from the device: what a pool has in use is part of what it reserved.
    pub fn total(&self) -> u64 {
        self.context + self.pool_reserved + self.plain
    }
}

/// A living process that uses the fake CUDA.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    units: Vec<Held>,
}

impl Process {
    /// What it holds on `unit`; on a GPU as a whole, the sum over its instances.
    pub fn on(&self, unit: Unit) -> Held {
        let places = match unit.mig {
            Some(_) => place(unit)..place(unit) + 1,
            None => place(unit)..place(unit) + INSTANCES,
        };
        let add = |sum: Held, held: &Held| Held {
            contexts: sum.contexts + held.contexts,
            context: sum.context + held.context,
            pool_used: sum.pool_used + held.pool_used,
            pool_reserved: sum.pool_reserved + held.pool_reserved,
            plain: sum.plain + held.plain,
        };
        self.units[places].iter().fold(Held::default(), add)
    }
}

fn file(folder: &Path, pid: u32) -> std::path::PathBuf {
    folder.join(format!("process-{pid}"))
}

/// When a living process was started, in ticks after the start of the system; `None` if it is dead
/// or a zombie: the driver takes memory back when a process ends, not when its parent asks for it.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // The state is field 3 of the line, the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

fn read(folder: &Path, pid: u32) -> Option<Process> {
    let mut bytes = [0; size_of::<Page>()];
    let mut file = File::open(file(folder, pid)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    let words = bytes.as_chunks::<8>().0;
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    // A pid is used again one day; the start time tells the two apart.
    if words[0] != MAGIC || Some(words[1]) != start_time(pid) {
        return None;
    }
    let held = |words: &[u64; WORDS]| Held {
        contexts: words[0],
        context: words[1],
        pool_used: words[2],
        pool_reserved: words[3],
        plain: words[4],
    };
    let units = words[HEAD..].as_chunks::<WORDS>().0.iter().map(held);
    Some(Process {
        pid,
        units: units.collect(),
    })
}

/// All living processes that use the fake CUDA, by pid.
pub fn living(folder: &Path) -> Vec<Process> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("process-")?.parse().ok()
    });
    let mut processes: Vec<Process> = pids.filter_map(|pid| read(folder, pid)).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}
