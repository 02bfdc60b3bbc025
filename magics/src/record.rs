//! What one tracked cell used: the types behind `application/vnd.memtrack.v1+json`.
//!
//! The JSON that these types serialise to is specified by `record.schema.json`.
//! All sizes are bytes. A value that could not be read is `None`, never zero, and its row says why.

use serde::{Deserialize, Serialize};

use crate::repeat::Repeats;
use crate::timeline::Timeline;
use crate::units;

/// The MIME type under which a record travels in a notebook's outputs.
pub const MIME_TYPE: &str = "application/vnd.memtrack.v1+json";

/// What one tracked cell used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format: always 1.
    pub schema: u32,
    /// Which cell this is and how it ended.
    pub cell: CellInfo,
    /// How long it took.
    pub duration_s: Durations,
    /// The measured memories, in the order of the table.
    pub rows: Vec<Row>,
    /// What the notebook cost beside the user's own code.
    pub overhead: Overhead,
    /// Samples for the plot, if asked for.
    pub timeline: Option<Timeline>,
    /// The machine's fingerprint.
    pub environment: EnvironmentRef,
    /// What the first use of CUDA cost, in the cell that made the context.
    pub cuda_context: Option<CudaContext>,
    /// One-line remarks for the user.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Medians and spread over all runs, of a cell that was repeated. The rest of the record is of
    /// one run of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<Repeats>,
}

impl Record {
    /// The rows of `memory` and `scope`: one, or for VRAM one for each GPU.
    pub fn rows_of(&self, memory: Memory, scope: Scope) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| row.memory == memory && row.scope == scope)
    }

    /// For each GPU the row that tells best how much of it the process had at most: what the driver
    /// says of the process, else what its CUDA pool held. None for a GPU of which neither is known.
    pub fn vram_of_process(&self) -> impl Iterator<Item = &Row> {
        self.rows_of(Memory::Vram, Scope::Process)
            .filter_map(|process| {
                let pool = self
                    .rows_of(Memory::Vram, Scope::PoolReserved)
                    .find(|pool| pool.device == process.device);
                [Some(process), pool]
                    .into_iter()
                    .flatten()
                    .find(|row| row.peak.is_some())
            })
    }

    /// What `row` kept, or `None` where the process was replaced: then the values before and after
    /// are not of the same process and no difference is taken.
    pub fn kept(&self, row: &Row) -> Option<i64> {
        row.kept().filter(|_| !self.cell.restarted)
    }

    /// What `row` needed for a while only, or `None` where the process was replaced.
    pub fn temporary(&self, row: &Row) -> Option<u64> {
        row.temporary().filter(|_| !self.cell.restarted)
    }
}

/// Which cell a record is about and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellInfo {
    /// The number in the cell's prompt.
    pub execution_count: u64,
    /// The text given with `--label`.
    pub label: Option<String>,
    /// How the cell ended.
    pub status: CellStatus,
    /// Why it ended so, in words.
    pub cause: Option<String>,
    /// Start of the cell, RFC 3339; empty in a record that does not tell it.
    #[serde(default)]
    pub started_at: String,
    /// Variables that the user had and has no longer after this cell.
    #[serde(default)]
    pub lost_variables: Vec<String>,
    /// The process that runs the cells was replaced during or after this cell.
    #[serde(default)]
    pub restarted: bool,
    /// Hash of the cell's source without magic lines; empty in a record that does not tell it.
    #[serde(default)]
    pub code_hash: String,
}

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellStatus {
    /// It ran to its end.
    Ok,
    /// It did not compile, or returned an error.
    Error,
    /// It panicked.
    Panic,
    /// The process that runs the cells died.
    Killed,
    /// The user interrupted it.
    Interrupted,
}

impl CellStatus {
    /// The status as the record's JSON and the tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            CellStatus::Ok => "ok",
            CellStatus::Error => "error",
            CellStatus::Panic => "panic",
            CellStatus::Killed => "killed",
            CellStatus::Interrupted => "interrupted",
        }
    }
}

