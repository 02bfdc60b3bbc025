//! Records to draw and judge.

// Each test file uses some of them.
#![allow(dead_code)]

use memtrack::record::{
    CellInfo, CellStatus, CudaContext, Device, Durations, EnvironmentRef, Memory, Overhead, Record,
    Row, Scope, Split,
};
use memtrack::repeat::Series;

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// A row with these values before, at its peak, and after.
pub fn row(memory: Memory, scope: Scope, values: [u64; 3], limit: u64, method: &str) -> Row {
    let mut row = Row::empty(memory, scope);
    [row.before, row.peak, row.after] = values.map(Some);
    row.limit = Some(limit);
    row.peak_method = Some(method.into());
    row.exact = !method.contains("sampled");
    row
}

/// A record without rows.
pub fn bare(execution_count: u64) -> Record {
    Record {
        schema: 1,
        cell: CellInfo {
            execution_count,
            label: None,
            status: CellStatus::Ok,
            cause: None,
            started_at: "2026-01-01T00:00:00Z".into(),
            lost_variables: Vec::new(),
            restarted: false,
            code_hash: "0123456789abcdef".into(),
        },
        duration_s: Durations {
            compile: Some(0.42),
            run: Some(0.31),
        },
        rows: Vec::new(),
        overhead: Overhead {
            kernel_rss: Some(512 * MIB),
            compiler_peak_rss: Some(301 * MIB),
            tracking_s: 0.0004,
        },
        timeline: None,
        environment: EnvironmentRef {
            id: "f00d".into(),
            facts: None,
        },
        cuda_context: None,
        warnings: Vec::new(),
        repeats: None,
    }
}

/// A cell that keeps 1 GiB and needs 256 MiB more for a while.
pub fn normal() -> Record {
    let mut record = bare(3);
    record.cell.label = Some("load".into());
    let split = |anon| {
        Some(Split {
            anon: Some(anon),
            file: Some(8 * MIB),
            shmem: Some(0),
            swap: None,
        })
    };
    let mut ram = row(
        Memory::Ram,
        Scope::Process,
        [12 * MIB, GIB + 268 * MIB, GIB + 12 * MIB],
        16 * GIB,
        "kernel high-water mark",
    );
    (ram.split_before, ram.split_after) = (split(4 * MIB), split(GIB + 4 * MIB));
    let children = row(
        Memory::Ram,
        Scope::Children,
        [0, 3 * MIB, 0],
        16 * GIB,
        "sampled every 10 ms",
    );
    let mut heap = row(
        Memory::Heap,
        Scope::Process,
        [45_312, GIB + 256 * MIB, GIB + 45_312],
        0,
        "allocator",
    );
    heap.limit = None;
    (heap.allocations, heap.allocated, heap.retained) =
        (Some(1_234), Some(GIB + 300 * MIB), Some(132 << 10));
    let system = row(
        Memory::Ram,
        Scope::System,
        [5 * GIB, 6 * GIB + 300 * MIB, 6 * GIB],
        16 * GIB,
        "sampled every 10 ms, the container's limit (cgroup v2)",
    );
    record.rows = vec![ram, children, heap, system];
    record
}

/// A cell that was killed: nothing is known after it, and its variables are gone.
pub fn killed() -> Record {
    let mut record = normal();
    record.cell.label = None;
    record.cell.status = CellStatus::Killed;
    record.cell.cause = Some("out of memory (SIGKILL)".into());
    record.cell.restarted = true;
    record.cell.lost_variables = vec!["weights".into(), "tokens".into()];
    record.warnings = vec!["system RAM was at 99 % of its limit".into()];
    record.duration_s.run = None;
    for row in record.rows.iter_mut().take(3) {
        row.after = None;
        row.split_after = None;
        row.retained = None;
        row.unavailable =
            Some("the process that ran the cell ended, so there is no value after it".into());
    }
    record
}

/// A record in which nothing could be read.
pub fn unknown() -> Record {
    let mut record = bare(1);
    record.duration_s = Durations {
        compile: None,
        run: None,
    };
    record.overhead.kernel_rss = None;
    record.overhead.compiler_peak_rss = None;
    record.rows = normal().rows;
    for row in &mut record.rows {
        *row = Row {
            unavailable: Some("/proc is not mounted here".into()),
            ..Row::empty(row.memory, row.scope)
        };
    }
    record
}