/// Seconds spent on a cell; `None` where that phase was not reached or not measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// From the request to the start of the user's code.
    pub compile: Option<f64>,
    /// The user's code itself.
    pub run: Option<f64>,
}

/// The kind of memory that a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Resident memory of the host.
    Ram,
    /// Bytes held from `malloc`, resident or not.
    Heap,
    /// Memory of a GPU.
    Vram,
}

/// Whose memory a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The process that runs the cells.
    Process,
    /// The processes that the cell started.
    Children,
    /// The container if it has a limit, else the machine.
    System,
    /// CUDA's stream-ordered pool: bytes in use.
    PoolUsed,
    /// CUDA's stream-ordered pool: bytes held from the driver.
    PoolReserved,
    /// The whole device, all processes together.
    Device,
}

/// One measured memory of one cell. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The kind of memory.
    pub memory: Memory,
    /// Whose memory.
    pub scope: Scope,
    /// The GPU, for VRAM rows.
    pub device: Option<Device>,
    /// Just before the user's code ran.
    pub before: Option<u64>,
    /// Highest value while it ran; never below `before` or `after`.
    pub peak: Option<u64>,
    /// Just after it ended.
    pub after: Option<u64>,
    /// What the scope can hold at most.
    pub limit: Option<u64>,
    /// How the peak was got, such as `kernel high-water mark` or `sampled every 10 ms`.
    pub peak_method: Option<String>,
    /// True only where nothing between two readings can have been missed.
    pub exact: bool,
    /// Why a value is absent, in words that a user can act on.
    pub unavailable: Option<String>,
    /// `ram/process` only.
    pub split_before: Option<Split>,
    /// `ram/process` only.
    pub split_after: Option<Split>,
    /// Heap only: calls that allocated during the cell.
    pub allocations: Option<u64>,
    /// Heap only: bytes handed out during the cell, freed ones included.
    pub allocated: Option<u64>,
    /// Heap only: bytes that the allocator keeps from the system though the program freed them.
    pub retained: Option<u64>,
}

impl Row {
    /// A row with no values yet, for `memory` of `scope`.
    pub fn empty(memory: Memory, scope: Scope) -> Row {
        Row {
            memory,
            scope,
            device: None,
            before: None,
            peak: None,
            after: None,
            limit: None,
            peak_method: None,
            exact: false,
            unavailable: None,
            split_before: None,
            split_after: None,
            allocations: None,
            allocated: None,
            retained: None,
        }
    }