/// The largest values there are, on two GPUs.
pub fn huge() -> Record {
    let mut record = bare(u64::MAX);
    let max = u64::MAX;
    let mut heap = row(
        Memory::Heap,
        Scope::Process,
        [0, max, max],
        max,
        "allocator",
    );
    (heap.allocations, heap.allocated, heap.retained) = (Some(max), Some(max), Some(max));
    record.rows = vec![
        row(
            Memory::Ram,
            Scope::Process,
            [max, max, 0],
            1,
            "kernel high-water mark",
        ),
        heap,
    ];
    for index in 0..2 {
        let mut gpu = row(
            Memory::Vram,
            Scope::PoolReserved,
            [0, max, max],
            max,
            "pool high-water mark",
        );
        gpu.device = Some(Device {
            index,
            uuid: None,
            name: "GPU".into(),
        });
        record.rows.push(gpu);
    }
    record.duration_s.run = Some(f64::MAX);
    record
}

/// A cell that made a CUDA context and worked on the first of two GPUs.
pub fn gpus() -> Record {
    let mut record = normal();
    let gpu = |index, scope, values: [u64; 3], method| {
        let mut row = row(
            Memory::Vram,
            scope,
            values.map(|mib| mib * MIB),
            15 * GIB,
            method,
        );
        row.device = Some(Device {
            index,
            uuid: Some(format!("GPU-{index}")),
            name: "Tesla T4".into(),
        });
        row
    };
    let sampled = "sampled every 5 ms";
    let mut process = gpu(
        0,
        Scope::Process,
        [0, 0, 180],
        "inferred: the one new process, plus the pool's mark",
    );
    process.peak = None;
    process.peak_method = None;
    process.exact = false;
    process.unavailable = Some("the driver lists no process here".into());
    let mut quiet = gpu(1, Scope::Process, [0; 3], "");
    (quiet.peak, quiet.peak_method, quiet.exact) = (None, None, false);
    quiet.unavailable = Some("listed before and after the cell only".into());
    record.rows.extend([
        process,
        gpu(0, Scope::PoolUsed, [0, 8192, 64], "pool high-water mark"),
        gpu(
            0,
            Scope::PoolReserved,
            [0, 8224, 96],
            "pool high-water mark",
        ),
        gpu(0, Scope::Device, [450, 8800, 720], sampled),
        quiet,
        gpu(1, Scope::Device, [300, 301, 301], sampled),
    ]);
    record.cuda_context = Some(CudaContext {
        device: 0,
        vram: Some(174 * MIB),
        vram_source: Some("whole device".into()),
        ram_anon: Some(98 * MIB),
        ram_file: None,
    });
    record
}

/// A label that is long, wide, and would be HTML if it were not escaped.
pub fn odd_label() -> Record {
    let mut record = normal();
    let label = "<script>alert('x')</script> & \"quotes\"\n\u{1b}[31m größe 内存 🦀 ".repeat(3);
    record.cell.label = Some(label);
    record
}

/// [`normal`] three times, with 20 MiB more at the peak from run to run, and a byte of heap.
pub fn repeated() -> Record {
    let mut series = Series::new(3);
    for turn in 0..3 {
        series.add(turn_of_series(turn));
    }
    series.into_record().unwrap()
}

/// Of five runs the third panicked.
pub fn repeated_and_failed() -> Record {
    let mut series = Series::new(5);
    series.add(turn_of_series(0));
    series.add(turn_of_series(1));
    let mut failed = turn_of_series(2);
    failed.cell.status = CellStatus::Panic;
    failed.cell.cause = Some("index out of bounds".into());
    series.add(failed);
    series.into_record().unwrap()
}

fn turn_of_series(turn: u64) -> Record {
    let mut record = normal();
    record.duration_s.run = Some(0.3 + turn as f64 / 100.0);
    for row in &mut record.rows {
        let more = if row.memory == Memory::Heap {
            1
        } else {
            20 * MIB
        };
        row.peak = row.peak.map(|peak| peak + turn * more);
    }
    record
}