    /// After minus before: what the cell left behind. `None` where either is unknown.
    pub fn kept(&self) -> Option<i64> {
        let kept = i128::from(self.after?) - i128::from(self.before?);
        Some(kept.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// Peak minus the larger of before and after: what the cell needed only for a while.
    pub fn temporary(&self) -> Option<u64> {
        Some(self.peak?.saturating_sub(self.before?.max(self.after?)))
    }

    /// The peak as a percentage of the limit. `None` where either is unknown.
    pub fn percent_of_limit(&self) -> Option<f64> {
        units::percent(self.peak?, self.limit?)
    }

    /// The row's name in tables and messages, such as `process RAM` or `GPU 0 process`.
    pub fn label(&self) -> String {
        let scope = match self.scope {
            Scope::Process => "process",
            Scope::Children => "children",
            Scope::System => "system",
            Scope::PoolUsed => "pool used",
            // Short, because it sets the width of the table's first column.
            Scope::PoolReserved => "reserved",
            Scope::Device => "device",
        };
        match (self.memory, self.scope, &self.device) {
            (Memory::Ram, Scope::Children, _) => "children".into(),
            (Memory::Ram, _, _) => format!("{scope} RAM"),
            (Memory::Heap, Scope::Process, _) => "heap".into(),
            (Memory::Heap, _, _) => format!("{scope} heap"),
            (Memory::Vram, _, Some(device)) => format!("{} {scope}", device.label()),
            (Memory::Vram, _, None) => format!("GPU {scope}"),
        }
    }
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// NVML's index.
    pub index: u32,
    /// The device's UUID.
    pub uuid: Option<String>,
    /// Product name.
    pub name: String,
}

impl Device {
    /// Begins the name of a device that NVML does not tell of; its index is CUDA's then.
    pub(crate) const BY_CUDA: &str = "CUDA device";

    /// The device's name in tables: `GPU 0`, or for an instance of a GPU in MIG mode `GPU 0 MIG-1a2b`
    /// with the first digits of its UUID, because instances share the GPU's index.
    pub fn label(&self) -> String {
        if self.name.starts_with(Device::BY_CUDA) {
            return self.name.clone();
        }
        match self.instance() {
            Some(instance) => format!("GPU {} {instance}", self.index),
            None => format!("GPU {}", self.index),
        }
    }

    /// The first digits of the UUID of an instance of a GPU in MIG mode, such as `MIG-1a2b`.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.uuid
            .as_deref()?
            .get(..8)
            .filter(|uuid| uuid.starts_with("MIG-"))
    }
}

/// Resident memory by kind of page, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Anonymous pages: heap and stacks.
    pub anon: Option<u64>,
    /// Pages of mapped files: code, libraries, memory-mapped data.
    pub file: Option<u64>,
    /// Shared memory.
    pub shmem: Option<u64>,
    /// Swapped out (not resident).
    pub swap: Option<u64>,
}

/// What the first use of CUDA on a device cost, in the cell that made the context. Sizes in bytes,
/// over the whole cell: what else the cell kept is in them, but for the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaContext {
    /// NVML's index of the GPU.
    pub device: u32,
    /// What the GPU's use grew by, CUDA's memory pool left out: the context, and modules and plain
    /// allocations if there are any.
    pub vram: Option<u64>,
    /// Where `vram` comes from: `this process`, or `whole device` where the driver does not tell
    /// it for a process.
    pub vram_source: Option<String>,
    /// Growth of anonymous memory of the process: what the driver and its libraries allocate.
    pub ram_anon: Option<u64>,
    /// Growth of its file-backed memory: code of the driver and its libraries.
    pub ram_file: Option<u64>,
}

/// What the notebook costs beside the user's own code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// RSS of the kernel process in bytes, rust-analyzer in it.
    pub kernel_rss: Option<u64>,
    /// Highest sum of RSS over cargo, rustc and the linker while this cell compiled, in bytes.
    pub compiler_peak_rss: Option<u64>,
    /// Seconds that taking this record added to the cell.
    pub tracking_s: f64,
}

/// The machine's fingerprint as a record carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentRef {
    /// Hash of the facts.
    pub id: String,
    /// The facts whole, in the first record of a session only.
    pub facts: Option<serde_json::Value>,
}

#[cfg(test)]
impl Record {
    /// A record without rows, for tests.
    pub(crate) fn empty(execution_count: u64, status: CellStatus) -> Record {
        Record {
            schema: 1,
            cell: CellInfo {
                execution_count,
                label: None,
                status,
                cause: None,
                started_at: "2026-01-01T00:00:00Z".into(),
                lost_variables: Vec::new(),
                restarted: false,
                code_hash: "0123456789abcdef".into(),
            },
            duration_s: Durations {
                compile: Some(0.25),
                run: Some(0.01),
            },
            rows: Vec::new(),
            overhead: Overhead {
                kernel_rss: None,
                compiler_peak_rss: None,
                tracking_s: 0.0004,
            },
            timeline: None,
            environment: EnvironmentRef {
                id: "test".into(),
                facts: None,
            },
            cuda_context: None,
            warnings: Vec::new(),
            repeats: None,
        }
    }
}
